import json
import pathlib
import shutil
import subprocess
import sys

import pytest

from crawl.errors import UsageError
from shards.build import build_shards
from shards.manifest import load_shards
from shards.reader import ShardReader
from tests.shards.kept import BeamRun, kept
from tests.shards.test_build import CONFIG


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = str(tmp_path_factory.mktemp("whole"))
    kept(out, 20)
    build_shards(out, CONFIG, BeamRun())
    return out


@pytest.fixture
def shards(whole, tmp_path):
    """A copy to break."""
    shutil.copytree(whole, tmp_path / "out")
    return load_shards(str(tmp_path / "out"))


def path_of(shards, name):
    return pathlib.Path(shards.path(name))


def test_a_trainer_needs_no_table_library_and_no_beam():
    code = ("import sys, shards.manifest, shards.reader, shards.index, shards.regions, shards.sample, shards.tokens; "
            "print([name for name in sys.modules if name.split('.')[0] in "
            "('pyarrow', 'apache_beam', 'PIL', 'filter', 'torch')])")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_root_folder_and_manifest_name_the_same_shards(shards):
    root = str(pathlib.Path(shards.directory).parent.parent)
    assert load_shards(root) == load_shards(shards.directory) == load_shards(shards.path("manifest.json"))
    assert shards.feature_dim == 192 and shards.num_classes == 8 and shards.max_regions == 16
    assert (shards.extractor, shards.quantisation) == ("patches", "u8_scale")


def test_a_shard_cut_in_half_is_one_clear_line(shards):
    shard = shards.of_split("train")[0]
    path = path_of(shards, shard.name)
    path.write_bytes(path.read_bytes()[:shard.bytes // 2])
    with pytest.raises(UsageError) as caught:
        load_shards(shards.directory)
    text = str(caught.value)
    assert shard.name in text and f"says {shard.bytes} bytes, found {shard.bytes // 2}" in text and "\n" not in text
    with ShardReader(shards.directory, shard) as reader, pytest.raises(UsageError, match="ends after 0|ends after"):
        list(reader)


@pytest.mark.parametrize("name", ["regions", "index", "table"])
def test_a_missing_file_is_one_clear_line(shards, name):
    missing = getattr(shards.shards[0], name)
    path_of(shards, missing).unlink()
    with pytest.raises(UsageError, match=f"{missing}: missing"):
        load_shards(shards.directory)


@pytest.mark.parametrize("member", ["image", "txt", "json", "regions"])
def test_a_flipped_bit_names_shard_key_and_offset(shards, member):
    shard = shards.shards[0]
    with ShardReader(shards.directory, shard) as reader:
        offset, key = int(reader.index[f"{member}_offset"][1]), reader.key(1)
        path = path_of(shards, shard.regions if member == "regions" else shard.name)
        data = bytearray(path.read_bytes())
        data[offset] ^= 1
        path.write_bytes(bytes(data))
        with pytest.raises(UsageError) as caught:
            reader.sample(1)
        assert path.name in str(caught.value) and key in str(caught.value) and f"offset {offset}" in str(caught.value)
        assert reader.sample(0).key == reader.key(0), "its neighbour is still read"


def test_an_unfinished_set_says_how_to_go_on(shards):
    path_of(shards, "manifest.json").unlink()
    with pytest.raises(UsageError, match="not finished"):
        load_shards(shards.directory)


@pytest.mark.parametrize("change, message", [
    (lambda root: (root / "dataset.json").write_text('{"stages": {"crawl": "crawl/1"}}'), "no shards here yet"),
    (lambda root: (root / "dataset.json").write_text("{"), "not JSON"),
])
def test_a_root_without_shards_says_so(shards, change, message):
    root = pathlib.Path(shards.directory).parent.parent
    change(root)
    with pytest.raises(UsageError, match=message):
        load_shards(str(root))


def test_a_manifest_of_another_stage_is_refused(shards):
    root = pathlib.Path(shards.directory).parent.parent
    with pytest.raises(UsageError, match="stage 'vocab', not of shards"):
        load_shards(str(next(root.glob("vocab/*/manifest.json"))))


def test_no_folder_is_one_clear_line(tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        load_shards(str(tmp_path / "nowhere"))


def test_a_manifest_of_a_newer_version_is_one_clear_line(tmp_path):
    from shards.shards_run import FORMAT
    from tests.shards.made_root import commit_shards, made_sample
    commit_shards(str(tmp_path), [made_sample(1)])
    file = pathlib.Path(load_shards(str(tmp_path)).path("manifest.json"))
    value = json.loads(file.read_text())
    file.write_text(json.dumps(value | {"format": FORMAT}))
    load_shards(str(tmp_path))
    file.write_text(json.dumps(value | {"format": FORMAT + 1}))
    with pytest.raises(UsageError, match="written by a newer version of imagebert-lait"):
        load_shards(str(tmp_path))
