"""Beam wiring of the stage `clip`: asks joined by image, buckets of them through RunInference.

What crosses a shuffle is texts and addresses.  The network is loaded once a worker by the handler, from the weights'
place; pixels are decoded in the sandbox beside it.
"""
from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.ml.inference.base import ModelHandler, RunInference

from crawl import progress, storage
from crawl.errors import UsageError
from crawl.permission import PermissionRules
from crawl.sandbox_client import Sandbox
from crawl.tables import read_table
from filter.cases import Claims, distinct_texts
from filter.claim_transforms import ClaimImages
from filter.clip_run import CLIP, ClipWeights, read_file
from filter.images import DECODED
from filter.pixel_work import pixel_sandbox
from filter.reading import read_images
from filter.records import ClipAsk, ClipFacts, ImageFacts, on_grid

_DECODE_SIDE = 448                 # px; a JPEG may be decoded smaller down to this, twice what most networks see
EMBEDDED = "embedded"


@dataclasses.dataclass
class AskedOfClip(beam.PTransform):
    """{judged, images, features} -> ClipAsk, one a distinct image that decodes and has a text."""

    max_claims: int
    permission: PermissionRules

    def expand(self, tables: dict[str, Any]) -> Any:
        claimed = {"judged": tables["judged"], "images": tables["images"]} | "Claims" >> ClaimImages(
            self.max_claims, self.permission)
        return ((claimed["arrived"], tables["features"] | "Facts" >> beam.Map(lambda facts: (facts.sha256, facts)))
                | "With facts" >> beam.CoGroupByKey()
                | "Ask" >> beam.FlatMapTuple(_ask))


def _ask(sha256: str, sides: tuple[list[Claims], list[ImageFacts]]) -> Iterator[ClipAsk]:
    claims, facts = sides
    if not claims or not facts or facts[0].outcome != DECODED:
        return
    texts = distinct_texts(sha256, claims[0].rows)
    if texts:
        yield ClipAsk(sha256, facts[0].part, facts[0].offset, facts[0].length,
                      tuple(text.identity for text in texts), tuple(text.caption.text for text in texts))


@dataclasses.dataclass
class EmbedBuckets(beam.PTransform):
    """Buckets of asks -> committed buckets of ClipFacts; one that is there already is not computed again."""

    out: str
    folder: str
    asks: tuple[str, ...]
    weights: ClipWeights

    def expand(self, root: Any) -> Any:
        return (root | "Buckets" >> beam.Create(list(enumerate(self.asks)))
                | "To do" >> beam.Filter(self._is_to_do)
                | "Spread" >> beam.Reshuffle()
                | "Embed" >> RunInference(ClipHandler(self.out, self.weights))
                | "Commit" >> beam.MapTuple(self._commit))

    def _is_to_do(self, bucket: tuple[int, str]) -> bool:
        from crawl.transforms import bucket_name
        stem = bucket_name(CLIP, bucket[0], len(self.asks))
        return not storage.exists(storage.join(self.out, self.folder, f"{stem}.json"))

    def _commit(self, bucket: int, rows: list[ClipFacts]) -> None:
        from crawl.transforms import write_bucket
        write_bucket(storage.join(self.out, self.folder), CLIP, bucket, len(self.asks), ClipFacts, rows)


