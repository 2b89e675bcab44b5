"""WAT files: CPU-seconds from the file to its image-text pairs, against `cc2dataset.process_wat` on the same file.

    python -m benchmarks.wat [--pairs 100000] [--runs 3]

Two files are generated, one gzip member a record: `page_like`, whose pages have 200 links, 10 captioned images and 15
without a caption, with the records of request and metadata beside them (an assumption about Common Crawl's files, none
was at hand), and `dense`, 60 links and 20 captioned images a page, where our rows cost the most.  Both sides read the
same file in turn, each in a process of its own, rows taken and dropped; in a second pass, not timed, the pairs (page,
image URL, alt) are compared.  Ours gives more with
each: keys, title texts, og:image, consent signals, the row of the page and of its fetch.
"""
from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
from typing import Any

from benchmarks.machine import write_result
from benchmarks.peers import Peer, peer

# Links, captioned images, images without a caption, other records a page.
_MIXES = {"page_like": (200, 10, 15, 2), "dense": (60, 20, 0, 0)}
_PHRASES = ("brown dog runs over green field", "near old stone bridge", "while children play with red ball",
            "under tall trees beside quiet river", "in early morning light", "after heavy rain on narrow road")
_WORDS = [word for phrase in _PHRASES for word in phrase.split()]

_PEER = """
import json, sys, time
from loguru import logger
from cc2dataset.main import process_wat
logger.remove()
began = time.process_time()
for row in process_wat(sys.argv[1], "image"):
    pass
print(json.dumps(time.process_time() - began))
with open(sys.argv[2], "w") as file:
    json.dump([[page, url, alt] for _, url, alt, _, page in process_wat(sys.argv[1], "image")], file)
"""
_OURS = """
import json, sys, time
from crawl.archive_inputs import these_files
from crawl.archive_run import ArchiveConfig, rows_of_wat
from crawl.page_images import PageImages
archive = these_files([sys.argv[1]], "--wat").archives[0]
def rows():
    with open(sys.argv[1], "rb") as file:
        yield from rows_of_wat(archive, file, ArchiveConfig("wat"))
began = time.process_time()
for row in rows():
    pass
print(json.dumps(time.process_time() - began))
with open(sys.argv[2], "w") as file:
    json.dump([[row.page.url, url, texts[0][1]] for row in rows() if isinstance(row, PageImages)
               for _, _, url, _, texts, *_ in row.rows], file)
"""
_STAGE = """
import json, sys, tempfile, time
from crawl.archive_inputs import these_files
from crawl.archive_run import ArchiveConfig, read_archive_of
archive = these_files([sys.argv[1]], "--wat").archives[0]
began = time.process_time()
with tempfile.TemporaryDirectory() as folder:
    read_archive_of(folder, "", archive, ArchiveConfig("wat"))
print(json.dumps(time.process_time() - began))
"""


