"""The byte parts of a fetch shard: bodies are written once, and a part exists when its small JSON file does.

    STAGE/shard-0007/part-00000-3f0c51a2b7de.warc.gz    page answers, or
    STAGE/shard-0007/part-00000-3f0c51a2b7de.tar        images: plain tar of the original bytes
    STAGE/shard-0007/part-00000-77aa01b9e2c4.parquet    one log row for each row of the list, as they ended
    STAGE/shard-0007/part-00000-90ab4f11d3e0.hosts.parquet    robots answers
    STAGE/shard-0007/part-00000-5d01c2aa93e7.robots.warc.gz   and the captures that they were read from
    STAGE/shard-0007/part-00000.json                    names, sizes and sha256 of them, written last

The bytes' names carry their own sha256, so what a killed run left under no JSON file is never mistaken for anything,
and of two runs over one shard the first to write a JSON file wins while the other gets CommitConflict.  A part is
written where it stays on a local disk, and to a temporary file that is then uploaded piece by piece for an object
store: in memory there are the rows, the robots answers, and nothing of the bodies.
"""
from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import json
import os
import re
import socket
import tarfile
import tempfile
import time
import types
from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO

from crawl import storage
from crawl.answers import SiteAnswer
from crawl.errors import UsageError
from crawl.records import FetchLog, Host, ImageLog
from crawl.robots_captures import CaptureFile
from crawl.sealed_part import SealedPart
from crawl.tables import FileEntry, from_row

_BLOCK = 512                       # tar
_HELD = 32 << 20                   # bytes of robots answers in memory
_KEEP_EVERY_S = 1.0                # while nothing else can be done
_PART = re.compile(r"part-\d{5,}\.json")
_OPEN = "open"                     # first word of the name of a part that is being written
_NO_ANSWERS: Mapping[str, tuple[SiteAnswer, ...]] = types.MappingProxyType({})


@dataclasses.dataclass(frozen=True, slots=True)
class PartLimits:
    """When a part is closed.  A kill can lose what is open and the part before it, while that is on its way."""

    rows: int = 5_000              # log rows wait in memory, 2 to 4 KB each
    bytes: int = 256 << 20
    seconds: float = 300.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if not getattr(self, field.name) > 0:
                raise ValueError(f"{field.name} of a part is {getattr(self, field.name)}; it must be above 0")


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """One committed part of a fetch shard; names are relative to the stage folder."""

    shard: int
    index: int
    bytes: FileEntry
    log: FileEntry                 # of FetchLog or ImageLog rows, with their outcomes
    hosts: FileEntry               # of Host rows
    robots: tuple[FileEntry, ...]  # WARC of what they were read from: one, or none where no site was asked


def shard_name(shard: int) -> str:
    """Returns the folder of a shard inside its stage.

    >>> shard_name(7)
    'shard-0007'
    """
    return f"shard-{shard:04d}"


def committed(directory: str, shard: int, first: int = 0) -> Iterator[Part]:
    """Yields the committed parts of a shard by their numbered names, in order, from number `first` on."""
    for index in range(first, 1 << 31):
        path = storage.join(directory, shard_name(shard), _json_name(index))
        if not storage.exists(path):
            return
        value = json.loads(storage.read_bytes(path))
        yield _part(shard, index, {name: _entry(entry) for name, entry in value.items()})


def refuse_gap(directory: str, shard: int, index: int) -> None:
    """Raises UsageError when part `index` of a shard is missing, and a part after it is there: a person removed it.

    What it held would be fetched again beside the later parts, some of it twice.  To be called by who may commit.
    """
    names = storage.names_in(storage.join(directory, shard_name(shard)))
    later = sorted(name for name in names if _PART.fullmatch(name) and name > _json_name(index))
    if later:
        missing = storage.join(directory, shard_name(shard), _json_name(index))
        raise UsageError(f"{missing}: it is missing, and {', '.join(later[:3])}{' ...' if len(later) > 3 else ''} "
                         f"after it not; put it back, or remove those {len(later)} too, whose rows are fetched again")


def _json_name(index: int) -> str:
    return f"part-{index:05d}.json"


def _part(shard: int, index: int, entries: Mapping[str, FileEntry]) -> Part:
    return Part(shard, index, entries["bytes"], entries["log"], entries["hosts"],
                tuple(entries[name] for name in ("robots",) if name in entries))


