import argparse
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import shards.cli
from crawl.errors import UsageError
from shards.inspect import described, find, half_blocks, listed, stats, upright, with_boxes
from shards.manifest import load_shards
from tests.shards.made_root import Made, commit_shards, made_sample, sample_fields


@pytest.fixture(scope="module")
def samples() -> list[Made]:
    made = [made_sample(number) for number in range(12)]
    made[3] = made_sample(3, caption="a \x1b[31mred \u202ecat, café and [bold]mark-up[/bold]")
    return made


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, samples: list[Made]) -> str:
    path = str(tmp_path_factory.mktemp("root"))
    commit_shards(path, samples)
    return path


def command(root: str, *words: str) -> int:
    return parsed(words[0], root, *words[1:])


def parsed(*words: str) -> int:
    """Runs `imagebert shards WORDS`; returns its exit status."""
    parser = argparse.ArgumentParser(prog="imagebert")
    shards.cli.register(parser.add_subparsers())
    args = parser.parse_args(["shards", *words])
    return args.command(args)


def test_stats_count_what_was_stored(root: str, samples: list[Made]) -> None:
    found = stats(load_shards(root))
    assert found["all"]["samples"] == 12 and found["all"]["shards"] == 2
    assert {split: value["samples"] for split, value in found["splits"].items()} == {"test": 2, "train": 10}
    assert found["all"]["image_bytes"] == sum(len(made.image) for made in samples)
    assert found["all"]["caption_bytes"]["sum"] == sum(len(made.best.caption.encode()) for made in samples)
    assert found["all"]["regions_an_image"]["median"] == 4 and found["all"]["distinct_captions"] == 12
    assert sum(found["sites"].values()) == 12 and found["sites"]["site0.example"] == 2
    json.dumps(found)


def test_stats_of_a_set_without_samples(tmp_path: Path) -> None:
    commit_shards(str(tmp_path), [])
    assert stats(load_shards(str(tmp_path)))["all"]["samples"] == 0
    assert command(str(tmp_path), "stats") == 0


def test_listing_follows_the_shards_and_its_filters(root: str) -> None:
    shards = load_shards(root)
    keys = [line.key for line in listed(shards)]
    assert len(keys) == 12 and keys[:2] == sorted(keys[:2])
    assert {line.shard for line in listed(shards, split="test")} == {"test/lait-jpg-000000.tar"}
    assert [line.caption for line in listed(shards, contains="CAFÉ")] == [
        "a \x1b[31mred \u202ecat, café and [bold]mark-up[/bold]"]


def test_a_sample_is_found_by_the_beginning_of_its_key(root: str, samples: list[Made]) -> None:
    made = samples[5]
    found = find(load_shards(root), made.best.key[:12])
    assert found.image == made.image and found.json == sample_fields(made) and found.regions is not None
    told = described(found)
    assert told["regions"][0] == {"box": [0.05, 0.05, 0.3501, 0.45], "cls": 0, "class": "0", "conf": 0.8999}
    json.dumps(told)


