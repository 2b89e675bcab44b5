"""Images with several captions: which of them an epoch shows.

    best    KEY.txt, the one that the filter chose
    one     each image once, with one of its captions, drawn anew every epoch
    all     each caption is a sample of its own

The further ones stand in KEY.json: `texts` as our shards have them (all that competed and were not rejected), or
`captions`, a list of sentences.  They are read once, when the shards are opened: a plan needs their lengths.
"""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crawl.errors import UsageError
from crawl.object_store import StoreUsageError
from shards.reader import ShardReader
from shards.tokens import CaptionTokenizer

BEST, ONE, ALL = "best", "one", "all"
CAPTIONS = (BEST, ONE, ALL)


def tell_every_caption(reader: ShardReader, tokenizer: CaptionTokenizer) -> None:
    """Gives a reader a row for each caption, an image's own first and those of an image side by side."""
    rows, captions, pieces = [], [], []
    for row in range(len(reader)):
        for caption, count in _captions_of(reader, row, tokenizer):
            rows.append(row)
            captions.append(caption)
            pieces.append(count)
    reader.retell(np.array(rows, np.int64), captions, np.array(pieces, np.int64))


def captions_of_images(keys: NDArray[np.bytes_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns the first row of each image, and how many captions it has, from the keys of rows.

    >>> captions_of_images(np.array([b"a", b"a", b"b"]))
    (array([0, 2]), array([2, 1]))
    """
    first = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])) if len(keys) else np.empty(0, np.int64)
    return first, np.diff(first, append=len(keys))


def _captions_of(reader: ShardReader, row: int, tokenizer: CaptionTokenizer) -> Iterator[tuple[str | None, int]]:
    """Yields captions that differ in their pieces, with their number; None stands for a damaged KEY.txt."""
    try:
        own = reader.caption(row)
    except StoreUsageError:
        raise
    except UsageError:
        yield None, int(reader.index["num_tokens"][row])       # damage is the run's to tell, or to skip
        return
    seen: set[tuple[int, ...]] = set()
    for caption in (own, *_further(reader, row)):
        pieces = tuple(tokenizer.encode(caption)[0])
        if pieces not in seen and (pieces or not seen):
            seen.add(pieces)
            yield caption, len(pieces)


def _further(reader: ShardReader, row: int) -> list[str]:
    if not reader.index["json_size"][row]:
        return []
    try:
        told: dict[str, Any] = reader.sample_json(row)
    except StoreUsageError:
        raise
    except (UsageError, ValueError):
        return []                                              # KEY.txt is whole, and all that is sure
    texts = told.get("texts")
    found = [one.get("text") for one in texts if isinstance(one, dict)] if isinstance(texts, list) else []
    captions = told.get("captions")
    found += captions if isinstance(captions, list) else []
    return [text for text in found if isinstance(text, str)]