def _entry(value: dict[str, object]) -> FileEntry:
    outcomes = value["outcomes"]
    assert isinstance(outcomes, list)
    return from_row(FileEntry, value | {"outcomes": [tuple(pair) for pair in outcomes]})


class PartWriter:
    """The open part of one shard: bodies go to a temporary file, rows wait in memory until both are committed.

    A full part is sealed, stored by a thread, and settled when that is done: rows of two parts are in memory at most,
    and two parts are what a kill can lose.
    """

    def __init__(self, directory: str, out: str, shard: int, index: int, kind: str, limits: PartLimits,
                 opening: Callable[[str], bytes], clock: Callable[[], float] = time.monotonic,
                 confirm: Callable[[], None] = lambda: None, keep: Callable[[], None] = lambda: None,
                 capturing: Callable[[str], CaptureFile] = CaptureFile) -> None:
        """Args:
            opening(name): the bytes a file of this name begins with.
            capturing(name): makes the file of captures of the part of this name.
            confirm: raises when a part is not ours to commit any more; called before the first and the last write.
            keep: called now and then while nothing is done but wait for the storage.
        """
        self._directory = directory
        self._out = out
        self._shard = shard
        self._kind = kind
        self._limits = limits
        self._opening = opening
        self._clock = clock
        self._confirm = confirm
        self._keep = keep
        self._capturing = capturing
        self._index = index
        self._folder = storage.join(directory, shard_name(shard))
        self._local = tempfile.gettempdir() if storage.is_remote(directory) else self._folder
        self._file: BinaryIO | None = None
        self._rows: list[tuple[FetchLog, tuple[int, int] | None]] = []     # and where their bytes are
        self._hosts: list[Host] = []
        self._captures = capturing(self._name)
        self._stored: dict[str, tuple[int, int]] = {}        # sha256 of an image -> its place in this part
        self._size = 0
        self._held = 0                                       # bytes of the hosts' files, without the captures
        self._hash = hashlib.sha256()
        self._opened_at = clock()
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "store-part")
        self._sealed: SealedPart | None = None               # on its way, at most one
        self._storing: concurrent.futures.Future[dict[str, FileEntry]] | None = None
        remove_leftovers(self._local, "" if self._local == self._folder else self._prefix)

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self._thread.shutdown()
        if self._sealed is not None:
            self._sealed.discard()
        if self._file is not None:
            with contextlib.suppress(OSError):                 # what is left in its buffer is thrown away
                self._file.close()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._file.name)
        self._sealed = self._storing = self._file = None

    @property
    def _prefix(self) -> str:
        # One name for each shard of each stage, also in a shared temporary folder.
        identity = hashlib.sha256(self._folder.encode()).hexdigest()[:12]
        return f"{_OPEN}-{identity}.{socket.gethostname()}-"

    @property
    def _name(self) -> str:
        return f"{shard_name(self._shard)}/part-{self._index:05d}"

    def add(self, row: FetchLog, hosts: list[Host], stored: bytes = b"", before: bytes = b"", revisit: bytes = b"",
            answers: Mapping[str, tuple[SiteAnswer, ...]] = _NO_ANSWERS) -> None:
        """Adds a row and, if there are any, the bytes to store for it: a WARC member, or an image.

        `answers` are what the hosts were read from, by authority.

        `before` is stored in front of them and not addressed: the members of the request and of metadata.  The row's
        address is set when the part is committed: that of the bytes, or of the `revisit` record that says that those at
        the address which the row has already still stand.
        """
        if not self._rows:
            self._opened_at = self._clock()
        self._hosts += [self._captures.add(host, found) if (found := answers.get(host.authority)) else host
                        for host in hosts]
        self._held += sum(len(host.body) + len(host.tdm_body) + len(host.ai_body) for host in hosts)
        if before:
            self._append(before)
        place = None
        if stored or revisit:
            place = self._store_image(row, stored) if self._kind == "image" else self._append(stored or revisit)
        self._rows.append((row, place))

    def is_full(self) -> bool:
        """Returns whether the part has reached one of its limits."""
        return bool(self._rows) and (
            len(self._rows) >= self._limits.rows or self._size >= self._limits.bytes
            or self._held + self._captures.size >= _HELD or self._clock() - self._opened_at >= self._limits.seconds)

    def seal(self) -> Part | None:
        """Ends the open part, which is stored in a thread from now on, and opens the next; does nothing without rows.

        One part at a time is on its way: for the one before this waits, commits it and returns it.
        """
        before = self.settle(wait=True)
        if not self._rows:
            return before
        self._confirm()
        self._append(b"\0" * (2 * _BLOCK) if self._kind == "image" else b"")
        assert self._file is not None
        self._sealed = SealedPart(self._index, self._kind, self._directory, self._out, shard_name(self._shard),
                                  self._file, self._hash.hexdigest(), self._rows, self._hosts, self._captures.data)
        self._storing = self._thread.submit(self._sealed.store)
        self._file, self._rows, self._hosts, self._size, self._held = None, [], [], 0, 0
        self._stored.clear()
        self._index += 1
        self._captures = self._capturing(self._name)
        return before

    def settle(self, *, wait: bool = False) -> Part | None:
        """Commits the sealed part if it is stored by now; returns None when there is none, or it is not.

        Raises storage.CommitConflict when another run has committed a part of this number.
        """
        if self._sealed is None or self._storing is None:
            return None
        while wait and not concurrent.futures.wait([self._storing], _KEEP_EVERY_S).done:
            self._keep()
        if not self._storing.done():
            return None
        entries, index = self._storing.result(), self._sealed.index
        self._confirm()
        storage.commit_bytes(storage.join(self._folder, _json_name(index)), (json.dumps(
            {name: dataclasses.asdict(entry) for name, entry in entries.items()}, sort_keys=True, indent=1)
            + "\n").encode())
        self._sealed = self._storing = None
        return _part(self._shard, index, entries)

    def commit(self) -> Part | None:
        """Commits the sealed part, or else what was added since; returns None when there is neither."""
        if self._sealed is None:
            self.seal()
        return self.settle(wait=True)

    def _append(self, data: bytes) -> tuple[int, int]:
        """Writes bytes to the open file; returns their offset and length."""
        if self._file is None:
            os.makedirs(self._local, exist_ok=True)
            name = f"{self._prefix}{os.getpid()}-{os.urandom(4).hex()}.tmp"
            self._file = open(os.path.join(self._local, name), "w+b")      # noqa: SIM115, closed by commit or exit
            self._size, self._hash = 0, hashlib.sha256()
            self._write(self._opening(self._name))
        return self._write(data)

    def _write(self, data: bytes) -> tuple[int, int]:
        assert self._file is not None
        with storage.disk(self._file.name):
            self._file.write(data)
        self._hash.update(data)
        offset, self._size = self._size, self._size + len(data)
        return offset, len(data)

    def _store_image(self, row: FetchLog, data: bytes) -> tuple[int, int]:
        """Writes a tar member named by its hash, once in a part; returns where the image's own bytes are."""
        if row.sha256 not in self._stored:
            assert isinstance(row, ImageLog)
            header = member_header(f"{row.sha256}.{row.format}", len(data))
            offset, _ = self._append(header + data + b"\0" * (-len(data) % _BLOCK))
            self._stored[row.sha256] = offset + len(header), len(data)
        return self._stored[row.sha256]


