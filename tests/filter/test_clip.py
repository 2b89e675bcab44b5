"""The stage clip, the unsafe filter and the scorer clip, with a tiny network whose weights the tests make."""
from __future__ import annotations

import dataclasses
import io
import json
import math
import warnings

import numpy as np
import pytest

from crawl import storage
from crawl.errors import UsageError
from filter.clip_config import ClipConfig
from filter.clip_run import clip_weights
from filter.clip_scorer import ClipScorer, reject_cosine
from filter.features_run import FeaturesConfig, features
from filter.filter_config import FilterConfig
from filter.filter_run import filter_pairs
from filter.images import ImageRules, reject_unsafe
from filter.judge_run import judge
from filter.judging import JudgeConfig
from filter.records import Best, ClipAsk, ClipFacts, ImageOutcome, Pair
from tests.filter import tiny_web
from tests.filter.tiny_web import candidate, jpeg, photograph, rows_of, texts

torch = pytest.importorskip("torch")
SITE, TINY = "https://a.example", "imagebert-tiny-test"
NAMES = ("heron", "barn", "boat", "fox", "tower")
SHAPE = {"embed_dim": 16, "vision_cfg": {"image_size": 64, "layers": 1, "width": 64, "patch_size": 32},
         "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}}


def saved(tensors):
    buffer = io.BytesIO()
    torch.save(tensors, buffer)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a checkpoint of the tiny architecture, which open_clip is told of."""
    folder = tmp_path_factory.mktemp("clip")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        open_clip = pytest.importorskip("open_clip")
        (folder / f"{TINY}.json").write_text(json.dumps(SHAPE))
        open_clip.add_model_config(folder / f"{TINY}.json")
        torch.manual_seed(3)
        tensors = open_clip.create_model(TINY, pretrained=None).state_dict()
    (folder / "clip.pt").write_bytes(saved(tensors))
    return folder


def head_file(folder, bias):
    """A head that finds everything unsafe, or nothing, by its bias."""
    path = folder / f"head{bias}.pth"
    path.write_bytes(saved({"weight": torch.full((1, 16), 0.01), "bias": torch.tensor([float(bias)])}))
    return str(path)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A dataset up to its features: five photographs, one of which is cut."""
    out = str(tmp_path_factory.mktemp("out"))
    rows = [candidate(f"{SITE}/{name}.jpg", f"{SITE}/{name}", texts=texts(
        alt=f"A {name} stands near the water in the evening", title=f"The old {name} in the light of the morning"))
        for name in NAMES]
    tiny_web.commit_crawl(out, rows)
    judged = judge(out, JudgeConfig(buckets=1), tiny_web.run)
    bodies = {f"{SITE}/{name}.jpg": jpeg(photograph(number)) for number, name in enumerate(NAMES)}
    tiny_web.commit_images(out, judged, bodies | {f"{SITE}/tower.jpg": jpeg(photograph(9))[:9000]})
    features(out, FeaturesConfig(buckets=1), tiny_web.run)
    return out


def config(folder, batch=2, buckets=2, head="", **changes):
    clip = ClipConfig(weights=str(folder / "clip.pt"), architecture=TINY, batch=batch, buckets=buckets,
                      unsafe_head=head)
    return FilterConfig(buckets=1, min_score=0.0, clip=clip, **changes)


def clip_rows(out, table="clip", record=ClipFacts):
    from crawl.stages import current_manifest
    return sorted(rows_of(current_manifest(out, "clip"), table, record), key=lambda row: row.sha256)


def test_the_network_sees_each_image_once_with_all_its_texts_whatever_the_cut(root, folder):
    first = filter_pairs(root, config(folder), tiny_web.run)
    rows = clip_rows(root)
    assert len(rows) == 4 and {row.outcome for row in rows} == {"embedded"} and {row.unsafe for row in rows} == {-1.0}
    assert all(len(row.identities) == len(row.cosines) == 2 for row in rows)
    assert all(value * 4096 == round(value * 4096) and -1 <= value <= 1 for row in rows for value in row.cosines)
    assert first.extra["clip"]["ran"] and first.inputs["clip"] and not first.extra["unsafe"]["ran"]
    assert any("no head over its embeddings" in note for note in first.notes)
    filter_pairs(root, config(folder, batch=3, buckets=1), tiny_web.run)
    again = clip_rows(root)
    assert [row.sha256 for row in again] == [row.sha256 for row in rows]
    assert np.allclose([row.cosines for row in again], [row.cosines for row in rows], atol=1e-3)


def test_cosines_are_those_of_the_network_itself(root, folder):
    import open_clip

    from model.clip_pairs import ClipPairs
    filter_pairs(root, config(folder), tiny_web.run)
    row, ask = clip_rows(root)[0], clip_rows(root, "asks", ClipAsk)[0]
    assert ask.sha256 == row.sha256 and ask.identities == row.identities
    pairs = ClipPairs((folder / "clip.pt").read_bytes(), "clip.pt", TINY, 4, "cpu")
    data = storage.read_bytes(storage.join(root, ask.part))[ask.offset:ask.offset + ask.length]
    from PIL import Image
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    ours = pairs.pictures([np.asarray(picture)])[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net, _, transform = open_clip.create_model_and_transforms(TINY, pretrained=None)
        net.load_state_dict(torch.load(folder / "clip.pt", weights_only=True))
    net.eval()
    with torch.inference_mode():
        theirs = torch.nn.functional.normalize(net.encode_image(transform(picture)[None]), dim=-1)[0].numpy()
        text = torch.nn.functional.normalize(net.encode_text(open_clip.get_tokenizer(TINY)(list(ask.texts))), dim=-1)
    assert float(ours @ theirs) > 0.999
    assert np.allclose(text.numpy() @ theirs, row.cosines, atol=0.02)


def test_the_unsafe_filter_rejects_by_its_head_and_is_loudly_off_without(root, folder):
    done = filter_pairs(root, config(folder, head=head_file(folder, 4)), tiny_web.run)
    outcomes = dict(done.funnel[0].outcomes)
    assert outcomes == {"unsafe": 4, "truncated_image": 1} and done.extra["unsafe"]["ran"] and not done.notes
    assert {row.outcome for row in rows_of(done, "pairs", Pair)} == {"unsafe", "truncated_image"}
    harmless = filter_pairs(root, config(folder, head=head_file(folder, -4)), tiny_web.run)
    assert "unsafe" not in dict(harmless.funnel[0].outcomes) and rows_of(harmless, "best", Best)
    off = filter_pairs(root, FilterConfig(buckets=1, min_score=0.0), tiny_web.run)
    assert off.notes[0].startswith("unsafe filter: off") and off.extra["unsafe"] == {"ran": False}
    assert len(rows_of(off, "image_outcomes", ImageOutcome)) == 5
    lax = ImageRules(let_pass=("unsafe",))
    assert [reject_unsafe(p, ImageRules()) for p in (-1, 0.5, 0.51)] == [None, None, "unsafe"]
    assert reject_unsafe(1, lax) is None


def test_the_scorer_clip_orders_texts_by_their_cosine_and_min_cosine_cuts(root, folder):
    done = filter_pairs(root, config(folder, scorer="clip"), tiny_web.run)
    cosine = {(row.sha256, name): value for row in clip_rows(root)
              for name, value in zip(row.identities, row.cosines, strict=True)}
    from filter.captions import normalise_caption
    for best in rows_of(done, "best", Best):
        mine = {name: value for (sha256, name), value in cosine.items() if sha256 == best.image_sha256}
        scores = dict(zip(mine, ClipScorer().score(None, [None, None], list(mine.values())), strict=True))
        assert best.score == scores[normalise_caption(best.caption)] == max(scores.values())
    low, middle, high = ClipScorer().score(None, [None] * 3, [0.12, 0.24, 0.31])
    assert low < 0.01 and middle == 0.5 and high > 0.9
    cut = filter_pairs(root, config(folder, min_cosine=1.0), tiny_web.run)
    assert dict(cut.funnel[1].outcomes) == {"low_cosine": 8, "truncated_image": 2}
    assert [reject_cosine(*given) for given in ((0.2, 0.3, True), (math.nan, 0.3, True), (math.nan, 0.3, False))] == [
        "low_cosine", "cosine_not_run", ""]
    assert math.isnan(ClipScorer().score(None, [None])[0])


def test_a_changed_threshold_runs_no_network_and_a_stopped_run_goes_on(root, folder, tmp_path):
    filter_pairs(root, config(folder), tiny_web.run)
    ran = []

    def run(name, build):
        ran.append(name)
        tiny_web.run(name, build)

    filter_pairs(root, config(folder, min_cosine=0.01), run)
    assert ran == ["filter"]

    def stopped(name, build):
        if name == "clip":
            raise KeyboardInterrupt
        tiny_web.run(name, build)

    with pytest.raises(KeyboardInterrupt):
        filter_pairs(root, config(folder, batch=4), stopped)
    assert filter_pairs(root, config(folder, batch=4), tiny_web.run).extra["clip"]["ran"]


def test_weights_and_heads_that_do_not_fit_are_one_line(root, folder, tmp_path):
    wide = tmp_path / "wide.pth"
    wide.write_bytes(saved({"weight": torch.zeros(1, 512), "bias": torch.zeros(1)}))
    junk = tmp_path / "junk.pt"
    junk.write_bytes(b"junk")
    plain = config(folder)
    for changes, says in (
            ({"weights": str(tmp_path / "none.pt")}, "cannot be read"), ({"weights": str(junk)}, "as weights"),
            ({"architecture": "ViT-Z"}, "not known to open_clip"), ({"architecture": "ViT-S-32"}, "not the weights"),
            ({"unsafe_head": str(wide)}, "a head over embeddings of 512 values"),
            ({"weights": "", "unsafe_head": str(wide)}, "name its checkpoint")):
        bad = dataclasses.replace(plain, clip=dataclasses.replace(plain.clip, **changes))
        with pytest.raises(UsageError, match=says) as raised:
            filter_pairs(root, bad, tiny_web.run)
        assert "\n" not in str(raised.value)
    with pytest.raises(UsageError, match="scorer clip reads"):
        clip_weights(ClipConfig(), "clip")


def test_the_cosine_is_a_feature_of_the_weak_scorer_and_not_run_is_said(root, folder, tmp_path):
    import lightgbm

    from filter.labelled_pairs import PairLabels, labelled_pairs, text_sha256
    from filter.pair_features import COSINE_NOT_RUN, FEATURES
    from filter.scoring import weak_text
    filter_pairs(root, config(folder), tiny_web.run)
    row = clip_rows(root)[0]
    labels = PairLabels(False, {(row.sha256, text_sha256(name)): (1, "a") for name in row.identities})
    at = FEATURES.index("cosine")
    assert sorted(labelled_pairs(root, labels).values[:, at]) == sorted(row.cosines)
    random = np.random.default_rng(1)
    values = random.random((60, 1))
    trees = lightgbm.train({"objective": "binary", "num_threads": 1, "deterministic": True, "verbose": -1,
                            "min_data_in_leaf": 2}, lightgbm.Dataset(values, (values[:, 0] > 0.5).astype(int),
                                                                     feature_name=["cosine"]), 3)
    model = tmp_path / "weak.txt"
    model.write_text(weak_text(trees.model_to_string(), 1.0, 0.0))
    from filter.scoring import scorer
    weak = scorer("weak", str(model))
    from filter.records import Caption
    from tests.filter.test_scoring import PHOTOGRAPH, ROW
    one = [(ROW, Caption("alt", "A heron", "A heron", ""))]
    (high,), (low,), (missing,) = (weak.score(PHOTOGRAPH, one, given) for given in ([0.9], [0.1], []))
    assert high > low == missing and COSINE_NOT_RUN == -1
    off = filter_pairs(root, FilterConfig(buckets=1, scorer="weak", scorer_path=str(model)), tiny_web.run)
    assert any("its feature cosine was not run" in note for note in off.notes)
