"""Files that a run holds open: more than a process is given at first, where a set has thousands of shards."""
from __future__ import annotations

import resource

from crawl.errors import UsageError

_A_SHARD = 3       # its two tars and the map of its index
_BESIDE = 256      # libraries, logs, checkpoints, connections


def make_room(shards: int) -> None:
    """Raises the process's own limit of open files as far as `shards` need it; raises UsageError where it may not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _A_SHARD * shards + _BESIDE
    if soft == resource.RLIM_INFINITY or wanted <= soft:
        return
    if hard != resource.RLIM_INFINITY and wanted > hard:
        raise UsageError(f"{shards} shards are {wanted} open files, this process may have {hard}; raise the limit "
                         f"(ulimit -Hn {wanted}), or make larger shards with `imagebert shards reshard`")
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
