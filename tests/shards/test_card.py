import json
from pathlib import Path

import pytest

from crawl.errors import UsageError
from shards.card import card, croissant
from shards.manifest import load_shards
from tests.shards.made_root import commit_shards, made_sample
from tests.shards.test_inspect import parsed


@pytest.fixture()
def root(tmp_path: Path) -> str:
    samples = [made_sample(number) for number in range(1, 12)]
    commit_shards(str(tmp_path / "root"), samples, notes=("a <b>note</b> | of a stage",))
    return str(tmp_path / "root")


def test_croissant_names_every_file_with_its_sha256(root: str) -> None:
    shards = load_shards(root)
    value = croissant(shards, "made", "https://example.org/licence")
    files = {one["contentUrl"]: one["sha256"] for one in value["distribution"] if one["@type"] == "cr:FileObject"}
    assert {shard.name: shard.sha256 for shard in shards.shards}.items() <= files.items()
    assert all(Path(shards.path(name)).is_file() for name in files)
    assert {"train/lait-jpg-000000.parquet", "vocab.txt"} <= files.keys()
    assert value["license"] == "https://example.org/licence" and "url" not in value
    known = {one["@id"] for one in value["distribution"]}
    for records in value["recordSet"]:
        assert records["key"]["@id"] in {field["@id"] for field in records["field"]}
        assert {field["source"]["fileSet"]["@id"] for field in records["field"]} <= known
    assert {one["name"] for one in value["recordSet"]} == {"jpg-images-records", "captions-records",
                                                           "provenance-records"}
    sets = [one for one in value["distribution"] if one["@type"] == "cr:FileSet"]
    assert all({part["@id"] for part in one["containedIn"]} <= known for one in sets)


def test_the_card_tells_counts_stages_and_lineage(root: str) -> None:
    page = card(load_shards(root), "made")
    assert page.startswith("---\n") and "- n<1K" in page and "| samples | 1 | 10 | 11 |" in page
    assert "| shards | sample | 11 | stored 11 |" in page and "a \\<b\\>note\\</b\\> \\| of a stage" in page
    assert load_shards(root).digest in page and page == card(load_shards(root), "made")
    front = page.split("---\n")[1]                 # how `datasets` finds the tars: one format, no regions
    assert "- config_name: jpg\n" in front and '- "train/lait-jpg-000000.tar"\n' in front
    assert front.count(".tar") == len(load_shards(root).shards) and "regions" not in front
    assert parsed("remove", root, "--key", made_sample(3).best.key) == 0
    assert "1 samples are still in the tars" in card(load_shards(root), "made")
    assert parsed("remove", root, "--rewrite") == 0
    page = card(load_shards(root), "made")
    assert "rewritten from" in page and "| remove | sample | 11 | kept 10, removed 1 |" in page
    assert "still in the tars" not in page


def test_the_command_writes_both_files(root: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert parsed("card", root, "--out", str(tmp_path / "card"), "--name", "made") == 0
    capsys.readouterr()
    assert parsed("card", root, "--json", "--name", "made") == 0
    assert (tmp_path / "card" / "croissant.json").read_text() == capsys.readouterr().out
    assert json.loads((tmp_path / "card" / "croissant.json").read_text())["name"] == "made"
    assert "# made" in (tmp_path / "card" / "README.md").read_text()
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="--out"):
        parsed("card", root, "--out", str(tmp_path / "file"))


def test_an_empty_set_has_a_card(tmp_path: Path) -> None:
    commit_shards(str(tmp_path), [])
    assert croissant(load_shards(str(tmp_path)), "none")["recordSet"] == []
    assert "0 training and 0 test pairs" in card(load_shards(str(tmp_path)), "none")
