"""Rows of region files: the three formats tell the same of an image, and what is broken has a reason."""
import dataclasses

import numpy as np
import pytest

from shards.precomputed import BOTTOM_UP, FIELDS, LXMERT, UNITER, fields_of, parse_line, parse_npz
from shards.quantise import quantised
from shards.region_config import RegionsConfig
from tests.shards.region_files import CLASSES, DIM, b64, bottom_up_line, lxmert_line, uniter_npz, values

CONFIG = {name: RegionsConfig(extractor="precomputed", format=name, feature_dim=DIM, num_classes=CLASSES)
          for name in (BOTTOM_UP, LXMERT, UNITER)}
SWAPPED = ("image_id", "image_h", "image_w", "num_boxes", "boxes", "features")


def line(text, name=BOTTOM_UP, **changes):
    config = dataclasses.replace(CONFIG[name], **changes)
    return parse_line(text.rstrip("\n").encode(), fields_of(config), config)


def test_the_three_formats_tell_the_same_of_an_image():
    rows = {BOTTOM_UP: line(bottom_up_line("x", 3)), LXMERT: line(lxmert_line("x", 3), LXMERT),
            UNITER: parse_npz("x", uniter_npz(3), CONFIG[UNITER])}
    assert {name: (row.id, row.reason) for name, row in rows.items()} == dict.fromkeys(rows, ("x", ""))
    packed = {name: quantised(row.found, "u8", 100) for name, row in rows.items()}
    for name in (LXMERT, UNITER):
        assert packed[name].cls.tolist() == packed[LXMERT].cls.tolist()
        assert np.allclose(packed[name].box, packed[LXMERT].box, atol=2e-3)
        assert np.allclose(packed[name].features(), packed[LXMERT].features(), atol=5e-3)
        assert (packed[name].conf == packed[LXMERT].conf).all()
    # Without confidences the order of the file stays; without classes there is none.
    assert np.allclose(packed[BOTTOM_UP].features(), values(3)["features"], atol=1e-2)
    assert set(packed[BOTTOM_UP].cls.tolist()) == {-1} and (packed[BOTTOM_UP].conf == 1).all()


def test_soft_labels_lose_their_background_and_keep_the_eight_most_likely():
    row = parse_npz("x", uniter_npz(4), CONFIG[UNITER])
    assert row.found.probabilities.shape == (5, CLASSES)
    regions = quantised(row.found, "u8", 100, soft=True)
    assert regions.soft_id.shape == (5, 8) and (regions.soft_id[:, 0] == regions.cls).all()


@pytest.mark.parametrize("text, reason", [
    ("x\t400\t320\n", "wrong_number_of_fields"),
    (bottom_up_line("x", 1)[:-53] + "\n", "wrong_shape"),
    (bottom_up_line("x", 1)[:-50] + "\n", "bad_base64"),
    (bottom_up_line("x", 1, features="%%%%"), "bad_base64"),
    (bottom_up_line("x", 1, image_w="-3"), "bad_number"),
    (bottom_up_line("x", 1, image_w="9" * 400), "bad_number"),
    (bottom_up_line("x", 1, num_boxes="0"), "no_boxes"),
    (bottom_up_line("x", 1, num_boxes="99999"), "bad_number"),
    (bottom_up_line("x", 1, num_boxes="4"), "wrong_shape"),
    (bottom_up_line("x", 1, features=b64(np.ones((5, 3), "<f4"))), "wrong_width"),
    (bottom_up_line("x", 1, features=b64(np.full((5, DIM), np.nan, "<f4"))), "not_finite"),
    (bottom_up_line("x", 1, boxes=b64(np.tile(np.array([0, 0, 401.5, 5], "<f4"), (5, 1)))), "box_outside_image"),
    (bottom_up_line("x", 1, boxes=b64(np.tile(np.array([9, 0, 8, 5], "<f4"), (5, 1)))), "box_order"),
])
def test_a_broken_row_has_a_reason(text, reason):
    row = line(text)
    assert (row.found, row.reason) == (None, reason) and row.detail and "\n" not in row.detail


