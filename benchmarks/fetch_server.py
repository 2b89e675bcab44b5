"""nginx on loopback, pinned to core 0, over HTTP and HTTPS, with and without a delay; and the names that lead to it.

Needs root: the client runs in a mount namespace of its own, in which /etc/hosts gives every name an address 127.0.0.x.
"""
from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

import trustme

from benchmarks.sites import free_ports

SERVER_CORE, CLIENT_CORE = "0", "1"
LATENCY_MS = 100
_SYSTEM_BUNDLE = pathlib.Path("/etc/ssl/certs/ca-certificates.crt")
_CONF = """\
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log; {user}
events {{ worker_connections 4096; }}
http {{
  types {{ image/jpeg jpg; text/html html; text/plain txt; }}
  log_format short '$msec $status $host $request_uri $ssl_session_reused';
  access_log {folder}/access.log short buffer=64k flush=1s;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  sendfile on; tcp_nopush on; keepalive_requests 1000000; keepalive_timeout {keepalive}; open_file_cache max=20000;
  ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem; ssl_protocols TLSv1.2 TLSv1.3;
  ssl_session_tickets {tickets}; ssl_session_cache {cache};
  server {{ listen 0.0.0.0:{http} backlog=4096; listen 0.0.0.0:{https} ssl backlog=4096; root {root}; }}
}}
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Server:
    """A running nginx."""

    folder: pathlib.Path
    ports: dict[tuple[str, int], int]      # (scheme, latency in ms) -> port
    bundle: pathlib.Path                   # authorities of the system, and the test's own
    etc: dict[str, pathlib.Path]           # name below /etc -> the file that a client finds there

    def origin(self, scheme: str, latency_ms: int) -> str:
        """Returns a format of a host's number: `http://h0001.test:19000`."""
        return f"{scheme}://h{{:04d}}.test:{self.ports[scheme, latency_ms]}"

    def served(self) -> list[list[str]]:
        """Returns the access log as [time, status, host, path, `r` for a resumed TLS session]."""
        time.sleep(1.5)                    # nginx writes its buffer once a second
        return [line.split() for line in (self.folder / "access.log").read_text().splitlines()]

    def forget(self) -> None:
        """Empties the access log."""
        os.truncate(self.folder / "access.log", 0)

    def client(self, command: Sequence[str]) -> list[str]:
        """Returns the command on the client's core, where the names of the benchmark have addresses."""
        binds = [f"mount --bind {shlex.quote(str(path))} /etc/{name}" for name, path in self.etc.items()]
        return ["unshare", "-m", "sh", "-c", " && ".join([*binds, 'exec "$@"']), "sh",
                "taskset", "-c", CLIENT_CORE, *command]


@contextlib.contextmanager
def nginx(folder: pathlib.Path, root: pathlib.Path, hosts: int, *, resumption: bool = True,
          keepalive: bool = True) -> Iterator[Server]:
    """Yields a running server of the files below `root`, known by the names h0000.test and on."""
    for program in ("nginx", "taskset", "unshare"):
        if not shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin"):
            raise SystemExit(f"{program} is missing: run `make system-bench` (Debian, as root)")
    if os.geteuid():
        raise SystemExit("this benchmark gives its client names of its own in a mount namespace: run it as root")
    folder.mkdir(parents=True, exist_ok=True)
    http, https, slow_http, slow_https = range(first := free_ports(4), first + 4)
    authority = trustme.CA()
    certificate = authority.issue_cert("*.test", *(f"h{number:04d}.test" for number in range(hosts)))
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    bundle = folder / "bundle.pem"
    bundle.write_bytes(_SYSTEM_BUNDLE.read_bytes() + authority.cert_pem.bytes())
    names = folder / "hosts"
    names.write_text("127.0.0.1 localhost\n" + "".join(
        f"127.0.{1 + number // 250}.{1 + number % 250} h{number:04d}.test\n" for number in range(hosts)))
    conf = folder / "nginx.conf"
    conf.write_text(_CONF.format(folder=folder, root=root, http=http, https=https, user="user root;",
                                 keepalive="75s" if keepalive else "0",
                                 tickets="on" if resumption else "off",
                                 cache="shared:tls:10m" if resumption else "off"))
    pin = ["taskset", "-c", SERVER_CORE]
    started = [
        subprocess.Popen([*pin, "nginx", "-e", str(folder / "error.log"), "-p", str(folder), "-c", str(conf)],
                         start_new_session=True),
        subprocess.Popen([*pin, sys.executable, "-m", "benchmarks.delay", "--ms", str(LATENCY_MS),
                          "--listen", str(slow_http), "--to", str(http), "--listen", str(slow_https), "--to",
                          str(https)], start_new_session=True)]
    try:
        for port in (http, https, slow_http, slow_https):
            _wait_for(port)
        yield Server(folder, {("http", 0): http, ("https", 0): https, ("http", LATENCY_MS): slow_http,
                              ("https", LATENCY_MS): slow_https}, bundle, {"hosts": names})
    finally:
        for process in started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise RuntimeError(f"nothing listens on loopback port {port}") from None
            time.sleep(0.05)
