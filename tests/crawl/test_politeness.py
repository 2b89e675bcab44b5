import pytest

from crawl.policy import FetchPolicy, Network
from crawl.politeness import Pace, Scheduler, pace_of

POLICY = FetchPolicy()


def served(scheduler, latency=0.0, until=1000.0, **answer):
    """Serves everything one at a time on a virtual clock; returns (time, key, task)."""
    now, out = 0.0, []
    while scheduler.waiting and now <= until:
        taken = scheduler.take(now)
        if taken is None:
            now = scheduler.next_time()
            continue
        out.append((now, *taken))
        scheduler.answered(taken[0], now, latency, good=True, counts=True, **answer)
    return out


def test_requests_to_one_key_keep_their_distance_and_other_keys_do_not_wait():
    scheduler = Scheduler(5)
    for task in range(3):
        for key in ("a", "b"):
            scheduler.add(key, task, Pace(2.0, 5.0, 30.0))
    assert served(scheduler) == [(0, "a", 0), (0, "b", 0), (2, "a", 1), (2, "b", 1), (4, "a", 2), (4, "b", 2)]


def test_one_request_of_a_key_at_a_time():
    scheduler = Scheduler(5)
    scheduler.add("a", 1, Pace(0.0, 0.0, 1.0))
    scheduler.add("a", 2, Pace(0.0, 0.0, 1.0))
    assert scheduler.take(0.0) == ("a", 1)
    assert scheduler.take(100.0) is None
    scheduler.answered("a", 100.0, 0.0, good=True, counts=True)
    assert scheduler.take(100.0) == ("a", 2)


@pytest.mark.parametrize("pace, crawl_delay, latency, back_off, delay", [
    (Pace(2, 5, 30), 0, 0.1, 1, 2), (Pace(2, 5, 30), 0, 1.0, 1, 5), (Pace(2, 5, 30), 0, 60, 1, 30),
    (Pace(2, 5, 30), 90, 60, 1, 90),
    (Pace(2, 5, 30), 0, 0, 4, 8), (Pace(0.01, 0, 30), 3, 1, 1, 3), (Pace(40, 5, 30), 0, 0, 8, 40)])
def test_delay_is_the_longest_of_ours_and_theirs(pace, crawl_delay, latency, back_off, delay):
    assert pace.delay(crawl_delay, latency, back_off) == delay


def test_a_minimal_delay_counts_for_allowed_hosts_only():
    network = Network(min_delay_s=0.01)
    assert pace_of("page", POLICY, network, True, "a.test") == Pace(0.01, 0.0, 0.04)
    assert pace_of("page", POLICY, network, False, "a.test") == Pace(2.0, 5.0, 30.0)
    assert pace_of("image", POLICY, network, False, "a.test") == Pace(0.2, 0.0, 30.0)
    assert pace_of("page", POLICY, Network(), True, "a.test") == Pace(2.0, 5.0, 30.0)


def test_crawl_delay_and_retry_after_always_win():
    scheduler = Scheduler(5)
    for task in range(2):
        scheduler.add("a", task, Pace(0.0, 0.0, 30.0))
    scheduler.ask_for_delay("a", 45.0)
    assert [time for time, _, _ in served(scheduler)] == [0, 45]
    for task in range(2):
        scheduler.add("b", task, Pace(0.0, 0.0, 30.0))
    assert [time for time, _, _ in served(scheduler, retry_after_s=70.0)] == [0, 70]


def test_failures_double_the_delay_ten_good_answers_lower_it_and_many_failures_suspend():
    scheduler = Scheduler(3)
    pace = Pace(1.0, 0.0, 30.0)
    for task in range(60):
        scheduler.add("a", task, pace)
    now = 0.0

    def gap(good):
        nonlocal now
        scheduler.take(now)
        scheduler.answered("a", now, 0.0, good=good, counts=True)
        before, now = now, scheduler.next_time()
        return now - before
    assert [gap(False), gap(False), gap(True)] == [2.0, 4.0, 4.0]
    for _ in range(9):
        gap(True)
    assert gap(True) == pytest.approx(4 / 1.5)
    assert not scheduler.is_suspended("a")
    for _ in range(3):
        gap(False)
    assert scheduler.is_suspended("a")
    assert len(scheduler.drain("a")) == 60 - 16 and scheduler.waiting == 0 and scheduler.next_time() == float("inf")


def test_tries_of_one_url_are_one_failure_of_its_host():
    scheduler = Scheduler(2)
    for task in range(4):
        scheduler.add("a", task, Pace(1.0, 0.0, 30.0))
    suspended = []
    for counts in (True, False, False, True):
        scheduler.take(scheduler.next_time())
        scheduler.answered("a", 0.0, 0.0, good=False, counts=counts)
        suspended.append(scheduler.is_suspended("a"))
    assert suspended == [False, False, False, True]


def test_a_task_put_first_is_next_and_a_key_given_back_may_go_at_once():
    scheduler = Scheduler(3)
    for task in (1, 2):
        scheduler.add("a", task, Pace(5.0, 0.0, 30.0))
    key, task = scheduler.take(0.0)
    scheduler.add("a", 0, Pace(5.0, 0.0, 30.0), first=True)
    scheduler.give_back("a")
    assert [task for _, _, task in served(scheduler)] == [0, 2]
