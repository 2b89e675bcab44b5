"""The whole of shards/, from `best` rows to tars that strangers read."""
import dataclasses
import gc
import hashlib
import io
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import warnings

import numpy as np
import pytest
import webdataset
from PIL import Image

from crawl.errors import UsageError
from crawl.stages import current_manifest
from crawl.suppress import parse_rule
from crawl.tables import read_table
from shards.build import ShardsConfig, build_shards
from shards.index import index_tar, load_index
from shards.manifest import load_shards
from shards.order import OrderConfig
from shards.patches import PatchesConfig
from shards.reader import ShardReader, read_samples
from shards.records import SampleRow
from shards.regions import unpack
from shards.regions_run import codebook
from shards.removal import plan, remove
from shards.tokens import load_tokenizer
from tests.shards.kept import BeamRun, best_rows, finish_filter, image_bytes, kept

CONFIG = ShardsConfig(patches=PatchesConfig(num_classes=8, codebook_images=30), order=OrderConfig(max_samples=12))
COUNT = 60


def mixed(number):
    """Every tenth image a PNG, one a WebP, one cut short, one a GIF."""
    if number == 7:
        return image_bytes(number)[:-600], "jpg"
    if number in (8, 11):
        return image_bytes(number, "WEBP" if number == 8 else "GIF"), "webp" if number == 8 else "gif"
    return (image_bytes(number, "PNG"), "png") if number % 10 == 9 else (image_bytes(number), "jpg")


def caption(number):
    return f"A {'very ' * 45}long walk, number {number}" if number == 3 else f"Größe and a red dog, number {number}."


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Returns the root, its kept rows by key and its shards."""
    out = str(tmp_path_factory.mktemp("built"))
    rows = kept(out, COUNT, make=mixed, caption=caption)
    build_shards(out, CONFIG, BeamRun())
    return out, {row.key: row for row in rows}, load_shards(out)


def hashes(out):
    """Returns name -> sha256 of everything a trainer reads."""
    directory = pathlib.Path(load_shards(out).directory)
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(directory.rglob("*")) if path.is_file() and path.name != "manifest.json"}


def stranger_reads(path):
    """Returns the samples of one tar as the webdataset library gives them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)        # the library leaves its files to the collector
        samples = list(webdataset.WebDataset(path, shardshuffle=False, empty_check=False))
        gc.collect()
    return samples


def test_webdataset_reads_what_the_manifest_says(built):
    out, rows, shards = built
    seen = {}
    for shard in shards.shards:
        samples = stranger_reads(shards.path(shard.name))
        assert len(samples) == shard.samples
        for sample in samples:
            row = rows[sample["__key__"]]
            assert sample[shard.ext] and hashlib.sha256(sample[shard.ext]).hexdigest() == row.image_sha256
            assert sample["txt"].decode() == row.caption
            value = json.loads(sample["json"])
            assert value["page_url"] == row.page_url and value["split"] == shard.split == row.split
            assert set(sample) - {"__key__", "__url__", "__local_path__"} == {shard.ext, "txt", "json"}
            seen[row.key] = shard.name
    assert len(seen) == sum(shard.samples for shard in shards.shards) == COUNT - 2
    last = shards.shards[-1]
    for sample, regions in zip(stranger_reads(shards.path(last.name)), stranger_reads(shards.path(last.regions)),
                               strict=True):
        assert sample["__key__"] == regions["__key__"]
        assert unpack(regions["regions.safetensors"]).feature_dim == shards.feature_dim


def test_tars_are_plain_ustar_with_nothing_of_the_builder_in_them(built):
    _, _, shards = built
    for shard in shards.shards:
        with tarfile.open(shards.path(shard.name)) as tar:
            members = tar.getmembers()
        assert [member.name.partition(".")[2] for member in members] == [shard.ext, "txt", "json"] * shard.samples
        assert {(m.mtime, m.mode, m.uid, m.gid, m.uname, m.gname, m.type, bool(m.pax_headers)) for m in members} == {
            (0, 0o644, 0, 0, "", "", tarfile.REGTYPE, False)}
        assert os.path.getsize(shards.path(shard.name)) == shard.bytes
        with open(shards.path(shard.name), "rb") as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == shard.sha256


