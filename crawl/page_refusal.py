"""A page that refuses in a meta element is refused before its body is committed: what the row then keeps instead."""
from __future__ import annotations

import dataclasses

from crawl import consent, meta_prescan
from crawl.html import ParseLimits
from crawl.page_work import ParseSettings, page_sandbox, parsed_pages
from crawl.parse import Found
from crawl.permission import refusal
from crawl.policy import FetchPolicy
from crawl.records import DENY, FetchLog
from crawl.sandbox_client import SandboxLimits
from crawl.sitemaps import SitemapRules

_ITEM_S = 5.0                      # the shard waits meanwhile, so less than a parse stage gives a page


class PageRefusals:
    """Looks at the pages of one shard; the sandbox starts with the first page that may refuse."""

    def __init__(self, policy: FetchPolicy) -> None:
        # All of the body, so that no later parse reads a meta element that was not looked at here.
        limits = ParseLimits(max_bytes=policy.page_decoded_bytes, max_candidates=1)
        self._policy = policy
        self._box = page_sandbox(ParseSettings(tuple(sorted(policy.tokens)), limits, SitemapRules()),
                                 SandboxLimits(item_s=_ITEM_S))

    def __enter__(self) -> PageRefusals:
        return self

    def __exit__(self, *exception: object) -> None:
        self._box.close()

    def settle(self, log: FetchLog, body: bytes) -> FetchLog:
        """Returns the row of a fetched page, as `optout_meta` where the page refuses: with its signals and links.

        A page that seems to refuse and that no parser can read is refused.
        """
        metas = meta_prescan.metas(body)
        seen = consent.from_meta(metas or (), self._policy.tokens)
        # Any one of them: what takes another back may stand in a comment, where the parser sees no element.
        refuses = any(signal.verdict == DENY for signal in seen)
        licensed = self._policy.rsl == "deny" and meta_prescan.LINK.search(body) is not None
        if not refuses and not licensed and metas is not None:
            return log
        found = next(parsed_pages(self._box, [(log, body)]))
        assert isinstance(found, Found)
        page = found.page
        if page.outcome not in ("parsed", "optout_meta"):
            return log if not refuses else dataclasses.replace(
                log, outcome="optout_meta", permission=DENY, signals=log.signals + seen)
        if not refusal(page.signals, page.permission, self._policy.rules):
            return log
        return dataclasses.replace(log, outcome="optout_meta", permission=DENY, signals=page.signals,
                                   links=tuple(link.dst_url for link in found.links if not link.nofollow))
