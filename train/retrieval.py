"""Retrieval: rank all captions for an image and all images for a caption, and count how often the right one leads.

Rows of the result, each measured on the same disjoint folds:

    itm                  the ITM head alone, every image with every caption (paper section 5.5)
    itm_shuffled         the control: the same with regions moved between images, first fold only; stays at chance
    contrastive          cosines of image-only and text-only vectors (not in the paper)
    reranked             the contrastive best k, ordered anew by the ITM head (not in the paper)
"""
from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.imagebert import ImageBert
from train.blocks import score_in_blocks
from train.items import Collection, shuffled_regions
from train.packing import SpecialTokens
from train.recall import KS, Ranks, Recall, disjoint_folds, ranks_of, recall_at_k, summarise
from train.scoring import CrossScorer, contrastive_scores

HASH, FILE = "hash", "file"
ITM, CONTROL, CONTRASTIVE, RERANKED = "itm", "itm_shuffled", "contrastive", "reranked"


@dataclasses.dataclass(frozen=True, slots=True)
class RetrievalConfig:
    """How much is ranked, and how the work is cut."""

    folds: int = 5
    fold_size: int = 200           # images of one fold; 0 ranks all of them together (COCO 5k)
    fold_order: str = HASH         # hash: of the keys, no caption twice in a fold; file: consecutive images (COCO 1k)
    captions: int = 0              # the first ones of an image; 0: all
    rerank: int = 20               # k of the pre-ranker; 0 leaves the row out
    control: bool = True           # measure with shuffled regions, too
    rows_per_block: int = 20       # images of one committed block of scores
    workers: int = 2               # threads that score
    tokens_per_batch: int = 0      # 0: by the device
    seed: int = 0                  # of the bootstrap

    def __post_init__(self) -> None:
        for name, least in (("folds", 1), ("rows_per_block", 1), ("workers", 1), ("tokens_per_batch", 0), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        if self.fold_order not in (HASH, FILE):
            raise ValueError(f"fold_order is {self.fold_order!r}; choose {HASH} or {FILE}")
        if self.captions < 0:
            raise ValueError(f"captions is {self.captions}; it must be 0 (all) or more")
        if self.fold_size < 0 or self.fold_size == 1:
            raise ValueError(f"fold_size is {self.fold_size}; it must be 0 (all images) or at least 2")
        if self.rerank and self.rerank < max(KS):
            raise ValueError(f"rerank is {self.rerank}; it must be 0 (off) or at least {max(KS)}, "
                             f"since recall@{max(KS)} is reported")


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One way to rank, measured."""

    name: str                      # itm, itm_shuffled, contrastive, reranked
    recalls: tuple[Recall, ...]
    images: int                    # over all folds
    captions: int
    facts: tuple[tuple[str, float], ...] = ()    # reranked: recall of the pre-ranker at k, by direction

    def recall(self, direction: str, k: int) -> Recall:
        """Returns one of the recalls."""
        return next(one for one in self.recalls if (one.direction, one.k) == (direction, k))


def folds_of(collection: Collection, config: RetrievalConfig) -> list[Collection]:
    """Returns disjoint folds, in the order of a hash of the keys or of the file; a single one where images are few."""
    size = config.fold_size or len(collection)
    if config.captions:
        collection = collection.first_captions(config.captions)
    if config.fold_order == HASH:
        indices = disjoint_folds(collection.keys, collection.caption_names(), size, config.folds)
    else:
        whole = min(config.folds, max(1, len(collection) // size))
        indices = [list(range(len(collection)))[number * size:(number + 1) * size] for number in range(whole)]
    return [collection.take(fold, f"{collection.name}, fold {number}") for number, fold in enumerate(indices)]


def measure(model: ImageBert, collection: Collection, special: SpecialTokens, config: RetrievalConfig, *,
            folder: str = "", weights_digest: str = "", on_pairs: Callable[[int], None] | None = None,
            ) -> tuple[Row, ...]:
    """Returns all rows that this model and config allow.

    Args:
        folder: where blocks of scores are kept, so that an interrupted evaluation goes on; "" keeps none.
        weights_digest: names the weights in the blocks' identity.
        on_pairs: called with the number of pairs scored by the ITM head.
    """
    folds = folds_of(collection, config)

    def itm_scores(fold: Collection) -> NDArray[np.float32]:
        scorer = CrossScorer(model, fold, special, config.tokens_per_batch)
        identity: Any = {"weights": weights_digest, "items": fold.digest()}
        return score_in_blocks(scorer.rows, scorer.num_images, scorer.num_captions, folder, identity,
                               rows=config.rows_per_block, workers=config.workers, on_block=on_pairs)

    owners = [fold.flat_captions()[1] for fold in folds]
    full = [itm_scores(fold) for fold in folds]
    rows = [_row(ITM, [ranks_of(s, o) for s, o in zip(full, owners, strict=True)], config)]
    if config.control:
        rows.append(_row(CONTROL, [ranks_of(itm_scores(shuffled_regions(folds[0])), owners[0])], config))
    if model.contrast is not None:
        cosines = [contrastive_scores(model, fold, special) for fold in folds]
        rows.append(_row(CONTRASTIVE, [ranks_of(s, o) for s, o in zip(cosines, owners, strict=True)], config))
        if config.rerank:
            rows.append(_reranked(cosines, full, owners, config))
    return tuple(rows)


def pairs_to_score(collection: Collection, config: RetrievalConfig) -> int:
    """Returns how many pairs the ITM head will score in `measure`: the length of its progress bar."""
    folds = folds_of(collection, config)
    each = [len(fold) * fold.num_captions for fold in folds]
    return sum(each) + (each[0] if config.control and each else 0)


def rerank(cosines_IC: NDArray[np.float32], itm_IC: NDArray[np.float32], owner_C: NDArray[np.int64], k: int) -> Ranks:
    """Returns ranks when the first k by cosine are ordered by the ITM head and the rest stay behind them.

    With k of all candidates the ranks are those of the ITM head.
    """
    by_image = ranks_of(_first_k_by_other(cosines_IC, itm_IC, k), owner_C)
    by_caption = ranks_of(_first_k_by_other(cosines_IC.T, itm_IC.T, k).T, owner_C)
    return Ranks(by_image.image_to_text_I, by_caption.text_to_image_C, owner_C)


def _first_k_by_other(first_QN: NDArray[np.float32], second_QN: NDArray[np.float32], k: int) -> NDArray[np.float64]:
    """Returns scores that order each row's best k of `first` by `second`, above all others, ordered by `first`."""
    k = min(k, first_QN.shape[1])
    best = np.argsort(-first_QN, axis=1, kind="stable")[:, :k]
    span = float(np.ptp(first_QN)) + 1.0
    result = first_QN.astype(np.float64) - float(first_QN.max()) - span + float(second_QN.min())    # below any second
    np.put_along_axis(result, best, np.take_along_axis(second_QN, best, axis=1).astype(np.float64), axis=1)
    return result


def _reranked(cosines: list[NDArray[np.float32]], full: list[NDArray[np.float32]], owners: list[NDArray[np.int64]],
              config: RetrievalConfig) -> Row:
    ranks = [rerank(c, s, o, config.rerank) for c, s, o in zip(cosines, full, owners, strict=True)]
    found = [recall_at_k(c, o, [config.rerank]) for c, o in zip(cosines, owners, strict=True)]
    facts = tuple((f"prerank/{name}", round(float(np.mean([one[name] for one in found])), 6)) for name in found[0])
    return dataclasses.replace(_row(RERANKED, ranks, config), facts=facts)


def _row(name: str, ranks: list[Ranks], config: RetrievalConfig) -> Row:
    return Row(name, summarise(ranks, KS, config.seed), images=sum(len(r.image_to_text_I) for r in ranks),
               captions=sum(len(r.image_of_caption) for r in ranks))
