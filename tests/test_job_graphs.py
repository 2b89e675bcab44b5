"""The job graph of every stage, built and validated without an engine.

What an engine gets is a graph with pickled functions.  None of them may rely on the disk, the environment or the
`__main__` of the driver; and how many shuffles a stage costs is written down here.
"""
import collections
import copy
import dataclasses
import io
import os
import pathlib

import apache_beam as beam
import pytest
from apache_beam import Pipeline
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.pipeline_utils import validate_pipeline_graph
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.portability.fn_api_runner.translations import (
    create_and_optimize_stages,
    standard_optimize_phases,
)

import imagebert
from crawl.archive_inputs import Archive, these_files
from crawl.archive_run import ArchiveConfig, read_archives
from crawl.columnar_index import Wanted
from crawl.errors import UsageError
from crawl.images_run import fetch_images
from crawl.index_transforms import SelectCaptures
from crawl.policy import Network
from crawl.rounds import crawl_pages
from filter.features_run import features
from filter.filter_run import filter_pairs
from filter.judge_run import judge
from filter.records import Best
from shards.build import build_shards
from shards.detect_run import Weights
from shards.detect_transforms import DetectRegions
from shards.precomputed_transforms import JoinRegions
from shards.records import RegionAddress
from shards.reencode import ReencodeConfig
from shards.region_config import RegionsConfig
from shards.transforms import ReencodeImages
from tests.crawl.archives import gzipped, page
from tests.filter.tiny_web import candidate, commit_crawl
from tests.job_graphs import RecordedRun, graph_of, payloads, shuffles, unpickled_elsewhere, words_in
from tests.shards.kept import kept
from tests.shards.test_extraction import SMALL

# Groupings of each job, a shuffle each: a table that is written is one, and so is work that is spread; a table that is
# read is one where it has more than one file.
SHUFFLES = {
    "crawl: select round N": {14, 20},           # of the first round; of those that read what a round brought
    "crawl: fetch round N, N pages": {10},
    "candidates: read N warc files": {2},
    "candidates: select from the index": {2},
    "judge": {13},
    "images: N image URLs": {7},
    "features": {7},
    "filter": {25},
    "reencoded": {2},
    "vocab": {4},
    "codebook": {5},
    "regions": {2},
    "regions by a detector": {4},
    "regions of files": {9},
    "shards": {6},
}


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """The output root, and the graphs of every job: of a build as it runs, and of what it may have besides."""
    out = tmp_path_factory.mktemp("graphs") / "out"
    out.mkdir()
    recorded, config = RecordedRun(), imagebert.demo()
    # Nobody answers: what the jobs are does not depend on what comes back, and all of it is on hand at once.
    network = Network(connect_to=("a.test:80:127.0.0.1:1",), allow_hosts=("*.test",), min_delay_s=0.0)
    fetch = dataclasses.replace(config.crawl.fetch, retries=0)
    frontier = dataclasses.replace(config.crawl.frontier, retries=1)
    (out / "seeds.txt").write_text("http://a.test/\n")
    with pytest.raises(UsageError, match="none of the 1 seeds"):
        crawl_pages(str(out), str(out / "seeds.txt"), dataclasses.replace(
            config.crawl, max_rounds=2, fetch=fetch, frontier=frontier), network, recorded)
    rest = str(out / "rest")
    commit_crawl(rest, [candidate(f"http://a.test/{number}.jpg") for number in range(4)], buckets=2)
    judge(rest, config.judge, recorded)
    fetch_images(rest, dataclasses.replace(config.images, fetch=fetch), network, recorded)
    features(rest, config.features, recorded)
    filter_pairs(rest, config.filter, recorded)
    kept(str(out / "kept"), 14)
    build_shards(str(out / "kept"), SMALL, recorded)
    archives = out / "archives"
    archives.mkdir()
    for name in "ab":
        (archives / f"{name}.warc.gz").write_bytes(gzipped(page(name)))
    files = these_files([str(archives / "a.warc.gz"), str(archives / "b.warc.gz")], "--warc")
    read_archives(str(out / "archived"), files, ArchiveConfig(), recorded)

    best, folder = (f"{out}/best-0", f"{out}/best-1"), "regions/x"
    none = RegionAddress("", "no_regions_found", "", 0, 0, "", 0)
    config = RegionsConfig(extractor="bottom-up", weights="gs://weights/made-up.pkl")
    index = tuple(Archive(number, f"i{number}", f"{out}/i{number}", "x") for number in range(2))
    for name, transform in (
            ("reencoded", ReencodeImages(str(out), best, folder, ReencodeConfig())),
            ("regions by a detector", DetectRegions(str(out), best, Best, folder, Weights(config, "ab", ()), none, ())),
            ("regions of files", JoinRegions(best, Best, (f"{out}/rows",), f"{out}/x", "key", none)),
            ("candidates: select from the index", SelectCaptures(str(out), Wanted(), index))):
        recorded.graphs.append(graph_of(name, lambda root, one=transform: root | copy.deepcopy(one)))
    return str(out), recorded.graphs


