"""What the synthetic web answers to a request: a pure function of the web, the host, the path and the try.

Deterministic bytes; only `attempt` (how often this path was asked for) and `waited` (since the last 429) depend on the
server's run, for answers that are an error once or until the client has waited.
"""
from __future__ import annotations

import dataclasses
import hashlib
import json
import re

from demo.addresses import PRIVATE, hidden_folder, image_path, read_page_path
from demo.images import DrawJob, chrome, gzip_bomb, job_of, pixel_bomb
from demo.pages import Html, article_page, calendar_page, front_page, listing_page, plain_page
from demo.plan import CHROME, PIXEL, Slot
from demo.web import SyntheticWeb

RETRY_AFTER_S = 2
SLOW_S = 9.0                       # before the first byte of a slow answer
DRIP_S = 0.25                      # between the pieces of a dripping answer
DRIP_PIECES = 48                   # of the whole body: 12 seconds

Headers = tuple[tuple[str, str], ...]
_TYPES = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp", "gif": "image/gif", "ico": "image/png"}
_OPTOUTS = ("noai", "noimageai", "noai, noimageai", "noindex", "none",
            "unavailable_after: 25 Jun 2030 15:00:00 PST, noimageai", "noai, max-image-preview:large")
_CALENDAR = re.compile(r"/calendar/([1-9]\d{3,5})/([1-9]|1[0-2])/")
_HTML = ("Content-Type", "text/html; charset=utf-8")


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer before it is sent."""

    status: int
    headers: Headers = (_HTML,)
    body: bytes | DrawJob = b""
    pace: str = ""                 # "" at once, slow, drip, short (the connection closes half-way)


def answer(web: SyntheticWeb, secure: bool, host: str, target: str, attempt: int = 1, waited: bool = True) -> Answer:
    """Returns the answer to the `attempt`-th GET of that target; `waited`: the Retry-After of a 429 has passed."""
    number = web.numbers.get(host)
    if number is None:
        return _error(421, "no such site here")
    if web.scheme(number) == "https" and not secure:
        return _moved(f"https://{host}{target}", 301)
    path = target.partition("?")[0]
    if path == "/robots.txt" or path == "/robots-new.txt":
        return _with_tdm(web, number, robots(web, number, path))
    found = web.slot_at(f"{web.scheme(number)}://{host}{target}")
    if found is not None:
        reply = _image(web, *found, target, attempt, waited)
    elif path in CHROME or path == PIXEL:
        kind = "gif" if path == PIXEL else path.rpartition(".")[2]
        reply = Answer(200, (("Content-Type", _TYPES[kind]),), chrome(path, number, web.config.seed))
    elif path == "/.well-known/tdmrep.json" and web.role(number) == "tdm_host":
        reply = Answer(200, (("Content-Type", "application/json"),),
                       json.dumps([{"location": "/", "tdm-reservation": 1}]).encode())
    else:
        reply = _page(web, number, target, attempt)
    return _with_tdm(web, number, reply)


def conditional(found: Answer, if_none_match: str) -> Answer:
    """Returns a page with an ETag, or a 304 without its body where `if_none_match` names the page as it is."""
    if found.status != 200 or found.pace or not isinstance(found.body, bytes):
        return found
    etag = ("ETag", f'"{hashlib.sha256(found.body).hexdigest()[:16]}"')
    if if_none_match == etag[1]:
        return Answer(304, (etag, *(pair for pair in found.headers if pair[0] != "Content-Type")))
    return dataclasses.replace(found, headers=(*found.headers, etag))


def robots(web: SyntheticWeb, host: int, path: str) -> Answer:
    """Returns a host's robots.txt, which may be missing, moved, unreachable or a web page."""
    role = web.role(host)
    plain = (("Content-Type", "text/plain; charset=utf-8"),)
    if role == "robots_503":
        return _error(503, "down for maintenance")
    if role == "robots_404":
        return _error(404, "no robots.txt")
    if role == "robots_html":
        return _html(plain_page(web, host, "robots"))
    if role == "robots_moved" and path == "/robots.txt":
        return _moved(web.origin(host) + "/robots-new.txt", 301)
    lines = ["# rules of " + web.hosts[host], "User-agent: *", f"Disallow: /{PRIVATE}/",
             f"Disallow: {hidden_folder(web.config.profile)}", "Disallow: /*?session="]
    if role == "crawl_delay":
        lines.append("Crawl-delay: 1")
    lines += ["", "User-agent: greedy-bot", "Disallow: /", ""]
    return Answer(200, plain, "\n".join(lines).encode())


