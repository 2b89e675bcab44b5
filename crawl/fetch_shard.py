"""Fetches one shard of a fetch list and commits what came back part by part: the measured step of a crawl.

    fetch_shard(list_path, directory, out, policy, network, round, kind, *,
                known_hosts=(), limits=PartLimits(), blocked=BlockFile(), progress=None, shards=1, lease_s=None,
                addresses={})
                -> Iterator[crawl.parts.Part]

        list_path    Parquet table of crawl.records.FetchRow of ONE shard, sorted by order_key; rows are streamed
        directory    the stage folder with its root (Stage.directory); parts go to `directory/shard-0007/`
        out          the output root; FetchLog.part is relative to it
        policy       crawl.policy.FetchPolicy (hashed into the stage)
        network      crawl.policy.Network (not hashed: how this machine reaches the hosts)
        round        number of the round, part of every WARC-Record-ID
        kind         "page", sitemaps too (WARC parts, FetchLog rows) or "image" (tar parts, ImageLog rows)
        known_hosts  full paths of earlier `hosts` tables (crawl.records.Host): robots answers used while fresh;
                     only those of the list's own sites are kept in memory
        limits       crawl.parts.PartLimits: when a part is closed (URLs, bytes, seconds)
        blocked      crawl.block_list.BlockFile: hashes of images whose bytes are not to be stored
        progress     called with a crawl.tally.Tally, never more than about 5 times a second
        shards       how many fetch lists there are: a server belongs to one of them (crawl/partitions.py)
        lease_s      life of the leases; None for twice the longest request and half a minute
        addresses    politeness key -> address of the servers that the lists grouped by it (crawl/address_groups.py)

    Yields every part of the shard, those of an earlier run first, each after it is committed; an empty list yields
    nothing.  Run again, it fetches only the rows without a committed log row; over a finished shard it fetches nothing.

One worker at a time works on a shard: `shard-0007/work.lease` is its right to commit parts, `shard-0007/dial.lease`
the right to dial the shard's servers (another shard takes it for the hops of redirects that lead there).  A second
execution of the same bundle waits, yields the parts as the first commits them, and fetches what is left when the first
lets go or its lease runs out.  Who was paused that long finds the lease lost before his next dial and before his next
commit, drops what he has not committed, and waits in turn.

    crawl.parts.Part: shard, index, bytes (FileEntry of the WARC or tar), log (FileEntry of the FetchLog or ImageLog
        table, with `outcomes` counted), hosts (FileEntry of the Host table), robots (of the WARC of what the hosts
        were read from: one FileEntry, or none); names are relative to the stage folder.
    crawl.parts.committed(directory, shard) -> Iterator[Part]: the parts so far, by numbered names.

A page body: crawl.warc.read_response(out + "/" + log.part, log.offset, log.length, policy.page_decoded_bytes)
    -> warc.Response(url, status, headers: tuple[tuple[str, str], ...], body: bytes decoded, record_id); log.sha256 is
    that of the decoded body.  A row with `part == ""` has no stored body: parse only rows whose outcome is in
    crawl.records.STORED.
An image: storage.read_range(join(out, log.part), log.offset, log.length); `image_of(log) -> crawl.records.Image`.
Seeds: crawl.policy.require_contact(policy, network, urls) raises UsageError before a run; a URL found later that lies
    on the open web ends as the row `blocked_no_contact` instead, for half a crawl is no reason to stop it.
Signals of a page: `log.signals` has those of robots.txt, tdmrep.json, ai.txt and the headers (docs/permission.md);
    crawl.parse adds those of the page's elements, and judges all by crawl.consent.verdict(signals).

Outcomes of a row
    ok                     stored (pages: also `truncated`)
    not_modified           a recrawl asked with a condition and got a 304: the row has the address of the earlier bytes
    unchanged              a recrawl got the same bytes again: likewise
    not_due                a recrawl did not ask yet: the row of before, times and signals of then too
    http_<status>          any other final status, 404 or 500 say; http_304 for one that was not asked for
    timeout_total, too_slow, connect_error, dns_error (no such name), dns_failure (no answer), tls_error,
    protocol_error, disconnected           the network's
    too_large, bomb, bad_encoding, not_html, empty_body    the body's (a page that is cut is `ok` and `truncated`)
    not_an_image, unsupported_format, broken_image_header, too_many_pixels    kind "image" only, by crawl/sniff.py
    blocked_hash, blocked_unchecked        kind "image" only: its hash is on the list, or could not be taken
    suppressed                             it was removed from this dataset (crawl/suppress.py)
    too_many_redirects, redirect_loop, bad_url, blocked_scheme, blocked_address, blocked_egress, blocked_no_contact
    robots_denied, optout_robots (Content-Signal, Content-Usage or License in robots.txt), optout_tdmrep, optout_ai_txt
                           refused by the site before a request for the URL
    optout_header, optout_meta
                           refused by the answer: its headers are in the row, of a page its links as well, its body is
                           nowhere (policy.keep_denied: in crawl/quarantine.py)
    deferred_robots_unreachable, deferred_budget, deferred_suspended     not decided: due again in the next round
"""
from __future__ import annotations

