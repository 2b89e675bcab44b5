"""The whole build over the synthetic web, once, and the five invariants of docs/design.md on what it left."""
import collections
import dataclasses
import hashlib
import json
import pathlib
import shutil

import pytest
import webdataset

import imagebert
from crawl import storage
from crawl.known_images import stands
from crawl.policy import Network
from crawl.records import Candidate, FetchLog, FetchRow, Image, ImageFetch
from crawl.stages import current, current_manifest
from crawl.tables import read_table
from crawl.urls import host, site
from demo.server import serve
from demo.web import SyntheticWeb, WebConfig
from filter.records import Best, Pair
from shards.inspect import find
from shards.manifest import load_shards
from shards.samples import sample_rows
from shards.validate import validate
from tests.shards.bytes_of import files_with

WEB = WebConfig(seed=1, num_images=300)
PURE = ("features", "filter", "vocab", "codebook", "regions", "shards")


@dataclasses.dataclass(frozen=True)
class Build:
    out: pathlib.Path
    network: Network
    config: imagebert.DatasetConfig
    access: tuple

    def manifest(self, stage):
        return current_manifest(str(self.out), stage)

    def rows(self, stage, table, record_type):
        return [row for path in self.manifest(stage).paths(table) for row in read_table(path, record_type)]


def settings():
    config = imagebert.demo()
    fetch = dataclasses.replace(config.crawl.fetch, page_timeout_s=1.5, image_timeout_s=1.5, robots_timeout_s=1.5,
                                slow_after_s=1)
    return dataclasses.replace(config, crawl=dataclasses.replace(config.crawl, fetch=fetch),
                               images=dataclasses.replace(config.images, fetch=fetch))


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    out = tmp_path_factory.mktemp("story") / "out"
    out.mkdir()
    with serve(SyntheticWeb(WEB), pool=0) as web:
        network = Network(connect_to=web.connect_to, ca_file=str(web.ca_file), allow_hosts=("*.test",), min_delay_s=0.0)
        seeds = out / "seeds.txt"
        seeds.write_text("\n".join(web.seeds) + "\n")
        # the test CA goes away with the server; later calls fetch nothing, but Network wants the file to be there
        ca_file = out / "ca.pem"
        shutil.copy(network.ca_file, ca_file)
        network = dataclasses.replace(network, ca_file=str(ca_file))
        imagebert.build_dataset(str(out), str(seeds), settings(), network, imagebert.beam_runner(1, []))
        access = tuple(web.log)
    return Build(out, network, settings(), access)


def rebuild(build, out, workers=1, **changes):
    """Runs the whole build again in `out`; the web is gone, so a fetch would fail."""
    config = dataclasses.replace(build.config, **changes)
    return imagebert.build_dataset(str(out), str(out / "seeds.txt"), config, build.network,
                                   imagebert.beam_runner(workers, []))


def copy_without(build, folder, stages):
    """Returns a copy of the build in which some stages were never run."""
    out = folder / "copy"
    shutil.copytree(build.out, out)
    for stage in stages:
        shutil.rmtree(out / stage)
    pointer = out / "dataset.json"
    kept = {name: path for name, path in json.loads(pointer.read_text())["stages"].items() if name not in stages}
    pointer.write_text(json.dumps({"stages": kept}))
    return out


def shard_digests(manifest):
    return {entry.name: entry.sha256 for entry in manifest.tables["shards"]}


def test_pages_become_shards(build):
    manifest = build.manifest("shards")
    assert manifest.rows("samples") >= 40
    assert {entry.name.partition("/")[0] for entry in manifest.tables["samples"]} == {"train", "test"}
    assert (pathlib.Path(manifest.directory) / "report.html").stat().st_size > 10_000


def test_the_yardstick_of_the_synthetic_web(build):
    found = imagebert.measure_yardstick(str(build.out), WEB.num_images, WEB.seed)
    assert found.precision >= 0.95, found.mistakes
    assert found.recall >= 0.90


