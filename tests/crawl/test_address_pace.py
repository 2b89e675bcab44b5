"""Many names, one address."""
from __future__ import annotations

import pytest

from crawl.address_pace import AddressPace
from tests.crawl.loopback import quick, row, serving

PUBLIC = "93.184.216.34"


def test_moments_at_one_address_are_booked_in_order_and_kept() -> None:
    pace = AddressPace(None)
    assert [round(pace.wait_s(f"u{n}", PUBLIC, 100.0), 3) for n in range(4)] == [0.0, 0.1, 0.2, 0.3]
    assert pace.wait_s("u9", "93.184.216.35", 100.0) == 0
    assert round(pace.wait_s("u2", PUBLIC, 100.15), 3) == 0.05           # asked too early: the same moment
    assert pace.wait_s("u1", PUBLIC, 100.15) == 0 and pace.wait_s("u2", PUBLIC, 100.2) == 0
    assert pace.wait_s("u5", PUBLIC, 200.0) == 0


def test_another_address_is_another_booking_and_private_ones_are_free_unless_a_rate_is_set() -> None:
    pace = AddressPace(2.0)
    assert pace.wait_s("a", PUBLIC, 0.0) == 0 and pace.wait_s("b", PUBLIC, 0.0) == 0.5
    assert pace.wait_s("b", "93.184.216.35", 0.0) == 0                   # the name moved
    assert pace.wait_s("c", "127.0.0.1", 0.0) == 0 and pace.wait_s("d", "127.0.0.1", 0.0) == 0.5
    free = AddressPace(None)
    assert [free.wait_s(str(n), "127.0.0.1", 0.0) for n in range(3)] == [0, 0, 0]


@pytest.mark.parametrize("rate", [20.0, None])
def test_hosts_of_one_address_share_its_rate_in_the_servers_log(rate: float | None) -> None:
    from crawl.visits import Visits
    with serving() as web:
        visits = Visits(quick(), web.network(address_rate_per_s=rate), "image", {})
        rows = [row(f"http://h{n}.test/{m}.jpg", "image") for n in range(5) for m in range(2)]
        assert {visit.fetched.outcome for visit in visits.run(rows) if visit} == {"ok"}
        times = sorted(at for at, _, _ in web.log)
        assert len(times) >= 20                                          # with the files of the sites
        if rate:
            assert min(after - before for before, after in zip(times, times[1:], strict=False)) > 1 / rate - 0.03
            assert times[-1] - times[0] > 18 / rate
        else:
            assert times[-1] - times[0] < 18 / 20
