"""Training samples a core-second, from tars to finished packs, against webdataset on the same files.

    python -m benchmarks.loader [--samples 2000] [--rounds 3]

Shards of samples with 100 regions of 2,048 values (u8: 205 KB, f16: 410 KB), captions of 4 to 20 words of a vocabulary
of 30,000, drawn as often as words of a text are (Zipf's law).  Ours is what a rank of the trainer does before its
forward: the order, every region member and caption read and held against its checksum, word pieces, masks, ITM
negatives, one packed buffer of 16,384 tokens (the `tokens` batch), nothing kept of a sample (cache_mib=0).
`webdataset` streams the same tars (regions and image tars side by side), decodes json, caption and regions, cuts the
caption into word pieces with the library tokenizers and stacks 128 samples into padded arrays: no checksums, no masks,
no negatives, no shuffle.  One process and one core a side, in turn, timed from the sixth pack (batch) on, when ours has
touched all its memory; no sample is read twice.  Cold: the page cache was told to forget the files (posix_fadvise).
"""
from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import pathlib
import random
import tempfile
import time
from typing import Any

from benchmarks.machine import write_result
from benchmarks.read import REGIONS, UNITS, WIDTH, forget, rates, side, write
from crawl.tables import FileEntry
from shards.tokens import SPECIALS, load_tokenizer

SHARDS, TOKENS = 4, 16_384
_WEBDATASET = """
import json, os, sys, time, warnings
os.environ["TOKENIZERS_PARALLELISM"] = "false"
import numpy as np, safetensors.numpy, webdataset
from tokenizers import BertWordPieceTokenizer
warnings.simplefilter("ignore")
tokenizer = BertWordPieceTokenizer(sys.argv[1], lowercase=True)
def decoded(ones):
    first, last = ones[0], ones[-1]
    regions = safetensors.numpy.load(last["regions.safetensors"])
    return json.loads(first["json"]), tokenizer.encode(first["txt"].decode(), add_special_tokens=False).ids, regions
def stacked(batch):
    count, most = len(batch), max(len(words) for _, words, _ in batch)
    words = np.zeros((count, most), np.int64)
    for row, (_, own, _) in enumerate(batch):
        words[row, :len(own)] = own
    regions = [own for _, _, own in batch]
    return words, *(np.stack([own[name] for own in regions]) for name in ("feat", "box", "cls", "scale")
                    if name in regions[0])
tars = [webdataset.WebDataset(names.split(","), shardshuffle=False, empty_check=False) for names in sys.argv[2:]]
batches, count, batch = 0, 0, []
for ones in zip(*tars):
    batch.append(decoded(ones))
    if len(batch) == 128:
        batches, count, batch = batches + 1, count + len(stacked(batch)[0]), []
        if batches == 5:
            wall, cpu, count = time.perf_counter(), time.process_time(), 0
if batch:
    count += len(stacked(batch)[0])
print(json.dumps([count, time.perf_counter() - wall, time.process_time() - cpu]))
"""


def write_set(folder: str, samples: int, kind: str, shards: int = SHARDS) -> None:
    """Writes a finished shards folder of `samples` training samples."""
    draw = random.Random(1)
    words = [f"w{number}" for number in range(30_000)]
    often = list(itertools.accumulate(1 / rank for rank in range(1, len(words) + 1)))
    vocab = "".join(f"{piece}\n" for piece in (*SPECIALS, *words)).encode()
    pathlib.Path(folder, "vocab.txt").write_bytes(vocab)
    tokenizer = load_tokenizer(os.path.join(folder, "vocab.txt"))
    each = samples // shards
    written = []
    for first in range(0, each * shards, each):
        captions = [" ".join(draw.choices(words, cum_weights=often, k=draw.randint(4, 20))) for _ in range(each)]
        tokens = [len(tokenizer.encode(caption)[0]) for caption in captions]
        written.append(write(folder, each, kind, False, [caption.encode() for caption in captions], tokens, first))
    files = [FileEntry(name, os.path.getsize(os.path.join(folder, name)), "") for shard in written
             for name in (shard.name, shard.regions, shard.index)]
    extra = {"shards": [dataclasses.asdict(shard) for shard in written], "feature_dim": WIDTH, "num_classes": 1600,
             "max_regions": REGIONS, "quantisation": "u8_scale" if kind == "u8" else kind, "extractor": "made",
             "extractor_digest": "", "codebook": "", "tokenizer_digest": tokenizer.digest, "vocab": "vocab.txt"}
    manifest = {"stage": "shards", "tables": {"shards": [dataclasses.asdict(file) for file in files]}, "extra": extra}
    pathlib.Path(folder, "manifest.json").write_text(json.dumps(manifest))


