"""The only client that talks to the open web: libcurl's multi interface behind the dial guard.

One request is one hop: nothing follows a redirect, decodes a body, or reads a proxy variable, .netrc or a cookie.
Names are resolved by crawl/dns.py: every address of a name must pass the guard, and libcurl is given one of them.
Rules S1 to S9 of the crawling reference; what happens between hops is in crawl/visits.py.
"""
from __future__ import annotations

import dataclasses
import functools
import socket
import time
from collections.abc import Callable
from typing import Any

import certifi
import pycurl

from crawl import urls
from crawl.address_pace import AddressPace
from crawl.answers import NOT_YET, OK_STATUSES, Answer, nothing
from crawl.decode import decode
from crawl.dns import Lookup, Resolver
from crawl.policy import FetchPolicy, Network
from crawl.request_head import accept_lines

_MAX_HEADERS = 256                 # lines
_MAX_HEADER_BYTES = 64 * 1024
_MAX_HEADER_LINE = 16 * 1024
_OTHER_BODY = 16 * 1024            # of a redirect or an error page, read so that the connection can be kept
_KEPT = 384                        # connections kept open; a process usually may have 1,024 descriptors
_RESOLVER_POLL_S = 0.01
_NOT_ADMITTED_S = 0.5              # until one that was not admitted asks again
_NOT_PAGES = ("image/", "video/", "audio/", "font/", "application/pdf", "application/zip", "application/gzip",
              "application/octet-stream", "application/javascript", "application/json", "text/css", "text/javascript")

_TLS_ERRORS = frozenset({pycurl.E_SSL_CONNECT_ERROR, pycurl.E_PEER_FAILED_VERIFICATION, pycurl.E_SSL_CERTPROBLEM,
                         pycurl.E_SSL_CIPHER, pycurl.E_SSL_CACERT_BADFILE, pycurl.E_SSL_ISSUER_ERROR,
                         pycurl.E_SSL_ENGINE_INITFAILED, pycurl.E_SSL_INVALIDCERTSTATUS})
_ERRORS = {pycurl.E_COULDNT_RESOLVE_HOST: "dns_error", pycurl.E_COULDNT_CONNECT: "connect_error",
           pycurl.E_URL_MALFORMAT: "bad_url", pycurl.E_UNSUPPORTED_PROTOCOL: "blocked_scheme"}
_BROKEN_OFF = frozenset({pycurl.E_PARTIAL_FILE, pycurl.E_RECV_ERROR, pycurl.E_SSL_CONNECT_ERROR, pycurl.E_SEND_ERROR})


