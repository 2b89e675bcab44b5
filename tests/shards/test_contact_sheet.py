import dataclasses
import io
import json
from pathlib import Path

import pytest
from PIL import Image

from crawl.errors import UsageError
from shards.contact_sheet import drawn, sheet_html, sheet_png
from shards.manifest import load_shards
from tests.shards.made_root import Made, commit_shards, made_sample
from tests.shards.test_inspect import parsed


@pytest.fixture(scope="module")
def samples() -> list[Made]:
    made = [made_sample(number) for number in range(30)]
    made[3] = made_sample(3, caption="<script>alert(1)</script> \u202ecat")
    return made


@pytest.fixture()
def root(tmp_path: Path, samples: list[Made]) -> str:
    commit_shards(str(tmp_path), samples)
    return str(tmp_path)


def test_a_draw_follows_its_seed_and_every_sample_may_come(root: str, samples: list[Made]) -> None:
    shards = load_shards(root)
    first = [sample.key for sample in drawn(shards, 6, 1)]
    assert len(set(first)) == 6 and first == [sample.key for sample in drawn(shards, 6, 1)]
    assert {sample.key for seed in range(40) for sample in drawn(shards, 6, seed)} == {
        made.best.key for made in samples}
    assert len(list(drawn(shards, 100, 1))) == 30 and len(list(drawn(shards, 100, 1, "test"))) == 3


def test_what_was_removed_is_never_drawn(root: str, samples: list[Made]) -> None:
    assert parsed("remove", root, "--key", samples[4].best.key, "--key", samples[10].best.key) == 0
    keys = {sample.key for sample in drawn(load_shards(root), 100, 1)}
    assert keys == {made.best.key for made in samples} - {samples[4].best.key, samples[10].best.key}


def test_the_sheet_is_a_picture_of_a_grid(root: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "sheet.png"
    assert parsed("sample", root, "--n", "9", "--out", str(file), "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["keys"]) == 9
    with Image.open(file) as image:
        assert image.format == "PNG" and image.size == (3 * 230 + 10, 3 * (220 + 45 + 20) + 10)
        assert len(image.getcolors(1 << 24) or []) > 100
    first = file.read_bytes()
    parsed("sample", root, "--n", "9", "--out", str(file))
    assert file.read_bytes() == first


def test_the_page_stands_alone_and_text_of_the_web_does_nothing(root: str, samples: list[Made]) -> None:
    listed = list(drawn(load_shards(root), 30, 1))
    page = sheet_html(listed, "30 <samples>")
    assert "<script" not in page and "&lt;script&gt;" in page and "\u202e" not in page and "⟨U+202E⟩" in page
    assert page.count("data:image/webp;base64,") == 30 and samples[5].best.page_url in page
    assert 'src="http' not in page and "30 &lt;samples&gt;" in page


def test_a_picture_that_does_not_decode_is_a_grey_tile(root: str) -> None:
    broken = [dataclasses.replace(sample, image=b"no picture") for sample in drawn(load_shards(root), 1, 1)]
    with Image.open(io.BytesIO(sheet_png(broken))) as image:
        assert image.convert("RGB").getpixel((100, 150)) == (0xDD, 0xDD, 0xDD)
    assert "does not decode" in sheet_html(broken, "t")


@pytest.mark.parametrize("words, says", [
    (("--out", "sheet.gif"), ".png or .html"), (("--out", "x.png", "--n", "0"), "--n 0"),
    (("--out", "/nowhere/x.png"), "/nowhere/x.png")])
def test_bad_input_is_one_clear_line(root: str, words: tuple[str, ...], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parsed("sample", root, *words)
