"""The index of a shard: one row a sample in tar order, a memory-mapped .npy beside the tar.

With it a reader seeks to any member without walking the tar, and a planner knows lengths before it reads a byte.
An index can be made by one pass over any WebDataset tar.
"""
from __future__ import annotations

import functools
import hashlib
import io
import mmap
import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Collection, Iterator
from typing import Any

import numpy as np

from crawl import storage
from crawl.errors import UsageError
from shards.regions import unpack
from shards.sample import KEY_LENGTH, REGIONS_SUFFIX

# Offsets are of the member's data.  A size of 0 says that the sample has no such member.
INDEX_DTYPE = np.dtype([
    ("key", f"S{KEY_LENGTH}"),
    ("image_offset", "<u8"), ("image_size", "<u4"), ("image_crc", "<u4"),
    ("txt_offset", "<u8"), ("txt_size", "<u4"), ("txt_crc", "<u4"),
    ("json_offset", "<u8"), ("json_size", "<u4"), ("json_crc", "<u4"),
    ("regions_offset", "<u8"), ("regions_size", "<u4"), ("regions_crc", "<u4"),   # in the regions tar
    ("num_regions", "<u2"),
    ("num_tokens", "<u2"),         # word pieces of the caption, at most 41
    ("num_cut", "<u2"),            # pieces beyond 41, at most 65535
    ("image_hash", "<u8"),         # first 64 bits of the sha256 of the image bytes
    ("group_hash", "<u8"),         # equal for pictures the near-duplicate rule saw as one
    ("caption_hash", "<u8"),       # of the normalised caption
])

_MAX_HEAD = 10 + 65_535            # of a .npy of version 1.0
_IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp")
MEMBERS = ("image", "txt", "json", "regions")
_MEMBER_OF = dict.fromkeys(_IMAGE_SUFFIXES, "image") | {"txt": "txt", "json": "json", REGIONS_SUFFIX: "regions"}