def _image(web: SyntheticWeb, slot: Slot, size: str, target: str, attempt: int, waited: bool) -> Answer:
    """Returns the answer for an image slot, hazards and all."""
    kind = slot.kind.name
    if kind == "redirect_loop" and target.startswith("/loop/"):
        return _moved(target[:-1] + ("b" if target.endswith("a") else "a"), 302)
    if target.startswith(("/go/", "/out/")):
        return _moved(web.image_url(slot), 302)
    if kind == "dead":
        return _error(404 if slot.member % 3 else 410, "not here any more")
    if kind == "server_error" or (kind == "error_once" and attempt == 1):
        return _error(500, "something went wrong")
    if kind == "rate_limited" and (attempt == 1 or not waited):
        return dataclasses.replace(_error(429, "too many requests"),
                                   headers=(_HTML, ("Retry-After", str(RETRY_AFTER_S))))
    declared = ("Content-Type", _TYPES[slot.path.extension])
    if kind == "soft_404":
        return _html(plain_page(web, slot.host, f"missing{slot.number}"))
    if kind == "html_as_jpeg":
        return Answer(200, (declared,), plain_page(web, slot.host, f"lost{slot.number}").body)
    if kind == "pixel_bomb":
        return Answer(200, (declared,), pixel_bomb())
    if kind == "gzip_bomb":
        return Answer(200, (declared, ("Content-Encoding", "gzip")), gzip_bomb())
    extra: dict[str, Headers] = {
        "optout_header": (("X-Robots-Tag", _OPTOUTS[slot.member % len(_OPTOUTS)]),),
        "other_agent": (("X-Robots-Tag", "greedy-bot: noai, noimageai"),),
        "tdm_header": (("tdm-reservation", "1"),),
        "tdm_open": (("tdm-reservation", "0"),)}
    pace = {"slow": "slow", "drip": "drip", "short_body": "short"}.get(kind, "")
    job = job_of(web, slot, size)
    if kind == "short_body":
        job = dataclasses.replace(job, keep_share=1.0)
    return Answer(200, (declared, *extra.get(kind, ())), job, pace)


def _page(web: SyntheticWeb, host: int, target: str, attempt: int) -> Answer:
    """Returns the answer for anything that is no image."""
    if target == "/":
        return _html(front_page(web, host))
    read = read_page_path(web.config.profile, target)
    if read is not None and read.kind == "listing":
        listing = listing_page(web, host, read.number, read.part)
        return _html(listing) if listing else _error(404, "no such page")
    if read is not None and read.number < web.articles_of[host]:
        article = web.article(host, read.number)
        if article.path == target:
            extra: Headers = {"header_noai": (("X-Robots-Tag", "noai, noimageai"),),
                              "tdm_page_header": (("tdm-reservation", "1"),)}.get(article.kind.name, ())
            return _html(article_page(web, article), extra)
    month = _CALENDAR.fullmatch(target)
    if month and web.role(host) == "calendar":
        return _html(calendar_page(web, host, int(month[1]), int(month[2])))
    if web.role(host) == "hazards":
        return _hazard(web, host, target, attempt)
    return _error(404, "no such page")


def _hazard(web: SyntheticWeb, host: int, target: str, attempt: int) -> Answer:
    """Returns how each page of pages.HAZARD_PAGES ends."""
    origin = web.origin(host)
    if target == "/old/article.html":
        return _moved(web.article(host, 0).path, 301)
    if target in ("/loop/page/a", "/loop/page/b"):
        return _moved("/loop/page/" + ("b" if target.endswith("a") else "a"), 302)
    if target in ("/chain/3", "/chain/2", "/chain/1"):
        step = int(target[-1]) - 1
        return _moved(f"{origin}/chain/{step}" if step else origin + "/", 307)
    if target == "/broken.html":
        return _error(500, "something went wrong")
    if target == "/gone-for-good.html":
        return _error(410, "gone")
    if target == "/slow.html":
        return dataclasses.replace(_html(plain_page(web, host, "slow")), pace="slow")
    if target == "/drip.html":
        return dataclasses.replace(_html(plain_page(web, host, "drip")), pace="drip")
    if target == "/bomb.html":
        return Answer(200, (_HTML, ("Content-Encoding", "gzip")), gzip_bomb())
    if target == "/leaflet.pdf":
        return Answer(200, (("Content-Type", "application/pdf"),), b"%PDF-1.4\n% nothing to see\n%%EOF\n")
    return _error(404, "no such page")


def _with_tdm(web: SyntheticWeb, host: int, reply: Answer) -> Answer:
    if web.role(host) != "tdm_host":
        return reply
    return dataclasses.replace(reply, headers=(*reply.headers, ("tdm-reservation", "1")))


def _html(page: Html, extra: Headers = ()) -> Answer:
    return Answer(200, (("Content-Type", page.content_type), *extra), page.body)


def _error(status: int, text: str) -> Answer:
    return Answer(status, (_HTML,), f"<!DOCTYPE html><title>{status}</title><p>{text}</p>\n".encode())


def _moved(location: str, status: int) -> Answer:
    return Answer(status, (_HTML, ("Location", location)), b"<!DOCTYPE html><title>moved</title>\n")


def image_targets(web: SyntheticWeb, slot: Slot) -> list[tuple[str, str]]:
    """Returns (host, path) of every size in which a slot's bytes are served."""
    sizes = ("", "s", "l") if slot.kind.name == "keep" else ("",)
    return [(slot.image_host, image_path(web.config.profile, dataclasses.replace(slot.path, size=size)))
            for size in sizes]
