"""A CDXJ index of the WARC parts of an output root: pywb and other tools find captures in it and open them.

    test,a)/x?y 20261123000000 {"url": "http://a.test/x?y", "mime": "text/html", "status": "200",
                                "digest": "sha256:...", "length": "812", "offset": "3045",
                                "filename": "crawl/3f0c51a2b7de/shard-0000/part-00000-....warc.gz"}

One line each (here it is broken) for the answers and revisits of every finished crawl of the root, those for robots.txt
and its like too, sorted by their bytes: by SURT, then time.  File names are relative to the root.  Lines are made of
committed rows of `fetch_log` and `hosts`; of a record only the beginning is read, for its WARC-Payload-Digest, which a
row does not hold (`sha256` is of the body after content coding).  Form: that of `cdxj-indexer`, with mime `unk` where
an answer named none.
"""
from __future__ import annotations

import itertools
import json
import os
import re
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from crawl import storage
from crawl.errors import UsageError
from crawl.line_sort import sorted_lines
from crawl.stages import Manifest, current, read_manifest
from crawl.surt import surt
from crawl.tables import read_plain

INDEX = "index.cdxj"               # below the root; made anew from the tables, no stage reads it
_CAPTURES = ("captures",)
_COLUMNS = ("final_url", "fetched_at", "content_type", "http_status", "part", "offset", "length", "revisit_part",
            "revisit_offset", "revisit_length")
# Two URLs of 2,083 characters and the other fields take less; compressed no more.
_HEAD = 8192


def write_index(out: str) -> tuple[int, int]:
    """Writes `index.cdxj` into a root, over an older one; returns the numbers of captures and of crawls in it.

    Raises UsageError where no crawl of the root has a WARC part, or where a row's address holds no record of it.
    """
    crawls = list(crawls_of(out))
    with sorted_lines(line for crawl in crawls for line in lines_of(crawl)) as lines:
        return _write(storage.join(out, INDEX), lines), len(crawls)


def crawls_of(out: str) -> Iterator[Manifest]:
    """Yields every finished crawl of a root that has WARC parts: a recrawl's revisits name records of earlier ones."""
    found = False
    for name in storage.folders_in(storage.join(out, "crawl")) if "crawl" in current(out) else ():
        manifest = read_manifest(out, f"crawl/{name}")
        if manifest is not None and manifest.tables.get("warc"):
            found = True
            yield manifest
    if not found:
        raise UsageError(f"{out}: no finished crawl with WARC parts here; run `imagebert crawl --out {out}` first "
                         f"(pages that `candidates` read lie in files of others, which have their own index)")


def lines_of(crawl: Manifest) -> Iterator[bytes]:
    """Yields the lines of a crawl's own records, part by part, unsorted."""
    own = {storage.join(crawl.folder, entry.name)
           for name in ("warc", "robots") for entry in crawl.tables.get(name, ())}
    logs = ((_record(row, own) for row in read_plain(path, _COLUMNS)) for path in crawl.paths("fetch_log"))
    asked = ((_site_record(one, own) for row in read_plain(path, _CAPTURES) for one in row.get("captures", ()))
             for path in crawl.paths("hosts"))
    for part in itertools.chain(logs, asked):        # one for each part
        records = sorted(filter(None, part), key=lambda record: (record["filename"], int(record["offset"])))
        for name, group in itertools.groupby(records, key=lambda record: record["filename"]):
            with storage.opened(storage.join(crawl.out, name)) as file:
                for record in group:
                    yield _line(record, _digest(file, record))


def _record(row: dict[str, Any], own: set[str]) -> dict[str, str] | None:
    """Returns what a row says of the record that this crawl wrote for it, None where it wrote none."""
    kind = "revisit_" if row.get("revisit_part") else ""
    if row[f"{kind}part"] not in own:
        return None
    mime = "warc/revisit" if kind else _mime(row["content_type"])
    return {"date": row["fetched_at"], "url": row["final_url"], "mime": mime,
            "status": str(row["http_status"]), "length": str(row[f"{kind}length"]),
            "offset": str(row[f"{kind}offset"]), "filename": row[f"{kind}part"]}


def _mime(content_type: str) -> str:
    return re.split(r"[;\s]", content_type.strip(), maxsplit=1)[0] or "unk"


def _site_record(capture: dict[str, Any], own: set[str]) -> dict[str, str] | None:
    """Returns what a capture of robots.txt or its like says of the record that this crawl wrote for it."""
    if capture["part"] not in own:
        return None                                  # an old copy that stood in for a new one
    return {"date": capture["fetched_at"], "url": capture["url"], "mime": _mime(capture["content_type"]),
            "status": str(capture["http_status"]), "length": str(capture["length"]), "offset": str(capture["offset"]),
            "filename": capture["part"]}


def _line(record: dict[str, str], digest: str) -> bytes:
    value = {name: digest if name == "digest" else record[name]
             for name in ("url", "mime", "status", "digest", "length", "offset", "filename")}
    moment = re.sub(r"\D", "", record["date"])[:14]
    return f"{surt(record['url'])} {moment} {json.dumps(value)}\n".encode("ascii")


def _digest(file: BinaryIO, record: dict[str, str]) -> str:
    """Returns the WARC-Payload-Digest of a record; raises UsageError where its address holds another or none."""
    file.seek(int(record["offset"]))
    try:
        text = zlib.decompressobj(31).decompress(file.read(min(_HEAD, int(record["length"]))), _HEAD)
    except zlib.error:
        text = b""
    head = text.partition(b"\r\n\r\n")[0].decode("utf-8", "replace")
    fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
    if fields.get("WARC-Target-URI") != record["url"] or "WARC-Payload-Digest" not in fields:
        raise UsageError(f"{record['filename']} at {record['offset']}: not the record of {record['url'][:200]} that "
                         f"the table names; the file is damaged, copy it again")
    return fields["WARC-Payload-Digest"]


def _write(path: str, lines: Iterable[bytes]) -> int:
    """Writes the lines under a name that may be taken, whole or not at all; returns how many there were."""
    count = 0
    remote = storage.is_remote(path)
    handle, temporary = tempfile.mkstemp(dir=None if remote else os.path.dirname(path), suffix=".tmp")
    try:
        with storage.disk(path), open(handle, "wb") as file:
            for line in lines:
                file.write(line)
                count += 1
            file.flush()
            os.fsync(file.fileno())
        if remote:
            storage.remove(path)                     # so that an upload's answer is about this file
            storage.upload(temporary, path)
        else:
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
    finally:
        storage.remove(temporary)
    return count