@pytest.mark.parametrize("changes, reason", [
    ({"objects_id": b64(np.full(5, CLASSES, "<i8"))}, "class_out_of_range"),
    ({"objects_id": b64(np.full(5, -1, "<i8"))}, "class_out_of_range"),
    ({"objects_id": b64(np.zeros(5, "<i4"))}, "wrong_shape"),
    ({"objects_conf": b64(np.full(5, 1.5, "<f4"))}, "confidence_out_of_range"),
])
def test_broken_labels_have_a_reason(changes, reason):
    assert line(lxmert_line("x", 1, **changes), LXMERT).reason == reason


@pytest.mark.parametrize("data, reason", [
    (b"", "bad_npz"), (b"PK\x03\x04 cut", "bad_npz"), (uniter_npz(1)[:-200], "bad_npz"),
    (uniter_npz(1, conf=None), "missing_array"),
    (uniter_npz(1, conf=np.array([{}] * 5, object)), "bad_npz"),
    (uniter_npz(1, features=np.zeros((0, DIM), np.float16), norm_bb=np.zeros((0, 6), np.float16),
                conf=np.zeros(0, np.float16), soft_labels=np.zeros((0, CLASSES + 1), np.float16)), "no_boxes"),
    (uniter_npz(1, norm_bb=np.zeros((5, 4), np.float16)), "wrong_shape"),
    (uniter_npz(1, conf=np.full(5, np.nan, np.float16)), "not_finite"),
    (uniter_npz(1, features=np.zeros((5, 9), np.float16)), "wrong_width"),
    (uniter_npz(1, soft_labels=np.ones((5, 7), np.float16)), "wrong_class_count"),
    (uniter_npz(1, norm_bb=np.tile(np.array([.1, .1, .3, .3, .9, .2], np.float16), (5, 1))), "box_order"),
    (uniter_npz(1, soft_labels=np.zeros((5, CLASSES + 1), np.float32), norm_bb=np.full((5, 6), 7, np.float16)),
     "box_outside_image"),
    (uniter_npz(1, features=np.zeros((5, 7 << 20), np.float16)), "too_large"),
])
def test_a_broken_npz_has_a_reason(data, reason):
    row = parse_npz("x", data, CONFIG[UNITER])
    assert (row.id, row.found, row.reason) == ("x", None, reason)


def test_the_background_column_is_verified_by_the_confidences():
    made = values(6)
    last = np.concatenate([made["soft_labels"][:, 1:], made["soft_labels"][:, :1]], axis=1)
    soft = np.zeros((5, CLASSES + 1), np.float16)
    soft[:, 0], soft[:, -1], conf = 0.8, 0.2, np.full(5, 0.8, np.float16)       # a class in the first column
    data = uniter_npz(6, soft_labels=soft, conf=conf)
    assert parse_npz("x", data, CONFIG[UNITER]).reason == "background_column_elsewhere"
    other = dataclasses.replace(CONFIG[UNITER], background="last")
    assert parse_npz("x", data, other).found.classes.tolist() == [0] * 5
    assert parse_npz("x", uniter_npz(6, soft_labels=last), other).found.classes.tolist() == \
        made["objects_id"].tolist()


def test_fields_in_another_order_are_read_and_the_wrong_order_is_seen():
    boxes = b64(np.tile(np.array([0, 0, 399, 300], "<f4"), (5, 1)))
    text = bottom_up_line("x", 2, image_w="320", image_h="400", boxes=boxes)    # a re-export with height first
    assert line(text).reason == "box_outside_image"
    assert line(text, fields=SWAPPED).reason == ""
    assert line("new\t" + text, fields=("version", *SWAPPED)).reason == ""


@pytest.mark.parametrize("fields", [FIELDS[BOTTOM_UP][:-1], (*FIELDS[BOTTOM_UP], "features")])
def test_fields_that_cannot_do_are_refused(fields):
    with pytest.raises(ValueError, match="features not exactly once"):
        fields_of(dataclasses.replace(CONFIG[BOTTOM_UP], fields=fields))