class Client:
    """Many requests at a time; `start` them, and `wait` for answers."""

    def __init__(self, policy: FetchPolicy, network: Network, resolver: Resolver | None = None,
                 admit: Callable[[Any, float], bool] = lambda token, seconds: True) -> None:
        """Args:
            admit(token, seconds): whether a request of at most so many seconds may be made at this moment.  It is asked
                before the work of a request, before its socket is opened, and last when the connection stands and
                nothing of the request is sent: a process may be stopped anywhere between, for longer than its lease.
        """
        self._admit = admit
        self._pace = AddressPace(network.address_rate_per_s)
        self.resolver = resolver or Resolver()
        self._policy = policy
        self._network = network
        self._addresses = network.addresses()
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAXCONNECTS, _KEPT)
        self._idle: list[Any] = []
        self._running: dict[Any, tuple[_Transfer, Any]] = {}
        self._resolving = 0            # requests whose host's address is not known yet
        self._refused: list[tuple[Any, Answer]] = []     # requests that ended before they were made
        self._held = 0                 # bytes of answers under way, when something last came in

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exception: object) -> None:
        for easy, (transfer, _) in self._running.items():
            transfer.close()
            self._multi.remove_handle(easy)
            easy.close()
        self._running.clear()
        for easy in self._idle:
            easy.close()
        self._multi.close()
        self.resolver.close()

    @property
    def in_flight(self) -> int:
        """Returns how many requests are under way."""
        return len(self._running) + self._resolving + len(self._refused)

    @property
    def is_full(self) -> bool:
        """Returns whether another request has to wait: too many of them, or too many bytes held."""
        return self.in_flight >= self._network.max_in_flight or self._held > self._network.max_buffered_bytes

    def start(self, url: str, kind: str, timeout_s: float, token: Any, lines: tuple[str, ...] = ()) -> None:
        """Begins a request of a `page`, `sitemap`, `image` or `robots` file; `token` comes back with its answer.

        Args: lines: header lines beside those of every request of its kind.
        """
        request = _Request(url, kind, timeout_s, token, lines)
        host, port = urls.host(url), urls.port(url)
        dialled, dialled_port = self._network.mapped(host, port) or (host, port)
        if urls.is_ip(dialled):
            self._dial(request, dialled, dialled_port, 0.0)
            return
        found = self.resolver.lookup(dialled, (request, dialled_port))
        if found is None:
            self._resolving += 1
        else:
            self._resolved(request, dialled_port, found)

    def _resolved(self, request: _Request, port: int, found: Lookup) -> None:
        outcome = found.outcome
        if not outcome and not all(self._addresses.may_dial(request.url, one) for one in found.addresses):
            outcome = "blocked_address"        # one refused address of a name refuses all of it (S1)
        elif not outcome and found.seconds >= request.timeout_s:
            outcome = "timeout_total"
        if outcome:
            self._refused.append((request.token, nothing(request.url, outcome, found.seconds)))
        else:
            self._dial(request, found.addresses[0], port, found.seconds)

    def _dial(self, request: _Request, address: str, port: int, dns_s: float) -> None:
        wait_s = self._pace.wait_s(request.url, address, time.monotonic())
        admit = functools.partial(self._admit, request.token, request.timeout_s)
        if not wait_s and not admit():
            wait_s = _NOT_ADMITTED_S
        if wait_s:
            self._refused.append((request.token, _not_yet(request.url, wait_s)))
            return
        transfer = _Transfer(request.url, request.kind, request.timeout_s - dns_s, self._policy,
                             self._addresses.may_dial, admit, dns_s)
        easy = self._idle.pop() if self._idle else self._handle()
        self._set_up(easy, transfer, request.lines)
        easy.setopt(pycurl.CONNECT_TO, [f"{_bracketed(urls.host(request.url))}:{urls.port(request.url)}:"
                                        f"{_bracketed(address)}:{port}"])
        self._multi.add_handle(easy)
        self._running[easy] = (transfer, request.token)

    def wait(self, timeout_s: float) -> list[tuple[Any, Answer]]:
        """Returns (token, answer) of what ended, after at most `timeout_s` seconds."""
        for (request, port), found in self.resolver.ended():
            self._resolving -= 1
            self._resolved(request, port, found)
        self._perform()
        done = self._ended()
        done += self._refused
        self._refused = []
        if self._resolving:
            timeout_s = min(timeout_s, _RESOLVER_POLL_S)
        if not done and not self._running:
            time.sleep(timeout_s if self._resolving else 0.0)
        elif not done:
            own = self._multi.timeout()                  # ms until libcurl has something to do, -1 for never
            limit = max(0.0, min(timeout_s, own / 1000) if own >= 0 else timeout_s)
            if self._multi.select(limit) < 0:            # no socket yet
                time.sleep(min(limit, _RESOLVER_POLL_S))
            self._perform()
            done = self._ended()
        self._held = sum(transfer.size for transfer, _ in self._running.values())
        return done

    def _perform(self) -> None:
        while self._multi.perform()[0] == pycurl.E_CALL_MULTI_PERFORM:
            pass

    def _ended(self) -> list[tuple[Any, Answer]]:
        done = []
        queued = 1
        while queued:
            queued, succeeded, failed = self._multi.info_read()
            for easy, code, message in [(easy, 0, "") for easy in succeeded] + failed:
                transfer, token = self._running.pop(easy)
                done.append((token, transfer.answer(easy, code, message)))
                transfer.close()
                self._multi.remove_handle(easy)
                self._idle.append(easy)
        return done

    def _handle(self) -> Any:
        """Returns a handle with what holds for every request."""
        policy, easy = self._policy, pycurl.Curl()
        for option, value in (
                (pycurl.PATH_AS_IS, 1), (pycurl.FOLLOWLOCATION, 0), (pycurl.NOSIGNAL, 1),
                (pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS), (pycurl.PROXY, ""), (pycurl.NOPROXY, "*"),
                (pycurl.NETRC, pycurl.NETRC_IGNORED), (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1),
                (pycurl.SSL_VERIFYPEER, 1), (pycurl.SSL_VERIFYHOST, 2), (pycurl.SSLVERSION, pycurl.SSLVERSION_TLSv1_2),
                (pycurl.CAINFO, self._network.ca_file or certifi.where()),
                (pycurl.CONNECTTIMEOUT_MS, int(1000 * policy.connect_timeout_s)),
                (pycurl.LOW_SPEED_LIMIT, policy.min_bytes_per_s), (pycurl.LOW_SPEED_TIME, policy.slow_after_s),
                (pycurl.USERAGENT, policy.header)):
            easy.setopt(option, value)
        return easy

    def _set_up(self, easy: Any, transfer: _Transfer, lines: tuple[str, ...]) -> None:
        """Sets every option that depends on the request: a handle is used again without a reset."""
        for option, value in (
                (pycurl.URL, transfer.url), (pycurl.TIMEOUT_MS, max(1, int(1000 * transfer.timeout_s))),
                (pycurl.HTTPHEADER, [*accept_lines(transfer.kind), *lines]),
                (pycurl.OPENSOCKETFUNCTION, transfer.open_socket), (pycurl.PREREQFUNCTION, transfer.may_send),
                (pycurl.HEADERFUNCTION, transfer.take_header), (pycurl.WRITEFUNCTION, transfer.take_body)):
            easy.setopt(option, value)


