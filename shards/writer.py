"""Writes one shard: a tar of samples, a tar of their regions, an index and a table; the same rows, the same bytes.

Members have known sizes before a byte is read, so the tar is laid out first and each member is written at its place
as it arrives: reads go by (part, offset), the tar by hash, and neither waits for the other.
"""
from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import functools
import json
import tarfile
import zlib
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from crawl import progress, storage
from crawl.errors import UsageError
from crawl.tables import FileEntry, encode_table
from shards.addresses import Address, read_addresses
from shards.files import TemporaryFile, commit_small, entry_from
from shards.index import INDEX_DTYPE, encode_index
from shards.manifest import ShardFile
from shards.records import Placed, SampleRow, json_values, sample_row
from shards.same_images import SameImages
from shards.sample import member_names, regions_name, sample_json
from shards.tokens import CaptionTokenizer

_BLOCK = tarfile.BLOCKSIZE
_PENDING = 1 << 20                 # bytes of headers and small members that wait for one write
_HEADER = tarfile.TarInfo("").tobuf(tarfile.USTAR_FORMAT)
_HEADER_SUM = 256 + sum(_HEADER[:148]) + sum(_HEADER[156:])     # the checksum counts as eight spaces


@dataclasses.dataclass(frozen=True, slots=True)
class WrittenShard:
    """A committed shard: what the manifest is made of."""

    shard: ShardFile
    files: tuple[FileEntry, ...]   # tar, regions tar where it is one of its own, index, table
    captions_cut: int              # captions with more than 41 pieces


class Tar(TemporaryFile):
    """A ustar file that is laid out member by member and filled in any order."""

    position = 0

    def __init__(self, directory: str) -> None:
        super().__init__(directory)
        self._start = 0                            # of `_pending` in the file
        self._pending = bytearray()                # headers and small members on their way, one behind the other

    def place(self, name: str, size: int) -> int:
        """Writes a member's header at the end; returns the offset of its data."""
        self.append_at(self.position, tar_header(name, size))
        offset = self.position + _BLOCK
        self.position = offset + _padded(size)
        return offset

    def append_at(self, offset: int, data: bytes) -> None:
        """Writes data that follows what was written so, or nearly: many such pieces are one write."""
        gap = offset - self._start - len(self._pending)
        if not 0 <= gap < _BLOCK or len(self._pending) > _PENDING:
            self.flush()
            self._start, gap = offset, 0
        self._pending += bytes(gap) + data

    def flush(self) -> None:
        """Writes what waits."""
        self.write_at(self._start, bytes(self._pending))
        self._start, self._pending = self._start + len(self._pending), bytearray()

    def finish(self) -> None:
        """Writes the end of the archive; padding everywhere is zeros."""
        end = self.position + 2 * _BLOCK
        padding = -end % tarfile.RECORDSIZE
        self.append_at(self.position, bytes(2 * _BLOCK + padding))
        self.flush()


def tar_header(name: str, size: int) -> bytes:
    """Returns the ustar header of a plain file: mode 0644, mtime 0, uid and gid 0, no names.

    >>> info = tarfile.TarInfo("KEY.jpg"); info.size = 12345
    >>> tar_header("KEY.jpg", 12345) == info.tobuf(tarfile.USTAR_FORMAT)
    True
    """
    raw = name.encode()
    if len(raw) > 100 or size >= 1 << 33:
        info = tarfile.TarInfo(name)
        info.size = size
        return info.tobuf(tarfile.USTAR_FORMAT)
    header = bytearray(_HEADER)
    header[:len(raw)] = raw
    header[124:135] = b"%011o" % size
    header[148:156] = b"%06o\0 " % (_HEADER_SUM + sum(raw) + sum(header[124:135]) - 11 * ord("0"))
    return bytes(header)


def tar_bytes(member_sizes: Iterable[int]) -> int:
    """Returns what members of these sizes take in a tar, headers and padding included."""
    return sum(_BLOCK + _padded(size) for size in member_sizes)


def _padded(size: int) -> int:
    return size + -size % _BLOCK


def write_shard(out: str, directory: str, stem: str, placed: Iterable[Placed], tokenizer: CaptionTokenizer,
                inline: bool = False, same: SameImages | None = None) -> WrittenShard:
    """Commits a shard and, last, its JSON entry; returns the entry at once where the shard is committed already.

    Args:
        inline: regions go into the samples' own tar.
        same: shards that hold the same samples with other regions: their tars get a second name and are not read.
    """
    done = read_written(directory, stem)
    if done is not None:
        return done
    listed = sorted(placed, key=lambda one: (one.order, one.best.key))
    rows, index = _rows_and_index(listed, tokenizer)
    split, ext = listed[0].best.split, listed[0].best.format
    tar_entry = None if same is None else same.linked(directory, stem, index)
    with contextlib.ExitStack() as stack:
        tars: dict[str, Tar] = {}                  # name -> tar to write, in the order of the files of a shard
        if tar_entry is None:
            tars[f"{stem}.tar"] = stack.enter_context(Tar(directory))
        if not inline:
            tars[f"{stem}.regions.tar"] = stack.enter_context(Tar(directory))
        _fill(out, tars.get(f"{stem}.tar"), tars.get(f"{stem}.regions.tar"), listed, index, ext)
        data, counted = encode_table(SampleRow, rows)
        entries = _all_of(directory, [
            *(functools.partial(_commit, tar, name) for name, tar in tars.items()),
            lambda: commit_small(directory, f"{stem}.idx.npy", encode_index(index)),
            lambda: dataclasses.replace(commit_small(directory, f"{stem}.parquet", data), **counted)])
    tar_entry, regions_entry = tar_entry or entries[0], entries[-3]
    index_entry, table_entry = entries[-2:]
    written = WrittenShard(
        ShardFile(name=tar_entry.name, split=split, ext=ext, samples=len(listed), bytes=tar_entry.bytes,
                  sha256=tar_entry.sha256, regions=regions_entry.name, index=index_entry.name, table=table_entry.name),
        (tar_entry, *([] if inline else [regions_entry]), index_entry, table_entry),
        captions_cut=sum(row.num_cut > 0 for row in rows))
    commit_small(directory, f"{stem}.json", json.dumps(dataclasses.asdict(written), sort_keys=True).encode())
    progress.add("samples written", len(listed))
    return written


