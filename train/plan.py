"""What a training run is: a model, an order, and stages one after the other.

A stage carries the weights over and starts optimizer and schedule afresh (paper, section 4).
"""
from __future__ import annotations

import dataclasses

from crawl.errors import UsageError
from model.config import ModelConfig
from model.losses import LOSSES, LossWeights
from train.every_caption import BEST, CAPTIONS
from train.masking import MaskingConfig
from train.mixture import parse_part
from train.order import PackLimits
from train.packing import Capacity
from train.precision import AUTO, PRECISIONS
from train.predicates import parse_predicate
from train.schedule import OptimizerConfig

SOFT_CLASSES = 8       # most likely classes that a region file has (shards/regions.py)
_JOINT = {"half": 1, "triple": 3}      # joint sequences a sample


@dataclasses.dataclass(frozen=True, slots=True)
class StageConfig:
    """One stage of the plan; 0 samples and 0 epochs leave it out."""

    name: str
    samples: int = 0               # image-caption pairs over all lanes
    epochs: float = 0.0            # or passes over the stage's data; the run turns them into samples
    data: tuple[str, ...] = ()     # sets by name, NAME or NAME=SHARE; empty: all that were given, each once
    where: tuple[str, ...] = ()    # which of their samples, such as "score >= 0.5"
    pairs: int = 24                # in a pack, of one lane
    tokens: int = 0                # in a pack, over all its sequences; 0 fits `pairs` of the longest
    itm: str = "half"              # half: a pair or a negative; triple: a pair and two negatives (section 3.4)
    negatives: float = 0.5         # P(an image gets another's caption), for `half`
    hard: float = 0.0              # share of the wrong pairs that the contrastive head takes for right (ALBEF), ...
    hard_after: float = 0.7        # ... once ITM tells so many of the random ones (train/hard_gate.py)
    weights: LossWeights = LossWeights()
    masking: MaskingConfig = MaskingConfig()
    optimizer: OptimizerConfig = OptimizerConfig()

    def __post_init__(self) -> None:
        if self.samples < 0 or self.epochs < 0 or self.pairs < 1 or self.tokens < 0:
            raise ValueError(f"samples {self.samples}, epochs {self.epochs} and tokens {self.tokens} must be 0 or "
                             f"more, pairs {self.pairs} at least 1")
        if self.samples and self.epochs:
            raise ValueError(f"stage {self.name!r} has {self.samples} samples and {self.epochs} epochs; one of them "
                             f"must be 0")
        for part in self.data:
            parse_part(part)
        for predicate in self.where:
            parse_predicate(predicate)
        for name in ("negatives", "hard", "hard_after"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it is a share, 0 to 1")
        if self.hard and not (self.weights.contrastive and self.weights.itm):
            raise ValueError(f"hard is {self.hard}, but the contrastive head chooses hard pairs and ITM learns from "
                             f"them: weights.contrastive and weights.itm must be above 0 (stage {self.name!r})")
        if self.itm not in _JOINT:
            raise ValueError(f"itm is {self.itm!r}; it is one of {', '.join(_JOINT)}")

    @property
    def on(self) -> bool:
        """Returns whether the stage is run."""
        return self.samples > 0 or self.epochs > 0

    @property
    def joint(self) -> int:
        """Returns how many sequences show image and caption of a sample together: none without the four losses."""
        used = any(getattr(self.weights, name) for name in LOSSES if name != "contrastive")
        return _JOINT[self.itm] if used else 0

    @property
    def singles(self) -> bool:
        """Returns whether image-only and text-only sequences are needed: the contrastive loss is on."""
        return self.weights.contrastive > 0


@dataclasses.dataclass(frozen=True, slots=True)
class TrainConfig:
    """A whole run; written beside its checkpoints."""

    name: str
    model: ModelConfig
    plan: tuple[StageConfig, ...]  # stages in order; one is set by its name: --set pretrain.samples=N
    bert: str = ""                 # weights file of a BERT to start from; "" starts from random weights
    seed: int = 1
    lanes: int = 2                 # packs in a step, whatever the number of ranks
    window: int = 64               # shards shuffled together
    regions: int = 100             # the most confident ones of an image
    captions: str = BEST           # of an image with several: best, one (drawn every epoch), all (each is a sample)
    checkpoint_samples: int = 50_000   # between two checkpoints
    log_samples: int = 1200        # between two lines of the metrics log
    probe_samples: int = 0         # between two measurements on held-out pairs (train/probe.py); 0: none
    probe_images: int = 200        # that are ranked against ...
    probe_captions: int = 1000     # ... so many held-out captions
    ema_samples: int = 0           # mean life of the averaged weights kept beside the trained ones; 0 keeps none
    precision: str = AUTO          # f32, bf16, fp16 (with a loss scale); auto: bf16 on a GPU, f32 on the CPU
    compile: bool = False          # torch.compile, one graph without breaks
    recompute: bool = False        # layers' activations in the backward again, instead of keeping them
    deterministic: bool = False    # the same bits on a GPU in every run, for slower kernels; a CPU has them anyway
    device_tflops: float = 0.0     # what the device reaches on large matrices, for the share used; 0: not known
    damaged: str = "stop"          # or "skip": what to do at a sample that cannot be read; part of the state
    cache_mib: int = 256           # decoded samples kept in memory, a rank
    window_cache_mib: int = 32_768   # shards of an object store kept on the local disk (TMPDIR), a rank
    compute_threads: int = 0       # of torch, a rank; 0 leaves torch's own choice

    def __post_init__(self) -> None:
        for name in ("lanes", "window", "regions", "checkpoint_samples", "log_samples"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision is {self.precision!r}; it is one of {', '.join(PRECISIONS)}")
        for name in ("cache_mib", "window_cache_mib", "compute_threads", "ema_samples", "device_tflops",
                     "probe_samples"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 0")
        if self.captions not in CAPTIONS:
            raise ValueError(f"captions is {self.captions!r}; it is one of {', '.join(CAPTIONS)}")
        if not 1 <= self.probe_images <= self.probe_captions:
            raise ValueError(f"probe_images is {self.probe_images}; it must be 1 to probe_captions "
                             f"({self.probe_captions})")
        if self.damaged not in ("stop", "skip"):
            raise ValueError(f"damaged is {self.damaged!r}; it is stop or skip")
        names = [stage.name for stage in self.plan]
        if len(set(names)) < len(names) or not all(name.isidentifier() for name in names):
            raise ValueError(f"the stages are named {names}; each needs a name of its own, letters and _ only")
        if not self.stages():
            raise ValueError(f"no stage has samples; set {' or '.join(f'{name}.samples' for name in names)}")
        if self.model.contrastive_dim == 0 and any(stage.singles for _, stage in self.stages()):
            raise ValueError("a stage has a contrastive loss, but model.contrastive_dim is 0")

    def stages(self) -> list[tuple[str, StageConfig]]:
        """Returns the stages that are run, in order, with their names."""
        return [(stage.name, stage) for stage in self.plan if stage.on]

    def stage(self, name: str) -> StageConfig:
        """Returns a stage by its name, run or not; raises KeyError for none."""
        return {stage.name: stage for stage in self.plan}[name]

    def with_stage(self, changed: StageConfig) -> TrainConfig:
        """Returns the config with the stage of this name replaced."""
        return dataclasses.replace(self, plan=tuple(changed if stage.name == changed.name else stage
                                                    for stage in self.plan))


@dataclasses.dataclass(frozen=True, slots=True)
class DataFacts:
    """What the data decides about a model."""

    vocab_size: int
    feature_dim: int
    num_classes: int
    max_regions: int               # of an image, after TrainConfig.regions
    max_words: int                 # word pieces of a caption
    has_soft: bool = False         # whether the regions have class probabilities
    has_classes: bool = True       # whether the regions say what they are; without, num_classes is 1


def check_facts(config: TrainConfig, facts: DataFacts) -> None:
    """Raises UsageError where the model and the data do not fit each other."""
    for name in ("vocab_size", "feature_dim", "num_classes"):
        if getattr(config.model, name) != getattr(facts, name):
            raise UsageError(f"run {config.name!r} has model.{name}={getattr(config.model, name)}, the shards have "
                             f"{getattr(facts, name)}; --set model.{name}={getattr(facts, name)}, or other shards")
    asked = [name for name, stage in config.stages() if stage.weights.moc]
    if asked and not facts.has_classes:
        raise UsageError(f"the regions of these shards have no classes, which MOC predicts (stage {asked[0]}); extract "
                         f"them from a source that has classes, or --set {asked[0]}.weights.moc=0")
    asked = [name for name, stage in config.stages() if stage.weights.mrc_kl]
    if asked and not facts.has_soft:
        raise UsageError(f"the regions of these shards have no class probabilities, which MRC-kl is about (stage "
                         f"{asked[0]}); extract them with soft_classes from a source that has them, or --set "
                         f"{asked[0]}.weights.mrc_kl=0")
    extra = config.model.image_extra
    longest = facts.max_regions + facts.max_words + 3 + extra
    if longest > config.model.max_tokens:
        left = config.model.max_tokens - facts.max_words - 3 - extra
        fewer = f" or --set regions={left}" if left > 0 else ""
        raise UsageError(f"a sequence of {facts.max_regions} regions and {facts.max_words} word pieces has {longest} "
                         f"tokens, model.max_tokens is {config.model.max_tokens}; --set model.max_tokens={longest}"
                         f"{fewer}")


def limits_of(stage: StageConfig, config: TrainConfig, facts: DataFacts) -> PackLimits:
    """Returns when a pack of the stage is full."""
    extra = config.model.image_extra
    return PackLimits(stage.pairs, stage.tokens or _most_tokens(stage, facts, extra), stage.joint, stage.singles, extra)


def capacity_of(stage: StageConfig, config: TrainConfig, facts: DataFacts) -> Capacity:
    """Returns the fixed sizes of the stage's packs.

    Masked lists have room for 1.5 times the expected share; what a rare draw has beyond it stays unmasked.
    """
    kinds = stage.joint + 2 * stage.singles
    extra = config.model.image_extra
    tokens = max(stage.tokens or _most_tokens(stage, facts, extra),
                 _most_tokens(dataclasses.replace(stage, pairs=1), facts, extra))
    pieces, regions = stage.pairs * facts.max_words, stage.pairs * facts.max_regions
    sequences = stage.pairs * kinds
    halves = stage.joint + stage.singles        # sequences that show the same half of a sample
    predicted = 1 if stage.masking.gated else stage.joint      # of these, ones in which what is masked is predicted
    return Capacity(
        tokens=tokens, sequences=sequences, words=min(tokens, pieces * halves + (3 + extra) * sequences),
        regions=min(tokens, regions * halves), distinct=min(tokens, regions),
        masked_words=_room(stage.masking.words, min(tokens, predicted * pieces)) if stage.joint else 0,
        masked_regions=_room(stage.masking.regions, min(tokens, predicted * regions)) if stage.joint else 0,
        contrasts=stage.pairs if stage.singles else 0, max_tokens=config.model.max_tokens,
        soft=SOFT_CLASSES if stage.weights.mrc_kl else 0)


def _room(share: float, count: int) -> int:
    return min(count, int(1.5 * share * count) + 8)


def _most_tokens(stage: StageConfig, facts: DataFacts, extra: int) -> int:
    one = facts.max_regions + facts.max_words + extra
    return stage.pairs * ((one + 3) * stage.joint + (one + 4) * stage.singles)
