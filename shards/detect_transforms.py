"""Beam wiring of extractors with weights: chunks of addresses through RunInference, a committed part each.

What crosses a shuffle is addresses.  The network is loaded once a worker by the handler, from the weights' place.
"""
from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.ml.inference.base import ModelHandler, RunInference

from crawl import storage
from crawl.errors import UsageError
from crawl.sandbox_client import Sandbox
from filter.pixel_work import pixel_sandbox
from filter.records import Best
from shards import detect_run
from shards.addresses import read_addresses
from shards.detect_run import Chunk, ChunkResult, Weights
from shards.quantise import Found
from shards.records import RegionAddress

# A JPEG may be decoded smaller down to this; every detector resizes to less.
_DECODE_SIDE = 1400


@dataclasses.dataclass
class DetectRegions(beam.PTransform):
    """Names of `best` files -> a committed part for each chunk of their rows, a table of addresses for each file."""

    out: str
    best: tuple[str, ...]
    record: type[Best]
    folder: str
    weights: Weights
    without: RegionAddress
    known: tuple[str, ...]         # tables of an earlier stage whose regions are kept, a bucket each

    def expand(self, root: Any) -> Any:
        buckets = list(enumerate(self.best))
        return (root | "Buckets" >> beam.Create(buckets)
                | "Chunks" >> beam.FlatMapTuple(self._chunks)
                | "Spread" >> beam.Reshuffle()
                | "Detect" >> self._detect()
                | "Commit" >> beam.Map(self._commit)
                | "All" >> beam.combiners.Count.Globally()
                | "Every bucket" >> beam.FlatMap(lambda _: buckets)
                | "Spread buckets" >> beam.Reshuffle()
                | "Tables" >> beam.MapTuple(self._finish))

    def _detect(self) -> Any:
        """Returns the step with the network, alone in asking for an accelerator: others run on plain machines."""
        found, hint = RunInference(DetectorHandler(self.out, self.weights)), self.weights.config.accelerator
        return found.with_resource_hints(accelerator=hint) if hint else found

    def _chunks(self, bucket: int, path: str) -> Iterator[Chunk]:
        directory = storage.join(self.out, self.folder)
        return (chunk for chunk in detect_run.chunks_of(bucket, path, self.record, self._known(bucket))
                if not detect_run.is_committed(directory, chunk))

    def _commit(self, result: ChunkResult) -> None:
        detect_run.commit_chunk(self.out, self.folder, result, self.without)

    def _finish(self, bucket: int, path: str) -> None:
        detect_run.finish_bucket(self.out, self.folder, bucket, len(self.best), path, self.record, self._known(bucket))

    def _known(self, bucket: int) -> str:
        return self.known[bucket] if self.known else ""


class LoadedDetector:
    """A detector and the sandbox that decodes for it: what a worker holds."""

    def __init__(self, detector: Any) -> None:
        self.detector = detector
        self._sandbox: Sandbox[Any] = pixel_sandbox(_DECODE_SIDE)

    def pictures(self, out: str, chunk: Chunk) -> dict[int, Any]:
        """Returns place in the chunk -> pixels, or the reason why there are none."""
        found: dict[int, Any] = {place: why for place, why in enumerate(chunk.reasons) if why}
        wanted = [place for place, why in enumerate(chunk.reasons) if not why]
        read = read_addresses(out, [chunk.addresses[place] for place in wanted])
        for place, answer in self._sandbox.map((wanted[number], None, data) for number, data in read):
            found[place] = f"decode_{answer.reason}" if answer.result is None else answer.result
        return found


class DetectorHandler(ModelHandler[Chunk, ChunkResult, LoadedDetector]):
    """Chunks -> their regions.

    An element is a batch already: were batches made of whatever a bundle holds, a picture's company, and with it the
    last bits of its features, would depend on the runner.
    """

    def __init__(self, out: str, weights: Weights) -> None:
        super().__init__()
        self._out, self._weights = out, weights

    def load_model(self) -> LoadedDetector:
        """Returns the detector, its weights those that the run was started with."""
        data = detect_run.read_weights(self._weights.config)
        if hashlib.sha256(data).hexdigest() != self._weights.sha256:
            raise UsageError(f"--weights {self._weights.config.weights}: on this worker another file lies there; put "
                             f"the same one at this place on every machine")
        return LoadedDetector(opened(self._weights, data))

    def run_inference(self, batch: Sequence[Chunk], model: LoadedDetector,
                      inference_args: dict[str, Any] | None = None) -> Iterable[ChunkResult]:
        """Yields what was found in the pictures of each chunk."""
        from model.detection import detect_all
        config = self._weights.config
        for chunk in batch:
            pictures = model.pictures(self._out, chunk)
            decoded = [place for place in range(len(chunk.keys)) if not isinstance(pictures[place], str)]
            detected = detect_all(model.detector, [pictures[place] for place in decoded], config.batch)
            stored = {place: detect_run.packed_as(
                Found(one.features, one.boxes, one.confidences, one.classes, one.probabilities), config)
                for place, one in zip(decoded, detected, strict=True)}
            rows = [stored.get(place, (pictures[place], 0)) for place in range(len(chunk.keys))]
            yield ChunkResult(chunk, tuple(packed for packed, _ in rows), tuple(count for _, count in rows))

    def batch_elements_kwargs(self) -> Mapping[str, Any]:
        """One chunk at a time."""
        return {"min_batch_size": 1, "max_batch_size": 1}

    def get_metrics_namespace(self) -> str:
        """Returns what Beam's own counters of this step are called."""
        return f"regions_{self._weights.config.extractor}"


def opened(weights: Weights, data: bytes) -> Any:
    """Returns the detector of a config; raises UsageError for weights that are not its own."""
    config = weights.config
    try:
        from model.detection import DetectorOptions, WeightsError, open_detector
        options = DetectorOptions(
            max_regions=config.max_regions, min_confidence=config.min_confidence, min_regions=config.min_regions,
            min_side=config.min_side, max_side=config.max_side, architecture=config.architecture, grid=config.grid,
            class_names=weights.class_names)
        try:
            return open_detector(config.extractor, data, config.weights, options)
        except WeightsError as error:
            raise UsageError(f"--weights {error}") from error
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "torchvision", "open_clip"):
            raise
        raise UsageError(f"--extractor {config.extractor} needs {error.name}, which is not installed here; "
                         f"pip install 'imagebert-lait[clip]'") from error
