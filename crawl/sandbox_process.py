"""One sandbox process from its parent's side: started, fed, drained, killed.  Its protocol is in crawl/sandbox.py."""
from __future__ import annotations

import collections
import contextlib
import fcntl
import json
import os
import pathlib
import select
import signal
import subprocess
import sys
import sysconfig
import time
import weakref
from typing import Any

from crawl.sandbox import FRAME

_PIPE_BYTES = 1 << 20
_MAX_ANSWER = 64 << 20             # bytes; a longer answer is a lie
_KEPT_STDERR = 4096                # bytes, the last ones
_START_S = 60.0
_GRACE_S = 2.0                     # after the child's own alarm
_ROOT = str(pathlib.Path(__file__).resolve().parent.parent)
_CLOSED = select.POLLHUP | select.POLLERR | select.POLLNVAL


class SandboxError(RuntimeError):
    """A sandbox that does not start: nothing that hostile bytes could do."""


class Ended(Exception):
    """The child died, hung or talked nonsense; `reason` says which: crashed, timeout, out_of_memory."""

    def __init__(self, reason: str, said: str) -> None:
        super().__init__(f"{reason}: {said}" if said else reason)
        self.reason = reason
        self.said = said


def environment() -> dict[str, str]:
    """Returns the whole environment of a child: nothing of ours but how to find Python and the packages."""
    found = {"LC_ALL": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
             "MKL_NUM_THREADS": "1"}
    if _ROOT not in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        found["PYTHONPATH"] = _ROOT
    if "LD_LIBRARY_PATH" in os.environ:            # without it some interpreters do not start
        found["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
    return found


class SandboxProcess:
    """A running child.  Not for several threads at once."""

    def __init__(self, work: str, settings: Any, memory: int, item_s: float) -> None:
        """Starts a child and waits until its work is loaded; raises SandboxError where it cannot start."""
        command = [sys.executable, "-s", "-m", "crawl.sandbox", work, json.dumps(settings), str(memory), str(item_s)]
        # A group of its own: an interrupt at the terminal is the parent's to handle.
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         stderr=subprocess.PIPE, bufsize=0, cwd="/", env=environment(),
                                         process_group=0)
        self._finalizer = weakref.finalize(self, _end, self._process)
        assert self._process.stdin and self._process.stdout and self._process.stderr
        self._in, self._out, self._err = (pipe.fileno() for pipe in (
            self._process.stdin, self._process.stdout, self._process.stderr))
        for pipe in (self._in, self._out):
            with contextlib.suppress(OSError):         # more than this user may have: the usual size does
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        os.set_blocking(self._in, False)
        self._item_s = item_s
        self._outbox: collections.deque[memoryview] = collections.deque()
        self._inbox = bytearray()
        self._stderr = bytearray()
        self._poll = select.poll()
        self._poll.register(self._out, select.POLLIN)
        self._poll.register(self._err, select.POLLIN)
        self._writing = False
        self.answered = 0
        self.sent = 0
        self.bytes_sent = 0
        try:
            self._frame(_START_S)
        except Ended as end:
            self.kill()
            raise SandboxError(f"the sandbox for {work} does not start ({end}); "
                               f"`{sys.executable} -m crawl.sandbox {work}` by hand says why") from end

    @property
    def pid(self) -> int:
        """Returns the process id."""
        return self._process.pid

    def send(self, header: bytes, body: bytes) -> None:
        """Queues a request; it is written while answers are waited for."""
        self.sent += 1
        self.bytes_sent += len(body)
        self._outbox.append(memoryview(FRAME.pack(len(header), len(body)) + header))
        if body:
            self._outbox.append(memoryview(body))

    def receive(self) -> tuple[Any, bytes]:
        """Returns value and body of the next answer; raises Ended when there is none."""
        encoded, blob = self._frame(self._item_s + _GRACE_S)
        try:
            answer = json.loads(encoded.decode("utf-8", "surrogatepass"))
        except (ValueError, RecursionError) as error:
            raise Ended("crashed", f"no answer: {type(error).__name__}") from error
        if not isinstance(answer, list) or len(answer) not in (1, 2):
            raise Ended("crashed", "no answer")
        if len(answer) == 2:
            raise Ended("out_of_memory" if answer[1] == "out_of_memory" else "crashed", self.stderr())
        self.answered += 1
        return answer[0], blob

    def stderr(self) -> str:
        """Returns the end of what the child said, in printable ASCII."""
        self._drain_stderr()
        return bytes(self._stderr).decode("ascii", "backslashreplace").encode("unicode_escape").decode("ascii")

    def kill(self) -> None:
        """Ends the child now."""
        self._finalizer()

    def _frame(self, seconds: float) -> tuple[bytes, bytes]:
        deadline = time.monotonic() + seconds
        while True:
            if len(self._inbox) >= FRAME.size:
                first, second = FRAME.unpack_from(self._inbox)
                if first + second > _MAX_ANSWER:
                    raise Ended("crashed", f"an answer of {first + second} bytes")
                end = FRAME.size + first + second
                if len(self._inbox) >= end:
                    encoded, blob = bytes(self._inbox[FRAME.size:FRAME.size + first]), bytes(
                        self._inbox[FRAME.size + first:end])
                    del self._inbox[:end]
                    return encoded, blob
            self._pump(deadline)

    def _pump(self, deadline: float) -> None:
        """Moves bytes once, whichever way they can go."""
        if bool(self._outbox) != self._writing:
            self._writing = not self._writing
            if self._writing:
                self._poll.register(self._in, select.POLLOUT)
            else:
                self._poll.unregister(self._in)
        left = deadline - time.monotonic()
        if left <= 0:
            raise Ended("timeout", self.stderr())
        events = dict(self._poll.poll(left * 1000))
        if events.get(self._err):
            self._read_stderr()
        if events.get(self._out):
            piece = os.read(self._out, _PIPE_BYTES)
            if not piece:
                raise Ended(self._cause_of_death(), self.stderr())
            self._inbox += piece
        elif events.get(self._in, 0) & (select.POLLOUT | _CLOSED):
            self._write()

    def _write(self) -> None:
        while self._outbox:
            try:
                written = os.write(self._in, self._outbox[0])
            except BlockingIOError:
                return
            except BrokenPipeError:
                self._outbox.clear()               # what it still answered is read, then its end is seen
                return
            if written == len(self._outbox[0]):
                self._outbox.popleft()
            else:
                self._outbox[0] = self._outbox[0][written:]

    def _read_stderr(self) -> bool:
        piece = os.read(self._err, 1 << 16)
        if not piece:
            self._poll.unregister(self._err)
            return False
        self._stderr = (self._stderr + piece)[-_KEPT_STDERR:]
        return True

    def _drain_stderr(self) -> None:
        ready = select.poll()
        ready.register(self._err, select.POLLIN)
        for _ in range(64):                        # a flood is not followed to its end
            if not any(event & select.POLLIN for _, event in ready.poll(0)):
                return
            piece = os.read(self._err, 1 << 16)
            if not piece:
                return
            self._stderr = (self._stderr + piece)[-_KEPT_STDERR:]

    def _cause_of_death(self) -> str:
        try:
            code = self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:          # it closed its output and lives on
            return "crashed"
        if code in (-signal.SIGALRM, -signal.SIGXCPU):
            return "timeout"
        return "out_of_memory" if code == -signal.SIGKILL else "crashed"      # the kernel's killer uses SIGKILL


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    process.wait()
