"""What docker-compose.yml starts is what `python -m deploy.flink up` starts, from the same settings."""
import contextlib
import dataclasses
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest
import yaml

from crawl.errors import UsageError
from deploy.builds import build, facts_of
from deploy.cluster import ROOT, Cluster
from deploy.install import check_java
from deploy.settings import FILE, read_settings

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
HOME, IMAGES = os.environ.get("IMAGEBERT_FLINK_HOME"), int(os.environ.get("IMAGEBERT_FLINK_IMAGES", "60"))


def free_ports(settings):
    """Returns settings whose ports are any free ones."""
    return dataclasses.replace(settings, rest_port=0, job_port=0, worker_pool_port=0)


def roles():
    """Returns the words behind `python -m deploy.flink run` of each service of the cluster."""
    return {name: service["command"] for name, service in COMPOSE["services"].items()
            if service.get("entrypoint") == ["python", "-m", "deploy.flink", "run"]}


def test_a_service_for_each_process_of_the_cluster_and_no_other():
    assert sorted(roles()) == sorted(Cluster(pathlib.Path("x"), read_settings()).roles)
    for name, words in roles().items():
        assert words == [name, "--home", "/opt/flink", "--settings", "deploy/flink.env"]
    assert (ROOT / "deploy/flink.env").samefile(FILE)


def test_every_service_is_on_the_address_that_everything_listens_on():
    for name, service in COMPOSE["services"].items():
        assert name == "web" or service["network_mode"] == "service:web", name


def test_debians_docker_compose_takes_the_file():
    program = shutil.which("docker-compose")
    if program is None:
        pytest.skip("docker-compose is not installed (Debian's package of this name)")
    ended = subprocess.run([program, "--env-file", str(FILE), "config"], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    read = yaml.safe_load(ended.stdout)["services"]
    settings = read_settings()
    assert read["task-manager-1"]["mem_limit"] == f"{settings.task_manager_mib}m"
    assert str(settings.rest_port) in str(read["job-manager"]["healthcheck"]["test"])


def test_a_role_by_itself_wants_fixed_ports_and_a_name_there_is(tmp_path):
    with pytest.raises(UsageError, match="run job-manger: name one of job-manager, task-manager-0"):
        Cluster(tmp_path, read_settings()).run("job-manger")
    with pytest.raises(UsageError, match="REST_PORT is 0, any free port, which the other processes would not know"):
        Cluster(tmp_path, free_ports(read_settings())).run("job-manager")
    command, environment = Cluster(tmp_path, read_settings()).run("worker-pool")
    assert command[1:] == ["-m", "deploy.worker_pool", "--port", "50000"] and environment["PYTHONPATH"] == str(ROOT)


@pytest.mark.flink
def test_the_services_as_processes_make_the_same_dataset(tmp_path):
    """Each role started by the words of its service, at fixed ports: a build equal to one without a cluster."""
    try:
        check_java()
    except UsageError as error:
        pytest.skip(str(error))
    home = pathlib.Path(HOME) if HOME else tmp_path / "flink"
    settings, first = tmp_path / "flink.env", free_range(200)
    ports = {"REST_PORT": first, "JOB_PORT": first + 10, "WORKER_POOL_PORT": first + 20}
    settings.write_text("".join(f"{name}={ports.get(name, value)}\n" for name, _, value in (
        line.partition("=") for line in FILE.read_text().splitlines() if "=" in line and not line.startswith("#"))))
    place = {"/opt/flink": str(home), "deploy/flink.env": str(settings)}
    started = {}
    try:
        for name, words in roles().items():
            with (tmp_path / name).open("w") as said:
                started[name] = subprocess.Popen(
                    [sys.executable, "-m", "deploy.flink", "run", *(place.get(word, word) for word in words)], cwd=ROOT,
                    stdout=said, stderr=said, start_new_session=True)
        cluster, end = Cluster(tmp_path / "elsewhere", read_settings(settings)), time.monotonic() + 600
        options = None
        while options is None:
            try:
                options = cluster.options(2)
            except UsageError as error:
                for name, process in started.items():
                    assert process.poll() is None, (name, (tmp_path / name).read_text()[-1000:])
                assert time.monotonic() < end, error
                time.sleep(0.5)
        build(tmp_path / "there", IMAGES, ["--", *options])
    finally:
        end_all(started.values())
    build(tmp_path / "here", IMAGES, [])
    assert not facts_of(tmp_path / "there" / "out").differences(facts_of(tmp_path / "here" / "out"))


def end_all(processes):
    """Ends processes and what they started: asked first, killed after a while."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(60)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def free_range(count):
    """Returns the first of `count` ports of which the first and some behind it are free now."""
    for first in range(20000, 60000, count):
        with socket.socket() as one, socket.socket() as two:
            try:
                one.bind(("127.0.0.1", first))
                two.bind(("127.0.0.1", first + 10))
            except OSError:
                continue
            return first
    raise AssertionError("no free ports")
