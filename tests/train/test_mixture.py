import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crawl.errors import UsageError
from shards.index import load_index
from shards.manifest import load_shards
from tests.train.made_shards import REGIONS, make_shards, small_config
from train import word_counts
from train.data import TrainingData
from train.loop import train
from train.mixture import digest_of, open_sets, parse_part
from train.stream import PackStream, StageStart


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """Two sets of other samples: lait with 96 for training, public with 40."""
    lait = make_shards(tmp_path_factory.mktemp("lait"))
    public = make_shards(tmp_path_factory.mktemp("public"), shards=2, samples=20, first=5000)
    return f"lait={lait}", f"public={public}"


@pytest.fixture(scope="module")
def data(roots):
    opened = TrainingData(open_sets(roots), REGIONS)
    yield opened
    opened.close()


def shown(data, config, stage=0):
    """Returns the (set, key) of every sample of a stage, in order."""
    return [(data.set_of(data.numbers_of(key)[0]), key) for step in PackStream(data, config, stage, StageStart())
            for lane in sorted(step.keys) for key in step.keys[lane]]


def test_stages_see_the_sets_they_name(data):
    config = small_config(align=0)
    stage = config.stage("pretrain")
    both = shown(data, data.resolved(config.with_stage(dataclasses.replace(stage, samples=0, epochs=1))))
    assert {name for name, _ in both} == {"lait", "public"} and len(both) >= 136
    only = shown(data, data.resolved(config.with_stage(dataclasses.replace(stage, samples=0, epochs=2,
                                                                           data=("public",)))))
    assert {name for name, _ in only} == {"public"} and 80 <= len(only) < 92
    assert len(set(only)) == 40 and all(2 <= only.count(one) <= 3 for one in only)


def test_shares_and_epochs_count_what_is_shown(data):
    config = small_config(align=0)
    stage = dataclasses.replace(config.stage("pretrain"), samples=0, epochs=4, data=("lait=0.5", "public=2"))
    resolved = data.resolved(config.with_stage(stage))
    assert resolved.stage("pretrain").samples == 4 * (48 + 80) and resolved.stage("pretrain").epochs == 0
    seen = shown(data, resolved)
    share = sum(name == "public" for name, _ in seen) / len(seen)
    assert share == pytest.approx(80 / 128, abs=0.06)
    with pytest.raises(UsageError, match="stage 'pretrain' wants the set 'cc', given are lait, public; add"):
        data.pieces(dataclasses.replace(stage, data=("cc",)))
    for wrong in ("public=0", "public=x", "=2", "public=inf"):
        with pytest.raises(ValueError, match="NAME"):
            parse_part(wrong)


def test_predicates_choose_samples_by_columns(roots, tmp_path):
    sets = open_sets(roots)
    lait = sets["lait"]
    for shard in lait.of_split("train"):
        names = [key.decode() for key in load_index(lait.path(shard.index))["key"]]
        pq.write_table(pa.table({"key": names, "score": [place / len(names) for place in range(len(names))],
                                 "page_language": ["en" if place % 2 else "de" for place in range(len(names))],
                                 "page_url": [f"https://h{place % 3}.test/a" for place in range(len(names))]}),
                       lait.path(shard.name.replace(".tar", ".parquet")))
    tabled = dataclasses.replace(lait, shards=tuple(
        dataclasses.replace(shard, table=shard.name.replace(".tar", ".parquet")) for shard in lait.shards))
    data = TrainingData({"lait": tabled}, REGIONS)
    stage = small_config().stage("pretrain")

    def count(*where):
        return sum(len(piece.numbers) for piece in data.pieces(dataclasses.replace(stage, where=where)))

    assert (count(), count("score >= 0.5"), count("score>=0.5", "language = en"), count("site != h0.test")) == (
        96, 48, 24, 64)
    with pytest.raises(UsageError, match="no column 'colour'; it has key, page_language"):
        count("colour = red")
    with pytest.raises(UsageError, match="score is a number, 'high' is none"):
        count("score = high")
    data.close()
    with pytest.raises(ValueError, match="write one like 'score >= 0.5'"):
        dataclasses.replace(stage, where=("score",))
    bare = TrainingData({"lait": lait}, REGIONS)
    with pytest.raises(UsageError, match="has no table of its samples, so score > 0 cannot be asked"):
        bare.pieces(dataclasses.replace(stage, where=("score > 0",)))
    bare.close()