def test_no_held_out_scene_or_caption_is_in_training(build):
    web = SyntheticWeb(WEB)
    scenes, captions, images = ({"train": set(), "test": set()} for _ in range(3))
    for best in build.rows("filter", "best", Best):
        scenes[best.split].add(web.truth(best.image_url).scene_id)
        captions[best.split].add(best.caption_hash)
        images[best.split].add(best.group_hash)
    for kind in (scenes, captions, images):
        assert kind["train"] and kind["test"]
        assert not kind["train"] & kind["test"] - {None}


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_stranger_reads_the_shards(build):
    manifest = build.manifest("shards")
    captions = {best.key: best.caption for best in build.rows("filter", "best", Best)}
    seen = {}
    for entry in manifest.tables["shards"]:
        if not entry.name.endswith(".tar") or entry.name.endswith(".regions.tar"):
            continue
        path = pathlib.Path(manifest.directory) / entry.name
        assert hashlib.sha256(path.read_bytes()).hexdigest() == entry.sha256
        for sample in webdataset.WebDataset(str(path), shardshuffle=False):
            seen[sample["__key__"]] = sample["txt"].decode()
            image = next(sample[name] for name in ("jpg", "png", "webp") if name in sample)
            assert hashlib.sha256(image).hexdigest()[:32] == sample["__key__"]
    assert seen == captions


# Invariant 1: bytes are written once and then addressed.

def test_shuffles_carry_no_bytes():
    """No record that crosses a shuffle has room for image bytes, features or embeddings."""
    from crawl import records as crawl_records
    from filter import records as filter_records
    from shards import records as shard_records
    for module in (crawl_records, filter_records, shard_records):
        for record in vars(module).values():
            if dataclasses.is_dataclass(record):
                types = {field.name: field.type for field in dataclasses.fields(record)}
                if record is not crawl_records.Host:       # robots.txt, written by the fetch shard itself
                    assert "bytes" not in types.values(), record


def test_every_kept_image_lies_at_its_address(build):
    for best in build.rows("filter", "best", Best):
        with open(build.out / best.part, "rb") as part:
            part.seek(best.offset)
            assert hashlib.sha256(part.read(best.length)).hexdigest() == best.image_sha256


# Invariant 2: fetching is measured, the rest is pure.

@pytest.mark.parametrize("workers", [1, 2])
def test_one_and_two_workers(build, tmp_path, workers):
    out = copy_without(build, tmp_path, PURE)
    again = rebuild(build, out, workers)
    assert shard_digests(again) == shard_digests(build.manifest("shards"))
    for stage in PURE:
        assert current_manifest(str(out), stage).encode() == build.manifest(stage).encode(), stage


def test_a_finished_build_is_skipped(build, tmp_path):
    out = copy_without(build, tmp_path, ())
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")}
    rebuild(build, out)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")} == before


# Invariant 3: every row in has one outcome row out.

def test_the_funnel_adds_up(build):
    lines = {(line.stage, line.unit): line for line in build.manifest("shards").funnel}
    assert all(line.adds_up() for line in lines.values())
    assert lines["crawl", "candidate row"].rows_in == lines["judge", "candidate row"].rows_in
    assert lines["images", "image URL"].rows_in == build.manifest("judge").rows("fetch")
    assert dict(lines["filter", "image"].outcomes)["kept"] == dict(lines["filter", "pair"].outcomes)["kept"]
    assert lines["shards", "sample"].rows_in == build.manifest("filter").rows("best")


def test_the_funnel_is_counted_from_rows(build):
    line = next(line for line in build.manifest("filter").funnel if line.unit == "pair")
    counted = collections.Counter(pair.outcome for pair in build.rows("filter", "pairs", Pair))
    assert dict(line.outcomes) == counted


def test_no_url_is_lost_or_answered_twice(build):
    for stage in ("crawl", "images"):
        asked = collections.Counter(row.url_key for row in build.rows(stage, "fetch_list", FetchRow))
        answered = collections.Counter(row.url_key for row in build.rows(stage, "fetch_log", FetchLog))
        assert asked == answered
    wanted = {row.url_key for row in build.rows("judge", "fetch", ImageFetch)}
    images = [row.url_key for row in build.rows("images", "images", Image)]
    assert len(images) == len(set(images))
    assert set(images) == wanted


