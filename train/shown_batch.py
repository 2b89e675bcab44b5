"""A pack read back into what a person can check: words, regions, masks, labels.  Everything comes from its tensors."""
from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from model.inputs import SEGMENT_TEXT, Pack
from train.packing import Sample

_CAPACITIES = {"tokens": "token_source", "sequences": "first_tokens", "words": "word_ids", "regions": "region_rows",
               "distinct": "features", "masked_words": "masked_word_tokens", "masked_regions": "masked_region_tokens",
               "contrasts": "contrast_images"}


@dataclasses.dataclass(frozen=True, slots=True)
class ShownWord:
    """A word token as the model sees it."""

    piece: str                     # after masking; [CLS] and [SEP] too
    target: str                    # what it must predict here, "" where nothing: always so in a mismatched pair


@dataclasses.dataclass(frozen=True, slots=True)
class ShownRegion:
    """A region token."""

    box: tuple[float, ...]         # x1 y1 x2 y2 in [0, 1]
    cls: int                       # the class: a target where `predicted`
    visible: bool                  # whether the model sees its feature
    predicted: bool                # whether class and feature must be predicted


@dataclasses.dataclass(frozen=True, slots=True)
class ShownSequence:
    """One sequence of a pack."""

    number: int
    kind: str                      # joint, image or text
    image: str                     # key of the sample whose regions it shows, "" for none
    caption: str                   # key of the sample whose words it shows, "" for none
    matched: bool | None           # the label of ITM, None where there is none
    contrasted_with: int           # number of the sequence with the other half of the same sample, -1 for none
    tokens: int
    words: tuple[ShownWord, ...]   # in order, specials included
    regions: tuple[ShownRegion, ...]


def capacities(pack: Pack) -> dict[str, tuple[int, int]]:
    """Returns name -> (used, room) of every fixed size of a pack."""
    return {name: (int(getattr(pack, name)), len(getattr(pack, field))) for name, field in _CAPACITIES.items()}


def sequences_of(pack: Pack, samples: Sequence[Sample], vocab: Sequence[str]) -> tuple[ShownSequence, ...]:
    """Returns the used sequences of a pack; `samples` are those it was built from, in order."""
    words, regions = _word_targets(pack), _region_targets(pack)
    owner = np.repeat(np.arange(len(samples)), [len(sample.classes) for sample in samples])
    contrast = _contrasts(pack)
    source, starts = _host(pack.token_source), _host(pack.cu_seqlens)
    shown = []
    for number in range(pack.sequences):
        tokens = np.arange(starts[number], starts[number + 1])
        is_word = source[tokens] < len(pack.word_ids)
        is_region = ~is_word & (source[tokens] < len(pack.word_ids) + len(pack.region_rows))
        word_tokens, region_tokens = tokens[is_word], tokens[is_region]
        places = source[word_tokens]
        ids = _host(pack.word_ids)[places]
        rows = _host(pack.region_rows)[source[region_tokens] - len(pack.word_ids)]
        text = _host(pack.word_segments)[places] == SEGMENT_TEXT
        meant = np.array([words.get(int(token), int(shown_id)) for token, shown_id in
                          zip(word_tokens[text], ids[text], strict=True)][:-1], np.int64)
        image = int(owner[rows[0]]) if len(rows) else -1
        caption = _caption_of(samples, meant, image) if text.any() else -1
        # A text-only sequence is [CLS] words [SEP]; with an image there is one more [SEP].
        has_image = bool(len(rows)) or int((~text).sum()) > 1
        shown.append(ShownSequence(
            number=number, kind="joint" if has_image and text.any() else "image" if has_image else "text",
            image=samples[image].key if image >= 0 else "", caption=samples[caption].key if caption >= 0 else "",
            matched=bool(pack.matched[number]) if pack.itm_weights[number] else None,
            contrasted_with=contrast.get(number, -1), tokens=len(tokens),
            words=tuple(ShownWord(vocab[shown_id], vocab[words[int(token)]] if int(token) in words else "")
                        for token, shown_id in zip(word_tokens, ids, strict=True)),
            regions=tuple(_region(pack, int(token), int(source[token]) - len(pack.word_ids), regions)
                          for token in region_tokens)))
    return tuple(shown)


def _region(pack: Pack, token: int, place: int, predicted: set[int]) -> ShownRegion:
    row = int(pack.region_rows[place])
    return ShownRegion(box=tuple(round(float(value), 4) for value in pack.geometry[row, :4]),
                       cls=int(pack.classes[row]), visible=bool(pack.region_visible[place]),
                       predicted=token in predicted)


def _word_targets(pack: Pack) -> dict[int, int]:
    """Returns token -> the id it must predict."""
    used = _host(pack.masked_word_weights) > 0
    return dict(zip(_host(pack.masked_word_tokens)[used].tolist(), _host(pack.masked_word_targets)[used].tolist(),
                    strict=True))


def _region_targets(pack: Pack) -> set[int]:
    used = _host(pack.masked_region_weights) > 0
    return set(_host(pack.masked_region_tokens)[used].tolist())


def _contrasts(pack: Pack) -> dict[int, int]:
    used = _host(pack.contrast_weights) > 0
    images, texts = _host(pack.contrast_images)[used].tolist(), _host(pack.contrast_texts)[used].tolist()
    return dict(zip(images, texts, strict=True)) | dict(zip(texts, images, strict=True))


def _caption_of(samples: Sequence[Sample], meant: NDArray[np.int64], image: int) -> int:
    """Returns whose words these are, -1 where nobody can tell: the image's own where several samples have them.

    In a mismatched pair masked pieces are no targets, so the caption is the one that agrees in the most places.
    """
    agreeing = {number: int((sample.words == meant).sum()) for number, sample in enumerate(samples)
                if len(sample.words) == len(meant)}
    most = max(agreeing.values(), default=0)
    fitting = [number for number, places in agreeing.items() if places == most > 0]
    if len({samples[number].words.tobytes() for number in fitting}) != 1:
        return -1
    return image if image in fitting else fitting[0]


def _host(tensor: Tensor) -> NDArray[Any]:
    return tensor.cpu().numpy()
