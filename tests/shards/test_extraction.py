"""Regions of others on an existing root: joined by id, counted, written beside image tars that stay as they are."""
import dataclasses
import hashlib
import json
import os
import shutil
import tarfile

import numpy as np
import pytest

import imagebert
from crawl import storage
from crawl.errors import UsageError
from crawl.stages import current_manifest
from crawl.suppress import parse_rule
from crawl.tables import read_table
from shards.build import ShardsConfig, build_shards
from shards.extraction import extract_regions
from shards.index import index_tar
from shards.manifest import load_shards
from shards.order import OrderConfig
from shards.patches import PatchesConfig
from shards.precomputed import BOTTOM_UP, LXMERT, UNITER
from shards.purge import purge, targets_of
from shards.reader import open_shard, read_samples
from shards.records import RegionAddress
from shards.region_config import REMEMBERED, RegionsConfig, remember
from shards.removal import plan, remove
from shards.rewrite import rewrite
from shards.validate import validate
from tests.shards.kept import BeamRun, finish_filter, kept
from tests.shards.region_files import CLASSES, DIM, bottom_up_line, lxmert_line, uniter_npz, values

SMALL = ShardsConfig(patches=PatchesConfig(num_classes=8, codebook_images=30), order=OrderConfig(max_samples=12))
ABSENT = 3


def config_of(name, *files, **more):
    return RegionsConfig(extractor="precomputed", format=name, files=tuple(map(str, files)), feature_dim=DIM,
                         num_classes=CLASSES, **more)


def write_tsv(path, rows, line=lxmert_line, ids=lambda row: row.key):
    """Writes a row for each image but the first ABSENT ones; image n has the values of number n."""
    path.write_text("".join(line(ids(row), number) for number, row in enumerate(rows) if number >= ABSENT))
    return path


def built(out, config, shards=SMALL):
    build_shards(out, dataclasses.replace(shards, regions=config), BeamRun())
    return load_shards(out)


def filtered_again(out, rows):
    """Makes these rows what the filter of a root kept."""
    shutil.rmtree(f"{out}/filter")
    finish_filter(out, rows)