def read_written(directory: str, stem: str) -> WrittenShard | None:
    """Returns a committed shard, its files' sizes checked, or None where it is not committed."""
    path = storage.join(directory, f"{stem}.json")
    if not storage.exists(path):
        return None
    value = json.loads(storage.read_bytes(path))
    files = tuple(entry_from(entry) for entry in value["files"])
    for entry in files:
        file = storage.join(directory, entry.name)
        found = storage.size(file) if storage.exists(file) else 0
        if found != entry.bytes:
            raise UsageError(f"{file}: committed with {entry.bytes} bytes, found {found}; remove it and {path} to "
                             f"write the shard again")
    return WrittenShard(ShardFile(**value["shard"]), files, value["captions_cut"])


def _rows_and_index(listed: Sequence[Placed], tokenizer: CaptionTokenizer) -> tuple[list[SampleRow], np.ndarray]:
    rows = []
    index = np.zeros(len(listed), INDEX_DTYPE)
    for number, one in enumerate(listed):
        ids, cut = tokenizer.encode(one.best.caption)
        row = sample_row(one.best, one.regions.num_regions, len(ids), cut)
        rows.append(row)
        for name, value in (("key", row.key.encode()), ("num_regions", row.num_regions), ("num_tokens", len(ids)),
                            ("num_cut", min(cut, 65535)), ("image_hash", int(row.sha256[:16], 16)),
                            ("group_hash", int(row.group_hash, 16)), ("caption_hash", int(row.caption_hash, 16))):
            index[name][number] = value
    return rows, index


def _fill(out: str, samples: Tar | None, regions: Tar | None, listed: Sequence[Placed], index: np.ndarray,
          ext: str) -> None:
    """Lays out the tars of a shard, then fills them in one pass over all that is read.

    Args:
        samples: None where that tar is there already.
        regions: None where they are members of the samples' own tar.
    """
    wanted: list[tuple[Address, Tar, str, int]] = []         # what is read, and the member that it becomes
    if samples is not None:
        for number, one in enumerate(listed):
            _place_sample(samples, index, number, one, ext)
            wanted.append((one.image_address, samples, "image", number))
            if regions is None:
                _place_regions(samples, index, number, one)
        samples.finish()
    if regions is not None:
        for number, one in enumerate(listed):
            _place_regions(regions, index, number, one)
        regions.finish()
    holds_regions = regions or samples
    assert holds_regions is not None
    wanted += [(one.regions_address, holds_regions, "regions", number) for number, one in enumerate(listed)]
    for place, data in read_addresses(out, [address for address, *_ in wanted]):
        _, tar, member, number = wanted[place]
        tar.write_at(int(index[f"{member}_offset"][number]), data)
        index[f"{member}_crc"][number] = zlib.crc32(data)


def _place_sample(tar: Tar, index: np.ndarray, number: int, one: Placed, ext: str) -> None:
    image_name, txt_name, json_name = member_names(one.best.key, ext)
    note(index, number, "image", tar.place(image_name, one.best.length), one.best.length)
    for member, name, data in (("txt", txt_name, one.best.caption.encode()),
                               ("json", json_name, sample_json(json_values(one.best)))):
        offset = tar.place(name, len(data))
        tar.append_at(offset, data)
        note(index, number, member, offset, len(data), zlib.crc32(data))


def _place_regions(tar: Tar, index: np.ndarray, number: int, one: Placed) -> None:
    offset = tar.place(regions_name(one.best.key), one.regions.length)
    note(index, number, "regions", offset, one.regions.length)


def _commit(tar: Tar, name: str) -> FileEntry:
    return tar.commit(lambda _: name)


def _all_of(directory: str, commits: Sequence[Callable[[], FileEntry]]) -> list[FileEntry]:
    """Returns the entries of files that are committed, on an object store side by side: each waits for its answers."""
    if not storage.is_remote(directory):
        return [commit() for commit in commits]
    with concurrent.futures.ThreadPoolExecutor(len(commits), thread_name_prefix="commits") as pool:
        return list(pool.map(lambda commit: commit(), commits))


def note(index: np.ndarray, number: int, member: str, offset: int, size: int, crc: int = 0) -> None:
    """Writes where a member lies into its row of the index."""
    index[f"{member}_offset"][number] = offset
    index[f"{member}_size"][number] = size
    index[f"{member}_crc"][number] = crc
