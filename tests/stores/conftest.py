"""An object store on loopback, behind a proxy that spoils a request in five, and credentials like no other text."""
from __future__ import annotations

import contextlib
import dataclasses

import pytest

from benchmarks import s3_server as s3
from crawl import object_store
from tests.stores import gcs
from tests.stores.fault_proxy import FaultProxy, proxied


@dataclasses.dataclass(frozen=True)
class Store:
    """Where a bucket is, what stands between, and what programs are given to find and to open it."""

    root: str                      # s3://a-bucket
    proxy: FaultProxy
    environment: dict[str, str]
    given: frozenset[str]          # credentials that stand in the environment or in a file it names

    @property
    def secrets(self) -> list[bytes]:
        """Returns what must stand in nothing that a program writes: what was given, and what was made of it."""
        return [word.encode() for word in sorted(self.given | self.proxy.authorizations)]


@pytest.fixture(scope="module", params=["s3", "gs"])
def server(request, tmp_path_factory):
    kind = {"s3": s3, "gs": gcs}[request.param]
    if not kind.PROGRAM:
        pytest.skip(kind.MISSING)
    folder = tmp_path_factory.mktemp("store")
    with s3.s3_server(folder) if kind is s3 else gcs.gcs_server(folder) as port:
        yield request.param, port, folder


@contextlib.contextmanager
def open_store(server, monkeypatch, share):
    """Yields the store of a server whose requests are spoiled by this share, for this process too."""
    kind, port, folder = server
    with proxied(port, share=share, seed=7) as proxy:
        environment = s3.environment(proxy.url) if kind == "s3" else gcs.environment(folder, proxy.url)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        object_store._store.cache_clear()
        yield Store(f"{kind}://a-bucket", proxy, environment, s3.SECRETS if kind == "s3" else gcs.secrets(folder))
        object_store._store.cache_clear()


@pytest.fixture()
def store(server, monkeypatch):
    with open_store(server, monkeypatch, 0.2) as found:
        yield found
