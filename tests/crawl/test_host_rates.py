"""What sites allowed their visitor."""
from __future__ import annotations

import pathlib

import pytest

from crawl.errors import UsageError
from crawl.host_rates import read_host_rates
from crawl.policy import FetchPolicy, Network
from crawl.politeness import Scheduler, pace_of


def test_a_rate_takes_the_place_of_our_own_pauses_and_never_of_theirs(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "rates"
    path.write_text("# asked\nexample.org 4   # answered\n\nB\u00fccher.example\t0.5\n127.0.0.1:8000 20\n")
    rates = read_host_rates(str(path))
    assert rates == (("127.0.0.1:8000", 20.0), ("example.org", 4.0), ("xn--bcher-kva.example", 0.5))
    network = Network(host_rates=rates, min_delay_s=0.0)
    for kind in ("page", "image"):
        pace = pace_of(kind, FetchPolicy(), network, True, "example.org")
        assert pace.delay(0.0, 60.0, 1.0) == 0.25 and pace.delay(7.0, 0.0, 1.0) == 7.0 and pace.delay(0, 0, 4.0) == 1.0
    assert pace_of("page", FetchPolicy(), network, False, "other.org").delay(0, 0, 1.0) == 2.0


@pytest.mark.parametrize("line, said", [
    ("example.org", "is not HOST RATE"), ("example.org 1 2", "is not HOST RATE"), ("a/b 1", "no host name"),
    ("www.example.org 1", "belongs to example.org"), ("example.org fast", "no number"), ("example.org 0", "no number"),
    ("example.org nan", "no number"), ("example.org -1", "no number"), ("example.org 1e9", "no number"),
    ("EXAMPLE.org 3", "a line above")])
def test_a_bad_line_is_named(tmp_path: pathlib.Path, line: str, said: str) -> None:
    path = tmp_path / "rates"
    path.write_text(f"# x\nexample.org 1\n{line}\n" if "above" in said else f"# x\n\n{line}\n")
    with pytest.raises(UsageError, match=f"rates, line 3: .*{said}"):
        read_host_rates(str(path))


def test_a_missing_file_is_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(UsageError, match="--host-rate .*none: cannot be read: No such file"):
        read_host_rates(str(tmp_path / "none"))


def test_a_slow_answer_raises_the_pause_and_is_no_failure() -> None:
    scheduler: Scheduler[int] = Scheduler(1)
    pace = pace_of("image", FetchPolicy(), Network(), False, "a.test")
    scheduler.add("a.test", 0, pace)
    now, pauses = 0.0, []
    for task in range(1, 26):
        scheduler.take(now)
        scheduler.add("a.test", task, pace)
        scheduler.answered("a.test", now, 9.0, good=True, counts=True, slow=task <= 2)
        pauses.append(round(scheduler.next_time() - now, 3))
        now = scheduler.next_time()
    assert pauses[:2] == [0.4, 0.8] and pauses[10] == 0.8 and pauses[11] == round(0.8 / 1.5, 3)
    assert pauses[21] == round(0.8 / 1.5 / 1.5, 3) and not scheduler.is_suspended("a.test")
