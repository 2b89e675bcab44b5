"""One holder at a time, on a clock of the test's own; real processes and a real pause are in test_takeover.py."""
from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import threading

import pytest

from crawl import storage
from crawl.lease import Lease, LeaseLost, Record, holder_of
from crawl.partitions import Partitions

PLACES = ("local", "memory")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=PLACES)
def path(request, tmp_path):
    return f"{tmp_path}/s/x.lease" if request.param == "local" else f"memory://{tmp_path.name}/s/x.lease"


def test_one_of_two_has_it_and_the_other_after_its_life_and_a_tenth(path):
    ours, theirs = Clock(), Clock()
    theirs.now = 5.0                                   # clocks of two machines say different things
    first, second = Lease(path, 30, ours), Lease(path, 30, theirs)
    assert first.take() and first.take() and not second.take()
    assert first.left_s() == 30 and second.left_s() == 0
    theirs.now += 32
    assert not second.take()                           # 33 s without a renewal are needed
    theirs.now += 1.1
    assert second.take() and second.is_held
    with pytest.raises(LeaseLost, match="another worker"):
        first.confirm()
    assert not first.is_held and first.left_s() == 0
    with pytest.raises(LeaseLost, match="not held"):
        first.keep()


def test_a_renewal_keeps_it_and_happens_at_a_third_of_the_life(path):
    ours, theirs = Clock(), Clock()
    first, second = Lease(path, 30, ours), Lease(path, 30, theirs)
    first.take()
    before = storage.read_version(path)
    ours.now += 9
    first.keep()
    assert storage.read_version(path) == before
    ours.now += 2
    first.keep()
    assert storage.read_version(path) != before and first.left_s() == 30
    for _ in range(5):
        assert not second.take()
        ours.now, theirs.now = ours.now + 20, theirs.now + 20
        first.keep()


def test_its_end_comes_first_to_the_holder(path):
    clock = Clock()
    first, second = Lease(path, 30, clock), Lease(path, 30, clock)
    first.take()
    second.watch()
    clock.now += 30
    assert first.left_s() <= 0 and not second.take()
    first.confirm()                                    # paused, and nobody came: it was ours all the time
    clock.now += 5
    assert not second.take() and first.left_s() == 25


def test_what_the_holder_before_knew_is_handed_on(path):
    first, second = Lease(path, 30, Clock()), Lease(path, 30, Clock())
    first.note_now = lambda: {"a.test": [3.0, 60.0]}
    first.take()
    first.confirm()
    first.release()
    assert second.take() and second.note == {"a.test": [3.0, 60.0]}
    second.release()
    assert first.take() and first.note == {}


def test_released_it_is_free_at_once(path):
    first, second = Lease(path, 30, Clock()), Lease(path, 30, Clock())
    first.take()
    first.release()
    assert holder_of(path) == "nobody"
    assert second.take() and not first.take()
    first.release()                                    # nothing to release, and nothing of the other's
    second.confirm()
    assert holder_of(path) == f"pid {os.getpid()}"


def test_a_renewal_whose_answer_got_lost_is_ours(path, monkeypatch):
    lease = Lease(path, 30, Clock())
    lease.take()
    swap = storage.swap_bytes

    def lose(*given):
        swap(*given)
        raise OSError("timed out")
    monkeypatch.setattr(storage, "swap_bytes", lose)
    lease.keep()                                       # a third is not over: nothing happens
    with pytest.raises(OSError, match="timed out"):
        lease.confirm()
    monkeypatch.setattr(storage, "swap_bytes", swap)
    lease.confirm()
    assert lease.is_held and not Lease(path, 30, Clock()).take()


def test_without_the_storage_it_is_kept_until_its_end_and_no_longer(path, monkeypatch, caplog):
    clock = Clock()
    lease = Lease(path, 30, clock)
    lease.take()
    monkeypatch.setattr(storage, "swap_bytes", lambda *given: (_ for _ in ()).throw(OSError("no route")))
    for passed in (15, 20):
        clock.now += passed
        lease.keep()
    assert lease.is_held and lease.left_s() < 0 and "no route" in caplog.text
    with pytest.raises(OSError, match="no route"):
        lease.confirm()


