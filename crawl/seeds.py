"""Where does a crawl begin?  A text file, one URL a line."""
from __future__ import annotations

import os

from crawl import storage, urls
from crawl.errors import UsageError
from crawl.suppress import SUPPRESS, SUPPRESSED

MAX_BYTES = 256 * 2**20


def read_seeds(path: str) -> tuple[str, ...]:
    """Returns the normalised URLs of a seeds file in its order, each once; `#` starts a comment.

    Raises UsageError for a file that cannot be read or has no URL, and for a line that is not an http(s) URL.
    """
    found: dict[str, None] = {}
    for number, line in enumerate(_text_of(path).splitlines(), 1):
        # A fragment is part of a URL: only a '#' after white space, or at the start, is a comment.
        text = line.strip()
        text = "" if text.startswith("#") else text.split(" #")[0].split("\t#")[0].strip()
        if not text:
            continue
        url = urls.normalize(text)
        if url is None or text.split(":")[0].lower() not in ("http", "https"):
            raise UsageError(f"{path}, line {number}: {text[:200]!r} is not an http(s) URL; "
                             f"write one a line, such as https://example.org/")
        found[url] = None
    if not found:
        raise UsageError(f"{path}: no URL in this seeds file; write one http(s) URL a line")
    return tuple(found)


def _text_of(path: str) -> str:
    if not storage.is_remote(path) and os.path.isdir(path):
        raise UsageError(f"{path}: this is a folder; --seeds takes a text file with one URL a line")
    try:
        if storage.size(path) > MAX_BYTES:
            raise UsageError(f"{path}: {storage.size(path)} bytes are too many for a seeds file "
                             f"(at most {MAX_BYTES}); split it into several crawls")
        return storage.read_bytes(path).decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{path}: cannot read the seeds file: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not a text file in UTF-8 (byte {error.start}); "
                         f"write one http(s) URL a line") from error


def way_out(url: str, outcome: str) -> str:
    """Returns what a person can do about a seed that ended with this outcome."""
    if outcome in ("blocked_address", "blocked_egress"):
        return (f"private and loopback addresses and unusual ports are refused; "
                f"open this one with --allow-host {urls.host_port(url)}")
    if outcome == "dns_error":
        return "the name is not known; check its spelling, or map it with --resolve NAME:PORT:ADDR"
    if outcome == "dns_failure":
        return "no name server answers; check the machine's resolver, or map the name with --resolve NAME:PORT:ADDR"
    if outcome == "connect_error":
        return "nothing answers there; check host and port, and that the server runs"
    if outcome == "tls_error":
        return "its certificate is not trusted; name the authority with --ca-file"
    if outcome == "blocked_no_contact":
        return "say whom a site can write to with --contact"
    if outcome == "deferred_robots_unreachable":
        return "its robots.txt cannot be read, and until it can nothing may be fetched (RFC 9309); try again later"
    if outcome == SUPPRESSED:
        return f"it was removed from this dataset, and {SUPPRESS} keeps it out; leave it out of the seeds"
    if outcome == "robots_denied" or outcome.startswith("optout_"):
        return "the site does not want this crawler; leave it out of the seeds"
    return "check the URL in a browser"
