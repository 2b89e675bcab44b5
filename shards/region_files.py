"""Region files cut into pieces that one worker reads: lines of a TSV by byte range, npz files by name."""
from __future__ import annotations

import dataclasses
import hashlib
import os
import posixpath
from collections.abc import Iterator

from crawl import storage
from crawl.config import digest
from crawl.errors import UsageError
from shards.files import sha256_of
from shards.precomputed import FORMATS, MAX_ROW_BYTES, UNITER, Row, fields_of, parse_line, parse_npz
from shards.region_config import RegionsConfig

PIECE_BYTES = 256 << 20
_PIECE_FILES = 1024
_BLOCK = 4 << 20


@dataclasses.dataclass(frozen=True, slots=True)
class Piece:
    """What one element of the job reads: lines that begin in [start, end) of a TSV, or some npz files of a folder."""

    number: int
    path: str
    start: int = 0
    end: int = 0
    names: tuple[str, ...] = ()


def check(config: RegionsConfig) -> None:
    """Raises UsageError for settings or files that cannot be read as regions, before anything is written."""
    if config.format not in FORMATS:
        raise UsageError(f"--format {config.format!r} is not known; there are {', '.join(FORMATS)}")
    if not config.files:
        wanted = "folders of npz files" if config.format == UNITER else "TSV files"
        raise UsageError(f"--extractor precomputed needs --files: {wanted} of {config.format}")
    if config.format != UNITER:
        try:
            fields_of(config)
        except ValueError as error:
            raise UsageError(f"--fields: {error}") from error
    elif config.fields:
        raise UsageError(f"--fields is for TSV files; {UNITER} has named arrays")
    for path in config.files:
        if config.format == UNITER:
            if not os.path.isdir(path):
                raise UsageError(f"--files {path}: no folder of npz files; {UNITER} is one file an image, in a folder")
            if not _npz_names(path):
                raise UsageError(f"--files {path}: no .npz file in it; name the folder that has them")
        elif not storage.exists(path) or os.path.isdir(path):
            raise UsageError(f"--files {path}: no such file; name the TSV, unpacked")


def inputs_of(config: RegionsConfig) -> dict[str, str]:
    """Returns name -> digest of the contents of each file (of a folder: of names and contents), in their order."""
    found = {}
    for number, path in enumerate(config.files):
        if config.format == UNITER:
            contents = digest([[name, sha256_of(os.path.join(path, name))] for name in _npz_names(path)])
        elif storage.is_remote(path):
            contents = hashlib.sha256(storage.read_bytes(path)).hexdigest()
        else:
            contents = sha256_of(path)
        found[f"file-{number:04d}"] = contents
    return found


def pieces(config: RegionsConfig, piece_bytes: int = PIECE_BYTES) -> list[Piece]:
    """Returns all pieces of the files, numbered; they depend on the files alone."""
    found: list[Piece] = []
    for path in config.files:
        if config.format == UNITER:
            names = _npz_names(path)
            for at in range(0, len(names), _PIECE_FILES):
                found.append(Piece(len(found), path, names=tuple(names[at:at + _PIECE_FILES])))
        else:
            size = storage.size(path)
            for start in range(0, max(size, 1), piece_bytes):
                found.append(Piece(len(found), path, start, min(start + piece_bytes, size)))
    return found


def rows_of(piece: Piece, config: RegionsConfig) -> Iterator[tuple[int, Row]]:
    """Yields (place, row) of a piece: the byte a line begins at, or the number of a file in its piece."""
    if config.format == UNITER:
        for number, name in enumerate(piece.names):
            id_ = posixpath.splitext(name)[0]
            path = os.path.join(piece.path, name)
            if os.path.getsize(path) > MAX_ROW_BYTES:
                yield number, Row(id_, None, "too_large", f"more than {MAX_ROW_BYTES >> 20} MiB")
            else:
                yield number, parse_npz(id_, storage.read_bytes(path), config)
        return
    names = fields_of(config)
    for offset, line in lines(piece.path, piece.start, piece.end):
        if line is None:
            yield offset, Row("", None, "too_large", f"a line of more than {MAX_ROW_BYTES >> 20} MiB")
        elif line.strip():
            yield offset, parse_line(line, names, config)


def lines(path: str, start: int, end: int, most: int = MAX_ROW_BYTES,
          block: int = _BLOCK) -> Iterator[tuple[int, bytes | None]]:
    """Yields (offset, line without its end) of the lines that begin in [start, end); None for one longer than `most`.

    So any cut of a file into ranges yields every line once.
    """
    size = storage.size(path)
    position = max(start - 1, 0)                            # of what is read next
    begin, buffer, skipping = position, bytearray(), start > 0
    while True:
        cut = buffer.find(b"\n")
        if cut < 0 and position < size:
            if len(buffer) > most and not skipping:
                yield begin, None
                skipping = True
            if skipping:                                    # only the line end is of interest
                begin += len(buffer)
                buffer.clear()
            data = storage.read_range(path, position, min(block, size - position))
            buffer += data
            position += len(data)
            continue
        stop = len(buffer) if cut < 0 else cut
        if not skipping and begin < end and (stop or cut >= 0):
            yield begin, bytes(buffer[:stop]) if stop <= most else None
        skipping = False
        begin += stop + 1
        del buffer[:stop + 1]
        if begin >= end or cut < 0:
            return


def _npz_names(folder: str) -> list[str]:
    return sorted(name for name in os.listdir(folder) if name.endswith(".npz"))
