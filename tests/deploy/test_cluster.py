"""What is wrong about a start or a job is one line, and nothing that was started is left running."""
import contextlib
import dataclasses
import http.server
import json
import os
import socket
import threading

import pytest

from crawl.errors import UsageError
from crawl.runner import beam_runner
from deploy import flink
from deploy.cluster import Cluster
from deploy.processes import Started, State, _began, write_state
from deploy.settings import FILE, read_settings
from tests.deploy.test_compose import free_ports
from tests.deploy.test_install import program


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home where everything is installed, and a Java 17 that does what `java` of the folder `bin` says."""
    home = tmp_path / "home"
    settings = read_settings()
    wrapper = home / "gradle" / "wrapper"
    (wrapper / f"flink-{settings.flink_version}").mkdir(parents=True)
    jars = wrapper / f"job-server-{settings.flink_minor}-{settings.beam_runner_version}"
    jars.mkdir()
    (jars / f"beam-runners-flink-{settings.flink_minor}-{settings.beam_runner_version}.jar").touch()
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    java(tmp_path, "sleep 60")
    return home


def java(folder, does):
    program(folder / "bin", "java", f"""[ "$1" = -version ] && {{ echo 'openjdk version "17.0.15"' >&2; exit; }}
echo $$ >> {folder}/pids
{does}""")


def settings_file(folder, **values):
    """Writes the project's settings with other values, all ports free ones; returns the path."""
    values = {"REST_PORT": 0, "JOB_PORT": 0, "WORKER_POOL_PORT": 0} | values
    path = folder / "flink.env"
    path.write_text("".join(f"{name}={values.get(name, value)}\n" for name, _, value in (
        line.partition("=") for line in FILE.read_text().splitlines() if "=" in line and not line.startswith("#"))))
    return path


def up(home, settings, capsys):
    """Runs `up`, which fails; returns its one line, once nothing of it runs any more."""
    assert flink.main(["up", "--home", str(home), "--settings", str(settings)]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert not (home / "state.json").exists()
    pids = home.parent / "pids"
    assert not any(_began(int(pid)) for pid in (pids.read_text().split() if pids.exists() else ()))
    return said.err


@pytest.mark.parametrize("name", ["REST_PORT", "JOB_PORT", "WORKER_POOL_PORT"])
def test_a_port_that_is_taken(home, tmp_path, capsys, name):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = up(home, settings_file(tmp_path, **{name: port}), capsys)
    assert f"{name}={port}: the port is taken on 127.0.0.1" in said and f"set {name}=0 for any free one" in said
    assert not (tmp_path / "pids").exists()


def test_a_process_that_ends_at_once_says_its_last_words(home, tmp_path, capsys):
    java(tmp_path, "echo Error: Could not find or load main class; exit 1")
    said = up(home, settings_file(tmp_path), capsys)
    assert "job-manager ended at once: Error: Could not find or load main class" in said


def test_a_process_that_does_not_answer_is_stopped(home, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("deploy.cluster._UP_S", 1.0)
    said = up(home, settings_file(tmp_path), capsys)
    assert "job-manager: Flink did not answer within 1 s; its log is " in said
    assert (tmp_path / "pids").read_text()


def test_a_job_server_of_another_flink(home, tmp_path, capsys):
    jar = tmp_path / "beam-runners-flink-2.2-job-server-2.77.0.jar"
    jar.touch()
    said = up(home, settings_file(tmp_path, JOB_SERVER_JAR=jar), capsys)
    assert "is made for Flink 2.2 and the cluster is Flink" in said and "set JOB_SERVER_JAR to" in said


def test_a_job_server_jar_that_is_missing(home, tmp_path, capsys):
    said = up(home, settings_file(tmp_path, JOB_SERVER_JAR=tmp_path / "none.jar"), capsys)
    assert "none.jar: there is no such file" in said


def test_a_home_that_cannot_be_written(home, tmp_path, capsys):
    (home / "conf").write_text("a file where a folder must be")
    assert f"{home / 'conf'}: File exists; make room" in up(home, settings_file(tmp_path), capsys)


@contextlib.contextmanager
def running(home, slots_free=4, pool=True):
    """Yields a cluster that seems to run: this process, a REST interface that says so, an open job port."""
    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"taskmanagers": 2, "slots-total": 4, "slots-available": slots_free}).encode())

        def log_message(self, *_):
            pass

    with (http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as rest, socket.socket() as job,
          socket.socket() as worker):
        for one in (job, worker):
            one.bind(("127.0.0.1", 0))
        job.listen()
        if pool:
            worker.listen()
        threading.Thread(target=rest.serve_forever, daemon=True).start()
        home.mkdir(exist_ok=True)
        write_state(home, State((Started("job-manager", os.getpid(), _began(os.getpid())),), {
            "rest": rest.server_port, "job": job.getsockname()[1], "artifact": 1,
            "worker_pool": worker.getsockname()[1]}))
        try:
            yield Cluster(home, free_ports(read_settings()))
        finally:
            rest.shutdown()


def test_a_worker_pool_that_does_not_answer(tmp_path):
    with running(tmp_path, pool=False) as cluster, pytest.raises(UsageError, match=(
            r"worker-pool does not answer on 127.0.0.1:\d+; `python -m deploy.flink restart worker-pool --home .*` "
            "starts it again")):
        cluster.options(2)


def test_a_cluster_that_is_full(tmp_path):
    with running(tmp_path, slots_free=1) as cluster:
        with pytest.raises(UsageError, match="parallelism 2 needs as many slots and 1 of 4 are free; wait"):
            cluster.options(2)
        assert "--parallelism=1" in cluster.options(1)


def test_a_job_for_which_slots_are_missing():
    def full(root):
        raise RuntimeError("org.apache.flink...NoResourceAvailableException: Could not acquire the minimum required")

    with pytest.raises(UsageError, match="filter: the cluster has too few free slots for this job; wait for the jobs"):
        beam_runner(1, [])("filter", full)


def test_the_settings_that_start_a_cluster_say_how_often_a_job_is_run_again(tmp_path):
    with running(tmp_path) as cluster:
        cluster.settings = dataclasses.replace(cluster.settings, restarts=5, restart_delay_s=4)
        assert {"--number_of_execution_retries=5", "--execution_retry_delay=4000"} <= set(cluster.options(2))
