"""What an image shows beside its regions: tags as text, a token for the whole image.  Each switch has an effect."""
import dataclasses
import json

import numpy as np
import pytest
import torch

from crawl.errors import UsageError
from model.imagebert import ImageBert
from model.losses import losses_of
from tests.model.packs import SPECIAL, masked_first, sample, samples, tiny_model
from tests.train import synthetic
from tests.train.made_shards import CLASSES, COLOURS, THINGS, make_shards, small_config
from train.checkpoint import find_checkpoint
from train.evaluate_run import EvaluateConfig, evaluate
from train.loop import train
from train.opening import open_checkpoint
from train.packing import Capacity, Rows, build_pack, capacity_for
from train.retrieval import RetrievalConfig
from train.scoring import CrossScorer
from train.shown_batch import sequences_of

NAMES = tuple((40 + cls,) if cls % 2 else (20 + cls, 30 + cls) for cls in range(7))      # odd classes: one piece
TAGS = dataclasses.replace(SPECIAL, tag_room=4, tags=NAMES)
WHOLE = dataclasses.replace(SPECIAL, global_region=True)
BOTH = dataclasses.replace(TAGS, global_region=True)


def stream(pack):
    """Returns the token stream as readable (kind, position, segment): word ids, -1 - row of regions, `whole`."""
    words, regions, tokens = len(pack.word_ids), len(pack.region_rows), []
    for place in pack.token_source[:pack.tokens].tolist():
        if place < words:
            tokens.append((int(pack.word_ids[place]), int(pack.word_positions[place]), int(pack.word_segments[place])))
        else:
            tokens.append((-1 - int(pack.region_rows[place - words]) if place < words + regions else "whole", 1, 0))
    return tokens


def packed(chosen, rows, special, masks=None):
    return build_pack(chosen, rows, special, capacity_for(chosen, rows, special), masks)


def test_layout_of_an_image_with_everything():
    one = dataclasses.replace(sample(3, regions=4, words=2), classes=np.array([3, 2, 3, 4]))
    pieces = [(int(one.words[0]), 3, 1), (int(one.words[1]), 4, 1), (SPECIAL.sep, 5, 1)]
    regions = [(-1 - row, 1, 0) for row in range(4)]
    tags = [(43, 3, 0), (22, 4, 0), (32, 5, 0), (SPECIAL.sep, 6, 0)]        # class 4 has two pieces: no room
    image = [(SPECIAL.cls, 0, 0), ("whole", 1, 0), *regions, (SPECIAL.sep, 2, 0), *tags]
    assert stream(packed([one], Rows.pairs([0], [0]), BOTH)) == [*image, *pieces]
    assert stream(packed([one], Rows.singles(1), BOTH)) == [*image, (SPECIAL.cls, 0, 0), *pieces]


def test_tags_stay_with_their_image_and_do_not_tell_what_is_masked():
    first = dataclasses.replace(sample(1, regions=2, words=2), classes=np.array([1, 3]))
    second = dataclasses.replace(sample(2, regions=2, words=2), classes=np.array([5, 1]))
    rows = Rows.pairs([0, 1], [1, 0], [0, 0], masked=True)
    shown = [kind for kind, _, segment in stream(packed([first, second], rows, TAGS)) if segment == 0]
    assert shown == [2, -1, -2, 3, 41, 43, 3, 2, -3, -4, 3, 45, 41, 3]
    # The first region of each is to be predicted: its class is no answer that stands beside it.
    hidden = [kind for kind, _, segment in stream(packed([first, second], rows, TAGS, masked_first([first, second])))
              if segment == 0]
    assert hidden == [2, -1, -2, 3, SPECIAL.mask, 43, 3, 2, -3, -4, 3, SPECIAL.mask, 41, 3]


def test_the_whole_image_is_the_mean_of_its_visible_regions():
    model, one = tiny_model(), sample(1, regions=4)
    pack = packed([one], Rows.pairs([0], [0], [1], masked=True), WHOLE, masked_first([one]))
    values = (pack.features.double() - pack.zero[:, None]) * pack.scale[:, None]
    seen = model.embeddings.features(values[1:].mean(dim=0))                 # the first is hidden
    place = model.embeddings.location(torch.tensor([0.0, 0.0, 1.0, 1.0, 1.0], dtype=torch.float64))
    found = model.embeddings.whole_images(pack, model.embeddings.project(pack))
    torch.testing.assert_close(found[0], seen + place, rtol=1e-8, atol=1e-8)


def test_a_hidden_region_reaches_nobody_through_the_whole_image():
    model, one = tiny_model(), sample(1, regions=4)
    other = dataclasses.replace(one, features=one.features.copy())
    other.features[0] = 255 - other.features[0]
    hidden = [model.encode(packed([each], Rows.pairs([0], [0], [1], masked=True), WHOLE, masked_first([each])))
              for each in (one, other)]
    assert torch.equal(*hidden)


