"""Programs of others read our shards: the same samples as our reader gives, with nothing of ours installed.

    python -m benchmarks.strangers [--shards DIR]     DIR: a dataset root or shards folder; default demo-out

webdataset 0.2 and 1.0, `datasets.load_dataset("webdataset")`, Python's tarfile, and mlcroissant on the dataset card,
each in an environment of its own.  What a reader says is the number of samples and the sha256 over the sorted
(key, sha256 of the image, sha256 of the caption, sha256 of the page's URL in the json).
"""
from __future__ import annotations

import argparse
import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Any

from benchmarks.machine import write_result
from benchmarks.peers import default_folder, peer
from shards.card import croissant
from shards.manifest import ShardSet, load_shards
from shards.reader import read_samples

# Given to an interpreter with the names of the tars in argv; `samples` yields (key, image, caption, json as a dict).
_END = """
import hashlib, json
digest = lambda data: hashlib.sha256(data).hexdigest()
rows = sorted([key, digest(image), digest(text.encode()), digest(value["page_url"].encode())]
              for key, image, text, value in samples())
print(json.dumps([len(rows), digest(json.dumps(rows).encode())]))
"""
_TARFILE = """
import json, sys, tarfile
def samples():
    for name in sys.argv[1:]:
        found = {}
        with tarfile.open(name) as tar:
            for member in tar:
                key, _, ext = member.name.partition(".")
                found.setdefault(key, {})[ext] = tar.extractfile(member).read()
        for key, parts in found.items():
            image, = (parts[ext] for ext in ("jpg", "png", "webp") if ext in parts)
            yield key, image, parts["txt"].decode(), json.loads(parts["json"])
"""
_WEBDATASET = """
import json, sys, webdataset
def samples():
    for one in webdataset.WebDataset(sys.argv[1:], shardshuffle=False):
        image, = (one[ext] for ext in ("jpg", "png", "webp") if ext in one)
        yield one["__key__"], image, one["txt"].decode(), json.loads(one["json"])
"""
_DATASETS = """
import datasets, sys, tempfile
datasets.disable_progress_bars()
def samples():
    with tempfile.TemporaryDirectory() as cache:
        for ext in ("jpg", "png", "webp"):
            files = [name for name in sys.argv[1:] if f"-{ext}-" in name.rpartition("/")[2]]
            if files:       # a format is a column of its own, so each is a call of its own
                read = datasets.load_dataset("webdataset", data_files={"train": files}, split="train", cache_dir=cache)
                for one in read.cast_column(ext, datasets.Image(decode=False)):
                    yield one["__key__"], one[ext]["bytes"], one["txt"], one["json"]
"""
_CROISSANT = """
import json, sys, mlcroissant
read = mlcroissant.Dataset(sys.argv[1])
issues = read.metadata.ctx.issues
print(json.dumps({"errors": sorted(issues.errors), "warnings": sorted(issues.warnings),
                  "record_sets": sorted(one.name for one in read.metadata.record_sets)}))
"""
READERS = {"tarfile": ("", _TARFILE), "webdataset 0.2": ("webdataset-0.2", _WEBDATASET),
           "webdataset 1.0": ("webdataset-1.0", _WEBDATASET), "datasets": ("datasets", _DATASETS)}


def ours(shards: ShardSet) -> tuple[int, str]:
    """Returns the number of samples and their digest, as our reader gives them."""
    rows = sorted([one.key, _sha256(one.image), _sha256(one.caption.encode()), _sha256(one.json["page_url"].encode())]
                  for split in ("train", "test") for one in read_samples(shards, split))
    return len(rows), _sha256(json.dumps(rows).encode())


def run(python: str, script: str, arguments: list[str]) -> Any:
    """Returns the JSON that a script prints in another interpreter, started away from our code."""
    with tempfile.TemporaryDirectory() as elsewhere:
        ended = subprocess.run([python, "-c", script, *arguments], cwd=elsewhere, capture_output=True, text=True)
    if ended.returncode:
        return {"failed": ended.stderr.strip().splitlines()[-1:]}
    return json.loads(ended.stdout.splitlines()[-1])


def main() -> int:
    """Runs every reader, writes results/strangers.json; 1 where one of them reads something else."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--shards", default="demo-out", help="dataset root or shards folder (default: %(default)s)")
    options.add_argument("--peers", type=pathlib.Path, default=default_folder(), help="folder of the environments")
    args = options.parse_args()
    shards = load_shards(args.shards)
    if shards.removed_keys:
        raise SystemExit(f"{args.shards}: {len(shards.removed_keys)} samples are removed but still in the tars; "
                         f"`imagebert shards remove --rewrite` drops them, then strangers read the same as we do")
    expected = ours(shards)
    tars = [str(pathlib.Path(shards.path(one.name)).resolve()) for one in shards.shards]
    result: dict[str, Any] = {"samples": expected[0], "tars": len(tars),
                              "formats": sorted({one.ext for one in shards.shards}), "readers": {}}
    for name, (environment, script) in READERS.items():
        made = peer(environment, args.peers) if environment else None
        began = time.monotonic()
        read = run(made.program("python") if made else sys.executable, script + _END, tars)
        result["readers"][name] = {"same": read == list(expected), "seconds": round(time.monotonic() - began, 1)} | (
            {} if read == list(expected) else {"said": read})
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "croissant.json"
        file.write_text(json.dumps(croissant(shards, "lait", "https://creativecommons.org/publicdomain/zero/1.0/",
                                             "https://example.org/lait")))
        result["mlcroissant"] = run(peer("mlcroissant", args.peers).program("python"), _CROISSANT, [str(file)])
    good = all(one["same"] for one in result["readers"].values()) and not result["mlcroissant"].get("errors", ["-"])
    print(json.dumps(result, indent=1))
    write_result("strangers", "make bench-strangers", result)
    return 0 if good else 1


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
