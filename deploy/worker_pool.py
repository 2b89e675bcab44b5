"""The pool of Python workers that several TaskManagers share, on loopback.

Beam's own entry point is made for one TaskManager beside it: it listens on every interface, and it knows a worker by an
id that every TaskManager counts from 1, so that one of them stops the worker of another.  Here a worker is known by
the address of who asked for it, and lives as long as somebody listens there: the TaskManager closes that address
when the job is done or given up, and the kernel does when the TaskManager is killed.  So no worker of a job that is
over goes on fetching.
"""
from __future__ import annotations

import argparse
import signal
import socket
import subprocess
import sys
import threading
from typing import Any

import grpc
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc
from apache_beam.utils.thread_pool_executor import shared_unbounded_instance

_WORKER = ("import sys; from apache_beam.runners.worker.sdk_worker import SdkHarness; "
           "SdkHarness(sys.argv[1], worker_id=sys.argv[2], state_cache_size=0, data_buffer_time_limit_ms=-1).run()")
_LOOK_S = 0.5


class WorkerPool(beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolServicer):
    """Starts a process for each worker it is asked for, and ends those that nobody listens to any more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._workers: dict[tuple[str, str], subprocess.Popen[bytes]] = {}

    def StartWorker(self, request: Any, context: Any) -> Any:
        """Answers once the process is started; Beam's name and signature."""
        address = request.control_endpoint.url
        with self._lock:
            self._workers[address, request.worker_id] = subprocess.Popen(
                [sys.executable, "-c", _WORKER, address, request.worker_id], stdin=subprocess.DEVNULL)
        return beam_fn_api_pb2.StartWorkerResponse()

    def StopWorker(self, request: Any, context: Any) -> Any:
        """Answers only: the id alone does not say whose worker it is, and the closed address will."""
        return beam_fn_api_pb2.StopWorkerResponse()

    def end_the_abandoned(self) -> None:
        """Kills the workers whose address is closed; forgets those that have ended."""
        with self._lock:
            workers = dict(self._workers)
        for key, process in workers.items():
            if process.poll() is None and not _is_open(key[0]):
                process.kill()
                process.wait()
            if process.poll() is not None:
                with self._lock:
                    del self._workers[key]

    def end_all(self) -> None:
        """Kills every worker."""
        with self._lock:
            for process in self._workers.values():
                process.kill()
                process.wait()


def _is_open(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except ConnectionRefusedError:
        return False
    except OSError:
        return True                # too busy to answer is not gone
    return True


def main() -> None:
    """Serves until it is told to stop."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--port", type=int, required=True)
    port = options.parse_args().port
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    server, pool = grpc.server(shared_unbounded_instance(), options=[("grpc.so_reuseport", 0)]), WorkerPool()
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(pool, server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    while not stop.wait(_LOOK_S):
        pool.end_the_abandoned()
    server.stop(0)
    pool.end_all()


if __name__ == "__main__":
    main()