def test_the_index_is_what_a_pass_over_the_tar_finds(built):
    _, rows, shards = built
    tokenizer = load_tokenizer(shards.path(shards.vocab))
    assert tokenizer.digest == shards.tokenizer_digest

    def pieces(caption):
        ids, cut = tokenizer.encode(caption)
        return len(ids) + cut

    for shard in shards.shards:
        written = load_index(shards.path(shard.index))
        found = index_tar(shards.path(shard.name), shards.path(shard.regions), pieces)
        for name in written.dtype.names:
            if name not in ("group_hash", "caption_hash"):
                assert (written[name] == found[name]).all(), name
        assert written["group_hash"].tolist() == [int(rows[key.decode()].group_hash, 16) for key in written["key"]]
        assert written["caption_hash"].tolist() == [int(rows[key.decode()].caption_hash, 16) for key in written["key"]]


def test_reader_table_and_tar_tell_the_same(built):
    _, rows, shards = built
    for shard in shards.shards:
        table = list(read_table(shards.path(shard.table), SampleRow))
        with ShardReader(shards.directory, shard) as reader:
            samples = list(reader)
        assert [row.key for row in table] == [sample.key for sample in samples]
        for row, sample in zip(table, samples, strict=True):
            assert row.caption == sample.caption == sample.json["caption"] and row.sha256 == sample.json["sha256"]
            assert row.num_regions == len(sample.regions) == 16
            assert sample.regions.cls.max() < shards.num_classes
            assert (row.num_tokens == 41 and row.num_cut > 0) == ("very very" in row.caption)


def test_regions_are_the_pixels_of_the_image(built):
    _, _, shards = built
    config = CONFIG.patches
    for sample in read_samples(shards, "test"):
        side = config.grid * config.cell
        image = Image.open(io.BytesIO(sample.image)).convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
        wanted = np.asarray(image).reshape(4, 8, 4, 8, 3).transpose(0, 2, 1, 3, 4).reshape(16, -1)
        assert np.abs(sample.regions.features() * 255 - wanted).mean() < 6, "differs by more than a draft decode does"


def test_the_funnel_adds_up_over_all_stages(built):
    out, rows, shards = built
    manifest = current_manifest(out, "shards")
    lines = {line.stage: dict(line.outcomes) for line in manifest.funnel}
    assert [line.stage for line in manifest.funnel] == ["filter", "regions", "shards"]
    assert all(line.adds_up() for line in manifest.funnel)
    assert lines["filter"]["kept"] == COUNT
    assert lines["regions"] == {"extracted": COUNT - 2, "truncated_image": 1, "unsupported_format": 1}
    assert lines["shards"] == {"not_stored_truncated_image": 1, "not_stored_unsupported_format": 1,
                               "train": shards.samples("train"),
                               "test": shards.samples("test")}
    assert "1 captions are longer than 41 word pieces" in " ".join(manifest.notes)
    assert manifest.rows("samples") == COUNT - 2
    assert {entry.name for entry in manifest.tables["shards"]} >= {"vocab.txt", "codebook.safetensors"}


def test_sizes_of_shards_are_even_and_within_the_limit(built):
    _, _, shards = built
    sizes = [shard.samples for shard in shards.of_split("train") if shard.ext == "jpg"]
    assert len(sizes) > 2 and max(sizes) <= 12 and max(sizes) - min(sizes) <= 1


def test_a_second_run_does_nothing(built):
    out, _, _ = built

    def refuse(name, build):
        raise AssertionError(f"{name} ran again")

    assert build_shards(out, CONFIG, refuse).digest == load_shards(out).digest


@pytest.mark.parametrize("buckets, workers", [(1, 1), (3, 2)])
def test_equal_bytes_with_other_buckets_and_workers(built, tmp_path, buckets, workers):
    out, rows, _ = built
    shutil.copytree(f"{out}/images", tmp_path / "images")
    finish_filter(str(tmp_path), list(rows.values())[::-1], buckets)
    build_shards(str(tmp_path), CONFIG, BeamRun(workers))
    assert hashes(str(tmp_path)) == hashes(out)


def test_the_codebook_sees_training_images_only(tmp_path):
    rows = best_rows(30, str(tmp_path), make=lambda n: (image_bytes(n), "jpg"))
    config = PatchesConfig(num_classes=4)
    finish_filter(str(tmp_path), rows)
    first = codebook(str(tmp_path), config, BeamRun())
    train = sum(row.split == "train" for row in rows)
    assert first.extra["cells"] == train * config.codebook_cells
    # With test images that are quite different the codebook is the same, bit by bit.
    other = tmp_path / "other"
    changed = best_rows(30, str(other), make=lambda n: (
        (image_bytes(n + 1000) if rows[n].split == "test" else image_bytes(n)), "jpg"))
    finish_filter(str(other), changed)
    assert codebook(str(other), config, BeamRun()).extra["digest"] == first.extra["digest"]


