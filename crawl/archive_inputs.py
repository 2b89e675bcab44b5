"""Which archives are read: files at hand, or a seeded sample of a listing such as Common Crawl's `warc.paths.gz`."""
from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import re
import zlib
from collections.abc import Iterator, Sequence

from crawl import storage
from crawl.config import digest
from crawl.errors import UsageError
from crawl.gzip_members import Readable
from crawl.trusted_http import Gone, opened

COMMON_CRAWL = "https://data.commoncrawl.org/"
_MAX_LISTING = 256 << 20           # bytes, unfolded
_STEP = 8 << 20                    # bytes of an object asked for at a time
_CHUNK = 1 << 20
PATH = re.compile(r"(?!/)[!-~]{1,1024}")


@dataclasses.dataclass(frozen=True, slots=True)
class Archive:
    """One file to read."""

    number: int                    # among those that are read, from 0
    name: str                      # as it was given or listed
    location: str                  # a local path, s3:// or gs://, http:// or https://
    identity: str                  # what names its bytes
    first: int = 0                 # of a batch of captures (crawl/index_run.py): its rows of the table at `location`,
    rows: int = 0                  # their number,
    base: str = ""                 # and what their WARC files lie below


@dataclasses.dataclass(frozen=True, slots=True)
class Chosen:
    """The files of one run."""

    archives: tuple[Archive, ...]
    identity: str                  # of all that chose them
    named: str                     # for a person


def these_files(paths: Sequence[str], option: str) -> Chosen:
    """Returns the named files, local ones by their sha256; raises UsageError for one that is not there or twice."""
    identities = [_identity(path, option) for path in paths]
    for number, identity in enumerate(identities):
        if (first := identities.index(identity)) < number:
            raise UsageError(f"{option}: {paths[first]} and {paths[number]} are the same; name each file once")
    archives = tuple(Archive(number, os.path.basename(path), path, identity)
                     for number, (path, identity) in enumerate(zip(paths, identities, strict=True)))
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return Chosen(archives, digest(identities), f"{option} {paths[0]}{more}")


def listed_files(listing: str, base: str, kind: str, sample: int | None, seed: int) -> Chosen:
    """Returns the files of a listing, or `sample` of them in the order of sha256(seed, path), without replacement.

    A larger sample of equal seed begins with the smaller one.  Raises UsageError for a listing that is none.
    """
    text = _read_listing(listing)
    paths = _paths(listing, text, kind)
    if sample is not None:
        if not 0 < sample <= len(paths):
            raise UsageError(f"--sample {sample}: {listing} lists {len(paths)} files; take 1 to {len(paths)}")
        paths = sorted(paths, key=lambda path: hashlib.sha256(f"{seed}\n{path}".encode()).digest())[:sample]
    if "://" not in base and not os.path.isdir(base):
        raise UsageError(f"--base {base}: neither a URL nor a folder; {listing} names files below it")
    base = base if base.endswith("/") else f"{base}/"
    archives = tuple(Archive(number, path, base + path, digest([base, path])) for number, path in enumerate(paths))
    chosen = {"listing": hashlib.sha256(text).hexdigest(), "base": base, "sample": sample, "seed": seed * bool(sample)}
    return Chosen(archives, digest(chosen), f"--paths {listing}")


@contextlib.contextmanager
def open_archive(archive: Archive) -> Iterator[Readable]:
    """Gives an archive as a file to read; raises Gone where it is not there, UsageError where it cannot be read."""
    location = archive.location
    if location.startswith(("http://", "https://")):
        with opened(location) as body:
            yield body
    elif storage.is_remote(location):
        yield _Object(location)
    else:
        try:
            with open(location, "rb") as file:
                yield file
        except FileNotFoundError as error:
            raise Gone(location, 404) from error
        except OSError as error:
            raise UsageError(f"{location}: cannot read it ({error.strerror or error})") from error


class _Object:
    """An object of a store as a file to read."""

    def __init__(self, location: str) -> None:
        self._location, self._at = location, 0
        try:
            self._size = storage.size(location)
        except FileNotFoundError as error:
            raise Gone(location, 404) from error

    def read(self, size: int, /) -> bytes:
        size = min(size, _STEP, self._size - self._at)
        data = storage.read_range(self._location, self._at, size) if size else b""
        self._at += len(data)
        return data


def _identity(path: str, option: str) -> str:
    if path.startswith(("http://", "https://")):
        return path
    try:
        if storage.is_remote(path):
            return f"{path} {storage.size(path)}"
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(f"{option} {path}: cannot read it ({error.strerror or error}); name files, each by itself"
                         ) from error


def _read_listing(listing: str) -> bytes:
    """Returns the text of a listing, unfolded where it is gzip."""
    archive = Archive(0, listing, listing, "")
    pieces: list[bytes] = []
    size = 0
    stream = None
    try:
        with open_archive(archive) as file:
            while piece := file.read(_CHUNK):
                if not pieces and stream is None and piece.startswith(b"\x1f\x8b"):
                    stream = zlib.decompressobj(31)
                pieces.append(stream.decompress(piece, _MAX_LISTING) if stream else piece)
                size += len(pieces[-1])
                if size > _MAX_LISTING:
                    raise UsageError(f"--paths {listing}: over {_MAX_LISTING} bytes; this is no listing")
    except (Gone, zlib.error) as error:
        raise UsageError(f"--paths {listing}: cannot read it ({error}); give a listing such as warc.paths.gz, a file "
                         f"or a URL") from error
    if stream and not stream.eof:
        raise UsageError(f"--paths {listing}: it ends in the middle; get it again")
    return b"".join(pieces)


def _paths(listing: str, text: bytes, kind: str) -> list[str]:
    lines = [line.strip() for line in text.decode("utf-8", "replace").split("\n")]
    paths = list(dict.fromkeys(line for line in lines if line))
    if kind == "index" and any("subset=" in path for path in paths):
        paths = [path for path in paths if "subset=warc/" in path]       # pages; the others are refusals and failures
    for path in paths:
        if not PATH.fullmatch(path) or "://" in path or ".." in path.split("/"):
            raise UsageError(f"--paths {listing}: {path[:200]!r} is no path below --base; a listing has one a line")
        if (kind == "wat") != (".wat" in path) or ".wet" in path:
            raise UsageError(f"--paths {listing}: {path!r} is no {kind.upper()} file; give the listing "
                             f"{kind}.paths.gz, or the other --kind")
    if not paths:
        raise UsageError(f"--paths {listing}: there is no path in it")
    return paths
