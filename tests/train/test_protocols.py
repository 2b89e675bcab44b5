"""The paper's table beside ours: which result answers which row, and why a row is empty."""
import json

import numpy as np
import pytest

from crawl.errors import UsageError
from tests.train import synthetic
from train.protocols import PROTOCOLS, print_table, table
from train.recall import recall_at_k
from train.retrieval import RetrievalConfig, folds_of, measure
from train.scoring import CrossScorer


def _result(folder, protocol, stage="public", images=0, folds=0, value=0.25):
    one = PROTOCOLS.get(protocol)
    recalls = [{"direction": direction, "k": k, "fold_mean": value + k / 100, "folds": folds or one.folds}
               for direction in ("image_to_text", "text_to_image") for k in (1, 5, 10)]
    folder.mkdir()
    (folder / "result.json").write_text(json.dumps(
        {"stage": stage, "config": {"protocol": protocol},
         "rows": [{"name": "itm", "images": images or one.images, "recalls": recalls}]}))
    return str(folder)


def _rows(*results):
    return {(row.setting, row.protocol): row for row in table(results)}


def test_every_row_of_the_paper_is_there_and_says_why_ours_is_not(capsys):
    rows = _rows()
    assert len(rows) == 6 and all(row.ours_ir is None and "no result of" in row.not_run for row in rows.values())
    assert rows["zero-shot", "flickr30k-1k"].paper_ir == (54.3, 79.6, 87.5)
    assert rows["fine-tuned", "coco-5k"].paper_tr == (66.4, 89.8, 94.4)
    assert [name for name, row in rows.items() if row.unverified] == [("zero-shot", "coco-1k")]
    print_table(tuple(rows.values()))
    shown = capsys.readouterr().out
    assert "54.3/79.6/87.5" in shown and "not run: fine-tuned coco-5k: no result of a fine-tuned" in shown
    assert "paper*" in shown


def test_a_result_answers_its_own_row_alone(tmp_path):
    rows = _rows(_result(tmp_path / "zero", "coco-5k"), _result(tmp_path / "tuned", "flickr30k-1k", "finetune"))
    assert rows["zero-shot", "coco-5k"].ours_ir == (26.0, 30.0, 35.0)
    assert rows["fine-tuned", "flickr30k-1k"].from_result == str(tmp_path / "tuned" / "result.json")
    assert sum(row.ours_ir is not None for row in rows.values()) == 2


@pytest.mark.parametrize("images, folds, says", [(997, 1, "997 images in 1 folds, the protocol has 1000 in 1"),
                                                 (1000, 5, "1000 images in 5 folds")])
def test_another_number_of_images_is_not_compared(tmp_path, images, folds, says):
    row = _rows(_result(tmp_path / "few", "flickr30k-1k", images=images, folds=folds))["zero-shot", "flickr30k-1k"]
    assert row.ours_ir is None and says in row.not_run


@pytest.mark.parametrize("text", ["", "{}", '{"rows": []}', '{"rows": [{"name": "x"}], "stage": "a"}'])
def test_what_is_no_result_is_one_clear_line(tmp_path, text):
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(UsageError, match="no result of `imagebert evaluate`"):
        table([str(tmp_path)])


def test_folds_of_a_file_are_consecutive_images_with_their_first_captions():
    collection = synthetic.collection(23, captions=4)
    config = RetrievalConfig(folds=5, fold_size=4, fold_order="file", captions=2, rerank=0, control=False)
    folds = folds_of(collection, config)
    assert [fold.keys for fold in folds] == [collection.keys[at:at + 4] for at in (0, 4, 8, 12, 16)]
    assert all(fold.num_captions == 8 for fold in folds)
    model = synthetic.model()
    found = {one.name: one for one in measure(model, collection, synthetic.SPECIAL, config)[0].recalls}
    each = []
    for fold in folds:
        scorer = CrossScorer(model, fold, synthetic.SPECIAL)
        each.append(recall_at_k(scorer.rows(0, 4), scorer.image_of_caption))
    for name, one in found.items():
        assert one.fold_mean == pytest.approx(np.mean([own[name] for own in each]), abs=1e-6) and one.folds == 5
