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
_UP_S = 300.0                      # a start takes ten seconds; on a machine with other work, as long as it takes


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
        ports = {name: port_for(setting, port) for name, (setting, port) in self._wanted_ports().items()}
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

    def run(self, role: str) -> tuple[list[str], dict[str, str]]:
        """Returns command and environment of one process of the cluster, for who starts each by itself: containers.

        They are those of `up`, with the fixed ports of the settings.  Raises UsageError for a role there is not, and
        for settings without fixed ports.
        """
        if role not in self.roles:
            raise UsageError(f"run {role}: name one of {', '.join(self.roles)}")
        self._ports = {name: port for name, (_, port) in self._wanted_ports().items()}
        for name, (setting, port) in self._wanted_ports().items():
            if not port:
                raise UsageError(f"{setting} is 0, any free port, which the other processes would not know ({name}); "
                                 f"give it a number in the settings")
        self.home.mkdir(parents=True, exist_ok=True)
        if role == "worker-pool":
            return self._worker_pool()
        java = check_java()
        lib, job_server = install(self.home, self.settings)
        self._configure()
        if role == "job-manager":
            return self._job_manager(java, lib, job_server), dict(os.environ)
        if role == "job-server":
            return self._job_server(java, lib, job_server), dict(os.environ)
        return self._task_manager(java, lib, job_server, role), dict(os.environ)

    @property
    def roles(self) -> list[str]:
        """Returns the names of the cluster's processes, in the order of their start."""
        managers = [f"task-manager-{number}" for number in range(self.settings.task_managers)]
        return ["job-manager", *managers, "worker-pool", "job-server"]

    def _wanted_ports(self) -> dict[str, tuple[str, int]]:
        """Returns by use the setting that a port comes from and its number, 0 for any free one."""
        wanted = self.settings
        return {"rest": ("REST_PORT", wanted.rest_port), "job": ("JOB_PORT", wanted.job_port),
                "worker_pool": ("WORKER_POOL_PORT", wanted.worker_pool_port),
                "rpc": ("REST_PORT", wanted.rest_port and wanted.rest_port + 1),
                "artifact": ("JOB_PORT", wanted.job_port and wanted.job_port + 1),
                "expansion": ("JOB_PORT", wanted.job_port and wanted.job_port + 2)}

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
        ports = self._ports_that_answer()
        for name, port in (("job-server", "job"), ("worker-pool", "worker_pool")):
            if not listens(ports[port]):
                raise UsageError(f"{name} does not answer on 127.0.0.1:{ports[port]}; "
                                 f"`python -m deploy.flink restart {name} --home {self.home}` starts it again")
        overview = self.overview()
        if overview["slots-available"] < parallelism:
            raise UsageError(f"parallelism {parallelism} needs as many slots and {overview['slots-available']} of "
                             f"{overview['slots-total']} are free; wait for the jobs that run, or raise TASK_MANAGERS "
                             "or SLOTS in the settings and start the cluster again")
        return ["--runner=PortableRunner", f"--job_endpoint=127.0.0.1:{ports['job']}",
                f"--artifact_endpoint=127.0.0.1:{ports['artifact']}",
                "--environment_type=EXTERNAL", f"--environment_config=127.0.0.1:{ports['worker_pool']}",
                f"--parallelism={parallelism}", f"--number_of_execution_retries={self.settings.restarts}",
                f"--execution_retry_delay={1000 * self.settings.restart_delay_s}"]

    def _ports_that_answer(self) -> dict[str, int]:
        """Returns the ports of the cluster that `up` started here, or of one started by role at the settings' ports."""
        self._ports = {name: port for name, (_, port) in self._wanted_ports().items()}
        if read_state(self.home) is None and all(self._ports.values()) and self.flink("overview") is not None:
            return self._ports
        return self.attach().ports

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
        manager = self._start("job-manager", self._job_manager(java, lib, job_server), None, None)
        wait_until(lambda: self.flink("overview") is not None, manager, self.home, _UP_S, "Flink did not answer")
        for number in range(self.settings.task_managers):
            self._start_task_manager(java, lib, job_server, f"task-manager-{number}")

    def _start_task_manager(self, java: str, lib: pathlib.Path, job_server: pathlib.Path, name: str) -> None:
        before = self._task_managers()             # one that was just killed may be among them for a while
        one = self._start(name, self._task_manager(java, lib, job_server, name), None, None)
        wait_until(lambda: bool(self._task_managers() - before), one, self.home, _UP_S, "it did not register")

    def _task_managers(self) -> set[str]:
        """Returns the ids of the TaskManagers that Flink knows; asks again while it does not answer."""
        end = time.monotonic() + _UP_S
        while (answer := self.flink("taskmanagers")) is None and time.monotonic() < end:
            time.sleep(0.2)
        return {one["id"] for one in (answer or {}).get("taskmanagers", ())}

    def start_worker_pool(self) -> None:
        """Starts the pool whose workers run our code, with this project and this Python first."""
        self._start("worker-pool", *self._worker_pool(), "worker_pool")

    def start_job_server(self, java: str, lib: pathlib.Path, job_server: pathlib.Path) -> None:
        """Starts Beam's job server, which hands jobs to Flink."""
        one = self._start("job-server", self._job_server(java, lib, job_server), None, None)
        wait_until(lambda: listens(self._ports["job"]), one, self.home, _UP_S, "it did not listen")

    def _job_manager(self, java: str, lib: pathlib.Path, job_server: pathlib.Path) -> list[str]:
        heap = self.settings.job_manager_mib * 3 // 4
        return self._java("job-manager", java, lib, job_server, [f"-Xmx{heap}m", *JAVA_OPENS], _JOB_MANAGER,
                          ["--configDir", str(self.home / "conf"), "--executionMode", "cluster"])

    def _task_manager(self, java: str, lib: pathlib.Path, job_server: pathlib.Path, name: str) -> list[str]:
        return self._java(name, java, lib, job_server, task_manager_java(self.settings), _TASK_MANAGER,
                          ["--configDir", str(self.home / "conf")])

    def _worker_pool(self) -> tuple[list[str], dict[str, str]]:
        path = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])
        return ([sys.executable, "-m", "deploy.worker_pool", "--port", str(self._ports["worker_pool"])],
                os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)})

    def _job_server(self, java: str, lib: pathlib.Path, job_server: pathlib.Path) -> list[str]:
        words = [f"--{name}-port={self._ports[name]}" for name in ("job", "artifact", "expansion")]
        return self._java("job-server", java, lib, job_server, [f"-Xmx{self.settings.job_server_mib}m", *JAVA_OPENS],
                          _JOB_SERVER, ["--job-host=127.0.0.1", *words, f"--artifacts-dir={self.home / 'artifacts'}",
                                        f"--flink-master=127.0.0.1:{self._ports['rest']}",
                                        f"--flink-conf-dir={self.home / 'conf'}"])

    def _java(self, name: str, java: str, lib: pathlib.Path, job_server: pathlib.Path, options: list[str],
              main: str, words: list[str]) -> list[str]:
        conf = self.home / "conf" / f"{name}.properties"
        conf.write_text(log_conf(str(self.home / "logs" / f"{name}.log")))
        beam = str(job_server / "*") if job_server.is_dir() else str(job_server)
        return [java, *options, f"-Dlog4j.configurationFile={conf}", "-cp", f"{lib}/*:{beam}", main, *words]

    def _start(self, name: str, command: list[str], environment: dict[str, str] | None, port: str | None) -> Started:
        one = start(self.home, name, command, environment)
        self._started.append(one)
        write_state(self.home, State(tuple(self._started), self._ports))
        if port is not None:
            wait_until(lambda: listens(self._ports[port]), one, self.home, _UP_S, "it did not listen")
        return one