import collections
import contextlib
import functools
import logging
import time
import types
from collections.abc import Callable, Iterator, Mapping, Sequence

from crawl import quarantine, storage, urls, warc
from crawl.block_list import BlockFile, BlockList
from crawl.key_set import KeySet
from crawl.lease import Lease, LeaseLost, elapsed, holder_of
from crawl.page_refusal import PageRefusals
from crawl.partitions import Partitions
from crawl.parts import Part, PartLimits, PartWriter, committed, refuse_gap, remove_leftovers, shard_name
from crawl.policy import FetchPolicy, Network
from crawl.records import FetchLog, FetchRow, Host, Image, ImageLog
from crawl.robots_captures import CaptureFile
from crawl.stages import recorded_time
from crawl.tables import read_column, read_matching, read_table
from crawl.tally import Tally
from crawl.visit_rows import VisitRows
from crawl.visits import Visits

_NO_ADDRESSES: Mapping[str, str] = types.MappingProxyType({})
_WAIT_S = 0.5                      # between two looks at a shard that another worker fetches

_log = logging.getLogger(__name__)


def fetch_shard(list_path: str, directory: str, out: str, policy: FetchPolicy, network: Network, round: int, kind: str,
                *, known_hosts: Sequence[str] = (), limits: PartLimits = PartLimits(),     # noqa: B008, it is frozen
                blocked: BlockFile = BlockFile(),                                          # noqa: B008, it is frozen
                progress: Callable[[Tally], None] | None = None, shards: int = 1,
                lease_s: float | None = None, addresses: Mapping[str, str] = _NO_ADDRESSES) -> Iterator[Part]:
    """Yields the committed parts of a shard, old ones first, fetching whatever has no committed row yet.

    Raises TimeoutError when another worker holds the shard for longer than any worker needs, and UsageError when a part
    between others was removed.
    """
    if kind not in ("page", "image"):
        raise ValueError(f"kind is {kind!r}; it is 'page' or 'image'")
    first = next(read_table(list_path, FetchRow), None)
    if first is None:
        return
    total, sites = _size_and_sites(list_path)
    seen = _Seen(directory, first.shard, {host.authority: host for path in known_hosts for host in read_matching(
        path, Host, "authority", lambda authority: urls.politeness_key(authority) in sites)})
    lasts_s = lease_s or 2 * max(policy.page_timeout_s, policy.image_timeout_s, policy.robots_timeout_s) + 30
    work, dial = (Lease(storage.join(directory, shard_name(first.shard), name), lasts_s)
                  for name in ("work.lease", "dial.lease"))
    give_up_at = elapsed() + 2 * policy.shard_seconds + 3 * lasts_s

    def fetch_rest() -> Iterator[Part]:
        todo = (row for row in read_table(list_path, FetchRow) if row.url_key not in seen.done)
        tally = Tally(len(seen.done), total, progress)
        partitions = Partitions(first.shard, shards, lambda number: dial if number == first.shard else Lease(
            storage.join(directory, shard_name(number), "dial.lease"), lasts_s), addresses=addresses)
        visits = Visits(policy, network, kind, seen.hosts, partitions=partitions)
        with (contextlib.closing(partitions), BlockList(blocked, policy.max_pixels) as block_list,
              PageRefusals(policy) as refusals,
              PartWriter(directory, out, first.shard, seen.index, kind, limits, _opening(kind, policy, round),
                         confirm=work.confirm, keep=work.keep, capturing=functools.partial(
                             CaptureFile, user_agent=policy.header, round_number=round)) as writer):
            rows = VisitRows(kind, round, out, policy, block_list, refusals)
            for visit in visits.run(todo):
                work.keep()
                if visit is not None:
                    kept = rows.kept(visit)
                    if kept.denied:
                        quarantine.keep(directory, kind, kept.row.url_key, kept.denied)
                    writer.add(kept.row, visits.new_hosts, kept.stored, kept.beside, kept.revisit,
                               visits.new_answers)
                    visits.new_hosts.clear()
                    visits.new_answers.clear()
                    tally.names = visits.names
                    tally.add(visit.row.politeness_key, kept.row.outcome)
                if writer.is_full() and writer.seal() or writer.settle():
                    yield from seen.new_parts()
            while writer.commit():
                yield from seen.new_parts()
        tally.end()

    while True:
        yield from seen.new_parts()
        if len(seen.done) >= total:
            remove_leftovers(storage.join(directory, shard_name(first.shard)))     # of who was killed at the very end
            return
        if not work.take():
            if elapsed() > give_up_at:
                raise TimeoutError(f"{work.path}: held by {holder_of(work.path)} for longer than a shard may take")
            dial.watch()
            time.sleep(_WAIT_S)
            continue
        try:
            yield from seen.new_parts()                # committed between the look and the lease
            refuse_gap(directory, first.shard, seen.index)
            if len(seen.done) < total:
                yield from fetch_rest()
        except (LeaseLost, storage.CommitConflict) as error:
            _log.warning("shard %d: what is not committed is dropped: %s", first.shard, error)
        finally:
            work.release()


