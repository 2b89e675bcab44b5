"""Packs, masks and negatives are the same bytes in whatever number of processes and threads they are made."""
import dataclasses
import hashlib
import json

import pytest
from torch import Tensor

from shards.manifest import load_shards
from tests.train.made_shards import REGIONS, make_shards, small_config
from train.data import TrainingData
from train.ranks import run_ranks
from train.stream import PackStream, StageStart

CONFIG = small_config(lanes=4, pretrain=240)
TRIPLE = CONFIG.with_stage(dataclasses.replace(CONFIG.stage("pretrain"), itm="triple"))


def write_digests(ranks, job):
    """Runs in each rank: sha256 of every tensor of its packs, by step and lane, and the keys in them."""
    shards, out, threads = job
    data = TrainingData({"data": load_shards(shards)}, REGIONS)
    found = {}
    for name, config in (("half", CONFIG), ("triple", TRIPLE)):
        for stage in range(len(config.stages())):
            for step in PackStream(data, config, stage, StageStart(), ranks.rank, ranks.world, threads):
                for lane, pack in step.packs:
                    total = hashlib.sha256()
                    for field in dataclasses.fields(pack):
                        value = getattr(pack, field.name)
                        total.update(value.numpy().tobytes() if isinstance(value, Tensor) else str(value).encode())
                    found[f"{name} {stage} {step.number} {lane}"] = [total.hexdigest(), step.keys[lane]]
    everything = ranks.gather([found])
    if ranks.first:
        with open(out, "w") as file:
            json.dump({place: told for own in everything for place, told in own.items()}, file)
    data.close()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["u8", "f16"])
def test_packs_are_the_same_for_ranks_and_threads(tmp_path, kind):
    shards = str(make_shards(tmp_path / "shards", kind=kind))
    told = {}
    for ranks, threads in ((1, 1), (1, 2), (2, 1), (2, 2), (4, 1)):
        out = str(tmp_path / f"{ranks}x{threads}.json")
        run_ranks(write_digests, (shards, out, threads), ranks)
        with open(out) as file:
            told[ranks, threads] = json.load(file)
    alone = told.pop((1, 1))
    steps = {place.rpartition(" ")[0] for place in alone}
    assert len(steps) == 24 and len(alone) == 4 * len(steps)
    assert len({digest for digest, _ in alone.values()}) > 3 * len(steps)      # they do differ from each other
    assert all(other == alone for other in told.values())