def generate(path: pathlib.Path, pairs: int, mix: str, seed: int = 1) -> None:
    """Writes a WAT file with about `pairs` captioned images: the same bytes for the same seed."""
    draw = random.Random(seed)
    links, captioned, bare, others = _MIXES[mix]
    with path.open("wb") as file:
        for number in range(pairs // captioned):
            for _ in range(others):
                told = {f"Field-{n}": "a value of a request" for n in range(20)}
                value = {"Envelope": {"WARC-Header-Metadata": {"WARC-Type": "request"},
                                      "Payload-Metadata": {"HTTP-Request-Metadata": told}}}
                file.write(gzip.compress(_stored(value, "http://a.example/", number), 6, mtime=0))
            file.write(gzip.compress(_page(draw, number, links, captioned, bare), 6, mtime=0))


def _page(draw: random.Random, number: int, others: int, captioned: int, bare: int) -> bytes:
    host = f"www.site{number % 997}.example.com"
    page = f"https://{host}/articles/{number}/{'-'.join(draw.sample(_WORDS, 4))}.html"

    def phrase(words: int) -> str:
        return " ".join(draw.choices(_WORDS, k=words))
    links: list[dict[str, Any]] = [{"path": "A@/href", "url": f"/{phrase(2).replace(' ', '/')}/{draw.random()}.html",
                                    "text": phrase(3)} for _ in range(others)]
    links += [{"path": "IMG@/src", "url": f"/icons/{phrase(1)}-{at}.png"} for at in range(bare)]
    for at in range(captioned):
        name = f"{phrase(2).replace(' ', '_')}_{number}_{at}.jpg"
        url = draw.choice((f"https://cdn.{host}/media/{at}/{name}", f"/images/{name}", f"../thumbs/{name}?w=600&h=400"))
        links.append({"path": "IMG@/src", "url": url, "alt": phrase(draw.randrange(3, 12))})
    draw.shuffle(links)
    head = {"Title": phrase(7), "Metas": [
        {"name": "viewport", "content": "width=device-width, initial-scale=1"},
        {"name": "description", "content": phrase(20)}, {"property": "og:title", "content": phrase(6)},
        {"name": "robots", "content": "max-image-preview:large"}],
        "Link": [{"path": "LINK@/href", "url": f"https://{host}/style{n}.css", "rel": "stylesheet"} for n in range(6)]}
    headers = {"Date": "Mon, 04 Mar 2024 05:06:07 GMT", "Content-Type": "text/html; charset=UTF-8", "Server": "nginx",
               "X-Crawler-Content-Encoding": "gzip", "Cache-Control": "max-age=600", "Vary": "Accept-Encoding"}
    identity = f"<urn:uuid:00000000-0000-0000-0000-{number:012d}>"
    value = {"Container": {"Filename": "CC-MAIN-0.warc.gz", "Compressed": True, "Offset": str(number)}, "Envelope": {
        "Format": "WARC", "WARC-Header-Metadata": {
            "WARC-Type": "response", "WARC-Target-URI": page, "WARC-Date": "2024-03-04T05:06:07Z",
            "WARC-Record-ID": identity, "WARC-Payload-Digest": "sha1:AAAA", "WARC-IP-Address": "192.0.2.1"},
        "Payload-Metadata": {"Actual-Content-Type": "application/http; msgtype=response", "HTTP-Response-Metadata": {
            "Response-Message": {"Status": "200", "Version": "HTTP/1.1", "Reason": "OK"}, "Headers": headers,
            "HTML-Metadata": {"Head": head, "Links": links}}}}}
    return _stored(value, page, number)


def _stored(value: dict[str, Any], page: str, number: int) -> bytes:
    block = json.dumps(value, separators=(",", ":")).encode()
    lines = ["WARC/1.0", "WARC-Type: metadata", f"WARC-Target-URI: {page}", "WARC-Date: 2024-03-04T05:06:07Z",
             f"WARC-Record-ID: <urn:uuid:00000000-0000-0000-0001-{number:012d}>",
             "Content-Type: application/json", f"Content-Length: {len(block)}", "", ""]
    return "\r\n".join(lines).encode() + block + b"\r\n\r\n"


def measure(mix: str, pairs: int, runs: int, other: Peer) -> dict[str, Any]:
    """Returns what both took and found for one file."""
    programs = {"ours": (sys.executable, _OURS), "cc2dataset": (other.program("python"), _PEER),
                "ours_with_tables_written": (sys.executable, _STAGE)}
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "generated.warc.wat.gz")
        generate(path, pairs, mix)
        for _ in range(runs):
            for name, (python, code) in programs.items():
                done = subprocess.run([python, "-c", code, str(path), f"{folder}/{name}.json"], check=True,
                                      capture_output=True, text=True)
                seconds[name].append(json.loads(done.stdout.splitlines()[-1]))
        found = {name: {tuple(row) for row in json.loads(pathlib.Path(folder, f"{name}.json").read_text())}
                 for name in ("ours", "cc2dataset")}
        data = path.read_bytes()
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "file": {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()},
        "cpu_seconds": {name: {"median": round(medians[name], 3), "runs": [round(value, 3) for value in values]}
                        for name, values in seconds.items()},
        "cc2dataset_over_ours": round(medians["cc2dataset"] / medians["ours"], 2),
        "pairs": {name: len(rows) for name, rows in found.items()} | {
            "in_both": len(found["ours"] & found["cc2dataset"])}}


def main() -> None:
    """Runs both in turn and writes results/wat.json."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--pairs", type=int, default=100_000)
    options.add_argument("--runs", type=int, default=3)
    args = options.parse_args()
    other = peer("cc2dataset")
    result = {mix: measure(mix, args.pairs, args.runs, other) for mix in _MIXES}
    print(json.dumps(result, indent=1))
    print(write_result("wat", "make bench-wat", result | {"peer": other.versions()}))


if __name__ == "__main__":
    main()
