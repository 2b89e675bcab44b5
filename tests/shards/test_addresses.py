import hashlib

import pytest

from crawl.errors import UsageError
from shards.addresses import Address, plan_reads, read_addresses


def address(part, offset, data):
    return Address(part, offset, len(data), hashlib.sha256(data).hexdigest())


def test_neighbours_share_a_read_and_far_ones_do_not():
    found = plan_reads([Address("b", 0, 10, ""), Address("a", 500, 10, ""), Address("a", 0, 10, ""),
                        Address("a", 30, 10, "")], gap=20)
    assert [(span.part, span.offset, span.length, span.members) for span in found] == [
        ("a", 0, 40, (2, 3)), ("a", 500, 10, (1,)), ("b", 0, 10, (0,))]


def test_a_read_has_a_limit_but_a_large_member_is_whole():
    spans = plan_reads([Address("a", n * 10, 10, "") for n in range(10)] + [Address("a", 100, 1000, "")], limit=35)
    assert [span.length for span in spans] == [30, 30, 30, 10, 1000]


def test_every_address_is_served_whatever_overlaps():
    addresses = [Address("a", 0, 100, ""), Address("a", 20, 10, ""), Address("a", 20, 10, "")]
    assert [span.members for span in plan_reads(addresses)] == [(0, 1, 2)]
    assert plan_reads(addresses)[0].length == 100


def test_bytes_come_in_file_order_and_are_checked(tmp_path):
    data = bytes(range(256)) * 1000
    (tmp_path / "part").write_bytes(data)
    wanted = [address("part", offset, data[offset:offset + 100]) for offset in (200_000, 0, 100, 150_000)]
    found = list(read_addresses(str(tmp_path), wanted))
    assert [number for number, _ in found] == [1, 2, 3, 0]
    assert all(piece == data[wanted[number].offset:][:100] for number, piece in found)


def test_many_reads_are_all_served_in_order(tmp_path):
    data = b"".join(n.to_bytes(4, "big") * 50_000 for n in range(30))
    (tmp_path / "part").write_bytes(data)
    wanted = [address("part", n * 200_000, data[n * 200_000:][:4]) for n in range(30)]
    assert [number for number, _ in read_addresses(str(tmp_path), wanted)] == list(range(30))


@pytest.mark.parametrize("change, message", [
    (lambda path: path.write_bytes(b"x" * 100), "are not those with sha256"),
    (lambda path: path.write_bytes(b"short"), "wanted 50 bytes at 10"),
    (lambda path: path.unlink(), "missing, and rows point into it"),
])
def test_damage_is_one_clear_line(tmp_path, change, message):
    path = tmp_path / "part"
    path.write_bytes(bytes(100))
    wanted = [address("part", 10, bytes(50))]
    change(path)
    with pytest.raises(UsageError, match=message):
        list(read_addresses(str(tmp_path), wanted))


def test_bytes_in_flight_are_bounded(monkeypatch):
    """Thirty samples of a megabyte, far apart: what is asked for ahead stays below the bound."""
    from crawl import storage
    from shards import addresses as module
    monkeypatch.setattr(module, "_BYTES_IN_FLIGHT", 4 << 20)
    data = bytes(1 << 20)
    asked, served = [], []

    def slow(path, offset, length):
        asked.append(offset)
        return data

    monkeypatch.setattr(storage, "read_range", slow)
    wanted = [Address("part", n << 22, 1 << 20, hashlib.sha256(data).hexdigest()) for n in range(30)]
    for number, _ in read_addresses("memory://in-flight", wanted):
        served.append(number)
        assert len(asked) - len(served) <= 4
    assert len(served) == len(asked) == 30
