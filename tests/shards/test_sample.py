import dataclasses
import json

import pytest

from shards.records import json_values
from shards.sample import SAMPLE_FIELDS, is_key, member_names, parse_sample_json, sample_json
from tests.shards.kept import best_rows


def test_members_stand_in_a_fixed_order():
    key = "0f" * 16
    assert member_names(key, "webp") == (f"{key}.webp", f"{key}.txt", f"{key}.json")


@pytest.mark.parametrize("key, ext", [("0F" * 16, "jpg"), ("0f" * 15, "jpg"), ("0f" * 15 + "..", "jpg"),
                                      ("0f" * 16, "gif")])
def test_no_name_for_what_is_no_sample(key, ext):
    with pytest.raises(ValueError):
        member_names(key, ext)


def test_json_has_every_field_in_order_and_comes_back(tmp_path):
    best = best_rows(1, str(tmp_path))[0]
    data = sample_json(json_values(best))
    value = parse_sample_json(data)
    assert list(value) == list(SAMPLE_FIELDS) and is_key(value["key"])
    assert value["texts"][0] == {"source": "alt", "text": best.caption, "score": 0.75}
    assert value["signals"] == [{"name": "robots", "raw": "", "verdict": "allow", "evidence": "no rule"}]
    assert best.part not in json.dumps(value), "a path on the builder's disk is no provenance"


@pytest.mark.parametrize("change", [{"image_url": None}, {"texts": None}, {"score": 1}, {"width": 1.5}, {"extra": ""}])
def test_json_refuses_nulls_and_other_types(tmp_path, change):
    values = json_values(best_rows(1, str(tmp_path))[0]) | change
    with pytest.raises(ValueError, match="KEY.json"):
        sample_json(values)


def test_no_list_is_empty_so_that_readers_guess_its_type(tmp_path):
    """`datasets` takes the type of a list from the first samples; an empty one it takes for a list of nothing."""
    best = dataclasses.replace(best_rows(1, str(tmp_path))[0], signals=())
    values = json_values(best)
    assert values["signals"] == [{"name": "robots", "raw": "", "verdict": "unknown", "evidence": "not asked"}]
    assert values["image_urls"][0] == best.image_url
    sample_json(values)
    with pytest.raises(ValueError, match="image_urls is empty"):
        sample_json(values | {"image_urls": []})


def test_further_columns_are_one_text_whatever_they_hold(tmp_path):
    plain = best_rows(1, str(tmp_path))[0]
    best = dataclasses.replace(plain, extras='{"w":640,"tag":"dog"}', drift="drifted", drift_distance=12)
    values = parse_sample_json(sample_json(json_values(best)))
    assert json.loads(values["extras"]) == {"w": 640, "tag": "dog"}
    assert (values["drift"], values["drift_distance"]) == ("drifted", 12)
    values = parse_sample_json(sample_json(json_values(plain)))
    assert (values["extras"], values["drift"], values["drift_distance"]) == ("", "", -1)