class _Seen:
    """What is committed of a shard, whoever committed it."""

    def __init__(self, directory: str, shard: int, hosts: dict[str, Host]) -> None:
        self.index = 0                     # of the next part
        self.done = KeySet()               # url_keys with a committed row
        self.hosts = hosts                 # robots answers, the newest of each authority
        self._directory = directory
        self._shard = shard

    def new_parts(self) -> Iterator[Part]:
        """Takes in and yields the parts that were committed since the last call."""
        for part in committed(self._directory, self._shard, self.index):
            self.done.add(read_column(storage.join(self._directory, part.log.name), "url_key"))
            self.hosts |= {host.authority: host for host in read_table(
                storage.join(self._directory, part.hosts.name), Host)}
            self.index = part.index + 1
            yield part


def image_of(log: ImageLog) -> Image:
    """Returns the row of the `images` table that a log row makes."""
    return Image(url_key=log.url_key, url=log.url, outcome=log.outcome, http_status=log.http_status,
                 final_url=log.final_url, fetched_at=log.fetched_at, signals=log.signals, permission=log.permission,
                 format=log.format, width=log.width, height=log.height, num_bytes=log.body_bytes, sha256=log.sha256,
                 part=log.part, offset=log.offset, length=log.length, content_type=log.content_type)


def _log_type(kind: str) -> type[FetchLog]:
    return ImageLog if kind == "image" else FetchLog


def _size_and_sites(list_path: str) -> tuple[int, frozenset[str]]:
    """Returns how many rows a list has, and their politeness keys: a redirect seldom leaves them."""
    rows = collections.Counter(read_column(list_path, "politeness_key"))
    return rows.total(), frozenset(rows)


def _opening(kind: str, policy: FetchPolicy, round_number: int) -> Callable[[str], bytes]:
    if kind == "image":
        return lambda name: b""
    return lambda name: warc.warcinfo(f"round-{round_number}/{name}.warc.gz", recorded_time(), policy.header)