def encode_index(rows: np.ndarray) -> bytes:
    """Returns the .npy bytes of index rows (INDEX_DTYPE); equal rows, equal bytes."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(rows, dtype=INDEX_DTYPE), version=(1, 0),
                              allow_pickle=False)
    return buffer.getvalue()


def write_index(path: str, rows: np.ndarray) -> None:
    """Writes index rows as a local .npy."""
    with open(path, "wb") as file:
        file.write(encode_index(rows))


def load_index(path: str) -> np.ndarray:
    """Returns the rows of an index, memory-mapped; raises UsageError when the file is no index of ours.

    One on an object store is copied to a file without a name first.
    """
    try:
        if storage.is_remote(path):
            with tempfile.TemporaryFile(suffix=".idx.npy") as file, storage.opened(path) as source:
                shutil.copyfileobj(source, file, storage.WINDOW)
                file.flush()
                rows = _mapped(file.fileno())
        else:
            with open(path, "rb", buffering=0) as file:
                rows = _mapped(file.fileno())
    except FileNotFoundError as error:
        raise UsageError(f"{path}: no such index; build the shards again or index the tar") from error
    except storage.StoreUsageError:
        raise
    except (ValueError, EOFError, OSError) as error:
        raise UsageError(f"{path}: not an index ({error}); copy it again or build the shards again") from error
    if rows is None:
        raise UsageError(f"{path}: an index of another version; build the shards again")
    return rows


def _mapped(file: int) -> np.ndarray | None:
    """Returns the rows of an open index without reading them; None for a .npy of something else."""
    head = os.pread(file, _MAX_HEAD, 0)
    found = _head_of(head[:10 + int.from_bytes(head[8:10], "little")])
    if found is None:
        return None
    rows, begin = found
    if not rows:
        return np.zeros(0, INDEX_DTYPE)
    return np.frombuffer(mmap.mmap(file, 0, access=mmap.ACCESS_READ), INDEX_DTYPE, rows, begin)


@functools.lru_cache(maxsize=256)
def _head_of(head: bytes) -> tuple[int, int] | None:
    """Returns the rows and the bytes of the head of an index, None for another array; one length has one head."""
    file = io.BytesIO(head)
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        return None
    shape, _, kind = np.lib.format.read_array_header_1_0(file)
    return (shape[0], len(head)) if kind == INDEX_DTYPE and len(shape) == 1 else None


def without(rows: np.ndarray, removed: Collection[str]) -> np.ndarray:
    """Returns the rows of an index whose key is not among the removed ones, in their order."""
    gone = np.array(sorted(key.encode() for key in removed), dtype=f"S{KEY_LENGTH}")
    return np.asarray(rows[~np.isin(rows["key"], gone)])


def hash64(data: bytes) -> int:
    """Returns the first 64 bits of the sha256 of data."""
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big")


def index_tar(path: str, regions_path: str = "", count_pieces: Callable[[str], int] | None = None) -> np.ndarray:
    """Returns the index of any WebDataset tar, made by one pass over it (and one over its regions tar).

    Args:
        regions_path: the sibling tar with regions; "" where regions lie in the tar itself, or nowhere.
        count_pieces: caption -> number of word pieces; without it `num_tokens` is 0.

    A key longer than 32 bytes is kept as 32 hex digits of its sha256.  Hashes are of the bytes found; images are
    their own groups.  Raises UsageError for a tar that is damaged or holds no sample.
    """
    rows: dict[str, dict[str, Any]] = {}
    for key, suffix, offset, data in members_of(path):
        if f"{_MEMBER_OF.get(suffix, '?')}_offset" in rows.get(key, ()):
            raise UsageError(f"{path}: {key} has a second {_MEMBER_OF[suffix]} member ({suffix}) at offset {offset}; a "
                             f"key stands for one sample (it ends at the first dot of the name), write the tar again")
        _take(rows.setdefault(key, {}), path, key, suffix, offset, data, count_pieces)
    if regions_path:
        for key, suffix, offset, data in members_of(regions_path):
            if suffix == REGIONS_SUFFIX and key in rows:
                _take(rows[key], regions_path, key, suffix, offset, data, None)
    listed = [(key, row) for key, row in rows.items() if row]
    if not listed:
        raise UsageError(f"{path}: no sample in this tar; members are named KEY.jpg, KEY.txt, KEY.json, and a key "
                         f"has no dot: `a.b.jpg` is the member `b.jpg` of the sample `a`")
    index = np.zeros(len(listed), INDEX_DTYPE)
    for number, (key, row) in enumerate(listed):
        index[number]["key"] = stored_key(key)
        for name, value in row.items():
            index[number][name] = value
    return index


def stored_key(key: str) -> bytes:
    """Returns a key as the index holds it: itself up to 32 bytes, else 32 hex digits of its sha256."""
    raw = key.encode()
    return raw if len(raw) <= KEY_LENGTH else hashlib.sha256(raw).hexdigest()[:KEY_LENGTH].encode()


def members_of(path: str) -> Iterator[tuple[str, str, int, bytes]]:
    """Yields key, suffix, data offset and data of a tar's files; the key ends at the first dot of the base name."""
    try:
        with storage.opened(path) as source, tarfile.open(fileobj=source, mode="r:") as tar:
            for member in tar:
                if member.isfile():
                    folder, slash, base = member.name.rpartition("/")
                    stem, _, suffix = base.partition(".")
                    file = tar.extractfile(member)
                    data = file.read() if file else b""
                    if len(data) != member.size:
                        raise tarfile.ReadError("unexpected end of data")
                    yield folder + slash + stem, suffix.lower(), member.offset_data, data
    except (FileNotFoundError, IsADirectoryError) as error:
        raise UsageError(f"{path}: no such shard") from error
    except tarfile.TarError as error:
        raise UsageError(f"{path}: not a whole tar ({error}); copy it again") from error


def _take(row: dict[str, Any], path: str, key: str, suffix: str, offset: int, data: bytes,
          count_pieces: Callable[[str], int] | None) -> None:
    if suffix in _IMAGE_SUFFIXES:
        name = "image"
        row["image_hash"] = row["group_hash"] = hash64(data)
    elif suffix == "txt":
        name = "txt"
        caption = data.decode(errors="replace")
        row["caption_hash"] = hash64(" ".join(caption.lower().split()).encode())
        if count_pieces is not None:
            from shards.tokens import MAX_PIECES
            pieces = count_pieces(caption)
            row["num_tokens"], row["num_cut"] = min(pieces, MAX_PIECES), min(max(pieces - MAX_PIECES, 0), 65535)
    elif suffix == "json":
        name = "json"
    elif suffix == REGIONS_SUFFIX:
        name = "regions"
        try:
            row["num_regions"] = len(unpack(data))
        except ValueError as error:
            raise UsageError(f"{path}: {key} at offset {offset}: {error}") from error
    else:
        return
    row[f"{name}_offset"], row[f"{name}_size"], row[f"{name}_crc"] = offset, len(data), zlib.crc32(data)