def both(graphs):
    for graph in graphs:
        yield graph.name, graph.flink
        yield graph.name, graph.dataflow


def test_the_graphs_are_those_of_every_stage_and_their_shuffles_are_known(build):
    counted = collections.defaultdict(set)
    for graph in build[1]:
        assert shuffles(graph.flink) == shuffles(graph.dataflow), graph.name
        counted[graph.kind].add(shuffles(graph.flink))
    assert dict(counted) == SHUFFLES


def test_they_are_valid_and_can_be_fused(build):
    for name, pipeline in both(build[1]):
        validate_pipeline_graph(pipeline)
        _, stages = create_and_optimize_stages(type(pipeline).FromString(pipeline.SerializeToString()),
                                               standard_optimize_phases(), known_runner_urns=frozenset())
        assert stages, name


def test_they_come_back_from_their_proto(build):
    for graph in build[1]:
        again = Pipeline.from_runner_api(graph.dataflow, FnApiRunner(), PipelineOptions()).to_runner_api()
        assert names(again) == names(graph.dataflow), graph.name


def names(pipeline):
    return sorted((one.unique_name, one.spec.urn) for one in pipeline.components.transforms.values())


def test_workers_unpickle_all_of_it_without_our_main_or_environment(build, tmp_path):
    found = {payload for _, pipeline in both(build[1]) for _, payload in payloads(pipeline)}
    assert len(found) > 100
    assert unpickled_elsewhere(sorted(found), tmp_path) == ""


def test_nothing_of_this_machine_is_captured(build):
    out, graphs = build
    # A worker has neither our environment nor our files; where a lambda was written is in its code and opens nothing.
    mine = {value for value in os.environ.values() if len(value) > 6}
    for job, pipeline in both(graphs):
        for step, payload in payloads(pipeline):
            words = words_in(payload)
            assert "__main__" not in words, (job, step)
            assert not words & {"StringIO", "BytesIO", "TextIOWrapper", "_io", "FileIO"}, (job, step)
            for word in words:
                if word.startswith("/") and not word.endswith(".py"):
                    assert word == out or word.startswith(out + "/"), (job, step, word)
                assert word not in mine, (job, step, word)


def test_what_would_be_captured_is_seen():
    here = str(pathlib.Path(__file__).parent)
    graph = graph_of("bad", lambda root: root | beam.Create([1]) | beam.Map(
        lambda row, path, file: row, here, io.StringIO("open")))
    words = set().union(*(words_in(payload) for _, payload in payloads(graph.flink)))
    assert here in words and "StringIO" in words


def test_the_step_with_a_network_alone_asks_for_an_accelerator():
    config = RegionsConfig(extractor="bottom-up", weights="gs://w/x.pkl", accelerator="type:nvidia-tesla-t4;count:1")
    none = RegionAddress("", "no_regions_found", "", 0, 0, "", 0)
    graph = graph_of("regions", lambda root: root | DetectRegions(
        "gs://b/o", ("gs://b/o/best-0",), Best, "regions/x", Weights(config, "ab", ()), none, ())).dataflow
    hints = {one.unique_name: dict(graph.components.environments[one.environment_id].resource_hints)
             for one in graph.components.transforms.values() if one.environment_id}
    asking = {name for name, found in hints.items() if found}
    assert {value for name in asking for value in hints[name].values()} == {b"type:nvidia-tesla-t4;count:1"}
    assert asking and all("Detect/" in name or name.endswith("Detect") for name in asking)