class LoadedClip:
    """A network and the sandbox that decodes for it: what a worker holds."""

    def __init__(self, pairs: Any) -> None:
        self._pairs = pairs
        self._sandbox: Sandbox[Any] = pixel_sandbox(_DECODE_SIDE)

    def facts(self, out: str, asks: Sequence[ClipAsk]) -> list[ClipFacts]:
        """Returns what the network says of some images, in their order."""
        pixels = self._pixels(out, asks)
        seen = [ask for ask in asks if not isinstance(pixels[ask.sha256], str)]
        pictures = self._pairs.pictures([pixels[ask.sha256] for ask in seen])
        texts = self._pairs.texts([text for ask in seen for text in ask.texts])
        unsafe = dict(zip((ask.sha256 for ask in seen), self._pairs.unsafe(pictures), strict=True))
        cosines, at = {}, 0
        for ask, picture in zip(seen, pictures, strict=True):
            cosines[ask.sha256] = _cosines(texts[at:at + len(ask.texts)], picture)
            at += len(ask.texts)
        return [ClipFacts(ask.sha256, EMBEDDED, on_grid(unsafe[ask.sha256]), ask.identities, cosines[ask.sha256])
                if ask.sha256 in unsafe else ClipFacts(ask.sha256, pixels[ask.sha256], -1.0, (), ()) for ask in asks]

    def _pixels(self, out: str, asks: Sequence[ClipAsk]) -> dict[str, Any]:
        """Returns sha256 -> pixels, or the reason why there are none."""
        found: dict[str, Any] = {}
        parts = itertools.groupby(sorted(asks, key=lambda ask: (ask.part, ask.offset)), key=lambda ask: ask.part)
        read = ((ask, data) for part, some in parts for ask, data in read_images(storage.join(out, part), list(some)))
        for ask, answer in self._sandbox.map((ask, None, self._intact(ask, data)) for ask, data in read):
            found[ask.sha256] = f"decode_{answer.reason}" if answer.result is None else answer.result
        return found

    def _intact(self, ask: ClipAsk, data: bytes) -> bytes:
        if hashlib.sha256(data).hexdigest() != ask.sha256:
            raise UsageError(f"{ask.part}: the bytes at {ask.offset} are not those of image {ask.sha256}; copy the "
                             f"part again")
        return data


def _cosines(texts: np.ndarray, picture: np.ndarray) -> tuple[float, ...]:
    return tuple(on_grid(float(value)) for value in texts @ picture)


class ClipHandler(ModelHandler[tuple[int, str], tuple[int, list[ClipFacts]], LoadedClip]):
    """Buckets of asks -> their facts.

    An element is a bucket, cut into batches here: were they made of what a bundle holds, a picture's company, and with
    it the last bits of its embedding, would depend on the runner.
    """

    def __init__(self, out: str, weights: ClipWeights) -> None:
        super().__init__()
        self._out, self._weights = out, weights

    def load_model(self) -> LoadedClip:
        """Returns the network, its weights those that the run was started with."""
        return LoadedClip(opened(self._weights))

    def run_inference(self, batch: Sequence[tuple[int, str]], model: LoadedClip,
                      inference_args: dict[str, Any] | None = None) -> Iterable[tuple[int, list[ClipFacts]]]:
        """Yields each bucket with its facts."""
        for bucket, path in batch:
            rows = read_table(path, ClipAsk)
            facts: list[ClipFacts] = []
            while some := list(itertools.islice(rows, self._weights.config.batch)):
                facts += model.facts(self._out, some)
                progress.add("images embedded", len(some))
            yield bucket, facts

    def batch_elements_kwargs(self) -> Mapping[str, Any]:
        """One bucket at a time."""
        return {"min_batch_size": 1, "max_batch_size": 1}

    def get_metrics_namespace(self) -> str:
        """Returns what Beam's own counters of this step are called."""
        return CLIP


def opened(weights: ClipWeights) -> Any:
    """Returns the network of a config; raises UsageError for files that are not its own, or changed since."""
    config = weights.config
    data = _same(config.weights, "clip.weights", weights.weights)
    head = _same(config.unsafe_head, "clip.unsafe_head", weights.head) if config.unsafe_head else b""
    try:
        from model.clip_pairs import ClipPairs
        from model.detection import WeightsError
        try:
            return ClipPairs(data, config.weights, config.architecture, config.batch, head=head,
                             head_file=config.unsafe_head)
        except WeightsError as error:
            raise UsageError(f"clip: {error}") from error
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "torchvision", "open_clip"):
            raise
        raise UsageError(f"clip.weights needs {error.name}, which is not installed here; pip install "
                         f"'imagebert-lait[clip]'") from error


def _same(path: str, setting: str, sha256: str) -> bytes:
    data = read_file(path, setting)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise UsageError(f"{setting} {path}: on this worker another file lies there; put the same one at this place on "
                         f"every machine")
    return data
