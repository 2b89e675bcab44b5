"""Whatever one item does to the child, it gets a reason, and every other item its answer, in order."""
from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from crawl.sandbox_client import Answer, Sandbox, SandboxLimits
from crawl.sandbox_process import SandboxError, environment

WORK = "tests.crawl.hostile_works:open_work"
QUICK = SandboxLimits(item_s=1.0)


def read(value: Any, body: bytes) -> tuple[str, int, bytes]:
    deed, size = value
    return deed, size, body


@contextlib.contextmanager
def opened(limits: SandboxLimits = QUICK) -> Iterator[Sandbox[tuple[str, int, bytes]]]:
    with Sandbox(WORK, read, limits=limits) as box:
        yield box


def reasons(box: Sandbox[Any], deeds: list[str]) -> list[str]:
    found = list(box.map((place, deed, b"%d." % place * 1000) for place, deed in enumerate(deeds)))
    assert [place for place, _ in found] == list(range(len(deeds)))
    for place, answer in found:
        if not answer.reason:
            body = b"%d." % place * 1000
            assert answer.result == (deeds[place], len(body), body[::-1])
    return [answer.reason for _, answer in found]


@pytest.mark.parametrize("deed, reason", [
    ("segfault", "crashed"), ("hang", "timeout"), ("hang_unalarmed", "timeout"), ("allocate", "out_of_memory"),
    ("lie", "crashed"), ("nonsense", "crashed"), ("exit", "crashed"), ("raise", "crashed"), ("open_file", "crashed"),
    ("flood", ""), ("show_limits", "")])
def test_the_culprit_alone_gets_the_reason(deed: str, reason: str) -> None:
    with opened() as box:
        assert reasons(box, ["good", "good", deed, "good", "good", "good"]) == ["", "", reason, "", "", ""]


def test_several_culprits_side_by_side_and_at_the_ends() -> None:
    with opened() as box:
        assert reasons(box, ["segfault", "raise", "good", "exit", "exit", "flood", "segfault"]) == [
            "crashed", "crashed", "", "crashed", "crashed", "", "crashed"]


def test_who_dies_only_of_what_came_before_is_not_blamed() -> None:
    with opened() as box:
        assert reasons(box, ["third_time"] * 7) == [""] * 7


def test_a_body_larger_than_the_pipes_goes_both_ways() -> None:
    body = bytes(range(256)) * 40_000
    with opened() as box:
        for _, answer in box.map((None, "good", body) for _ in range(5)):
            assert answer == Answer("", ("good", len(body), body[::-1]))


def test_an_old_child_is_replaced() -> None:
    with opened(SandboxLimits(items=3)) as box:
        pids = set()
        for _, answer in box.map((None, "good", b"x") for _ in range(10)):
            assert answer.reason == "" and box._child is not None
            pids.add(box._child.pid)
        assert len(pids) == 4


def test_an_answer_of_another_form_is_a_crash() -> None:
    def refuse(value: Any, body: bytes) -> None:
        raise ValueError("not what this work says")
    with Sandbox(WORK, refuse, limits=QUICK) as box:
        assert box.one("good", b"") == Answer("crashed", None)


def test_work_that_cannot_be_loaded_is_an_error_at_once_and_says_why() -> None:
    with Sandbox("tests.crawl.hostile_works:open_nothing", read) as box, \
            pytest.raises(SandboxError, match="does not start.*no module named") as caught:
        box.one("good", b"")
    assert "\x1b" not in str(caught.value)


def test_what_a_child_said_is_logged_escaped_and_bounded(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "crawl.sandbox_client"), opened() as box:
        assert box.one("raise", b"").reason == "crashed"
    assert "a bug, or a page that finds one" in caplog.text and "\x1b" not in caplog.text
    assert len(caplog.text) < 4000


def test_a_consumer_that_leaves_early_leaves_nothing_for_the_next() -> None:
    with opened() as box:
        for _, answer in box.map((None, "good", b"first" * place) for place in range(10)):
            assert answer.reason == ""
            break
        assert reasons(box, ["good"] * 3) == [""] * 3


def test_no_child_is_left_when_it_is_closed() -> None:
    with opened() as box:
        box.one("good", b"")
        assert box._child is not None
        pid = box._child.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_killed_parent_leaves_no_child_behind_idle_or_hanging() -> None:
    script = ("import sys, threading\nfrom crawl.sandbox_client import Sandbox, SandboxLimits\n"
              f"boxes = [Sandbox({WORK!r}, lambda *a: a, limits=SandboxLimits(item_s=2.0)) for _ in range(2)]\n"
              "for box in boxes: box.one('good', b'')\n"
              "threading.Thread(target=boxes[1].one, args=('hang', b''), daemon=True).start()\n"
              "print(*[box._child.pid for box in boxes], flush=True)\nsys.stdin.read()\n")
    parent = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              env=environment())
    assert parent.stdout is not None and parent.stdin is not None
    pids = [int(text) for text in parent.stdout.readline().split()]
    time.sleep(0.2)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    parent.stdin.close()
    deadline = time.monotonic() + 10
    while any(map(_is_running, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(_is_running, pids))


def _is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_each_thread_has_its_own() -> None:
    found: dict[int, list[str]] = {}

    def work(number: int) -> None:
        with opened() as box:
            found[number] = reasons(box, ["good", "segfault", "good"] if number else ["good"] * 5)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {0: [""] * 5, 1: ["", "crashed", ""], 2: ["", "crashed", ""]}


def test_the_child_has_nothing_of_our_environment() -> None:
    os.environ["IMAGEBERT_TEST_SECRET"] = "x"
    try:
        shown = subprocess.run([sys.executable, "-c", "import os, json; print(json.dumps(dict(os.environ)))"],
                               env=environment(), stdout=subprocess.PIPE, check=True).stdout
    finally:
        del os.environ["IMAGEBERT_TEST_SECRET"]
    assert set(json.loads(shown)) <= {"LC_ALL", "LC_CTYPE", "PYTHONDONTWRITEBYTECODE", "OMP_NUM_THREADS",
                                      "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "PYTHONPATH", "LD_LIBRARY_PATH"}
