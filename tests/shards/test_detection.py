"""Regions by a detector on an existing root; its weights are small, made up, and made by the test itself."""
import dataclasses
import json
import os

import numpy as np
import pytest

import imagebert
from crawl.errors import UsageError
from crawl.stages import current_manifest
from crawl.tables import read_table
from model.detection import DetectorOptions, detect_all, open_detector
from shards import detect_run
from shards.build import build_shards
from shards.extraction import extract_regions
from shards.manifest import load_shards
from shards.reader import read_samples
from shards.records import RegionAddress
from shards.region_config import RegionsConfig
from shards.validate import validate
from tests.model.detector_weights import as_pkl, as_torch, bottom_up_tensors, picture
from tests.shards.kept import BeamRun, finish_filter, image_bytes, kept
from tests.shards.test_extraction import SMALL, filtered_again, image_tars

SETTINGS = {"extractor": "bottom-up", "max_regions": 9, "min_regions": 4, "min_confidence": 0.5, "min_side": 64,
            "max_side": 96}


def weights(folder, form=as_pkl, name="made-up.pkl"):
    path = folder / name
    path.write_bytes(form(bottom_up_tensors()))
    return str(path)


def some(number):
    """Pictures of three sizes, one of them cut short."""
    if number == 5:
        return image_bytes(number)[:-600], "jpg"
    size = ((96, 64), (64, 96), (120, 80))[number % 3]
    return image_bytes(number, "PNG" if number == 4 else "JPEG", size), "png" if number == 4 else "jpg"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A root with shards of patches, and then of a detector: the folder, rows, both sets, the config."""
    folder = tmp_path_factory.mktemp("detected")
    out = str(folder / "data")
    rows = kept(out, 14, make=some)
    build_shards(out, SMALL, BeamRun())
    before = load_shards(out)
    config = RegionsConfig(weights=weights(folder), **SETTINGS)
    build_shards(out, dataclasses.replace(SMALL, regions=config), BeamRun())
    return out, rows, before, load_shards(out), config


def test_image_tars_stay_and_regions_are_those_of_the_detector(root):
    out, _, before, after, config = root
    assert image_tars(before) == image_tars(after)
    # The rows were made up and say of every picture that it is 96 x 64.
    assert not [fault for fault in validate(after) if "KEY.json says" not in fault.what]
    assert (after.extractor, after.feature_dim, after.num_classes, after.quantisation, after.max_regions) == \
        ("bottom-up", 128, 20, "u8_scale", 9)
    manifest = current_manifest(out, "regions")
    assert dict(manifest.funnel[0].outcomes) == {"extracted": 13, "truncated_image": 1}
    assert manifest.extra["weights"] and config.weights not in json.dumps(manifest.config | manifest.inputs)
    for sample in read_samples(after, "train"):
        regions = sample.regions
        assert 4 <= len(regions) <= 9 and regions.soft_id.shape == (len(regions), 8)
        assert (regions.soft_id[:, 0] == regions.cls).all() and regions.zero is None


@pytest.mark.slow
def test_two_workers_give_the_same_bytes(root, tmp_path):
    out, rows, _, after, config = root
    other = str(tmp_path / "data")
    os.makedirs(other)
    os.symlink(f"{out}/images", f"{other}/images")
    finish_filter(other, rows[::-1])
    build_shards(other, dataclasses.replace(SMALL, regions=config), BeamRun(2))
    again = load_shards(other)
    for shard in after.shards:
        with open(after.path(shard.regions), "rb") as one, open(again.path(shard.regions), "rb") as two:
            assert one.read() == two.read()


def test_a_chunk_that_is_committed_is_not_done_again_and_chunks_are_of_no_matter_without_batches(
        root, tmp_path, monkeypatch):
    out, rows, _, _, config = root
    config = dataclasses.replace(config, batch=1)
    other = str(tmp_path / "data")
    os.makedirs(other)
    os.symlink(f"{out}/images", f"{other}/images")
    finish_filter(other, rows)
    wanted, committed = extract_regions(out, config, SMALL.patches, BeamRun()), []
    monkeypatch.setattr(detect_run, "CHUNK_ROWS", 3)
    real = detect_run.commit_chunk

    def commit(*args):
        if len(committed) == 2:
            raise RuntimeError("killed")
        committed.append(args[2].chunk.number)
        real(*args)

    monkeypatch.setattr(detect_run, "commit_chunk", commit)
    with pytest.raises(RuntimeError, match="killed"):
        extract_regions(other, config, SMALL.patches, BeamRun())
    folder, = (f"{other}/regions/{name}" for name in os.listdir(f"{other}/regions"))
    names = {name: os.stat(f"{folder}/{name}").st_ino for name in os.listdir(folder)
             if name.startswith("chunk-") and name.endswith(".json")}
    assert len(names) == 2
    monkeypatch.setattr(detect_run, "commit_chunk", real)
    manifest = extract_regions(other, config, SMALL.patches, BeamRun())
    assert manifest.funnel == wanted.funnel and manifest.directory == folder
    assert all(os.stat(f"{folder}/{name}").st_ino == number for name, number in names.items())
    for one, two in zip(wanted.paths("regions"), manifest.paths("regions"), strict=True):
        hashes = [[row.sha256 for row in read_table(path, RegionAddress)] for path in (one, two)]
        assert hashes[0] == hashes[1]


def test_a_changed_filter_costs_what_is_new(tmp_path):
    out = str(tmp_path / "data")
    rows = kept(out, 8)
    config = RegionsConfig(weights=weights(tmp_path), batch=1, **SETTINGS)
    filtered_again(out, rows[:5])
    first = extract_regions(out, config, SMALL.patches, BeamRun())
    filtered_again(out, rows[3:])
    second = extract_regions(out, config, SMALL.patches, BeamRun())
    one, two = ({row.key: row for path in manifest.paths("regions") for row in read_table(path, RegionAddress)}
                for manifest in (first, second))
    assert two.keys() == {row.key for row in rows[3:]} and second.folder != first.folder
    for number, row in enumerate(rows[3:], 3):
        assert two[row.key].part.startswith(first.folder if number < 5 else second.folder)
        assert number >= 5 or two[row.key] == one[row.key]
    assert dict(second.funnel[0].outcomes) == {"extracted": 5}
    other = dataclasses.replace(config, max_regions=5)      # another setting: nothing is kept
    third = extract_regions(out, other, SMALL.patches, BeamRun())
    assert all(row.part.startswith(third.folder) for path in third.paths("regions")
               for row in read_table(path, RegionAddress))


def test_what_is_stored_is_what_the_detector_says(tmp_path):
    config = RegionsConfig(weights=weights(tmp_path), quantise="f16", **SETTINGS)
    options = DetectorOptions(max_regions=9, min_regions=4, min_confidence=0.5, min_side=64, max_side=96)
    detector = open_detector("bottom-up", as_torch(bottom_up_tensors()), "x.pth", options, "cpu")
    (found,) = detect_all(detector, [picture(1)], 1)
    from shards.quantise import Found
    packed, count = detect_run.packed_as(Found(found.features, found.boxes, found.confidences, found.classes,
                                               found.probabilities), config)
    from shards.regions import unpack
    regions = unpack(packed)
    assert count == len(regions) and np.allclose(regions.features(), found.features, rtol=1e-3)
    assert regions.cls.tolist() == found.classes.tolist()


@pytest.mark.parametrize("words, says", [
    ((), "needs --weights FILE"), (("--weights", "/none.pkl"), "/none.pkl: cannot be read"),
    (("--weights", "{tmp}/garbage.pkl"), "cannot be read as weights"),
    (("--weights", "{tmp}/other.pth"), "not the weights of bottom-up"),
    (("--weights", "{tmp}/good.pkl", "--class-names", "{tmp}/names.txt"), "2 lines for 20 classes")])
def test_no_or_wrong_weights_are_one_clear_line_and_nothing_is_written(tmp_path, capsys, words, says):
    out = str(tmp_path / "data")
    kept(out, 2)
    (tmp_path / "garbage.pkl").write_bytes(b"garbage")
    (tmp_path / "names.txt").write_text("a\nb\n")
    import torch
    (tmp_path / "other.pth").write_bytes(as_torch({"encoder.weight": torch.zeros(3)}))
    weights(tmp_path, name="good.pkl")
    told = [word.format(tmp=tmp_path) for word in words]
    assert imagebert.main(["regions", "--out", out, "--extractor", "bottom-up", *told]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1 and not os.path.exists(f"{out}/regions")
    assert not os.path.exists(f"{out}/regions.json")


def test_a_worker_with_another_file_says_so(tmp_path):
    from shards.detect_transforms import DetectorHandler
    path = weights(tmp_path)
    told = detect_run.Weights(RegionsConfig(weights=path, **SETTINGS), "00" * 32, ())
    with pytest.raises(UsageError, match="another file lies there"):
        DetectorHandler(str(tmp_path), told).load_model()