@pytest.mark.parametrize("special", [TAGS, WHOLE, BOTH])
def test_capacities_change_nothing(special):
    """Fixed, larger tensors give the losses of exact ones, forward and backward, cropped or not."""
    chosen, own = samples(), np.arange(5)
    rows = Rows.pairs(own, np.roll(own, 1), [1, 0, 1, 0, 1], masked=True).and_then(Rows.singles(5))
    roomy = Capacity(tokens=400, sequences=20, words=260, regions=90, distinct=40, masked_words=20, masked_regions=20,
                     contrasts=9, max_tokens=40)
    found = []
    for capacity in (capacity_for(chosen, rows, special), roomy):
        pack = build_pack(chosen, rows, special, capacity, masked_first(chosen))
        for one in (pack, pack.cropped()):
            model = tiny_model(max_tokens=40, max_positions=40)
            losses = losses_of(model(one), one)
            sum(losses.values()).backward()
            found.append((losses, model.embeddings.features.weight.grad))
    for losses, gradient in found[1:]:
        for name, value in losses.items():
            torch.testing.assert_close(value, found[0][0][name], rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(gradient, found[0][1], rtol=1e-5, atol=1e-7)


def test_a_shown_batch_tells_tags_beside_regions():
    chosen, own = samples(3), np.arange(3)
    vocab = [f"p{number}" for number in range(50)]
    pack = packed(chosen, Rows.pairs(own, own, [1, 1, 1], masked=True), BOTH)
    for shown, one in zip(sequences_of(pack, chosen, vocab), chosen, strict=True):
        assert (shown.kind, shown.image, shown.caption) == ("joint", one.key, one.key)
        assert [region.cls for region in shown.regions] == one.classes.tolist()
        assert shown.tokens == len(shown.words) + len(shown.regions) + 1          # the whole image is neither
        tags = next(iter(NAMES[one.classes[0]:]))
        assert [word.piece for word in shown.words][2:2 + len(tags)] == [vocab[piece] for piece in tags]


@pytest.mark.parametrize("special", [TAGS, WHOLE, BOTH])
def test_the_cross_product_is_what_match_says(special):
    few = synthetic.collection(images=6)
    model = synthetic.model().double().eval()
    scores = CrossScorer(model, few, special).rows(0, 6)
    images, captions = (grid.ravel() for grid in np.meshgrid(np.arange(6), np.arange(6), indexing="ij"))
    rows = Rows.pairs(images, captions)
    pack = build_pack(few.samples, rows, special, capacity_for(few.samples, rows, special)).cropped()
    assert np.abs(scores.ravel() - model.match(pack).detach().numpy()).max() < 1e-6
    plain = CrossScorer(model, few, SPECIAL).rows(0, 6)
    assert np.abs(scores - plain).max() > 1e-3


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Shards whose region classes have names: words of their vocabulary."""
    folder = make_shards(tmp_path_factory.mktemp("named"))
    names = [f"{COLOURS[cls % 4]} {THINGS[cls // 4]},a synonym" for cls in range(CLASSES)]
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in names))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["extra"]["class_names"] = "classes.txt"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return str(folder)


def config(**model):
    made = small_config(align=24, pretrain=48)
    sizes = dataclasses.replace(made.model, max_tokens=64, max_positions=64, **model)
    return dataclasses.replace(made, model=sizes)


def test_both_switches_change_what_is_learned_and_evaluation_shows_what_training_showed(shards, tmp_path):
    found = {}
    for name, run in (("off", config()), ("tags", config(tags=6)), ("whole", config(global_region=True))):
        out = str(tmp_path / name)
        train(run, shards, out)
        with open(f"{find_checkpoint(out)}/model.safetensors", "rb") as file:
            found[name] = file.read()
        opened = open_checkpoint(out)
        assert (opened.special.global_region, bool(opened.special.tags)) == (name == "whole", name == "tags")
        ranked = evaluate(out, shards, "", EvaluateConfig(blind_pairs=8, retrieval=RetrievalConfig(
            folds=1, fold_size=12, rerank=0)))
        assert ranked.row("itm") is not None
    assert len(set(found.values())) == 3
    names = open_checkpoint(str(tmp_path / "tags")).model.config.tag_names
    assert names[5] == "blue dog" and len(names) == CLASSES
    assert all(sum(one.numel() for one in ImageBert(run.model).parameters()) == sum(
        one.numel() for one in ImageBert(config().model).parameters()) for run in (config(tags=6),))


def test_tags_without_names_or_without_room_are_refused(shards, tmp_path):
    plain = str(make_shards(tmp_path / "plain", shards=2))
    with pytest.raises(UsageError, match="the region classes have no names to show as tags; .*model.tags=0"):
        train(config(tags=6), plain, str(tmp_path / "out"))
    with pytest.raises(UsageError, match=r"has 78 tokens, model.max_tokens is 64; --set model.max_tokens=78$"):
        train(config(tags=29), shards, str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
