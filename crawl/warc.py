"""WARC/1.1 records (ISO 28500:2017) of page answers: written deterministically, one gzip member each, read by address.

The entity is stored as it came, transfer coding removed and content coding kept; WARC-Payload-Digest is over it, and
the reader undoes the coding under caps.
"""
from __future__ import annotations

import base64
import dataclasses
import gzip
import hashlib
import re
import uuid
import zlib

from crawl import storage
from crawl.answers import Answer
from crawl.decode import decode
from crawl.records import FetchLog

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:imagebert-lait:warc")
_LEVEL = 6
# What framed the entity on the wire and does not fit the bytes we hold.
_RENAMED = {"transfer-encoding": "X-Crawl-Transfer-Encoding"}
_SNIFFED = 1445                    # bytes looked at
_HTML = re.compile(rb"<(?:!--|(?:!doctype html|html|head|script|iframe|h1|div|font|table|a|style|title|b|body|br|p)"
                   rb"[ >])", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_MAX_RECORD = 256 << 20            # our own come nowhere near it


class BadRecord(Exception):
    """Bytes at an address that are no record of ours: a damaged file or a wrong address."""


@dataclasses.dataclass(frozen=True, slots=True)
class Response:
    """A stored answer."""

    url: str                       # WARC-Target-URI: the URL that answered, after redirects
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes                    # decoded
    record_id: str                 # urn:uuid:...
    fetched_at: str
    payload_digest: str            # of the entity, content coding kept
    truncated: bool                # by us, on the way, or in decoding


def record_id(url_key: str, round_number: int) -> str:
    """Returns the WARC-Record-ID of a URL's answer in a round: the same in every run."""
    return identity(f"response {url_key} {round_number}")


def identity(name: str) -> str:
    """Returns the WARC-Record-ID that a name has in every run."""
    return f"urn:uuid:{uuid.uuid5(_NAMESPACE, name)}"


def warcinfo(name: str, date: str, user_agent: str) -> bytes:
    """Returns the gzip member that opens a file."""
    block = (f"software: imagebert-lait\r\nformat: WARC File Format 1.1\r\nhttp-header-user-agent: {user_agent}\r\n"
             "robots: RFC 9309\r\n").encode()
    return _member({
        "WARC-Type": "warcinfo", "WARC-Record-ID": f"<{identity(f'warcinfo {name} {date}')}>",
        "WARC-Date": date, "WARC-Filename": name, "Content-Type": "application/warc-fields",
        "WARC-Block-Digest": digest(block)}, block)


def response(answer: Answer, own_id: str, date: str) -> bytes:
    """Returns the gzip member of one answer; `own_id` is that of its record, `date` the time it was recorded."""
    block = _http_head(answer) + answer.entity
    fields = {"WARC-Type": "response", "WARC-Record-ID": f"<{own_id}>", "WARC-Date": date,
              "WARC-Target-URI": answer.url}
    if answer.ip:
        fields["WARC-IP-Address"] = answer.ip
    if answer.cut:
        fields["WARC-Truncated"] = answer.cut
    if found := identified(answer.body):
        fields["WARC-Identified-Payload-Type"] = found
    fields |= {"Content-Type": "application/http;msgtype=response", "WARC-Payload-Digest": digest(answer.entity),
               "WARC-Block-Digest": digest(block)}
    return _member(fields, block)


def revisit(answer: Answer, own_id: str, date: str, of: Response, not_modified: bool) -> bytes:
    """Returns the gzip member of an answer whose body is stored already: its head, and which record has the body.

    Args: of: the record with the body; not_modified: a 304 said so, else the same payload came again.
    """
    block = _http_head(answer)
    profile = "server-not-modified" if not_modified else "identical-payload-digest"
    fields = {"WARC-Type": "revisit", "WARC-Record-ID": f"<{own_id}>", "WARC-Date": date,
              "WARC-Target-URI": answer.url, "WARC-Profile": f"http://netpreserve.org/warc/1.1/revisit/{profile}",
              "WARC-Refers-To": f"<{of.record_id}>", "WARC-Refers-To-Target-URI": of.url,
              "WARC-Refers-To-Date": of.fetched_at}
    if answer.ip:
        fields["WARC-IP-Address"] = answer.ip
    fields |= {"Content-Type": "application/http;msgtype=response", "WARC-Payload-Digest": of.payload_digest,
               "WARC-Block-Digest": digest(block)}
    return _member(fields, block)


def metadata(row: FetchLog) -> bytes:
    """Returns the gzip member with what a capture's own records do not say: the way to it, and the permission.

    `via` and `hopsFromSeed` (L a link, R a redirect) are WARC's own fields (ISO 28500:2017, 6.6), the others ours.
    """
    said = [("via", url) for url in row.redirects[-1:]]
    if row.kind == "page":
        said.append(("hopsFromSeed", "L" * row.depth + "R" * len(row.redirects)))
    said += [("redirect", url) for url in row.redirects]
    said += [("outcome", row.outcome), ("permission", row.permission)]
    said += [("signal", f"{signal.name} {signal.verdict} ({signal.evidence}): {signal.raw}") for signal in row.signals]
    block = "".join(f"{name}: {_CONTROL.sub(' ', value)}\r\n" for name, value in said).encode()
    return _member({
        "WARC-Type": "metadata", "WARC-Record-ID": f"<{identity(f'metadata {row.url_key} {row.round}')}>",
        "WARC-Date": row.fetched_at,
        "WARC-Target-URI": row.final_url, "WARC-Concurrent-To": f"<{record_id(row.url_key, row.round)}>",
        "Content-Type": "application/warc-fields", "WARC-Block-Digest": digest(block)}, block)


def identified(body: bytes) -> str:
    """Returns the type that the first bytes of a decoded body show, whatever its header says; "" for none of ours.

    HTML and XML as browsers sniff them (WHATWG MIME Sniffing, section 7.1), and gzip.

    >>> identified(b"\\n <!DOCTYPE html><p>"), identified(b"<?xml version='1.0'?>"), identified(b"hello")
    ('text/html', 'text/xml', '')
    """
    if body.startswith(b"\x1f\x8b\x08"):
        return "application/gzip"
    start = body[:_SNIFFED].removeprefix(b"\xef\xbb\xbf").lstrip(b"\t\n\x0c\r ")
    if start.startswith(b"<?xml"):
        return "text/xml"
    return "text/html" if _HTML.match(start) else ""


def request(head: bytes, url: str, of: str, date: str) -> bytes:
    """Returns the gzip member of the request that an answer came to: `head` as it was sent, without a body.

    Args: of: the id of the answer's record.
    """
    return _member({
        "WARC-Type": "request", "WARC-Record-ID": f"<{identity(f'request to {of}')}>", "WARC-Date": date,
        "WARC-Target-URI": url, "WARC-Concurrent-To": f"<{of}>",
        "Content-Type": "application/http;msgtype=request", "WARC-Payload-Digest": digest(b""),
        "WARC-Block-Digest": digest(head)}, head)


def read_response(path: str, offset: int, length: int, max_body: int, max_ratio: int = 200) -> Response:
    """Returns the answer stored at an address, its body decoded and at most `max_body` bytes long.

    Raises BadRecord when the bytes are no response record or do not fit their digest.
    """
    data = storage.read_range(path, offset, length)
    stream = zlib.decompressobj(31)
    try:
        text = stream.decompress(data, _MAX_RECORD)
    except zlib.error as error:
        raise BadRecord(f"{path} at {offset}: {error}") from error
    head, gap, rest = text.partition(b"\r\n\r\n")
    fields = dict(_field(line) for line in head.split(b"\r\n")[1:])
    if not stream.eof or not gap or not head.startswith(b"WARC/1.") or fields.get("warc-type") != "response":
        raise BadRecord(f"{path} at {offset}: not one whole response record")
    block = rest[:int(fields["content-length"])]
    http, gap, entity = block.partition(b"\r\n\r\n")
    if not gap or fields.get("warc-payload-digest") != digest(entity):
        raise BadRecord(f"{path} at {offset}: the payload does not fit its digest")
    status_line, *lines = http.decode("latin-1").split("\r\n")
    headers = tuple((name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines))
    encoding = ", ".join(value for name, value in headers if name.lower() == "content-encoding")
    decoded = decode(entity, encoding, max_body, max_ratio)
    return Response(url=fields["warc-target-uri"], status=int(status_line.split(" ")[1]), headers=headers,
                    body=decoded.body, record_id=fields["warc-record-id"].strip("<>"), fetched_at=fields["warc-date"],
                    payload_digest=fields["warc-payload-digest"],
                    truncated=decoded.truncated or "warc-truncated" in fields)


def filler(length: int) -> bytes:
    """Returns a gzip member of exactly this many bytes in which a record says that something was removed.

    It takes the place of a record, so that those behind it stay at their addresses.  Below 212 bytes there is no
    room for a record: then it is an empty member.  Raises ValueError below the 22 bytes that the smallest member has.
    """
    blocks = -(-(length - 18) // 65_540)
    size = length - 18 - 5 * blocks                          # of the data: header 10, a stored block 5, trailer 8
    head = (f"WARC/1.1\r\nWARC-Type: metadata\r\nWARC-Record-ID: <urn:uuid:{uuid.uuid5(_NAMESPACE, 'removed')}>\r\n"
            "WARC-Date: 1970-01-01T00:00:00Z\r\nContent-Type: text/plain\r\nContent-Length: ").encode()
    room = size - len(head) - 10 - 4 - 4
    if room < 0:
        if length < 22:
            raise ValueError(f"no gzip member has {length} bytes")
        extra = length - 22                                  # FEXTRA takes up the rest
        return (b"\x1f\x8b\x08\x04" + bytes(5) + b"\xff" + extra.to_bytes(2, "little") + bytes(extra) + b"\x03\x00"
                + bytes(8))
    data = head + f"{room:010d}".encode() + b"\r\n\r\n" + b"removed".ljust(room)[:room] + b"\r\n\r\n"
    stored = [data[start:start + 65_535] for start in range(0, 65_535 * blocks, 65_535)]     # the last may be empty
    body = b"".join(bytes([place == len(stored) - 1]) + len(one).to_bytes(2, "little")
                    + (len(one) ^ 0xFFFF).to_bytes(2, "little") + one for place, one in enumerate(stored))
    return (b"\x1f\x8b\x08" + bytes(6) + b"\xff" + body + zlib.crc32(data).to_bytes(4, "little")
            + (len(data) & 0xFFFFFFFF).to_bytes(4, "little"))


def _http_head(answer: Answer) -> bytes:
    lines = [answer.status_line or f"HTTP/1.1 {answer.status}"]
    lines += [f"{_RENAMED.get(name.lower(), name)}: {value}" for name, value in answer.headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _member(fields: dict[str, str], block: bytes) -> bytes:
    lines = [f"{name}: {value}" for name, value in (fields | {"Content-Length": str(len(block))}).items()]
    head = "\r\n".join(["WARC/1.1", *lines, "", ""]).encode("utf-8")
    return gzip.compress(head + block + b"\r\n\r\n", _LEVEL, mtime=0)


def digest(data: bytes) -> str:
    """Returns a digest as WARC writes it.

    >>> digest(b"")
    'sha256:4OYMIQUY7QOBJGX36TEJS35ZEQT24QPEMSNZGTFESWMRW6CSXBKQ===='
    """
    return "sha256:" + base64.b32encode(hashlib.sha256(data).digest()).decode()


def _field(line: bytes) -> tuple[str, str]:
    name, _, value = line.decode("utf-8", "replace").partition(":")
    return name.strip().lower(), value.strip()