def _empty_header() -> bytes:
    member = tarfile.TarInfo()
    member.mode, member.mtime = 0o644, 0
    header = member.tobuf(tarfile.USTAR_FORMAT)
    return header[:148] + b" " * 8 + header[156:]


_HEADER = _empty_header()


def member_header(name: str, size: int) -> bytes:
    """Returns the header of a tar member as `tarfile` writes it (ustar, mode 644, mtime 0), in a tenth of its time.

    Args: name: of at most 100 ASCII characters.
    """
    header = bytearray(_HEADER)
    header[:len(name)] = name.encode("ascii")
    header[124:135] = b"%011o" % size
    header[148:155] = b"%06o\0" % sum(header)                    # blanks stand there until now
    return bytes(header)


def remove_leftovers(folder: str, prefix: str = "") -> None:
    """Removes what killed runs on this machine were writing in a local folder: parts, tables, leases.

    Nothing is decided by its being there.
    """
    if not os.path.isdir(folder):
        return
    for name in sorted(os.listdir(folder)):
        process = name.removesuffix(".tmp").partition(f".{socket.gethostname()}-")[2]
        pid = process.partition("-")[0]
        if name.startswith(prefix) and name.endswith(".tmp") and pid.isdigit() and not _is_running(int(pid)):
            os.unlink(os.path.join(folder, name))


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
