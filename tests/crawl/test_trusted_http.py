"""Files of a configured service: whole, whatever happens on the way, or one clear line."""
from __future__ import annotations

import contextlib
import gzip
import http.server
import json
import pathlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import imagebert
from crawl.errors import UsageError
from crawl.trusted_http import Gone, HttpLimits, RangeReader, opened
from tests.crawl.archives import gzipped, page

QUICK = HttpLimits(read_s=2.0, first_wait_s=0.01, attempts=4)
BODY = bytes(range(256)) * 400


class Service(http.server.ThreadingHTTPServer):
    """Serves `files`; `faults` are used up, one a request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.faults: list[Any] = []        # a status; ("cut", bytes); ("to", URL); "no_ranges"; "changed"
        self.asked: list[tuple[str, str]] = []
        self.headers: list[dict[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Service

    def do_GET(self) -> None:
        wanted = self.headers.get("Range", "")
        self.server.asked.append((self.path, wanted))
        self.server.headers.append(dict(self.headers))
        fault = self.server.faults.pop(0) if self.server.faults else None
        data, tag = self.server.files.get(self.path[1:]), '"one"'
        if isinstance(fault, int) or data is None:
            self._head(fault if isinstance(fault, int) else 404, {"Retry-After": "0", "Content-Length": "0"})
            return
        if isinstance(fault, tuple) and fault[0] == "to":
            self._head(302, {"Location": fault[1], "Content-Length": "0"})
            return
        first, _, last = wanted[6:].partition("-")
        start = int(first) if wanted and fault != "no_ranges" else 0
        total = len(data)
        data = data[:int(last) + 1] if last and fault != "no_ranges" else data
        if fault == "changed":
            tag, start = '"two"', 0
        elif self.headers.get("If-Range", tag) != tag:
            start = 0
        headers = {"Content-Length": str(len(data) - start), "ETag": tag}
        ranged = start or (last and fault != "no_ranges")
        if ranged:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{total}"
        self._head(206 if ranged else 200, headers)
        self.wfile.write(data[start:start + fault[1]] if isinstance(fault, tuple) else data[start:])

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as one:
        one.files["x"] = BODY
        thread = threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield one
        finally:
            one.shutdown()
            thread.join()


def read(url: str, limits: HttpLimits = QUICK, hosts: frozenset[str] = frozenset()) -> bytes:
    with opened(url, hosts, limits) as body:
        return b"".join(iter(lambda: body.read(9_999), b""))


def test_a_body_comes_as_it_is_stored(service: Service) -> None:
    service.files["x"] = gzip.compress(BODY)
    assert read(service.url + "x") == gzip.compress(BODY)
    assert service.headers[0]["Accept-Encoding"] == "identity"


def test_a_cut_body_goes_on_where_it_ended(service: Service) -> None:
    service.faults = [("cut", 30_000), 503, ("cut", 30_000)]
    assert read(service.url + "x") == BODY
    ranges = [wanted for _, wanted in service.asked]
    assert ranges[0] == "" and len(ranges) == 4 and ranges[1] == ranges[2] and ranges[2] < ranges[3]
    assert service.headers[1]["If-Range"] == '"one"'


def test_ranges_are_read_over_one_connection_and_go_on_after_a_cut(service: Service) -> None:
    reader = RangeReader(QUICK)
    try:
        assert reader.size(service.url + "x") == len(BODY)
        assert reader.read(service.url + "x", 0, 10) == BODY[:10]
        service.faults = [("cut", 300), 503]
        assert reader.read(service.url + "x", 1_000, 2_000) == BODY[1_000:3_000]
        assert reader.read(service.url + "x", len(BODY) - 5, 5) == BODY[-5:]
        assert [wanted for _, wanted in service.asked][2:5] == ["bytes=1000-2999", "bytes=1300-2999", "bytes=1300-2999"]
        service.faults = ["no_ranges"]
        with pytest.raises(UsageError, match="no ranges"):
            reader.read(service.url + "x", 7, 9)
        with pytest.raises(Gone):
            reader.read(service.url + "none", 7, 9)
    finally:
        reader.close()


def test_any_number_of_cuts_is_passed_while_bytes_come(service: Service) -> None:
    service.faults = [("cut", 10_000)] * 12
    assert read(service.url + "x") == BODY


@pytest.mark.parametrize("fault", ["changed", "no_ranges"])
def test_two_halves_of_two_files_are_never_one(service: Service, fault: str) -> None:
    service.faults = [("cut", 30_000), fault]
    with pytest.raises(UsageError, match="another than before, or no ranges"):
        read(service.url + "x")


def test_faults_that_pass_and_faults_that_stay(service: Service) -> None:
    service.faults = [503, 429, 500]
    assert read(service.url + "x") == BODY
    service.faults = [503] * 4
    with pytest.raises(UsageError, match="not ready"):
        read(service.url + "x")
    with pytest.raises(Gone) as gone:
        read(service.url + "nothing")
    assert gone.value.outcome == "file_http_404"
    service.faults = [403]
    with pytest.raises(UsageError, match="HTTP 403"):
        read(service.url + "x")
    with pytest.raises(UsageError, match="larger than"):
        read(service.url + "x", HttpLimits(max_bytes=1000))


def test_redirects_lead_to_named_hosts_only(service: Service) -> None:
    service.files["moved"] = b""
    service.faults = [("to", "/x")]
    assert read(service.url + "moved") == BODY
    other = service.url.replace("127.0.0.1", "localhost")
    for target in (other + "x", "ftp://127.0.0.1/x", "//evil.test/x"):
        service.faults = [("to", target)]
        with pytest.raises(UsageError, match="a host that was not named"):
            read(service.url + "moved")
    service.faults = [("to", other + "x")]
    assert read(service.url + "moved", hosts=frozenset({other.split("/")[2]})) == BODY
    service.faults = [("to", "/moved")] * 9
    with pytest.raises(UsageError, match="redirects"):
        read(service.url + "moved")


def test_nothing_comes_from_the_environment(service: Service, monkeypatch: pytest.MonkeyPatch,
                                            tmp_path: pathlib.Path) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    assert read(service.url + "x") == BODY and "Authorization" not in service.headers[0]


@pytest.mark.parametrize("name", ["niquests", "urllib3_future"])
def test_s17_a_package_that_replaces_urllib3_is_refused(name: str, service: Service, monkeypatch: pytest.MonkeyPatch,
                                                        tmp_path: pathlib.Path) -> None:
    (tmp_path / f"{name}.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UsageError, match=f"{name} is installed"):
        read(service.url + "x")
    assert not service.asked


def test_a_service_that_does_not_answer_has_an_end() -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x"
        with pytest.raises(UsageError, match="cannot read it"):
            read(url, HttpLimits(read_s=0.1, first_wait_s=0.01, attempts=2))


def test_a_listing_and_its_files_over_http(service: Service, tmp_path: pathlib.Path,
                                           capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"crawl-data/{n}.warc.gz" for n in range(6)]
    service.files = {name: gzipped(*(page(f"{name[11]}-{n}") for n in range(9))) for name in names}
    service.files["warc.paths.gz"] = gzip.compress("\n".join(names).encode())
    service.faults = [None, ("cut", 700)]

    def candidates(sample: int, out: str) -> dict[str, Any]:
        words = ["candidates", "--paths", f"{service.url}warc.paths.gz", "--base", service.url, "--sample",
                 str(sample), "--seed", "5", "--out", str(tmp_path / out), "--json"]
        assert imagebert.main(words) == 0
        return dict(json.loads(capsys.readouterr().out)["funnel"][1]["outcomes"])
    assert candidates(2, "out") == {"found": 18}
    asked = {path for path, _ in service.asked}
    service.asked.clear()
    assert candidates(4, "out") == {"found": 36}
    assert len(asked) == 3 and {path for path, _ in service.asked} & asked == {"/warc.paths.gz"}
    manifest = next(path.read_bytes() for path in (tmp_path / "out" / "crawl").glob("*/manifest.json")
                    if b'"rows_in":36' in path.read_bytes().replace(b" ", b""))
    assert candidates(4, "again") == {"found": 36}
    assert next((tmp_path / "again" / "crawl").glob("*/manifest.json")).read_bytes() == manifest
