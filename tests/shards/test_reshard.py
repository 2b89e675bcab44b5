"""The same samples in other shards: as a build with these sizes makes them, whatever kills it."""
import hashlib
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tarfile

import pytest

from crawl.errors import UsageError
from crawl.stages import current
from shards.build import ShardsConfig, build_shards
from shards.inspect import listed
from shards.manifest import load_shards
from shards.order import OrderConfig
from shards.patches import PatchesConfig
from shards.validate import validate
from tests.shards.kept import BeamRun, image_bytes, kept
from tests.shards.killing import num_changes, run_killed
from tests.shards.test_inspect import parsed

PATCHES = PatchesConfig(num_classes=8, codebook_images=10)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> str:
    out = str(tmp_path_factory.mktemp("built"))
    kept(out, 26)
    build_shards(out, ShardsConfig(patches=PATCHES, order=OrderConfig(max_samples=11)), BeamRun())
    return out


@pytest.fixture()
def root(built: str, tmp_path: pathlib.Path) -> str:
    shutil.copytree(built, tmp_path / "root")
    return str(tmp_path / "root")


def files(root: str) -> dict[str, str]:
    """Returns name -> sha256 of all that a reader of a set opens."""
    shards = load_shards(root)
    return {name: hashlib.sha256(pathlib.Path(shards.path(name)).read_bytes()).hexdigest() for shard in shards.shards
            for name in (shard.name, shard.regions, shard.index, shard.table)}


def faults(root: str) -> list[str]:
    return [str(fault) for fault in validate(load_shards(root, check_sizes=False))]


def test_it_makes_the_bytes_of_a_build_with_these_sizes(root: str, built: str, tmp_path: pathlib.Path) -> None:
    old = load_shards(root)
    assert parsed("reshard", root, "--max-samples", "4") == 0
    shutil.copytree(built, tmp_path / "again")
    build_shards(str(tmp_path / "again"), ShardsConfig(patches=PATCHES, order=OrderConfig(max_samples=4)), BeamRun())
    assert files(root) == files(str(tmp_path / "again")) and faults(root) == []
    new = load_shards(root)
    assert len(new.shards) > len(old.shards) and os.path.isdir(old.directory)
    assert [one.key for one in listed(new)] == [one.key for one in listed(old)]
    assert parsed("reshard", root, "--max-samples", "11") == 0                 # and back
    assert files(root) == files(built) and faults(root) == []


def test_inline_regions_stay_inline(tmp_path: pathlib.Path) -> None:
    out = str(tmp_path)
    kept(out, 12)
    for sizes in (7, 4):
        order = OrderConfig(max_samples=sizes, inline_regions=True)
        build_shards(out, ShardsConfig(patches=PATCHES, order=order), BeamRun())
        if sizes == 7:
            assert parsed("reshard", out, "--max-samples", "4") == 0 and faults(out) == []
            cut = files(out)
    assert all(shard.inline for shard in load_shards(out).shards) and cut == files(out)


def test_a_number_of_shards_and_a_name(root: str) -> None:
    assert parsed("reshard", root, "--shards", "1", "--name", "other") == 0
    assert {shard.name for shard in load_shards(root).shards} == {"train/other-jpg-000000.tar",
                                                                  "test/other-jpg-000000.tar"}
    with pytest.raises(UsageError, match="--name a/b: order.name is 'a/b'"):
        parsed("reshard", root, "--name", "a/b")


def test_what_was_removed_is_left_out_and_a_rewrite_keeps_the_old_set(root: str) -> None:
    old = load_shards(root)
    keys = [one.key for one in listed(old)]
    assert parsed("remove", root, "--key", keys[3]) == 0
    assert parsed("reshard", root, "--max-samples", "5") == 0
    assert [one.key for one in listed(load_shards(root))] == [key for key in keys if key != keys[3]]
    assert not load_shards(root).removed and faults(root) == []
    assert parsed("remove", root, "--key", keys[4], "--rewrite") == 0
    assert faults(root) == [] and os.path.isdir(old.directory) and len(list(listed(load_shards(root)))) == len(keys) - 2


def test_a_set_that_was_taken_out_is_cut_into_a_root_of_its_own(root: str, tmp_path: pathlib.Path) -> None:
    taken = str(tmp_path / "far" / "away" / "taken")
    shutil.copytree(load_shards(root).directory, taken)
    with pytest.raises(UsageError, match="not in a dataset's root; name a root to write to with --out"):
        parsed("reshard", taken, "--max-samples", "5")
    assert parsed("reshard", taken, "--max-samples", "5", "--out", str(tmp_path / "new")) == 0
    assert faults(str(tmp_path / "new")) == [] and len(list(listed(load_shards(str(tmp_path / "new"))))) == 26


@pytest.mark.parametrize("share", [0.3, 0.95])
def test_killed_it_goes_on(root: str, tmp_path: pathlib.Path, share: float) -> None:
    kill_and_go_on(root, tmp_path, share)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_killed_anywhere_it_goes_on(root: str, tmp_path: pathlib.Path, seed: int) -> None:
    kill_and_go_on(root, tmp_path, random.Random(seed).random())


def kill_and_go_on(root: str, tmp_path: pathlib.Path, share: float) -> None:
    words = ("--max-samples", "4")
    whole = str(tmp_path / "whole")
    shutil.copytree(root, whole)
    changes = num_changes(whole, "shards", "reshard", whole, *words)
    old = current(root)["shards"]
    assert run_killed(int(changes * share), root, "shards", "reshard", root, *words)
    assert current(root)["shards"] in (old, current(whole)["shards"]) and faults(root) == []
    assert parsed("reshard", root, *words) == 0
    assert files(root) == files(whole) and load_shards(root).digest == load_shards(whole).digest


_FULL = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
import imagebert
sys.exit(imagebert.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("words", [("reshard", "--max-samples", "4"), ("remove", "--rewrite", "--url", "http://h1.test/3.jpg")])
def test_a_full_disk_is_one_clear_line_and_the_old_set_stays(root: str, words: tuple[str, ...]) -> None:
    """A file may have 20 kB: as a full disk, as far as writing goes."""
    before = files(root)
    done = subprocess.run([sys.executable, "-c", _FULL, "shards", words[0], root, *words[1:]], capture_output=True,
                          text=True, timeout=120, check=False)
    assert done.returncode == 2 and "make room on that disk" in done.stderr and "Traceback" not in done.stderr
    assert files(root) == before and faults(root) == []
    assert not [name for _, _, names in os.walk(root) for name in names if name.endswith(".tmp")]


def test_a_shard_keeps_to_one_image_extension(tmp_path: pathlib.Path) -> None:
    out = str(tmp_path / "mixed")
    kept(out, 24, make=lambda number: (image_bytes(number, "PNG"), "png") if number % 3 == 0 else
         (image_bytes(number), "jpg"))
    build_shards(out, ShardsConfig(patches=PATCHES, order=OrderConfig(max_samples=3)), BeamRun())
    before = {shard.name: shard.ext for shard in load_shards(out).shards}
    assert parsed("reshard", out, "--max-samples", "100") == 0
    shards = load_shards(out)
    assert len(shards.shards) < len(before) and {shard.ext for shard in shards.shards} == {"jpg", "png"}
    for shard in shards.shards:
        with tarfile.open(shards.path(shard.name)) as tar:
            ends = {name.rpartition(".")[2] for name in tar.getnames()}
        assert ends == {shard.ext, "txt", "json"} and f"-{shard.ext}-" in shard.name
    assert faults(out) == []
