"""Training and evaluation on a GPU against VisualBERT and BERT of transformers, parts of a few minutes each.

    python -m benchmarks.train_gpu --part ours|visualbert|bert|attention|eval|data|all [--tiny] [--reduced]

Each part writes benchmarks/results/train_gpu_PART.json before the next begins.  A rate is given in pairs (one image
and its caption through the encoder) a second and as a share of C, the rate of large bf16 matrix products measured in
the same run, by one formula for both sides: useful operations of real tokens and the heads that are built
(train/flops.py).  `--tiny` runs every part in seconds with a small model on whatever device there is: it tries the
program, its figures mean nothing and are not written.  The peers need transformers.
"""
from __future__ import annotations

import argparse
import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from benchmarks.machine import write_result
from model.config import ModelConfig
from model.imagebert import ImageBert, PaddedAttention
from model.inputs import Pack
from model.losses import LossWeights, covered_by
from train.flops import training_flops
from train.masking import MaskingConfig, plan_masks
from train.negatives import pairs_for_itm
from train.packing import Capacity, Sample, SpecialTokens, build_pack
from train.ranks import Ranks
from train.schedule import OptimizerConfig, build_optimizer
from train.step import StepGradient
from train.step_budget import StepBudget
from train.stream import Step

WORDS, REGIONS = 17, 100           # 17 pieces with [CLS] and two [SEP] are 20 word tokens
_GOALS = {"fixed": 0.50, "variable": 0.45, "eval": 0.50}


@dataclasses.dataclass(frozen=True, slots=True)
class Size:
    """How large everything is."""

    model: ModelConfig
    pairs: int                     # in a pack
    warmup: int
    steps: int
    device: torch.device

    @property
    def special(self) -> SpecialTokens:
        """Returns the ids that a layout needs."""
        return SpecialTokens(2, 3, 4, self.model.vocab_size, (0, 1, 2, 3, 4))


