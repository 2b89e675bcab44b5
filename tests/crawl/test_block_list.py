"""Images on a list of hashes: their outcome row remains and nothing else, also of what an earlier run had stored."""
from __future__ import annotations

import hashlib
import io
import pathlib

import pytest
from PIL import Image as Pillow
from PIL import ImageDraw

from crawl import storage
from crawl.block_list import BlockFile, BlockList, block_file
from crawl.errors import UsageError
from crawl.images_run import ImagesConfig, fetch_images
from crawl.plan_run import plan_images
from crawl.policy import Network
from crawl.stages import Manifest
from filter.facts import picture_hash
from tests.crawl.loopback import quick, serving
from tests.crawl.running import run
from tests.crawl.test_images_run import images, judged

CONFIG = ImagesConfig(fetch=quick(retries=0), shards=1, buckets=1)
NAMES = ("cat", "dog", "tree")


def drawn(name: str, quality: int = 90) -> bytes:
    image = Pillow.new("RGB", (160, 120), "white")
    pen, at = ImageDraw.Draw(image), NAMES.index(name)
    pen.rectangle((10 + 40 * at, 10, 60 + 40 * at, 60), fill="black")
    pen.ellipse((90 - 30 * at, 50, 140 - 30 * at, 110), fill="red")
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def listed(tmp_path: pathlib.Path, *lines: str) -> str:
    path = tmp_path / f"list-{len(lines)}-{hashlib.sha256(''.join(lines).encode()).hexdigest()[:6]}.txt"
    path.write_text("# hashes\n" + "".join(f"{line}\n" for line in lines))
    return str(path)


def url(name: str) -> str:
    return f"http://i.test/{name}.jpg"


def stored(manifest: Manifest) -> bytes:
    return b"".join(storage.read_bytes(path) for path in manifest.paths("tars"))


def test_the_file_itself_and_what_looks_like_it_are_not_stored(tmp_path: pathlib.Path) -> None:
    file = listed(tmp_path, f"sha256:{hashlib.sha256(drawn('cat')).hexdigest()}",
                  f"phash:{picture_hash(drawn('dog'))}:6")
    copy = drawn("dog", quality=40)
    assert copy != drawn("dog")
    out = str(tmp_path / "out")
    with serving() as web:
        cut = drawn("cat", quality=70)[:-400]
        for name, data in (("cat", drawn("cat")), ("dog", copy), ("tree", drawn("tree")), ("cut", cut)):
            web.on(url(name), body=data, headers={"Content-Type": "image/jpeg"})
        judged(out, [url(name) for name in (*NAMES, "cut")], 1)
        manifest = fetch_images(out, CONFIG, web.network(), run, block_hashes=file)
    found = images(manifest)
    assert {name: found[url(name)].outcome for name in (*NAMES, "cut")} == {
        "cat": "blocked_hash", "dog": "blocked_hash", "tree": "ok", "cut": "blocked_unchecked"}
    blocked = found[url("dog")]
    assert (blocked.part, blocked.length) == ("", 0) and blocked.sha256 == hashlib.sha256(copy).hexdigest()
    parts = stored(manifest)
    assert drawn("tree") in parts and drawn("cat") not in parts and copy not in parts and cut not in parts
    assert manifest.config["block_hashes"] == block_file(file).digest
    assert picture_hash(drawn("dog")) not in manifest.encode().decode()


def test_a_longer_list_also_binds_what_was_stored_before(tmp_path: pathlib.Path) -> None:
    out, cat = str(tmp_path / "out"), f"sha256:{hashlib.sha256(drawn('cat')).hexdigest()}"
    one, two = listed(tmp_path, cat), listed(tmp_path, cat, f"phash:{picture_hash(drawn('dog'))}")
    with serving() as web:
        for name in NAMES:
            web.on(url(name), body=drawn(name), headers={"Content-Type": "image/jpeg"})
        judged(out, [url(name) for name in NAMES], 1)
        free = fetch_images(out, CONFIG, web.network(), run)
        assert {row.outcome for row in images(free).values()} == {"ok"}
        web.log.clear()
        plan = plan_images(out, CONFIG, web.network(), run, block_hashes=one)
        assert {reason.name: reason.count for reason in plan.reasons} == {"blocked_hash": 1, "answered_before": 2}
        first = fetch_images(out, CONFIG, web.network(), run, block_hashes=one)
        second = fetch_images(out, CONFIG, web.network(), run, block_hashes=two)
        assert web.asked() == []
        assert fetch_images(out, CONFIG, web.network(), run, block_hashes=two) == second
        assert [images(first)[url(name)].outcome for name in NAMES] == ["blocked_hash", "ok", "ok"]
        assert [images(second)[url(name)].outcome for name in NAMES] == ["blocked_hash", "blocked_hash", "ok"]
        assert images(second)[url("dog")].part == "" and second.folder != first.folder

        third = fetch_images(out, CONFIG, web.network(), run, block_hashes=listed(
            tmp_path, "sha256:" + "0" * 64, cat))
        assert web.asked() == ["/dog.jpg"] and images(third)[url("dog")].outcome == "ok"
        assert images(third)[url("cat")].outcome == "blocked_hash"


@pytest.mark.parametrize(("text", "told"), [
    ("", "no hash"), ("md5:00", "line 1.*neither sha256"), ("# x\nphash:00:99\n", "line 2.*radius"),
    ("sha256:12", "64 hex digits"), ("domain:a.test", "neither")])
def test_a_bad_list_is_one_clear_line(tmp_path: pathlib.Path, text: str, told: str) -> None:
    path = tmp_path / "list.txt"
    path.write_text(text)
    with pytest.raises(UsageError, match=f"--block-hashes .*{told}"):
        block_file(str(path))


def test_a_list_that_is_not_there_or_not_the_same(tmp_path: pathlib.Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        block_file(str(tmp_path / "none"))
    path = listed(tmp_path, "sha256:" + "0" * 64)
    with pytest.raises(UsageError, match="changed while"):
        BlockList(BlockFile(path, "another"), 1000)
    with pytest.raises(UsageError, match="name the list itself"):
        judged(str(tmp_path), [], 1)
        fetch_images(str(tmp_path), ImagesConfig(block_hashes="abc"), Network(), run)


