"""What a checkpoint was trained on: arithmetic on the order, nothing is recorded a sample.

The order is a pure function of config and shards, and a checkpoint says where each lane of each stage was; so how often
a sample was shown can be computed for any sample, and every planned sample is either consumed or an empty slot.
"""
from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from crawl.errors import UsageError
from train.checkpoint import RunState
from train.data import REMOVED, TrainingData
from train.plan import TrainConfig


@dataclasses.dataclass(frozen=True, slots=True)
class Use:
    """A sample in one stage."""

    stage: str
    shown: int                     # times
    skipped: int                   # times an empty slot stood in its place
    why: str                       # of the empty slot, "" for none


def uses(data: TrainingData, config: TrainConfig, state: RunState, number: int) -> list[Use]:
    """Returns what each stage that has begun did with a sample, by its number in the plan.

    A sample that was removed while the run went on is told as removed, though it may have been shown before.
    """
    stages = config.stages()
    ended = state.stages_done if state.finished else (*state.stages_done, state.lanes)
    why = dict(state.skipped).get(number, "") or data.skipped.get(number, "")
    found = []
    for stage, lanes in enumerate(ended):
        if not lanes:
            continue
        times = sum(lane.uses(number, at) for lane, at in zip(data.lanes(config, stage), lanes, strict=True))
        found.append(Use(stages[stage][0], 0 if why else times, times if why else 0, why))
    return found


def keys_of_url(data: TrainingData, url: str) -> Iterator[str]:
    """Yields the keys of samples whose image or page has this address, from the shards' tables."""
    import pyarrow.compute as compute
    import pyarrow.parquet as parquet
    for shards in data.sets.values():
        for shard in shards.of_split("train"):
            if not shard.table:
                raise UsageError(f"{shards.directory}/{shard.name} has no table of addresses; ask by the sample's key")
            table = parquet.read_table(shards.path(shard.table), columns=["key", "image_url", "page_url"])
            held = compute.or_(compute.equal(table["image_url"], url), compute.equal(table["page_url"], url))
            yield from (str(key) for key in table.filter(held)["key"].to_pylist())


def answer(data: TrainingData, config: TrainConfig, state: RunState, asked: str) -> list[dict[str, Any]]:
    """Returns for every sample that a key or an address names what each stage did with it, as plain JSON.

    Empty when the training split has no such sample: it was never trained on.
    """
    keys = list(dict.fromkeys(keys_of_url(data, asked))) if "://" in asked else [asked]
    rows = []
    for key in keys:
        for number in data.numbers_of(key):
            told = [dataclasses.asdict(use) for use in uses(data, config, state, number)]
            rows.append({"key": key, "set": data.set_of(number), "removed_now": data.skipped.get(number) == REMOVED,
                         "stages": told})
    return rows