def size_of(tiny: bool, reduced: bool) -> Size:
    """Returns the paper's model without attention dropout, or a small one."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if tiny:
        return Size(ModelConfig(vocab_size=200, hidden=32, layers=2, heads=2, intermediate=64, feature_dim=48,
                                num_classes=20, attention_dropout=0.0), 8, 1, 2, device)
    return Size(ModelConfig(attention_dropout=0.0), 1024, 5 if reduced else 20, 20 if reduced else 100, device)


def samples(size: Size, variable: bool) -> list[Sample]:
    """Returns made pairs: 100 regions and 17 pieces each, or 10 to 100 regions and 5 to 30 pieces."""
    rng = np.random.default_rng(1)
    made = []
    for number in range(size.pairs):
        regions = int(rng.integers(10, 101)) if variable else REGIONS
        words = int(rng.integers(5, 31)) if variable else WORDS
        corner = rng.uniform(0, 0.5, (regions, 2))
        made.append(Sample(
            key=f"{number:032x}", key_hash=number, words=rng.integers(5, size.model.vocab_size, words),
            features=rng.integers(0, 256, (regions, size.model.feature_dim), dtype=np.uint8),
            scale=np.full(regions, 1 / 255, np.float32), zero=np.zeros(regions, np.float32),
            boxes=np.concatenate([corner, corner + 0.3], axis=1).astype(np.float32),
            classes=rng.integers(0, size.model.num_classes, regions), image_hash=number, group_hash=number,
            caption_hash=number))
    return made


def pack_of(size: Size, chosen: list[Sample]) -> Pack:
    """Returns a full pack of the chosen pairs, half of them with another's caption, masked as the paper's."""
    rows, _ = pairs_for_itm(chosen, "half", 0.5, 1)
    regions = sum(len(one.classes) for one in chosen)
    pieces = sum(len(one.words) for one in chosen)
    tokens = regions + pieces + 3 * len(chosen)
    capacity = Capacity(tokens=tokens, sequences=len(chosen), words=pieces + 3 * len(chosen), regions=regions,
                        distinct=regions, masked_words=int(0.2 * pieces) + 8, masked_regions=int(0.2 * regions) + 8,
                        contrasts=0, max_tokens=size.model.max_tokens)
    return build_pack(chosen, rows, size.special, capacity, plan_masks(chosen, size.special, MaskingConfig(), 1))


def timed(size: Size, step: Callable[[], object]) -> float:
    """Returns seconds a step, after the warm-up."""
    for _ in range(size.warmup):
        step()
    _wait(size)
    begun = time.perf_counter()
    for _ in range(size.steps):
        step()
    _wait(size)
    return (time.perf_counter() - begun) / size.steps


def matmul_rate(size: Size) -> float:
    """Returns C, operations a second of large bf16 matrix products here and now."""
    side = 256 if size.device.type == "cpu" else 8192
    one, two = (torch.randn(side, side, device=size.device, dtype=torch.bfloat16) for _ in range(2))
    seconds = min(timed(dataclasses.replace(size, warmup=5, steps=10), lambda: one @ two) for _ in range(3))
    return 2 * side ** 3 / seconds


def part_ours(size: Size) -> Iterator[dict[str, Any]]:
    """Our training step, fixed and variable lengths; each optimisation left out in turn."""
    for variable in (False, True):
        chosen = samples(size, variable)
        pack = pack_of(size, chosen)
        flops = training_flops(size.model, pack)
        padding = 1 - pack.tokens / len(pack.token_source)
        for name, compiled, precision, dropout in (
                ("as lait_base_fast", True, "auto", 0.0), ("not compiled", False, "auto", 0.0),
                ("attention dropout 0.1: padded attention", True, "auto", 0.1), ("f32", True, "f32", 0.0)):
            torch.manual_seed(1)
            model = ImageBert(dataclasses.replace(size.model, attention_dropout=dropout)).to(size.device).train()
            gradient = StepGradient(model, LossWeights(), (1, 0), precision, compiled=compiled)
            optimizer = build_optimizer(model, OptimizerConfig())
            step = Step(0, 0, len(chosen), ((0, pack),), (), 0, covered_by(pack), {0: ()}, 0.0, 0.0, ())
            budget = StepBudget(size.device)

            def one(gradient: StepGradient = gradient, step: Step = step, budget: StepBudget = budget,
                    optimizer: torch.optim.Optimizer = optimizer) -> None:
                gradient.run(step, Ranks(), 1.0, 0, budget)
                gradient.finish(1.0, 1.0)
                optimizer.step()

            begun = time.perf_counter()
            one()
            _wait(size)
            first = time.perf_counter() - begun
            seconds = timed(size, one)
            yield {"case": "variable" if variable else "fixed", "variant": name,
                   "pairs_a_second": len(chosen) / seconds, "tflops": flops / seconds / 1e12,
                   "padding": padding, "first_step_seconds": first,
                   "memory_gib": _memory(size)}
            del model, gradient, optimizer


def part_visualbert(size: Size) -> Iterator[dict[str, Any]]:
    """transformers' VisualBertForPreTraining on the same pairs, padded: eager and compiled, the same dropout."""
    from transformers import VisualBertConfig, VisualBertForPreTraining
    config = VisualBertConfig(
        vocab_size=size.model.vocab_size, hidden_size=size.model.hidden, num_hidden_layers=size.model.layers,
        num_attention_heads=size.model.heads, intermediate_size=size.model.intermediate,
        visual_embedding_dim=size.model.feature_dim, attention_probs_dropout_prob=0.0)
    for variable in (False, True):
        chosen = samples(size, variable)
        flops = training_flops(size.model, pack_of(size, chosen))
        for compiled in (False, True):
            model = VisualBertForPreTraining(config).to(size.device).train()
            forward = torch.compile(model) if compiled else model
            optimizer = torch.optim.AdamW(model.parameters(), 1e-4, fused=True)
            inputs = _padded(size, chosen)

            def one(forward: Any = forward, inputs: dict[str, torch.Tensor] = inputs,
                    optimizer: torch.optim.Optimizer = optimizer) -> None:
                with torch.autocast(size.device.type, torch.bfloat16):
                    loss = forward(**inputs).loss
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()

            seconds = timed(size, one)
            yield {"case": "variable" if variable else "fixed", "variant": "compiled" if compiled else "eager",
                   "pairs_a_second": len(chosen) / seconds, "tflops": flops / seconds / 1e12,
                   "memory_gib": _memory(size)}
            del model, forward, optimizer


