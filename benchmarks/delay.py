"""A relay on loopback that holds every byte back for a while, both ways: a round trip of `--ms` more.

    python -m benchmarks.delay --ms 100 --listen 19001 --to 19000 ...       pairs of ports

A connection is accepted at once (that round trip is not felt); TLS handshakes and requests are.
"""
from __future__ import annotations

import argparse
import asyncio


async def _relay(delay_s: float, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    loop = asyncio.get_running_loop()
    while data := await source.read(1 << 16):
        loop.call_later(delay_s, _write, target, data)
    await asyncio.sleep(delay_s)
    target.close()


def _write(target: asyncio.StreamWriter, data: bytes) -> None:
    if not target.is_closing():
        target.write(data)


async def _serve(delay_s: float, listen: int, to: int) -> None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", to)
        await asyncio.gather(_relay(delay_s, reader, far_writer), _relay(delay_s, far_reader, writer),
                             return_exceptions=True)

    async with await asyncio.start_server(accept, "0.0.0.0", listen, backlog=1024) as server:
        await server.serve_forever()


async def _main(delay_s: float, pairs: list[tuple[int, int]]) -> None:
    await asyncio.gather(*(_serve(delay_s, listen, to) for listen, to in pairs))


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--ms", type=float, required=True)
    options.add_argument("--listen", type=int, action="append", required=True)
    options.add_argument("--to", type=int, action="append", required=True)
    args = options.parse_args()
    asyncio.run(_main(args.ms / 2000, list(zip(args.listen, args.to, strict=True))))
