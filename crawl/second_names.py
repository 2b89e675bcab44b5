"""A file that is there already, under a second name: a hard link on a disk, a copy that the object store makes itself.

So neither costs a byte that passes through this machine.
"""
from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from crawl import storage
from crawl.object_store import located, told

_NO_LINKS = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP})
_ASKED_AT_ONCE = 32                # copies that one object store makes for us


def second_name(source: str, target: str) -> None:
    """Gives a file a second name, which is replaced where it is taken; a copy where the disk knows no links.

    Both are in one place: on disks, or in one bucket.
    """
    if storage.is_remote(target):
        store, name = located(target)
        with told(source):
            store.copy(located(source)[1], name)
        return
    if os.path.exists(target) and os.path.samefile(source, target):
        return
    temporary = f"{target}.{os.getpid()}.tmp"
    with storage.disk(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        try:
            os.link(source, temporary)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            shutil.copyfile(source, temporary)
        os.replace(temporary, target)


def second_names(pairs: Iterable[tuple[str, str]]) -> None:
    """Gives each (source, target) its second name, of an object store many at a time."""
    listed = list(pairs)
    if not any(storage.is_remote(target) for _, target in listed):
        for source, target in listed:
            second_name(source, target)
        return
    with ThreadPoolExecutor(_ASKED_AT_ONCE, thread_name_prefix="copies") as pool:
        for _ in pool.map(lambda pair: second_name(*pair), listed):
            pass