def part_bert(size: Size) -> Iterator[dict[str, Any]]:
    """A strong baseline: transformers' BertModel with SDPA on the padded pairs' embeddings, compiled, without heads."""
    from transformers import BertConfig, BertModel
    config = BertConfig(vocab_size=size.model.vocab_size, hidden_size=size.model.hidden,
                        num_hidden_layers=size.model.layers, num_attention_heads=size.model.heads,
                        intermediate_size=size.model.intermediate, attention_probs_dropout_prob=0.0,
                        attn_implementation="sdpa")
    for variable in (False, True):
        chosen = samples(size, variable)
        pack = pack_of(size, chosen)
        model = BertModel(config).to(size.device).train()
        forward = torch.compile(model)
        optimizer = torch.optim.AdamW(model.parameters(), 1e-4, fused=True)
        lengths = torch.tensor([len(one.classes) + len(one.words) + 3 for one in chosen], device=size.device)
        longest = int(lengths.max())
        mask = (torch.arange(longest, device=size.device) < lengths[:, None]).long()
        embedded = torch.randn(len(chosen), longest, size.model.hidden, device=size.device)

        def one(forward: Any = forward, embedded: torch.Tensor = embedded, mask: torch.Tensor = mask,
                optimizer: torch.optim.Optimizer = optimizer) -> None:
            with torch.autocast(size.device.type, torch.bfloat16):
                loss = forward(inputs_embeds=embedded, attention_mask=mask).last_hidden_state.float().square().mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

        seconds = timed(size, one)
        yield {"case": "variable" if variable else "fixed", "variant": "encoder alone, compiled",
               "pairs_a_second": len(chosen) / seconds,
               "tflops_as_if_with_heads": training_flops(size.model, pack) / seconds / 1e12}
        del model, forward, optimizer


def part_attention(size: Size) -> Iterator[dict[str, Any]]:
    """Attention alone, forward and backward, on lengths of 30 to 144: the variable-length kernel and padded views."""
    from torch.nn.attention.varlen import varlen_attn
    rng = np.random.default_rng(1)
    lengths = torch.from_numpy(rng.integers(30, 145, size.pairs)).to(size.device)
    starts = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]).int()
    tokens, heads, width = int(starts[-1]), size.model.heads, size.model.hidden // size.model.heads
    qkv = torch.randn(tokens, 3, heads, width, device=size.device, dtype=torch.bfloat16, requires_grad=True)
    padded = PaddedAttention(starts, 144, tokens)

    def kernel() -> torch.Tensor:
        q, k, v = qkv.unbind(1)
        return varlen_attn(q, k, v, starts, starts, 144, 144)

    for name, run in (("padded SDPA", lambda: padded(qkv, 0.0)), ("varlen_attn", kernel)):
        if name == "varlen_attn" and size.device.type != "cuda":
            yield {"variant": name, "not_run": "the kernel needs a GPU"}
            continue

        def one(run: Callable[[], torch.Tensor] = run) -> None:
            qkv.grad = None
            run().float().square().mean().backward()

        yield {"variant": name, "milliseconds": timed(size, one) * 1e3, "tokens": tokens}


def part_eval(size: Size) -> Iterator[dict[str, Any]]:
    """Scoring a cross product of images and captions with the matching head, fp32 logits."""
    from train.items import Collection
    from train.scoring import CrossScorer
    chosen = samples(dataclasses.replace(size, pairs=min(size.pairs, 200)), variable=False)
    captions = 5 if size.pairs > 8 else 1
    collection = Collection("made", tuple(chosen), tuple((one.words,) * captions for one in chosen))
    model = ImageBert(size.model).to(size.device).eval()
    scorer = CrossScorer(model, collection, size.special)

    def one() -> None:
        with torch.autocast(size.device.type, torch.bfloat16, enabled=size.device.type == "cuda"):
            scorer.rows(0, scorer.num_images)

    seconds = timed(dataclasses.replace(size, warmup=1, steps=2), one)
    pairs = scorer.num_images * scorer.num_captions
    length, width = REGIONS + WORDS + 3, size.model.hidden
    a_token = 8 * width ** 2 + 4 * width * size.model.intermediate + 4 * width * length
    each = size.model.layers * length * a_token
    yield {"pairs": pairs, "pairs_a_second": pairs / seconds, "tflops": pairs * each / seconds / 1e12}


