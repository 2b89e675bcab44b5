"""Fetches one shard of a fetch list and commits what came back part by part: the measured step of a crawl.

    fetch_shard(list_path, directory, out, policy, network, round, kind, *,
                known_hosts=(), limits=PartLimits(), progress=None) -> Iterator[crawl.parts.Part]

        list_path    Parquet table of crawl.records.FetchRow of ONE shard, sorted by order_key; rows are streamed
        directory    the stage folder with its root (Stage.directory); parts go to `directory/shard-0007/`
        out          the output root; FetchLog.part is relative to it
        policy       crawl.policy.FetchPolicy (hashed into the stage)
        network      crawl.policy.Network (not hashed: how this machine reaches the hosts)
        round        number of the round, part of every WARC-Record-ID
        kind         "page" (WARC parts, FetchLog rows) or "image" (tar parts, ImageLog rows)
        known_hosts  full paths of earlier `hosts` tables (crawl.records.Host): their robots answers are used while fresh
        limits       crawl.parts.PartLimits: when a part is closed (URLs, bytes, seconds)
        progress     called as progress(done, total) in rows of the list, never more than about 5 times a second

    Yields every part of the shard, those of an earlier run first, each after it is committed; an empty list yields
    nothing.  Run again, it fetches only the rows without a committed log row; over a finished shard it fetches nothing.

    crawl.parts.Part: shard, index, bytes (FileEntry of the WARC or tar), log (FileEntry of the FetchLog or ImageLog
        table, with `outcomes` counted), hosts (FileEntry of the Host table); names are relative to the stage folder.
    crawl.parts.committed(directory, shard) -> Iterator[Part]: the parts so far, by numbered names.

A page body: crawl.warc.read_response(out + "/" + log.part, log.offset, log.length, policy.page_decoded_bytes)
    -> warc.Response(url, status, headers: tuple[tuple[str, str], ...], body: bytes decoded, record_id); log.sha256 is
    that of the decoded body.  A row with `part == ""` has no stored body: parse only rows with outcome "ok".
An image: storage.read_range(join(out, log.part), log.offset, log.length); `image_of(log) -> crawl.records.Image`.
Seeds: crawl.policy.require_contact(policy, network, urls) raises UsageError before a run; a URL found later that lies
    on the open web ends as the row `blocked_no_contact` instead, for half a crawl is no reason to stop it.
Signals of a page: `log.signals` has robots, x_robots_tag, tdm_header, content_usage, content_signal; add
    crawl.consent.from_meta([(name, content), ...], policy.tokens) and judge all by crawl.consent.verdict(signals).

Outcomes of a row
    ok                     stored (pages: also `truncated`)
    http_<status>          any other final status, 404 or 500 say
    timeout_total, too_slow, connect_error, dns_error, tls_error, protocol_error, disconnected    the network's
    too_large, bomb, bad_encoding, not_html, empty_body    the body's (a page that is cut is `ok` and `truncated`)
    not_an_image, unsupported_format, broken_image_header, too_many_pixels    kind "image" only, by crawl/sniff.py
    too_many_redirects, redirect_loop, bad_url, blocked_scheme, blocked_address, blocked_egress, blocked_no_contact
    robots_denied, optout_robots (Content-Signal, Content-Usage), optout_header      refused by the site
    deferred_robots_unreachable, deferred_budget, deferred_suspended     not decided: due again in the next round
"""
from __future__ import annotations
