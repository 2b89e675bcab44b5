"""WARC and WAT files for tests, written by hand so that they can be wrong."""
from __future__ import annotations

import gzip
import json
from typing import Any

PAGE = ('<html lang="en"><title>{title}</title><body><main><h1>Animals</h1><figure><img src="/{title}.jpg" '
        'alt="A brown dog runs over the green field"><figcaption>The dog on its way home</figcaption></figure></main>')


def record(kind: str, target: str, block: bytes, length: int | None = None, **fields: str) -> bytes:
    """Returns a record as it stands in a plain file."""
    lines = ["WARC/1.0", f"WARC-Type: {kind}"]
    lines += [f"WARC-Target-URI: {target}"] if target else []
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    lines += [f"Content-Length: {len(block) if length is None else length}", "", ""]
    return "\r\n".join(lines).encode() + block + b"\r\n\r\n"


def answer(body: bytes | str, *headers: str, status: str = "200 OK") -> bytes:
    """Returns an HTTP answer as it is stored."""
    content = body.encode() if isinstance(body, str) else body
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode() + content


def page(name: str, *headers: str, **fields: str) -> bytes:
    """Returns the record of a page http://a.test/NAME with one image."""
    given = {"WARC_Date": "2024-05-06T07:08:09Z", "WARC_Record_ID": f"<urn:uuid:{name}>"} | fields
    return record("response", f"http://a.test/{name}",
                  answer(PAGE.format(title=name), "Content-Type: text/html; charset=utf-8", *headers), **given)


def arc(url: str, block: bytes, length: int | str | None = None, version: int = 1) -> bytes:
    """Returns a record of an ARC file."""
    size = len(block) if length is None else length
    rest = f"text/html {size}" if version == 1 else f"text/html 200 abcdef - 1234 x.arc.gz {size}"
    return f"{url} 192.0.2.1 20010203040506 {rest}\n".encode() + block + b"\n"


def arc_head(version: int = 1) -> bytes:
    """Returns the record that an ARC file begins with."""
    block = f"{version} 0 Test\nURL IP-address Archive-date Content-type Archive-length\n\n".encode()
    return arc("filedesc://x.arc.gz", block)


def gzipped(*records: bytes) -> bytes:
    """Returns records as one gzip member each."""
    return b"".join(gzip.compress(one, mtime=0) for one in records)


def wat(target: str, html: dict[str, Any] | None, headers: dict[str, Any] | None = None, status: str = "200",
        kind: str = "response") -> bytes:
    """Returns a record of a WAT file."""
    http: dict[str, Any] = {"Response-Message": {"Status": status, "Version": "HTTP/1.1", "Reason": "OK"},
                            "Headers": headers or {"Content-Type": "text/html"}}
    if html is not None:
        http["HTML-Metadata"] = html
    value = {"Container": {
        "Filename": "x.warc.gz", "Offset": "77", "Gzip-Metadata": {"Deflate-Length": "88"}}, "Envelope": {
        "Format": "WARC", "WARC-Header-Metadata": {
            "WARC-Type": kind, "WARC-Target-URI": target, "WARC-Date": "2024-05-06T07:08:09Z",
            "WARC-Record-ID": "<urn:uuid:of-the-page>"},
        "Payload-Metadata": {"HTTP-Response-Metadata": http}}}
    return record("metadata", target, json.dumps(value).encode())
