"""A Flink cluster on loopback: JobManager, TaskManagers, Beam's job server, a pool of Python workers."""
from __future__ import annotations

import json
import os
import pathlib
import sys
import time
import urllib.error
import urllib.request
from typing import Any

from crawl.errors import UsageError
from deploy.configuration import JAVA_OPENS, flink_conf, log_conf, task_manager_java
from deploy.install import check_java, install
from deploy.processes import (
    Started,
    State,
    is_running,
    listens,
    port_for,
    read_state,
    start,
    stop,
    wait_until,
    write_state,
)
from deploy.settings import Settings

ROOT = pathlib.Path(__file__).resolve().parent.parent
_JOB_MANAGER = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
_TASK_MANAGER = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
_JOB_SERVER = "org.apache.beam.runners.flink.FlinkJobServerDriver"
_UP_S = 120.0


class Cluster:
    """The cluster of one home folder: what is started is stopped, also after a start that failed."""

    def __init__(self, home: pathlib.Path, settings: Settings) -> None:
        self.home = home.absolute()
        self.settings = settings
        self._started: list[Started] = []
        self._ports: dict[str, int] = {}

    def up(self) -> State:
        """Installs what is missing and starts everything; returns when a job can be sent."""
        before = read_state(self.home)
        if before and any(is_running(one) for one in before.processes):
            raise UsageError(f"{self.home}: a cluster runs here already; stop it with "
                             f"`python -m deploy.flink down --home {self.home}`")
        java = check_java()
        try:
            self.home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{self.home}: cannot be made ({error.strerror}); name another --home") from error
        ports = {"rest": port_for("REST_PORT", self.settings.rest_port),
                 "job": port_for("JOB_PORT", self.settings.job_port),
                 "worker_pool": port_for("WORKER_POOL_PORT", self.settings.worker_pool_port)}
        ports |= {name: port_for(name, 0) for name in ("rpc", "artifact", "expansion")}
        self._ports = ports
        lib, job_server = install(self.home, self.settings)
        try:
            self._configure()
            self._start_flink(java, lib, job_server)
            self.start_worker_pool()
            self.start_job_server(java, lib, job_server)
        except BaseException:
            stop(tuple(self._started))
            (self.home / "state.json").unlink(missing_ok=True)
            raise
        return State(tuple(self._started), ports)

    def attach(self) -> State:
        """Returns the state of the running cluster; raises UsageError where none runs."""
        state = read_state(self.home)
        if state is None or not any(is_running(one) for one in state.processes):
            raise UsageError(f"{self.home}: no cluster runs here; start one with "
                             f"`python -m deploy.flink up --home {self.home}`")
        self._started, self._ports = list(state.processes), state.ports
        return state

    def down(self) -> int:
        """Stops everything that was started here; returns how many processes still ran."""
        state = read_state(self.home)
        if state is None:
            return 0
        running = sum(is_running(one) for one in state.processes)
        stop(state.processes)
        (self.home / "state.json").unlink(missing_ok=True)
        return running

    def restart(self, name: str) -> None:
        """Stops one process of the cluster and starts it again on its port."""
        stop(tuple(one for one in self._started if one.name == name))
        self._started = [one for one in self._started if one.name != name]
        java, (lib, job_server) = check_java(), install(self.home, self.settings)
        if name == "job-server":
            self.start_job_server(java, lib, job_server)
        elif name == "worker-pool":
            self.start_worker_pool()
        else:
            self._start_task_manager(java, lib, job_server, name)

    def options(self, parallelism: int) -> list[str]:
        """Returns Beam's options for a job on the running cluster.

        Raises UsageError when the job server or the worker pool does not answer, or slots are missing.
        """
        state = self.attach()
        for name, port in (("job-server", "job"), ("worker-pool", "worker_pool")):
            if not listens(state.ports[port]):
                raise UsageError(f"{name} does not answer on 127.0.0.1:{state.ports[port]}; "
                                 f"`python -m deploy.flink restart {name} --home {self.home}` starts it again")
        overview = self.overview()
        if overview["slots-available"] < parallelism:
            raise UsageError(f"parallelism {parallelism} needs as many slots and {overview['slots-available']} of "
                             f"{overview['slots-total']} are free; wait for the jobs that run, or raise TASK_MANAGERS "
                             "or SLOTS in the settings and start the cluster again")
        return ["--runner=PortableRunner", f"--job_endpoint=127.0.0.1:{state.ports['job']}",
                f"--artifact_endpoint=127.0.0.1:{state.ports['artifact']}",
                "--environment_type=EXTERNAL", f"--environment_config=127.0.0.1:{state.ports['worker_pool']}",
                f"--parallelism={parallelism}", f"--number_of_execution_retries={self.settings.restarts}",
                f"--execution_retry_delay={1000 * self.settings.restart_delay_s}"]

    def overview(self) -> dict[str, Any]:
        """Returns Flink's own count of TaskManagers, slots and jobs; zeros while it does not answer."""
        return self.flink("overview") or {"taskmanagers": 0, "slots-total": 0, "slots-available": 0}

    def flink(self, path: str) -> Any:
        """Returns one answer of Flink's REST interface, None while there is none."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._ports['rest']}/{path}", timeout=5) as answer:
                return json.load(answer)
        except (OSError, urllib.error.URLError, ValueError):
            return None

    def _configure(self) -> None:
        (self.home / "conf").mkdir(exist_ok=True)
        (self.home / "work").mkdir(exist_ok=True)
        (self.home / "logs").mkdir(exist_ok=True)
        text = flink_conf(self.settings, self._ports["rest"], self._ports["rpc"], str(self.home / "work"))
        (self.home / "conf" / "config.yaml").write_text(text)

    def _start_flink(self, java: str, lib: pathlib.Path, job_server: pathlib.Path) -> None:
        heap = self.settings.job_manager_mib * 3 // 4
        manager = self._java("job-manager", java, lib, job_server, [f"-Xmx{heap}m", *JAVA_OPENS], _JOB_MANAGER,
                             ["--configDir", str(self.home / "conf"), "--executionMode", "cluster"])
        wait_until(lambda: self.flink("overview") is not None, manager, self.home, _UP_S, "Flink did not answer")
        for number in range(self.settings.task_managers):
            self._start_task_manager(java, lib, job_server, f"task-manager-{number}")

    def _start_task_manager(self, java: str, lib: pathlib.Path, job_server: pathlib.Path, name: str) -> None:
        before = self._task_managers()             # one that was just killed may be among them for a while
        one = self._java(name, java, lib, job_server, task_manager_java(self.settings), _TASK_MANAGER,
                         ["--configDir", str(self.home / "conf")])
        wait_until(lambda: bool(self._task_managers() - before), one, self.home, _UP_S, "it did not register")

    def _task_managers(self) -> set[str]:
        """Returns the ids of the TaskManagers that Flink knows; asks again while it does not answer."""
        end = time.monotonic() + _UP_S
        while (answer := self.flink("taskmanagers")) is None and time.monotonic() < end:
            time.sleep(0.2)
        return {one["id"] for one in (answer or {}).get("taskmanagers", ())}

    def start_worker_pool(self) -> None:
        """Starts the pool whose workers run our code, with this project and this Python first."""
        path = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])
        self._start("worker-pool", [sys.executable, "-m", "deploy.worker_pool", "--port",
                                    str(self._ports["worker_pool"])],
                    os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)}, "worker_pool")

    def start_job_server(self, java: str, lib: pathlib.Path, job_server: pathlib.Path) -> None:
        """Starts Beam's job server, which hands jobs to Flink."""
        ports = self._ports
        words = [f"--{name}-port={ports[name]}" for name in ("job", "artifact", "expansion")]
        one = self._java("job-server", java, lib, job_server, [f"-Xmx{self.settings.job_server_mib}m", *JAVA_OPENS],
                         _JOB_SERVER, ["--job-host=127.0.0.1", *words, f"--artifacts-dir={self.home / 'artifacts'}",
                                       f"--flink-master=127.0.0.1:{ports['rest']}",
                                       f"--flink-conf-dir={self.home / 'conf'}"])
        wait_until(lambda: listens(ports["job"]), one, self.home, _UP_S, "it did not listen")

    def _java(self, name: str, java: str, lib: pathlib.Path, job_server: pathlib.Path, options: list[str],
              main: str, words: list[str]) -> Started:
        conf = self.home / "conf" / f"{name}.properties"
        conf.write_text(log_conf(str(self.home / "logs" / f"{name}.log")))
        beam = str(job_server / "*") if job_server.is_dir() else str(job_server)
        return self._start(name, [java, *options, f"-Dlog4j.configurationFile={conf}", "-cp", f"{lib}/*:{beam}", main,
                                  *words], None, None)

    def _start(self, name: str, command: list[str], environment: dict[str, str] | None, port: str | None) -> Started:
        one = start(self.home, name, command, environment)
        self._started.append(one)
        write_state(self.home, State(tuple(self._started), self._ports))
        if port is not None:
            wait_until(lambda: listens(self._ports[port]), one, self.home, _UP_S, "it did not listen")
        return one
