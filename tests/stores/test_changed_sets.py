"""`shards remove`, `reshard`, `lineage` and a build with other regions, on a bucket: what they leave in a folder."""
from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from crawl import storage
from crawl.lock import NAME
from deploy.builds import ENVIRONMENT
from shards.build import ShardsConfig, build_shards
from shards.inspect import listed
from shards.lineage import stages_behind
from shards.manifest import load_shards
from shards.patches import PatchesConfig
from shards.validate import validate
from tests.shards.bytes_of import files_with
from tests.shards.kept import BeamRun, kept
from tests.shards.made_root import made_root
from tests.shards.test_inspect import parsed

pytestmark = pytest.mark.store


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "root"
    return folder, made_root(str(folder), 24)


@pytest.fixture()
def roots(store, made, tmp_path, monkeypatch):
    """Returns a root on disk and one in the bucket, of equal files; recorded times are fixed."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    shutil.copytree(made[0], tmp_path / "root")
    store.proxy.share = 0.05
    return str(tmp_path / "root"), uploaded(made[0], f"{store.root}/{tmp_path.name}")


def uploaded(folder, root):
    for name in storage.names_below(str(folder)):
        storage.commit_bytes(f"{root}/{name}", (folder / name).read_bytes())
    return root


def tree(root):
    """Returns name -> bytes of everything below a root but the locks of runs."""
    return {name: storage.read_bytes(f"{root}/{name}") for name in storage.names_below(root) if NAME not in name}


def test_what_is_removed_resharded_rewritten_and_purged_leaves_the_same_files(roots, made, store, tmp_path, capsys):
    keys = [made[1][place].best.key for place in (3, 10, 17)]
    for words in (["remove", "--key", keys[0]], ["remove", "--rewrite"], ["reshard", "--max-samples", "5"],
                  ["remove", "--key", keys[1], "--rewrite"], ["remove", "--key", keys[2], "--purge"]):
        for root in roots:
            assert parsed(words[0], root, *words[1:]) == 0
        here, there = map(tree, roots)
        assert here.keys() == there.keys(), words
        assert [name for name in here if here[name] != there[name]] == [], words
    disk, bucket = roots
    capsys.readouterr()
    assert list(validate(load_shards(bucket))) == []
    assert {one.key for one in listed(load_shards(bucket))} == {one.best.key for one in made[1]} - set(keys)
    there = tmp_path / "copied"
    for name, data in tree(bucket).items():
        (there / name).parent.mkdir(parents=True, exist_ok=True)
        (there / name).write_bytes(data)
    assert files_with(str(there), [made[1][place].image for place in (3, 10, 17)]) == set()
    assert store.proxy.requests["COPY"], "files that are not touched are copied by the store"

    for root in roots:
        links = stages_behind(root, load_shards(root).built_digest)
        assert [link.kind for link in links][:2] == ["shards", "filter"]
    told = [[(link.kind, link.digest, [(one.what, one.status) for one in link.checks])
             for link in stages_behind(root, load_shards(root).built_digest)] for root in roots]
    assert told[0] == told[1]


def test_other_regions_leave_the_images_where_they_are(store, tmp_path):
    local = tmp_path / "kept"
    kept(str(local), 12)
    root = uploaded(local, f"{store.root}/{tmp_path.name}")
    store.proxy.share = 0.05
    config = ShardsConfig(patches=PatchesConfig(num_classes=8, codebook_images=10))
    first = build_shards(root, config, BeamRun())
    assert not store.proxy.requests["COPY"]
    second = build_shards(root, ShardsConfig(patches=PatchesConfig(num_classes=9, codebook_images=10)), BeamRun())
    assert second.folder != first.folder
    tars = [{one["name"]: one["sha256"] for one in manifest.extra["shards"]} for manifest in (first, second)]
    assert tars[0] == tars[1] and store.proxy.requests["COPY"] >= len(tars[0])
    assert list(validate(load_shards(root))) == []


@pytest.mark.slow
@pytest.mark.parametrize("words", [["remove", "--rewrite"], ["reshard", "--max-samples", "5"], ["remove", "--purge"]])
@pytest.mark.parametrize("share", [0.1, 0.4, 0.7, 0.95])
def test_killed_before_any_change_it_goes_on(roots, made, store, words, share):
    disk, bucket = roots
    store.proxy.share = 0.0
    begin = ["remove", "--key", made[1][3].best.key]
    for root in roots:
        assert parsed(begin[0], root, *begin[1:]) == 0
    changes = []
    spare = uploaded(made[0], f"{bucket}-spare")
    parsed(begin[0], spare, *begin[1:])
    store.proxy.before_change = lambda: changes.append(1)
    assert run(spare, words, store).wait(300) == 0
    last = int(share * (len(changes) - 2))                       # the lock given back is no change of the set

    process = None

    def count():
        changes.append(1)
        if len(changes) > last and process is not None:
            process.kill()
    changes.clear()
    store.proxy.before_change = count
    process = run(bucket, words, store)
    assert process.wait(300) == -9
    store.proxy.before_change = None
    assert list(validate(load_shards(bucket))) == [], "the old set or the new one is whole"
    assert made[1][3].best.key not in {one.key for one in listed(load_shards(bucket))}
    storage.remove(f"{bucket}/{NAME}")                           # of the killed run: it would run out in a minute
    assert run(bucket, words, store).wait(300) == 0
    assert parsed(words[0], disk, *words[1:]) == 0
    here, there = map(tree, (disk, bucket))
    assert {name for name in here.keys() | there.keys() if here.get(name) != there.get(name)} <= {"purged.jsonl"}


def run(root, words, store):
    return subprocess.Popen([sys.executable, "-m", "imagebert", "shards", words[0], root, *words[1:]],
                            env=ENVIRONMENT | store.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
