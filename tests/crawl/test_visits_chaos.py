"""Whatever a web does, each row of the list comes out exactly once."""
import random
import time

import pytest

from crawl.visits import Visits
from tests.crawl.loopback import quick, row, serving


def misbehave(rng, hosts):
    """Returns an answer drawn from what servers do."""
    kind = rng.choice(["ok", "ok", "status", "redirect", "close", "half", "garbage", "slow", "retry"])
    status = rng.choice([204, 304, 404, 410, 429, 500, 503])
    target = f"http://{rng.choice(hosts)}/{rng.randrange(40)}"

    def answer(handler):
        if kind == "close":
            handler.close_connection = True
            return
        if kind == "garbage":
            handler.wfile.write(b"\x00\xff nonsense\r\n\r\n")
            handler.close_connection = True
            return
        if kind == "slow":
            time.sleep(0.7)
        code = {"status": status, "redirect": 302, "retry": 429}.get(kind, 200)
        handler.send_response(code)
        if kind == "redirect":
            handler.send_header("Location", target)
        if kind == "retry":
            handler.send_header("Retry-After", rng.choice(["0", "1", "99999"]))
        handler.send_header("Content-Length", "50" if kind == "half" else "2")
        handler.end_headers()
        if code not in (204, 304):
            handler.wfile.write(b"ok")
        if kind == "half":
            handler.close_connection = True
    return answer


@pytest.mark.parametrize("seed", range(3))
def test_each_row_comes_out_once(seed):
    rng = random.Random(seed)
    hosts = [f"{name}.test" for name in "abcdefghijkl"] + ["www.a.test", "b.test:8080", "outside.example"]
    with serving() as web:
        for host in hosts:
            web.call(f"http://{host}/robots.txt", misbehave(rng, hosts))
            for n in range(40):
                web.call(f"http://{host}/{n}", misbehave(rng, hosts))
        given = [row(f"http://{rng.choice(hosts)}/{n % 40}") for n in range(200)]
        given = list({each.url_key: each for each in given}.values())
        policy = quick(page_timeout_s=0.5, robots_timeout_s=0.5, shard_seconds=2.0, retries=1, suspend_after=4)
        visits = Visits(policy, web.network(), "page", {})
        begin = time.monotonic()
        ended = [visit for visit in visits.run(given) if visit]
        assert time.monotonic() - begin < 5.0
    assert sorted(visit.row.url_key for visit in ended) == sorted(each.url_key for each in given)
    assert len({visit.fetched.outcome for visit in ended}) > 5
    assert len({host.authority for host in visits.new_hosts}) == len(visits.new_hosts)
