"""A slow, failing name server on loopback: what becomes of a name is in its number.

    python -m benchmarks.dns_server --address 127.53.0.1 --to 127.0.0.1 --counts FILE

Of a hundred names h0000.test and on, 80 are answered after 50 ms, 10 after 900 ms, 4 with SERVFAIL, 4 do not exist and
2 are never answered.  Port 53, because /etc/resolv.conf names no port.  Its end (SIGTERM) writes how often which kind
was asked for.
"""
from __future__ import annotations

import argparse
import asyncio
import collections
import ipaddress
import json
import pathlib
import re
import signal
import struct
from typing import Any

KINDS = ("quick", "slow", "servfail", "nxdomain", "silent")
_NAME = re.compile(rb"\x05h(\d{4})\x04test\x00")
_DELAY_S = {"quick": 0.05, "slow": 0.9, "servfail": 0.05, "nxdomain": 0.05}
_TTL_S = 300
_A = 1
_SERVFAIL, _NXDOMAIN = 2, 3


def kind_of(number: int) -> str:
    """Returns what becomes of the name with this number.

    >>> collections.Counter(map(kind_of, range(2000)))["slow"]
    200
    """
    place = number % 100
    return KINDS[(place >= 80) + (place >= 90) + (place >= 94) + (place >= 98)]


def answer(query: bytes, address: bytes) -> tuple[str, bytes]:
    """Returns the kind of the name that a query asks for, and the reply (RFC 1035, section 4)."""
    found = _NAME.search(query, 12)
    kind = kind_of(int(found[1])) if found else "nxdomain"
    end = (found.end() if found else query.index(b"\x00", 12) + 1) + 4
    question = query[12:end]
    wanted, = struct.unpack(">H", question[-4:-2])
    records = 1 if kind in ("quick", "slow") and wanted == _A else 0
    code = {"servfail": _SERVFAIL, "nxdomain": _NXDOMAIN}.get(kind, 0)
    reply = query[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, records, 0, 0) + question
    if records:
        reply += b"\xc0\x0c" + struct.pack(">HHIH", _A, 1, _TTL_S, 4) + address       # the name as in the question
    return kind, reply


class _Server(asyncio.DatagramProtocol):
    def __init__(self, address: bytes) -> None:
        self.asked: collections.Counter[str] = collections.Counter()
        self._address = address
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        kind, reply = answer(data, self._address)
        self.asked[kind] += 1
        if kind in _DELAY_S:
            asyncio.get_running_loop().call_later(_DELAY_S[kind], self._transport.sendto, reply, addr)


async def _serve(listen: str, to: str, counts: pathlib.Path) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    transport, server = await loop.create_datagram_endpoint(
        lambda: _Server(ipaddress.IPv4Address(to).packed), local_addr=(listen, 53))
    counts.write_text("{}")                # it listens
    await ended.wait()
    transport.close()
    counts.write_text(json.dumps(server.asked))


def main() -> None:
    """Serves until it is ended."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--address", required=True)
    options.add_argument("--to", required=True, help="the address of every name that has one")
    options.add_argument("--counts", type=pathlib.Path, required=True)
    args = options.parse_args()
    asyncio.run(_serve(args.address, args.to, args.counts))


if __name__ == "__main__":
    main()
