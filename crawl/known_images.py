"""Which images need no second download?  Rules over rows of an earlier `images` table."""
from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable

from crawl import storage
from crawl.block_list import BLOCKED, UNCHECKED, BlockList
from crawl.frontier import is_passing
from crawl.records import Image, ImageFetch
from crawl.suppress import SUPPRESSED, Suppression
from crawl.tables import in_order

# Answers that depend on this machine's settings (how it reaches hosts), not on the web: asked again.
_OURS = frozenset({"blocked_address", "blocked_egress", "blocked_no_contact", "tls_error"})


def may_carry(image: Image) -> bool:
    """Returns whether an earlier answer stands: the bytes are there, or asking again would not change it."""
    return stands(image.outcome)


def stands(outcome: str) -> bool:
    """Returns whether an image that ended so need not be asked for again.

    A refusal is asked again: the site may allow now what it denied, and the answer is small.

    >>> stands("ok"), stands("http_404"), stands("http_503"), stands("robots_denied")
    (True, True, False, False)
    """
    refused = outcome == "robots_denied" or outcome.startswith("optout_")
    return not (is_passing(outcome) or refused or outcome in _OURS)


def carried_as(image: Image, out: str, block_list: BlockList) -> Image | None:
    """Returns an earlier answer as a list of hashes lets it stand, None where the URL is to be asked for again.

    Bytes that are listed now stay where an earlier stage has them, and this stage does not know them.  What another
    list blocked is asked again, unless this one names the very file.
    """
    if image.outcome in (BLOCKED, UNCHECKED):
        return dataclasses.replace(image, outcome=BLOCKED) if block_list.names(image.sha256) else None
    if image.outcome != "ok":
        return image
    data = storage.read_range(storage.join(out, image.part), image.offset, image.length)
    reason = block_list.refusal(data)
    return dataclasses.replace(image, outcome=reason, part="", offset=0, length=0) if reason else image


def suppressed_answer(asked: ImageFetch, known: Image | None, suppressed: Suppression) -> Image | None:
    """Returns the answer to a wanted URL that was removed from the dataset, None where it was not.

    The URL may be listed, or what an earlier stage got for it: nothing of that is carried over.
    """
    key = known.sha256[:32] if known else ""
    if not suppressed.suppresses(key, known.sha256 if known else "", filter(None, (
            asked.url, known.final_url if known else "")), ""):
        return None
    return Image(url_key=asked.url_key, url=asked.url, outcome=SUPPRESSED, http_status=0, final_url="", fetched_at="",
                 signals=(), permission="", format="", width=0, height=0, num_bytes=0, sha256="", part="", offset=0,
                 length=0)


def one_for_one(asked: Iterable[str], answered: Iterable[Image]) -> list[Image]:
    """Returns the answers sorted by key; raises AssertionError unless each wanted key has exactly one (invariant 3)."""
    images = in_order(answered, "url_key")
    wanted, found = collections.Counter(asked), collections.Counter(image.url_key for image in images)
    for key in sorted(wanted.keys() | found.keys()):
        if (wanted[key], found[key]) != (1, 1):
            raise AssertionError(f"image {key}: asked for {wanted[key]} times, answered {found[key]} times")
    return images
