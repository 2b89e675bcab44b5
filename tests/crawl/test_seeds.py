"""Seeds files, good and bad."""
from __future__ import annotations

import pathlib

import pytest

from crawl.errors import UsageError
from crawl.seeds import read_seeds, way_out


def write(tmp_path: pathlib.Path, data: bytes) -> str:
    path = tmp_path / "seeds.txt"
    path.write_bytes(data)
    return str(path)


def test_urls_are_normalised_in_order_and_stand_once(tmp_path: pathlib.Path) -> None:
    path = write(tmp_path, b"\xef\xbb\xbf# mine\r\nHTTP://B.test\r\n\n  https://a.test/x#top  # the top\nhttp://b.test/\n")
    assert read_seeds(path) == ("http://b.test/", "https://a.test/x")


@pytest.mark.parametrize(("data", "told"), [
    (b"", "no URL"), (b"# only a comment\n", "no URL"), (b"http://a.test/\nexample.org\n", "line 2: 'example.org'"),
    (b"ftp://a.test/\n", "line 1"), (b"http://\n", "line 1"), (b"http://u:p@a.test/\n", "line 1"),
    (b"\xff\xfe\x00", "UTF-8"),
])
def test_a_bad_file_is_one_clear_line(tmp_path: pathlib.Path, data: bytes, told: str) -> None:
    path = write(tmp_path, data)
    with pytest.raises(UsageError, match=told) as caught:
        read_seeds(path)
    assert path in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder(tmp_path: pathlib.Path) -> None:
    with pytest.raises(UsageError, match="cannot read the seeds file: No such file"):
        read_seeds(str(tmp_path / "none.txt"))
    with pytest.raises(UsageError, match="folder"):
        read_seeds(str(tmp_path))


def test_the_way_out_names_the_port() -> None:
    assert "--allow-host 127.0.0.1:18080" in way_out("http://127.0.0.1:18080/x", "blocked_address")