def _not_yet(url: str, seconds: float) -> Answer:
    return dataclasses.replace(nothing(url, NOT_YET), seconds=seconds)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


@dataclasses.dataclass(frozen=True, slots=True)
class _Request:
    """What `start` was asked for."""

    url: str
    kind: str
    timeout_s: float
    token: Any
    lines: tuple[str, ...]


class _Transfer:
    """What libcurl tells us of one request while it runs; its methods never raise."""

    def __init__(self, url: str, kind: str, timeout_s: float, policy: FetchPolicy, may_dial: Any,
                 admit: Callable[[], bool], dns_s: float) -> None:
        self.url = url
        self._dns_s = dns_s
        self.kind = kind
        self.timeout_s = timeout_s
        self.size = 0
        self._policy = policy
        self._may_dial = may_dial
        self._admit = admit
        self._cap = {"page": policy.page_bytes, "sitemap": policy.page_bytes, "image": policy.image_bytes,
                     "robots": policy.robots_bytes}[kind]
        self._refused = False          # the guard said no
        self._too_late = False         # the server is not certainly ours any more; nothing was sent
        self._is_sent = False          # or about to be
        self._stopped = ""             # why we hung up: cut, too_large, not_html, protocol_error
        self._status_line = ""
        self._status = 0
        self._headers: list[tuple[str, str]] = []
        self._header_bytes = 0
        self._pieces: list[bytes] = []
        self._sockets: list[socket.socket] = []      # libcurl has duplicates of its own

    def open_socket(self, purpose: int, address: Any) -> Any:
        """Opens the socket for the address libcurl is about to dial, or refuses it (S1, S2)."""
        family, kind, protocol, target = address
        # One refused address of a name refuses all of it: a name with a private address is no public host.
        if self._refused or not isinstance(target, tuple) or not self._may_dial(self.url, str(target[0])):
            self._refused = True
            return pycurl.SOCKET_BAD
        if not self._may_go_on():
            return pycurl.SOCKET_BAD
        opened = socket.socket(family, kind, protocol)
        self._sockets.append(opened)
        return opened

    def may_send(self, peer: str, *_: object) -> int:
        """Decides on a connection that stands, new or kept: what follows is the system call that sends the request."""
        self._refused = self._refused or not self._may_dial(self.url, peer)
        self._is_sent = not self._refused and self._may_go_on()
        return pycurl.PREREQFUNC_OK if self._is_sent else pycurl.PREREQFUNC_ABORT

    def _may_go_on(self) -> bool:
        if self._is_sent:
            # A kept connection was closed without an answer, and libcurl would send the request again at once.  The
            # server may have seen the first one: another is a try of its own, after the pause.
            self._stopped = "disconnected"
        elif not self._admit():
            self._too_late = True
        return not (self._stopped or self._too_late)

    def take_header(self, line: bytes) -> int:
        """Takes one header line; anything but its length hangs up."""
        if self._pieces:
            return len(line)                                   # a trailer
        if line.startswith(b"HTTP/"):                          # also after a 1xx answer
            self._status_line = line.decode("latin-1").strip()
            code = self._status_line.split(" ", 2)[1:2]
            self._status = int(code[0]) if code and len(code[0]) == 3 and code[0].isdecimal() else 0
            self._headers.clear()
        elif line.strip():
            name, _, value = line.decode("latin-1").partition(":")
            self._headers.append((name.strip(), value.strip()))
        self._header_bytes += len(line)
        if len(self._headers) > _MAX_HEADERS or self._header_bytes > _MAX_HEADER_BYTES or len(line) > _MAX_HEADER_LINE:
            self._stopped = "protocol_error"
            return 0
        return len(line)

    def take_body(self, piece: bytes) -> int:
        """Takes a piece of the body; anything but its length hangs up."""
        if not self._pieces and self._status in OK_STATUSES:
            content_type = self._header("content-type").lower().lstrip()
            length = self._header("content-length")
            if self.kind == "page" and content_type.startswith(_NOT_PAGES):
                self._stopped = "not_html"
            elif self.kind == "image" and length.isdecimal() and int(length[:18]) > self._cap:
                self._stopped = "too_large"
        if not self._stopped:
            cap = self._cap if self._status in OK_STATUSES else _OTHER_BODY
            taken = piece[:cap - self.size]
            self._pieces.append(taken)
            self.size += len(taken)
            if len(taken) < len(piece):
                self._stopped = "too_large" if self.kind == "image" and self._status in OK_STATUSES else "cut"
        return 0 if self._stopped else len(piece)

    def close(self) -> None:
        """Closes our ends of the sockets."""
        for opened in self._sockets:
            opened.close()

    def answer(self, easy: Any, code: int, message: str) -> Answer:
        """Returns how the request ended, from libcurl's code and what came."""
        if self._too_late:
            return _not_yet(self.url, _NOT_ADMITTED_S)
        outcome, cut = self._outcome(easy, code, message)
        truncated = bool(cut)
        entity = body = b""
        if outcome == "ok" and self._status in OK_STATUSES:
            entity = b"".join(self._pieces)
            cap = self._policy.page_decoded_bytes if self.kind in ("page", "sitemap") else self._cap
            decoded = decode(entity, self._header("content-encoding"), cap, self._policy.max_ratio)
            outcome, body, truncated = decoded.outcome, decoded.body, truncated or decoded.truncated
            if outcome == "ok" and truncated and self.kind == "image":
                outcome = "too_large" if len(body) >= cap else "disconnected"
        if outcome != "ok":
            entity = body = b""
        return Answer(url=self.url, outcome=outcome, status=self._status, status_line=self._status_line,
                      headers=tuple(self._headers), entity=entity, body=body, cut=cut, truncated=truncated,
                      ip=easy.getinfo(pycurl.PRIMARY_IP) or "", dns_s=self._dns_s,
                      seconds=self._dns_s + easy.getinfo(pycurl.TOTAL_TIME),
                      latency_s=easy.getinfo(pycurl.STARTTRANSFER_TIME))

    def _outcome(self, easy: Any, code: int, message: str) -> tuple[str, str]:
        dialled = easy.getinfo(pycurl.PRIMARY_IP)
        if self._refused or (dialled and not self._may_dial(self.url, dialled)):
            return "blocked_address", ""
        if self._stopped:
            return ("ok", "length") if self._stopped == "cut" else (self._stopped, "")
        if code == 0:
            return ("ok" if self._status else "protocol_error"), ""
        if code == pycurl.E_OPERATION_TIMEDOUT:
            if "too slow" in message:
                return "too_slow", ""
            late = easy.getinfo(pycurl.TOTAL_TIME) >= 0.98 * self.timeout_s
            return ("timeout_total" if late or easy.getinfo(pycurl.CONNECT_TIME) > 0 else "connect_error"), ""
        if code in _BROKEN_OFF and self._status:
            # A page without its end is still worth reading; half an image or half the rules are not.
            return ("ok", "disconnect") if self.kind in ("page", "sitemap") and self._pieces else ("disconnected", "")
        if code in _TLS_ERRORS:
            return "tls_error", ""
        return _ERRORS.get(code, "protocol_error"), ""

    def _header(self, name: str) -> str:
        return ", ".join(value for key, value in self._headers if key.lower() == name)