def image_tars(shards):
    """Returns name -> (sha256, inode) of the image tars."""
    found = {}
    for shard in shards.shards:
        with open(shards.path(shard.name), "rb") as file:
            found[shard.name] = (hashlib.file_digest(file, "sha256").hexdigest(),
                                 os.stat(shards.path(shard.name)).st_ino)
    return found


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A root built with patches, and again with an LXMERT TSV: rows, both sets."""
    folder = tmp_path_factory.mktemp("root")
    out = str(folder / "data")
    rows = kept(out, 40)
    before = built(out, RegionsConfig())
    after = built(out, config_of(LXMERT, write_tsv(folder / "x.tsv", rows)))
    return out, rows, before, after


def test_image_tars_are_not_written_again_for_other_regions(root):
    _, _, before, after = root
    assert before.directory != after.directory and image_tars(before) == image_tars(after)
    assert (before.extractor, after.extractor) == ("patches", "precomputed")
    for shard in after.shards:
        with tarfile.open(after.path(shard.name)) as images, tarfile.open(after.path(shard.regions)) as regions:
            keys = [name.partition(".")[0] for name in images.getnames() if name.endswith(".jpg")]
            assert [name.partition(".")[0] for name in regions.getnames()] == keys
    assert not list(validate(after)) and not list(validate(before))


def test_the_index_of_a_tar_that_was_used_again_is_what_a_pass_over_it_finds(root):
    _, _, _, after = root
    for shard in after.shards:
        with open_shard(after, shard) as reader:
            found = index_tar(after.path(shard.name), after.path(shard.regions))
            for name in found.dtype.names:
                if name not in ("group_hash", "caption_hash", "num_tokens", "num_cut"):
                    assert (reader.index[name] == found[name]).all(), name


def test_every_image_has_the_regions_that_the_file_has_for_it(root):
    out, rows, _, after = root
    number_of = {row.key: number for number, row in enumerate(rows)}
    for split in ("train", "test"):
        for sample in read_samples(after, split):
            number, regions = number_of[sample.key], sample.regions
            if number < ABSENT:
                assert len(regions) == 0 and regions.feature_dim == DIM
                continue
            wanted = values(number)
            order = np.argsort(-wanted["conf"].astype(np.float32), kind="stable")
            assert regions.cls.tolist() == wanted["objects_id"][order].tolist()
            assert np.allclose(regions.features(), wanted["features"][order], atol=0.01)
    manifest = current_manifest(out, "regions")
    assert dict(manifest.funnel[0].outcomes) == {"extracted": 37, "no_regions_not_in_files": ABSENT}
    assert "3 of 40 kept images are stored without regions (no_regions_not_in_files)" in manifest.notes[0]
    assert (after.feature_dim, after.num_classes, after.quantisation) == (DIM, CLASSES, "u8_scale_zero")
    assert all(line.adds_up() for line in current_manifest(out, "shards").funnel)


def test_with_two_workers_and_other_buckets_the_bytes_are_the_same(root, tmp_path):
    out, rows, _, after = root
    other = str(tmp_path / "data")
    os.makedirs(other)
    os.symlink(f"{out}/images", f"{other}/images")
    finish_filter(other, rows[::-1], buckets=3)
    config = dataclasses.replace(SMALL, regions=config_of(LXMERT, write_tsv(tmp_path / "x.tsv", rows)))
    build_shards(other, config, BeamRun(2))
    again = load_shards(other)
    names = [name for shard in after.shards for name in (shard.name, shard.regions, shard.index)]
    assert names == [name for shard in again.shards for name in (shard.name, shard.regions, shard.index)]
    for name in names:
        with open(after.path(name), "rb") as one, open(again.path(name), "rb") as two:
            assert one.read() == two.read(), name


def test_a_changed_filter_reads_no_region_file_again(tmp_path):
    out = str(tmp_path / "data")
    rows = kept(out, 12)
    config = config_of(LXMERT, write_tsv(tmp_path / "x.tsv", rows))
    first = extract_regions(out, config, SMALL.patches, BeamRun())
    filtered_again(out, rows[:9])
    names = []

    def run(name, build):
        names.append(name)
        BeamRun()(name, build)

    second = extract_regions(out, config, SMALL.patches, run)
    assert names == ["regions"] and second.folder != first.folder
    assert dict(second.funnel[0].outcomes) == {"extracted": 6, "no_regions_not_in_files": ABSENT}


@pytest.mark.parametrize("name", [BOTTOM_UP, UNITER])
def test_other_formats_and_other_ids(tmp_path, name):
    out = str(tmp_path / "data")
    rows = kept(out, 10)                                    # image n lies at http://h1.test/n.jpg
    if name == UNITER:
        (tmp_path / "npz").mkdir()
        for number in range(ABSENT, 10):
            (tmp_path / "npz" / f"{number}.npz").write_bytes(uniter_npz(number))
        config = config_of(name, tmp_path / "npz", match="name")
    else:
        config = config_of(name, write_tsv(tmp_path / "x.tsv", rows, bottom_up_line, lambda row: row.image_url),
                           match="url")
    shards = built(out, config)
    samples = [sample for split in ("train", "test") for sample in read_samples(shards, split)]
    assert sum(len(sample.regions) == 5 for sample in samples) == 7 and not list(validate(shards))
    assert shards.num_classes == (CLASSES if name == UNITER else 0)
    for sample in samples:
        if len(sample.regions):
            assert (sample.regions.soft_id is not None) == (name == UNITER)
            assert name == UNITER or set(sample.regions.cls.tolist()) == {-1}


def test_an_id_that_several_images_have_gives_regions_to_none(tmp_path):
    out = str(tmp_path / "data")
    rows = kept(out, 8)
    rows = [dataclasses.replace(row, image_urls=(row.image_url, "http://h2.test/logo.jpg")) for row in rows]
    filtered_again(out, rows)
    (tmp_path / "x.tsv").write_text(lxmert_line("logo", 1) + lxmert_line("2", 2))
    manifest = extract_regions(out, config_of(LXMERT, tmp_path / "x.tsv", match="name"), SMALL.patches, BeamRun())
    assert dict(manifest.funnel[0].outcomes) == {"extracted": 1, "no_regions_ambiguous_id": 7}


def test_broken_rows_are_counted_and_the_first_of_each_kind_is_named(tmp_path):
    out = str(tmp_path / "data")
    rows = kept(out, 30)
    path = write_tsv(tmp_path / "x.tsv", rows)
    text = path.read_text() + lxmert_line(rows[0].key, 0, boxes="!") + lxmert_line(rows[1].key, 1)[:-40]
    path.write_text(text)                                   # the last row is cut off
    manifest = extract_regions(out, config_of(LXMERT, path), SMALL.patches, BeamRun())
    files = current_manifest(out, "precomputed")
    assert dict(files.funnel[0].outcomes)["bad_base64"] >= 1 and files.funnel[0].rows_in == 29
    assert any("bad_base64, such as x.tsv, byte " in note for note in files.notes)
    assert dict(manifest.funnel[0].outcomes) == {"extracted": 27, "no_regions_not_in_files": ABSENT}


@pytest.mark.parametrize("line, changes, says", [
    (lambda number: "a\tb\n", {}, "none of 6 rows can be read as lxmert-tsv: wrong_number_of_fields"),
    (lambda number: lxmert_line(str(number), number), {"feature_dim": DIM + 1}, "wrong_width.*feature_dim is 9"),
    (lambda number: lxmert_line(str(number), number), {"num_classes": 2}, "class_out_of_range|none of"),
    (lambda number: lxmert_line(str(number), number, img_h="20", img_w="400"), {}, "have changed places.*--fields"),
    (lambda number: "", {}, "no row in it"),
])
def test_a_file_of_no_use_is_one_clear_line(tmp_path, line, changes, says):
    out = str(tmp_path / "data")
    kept(out, 4)
    (tmp_path / "x.tsv").write_text("".join(map(line, range(6))))
    config = dataclasses.replace(config_of(LXMERT, tmp_path / "x.tsv"), **changes)
    with pytest.raises(UsageError, match=says) as raised:
        extract_regions(out, config, SMALL.patches, BeamRun())
    assert "\n" not in str(raised.value)


def test_inline_regions_are_a_fourth_member_that_readers_validate_and_remove(tmp_path):
    out = str(tmp_path / "data")
    rows = kept(out, 20)
    order = dataclasses.replace(SMALL.order, inline_regions=True)
    shards = built(out, config_of(LXMERT, write_tsv(tmp_path / "x.tsv", rows)),
                   dataclasses.replace(SMALL, order=order))
    for shard in shards.shards:
        assert shard.inline and not os.path.exists(shards.path(shard.name[:-4] + ".regions.tar"))
        with tarfile.open(shards.path(shard.name)) as tar:
            suffixes = [name.partition(".")[2] for name in tar.getnames()]
        assert suffixes == ["jpg", "txt", "json", "regions.safetensors"] * shard.samples
    assert not list(validate(shards))
    assert sum(len(sample.regions) for split in ("train", "test") for sample in read_samples(shards, split)) == 5 * 17
    remove(shards, out, plan(shards, [parse_rule("key", rows[5].key)]))
    assert rewrite(load_shards(out), out)
    after = load_shards(out)
    assert not list(validate(after)) and after.samples("train") + after.samples("test") == 19


def test_the_root_remembers_its_extractor(tmp_path, capsys):
    out = str(tmp_path / "data")
    rows = kept(out, 8)
    path = write_tsv(tmp_path / "x.tsv", rows)
    told = ["regions", "--out", out, "--extractor", "precomputed", "--files", str(path), "--format", "lxmert-tsv",
            "--set", f"feature_dim={DIM}", "--set", f"num_classes={CLASSES}"]
    assert imagebert.main(told) == 0 and "no_regions_not_in_files" in capsys.readouterr().out
    assert json.loads((tmp_path / "data" / REMEMBERED).read_text())["extractor"] == "precomputed"
    folder = current_manifest(out, "regions").folder
    assert imagebert.main(["regions", "--out", out]) == 0
    assert imagebert.main(["shards", "build", "--out", out]) == 0
    assert current_manifest(out, "regions").folder == folder and load_shards(out).extractor == "precomputed"
    assert imagebert.main(["regions", "--out", out, "--extractor", "patches", "--set", "patches.num_classes=4"]) == 0
    assert current_manifest(out, "regions").extra["num_classes"] == 4


@pytest.mark.parametrize("words, says", [
    (("--files", "x.tsv"), "need --extractor"), (("--extractor", "precomputed", "--max-regions", "0"), "choose 1 to"),
    (("--extractor", "precomputed", "--files", "/none.tsv", "--format", "lxmert-tsv"), "no such file"),
    (("--extractor", "precomputed", "--format", "nope"), "'nope' is not known"),
    (("--extractor", "precomputed", "--match", "caption"), "choose key, url, name or extras.COLUMN"),
    (("--extractor", "precomputed", "--set", "nope=1"), "has no 'nope'")])
def test_bad_options_are_one_clear_line(tmp_path, capsys, words, says):
    out = str(tmp_path / "data")
    kept(out, 2)
    assert imagebert.main(["regions", "--out", out, *words]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1
    assert not os.path.exists(f"{out}/{REMEMBERED}")


def test_a_damaged_memory_is_one_clear_line(tmp_path):
    out = str(tmp_path / "data")
    kept(out, 2)
    remember(out, RegionsConfig(extractor="patches"))
    (tmp_path / "data" / REMEMBERED).write_text('{"extractor": "patches"')
    with pytest.raises(UsageError, match="not what `imagebert regions` wrote"):
        extract_regions(out, RegionsConfig(), SMALL.patches, BeamRun())


def test_a_purge_drops_regions_and_leaves_those_who_have_none_as_they_are(tmp_path):
    out = str(tmp_path / "data")
    rows = kept(out, 12)
    shards = built(out, config_of(LXMERT, write_tsv(tmp_path / "x.tsv", rows)))
    manifest = current_manifest(out, "regions")
    gone = [rows[0].key, rows[7].key]                       # one without regions, one with
    (address,) = (row for path in manifest.paths("regions") for row in read_table(path, RegionAddress)
                  if row.key == gone[1])
    remove(shards, out, plan(shards, [parse_rule("key", key) for key in gone]))
    assert purge(out, targets_of(out)).left == 0
    after = load_shards(out)
    assert not list(validate(after)) and after.samples("train") + after.samples("test") == 10
    assert storage.read_range(storage.join(out, address.part), address.offset, address.length) == bytes(address.length)
    build_shards(out, dataclasses.replace(SMALL, regions=RegionsConfig(), order=OrderConfig(max_samples=7)), BeamRun())
    assert not list(validate(load_shards(out)))


def test_class_names_go_with_the_shards_and_are_shown(tmp_path, capsys):
    out = str(tmp_path / "data")
    rows = kept(out, 8)
    (tmp_path / "names.txt").write_text("".join(f"thing {n},synonym\n" for n in range(CLASSES)))
    path = write_tsv(tmp_path / "x.tsv", rows)
    shards = built(out, config_of(LXMERT, path, class_names=str(tmp_path / "names.txt")))
    assert not list(validate(shards))
    assert storage.read_bytes(shards.path("classes.txt")).decode().splitlines()[3] == "thing 3"
    assert imagebert.main(["shards", "show", out, rows[5].key]) == 0
    assert f"thing {values(5)['objects_id'][0]}" in capsys.readouterr().out
    assert imagebert.main(["shards", "show", out, rows[5].key, "--draw", "--save", str(tmp_path / "x.png")]) == 0