def test_of_many_at_once_one_gets_it(path):
    leases = [Lease(path, 30) for _ in range(16)]
    gate = threading.Barrier(len(leases))
    got = []

    def take(lease):
        gate.wait()
        got.append(lease.take())
    threads = [threading.Thread(target=take, args=(lease,)) for lease in leases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(got) == 1


def test_a_process_of_this_machine_that_died_holds_nothing(tmp_path):
    path = f"{tmp_path}/s/x.lease"
    script = f"from crawl.lease import Lease\nprint(Lease({path!r}, 900).take(), flush=True)\ninput()"
    child = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"True\n"
    assert not Lease(path, 30).take()
    child.kill()
    child.communicate()
    assert Lease(path, 30).take()


def test_a_dead_process_of_another_machine_is_not_known_to_be_dead(path):
    lease = Lease(path, 30, Clock())
    lease.take()
    found = storage.read_version(path)
    record = dataclasses.replace(Record(**json.loads(found.data)), machine="another boot pid:[1]", pid=2**22 + 1)
    assert storage.swap_bytes(path, record.encode(), found)
    assert not Lease(path, 30, Clock()).take()
    assert holder_of(path) == f"pid {2**22 + 1} of another machine"


def test_a_swap_compares(path):
    first = storage.swap_bytes(path, b"1", None)
    assert first == storage.read_version(path) and storage.swap_bytes(path, b"2", None) is None
    second = storage.swap_bytes(path, b"2", first)
    assert second and storage.swap_bytes(path, b"3", first) is None
    assert storage.read_version(path) == second
    assert storage.read_version(path + "other") is None and storage.swap_bytes(path + "other", b"1", first) is None


def test_a_partition_is_tried_now_and_then_and_held_by_one(tmp_path):
    clock = Clock()

    def lease_of(number):
        return Lease(f"{tmp_path}/{number}.lease", 30, clock)
    ours, theirs = Partitions(0, 4, lease_of, clock), Partitions(1, 4, lease_of, clock)
    assert ours.take(0) and theirs.take(1) and ours.since(0) == clock.now and ours.left_s(0) == 30
    assert not ours.take(1) and not ours.is_held(1) and ours.left_s(1) == 0
    theirs.drop(1)
    assert not ours.take(1)                            # not before a second has passed
    clock.now += 1
    assert ours.take(1) and sorted(ours.held()) == [0, 1]
    clock.now += 40
    theirs.take(0)                                     # seen, from now on watched
    clock.now += 34
    assert theirs.take(0)
    assert ours.keep() == [0] and ours.held() == [1]
    ours.close()
    assert not ours.held()
    assert {ours.of(f"h{n}.test") for n in range(50)} == {0, 1, 2, 3}


def test_pauses_go_with_a_partition_from_hand_to_hand(tmp_path):
    clock = Clock()

    def partitions(own):
        return Partitions(own, 4, lambda number: Lease(f"{tmp_path}/{number}.lease", 30, clock), clock)
    first, second, third = partitions(1), partitions(2), partitions(3)
    first.pauses_of = lambda number: {"slow.test": (9.0, 10.0), "quick.test": (0.0, 0.0)}
    assert first.take(1) and first.pause_of(1, "slow.test") == (0.0, 0.0)
    first.drop(1)
    assert second.take(1) and second.pause_of(1, "slow.test") == (9.0, 10.0)
    second.pauses_of = lambda number: {"other.test": (120.0, 0.0)}
    clock.now += 4
    second.drop(1)                                     # it never asked slow.test, and hands on what it was told
    assert third.take(1) and third.pause_of(1, "slow.test") == (5.0, 10.0)
    assert third.pause_of(1, "other.test") == (120.0, 0.0) and third.pause_of(1, "quick.test") == (0.0, 0.0)


def test_without_leases_everything_is_held():
    partitions = Partitions()
    assert partitions.is_held(0) and partitions.take(0) and partitions.left_s(0) == float("inf")
    assert partitions.of("any.test") == 0 and partitions.keep() == [] and partitions.since(0) is None
