"""How many word pieces each caption of a set has, where the run's vocabulary is not the one the set was built with.

Counted once, said, and kept in the user's cache folder under a digest of the shards and the vocabulary: a plan needs
all lengths before it reads a caption.
"""
from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crawl.config import digest
from crawl.errors import UsageError
from crawl.object_store import StoreUsageError
from shards.manifest import ShardFile, ShardSet
from shards.reader import ShardReader
from shards.tokens import CaptionTokenizer
from train.ranks import is_first


def word_counts(shards: ShardSet, opened: Sequence[tuple[ShardFile, ShardReader]],
                tokenizer: CaptionTokenizer) -> list[NDArray[np.uint16]]:
    """Returns the numbers of word pieces of the captions of each shard, at most 41 each."""
    if shards.tokenizer_digest == tokenizer.digest:
        return [reader.index["num_tokens"].astype(np.uint16) for _, reader in opened]
    path = os.path.join(cache_folder(), digest([[shard.sha256 for shard, _ in opened], tokenizer.digest]) + ".npy")
    ends = np.cumsum([len(reader) for _, reader in opened])
    with contextlib.suppress(OSError, ValueError, EOFError):
        kept = np.load(path, allow_pickle=False)
        if kept.shape == (ends[-1],) and kept.dtype == np.uint16:
            return np.split(kept, ends[:-1])
    if is_first():
        print(f"{shards.directory} was built with another vocabulary ({shards.tokenizer_digest[:12]}): the pieces of "
              f"{ends[-1]:,} captions are counted with {tokenizer.digest[:12]}, once", file=sys.stderr, flush=True)
    found = [np.array([_count(reader, row, tokenizer) for row in range(len(reader))], np.uint16)
             for _, reader in opened]
    with contextlib.suppress(OSError):         # a folder that cannot be written to only costs the time again
        _keep(path, np.concatenate(found))
    return found


def cache_folder() -> str:
    """Returns where counts are kept: below XDG_CACHE_HOME, or ~/.cache."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(home, "imagebert-lait", "word-counts")


def _count(reader: ShardReader, row: int, tokenizer: CaptionTokenizer) -> int:
    try:
        return len(tokenizer.encode(reader.caption(row))[0])
    except StoreUsageError:
        raise
    except UsageError:             # damage is the run's to tell, or to skip
        return int(reader.index["num_tokens"][row])


def _keep(path: str, counts: NDArray[np.uint16]) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    file, temporary = tempfile.mkstemp(suffix=".tmp", dir=os.path.dirname(path))
    try:
        with os.fdopen(file, "wb") as opened:
            np.save(opened, counts)
        os.replace(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise
