"""A whole build on s3:// and gs:// that fail now and then: every byte of a shard as on a disk, and no secret in any."""
from __future__ import annotations

import hashlib
import json
import subprocess

import pytest

from benchmarks.webserver import synthetic_web
from crawl import storage
from deploy.builds import ENVIRONMENT, PATIENT, build, dataset_command, facts_of
from shards.manifest import load_shards
from shards.reader import read_samples
from shards.validate import validate
from tests.shards.bytes_of import files_with
from tests.stores.fault_proxy import FAULTS

pytestmark = [pytest.mark.store, pytest.mark.slow]
IMAGES = 60


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory):
    folder = tmp_path_factory.mktemp("disk")
    build(folder, IMAGES, PATIENT)
    return folder / "out"


def test_the_same_build_in_a_bucket(store, on_disk, tmp_path):
    out, log = f"{store.root}/out", tmp_path / "log.jsonl"
    store.proxy.share = 0.1
    with synthetic_web(tmp_path, IMAGES) as ready:
        ended = subprocess.run(dataset_command(ready, out, [*PATIENT, "--log-json", str(log)]),
                               env=ENVIRONMENT | store.environment, capture_output=True, text=True, timeout=1200)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert store.proxy.done.keys() == set(FAULTS), store.proxy.done
    print(f"{dict(store.proxy.done)} in {store.proxy.requests.total()} requests")

    copied = copy(out, tmp_path / "copied")
    assert facts_of(copied).differences(facts_of(on_disk)) == []
    listed = [(manifest.parent / entry["name"], entry["sha256"])
              for manifest in sorted(copied.glob("*/*/manifest.json"))
              for entries in json.loads(manifest.read_text())["tables"].values() for entry in entries]
    assert listed and all(hashlib.sha256(path.read_bytes()).hexdigest() == sha256 for path, sha256 in listed)

    (copied / "log").mkdir()
    for name, text in (("stdout", ended.stdout), ("stderr", ended.stderr), ("log.jsonl", log.read_text())):
        (copied / "log" / name).write_text(text)
    assert store.proxy.authorizations and len(store.secrets) > 3
    assert files_with(str(copied), store.secrets) == set()

    shards = load_shards(out)
    assert list(validate(shards)) == []
    assert [one.key for one in read_samples(shards)] == [one.key for one in read_samples(load_shards(str(on_disk)))]


def copy(out, folder):
    """Returns a folder with everything below a root in a bucket."""
    for name in storage.names_below(out):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(storage.read_bytes(f"{out}/{name}"))
    return folder
