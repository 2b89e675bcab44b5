"""Extraction: megabytes of HTML a core-second, sandbox included, from stored pages to candidates with all texts.

    python -m benchmarks.extraction --shared ../shared

Pages: those of the developers' real sites, three times over, and generated ones with 25 pictures a megabyte.  CPU
seconds are of the parent and its sandbox together, its start included.  Beside it, on the same pages in the same run:
the parse alone (lexbor and every `img` element: what no extraction can be faster than), and BeautifulSoup with lxml
asking for `img` and its alt, which is what most scripts do.
"""
from __future__ import annotations

import argparse
import json
import pathlib
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from typing import Any

from selectolax.lexbor import LexborHTMLParser

from benchmarks.machine import write_result
from benchmarks.peers import default_folder, peer
from crawl.html import ParseLimits
from crawl.page_work import ParseSettings, page_sandbox, parsed_pages
from crawl.parse import Found
from crawl.records import Candidate, FetchLog
from crawl.sitemaps import SitemapRules

RUNS = 3
_SETTINGS = ParseSettings(("imagebert", "*"), ParseLimits(), SitemapRules())
_SOUP = """
import json, pathlib, sys, time
from bs4 import BeautifulSoup
bodies = [path.read_bytes() for path in sorted(pathlib.Path(sys.argv[1]).iterdir())]
began = time.process_time()
found = 0
for body in bodies:
    found += len([(one.get("src"), one.get("alt")) for one in BeautifulSoup(body, "lxml").find_all("img")])
print(json.dumps({"cpu_s": time.process_time() - began, "images": found}))
"""


def real_pages(shared: pathlib.Path) -> list[bytes]:
    """Returns the HTML files of the real sites."""
    root = shared / "data" / "sites"
    if not root.is_dir():
        raise SystemExit(f"{root}: no real sites there; --shared names the folder that holds data/sites")
    return [path.read_bytes() for path in sorted(root.rglob("*.htm*")) if path.is_file()]


_WORDS = ("the", "quick", "brown", "heron", "stands", "in", "shallow", "water", "near", "a", "wooden", "bridge",
          "while", "light", "rain", "falls")


def sparse_pages(count: int = 400) -> list[bytes]:
    """Returns generated pages of about 100 KB with 25 pictures a megabyte."""
    pages = []
    for number in range(count):
        blocks = []
        for place in range(200):
            text = " ".join(_WORDS[(number * 7 + place * 3 + at) % len(_WORDS)] for at in range(70))
            link = f'<a href="/p/{number}/{place}">{_WORDS[place % 16]}</a>' if place % 2 else ""
            blocks.append(f'<p class="c{place}">{text} {link}</p>')
        for place in range(2 if number % 2 else 3):
            blocks.insert(60 * place + 9, f'<figure><img src="/i/{number}-{place}.jpg" alt="A heron by {number}">'
                                          f'<figcaption>{" ".join(_WORDS[:9])}</figcaption></figure>')
        pages.append(f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Page {number}</title></head>'
                     f'<body><main>{"".join(blocks)}</main></body></html>'.encode())
    return pages


def ours(bodies: list[bytes]) -> dict[str, Any]:
    """Returns CPU seconds of the whole extraction, and what it found."""
    began = _cpu()
    with page_sandbox(_SETTINGS) as box:
        found = list(parsed_pages(box, ((_log(number), body) for number, body in enumerate(bodies))))
    pages = [one for one in found if isinstance(one, Found)]
    return {"cpu_s": _cpu() - began, "images": sum(len(one.candidates) for one in pages),
            "links": sum(len(one.links) for one in pages),
            "not_parsed": sum(one.page.outcome != "parsed" for one in pages)}


def candidates_of(bodies: list[bytes]) -> list[Candidate]:
    """Returns the candidate rows of some pages."""
    with page_sandbox(_SETTINGS) as box:
        found = parsed_pages(box, ((_log(number), body) for number, body in enumerate(bodies)))
        return [row for one in found if isinstance(one, Found) for row in one.candidates]


def lexbor(bodies: list[bytes]) -> dict[str, Any]:
    """Returns CPU seconds of the parse and one query."""
    began = time.process_time()
    images = sum(len(LexborHTMLParser(body).css("img")) for body in bodies)
    return {"cpu_s": time.process_time() - began, "images": images}


def soup(bodies: list[bytes], folder: pathlib.Path) -> dict[str, Any]:
    """Returns CPU seconds of BeautifulSoup over the same pages."""
    python = peer("beautifulsoup", folder).program("python")
    with tempfile.TemporaryDirectory() as pages:
        for number, body in enumerate(bodies):
            (pathlib.Path(pages) / f"{number:06d}").write_bytes(body)
        said = subprocess.run([python, "-W", "ignore", "-c", _SOUP, pages], check=True, capture_output=True, text=True)
    value: dict[str, Any] = json.loads(said.stdout)
    return value


def measured(work: Callable[[], dict[str, Any]], megabytes: float) -> dict[str, Any]:
    """Returns the median of some runs as MB a core-second, with its range."""
    runs = [work() for _ in range(RUNS)]
    rates = [megabytes / run["cpu_s"] for run in runs]
    spread = [round(min(rates), 1), round(max(rates), 1)]
    return {"mb_per_core_s": round(statistics.median(rates), 1), "range": spread} | {
        name: value for name, value in runs[-1].items() if name != "cpu_s"}


def main() -> None:
    """Measures both kinds of pages, writes results/extraction.json."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--shared", type=pathlib.Path, default=pathlib.Path("../shared"), help="holds data/sites")
    options.add_argument("--peers", type=pathlib.Path, default=default_folder(), help="folder of the environments")
    args = options.parse_args()
    result: dict[str, Any] = {}
    for name, bodies in (("real sites", 3 * real_pages(args.shared)), ("25 pictures a MB", sparse_pages())):
        megabytes = sum(map(len, bodies)) / 1e6
        ran = {"ours, sandbox included": measured(lambda: ours(bodies), megabytes),      # noqa: B023, run at once
               "lexbor, img elements only": measured(lambda: lexbor(bodies), megabytes),   # noqa: B023
               "BeautifulSoup with lxml, img and alt": measured(lambda: soup(bodies, args.peers), megabytes)}   # noqa: B023
        result[name] = {"pages": len(bodies), "megabytes": round(megabytes, 2)} | ran
    print(json.dumps(result, indent=1))
    write_result("extraction", "make bench-extraction", {"runs": RUNS, "pages": result})


def _log(number: int) -> FetchLog:
    url = f"http://a.example/{number}.html"
    return FetchLog(
        url_key=f"{number:032x}", url=url, kind="page", depth=1, outcome="ok", http_status=200, final_url=url,
        redirects=(), content_type="text/html", fetched_at="2026-01-01T00:00:00.000000Z", body_bytes=1,
        truncated=False, signals=(), permission="allow", part="p", offset=0, length=1, sha256="ab" * 32,
        warc_record_id="urn:uuid:1", round=0)


def _cpu() -> float:
    return sum(used.ru_utime + used.ru_stime for used in map(
        resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


if __name__ == "__main__":
    main()