def part_data(size: Size) -> Iterator[dict[str, Any]]:
    """The step's copies: a pack from pinned memory to the device, beside the bytes that f16 features would take."""
    pack = pack_of(size, samples(size, variable=False)).fixed()
    bytes_of = sum(getattr(pack, field.name).nbytes for field in dataclasses.fields(pack)
                   if isinstance(getattr(pack, field.name), torch.Tensor))
    seconds = timed(size, lambda: pack.to(size.device))
    yield {"pack_mib": bytes_of / 2 ** 20, "copy_milliseconds": seconds * 1e3, "gb_a_second": bytes_of / seconds / 1e9,
           "pack_mib_with_f16": (bytes_of + pack.features.nbytes) / 2 ** 20}


PARTS: dict[str, Callable[[Size], Iterator[dict[str, Any]]]] = {
    "ours": part_ours, "visualbert": part_visualbert, "bert": part_bert, "attention": part_attention,
    "eval": part_eval, "data": part_data}


def main() -> None:
    """Runs the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", required=True, choices=(*PARTS, "all"))
    parser.add_argument("--tiny", action="store_true", help="try the program in seconds; no figures are kept")
    parser.add_argument("--reduced", action="store_true", help="20 steps instead of 100, for --part all")
    args = parser.parse_args()
    size = size_of(args.tiny, args.reduced)
    if size.device.type != "cuda" and not args.tiny:
        raise SystemExit("no GPU here; --tiny tries the program without one")
    torch.set_float32_matmul_precision("high")
    for name in PARTS if args.part == "all" else (args.part,):
        rate = matmul_rate(size)
        rows = []
        for row in PARTS[name](size):
            shares = {f"share_of_c_{key}": value * 1e12 / rate for key, value in row.items()
                      if key.startswith("tflops")}
            rows.append({key: _rounded(value) for key, value in (row | shares).items()})
            print(json.dumps(rows[-1]), flush=True)
        result = {"part": name, "device": torch.cuda.get_device_name() if size.device.type == "cuda" else "cpu",
                  "torch": torch.__version__, "c_tflops": _rounded(rate / 1e12), "goals_share_of_c": _GOALS,
                  "pairs": size.pairs, "steps": size.steps, "rows": rows}
        if not args.tiny:
            write_result(f"train_gpu_{name}", f"python -m benchmarks.train_gpu --part {name}", result)


def _padded(size: Size, chosen: list[Sample]) -> dict[str, torch.Tensor]:
    """Returns VisualBERT's inputs: words first, padded to the longest, then regions, padded to the most."""
    words, regions = max(len(one.words) for one in chosen) + 2, max(len(one.classes) for one in chosen)
    count, place = len(chosen), torch.arange
    num_words = torch.tensor([len(one.words) + 2 for one in chosen])
    num_regions = torch.tensor([len(one.classes) for one in chosen])
    rng = torch.Generator().manual_seed(1)
    ids = torch.randint(5, size.model.vocab_size, (count, words), generator=rng)
    labels = torch.full((count, words + regions), -100)
    chance = torch.rand(count, words, generator=rng)
    labels[:, :words] = torch.where(chance < 0.15, ids, -100)
    found = {"input_ids": ids, "attention_mask": (place(words) < num_words[:, None]).long(),
             "visual_embeds": torch.rand(count, regions, size.model.feature_dim, generator=rng),
             "visual_attention_mask": (place(regions) < num_regions[:, None]).long(),
             "visual_token_type_ids": torch.ones(count, regions, dtype=torch.long), "labels": labels,
             "sentence_image_labels": torch.randint(0, 2, (count,), generator=rng)}
    return {name: tensor.to(size.device) for name, tensor in found.items()}


def _wait(size: Size) -> None:
    if size.device.type == "cuda":
        torch.cuda.synchronize()


def _memory(size: Size) -> float:
    if size.device.type != "cuda":
        return 0.0
    found = torch.cuda.max_memory_allocated() / 2 ** 30
    torch.cuda.reset_peak_memory_stats()
    return found


def _rounded(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) and math.isfinite(value) else value


if __name__ == "__main__":
    main()
