"""Finished runs of the claims in: recall of every arm, and every claim with its difference, interval and verdict."""
from __future__ import annotations

import dataclasses
import json
import math
import pathlib
import statistics
import threading
from collections.abc import Sequence
from typing import Any

from benchmarks.machine import write_result

# Student's t, two-sided 95 %, by degrees of freedom.
_T95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}
_LARGE = 1.96
_DIRECTIONS = ("image_to_text", "text_to_image")
_WRITING = threading.Lock()


@dataclasses.dataclass(frozen=True, slots=True)
class Claim:
    """One arm should be better than another."""

    says: str
    better: str
    than: str
    paper: str                     # its own difference of R@1, image / sentence retrieval, or where it says so


CLAIMS = (
    Claim("the raw web and then the clean set, against both mixed in one stage (equal losses, equal pairs of each)",
          "staged", "mixed", "+7.9 / +7.3 (Table 3; its stages had a loss more)"),
    Claim("the raw web first, against the clean set alone for as long", "staged", "public_only",
          "+5.9 / +6.4 (Table 3)"),
    Claim("the clean set last, against the raw web alone for as long", "staged", "web_only", "+32.9 / +39.1 (Table 3)"),
    Claim("the web without its wrong pairs, against the raw one (equal pairs seen)", "filtered", "staged",
          "not measured"),
    Claim("MLM on, against off", "staged", "no_mlm", "not measured"),
    Claim("MOC on, against off", "staged", "no_moc", "not measured"),
    Claim("MRFR on, against off", "staged", "no_mrfr", "+1.7 / +1.5 (Table 4)"),
    Claim("masked losses on matched pairs only, against on all", "staged", "ungated", "stated, not measured"),
    Claim("25 regions, against 9, zero-shot", "regions_25", "staged", "not measured"),
    Claim("25 regions, against 9, fine-tuned", "tuned_regions_25", "tuned", "+4.3 / +3.0 (Table 4, 100 against 36)"),
    Claim("ITM in pre-training, against without, fine-tuned", "tuned", "tuned_no_itm", "not measured"),
    Claim("fine-tuned after pre-training, against from random weights", "tuned", "tuned_from_nothing", "not measured"),
    Claim("fine-tuned with the binary loss, against multi-class", "tuned", "tuned_multiclass", "+2.5 / +1.4 (Table 4)"),
    Claim("fine-tuned with the binary loss, against triplet", "tuned", "tuned_triplet", "+2.5 / +0.2 (Table 4)"),
    Claim("fine-tuned with the binary loss, against the sum of all three", "tuned", "tuned_sum",
          "+1.2 / +0.4 (Table 4)"),
)


def report(work: pathlib.Path, arms: Sequence[str]) -> str:
    """Writes results/claims.json from the finished runs, and returns its claims as lines."""
    with _WRITING:
        runs: dict[str, dict[int, dict[str, float]]] = {arm: {} for arm in arms}
        seconds: dict[str, list[float]] = {arm: [] for arm in arms}
        for path in sorted(work.glob("*.json")):
            one = json.loads(path.read_text())
            if one.get("arm") in runs:
                runs[one["arm"]][one["seed"]] = one["recalls"]
                seconds[one["arm"]].append(one["cpu_seconds"])
        told = [judged(claim, runs[claim.better], runs[claim.than]) for claim in CLAIMS]
        write_result("claims", "python -m benchmarks.claims", {
            "recall is": "the mean of recall@1, 5 and 10 in both directions, in per cent; chance is 2.7",
            "claims": told,
            "arms": {arm: {"seeds": sorted(by_seed), "cpu_seconds_median": statistics.median(seconds[arm]),
                           "recalls": {name: _spread([one[name] for one in by_seed.values()])
                                       for name in next(iter(by_seed.values()))}}
                     for arm, by_seed in runs.items() if by_seed}})
        return "\n".join(f"{one['verdict']:<16} {one['difference']!s:>6} {one['interval']}  {one['claim']}"
                         for one in told)


def judged(claim: Claim, better: dict[int, dict[str, float]], than: dict[int, dict[str, float]]) -> dict[str, Any]:
    """Returns a claim with the paired difference of its arms, in points of recall.

    >>> runs = {seed: {"image_to_text/recall@1": 0.1 * seed} for seed in (1, 2, 3)}
    >>> worse = {seed: {"image_to_text/recall@1": 0.1 * seed - 0.05} for seed in (1, 2, 3)}
    >>> found = judged(CLAIMS[0], runs, worse)
    >>> found["difference"], found["interval"], found["verdict"]
    (5.0, [5.0, 5.0], 'holds')
    """
    seeds = sorted(better.keys() & than.keys())
    each = [100 * (_recall(better[seed]) - _recall(than[seed])) for seed in seeds]
    row: dict[str, Any] = {"claim": claim.says, "arms": [claim.better, claim.than], "seeds": len(seeds)}
    if len(each) < 2:
        verdict, mean, interval = "too few seeds", round(each[0], 2) if each else None, None
    else:
        half = _T95.get(len(each) - 1, _LARGE) * statistics.stdev(each) / math.sqrt(len(each))
        mean = round(statistics.mean(each), 2)
        interval = [round(mean - half, 2), round(mean + half, 2)]
        verdict = "holds" if interval[0] > 0 else "the other way" if interval[1] < 0 else "no effect shown"
    first = {f"recall@1, {name.replace('_', ' ')}": [
        round(100 * (better[seed][f"{name}/recall@1"] - than[seed][f"{name}/recall@1"]), 2) for seed in seeds]
        for name in _DIRECTIONS if all(f"{name}/recall@1" in better[seed] for seed in seeds)}
    return row | {"difference": mean, "interval": interval, "verdict": verdict, "each seed": first,
                  "paper, recall@1 image / sentence retrieval": claim.paper}


def _recall(recalls: dict[str, float]) -> float:
    return statistics.mean(recalls.values())


def _spread(values: list[float]) -> dict[str, float]:
    return {"mean": round(100 * statistics.mean(values), 2), "min": round(100 * min(values), 2),
            "max": round(100 * max(values), 2)}
