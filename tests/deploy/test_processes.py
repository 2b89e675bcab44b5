"""Processes are stopped by pid, with what they started, and never one that is not ours."""
import os
import socket
import sys

import pytest

from crawl.errors import UsageError
from deploy.processes import (
    Started,
    State,
    _began,
    is_running,
    port_for,
    read_state,
    start,
    stop,
    wait_until,
    write_state,
)

_DEAF = "import signal,subprocess,time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"


def test_what_was_started_is_stopped_and_what_that_started(tmp_path):
    one = start(tmp_path, "parent", ["/bin/sh", "-c", "sleep 60 & echo $!; wait"])
    said = tmp_path / "logs" / "parent.out"
    wait_until(lambda: said.read_text().endswith("\n"), one, tmp_path, 20, "it said nothing")
    child = int(said.read_text())
    assert _began(child)
    stop((one,))
    assert not is_running(one)
    assert not _began(child)


def test_a_deaf_process_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr("deploy.processes._STOP_S", 0.3)
    one = start(tmp_path, "deaf", [sys.executable, "-c", _DEAF])
    wait_until(lambda: (tmp_path / "logs" / "deaf.out").read_text() == "1\n", one, tmp_path, 20, "it said nothing")
    stop((one,))
    assert not is_running(one)


def test_a_pid_that_belongs_to_another_by_now_is_left_alone():
    other = Started("other", os.getpid(), "1")
    assert not is_running(other)
    stop((other,))                 # and this test lives on


def test_a_process_that_ends_at_once_names_its_last_words(tmp_path):
    one = start(tmp_path, "ends", ["/bin/sh", "-c", "echo no such option; exit 1"])
    with pytest.raises(UsageError, match=r"ends ended at once: no such option; its log is .*ends\.out"):
        wait_until(lambda: False, one, tmp_path, 20, "it did not listen")


def test_the_state_comes_back(tmp_path):
    state = State((Started("a", 1, "2"),), {"rest": 3})
    write_state(tmp_path, state)
    assert read_state(tmp_path) == state
    assert read_state(tmp_path / "elsewhere") is None


def test_a_taken_port_is_one_line():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=rf"REST_PORT={port}: the port is taken on 127.0.0.1"):
            port_for("REST_PORT", port)
    assert port_for("REST_PORT", 0) > 0
