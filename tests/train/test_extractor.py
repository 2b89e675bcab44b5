"""The extractor beside a checkpoint: kept by training, copied by tuning, refused when it is not the one."""
import dataclasses
import json

import numpy as np
import pytest

from crawl.errors import UsageError
from filter.decode import decode
from shards import patches
from tests.train import made_shards
from tests.train.photographs import drawn
from train.captioned import UnusableImage
from train.checkpoint import RunState, Sources
from train.extractor import ExtractorFacts, copy_extractor, load_extractor, write_extractor
from train.loop import train

CONFIG = patches.PatchesConfig(grid=3, cell=4, num_classes=5)
FACTS = ExtractorFacts("patches", "ab" * 32, CONFIG.feature_dim, CONFIG.num_classes, CONFIG.num_regions)
STATE = RunState(stage=0, stage_name="pretrain", step=1, samples=1, lanes=(), pending=(), pending_steps=0,
                 finished=True, parent="", model={},
                 sources=Sources(config="", manifest="", tokenizer="", extractor="patches", extractor_digest="ab" * 32))


@pytest.fixture
def run(tmp_path):
    """A run folder with a codebook of 5 classes beside its checkpoints; returns the checkpoint's name."""
    centroids = np.random.default_rng(0).integers(0, 256, size=(5, CONFIG.feature_dim)).astype(np.float32)
    (tmp_path / "fitted").write_bytes(patches.pack_codebook(centroids))
    write_extractor(FACTS, str(tmp_path / "fitted"), str(tmp_path / "run"))
    checkpoint = tmp_path / "run" / "checkpoints" / "0-pretrain-00000001"
    checkpoint.mkdir(parents=True)
    return checkpoint


def test_cuts_a_photograph_as_the_shards_were_cut(run):
    data, _ = drawn(3)
    found = load_extractor(str(run), STATE)(data)
    centroids = patches.unpack_codebook((run.parent.parent / "codebook.safetensors").read_bytes())
    expected = patches.extract(decode(data, small=CONFIG.decode_side).pixels, centroids, CONFIG)
    assert np.array_equal(found.feat, expected.feat) and np.array_equal(found.cls, expected.cls)
    assert np.array_equal(found.box, expected.box) and len(found) == 9


def test_bytes_that_are_no_image_have_a_reason(run):
    with pytest.raises(UnusableImage, match="^unsupported_format$"):
        load_extractor(str(run), STATE)(b"GIF no more")


def test_a_copy_serves_the_tuned_run(run, tmp_path):
    copy_extractor(str(run), str(tmp_path / "tuned"))
    data, _ = drawn(1)
    assert np.array_equal(load_extractor(str(tmp_path / "tuned"), STATE)(data).cls,
                          load_extractor(str(run), STATE)(data).cls)


def test_training_keeps_the_facts_of_its_shards(tmp_path):
    shards = made_shards.make_shards(tmp_path / "shards")
    train(made_shards.small_config(), str(shards), str(tmp_path / "run"))
    assert json.loads((tmp_path / "run" / "extractor.json").read_text()) == {
        "name": "made", "digest": "cd" * 32, "feature_dim": 12, "num_classes": 32, "max_regions": 4}


@pytest.mark.parametrize("change, message", [
    ({"digest": "cd" * 32}, "is of extractor cdcdcdcdcdcd"), ({"name": "bottom-up"}, "regions of 'bottom-up'"),
    ({"num_classes": 6}, "do not fit"), ({"max_regions": 8}, "do not fit")])
def test_another_extractor_is_refused(run, change, message):
    write_extractor(dataclasses.replace(FACTS, **change), "", str(run.parent.parent))
    with pytest.raises(UsageError, match=message) as raised:
        load_extractor(str(run), STATE)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["extractor.json", "codebook.safetensors"])
def test_a_missing_file_is_named(run, name):
    (run.parent.parent / name).unlink()
    with pytest.raises(UsageError, match=name):
        load_extractor(str(run), STATE)