def read_ours(folder: str, samples: int, threads: int) -> dict[str, Any]:
    """Returns samples, seconds and CPU-seconds of one epoch of finished packs, and the share of padding."""
    from model.config import ModelConfig
    from shards.manifest import load_shards
    from train.data import TrainingData
    from train.plan import StageConfig, TrainConfig
    from train.stream import PackStream, StageStart
    # Packs are whole: the one that the epoch ends in is the last.
    stage = StageConfig("pretrain", samples=samples - 2 * TOKENS // REGIONS, pairs=1024, tokens=TOKENS)
    model = ModelConfig(vocab_size=30_000 + len(SPECIALS), feature_dim=WIDTH, num_classes=1600)
    config = TrainConfig("bench", model, (stage,), lanes=1)
    data = TrainingData({"data": load_shards(folder)}, REGIONS)
    count = packs = used = 0
    for step in PackStream(data, config, 0, StageStart(), threads=threads):
        _, pack = step.packs[0]
        packs, used, count = packs + 1, used + pack.tokens, count + step.samples
        if packs == 5:                     # nothing is ready ahead: whoever only counts is quicker than the reader
            wall, cpu, count = time.perf_counter(), time.process_time(), 0
    return {"times": [count, time.perf_counter() - wall, time.process_time() - cpu],
            "padding": 1 - used / (packs * TOKENS)}


def measure(folder: str, samples: int, rounds: int) -> dict[str, Any]:
    """Returns medians of both sides, warm and cold."""
    tars = [",".join(sorted(os.path.join(folder, name) for name in os.listdir(folder)
                            if name.endswith(".tar") and (".regions." in name) == regions))
            for regions in (False, True)]
    ours = ["-m", "benchmarks.loader", "--one", folder, "--samples", str(samples)]
    theirs = ["-c", _WEBDATASET, os.path.join(folder, "vocab.txt"), *tars]
    found: dict[str, Any] = {}
    for state in ("warm", "cold"):
        times: dict[str, list[list[float]]] = {"ours": [], "webdataset": []}
        for turn in range(rounds + (state == "warm")):
            for name, script in (("ours", ours), ("webdataset", theirs)):
                if state == "cold":
                    forget(folder)
                told = side(script)
                if name == "ours":
                    found["padding"], told = round(told["padding"], 5), told["times"]
                if turn or state == "cold":                  # the first warm turn fills the cache
                    times[name].append(told)
        found[state] = rates(times)
        found[state]["times_webdataset"] = {unit: round(
            found[state]["ours"][unit] / found[state]["webdataset"][unit], 2) for unit in UNITS}
    return found


def main() -> None:
    """Writes results/loader.json."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--samples", type=int, default=2000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--threads", type=int, default=1, help="that read ahead, all on one core")
    options.add_argument("--one", help=argparse.SUPPRESS)
    args = options.parse_args()
    if args.one:
        print(json.dumps(read_ours(args.one, args.samples, args.threads)))
        return
    import webdataset
    result: dict[str, Any] = {"samples": args.samples, "regions": REGIONS, "values": WIDTH, "tokens": TOKENS,
                              "rounds": args.rounds, "webdataset": webdataset.__version__}
    for kind in ("u8", "f16"):
        with tempfile.TemporaryDirectory() as folder:
            write_set(folder, args.samples, kind)
            result[kind] = measure(folder, args.samples, args.rounds)
            print(kind, json.dumps(result[kind]), flush=True)
    write_result("loader", "make bench-loader", result)


if __name__ == "__main__":
    main()
