"""Servers of one machine belong to one fetch shard, so that one place keeps the rate of its address.

A shard paces each address it dials (crawl/address_pace.py); hosts of one address in several shards would be asked at
several times that rate.  Where a host was answered from is in the table `hosts` of the rounds and crawls before, so a
fetch list puts every host that was met before with the others of its address.  One that is met for the first time goes
by its name, and one of several addresses by the smallest; an address that is not public has no rate and groups nobody.
"""
from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from crawl import netguard, urls
from crawl.frontier import shard_of
from crawl.records import FetchRow, ServerAddress


def addresses_of(hosts: Iterable[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yields politeness key and public address of each host that was reached, from plain rows of `hosts`.

    >>> list(addresses_of([{"authority": "http://www.a.example:80", "address": "93.184.216.34"},
    ...                    {"authority": "http://b.test:80", "address": "127.0.0.1"}, {"authority": "http://c.test:80"}]))
    [('a.example', '93.184.216.34')]
    """
    for host in hosts:
        address = host.get("address", "")
        if address and netguard.is_public_text(address):
            yield urls.politeness_key(host["authority"] + "/"), address


def with_shard(row: FetchRow, shards: int, addresses: Mapping[str, str]) -> FetchRow:
    """Returns a row of a fetch list in the shard of its server's address, where that is known."""
    return dataclasses.replace(row, shard=shard_of_server(row.politeness_key, shards, addresses))


def shard_of_server(key: str, shards: int, addresses: Mapping[str, str]) -> int:
    """Returns the fetch shard of a politeness key: that of its address, or of its name."""
    return shard_of(addresses.get(key, key), shards)


def as_mapping(rows: Iterable[ServerAddress]) -> dict[str, str]:
    """Returns politeness key -> address."""
    return {row.politeness_key: row.address for row in rows}