KILL_ME = """
import sys
from tests.shards.kept import BeamRun
from tests.shards.test_build import CONFIG
from shards.build import build_shards
build_shards(sys.argv[1], CONFIG, BeamRun())
"""


@pytest.mark.parametrize("after", ["codebook/*/cells-00003*.npy", "regions/*/regions-00000-of-00002.json",
                                   "shards/*/train/lait-jpg-000001.tar",
                                   "shards/*/train/lait-jpg-000000.json"])
def test_a_killed_build_goes_on_from_its_committed_parts(built, tmp_path, after):
    out, _, _ = built
    for name in ("images", "filter"):
        shutil.copytree(f"{out}/{name}", tmp_path / name)
    shutil.copy(f"{out}/dataset.json", tmp_path)
    stages = json.loads((tmp_path / "dataset.json").read_text())["stages"]
    (tmp_path / "dataset.json").write_text(json.dumps({"stages": {"filter": stages["filter"]}}))
    process = subprocess.Popen([sys.executable, "-c", KILL_ME, str(tmp_path)], stderr=subprocess.DEVNULL)
    while process.poll() is None and not list(tmp_path.glob(after)):
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list(tmp_path.glob(after)) and process.returncode == -signal.SIGKILL, "the kill came too early or too late"
    committed = {path: path.stat().st_ino for path in tmp_path.rglob("*")
                 if path.is_file() and path.suffix != ".tmp" and path.name != "dataset.json"}
    build_shards(str(tmp_path), CONFIG, BeamRun())
    assert hashes(str(tmp_path)) | _leftovers(tmp_path) == hashes(out) | _leftovers(tmp_path)
    assert all(path.stat().st_ino == number for path, number in committed.items()), "a committed file was rewritten"


def _leftovers(root):
    """Returns the temporary files a kill leaves: nothing reads them."""
    directory = pathlib.Path(load_shards(str(root)).directory)
    return {str(path.relative_to(directory)): "left" for path in directory.rglob("*.tmp")}


def test_nothing_kept_is_one_clear_line(tmp_path):
    finish_filter(str(tmp_path), [])
    with pytest.raises(UsageError, match="the filter kept no pair"):
        build_shards(str(tmp_path), CONFIG, BeamRun())


def test_an_object_store_gets_the_bytes_a_folder_gets(built):
    from crawl import storage
    out, rows, _ = built
    root = f"memory://shards/{os.getpid()}"
    part = next(iter(rows.values())).part
    storage.commit_bytes(storage.join(root, part), storage.read_bytes(storage.join(out, part)))
    finish_filter(root, list(rows.values()))
    assert build_shards(root, CONFIG, BeamRun()).tables == current_manifest(out, "shards").tables


def test_what_was_removed_stays_absent_when_it_is_built_again(tmp_path):
    out = str(tmp_path / "root")
    rows = kept(out, 24)
    build_shards(out, CONFIG, BeamRun())
    unlisted = load_shards(out)
    gone = {rows[3].key, rows[4].key}
    remove(unlisted, out, plan(unlisted, [parse_rule("key", rows[3].key), parse_rule("url", rows[4].image_url)]))
    for max_samples in (12, 7):                             # the same settings, and others
        config = ShardsConfig(CONFIG.vocab, CONFIG.patches, OrderConfig(max_samples=max_samples))
        manifest = build_shards(out, config, BeamRun())
        built_again = load_shards(out)
        assert built_again.directory != unlisted.directory and not built_again.removed
        keys = {sample.key for split in ("train", "test") for sample in read_samples(built_again, split)}
        assert keys == {row.key for row in rows} - gone
        assert ("not_stored_suppressed", 2) in manifest.funnel[-1].outcomes
    other = str(tmp_path / "found elsewhere")               # the key that the URL took out stays out
    found = best_rows(24, other)
    finish_filter(other, [dataclasses.replace(row, image_url="http://elsewhere.test/x.jpg") for row in found])
    shutil.copy(f"{out}/suppress.jsonl", other)
    build_shards(other, CONFIG, BeamRun())
    keys = {sample.key for split in ("train", "test") for sample in read_samples(load_shards(other), split)}
    assert keys == {row.key for row in rows} - gone
