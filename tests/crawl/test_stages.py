"""The stage folder: named by its inputs, immutable, manifest last."""
import dataclasses

import pytest

from crawl import storage
from crawl.errors import UsageError
from crawl.stages import (
    Funnel,
    Stage,
    check_accounted,
    current,
    current_manifest,
    funnel_of,
    read_manifest,
    recorded_time,
)
from crawl.tables import write_table


@dataclasses.dataclass(frozen=True)
class Rules:
    min_words: int = 3


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    key: str
    outcome: str


def finish(out, rules, inputs=None, name="judge"):
    stage = Stage.open(out, name, 1, rules, inputs or {"crawl": "ab"})
    entry = write_table(stage.directory, "rows.parquet", Row, [Row("a", "kept"), Row("b", "too_few_words")])
    return stage.commit({"rows": [entry]}, [funnel_of(name, "pair", [entry])])


def test_a_finished_stage_is_found_again(tmp_path):
    out = str(tmp_path)
    manifest = finish(out, Rules())
    stage = Stage.open(out, "judge", 1, Rules(), {"crawl": "ab"})
    assert stage.finished() == manifest
    assert read_manifest(out, stage.folder).digest == manifest.digest
    assert current_manifest(out, "judge") == manifest


def test_a_changed_threshold_is_a_new_folder_beside_the_old(tmp_path):
    out = str(tmp_path)
    old, new = finish(out, Rules()), finish(out, Rules(min_words=4))
    assert old.folder != new.folder
    assert storage.exists(storage.join(old.directory, "manifest.json"))
    assert current(out)["judge"] == new.folder
    Stage.open(out, "judge", 1, Rules(), {"crawl": "ab"}).finished()
    assert current(out)["judge"] == old.folder, "asking for the old settings makes the old folder current"


@pytest.mark.parametrize("change", [{"version": 2}, {"inputs": {"crawl": "cd"}}])
def test_format_and_inputs_name_the_folder(tmp_path, change):
    base = Stage.open(str(tmp_path), "judge", 1, Rules(), {"crawl": "ab"})
    other = Stage.open(str(tmp_path), "judge", change.get("version", 1), Rules(), change.get("inputs", {"crawl": "ab"}))
    assert base.folder != other.folder


def test_the_manifest_has_no_clock_and_no_place(tmp_path):
    first, second = finish(str(tmp_path / "a"), Rules()), finish(str(tmp_path / "b"), Rules())
    assert first.encode() == second.encode()


def test_a_damaged_stage_is_refused_with_the_way_out(tmp_path):
    out = str(tmp_path)
    manifest = finish(out, Rules())
    (tmp_path / manifest.folder / "rows.parquet").write_bytes(b"short")
    with pytest.raises(UsageError, match=r"rows.parquet.*5;.*remove"):
        Stage.open(out, "judge", 1, Rules(), {"crawl": "ab"}).finished()


def test_a_funnel_that_does_not_add_up_is_a_bug(tmp_path):
    stage = Stage.open(str(tmp_path), "judge", 1, Rules(), {})
    with pytest.raises(AssertionError, match="does not add up"):
        stage.commit({}, [Funnel("judge", "pair", 3, (("kept", 1), ("too_small", 1)))])


def test_rows_that_an_engine_lost_are_one_line_and_no_manifest(tmp_path):
    stage = Stage.open(str(tmp_path), "judge", 1, Rules(), {"crawl": "ab"})
    given = [write_table(stage.directory, "given.parquet", Row, [Row("a", "kept"), Row("b", "kept"), Row("c", "kept")])]
    found = [write_table(stage.directory, "found.parquet", Row, [Row("a", "kept"), Row("b", "kept")])]
    check_accounted(stage, "candidates", given, given)
    with pytest.raises(UsageError, match="judge: 3 rows of candidates were given and 2 are accounted"):
        check_accounted(stage, "candidates", given, found)
    assert stage.finished() is None


def test_a_half_finished_fetch_refuses_other_settings(tmp_path):
    out = str(tmp_path)
    first = Stage.open(out, "crawl", 1, Rules(), {"seeds": "x"}, fetches=True)
    assert Stage.open(out, "crawl", 1, Rules(), {"seeds": "x"}, fetches=True) == first
    with pytest.raises(UsageError, match="config.min_words: 3 there, 9 now"):
        Stage.open(out, "crawl", 1, Rules(min_words=9), {"seeds": "x"}, fetches=True)
    first.commit({}, [])
    Stage.open(out, "crawl", 1, Rules(min_words=9), {"seeds": "x"}, fetches=True)


def test_missing_stage_says_what_to_run(tmp_path):
    with pytest.raises(UsageError, match="imagebert judge --out"):
        current_manifest(str(tmp_path), "judge")


def test_recorded_time_can_be_fixed(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    assert recorded_time() == "1970-01-01T00:00:00.000000Z"
