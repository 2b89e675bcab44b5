"""`imagebert dataset --from MANIFEST`: the same bytes from the stored parts, or which are not and why."""
import contextlib
import dataclasses
import io
import json
import os
import pathlib

import pytest

import imagebert
from crawl import storage
from crawl.config import override
from crawl.policy import Network
from crawl.stages import current_manifest
from demo.server import serve
from demo.web import SyntheticWeb, WebConfig
from shards.manifest import load_shards
from tests.shards.kept import BeamRun


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Returns the root of a small build whose thresholds are not the default ones."""
    out = tmp_path_factory.mktemp("repeat") / "out"
    out.mkdir()
    config = imagebert.demo()
    fetch = dataclasses.replace(config.crawl.fetch, page_timeout_s=60.0, image_timeout_s=60.0, robots_timeout_s=60.0,
                                slow_after_s=30)
    config = dataclasses.replace(config, crawl=dataclasses.replace(config.crawl, fetch=fetch),
                                 images=dataclasses.replace(config.images, fetch=fetch))
    config = override(config, ["filter.min_score=0.3", "shards.order.max_samples=10"])
    with serve(SyntheticWeb(WebConfig(seed=3, num_images=60)), pool=0, slow_s=0.1) as web:
        network = Network(connect_to=web.connect_to, ca_file=str(web.ca_file), allow_hosts=("*.test",), min_delay_s=0.0)
        (out / "seeds.txt").write_text("\n".join(web.seeds))
        imagebert.build_dataset(str(out), str(out / "seeds.txt"), config, network, BeamRun())
    return out


def dataset(*words):
    """Runs `imagebert dataset` with JSON; returns status, what it printed as JSON, and its last line of errors."""
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        status = imagebert.main(["dataset", *map(str, words), "--json"])
    return status, json.loads(output.getvalue()) if output.getvalue() else None, errors.getvalue()


def test_it_has_every_sha256_and_reads_the_parts_where_they_lie(built, tmp_path):
    manifest = pathlib.Path(load_shards(str(built)).directory) / "manifest.json"
    status, said, errors = dataset("--from", manifest, "--out", tmp_path / "again")
    assert status == 0, (said, errors)
    assert said["agrees"] and said["other"] == said["stages"] == said["versions"] == [] and said["same"] > 5
    assert pathlib.Path(said["directory"], "manifest.json").read_bytes() == manifest.read_bytes()
    parts = list((built / "images").rglob("*.tar"))
    assert parts and all(path.samefile(tmp_path / "again" / path.relative_to(built)) for path in parts)
    assert current_manifest(str(tmp_path / "again"), "filter").config["min_score"] == 0.3
    assert dataset("--from", built, "--out", tmp_path / "again")[0] == 0, "the root will do, and it goes on"


def test_what_differs_is_named_with_the_stage(built, tmp_path):
    there = tmp_path / "there"
    assert dataset("--from", built, "--out", there)[0] == 0
    manifest = pathlib.Path(load_shards(str(there)).directory) / "manifest.json"
    value = json.loads(manifest.read_text())
    value["tables"]["shards"][1]["sha256"] = "00" * 32
    value["extra"]["versions"]["pillow"] = "1.0"
    manifest.write_text(json.dumps(value))
    status, said, _ = dataset("--from", manifest, "--out", tmp_path / "again")
    assert status == 1 and said["other"] == [value["tables"]["shards"][1]["name"]] and not said["agrees"]
    assert [name for name, *_ in said["versions"]] == ["pillow"] and said["stages"] == []


@pytest.mark.parametrize("words, says", [
    (["--seeds", "x"], "--seeds does not go with --from"), (["--set", "filter.min_score=0.1"], "--set does not go")])
def test_what_is_repeated_is_as_it_was(built, tmp_path, words, says):
    status, _, errors = dataset("--from", built, "--out", tmp_path / "again", *words)
    assert status == 2 and says in errors and not os.path.exists(tmp_path / "again")


def test_bad_places_are_one_line(built, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("mine")
    assert "not empty" in dataset("--from", built, "--out", tmp_path / "full")[2]
    (tmp_path / "manifest.json").write_text("{}")
    assert "no manifest of a build" in dataset("--from", tmp_path / "manifest.json", "--out", tmp_path / "again")[2]
    crawl = next((built / "crawl").glob("*/manifest.json"))
    assert "not of shards" in dataset("--from", crawl, "--out", tmp_path / "again")[2]
    alone = tmp_path / "taken" / "shards" / "out"
    alone.mkdir(parents=True)
    (alone / "manifest.json").write_bytes(pathlib.Path(load_shards(str(built)).directory, "manifest.json").read_bytes())
    status, _, errors = dataset("--from", alone / "manifest.json", "--out", tmp_path / "again")
    assert status == 2 and "not in the root any more (crawl, judge" in errors


def test_on_an_object_store_too(built, tmp_path):
    root = f"memory://{tmp_path.name}/out"
    for name in storage.names_below(str(built)):
        storage.commit_bytes(f"{root}/{name}", (built / name).read_bytes())
    status, said, errors = dataset("--from", root, "--out", f"memory://{tmp_path.name}/again")
    assert status == 0 and said["agrees"], (said, errors)
    before = load_shards(str(built))
    assert load_shards(said["directory"]).built_digest == before.built_digest
