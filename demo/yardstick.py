"""How right a run was, against the known truth: precision and recall over distinct drawn scenes."""
from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from demo.plan import UNKNOWN
from demo.web import SyntheticWeb

_HARMLESS = ("keep", "duplicate")  # a copy of a kept scene is as good as the original, if the caption is true
_FINAL = ".,;:!?… "


@dataclasses.dataclass(frozen=True, slots=True)
class Yardstick:
    """What a run kept, against what it should have kept."""

    kept: int                      # pairs
    right: int                     # distinct scenes kept with one of their true captions
    to_keep: int                   # distinct scenes whose page is reachable and permitted
    mistakes: tuple[tuple[str, str, str], ...]  # (image URL, caption, what was right) of each kept pair that is wrong

    @property
    def precision(self) -> float:
        """Returns right / kept, 0 where nothing was kept."""
        return self.right / self.kept if self.kept else 0.0

    @property
    def recall(self) -> float:
        """Returns right / to_keep."""
        return self.right / self.to_keep


def folded(caption: str) -> str:
    """Returns a caption as it is compared: lower case, single spaces, no punctuation at the end.

    >>> folded("A red  star on\\nthe grass.")
    'a red star on the grass'
    """
    return " ".join(caption.lower().split()).rstrip(_FINAL)


def measure(kept: Iterable[tuple[str, tuple[str, ...], str]], web: SyntheticWeb) -> Yardstick:
    """Returns the measure of kept (image URL, other URLs of the same image, caption) triples.

    A pair is right if its image URL shows a scene that is to be kept, its caption is true of it, and the scene was not
    kept before; a URL that may not be used is a mistake even where another URL of the scene may be.
    """
    to_keep = set(web.scenes_to_keep())
    done: set[int] = set()
    mistakes = []
    count = 0
    for image_url, other_urls, caption in kept:
        count += 1
        verdict = _verdict(web, image_url, other_urls, caption, to_keep, done)
        if verdict:
            mistakes.append((image_url, caption, verdict))
    return Yardstick(count, len(done), len(to_keep), tuple(mistakes))


def _verdict(web: SyntheticWeb, image_url: str, other_urls: tuple[str, ...], caption: str, to_keep: set[int],
             done: set[int]) -> str:
    """Returns what is wrong with a kept pair, "" if nothing; a right one is added to `done`."""
    # A URL the web does not know (a client's own rewriting) is looked up under the image's further names.
    truths = map(web.truth, (image_url, *other_urls))
    truth = next((truth for truth in truths if truth.expected != "unknown_url"), UNKNOWN)
    if truth.expected not in _HARMLESS or truth.scene_id not in to_keep:
        return truth.expected
    if folded(caption) not in map(folded, truth.true_captions):
        return "wrong_caption"
    if truth.scene_id in done:
        return "kept_twice"
    done.add(truth.scene_id)
    return ""
