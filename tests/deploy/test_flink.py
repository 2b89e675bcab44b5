"""The whole build on a real Flink cluster on this machine: the same result, whatever is killed meanwhile."""
import os
import pathlib
import random
import signal
import time

import pytest

from crawl.errors import UsageError
from deploy.builds import (
    MIN_DELAY_S,
    asked_again,
    build,
    building,
    closest_requests,
    committed_urls,
    dataset_command,
    facts_of,
    requests_seen,
    run,
)
from deploy.cluster import Cluster
from deploy.install import check_java, install_prism
from deploy.settings import read_settings
from tests.deploy.test_compose import free_ports

pytestmark = pytest.mark.flink
# `make test-flink` installs once and names the place; the matrix is run on more images.
HOME, IMAGES = os.environ.get("IMAGEBERT_FLINK_HOME"), int(os.environ.get("IMAGEBERT_FLINK_IMAGES", "60"))
# Seconds that a build may take on a machine with other work: a limit against hanging, not a measure.
PATIENCE_S = 1200 + 6 * IMAGES
STAGES = ("crawl", "judge", "images", "features", "filter", "vocab", "codebook", "regions", "shards")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    try:
        check_java()
    except UsageError as error:
        pytest.skip(str(error))
    running = Cluster(pathlib.Path(HOME) if HOME else tmp_path_factory.mktemp("flink"), free_ports(read_settings()))
    try:
        running.up()
        yield running
    finally:
        running.down()


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference")
    build(folder, IMAGES, [])
    return facts_of(folder / "out")


def assert_same(folder, reference):
    """What was built is what one process builds, and no host was asked sooner than it allows."""
    assert facts_of(folder / "out").differences(reference) == []
    gap_s, host = closest_requests(folder)
    assert gap_s >= MIN_DELAY_S, host


def wait_for(found, process):
    end = time.monotonic() + PATIENCE_S
    while not found():
        assert process.poll() is None, process.stderr.read()[-3000:]
        assert time.monotonic() < end
        time.sleep(0.05)


def killed(cluster, reference, folder, kill, begun, after_s=0.0):
    """Builds at parallelism 2, kills once `begun` and some seconds later, and compares what comes out."""
    options = ["--", *cluster.options(2)]
    with building(folder, IMAGES, options) as process:
        wait_for(begun, process)
        time.sleep(after_s)
        committed, asked = committed_urls(folder / "out"), len(requests_seen(folder))
        kill()
        assert process.wait(PATIENCE_S) == 0, process.stderr.read()[-3000:]
    assert_same(folder, reference)
    assert asked_again(folder, committed, asked) == []


def kill_task_manager(cluster):
    os.killpg(cluster.attach().pid("task-manager-0"), signal.SIGKILL)


def test_a_killed_task_manager_changes_nothing(cluster, reference, tmp_path):
    """Killed while images are fetched: Flink runs the job again on the other, from the committed parts on."""
    try:
        killed(cluster, reference, tmp_path, lambda: kill_task_manager(cluster),
               lambda: next((tmp_path / "out").glob("images/*/shard-0000/part-00000.json"), None))
    finally:
        cluster.restart("task-manager-0")


def test_a_cluster_without_free_slots_is_one_line(cluster):
    end = time.monotonic() + PATIENCE_S    # the TaskManager that the test before killed is forgotten after a while
    while cluster.overview()["slots-total"] != 4 and time.monotonic() < end:
        time.sleep(0.5)
    with pytest.raises(UsageError, match="parallelism 64 needs as many slots and 4 of 4 are free"):
        cluster.options(64)


@pytest.mark.slow
@pytest.mark.parametrize("parallelism", [1, 2, 4])
def test_every_parallelism(cluster, reference, tmp_path, parallelism):
    build(tmp_path, IMAGES, ["--", *cluster.options(parallelism)])
    assert_same(tmp_path, reference)


@pytest.mark.slow
def test_prism(reference, tmp_path):
    try:
        program = install_prism(pathlib.Path(HOME) if HOME else tmp_path)
    except UsageError as error:
        pytest.skip(str(error))
    build(tmp_path / "prism", IMAGES, ["--", "--runner=PrismRunner", f"--prism_location={program}"])
    assert_same(tmp_path / "prism", reference)


@pytest.mark.slow
def test_two_workers_of_the_local_runner(reference, tmp_path):
    build(tmp_path, IMAGES, ["--workers", "2"])
    assert_same(tmp_path, reference)


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_a_task_manager_killed_in_every_stage(cluster, reference, tmp_path, stage):
    after_s = random.Random(f"1-{stage}").random() * 6
    try:
        killed(cluster, reference, tmp_path, lambda: kill_task_manager(cluster),
               lambda: (tmp_path / "out" / stage).exists(), after_s)
    finally:
        cluster.restart("task-manager-0")


@pytest.mark.slow
def test_a_killed_python_worker_changes_nothing(cluster, reference, tmp_path):
    def kill():
        pool = cluster.attach().pid("worker-pool")
        for child in pathlib.Path(f"/proc/{pool}/task/{pool}/children").read_text().split()[:1]:
            os.kill(int(child), signal.SIGKILL)
    killed(cluster, reference, tmp_path, kill,
           lambda: next((tmp_path / "out").glob("images/*/shard-0000/part-00000.json"), None))


@pytest.mark.slow
def test_a_job_server_that_is_restarted_wants_the_same_command_again(cluster, reference, tmp_path):
    with building(tmp_path, IMAGES, ["--", *cluster.options(2)]) as process:
        wait_for(lambda: (tmp_path / "out" / "images").exists(), process)
        cluster.restart("job-server")
        process.wait(PATIENCE_S)
        wait_for_jobs(cluster)
        committed, asked = committed_urls(tmp_path / "out"), len(requests_seen(tmp_path))
        run(dataset_command(tmp_path / "web.json", tmp_path / "out", ["--", *cluster.options(2)]))
    assert_same(tmp_path, reference)
    assert asked_again(tmp_path, committed, asked) == []


def wait_for_jobs(cluster):
    """Flink goes on with a job whose job server is gone."""
    end = time.monotonic() + PATIENCE_S
    while cluster.overview()["jobs-running"]:
        assert time.monotonic() < end
        time.sleep(0.2)