@pytest.mark.parametrize("key, says", [("0000ffff0000", "no sample with key"), ("ab", "too short"), ("", "too short")])
def test_an_unknown_key_is_one_clear_line(root: str, key: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        find(load_shards(root), key)


def test_boxes_are_drawn_on_the_upright_image(root: str, samples: list[Made]) -> None:
    found = find(load_shards(root), samples[0].best.key)
    assert found.regions is not None
    plain, drawn = upright(found.image), with_boxes(found.image, found.regions)
    assert drawn.size == plain.size == (400, 320)
    changed = np.any(np.asarray(plain) != np.asarray(drawn), axis=2)
    assert changed[int(0.05 * 319), int(0.05 * 399):int(0.35 * 399)].all()         # the upper edge of the first box
    assert not changed[:, :10].any()
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6                                                               # stored lying on its side
    plain.save(buffer, "JPEG", exif=exif)
    assert upright(buffer.getvalue()).size == (320, 400)


def test_a_picture_in_half_blocks_keeps_its_shape() -> None:
    text = half_blocks(Image.new("RGB", (200, 100), (10, 20, 30)), columns=40, rows=24)
    lines = text.plain.splitlines()
    assert [len(line) for line in lines] == [40] * 10
    assert {str(span.style) for span in text.spans} == {"rgb(10,20,30) on rgb(10,20,30)"}


def test_show_writes_the_stored_bytes_and_tames_the_caption(root: str, samples: list[Made], tmp_path: Path,
                                                            capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "saved.jpg"
    assert command(root, "show", samples[3].best.key, "--save", str(file)) == 0
    printed = capsys.readouterr().out
    assert file.read_bytes() == samples[3].image
    assert "⟨U+001B⟩[31mred ⟨U+202E⟩cat, café and [bold]mark-up[/bold]" in printed
    assert "\x1b" not in printed and "\u202e" not in printed
    assert samples[3].best.page_url in printed
    drawn = tmp_path / "drawn.png"
    assert command(root, "show", samples[3].best.key, "--draw", "--json", "--save", str(drawn)) == 0
    assert json.loads(capsys.readouterr().out)["provenance"] == sample_fields(samples[3])
    with Image.open(drawn) as image:
        assert image.format == "PNG" and image.size == (400, 320)
    with pytest.raises(UsageError, match="--save"):
        command(root, "show", samples[3].best.key, "--save", str(tmp_path / "no" / "folder.jpg"))


def test_ls_prints_lines_and_json_lines(root: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(root, "ls", "--limit", "3") == 0
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 3 and "--limit 0" in printed.err
    assert command(root, "ls", "--json", "--limit", "0") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 12 and lines[0]["image_bytes"] > 0


def test_ls_into_head_ends_quietly(root: str) -> None:
    import subprocess
    import sys
    program = ("import argparse, sys, shards.cli; parser = argparse.ArgumentParser(); "
               "shards.cli.register(parser.add_subparsers()); sys.stdout.reconfigure(line_buffering=True)\n"
               "args = parser.parse_args(sys.argv[1:]); sys.exit(args.command(args))")
    with subprocess.Popen([sys.executable, "-c", program, "shards", "ls", root, "--limit", "0"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


def test_validate_says_how_many_faults_and_its_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commit_shards(str(tmp_path), [made_sample(number) for number in range(1, 4)])
    assert command(str(tmp_path), "validate") == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("no fault in 1 shards, 3 samples") and printed.err == ""
    path = load_shards(str(tmp_path)).path("train/lait-jpg-000000.tar")
    os.truncate(path, 2000)
    assert command(str(tmp_path), "validate", "--json") == 1
    assert any("it was cut" in fault["what"] for fault in json.loads(capsys.readouterr().out)["faults"])
    with pytest.raises(UsageError, match="the manifest says"):
        command(str(tmp_path), "stats")


def test_a_missing_folder_is_one_clear_line(tmp_path: Path) -> None:
    for action in ("stats", "ls", "validate", "report"):
        with pytest.raises(UsageError, match="nowhere"):
            command(str(tmp_path / "nowhere"), action)


def test_the_examples_of_the_docs_run(root: str, samples: list[Made], capsys: pytest.CaptureFixture[str]) -> None:
    import gc
    import re
    import warnings
    text = (Path(shards.cli.__file__).parent.parent / "docs" / "shards.md").read_text()
    examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(examples) == 2
    folder = os.path.relpath(load_shards(root).directory, root)
    for example in examples:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)        # webdataset leaves its files to the collector
            exec(example.replace("OUT/shards/3f0c51a2b7de", f"{root}/{folder}").replace("OUT/", f"{root}/"), {})
            gc.collect()
    printed = capsys.readouterr().out
    for made in samples:
        if made.best.split == "train":
            assert printed.count(made.best.caption) == 2
            assert f"{made.best.key} (400, 320) {made.best.caption} {made.best.page_url}" in printed
