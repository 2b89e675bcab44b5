"""Portable graphs of Beam jobs, as Flink's job server and Dataflow would get them, and what their payloads hold."""
from __future__ import annotations

import base64
import bz2
import dataclasses
import json
import pathlib
import pickletools
import re
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import common_urns, python_urns
from apache_beam.portability.api import beam_runner_api_pb2 as api
from apache_beam.runners.dataflow.dataflow_runner import DataflowRunner
from apache_beam.runners.pipeline_utils import group_by_key_input_visitor
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.portability.portable_runner import PortableRunner
from apache_beam.transforms.environments import DockerEnvironment
from google.protobuf.wrappers_pb2 import BytesValue

ROOT = pathlib.Path(__file__).resolve().parent.parent
FLINK = ["--runner=PortableRunner", "--job_endpoint=localhost:1", "--environment_type=EXTERNAL",
         "--environment_config=localhost:2", "--parallelism=4"]
DATAFLOW = ["--runner=DataflowRunner", "--project=p", "--region=europe-west1", "--temp_location=gs://b/tmp"]

# Stands for a worker: nothing of the driver's environment, and a `__main__` of its own.
_WORKER = """
import base64, json, sys
from apache_beam.internal import pickler
for line in sys.stdin:
    payload = base64.b64decode(json.loads(line))
    pickler.loads(payload, use_zlib=not base64.b64decode(payload).startswith(b"BZh"))    # coders by zlib
print("all")
"""


@dataclasses.dataclass
class Graph:
    """One job for Flink and for Dataflow, with its name."""

    name: str
    flink: api.Pipeline
    dataflow: api.Pipeline

    @property
    def kind(self) -> str:
        """Returns the name without the numbers of this run."""
        return re.sub(r"\b\d+\b", "N", self.name)


def graph_of(name: str, build: Callable[[Any], None]) -> Graph:
    """Returns the graph of a job for both engines; nothing runs.

    What its runner does to a pipeline before it sends it is done, of Dataflow without the client libraries of Google.
    """
    flink, dataflow = PipelineOptions(FLINK), PipelineOptions(DATAFLOW)
    pipeline = beam.Pipeline(runner=FnApiRunner(), options=flink)
    build(pipeline)
    pipeline.visit(group_by_key_input_visitor())
    for_flink = PortableRunner.get_proto_pipeline(pipeline, flink)
    pipeline = beam.Pipeline(runner=FnApiRunner(), options=dataflow)
    build(pipeline)
    runner = DataflowRunner()
    pipeline.visit(runner.combinefn_visitor())
    pipeline.visit(runner.side_input_visitor(deterministic_key_coders=True))
    runner._adjust_pipeline_for_dataflow_v2(pipeline)
    for_dataflow = pipeline.to_runner_api(
        default_environment=DockerEnvironment.from_container_image("example.org/imagebert"))
    return Graph(name, for_flink, for_dataflow)


@dataclasses.dataclass
class RecordedRun:
    """Runs jobs in this process, and keeps their graphs."""

    graphs: list[Graph] = dataclasses.field(default_factory=list)

    def __call__(self, name: str, build: Callable[[Any], None]) -> None:
        """Keeps the graph of one job, then runs it."""
        self.graphs.append(graph_of(name, build))
        with beam.Pipeline(runner=FnApiRunner()) as root:
            build(root)


def shuffles(pipeline: api.Pipeline) -> int:
    """Returns how many groupings a job has: each is a shuffle."""
    grouping = common_urns.primitives.GROUP_BY_KEY.urn
    return sum(one.spec.urn == grouping for one in pipeline.components.transforms.values())


def payloads(pipeline: api.Pipeline) -> Iterator[tuple[str, bytes]]:
    """Yields (name, pickled Python) of everything a worker unpickles: functions, combiners, side inputs, coders."""
    for one in pipeline.components.transforms.values():
        if one.spec.urn == common_urns.primitives.PAR_DO.urn:
            work = api.ParDoPayload.FromString(one.spec.payload)
            if work.do_fn.urn != python_urns.KEY_WITH_NONE_DOFN:           # Beam's own, known by name
                yield one.unique_name, _python(work.do_fn)
            for side in work.side_inputs.values():
                yield one.unique_name, _python(side.view_fn)
                yield one.unique_name, _python(side.window_mapping_fn)
        elif one.spec.urn in _COMBINES:
            yield one.unique_name, _python(api.CombinePayload.FromString(one.spec.payload).combine_fn)
    for identity, coder in pipeline.components.coders.items():
        if coder.spec.urn == python_urns.PICKLED_CODER:
            yield identity, BytesValue.FromString(coder.spec.payload).value.partition(b"$")[2]     # behind a name


_COMBINES = {common_urns.composites.COMBINE_PER_KEY.urn, common_urns.composites.COMBINE_GLOBALLY.urn,
             *(one.urn for one in (common_urns.combine_components.COMBINE_PER_KEY_PRECOMBINE,
                                   common_urns.combine_components.COMBINE_PER_KEY_MERGE_ACCUMULATORS,
                                   common_urns.combine_components.COMBINE_PER_KEY_EXTRACT_OUTPUTS,
                                   common_urns.combine_components.COMBINE_GROUPED_VALUES))}


def _python(function: api.FunctionSpec) -> bytes:
    """Returns the pickled Python of a function; raises for one that is none."""
    if function.urn in (python_urns.PICKLED_DOFN_INFO, python_urns.PICKLED_COMBINE_FN, python_urns.PICKLED_VIEWFN,
                        python_urns.PICKLED_WINDOW_MAPPING_FN):
        return bytes(function.payload)
    raise AssertionError(f"a function of kind {function.urn}")


def words_in(payload: bytes) -> set[str]:
    """Returns every text in a payload: names of modules and of what they hold, and all values that are captured."""
    packed = base64.b64decode(payload)
    steps = pickletools.genops(bz2.decompress(packed) if packed.startswith(b"BZh") else zlib.decompress(packed))
    return {value for _, value, _ in steps if isinstance(value, str)}


def unpickled_elsewhere(found: list[bytes], folder: pathlib.Path) -> str:
    """Unpickles payloads in a process that shares nothing with this one but the installed packages; "" if all went."""
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _WORKER], cwd=folder, env={"PYTHONPATH": str(ROOT)}, text=True,
        input="".join(json.dumps(base64.b64encode(one).decode()) + "\n" for one in found), capture_output=True)
    return "" if ended.stdout == "all\n" else ended.stderr
