"""fake-gcs-server on loopback, behind a translator: it speaks GCS's JSON interface, our library the XML one.

Everything that decides (generations, `ifGenerationMatch`) is fake-gcs-server's; the translator keeps only the pieces of
an upload until it is complete.
"""
from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import os
import pathlib
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.utils import formatdate
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit
from xml.sax.saxutils import escape

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

# `make test-gs` builds it with Go and names it.
PROGRAM = os.environ.get("IMAGEBERT_GCS_SERVER", "")
MISSING = "no GCS server: IMAGEBERT_GCS_SERVER names fake-gcs-server; `make test-gs` builds it (needs Go)"
BUCKET = "a-bucket"
PRIVATE_KEY_ID = "loopback-key-that-stands-nowhere"


class _Translator(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, upstream: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = upstream
        self.uploads: dict[str, dict[int, bytes]] = {}


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Translator

    def _answer(self) -> None:
        with contextlib.suppress(ConnectionError):
            parts = urlsplit(self.path)
            bucket, _, key = parts.path.lstrip("/").partition("/")
            asked = dict(parse_qsl(parts.query, keep_blank_values=True))
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if not key:
                self._list(bucket, asked)
            elif self.command == "POST" and "uploads" in asked:
                word = os.urandom(8).hex()
                self.server.uploads[word] = {}
                self._xml(f"<InitiateMultipartUploadResult><UploadId>{word}</UploadId></InitiateMultipartUploadResult>")
            elif self.command == "PUT" and "partNumber" in asked:
                self.server.uploads[asked["uploadId"]][int(asked["partNumber"])] = body
                self._send(200, {"ETag": f'"{asked["partNumber"]}"'}, b"")
            elif self.command == "POST":
                pieces = self.server.uploads.pop(asked["uploadId"])
                _, facts = self._upload(bucket, unquote(key), b"".join(pieces[place] for place in sorted(pieces)), {})
                self._xml(f"<CompleteMultipartUploadResult><ETag>{facts['generation']}</ETag>"
                          f"</CompleteMultipartUploadResult>", facts)
            elif self.command == "PUT" and "x-goog-copy-source" in self.headers:
                self._copy(unquote(self.headers["x-goog-copy-source"]).lstrip("/"), bucket, unquote(key))
            elif self.command == "PUT":
                self._put(bucket, unquote(key), body)
            else:
                self._object(f"/storage/v1/b/{bucket}/o/{quote(unquote(key), safe='')}")

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _answer

    def _put(self, bucket: str, key: str, body: bytes) -> None:
        wanted = self.headers.get("x-goog-if-generation-match")
        status, facts = self._upload(bucket, key, body, {"ifGenerationMatch": wanted} if wanted else {})
        self._send(status, _headers(facts) if status < 300 else {}, b"")

    def _copy(self, source: str, bucket: str, key: str) -> None:
        before, _, name = source.partition("/")
        status, _, data = self._ask("POST", f"/storage/v1/b/{before}/o/{quote(name, safe='')}/rewriteTo/b/{bucket}/o/"
                                            f"{quote(key, safe='')}")
        self._send(status, _headers(json.loads(data)["resource"]) if status < 300 else {}, b"")

    def _upload(self, bucket: str, key: str, body: bytes, asked: dict[str, str]) -> tuple[int, dict[str, str]]:
        query = urlencode({"uploadType": "media", "name": key} | asked)
        status, _, data = self._ask("POST", f"/upload/storage/v1/b/{bucket}/o?{query}", body)
        return status, json.loads(data) if status < 300 else {}

    def _object(self, path: str) -> None:
        status, _, data = self._ask("DELETE" if self.command == "DELETE" else "GET", path)
        if status >= 300 or self.command == "DELETE":
            self._send(status, {}, b"")
            return
        facts = json.loads(data)
        headers = _headers(facts) | {"Last-Modified": formatdate(time.time(), usegmt=True)}
        if self.command == "HEAD":
            self._send(200, headers | {"Content-Length": facts["size"]}, b"")
            return
        asked = {"Range": self.headers["Range"]} if "Range" in self.headers else {}
        status, given, data = self._ask("GET", f"{path}?alt=media&generation={facts['generation']}", headers=asked)
        if "Content-Range" in given:
            headers["Content-Range"] = given["Content-Range"]
        self._send(status, headers, data)

    def _list(self, bucket: str, asked: dict[str, str]) -> None:
        names = {"prefix": "prefix", "delimiter": "delimiter", "continuation-token": "pageToken"}
        query = urlencode({names[name]: value for name, value in asked.items() if name in names})
        _, _, data = self._ask("GET", f"/storage/v1/b/{bucket}/o?{query}")
        found = json.loads(data)
        lines = [f"<Contents><Key>{escape(one['name'])}</Key><LastModified>{one['updated']}</LastModified>"
                 f"<ETag>{one['generation']}</ETag><Size>{one['size']}</Size></Contents>"
                 for one in found.get("items", ())]
        lines += [f"<CommonPrefixes><Prefix>{escape(one)}</Prefix></CommonPrefixes>"
                  for one in found.get("prefixes", ())]
        if found.get("nextPageToken"):
            lines.append(f"<NextContinuationToken>{escape(found['nextPageToken'])}</NextContinuationToken>")
        self._xml(f"<ListBucketResult>{''.join(lines)}</ListBucketResult>")

    def _ask(self, method: str, path: str, body: bytes = b"",
             headers: dict[str, str] | None = None) -> tuple[int, dict[str, str], bytes]:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.server.upstream, timeout=60)) as upstream:
            upstream.request(method, path, body or None, headers or {})
            answer = upstream.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()

    def _xml(self, text: str, facts: dict[str, str] | None = None) -> None:
        self._send(200, {"Content-Type": "application/xml"} | (_headers(facts) if facts else {}), text.encode())

    def _send(self, status: int, headers: dict[str, str], data: bytes) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(data))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


