"""What a run on Dataflow must say, told before anything starts; and one job as far as its client takes it offline."""
from __future__ import annotations

import pathlib

import pytest

import imagebert
from crawl import dataflow
from crawl.dataflow import THREADS, dataflow_options
from crawl.errors import UsageError

SETUP = str(pathlib.Path(imagebert.__file__).with_name("setup.py"))
GIVEN = ["--runner=DataflowRunner", "--project=some-project", "--region=europe-west1", "--temp_location=gs://bucket/tmp"]


@pytest.fixture
def client(monkeypatch):
    monkeypatch.setattr(dataflow, "_has_client", lambda: True)


def test_other_runners_are_left_alone():
    for given in ([], ["--runner=FlinkRunner", "--template_location=x"], ["--number_of_worker_harness_threads=9"]):
        assert dataflow_options(given, "data") == []


@pytest.mark.parametrize("runner", ["DataflowRunner", "dataflow", "apache_beam.runners.DataflowRunner"])
def test_one_thread_a_worker_process_is_set(client, runner):
    given = [f"--runner={runner}", *GIVEN[1:], "--setup_file", SETUP]
    assert dataflow_options(given, "gs://bucket/data") == [THREADS]
    assert dataflow_options([*given, THREADS], "gs://bucket/data") == []


@pytest.mark.parametrize(("more", "out", "says"), [
    ([f"--setup_file={SETUP}"], "data", "--out data: workers of Dataflow do not see"),
    ([], "gs://bucket/data", "give --setup_file=./setup.py"),
    (["--setup_file=./nowhere/setup.py"], "gs://bucket/data", "./nowhere/setup.py is not a file"),
    (["--sdk_container_image=i", "--number_of_worker_harness_threads=8"], "gs://bucket/data", "so it is 1"),
    (["--sdk_container_image=i", "--template_location=gs://bucket/t"], "gs://bucket/data", "run the stage"),
])
def test_what_could_only_fail_is_refused_in_one_line(client, more, out, says, capsys):
    assert imagebert.main(["judge", "--out", out, "--", *GIVEN, *more]) == 2
    told = capsys.readouterr().err
    assert says in told and told.count("\n") == 1


def test_without_its_client_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(dataflow, "_has_client", lambda: False)
    with pytest.raises(UsageError, match=r"pip install 'imagebert-lait\[dataflow\]'"):
        dataflow_options([*GIVEN, "--sdk_container_image=i"], "gs://bucket/data")


def test_a_job_goes_through_dataflows_client_up_to_sending_it():
    pytest.importorskip("google.cloud.dataflow", reason="needs the extra `dataflow`", exc_type=ImportError)
    import apache_beam as beam
    given = [*GIVEN, f"--setup_file={SETUP}", "--dry_run=True"]
    run = imagebert.beam_runner(1, given + dataflow_options(given, "gs://bucket/data"))
    seen = []

    def build(root):
        seen.append(root)
        root | beam.Create([1, 2]) | beam.Reshuffle() | beam.Map(str)

    run("judge", build)
    job = seen[0].runner.job
    assert job.options.get_all_options()["number_of_worker_harness_threads"] == 1
    packages = [one for environment in job.proto_pipeline.components.environments.values()
                for one in environment.dependencies]
    assert any(b"workflow.tar.gz" in one.role_payload or b"imagebert" in one.role_payload for one in packages)
