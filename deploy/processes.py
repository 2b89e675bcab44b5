"""Processes that outlive the command that started them: started in sessions of their own, stopped by pid.

HOME/state.json has every pid with the time its process began, so a pid that the kernel gave to another is never killed.
"""
from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import socket
import time
from collections.abc import Callable

from crawl.errors import UsageError

_STOP_S = 15.0
_STATE = "state.json"


@dataclasses.dataclass(frozen=True, slots=True)
class Started:
    """A process that was started; it leads a session, and so a process group, of its own."""

    name: str
    pid: int
    began: str                     # the kernel's clock ticks, as text


@dataclasses.dataclass(frozen=True, slots=True)
class State:
    """What runs, and where it listens."""

    processes: tuple[Started, ...]
    ports: dict[str, int]

    def pid(self, name: str) -> int:
        """Returns the pid of a process by its name."""
        return next(one.pid for one in self.processes if one.name == name)


def read_state(home: pathlib.Path) -> State | None:
    """Returns what was started in a home, None where nothing was."""
    path = home / _STATE
    if not path.exists():
        return None
    value = json.loads(path.read_text())
    return State(tuple(Started(**one) for one in value["processes"]), value["ports"])


def write_state(home: pathlib.Path, state: State) -> None:
    """Writes the state, at once or not at all."""
    temporary = home / f"{_STATE}.tmp"
    temporary.write_text(json.dumps(dataclasses.asdict(state), indent=1) + "\n")
    os.replace(temporary, home / _STATE)


def start(home: pathlib.Path, name: str, command: list[str], environment: dict[str, str] | None = None) -> Started:
    """Starts a process (its full path comes first) whose output goes to HOME/logs/NAME.out."""
    logs = home / "logs"
    logs.mkdir(exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    pid = os.posix_spawn(command[0], command, environment or os.environ, setsid=True, file_actions=[
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(logs / f"{name}.out"), flags, 0o644), (os.POSIX_SPAWN_DUP2, 1, 2)])
    return Started(name, pid, _began(pid))


def is_running(one: Started) -> bool:
    """Returns whether it still runs; a process that ended and waits for its parent does not."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(one.pid, os.WNOHANG)
    return bool(one.began) and _began(one.pid) == one.began


def stop(processes: tuple[Started, ...]) -> None:
    """Stops processes and what they started: asked first, killed after some seconds."""
    running = [one for one in processes if is_running(one)]
    for one in running:
        _signal(one, signal.SIGTERM)
    end = time.monotonic() + _STOP_S
    while time.monotonic() < end and any(is_running(one) for one in running):
        time.sleep(0.1)
    for one in running:
        _signal(one, signal.SIGKILL)               # the group outlives its leader where a worker is deaf
    while any(_members(one) for one in running):
        time.sleep(0.05)


def _signal(one: Started, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(one.pid, number)


def _members(one: Started) -> list[str]:
    """Returns the pids of a process group that still run."""
    found = ((path.name, _stat(path.name)) for path in pathlib.Path("/proc").iterdir() if path.name.isdigit())
    return [pid for pid, fields in found if fields and fields[2] == str(one.pid)]


def _began(pid: int) -> str:
    """Returns when a process began, in the kernel's clock ticks; empty for one that is gone or a zombie."""
    fields = _stat(str(pid))
    return fields[19] if fields else ""


def _stat(pid: str) -> list[str]:
    """Returns the kernel's words on a process from its state on; none for one that is gone or a zombie."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [] if fields[0] in "ZX" else fields


def wait_until(ready: Callable[[], bool], one: Started, home: pathlib.Path, seconds: float, what: str) -> None:
    """Returns when `ready`; raises UsageError when the process ends before, or when the time is up."""
    end = time.monotonic() + seconds
    log = home / "logs" / f"{one.name}.out"
    while not ready():
        if not is_running(one):
            lines = log.read_text(errors="replace").splitlines()
            said = [line for line in lines if line.strip()] or ["it said nothing"]
            raise UsageError(f"{one.name} ended at once: {said[-1][:300]}; its log is {log}")
        if time.monotonic() > end:
            raise UsageError(f"{one.name}: {what} within {seconds:.0f} s; its log is {log}")
        time.sleep(0.1)


def port_for(name: str, wanted: int) -> int:
    """Returns the wanted port of 127.0.0.1, any free one for 0; raises UsageError for one that is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError as error:
            raise UsageError(f"{name}={wanted}: the port is taken on 127.0.0.1 ({error.strerror}); "
                             f"stop what holds it, or set {name}=0 for any free one") from error
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Returns whether something answers on a port of 127.0.0.1."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
