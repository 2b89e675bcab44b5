"""`imagebert web` as a person runs it."""
from __future__ import annotations

import argparse
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from crawl.errors import UsageError
from demo.cli import register


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    register(parser.add_subparsers())
    args = parser.parse_args(["web", *words])
    return args.command(args)


PROGRAM = "import sys; sys.path.insert(0, sys.argv.pop(1)); from tests.demo.test_cli import run; run(*sys.argv[1:])"


def test_it_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    ready, log = tmp_path / "ready.json", tmp_path / "log.jsonl"
    root = str(Path(__file__).parents[2])
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, root, "--images", "50", "--ready", str(ready),
                                "--access-log", str(log), "--draw-processes", "0"], stdout=subprocess.PIPE, text=True)
    try:
        for _ in range(300):
            if ready.exists():
                break
            time.sleep(0.1)
        told = json.loads(ready.read_text())
        request = urllib.request.Request(f"http://127.0.0.1:{told['http_port']}/", headers={"Host": "h000.test"})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=10) as reply:
            assert b"<html" in reply.read()
        assert json.loads(log.read_text())["host"] == "h000.test"
        assert told["web"]["num_images"] == 50 and told["ca_file"] == f"{ready}.ca.pem"
        assert Path(told["ca_file"]).read_text().startswith("-----BEGIN CERTIFICATE")
    finally:
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=20)
    assert process.returncode == 0 and "48 sites" in output


def test_render_writes_pages_images_and_truth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--images", "50", "--render", str(tmp_path / "web")) == 0
    assert "truth.jsonl" in capsys.readouterr().out
    rows = [json.loads(line) for line in (tmp_path / "web" / "truth.jsonl").read_text().splitlines()]
    kept = [row for row in rows if row["expected"] == "keep"]
    assert len(kept) >= 8 and all((tmp_path / "web" / row["file"]).stat().st_size > 2000 for row in kept)
    assert all(row["true_captions"] for row in kept)
    assert (tmp_path / "web" / "h001.test" / "index.html").exists()
    with pytest.raises(UsageError, match="not empty"):
        run("--images", "50", "--render", str(tmp_path / "web"))


@pytest.mark.parametrize("words, message", [(("--images", "3"), "num_images=3 .* choose 50 to 1000000"),
                                            (("--hosts", "2"), "hosts=2 .* choose 40")])
def test_bad_sizes_are_one_clear_line(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run(*words)


def test_a_port_in_use_is_one_clear_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"port.* {port} .*in use; choose others"):
            run("--images", "50", "--port", str(port), "--draw-processes", "0")
