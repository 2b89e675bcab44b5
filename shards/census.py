"""What the tables of a dataset hold: counted and sampled, one streaming pass a table, memory bounded.

Samples are the rows of smallest hash, so they do not depend on the order of files or on how often one looks.
"""
from __future__ import annotations

import collections
import dataclasses
import functools
import heapq
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from crawl import storage
from crawl.errors import UsageError
from crawl.stages import Manifest
from crawl.tables import stable_hash
from crawl.urls import site

T = TypeVar("T")

# Sites beyond this many are counted together: a web crawl has millions, a report is read by a person.
MAX_SITES = 100_000
OTHER_SITES = "(all other sites)"
NO_SITE = "(no site)"
_BATCH_ROWS = 4096


class HashSample(Generic[T]):
    """The `size` offers of smallest hash; favoured offers (those with a picture) come before all others."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.seen = 0
        self._heap: list[tuple[int, int, str, T]] = []       # largest rank first: what the next offer pushes out

    def offer(self, key: str, value: T, favoured: bool = True) -> None:
        """Counts an offer, and keeps it while it is among the smallest; equal keys are kept once."""
        self.seen += 1
        entry = (-int(not favoured), -stable_hash(key), key, value)
        if len(self._heap) == self.size and entry[:2] <= self._heap[0][:2]:
            return
        if any(kept[2] == key for kept in self._heap):
            return
        if len(self._heap) < self.size:
            heapq.heappush(self._heap, entry)
        else:
            heapq.heapreplace(self._heap, entry)

    def kept(self) -> tuple[T, ...]:
        """Returns what was kept, in the order of the hash."""
        return tuple(entry[3] for entry in sorted(self._heap, key=lambda entry: (-entry[0], -entry[1])))


class Tally:
    """Counts of whole numbers, from which quantiles and histograms are exact."""

    def __init__(self) -> None:
        self.counts: collections.Counter[int] = collections.Counter()

    def add(self, value: int) -> None:
        """Counts one value."""
        self.counts[value] += 1

    @property
    def total(self) -> int:
        """Returns how many values were counted."""
        return sum(self.counts.values())

    def quantile(self, share: float) -> int:
        """Returns the smallest value that at least `share` of all values do not exceed; 0 when there is none.

        >>> tally = Tally()
        >>> for value in (1, 2, 3, 10): tally.add(value)
        >>> tally.quantile(0.5), tally.quantile(1)
        (2, 10)
        """
        wanted, below = share * self.total, 0
        for value in sorted(self.counts):
            below += self.counts[value]
            if below >= wanted:
                return value
        return 0

    def binned(self, edges: Sequence[int]) -> tuple[int, ...]:
        """Returns the counts of [edges[i], edges[i+1]); the first and last bin also take what lies outside."""
        bins = [0] * (len(edges) - 1)
        for value, count in self.counts.items():
            place = sum(value >= edge for edge in edges[1:-1])
            bins[place] += count
        return tuple(bins)


@dataclasses.dataclass(slots=True)
class SiteYield:
    """What one site gave."""

    site: str                      # registrable domain, or host:port of an IP literal
    pages: int = 0
    candidates: int = 0
    asked: int = 0                 # candidate rows whose image was worth a download
    kept: int = 0                  # samples
    words: int = 0                 # of the kept captions
    score: float = 0.0             # sum over the kept samples

    def mean_score(self) -> float:
        """Returns the mean score of the kept samples, 0 when there is none."""
        return self.score / self.kept if self.kept else 0.0


class Sites:
    """Counts by site, for at most `MAX_SITES` sites."""

    def __init__(self, limit: int = MAX_SITES) -> None:
        self.limit = limit
        self.by_site: dict[str, SiteYield] = {}

    def of(self, url: str) -> SiteYield:
        """Returns the line that this URL counts for."""
        name = site_of(url)
        if name not in self.by_site and len(self.by_site) >= self.limit:
            name = OTHER_SITES
        return self.by_site.setdefault(name, SiteYield(name))

    def ranked(self) -> list[SiteYield]:
        """Returns all lines, most kept samples first."""
        return sorted(self.by_site.values(), key=lambda line: (-line.kept, -line.candidates, line.site))


@functools.lru_cache(maxsize=65536)
def site_of(url: str) -> str:
    """Returns the site of a URL as politeness sees it; a table of others may hold what is no URL."""
    try:
        return site(url)
    except ValueError:
        return NO_SITE


def rows(manifest: Manifest, table: str, columns: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Yields plain rows with only these columns, in the manifest's order; nothing when the stage has no such table."""
    if table not in manifest.tables:
        return
    for path in manifest.paths(table):
        for batch in _batches(path, columns):
            yield from batch


def _batches(path: str, columns: Iterable[str]) -> Iterator[list[dict[str, Any]]]:
    try:
        source = pa.BufferReader(storage.read_bytes(path)) if storage.is_remote(path) else path
        with pq.ParquetFile(source) as file:
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=list(columns)):
                yield batch.to_pylist()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UsageError(f"{path}: damaged table ({str(error).splitlines()[0]}); copy it again, or remove its stage "
                         f"folder to build the stage again") from error