# Invariant 4: a stage folder is immutable, named by inputs and config.

def test_a_changed_threshold_is_a_new_folder_and_downloads_nothing(build, tmp_path):
    out = copy_without(build, tmp_path, ())
    stricter = dataclasses.replace(build.config.filter, min_score=0.9)
    rebuild(build, out, filter=stricter)
    before, after = current(str(build.out)), current(str(out))
    assert before["images"] == after["images"]
    assert before["filter"] != after["filter"]
    assert (out / before["filter"] / "manifest.json").exists()


# Invariant 5: permission is data.

def test_what_opted_out_is_not_kept(build):
    web = SyntheticWeb(WEB)
    for best in build.rows("filter", "best", Best):
        assert best.permission == "allow"
        assert best.signals
        expected = web.truth(best.image_url).expected
        assert "opted_out" not in expected and not expected.startswith(("robots", "tdm"))


def test_a_denied_body_is_not_stored_and_its_signals_are(build):
    denied = [row for row in build.rows("images", "images", Image) if row.permission == "deny"]
    assert denied
    for row in denied:
        assert row.part == ""
        assert any(signal.verdict == "deny" for signal in row.signals), row
        assert all(signal.raw or signal.evidence for signal in row.signals), row
    pages = [row for row in build.rows("crawl", "fetch_log", FetchLog) if row.outcome == "optout_meta"]
    assert pages and all(row.part == "" and row.headers for row in pages)
    found_on = {candidate.page_key for candidate in build.rows("crawl", "candidates", Candidate)}
    assert not found_on & {page.url_key for page in pages}


def test_disallowed_paths_are_never_asked_for(build):
    denied = {row.url.split("/", 3)[2] + "/" + row.url.split("/", 3)[3]
              for stage in ("crawl", "images") for row in build.rows(stage, "fetch_log", FetchLog)
              if row.outcome == "robots_denied"}
    assert denied
    assert not denied & {access.host + access.path for access in build.access}


# What is removed is gone, and stays out of what is built again.

def test_purged_items_are_in_no_byte_and_a_rebuild_does_not_bring_them_back(build, tmp_path):
    out = copy_without(build, tmp_path, ())
    shards = load_shards(str(out))
    captions = collections.Counter(row.caption for row in build.rows("filter", "pairs", Pair) if row.outcome == "kept")
    chosen = [row for row in sample_rows(shards, ("sha256", "image_url", "caption", "page_url"))
              if captions[row["caption"]] == 1]
    by_key, of_domain = chosen[0], [row for row in chosen if site(row["image_url"]) == site(chosen[-1]["image_url"])]
    gone = [by_key, *of_domain]
    images = [find(shards, row["key"]).image for row in gone]
    needles = [*images, *(row[name].encode() for row in gone for name in ("sha256", "caption", "image_url"))]
    assert {needle for _, needle in files_with(str(out), needles)} == set(needles)

    words = ["--key", by_key["key"], "--domain", host(of_domain[0]["image_url"])]
    assert imagebert.main(["shards", "remove", str(out), *words, "--purge"]) == 0
    urls_of_domain = {row["image_url"].encode() for row in of_domain}      # pages elsewhere may link there still
    assert {(name, needle) for name, needle in files_with(str(out), needles)
            if needle not in urls_of_domain or not name.endswith(".warc.gz")} == set()
    assert list(validate(load_shards(str(out), check_sizes=False))) == []
    for best in Build(out, None, None, ()).rows("filter", "best", Best):
        data = storage.read_range(str(out / best.part), best.offset, best.length)
        assert hashlib.sha256(data).hexdigest() == best.image_sha256       # addresses of the others hold

    passing = sum(not stands(row.outcome) for row in build.rows("images", "images", Image))
    rebuild(build, out)
    assert current_manifest(str(out), "images").rows("fetch_log") <= passing               # the rest was carried over
    assert {needle for name, needle in files_with(str(out), needles)
            if needle not in urls_of_domain or not name.endswith(".warc.gz")} == set()
    kept = {row["key"] for row in sample_rows(load_shards(str(out)), ())}
    assert kept and not kept & {row["key"] for row in gone}
