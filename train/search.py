"""A sentence over images: the best ones, by the matching head.

With contrastive vectors: cosines with all images first (train/embeddings.py), the matching head on the best of them.
Without, or when asked to: the matching head on every image, after an estimate of the time.
"""
from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable

import numpy as np

from crawl.errors import UsageError
from train.embeddings import CHUNK, Embeddings, embeddings_of, vectors_of
from train.gallery import Gallery, chunks, read_samples
from train.items import Collection, Words
from train.opening import Checkpoint
from train.packing import Sample
from train.progress_bar import Bar
from train.scoring import CrossScorer, caption_samples

_WARM_UP, _MEASURED = 8, 64        # images: the first ones, and those whose time is the estimate


@dataclasses.dataclass(frozen=True, slots=True)
class SearchConfig:
    """What is asked for."""

    top: int = 10                  # results
    rerank: int = 100              # best by cosine that the matching head sees, at least `top`
    full: bool = False             # the matching head on every image, cosines or not

    def __post_init__(self) -> None:
        if self.top < 1 or self.rerank < 1:
            raise ValueError(f"top {self.top} and rerank {self.rerank} must be at least 1")


@dataclasses.dataclass(frozen=True, slots=True)
class Hit:
    """One result."""

    rank: int                      # from 1
    number: int                    # of the image in its gallery
    key: str
    match: float                   # P(sentence and image belong together), by the matching head
    match_logit: float             # what ranks: it still differs where P is 1.000
    cosine: float | None           # of the contrastive vectors, None where they were not computed
    caption: str                   # stored with the image, "" for none
    place: str                     # page or file


@dataclasses.dataclass(frozen=True, slots=True)
class Search:
    """What a search found, and how."""

    query: str
    hits: tuple[Hit, ...]
    images: int                    # searched
    matched: int                   # of these, seen by the matching head
    notes: tuple[str, ...]
    index: str                     # file of image vectors, "" for none
    seconds: float


def search(query: str, checkpoint: Checkpoint, gallery: Gallery, config: SearchConfig, folder: str,
           say: Callable[[str], None] | None = None) -> Search:
    """Returns the best images for a sentence; the index of image vectors is kept in `folder`.

    `say` gets lines for a waiting person.  Raises UsageError for a sentence without words.
    """
    begun = time.monotonic()
    shown = say is not None
    words, notes = _words(query, checkpoint)
    cosines: dict[int, float] = {}
    index = ""
    if checkpoint.model.contrast is not None and not config.full:
        with Bar("embedding", len(gallery), shown) as bar:
            found = embeddings_of(checkpoint, gallery, folder, bar.advance)
        if say is not None:
            say(f"{len(found.numbers):,} image vectors {'from' if found.reused else 'kept in'} {found.path}")
        index, skipped = found.path, dict(found.skipped)
        cosines = _nearest(checkpoint, found, words, max(config.rerank, config.top))
        numbers = sorted(cosines)
        scores = _match(checkpoint, gallery, numbers, words, {}, None, shown)
        searched = len(found.numbers)
    else:
        skipped = {}
        scores = _match(checkpoint, gallery, list(range(len(gallery))), words, skipped, say, shown)
        searched = len(scores)
    notes += [f"{count} images left out: {reason}" for reason, count in sorted(skipped.items())]
    best = sorted(scores.items(), key=lambda pair: (-pair[1][0], pair[0]))[:config.top]
    hits = tuple(Hit(rank, number, key, 1 / (1 + float(np.exp(-np.float64(logit)))), logit, cosines.get(number),
                     gallery.caption(number), gallery.place(number))
                 for rank, (number, (logit, key)) in enumerate(best, start=1))
    return Search(query, hits, searched, len(scores), tuple(notes), index, round(time.monotonic() - begun, 3))


def index_folder(checkpoint: Checkpoint, out: str) -> str:
    """Returns where the index goes: `out`, or search/ in the run folder the checkpoint lies in, or in itself."""
    run = os.path.dirname(os.path.dirname(os.path.abspath(checkpoint.folder)))
    home = run if os.path.basename(os.path.dirname(os.path.abspath(checkpoint.folder))) == "checkpoints" \
        else checkpoint.folder
    return out or os.path.join(home, "search")


def _words(query: str, checkpoint: Checkpoint) -> tuple[Words, list[str]]:
    """Returns the sentence's word pieces, and notes on what of it the model cannot see."""
    tokenizer = checkpoint.tokenizer
    ids, cut = tokenizer.encode(query.encode("utf-8", "replace").decode())
    if not ids:
        raise UsageError(f"{query!r} has no words to search for; give a sentence, such as \"a red circle\"")
    notes = [f"the last {cut} word pieces of the sentence are cut off: the model sees {len(ids)}"] if cut else []
    unknown = ids.count(tokenizer.ids["[UNK]"])
    if unknown:
        notes.append(f"{unknown} of {len(ids)} word pieces are unknown to the checkpoint's vocabulary")
    return np.array(ids, np.int64), notes


def _nearest(checkpoint: Checkpoint, found: Embeddings, words: Words, count: int) -> dict[int, float]:
    """Returns number -> cosine of the images nearest to the sentence; ties by number."""
    if not len(found.numbers):
        return {}
    model = checkpoint.model
    text = vectors_of(model, caption_samples(_asked(words, [_blank(checkpoint)]), [words]), checkpoint.special, False)
    cosines = found.vectors @ text[0]
    best = np.argsort(-cosines, kind="stable")[:count]
    return {int(found.numbers[place]): float(cosines[place]) for place in best}


def _match(checkpoint: Checkpoint, gallery: Gallery, numbers: list[int], words: Words, skipped: dict[str, int],
           say: Callable[[str], None] | None, shown: bool) -> dict[int, tuple[float, str]]:
    """Returns number -> (ITM logit, key); with `say`, an estimate of the time comes first where there is some."""
    scores: dict[int, tuple[float, str]] = {}

    def score(some: list[int]) -> None:
        kept, samples = read_samples(gallery, some, skipped)
        if kept:
            logits = CrossScorer(checkpoint.model, _asked(words, samples), checkpoint.special).rows(0, len(kept))
            scores.update({number: (float(logit), sample.key)
                           for number, logit, sample in zip(kept, logits[:, 0], samples, strict=True)})

    first, second = numbers[:_WARM_UP], numbers[_WARM_UP:_WARM_UP + _MEASURED]
    rest = numbers[_WARM_UP + _MEASURED:]
    score(first)
    begun = time.monotonic()
    score(second)
    if say is not None and rest:
        each = (time.monotonic() - begun) / len(second)
        say(f"every one of {len(numbers):,} images goes through the matching head: about "
            f"{max(1, round(each * len(rest))):,} s (--limit N for fewer)")
    with Bar("matching", len(rest), shown and bool(rest)) as bar:
        for chunk in chunks(rest, CHUNK):
            score(chunk)
            bar.advance(len(chunk))
    return scores


def _asked(words: Words, samples: list[Sample]) -> Collection:
    """Returns images with one caption among them: the sentence."""
    return Collection("search", tuple(samples), ((words,), *((),) * (len(samples) - 1)))


def _blank(checkpoint: Checkpoint) -> Sample:
    width = checkpoint.model.config.feature_dim
    none = np.empty(0, np.float32)
    return Sample("", 0, np.empty(0, np.int64), np.empty((0, width), np.uint8), none, none,
                  np.empty((0, 4), np.float32), np.empty(0, np.int64), 0, 0, 0)