def test_sets_that_do_not_fit_are_refused(roots, tmp_path):
    with pytest.raises(UsageError, match="two sets are named 'lait'"):
        open_sets((roots[0], roots[0]))
    sets = open_sets(roots)
    assert digest_of(sets) != digest_of({"lait": sets["lait"]}) == sets["lait"].digest
    other = make_shards(tmp_path / "other")
    path = other / "manifest.json"
    path.write_text(path.read_text().replace('"cdcd', '"efef'))
    with pytest.raises(UsageError, match="'other' has extractor_digest .* one run needs regions of one extractor"):
        open_sets((roots[0], f"other={other}"))


def test_another_vocabulary_is_counted_once(tmp_path, roots, monkeypatch, capsys):
    """A set built with another vocabulary is read with the first one's, its captions' lengths counted anew and kept."""
    other = make_shards(tmp_path / "other", shards=1, samples=12, first=9000)
    vocab = (other / "vocab.txt").read_text().replace("cat\n", "c\n##at\n")
    (other / "vocab.txt").write_text(vocab)
    path = other / "manifest.json"
    theirs = hashlib.sha256((other / "vocab.txt").read_bytes()).hexdigest()
    value = json.loads(path.read_text())
    ours, value["extra"]["tokenizer_digest"] = value["extra"]["tokenizer_digest"], theirs
    path.write_text(json.dumps(value))
    sets = {"lait": load_shards(roots[0].partition("=")[2]), "other": load_shards(str(other))}
    assert sets["lait"].tokenizer_digest == ours != theirs
    data = TrainingData(sets, REGIONS)
    assert data.sizes.words[-12:].tolist() == [len(data.sample(96 + row).words) for row in range(12)]
    data.close()
    said = capsys.readouterr().err
    assert f"another vocabulary ({theirs[:12]}): the pieces of 12 captions are counted with {ours[:12]}, once" in said
    with monkeypatch.context() as patch:                     # again: nothing is read and nothing said
        patch.setattr(word_counts, "_count", None)
        again = TrainingData(sets, REGIONS)
    assert (again.sizes.words == data.sizes.words).all() and not capsys.readouterr().err
    again.close()
    train(small_config(align=0, pretrain=12), (roots[0], f"other={other}"), str(tmp_path / "out"))
    assert capsys.readouterr().err.splitlines() == [
        "other: built with another vocabulary, its captions are read with that of lait"]
    kept, = (path for path in Path(word_counts.cache_folder()).iterdir()
             if len(np.load(path)) == 12)
    for damaged in (b"", b"\x93NUMPY", kept.read_bytes()[:-2]):
        kept.write_bytes(damaged)
        whole = TrainingData(sets, REGIONS)
        assert (whole.sizes.words == data.sizes.words).all() and "counted" in capsys.readouterr().err
        whole.close()
    kept.unlink()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other" / "vocab.txt"))      # no folder: counted every time
    for _ in range(2):
        unkept = TrainingData(sets, REGIONS)
        assert "counted" in capsys.readouterr().err
        unkept.close()


def test_a_run_over_two_sets_goes_through_its_stages(roots, tmp_path):
    config = small_config(align=0)
    first = dataclasses.replace(config.stage("pretrain"), name="lait", samples=0, epochs=0.5, data=("lait",))
    second = dataclasses.replace(first, name="public", epochs=1.0, data=("public",))
    out = str(tmp_path / "run")
    config = dataclasses.replace(config, plan=(first, second))
    folder = train(config, roots, out)
    assert folder.endswith("1-public-00000004")
    other = make_shards(tmp_path / "other", shards=2, samples=20, first=7000)
    with pytest.raises(UsageError, match="another dataset"):
        train(config, (roots[0], f"public={other}"), out, resume=True)
