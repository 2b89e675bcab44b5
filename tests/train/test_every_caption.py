"""Images with several captions: the best, one an epoch, or each a sample.  Each setting has an effect."""
import collections
import dataclasses
import io
import json
import tarfile

import pytest

from crawl.config import override
from crawl.errors import UsageError
from model.losses import LossWeights
from shards.index import encode_index, index_tar
from shards.manifest import load_shards
from tests.train.made_shards import REGIONS, make_shards, small_config
from train.checkpoint import find_checkpoint, read_state
from train.data import TrainingData
from train.ledger import uses
from train.loop import train
from train.masking import MaskingConfig
from train.stream import PackStream, StageStart

IMAGES = 24            # of one shard; image i has 1 + i % 3 captions


def further(number):
    """Returns what KEY.json says of image `number`, in the form of our shards or of others, with a repetition."""
    texts = [f"the {colour} pen" for colour in ("red", "blue")][:number % 3]
    if number % 2:
        return {"texts": [{"source": "alt", "text": text, "score": 0.5} for text in (*texts, *texts)]}
    return {"captions": [*texts, 7]}


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """One training shard whose KEY.json files hold further captions."""
    folder = make_shards(tmp_path_factory.mktemp("told"), shards=1, samples=IMAGES)
    tar, index = folder / "train/lait-jpg-000000.tar", folder / "train/lait-jpg-000000.idx.npy"
    members = []
    with tarfile.open(tar) as source:
        for number, member in enumerate(source.getmembers()):
            data = source.extractfile(member).read()
            members.append((member.name, json.dumps(further(number // 3)).encode() if number % 3 == 2 else data))
    with tarfile.open(tar, "w") as target:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            target.addfile(info, io.BytesIO(data))
    index.write_bytes(encode_index(index_tar(str(tar), str(tar).replace(".tar", ".regions.tar"),
                                             lambda text: len(text.split()))))
    manifest = json.loads((folder / "manifest.json").read_text())
    for entry in manifest["tables"]["shards"]:
        entry["bytes"] = (folder / entry["name"]).stat().st_size
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return str(folder)


def opened(shards, captions):
    return TrainingData({"data": load_shards(shards)}, REGIONS, captions=captions)


def planned(data, run):
    """Returns the numbers of all packs of a stage in their order, lane by lane."""
    steps = list(PackStream(data, run, 0, StageStart())._plan())
    return [number for step in steps for lane in step[3] for number in lane.tolist()]


def plain_epochs(data, run, epochs):
    """Returns the numbers that so many epochs of one lane show, in their order."""
    stage = dataclasses.replace(small_config().stage("pretrain"), epochs=epochs, samples=0, pairs=4)
    run = data.resolved(dataclasses.replace(run, lanes=1, plan=(stage,)))
    return run, planned(data, run)[:run.plan[0].samples]


@pytest.mark.parametrize("captions, each", [("best", [1] * 24), ("one", [1] * 24), ("all", [1, 2, 3] * 8)])
def test_what_an_epoch_shows(shards, captions, each):
    data = opened(shards, captions)
    run, numbers = plain_epochs(data, small_config(captions=captions), 1.0)
    assert run.plan[0].samples == sum(each)
    counts = collections.Counter(data.key(number) for number in numbers)
    keys = [data.key(0)] + [data.key(n) for n in range(1, len(data.sizes.row)) if data.key(n) != data.key(n - 1)]
    assert [counts[key] for key in keys] == each
    if captions == "all":
        assert sorted(numbers) == list(range(48)) == list(range(len(data.sizes.row)))
    data.close()


def test_the_words_and_their_lengths_are_those_of_each_caption(shards):
    data = opened(shards, "all")
    for number in range(len(data.sizes.row)):
        sample = data.sample(number)
        assert len(sample.words) == data.sizes.words[number]
    told = [data.tokenizer.decode(data.sample(number).words.tolist()) for number in (3, 4, 5)]     # image 2
    assert told[1:] == ["the red pen", "the blue pen"] and told[0].startswith("a ")
    first, second = (data.sample(number) for number in (3, 4))
    assert first.key == second.key and first.image_hash == second.image_hash != data.sample(0).image_hash
    assert first.caption_hash != second.caption_hash
    data.close()


def test_one_caption_is_drawn_anew_every_epoch_and_equally_often(shards):
    data = opened(shards, "one")
    run, numbers = plain_epochs(data, small_config(captions="one"), 300.0)
    for epoch in range(300):
        assert len({data.key(number) for number in numbers[24 * epoch:24 * epoch + 24]}) == 24
    counts = collections.Counter(numbers)
    for number in (3, 4, 5):           # the three captions of image 2
        assert abs(counts[number] - 100) < 30
    assert plain_epochs(data, small_config(captions="one", seed=2), 300.0)[1] != numbers
    data.close()


def test_two_captions_of_an_image_are_never_negatives_of_each_other(shards):
    data = opened(shards, "all")
    run = data.resolved(dataclasses.replace(small_config(captions="all", lanes=1), plan=(dataclasses.replace(
        small_config().stage("pretrain"), samples=480, pairs=24, negatives=1.0, weights=LossWeights(),
        masking=MaskingConfig(words=0.0)),)))
    stream = PackStream(data, run, 0, StageStart())
    wrong = 0
    for number in range(8):
        step, (samples,) = stream.step(number)
        pack = step.packs[0][1]
        ids = [sample.image_hash for sample in samples]
        assert len(set(ids)) < len(ids)        # some images are there with two captions
        for row in range(pack.sequences):
            first, last = pack.cu_seqlens[row:row + 2].tolist()
            region = int(pack.token_source[first + 1]) - len(pack.word_ids)
            image = samples[int(pack.region_rows[region]) // REGIONS]
            if not pack.matched[row]:
                wrong += 1
                told = pack.word_ids[pack.token_source[first + REGIONS + 2:last - 1]].tolist()
                own = [one.words.tolist() for one in samples if one.image_hash == image.image_hash]
                assert told not in own
    assert wrong > 100
    data.close()


@pytest.mark.parametrize("captions", ["one", "all"])
def test_the_ledger_knows_which_captions_were_shown(shards, tmp_path, captions):
    run = small_config(align=0, pretrain=150, captions=captions)
    train(run, shards, str(tmp_path / captions))
    state = read_state(find_checkpoint(str(tmp_path / captions)))
    data = opened(shards, captions)
    walked = collections.Counter(planned(data, run))
    told = {number: sum(use.shown for use in uses(data, run, state, number)) for number in range(len(data.sizes.row))}
    assert told == {number: walked[number] for number in told} and sum(told.values()) == sum(walked.values()) >= 150
    data.close()


def test_the_setting_changes_what_is_learned(shards, tmp_path):
    found = set()
    for captions in ("best", "one", "all"):
        train(small_config(align=0, pretrain=48, captions=captions), shards, str(tmp_path / captions))
        with open(f"{find_checkpoint(str(tmp_path / captions))}/model.safetensors", "rb") as file:
            found.add(file.read())
    assert len(found) == 3
    with pytest.raises(UsageError, match="captions is 'several'; it is one of best, one, all"):
        override(small_config(), ["captions=several"])
