"""Why was a URL fetched, or not?  From what a root stored: the decision, the file that made it, and whether it holds.

Nobody is asked.  A row of `fetch_log` or of an images stage names the robots.txt that decided (`robots_sha256`), the
table `hosts` has that file and the addresses of its captures, the manifest has the policy of then; so the decision can
be taken once more, and compared with what the row says.
"""
from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from crawl import storage, urls
from crawl.errors import UsageError
from crawl.policy import FetchPolicy
from crawl.records import Capture, FetchLog, Host
from crawl.robots_explain import Explanation, explain
from crawl.stages import Manifest, read_manifest
from crawl.tables import read_matching

_STAGES = ("crawl", "images")      # that ask sites


@dataclasses.dataclass(frozen=True, slots=True)
class Stored:
    """A decision of a root about a URL, and what it rests on."""

    stage: str                     # folder of the stage that took it, "" where the URL was never in a fetch list
    outcome: str                   # of its row, "" without one
    fetched_at: str                # of its row
    explanation: Explanation       # by the stored files, of the last hop
    robots_fetched_at: str
    robots_sha256: str             # of the body that is explained
    captures: tuple[Capture, ...]
    agrees: bool                   # the stored files say what the row says; true without one


def stored_decisions(out: str, url: str, changed: Callable[[FetchPolicy], FetchPolicy] = lambda policy: policy
                     ) -> list[Stored]:
    """Returns what a root's finished stages decided about a normalised URL, in the order of their rows' times.

    Without a row there is one decision, by the newest files of its site.

    Args: changed: makes another policy of a stage's own, to ask what that would decide; the rows agree less then.

    Raises UsageError where nothing of the URL's site is stored.
    """
    stages = list(_stages(out))
    rows = sorted(((stage, log) for stage in stages for log in _logs(stage, urls.url_key(url))),
                  key=lambda pair: pair[1].fetched_at)
    found = []
    for stage, log in rows:
        hop = log.final_url or url
        hosts = _hosts(stages, hop)
        host = _decided(hosts, log)
        if host is not None:
            found.append(_stored(stage.folder, log, host, explain(host, hop, changed(_policy(stage)))))
        else:
            found.append(_stored(stage.folder, log, None, _unasked(log, changed(_policy(stage)))))
    if found:
        return found
    newest = max(_hosts(stages, url), key=lambda host: host.fetched_at, default=None)
    if newest is None:
        raise UsageError(f"{out}: nothing of {urls.authority(url)} is stored here; without --out its site is asked")
    return [_stored("", None, newest, explain(newest, url, changed(_policy(stages[-1]))))]


def _stored(folder: str, log: FetchLog | None, host: Host | None, told: Explanation) -> Stored:
    # What the answer itself said comes after what was known before it was asked for.
    agrees = log is None or host is None or log.signals[:len(told.signals)] == told.signals
    return Stored(stage=folder, outcome=log.outcome if log else "", fetched_at=log.fetched_at if log else "",
                  explanation=told, robots_fetched_at=host.fetched_at if host else "",
                  robots_sha256=host.sha256 if host and host.robots == "ok" else "",
                  captures=host.captures if host else (), agrees=agrees)


def _stages(out: str) -> Iterator[Manifest]:
    for stage in _STAGES:
        for name in storage.folders_in(storage.join(out, stage)):
            manifest = read_manifest(out, storage.join(stage, name))
            if manifest is not None and manifest.tables.get("hosts"):
                yield manifest


def _logs(stage: Manifest, url_key: str) -> Iterator[FetchLog]:
    for path in stage.paths("fetch_log"):
        yield from read_matching(path, FetchLog, "url_key", lambda found: found == url_key)


def _hosts(stages: list[Manifest], url: str) -> list[Host]:
    authority = urls.authority(url)
    return [host for stage in stages for path in stage.paths("hosts")
            for host in read_matching(path, Host, "authority", lambda found: found == authority)]


def _decided(hosts: list[Host], log: FetchLog) -> Host | None:
    """Returns the answers that a row was judged by: of those with its robots.txt the newest before it."""
    same = [host for host in hosts if host.fetched_at <= log.fetched_at
            and (host.sha256 if host.robots == "ok" else "") == log.robots_sha256]
    return max(same, key=lambda host: host.fetched_at, default=None)


def _unasked(log: FetchLog, policy: FetchPolicy) -> Explanation:
    return Explanation(url=log.url, allowed=False, outcome=log.outcome,
                       why=f"no robots.txt was asked for it: {log.outcome}", agent=policy.product_token, robots="",
                       http_status=0, group="", line=0, rule="", crawl_delay_s=0.0, sitemaps=(), signals=log.signals)


def _policy(stage: Manifest) -> FetchPolicy:
    """Returns the policy in the config that the manifest of a stage carries."""
    written: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value
                               for name, value in stage.config["fetch"].items()}
    return FetchPolicy(**written)