def _headers(facts: dict[str, str]) -> dict[str, str]:
    return {"ETag": f'"{facts["generation"]}"', "x-goog-generation": facts["generation"]}


@contextlib.contextmanager
def gcs_server(folder: pathlib.Path) -> Iterator[int]:
    """Yields the port of the XML interface of a server with an empty bucket."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with open(folder / "gcs.log", "wb") as log, subprocess.Popen(
            [PROGRAM, "-backend", "memory", "-scheme", "http", "-host", "127.0.0.1", "-port", str(port)],
            stdout=log, stderr=log) as process:
        try:
            _make_bucket(process, f"http://127.0.0.1:{port}/storage/v1/b?project=loopback")
            translator = _Translator(port)
            thread = threading.Thread(target=translator.serve_forever, args=(0.05,), daemon=True)
            thread.start()
            try:
                yield translator.server_address[1]
            finally:
                translator.shutdown()
                translator.server_close()
                thread.join()
        finally:
            process.terminate()


def _make_bucket(process: subprocess.Popen[bytes], url: str) -> None:
    wanted = urllib.request.Request(url, json.dumps({"name": BUCKET}).encode(), {"Content-Type": "application/json"})
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(ConnectionError, urllib.error.URLError):
            urllib.request.urlopen(wanted, timeout=5).close()
            return
        time.sleep(0.1)
    raise RuntimeError("fake-gcs-server did not come up")


def environment(folder: pathlib.Path, url: str) -> dict[str, str]:
    """Returns the variables by which any program finds this server: a service account's file, and nothing else."""
    account, key = folder / "account.json", folder / "account.pem"
    if not key.exists():                       # of this run alone; tokens are signed with it, and nobody checks them
        made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        key.write_bytes(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    account.write_text(json.dumps({"gcs_base_url": url, "disable_oauth": False, "client_email": "loopback@nowhere.test",
                                   "private_key": key.read_text(), "private_key_id": PRIVATE_KEY_ID}))
    return {"GOOGLE_SERVICE_ACCOUNT": str(account), "GOOGLE_ALLOW_HTTP": "true"}


def secrets(folder: pathlib.Path) -> frozenset[str]:
    """Returns the lines of the account's private key, and its number."""
    return frozenset({PRIVATE_KEY_ID, *(folder / "account.pem").read_text().split("\n")[1:-2]})
