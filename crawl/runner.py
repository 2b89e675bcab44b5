"""What runs a job: Beam's local runner, named explicitly, or the engine that Beam's own options name."""
from __future__ import annotations

import atexit
import contextlib
import gc
import io
import logging
import re
from collections.abc import Callable
from typing import Any

from crawl import progress
from crawl.errors import UsageError

Run = Callable[[str, Callable[[Any], None]], None]   # run(name, build) wires a Beam pipeline and runs it to its end


def beam_runner(workers: int, beam_arguments: list[str]) -> Run:
    """Returns what runs a Beam pipeline: in this process by default, elsewhere by Beam's own options.

    Args:
        workers: processes of the local runner.
        beam_arguments: Beam's options, such as --runner=FlinkRunner.

    Raises UsageError for options that Beam does not have, also from `run` where the chosen runner misses some.
    """
    logging.getLogger("apache_beam").setLevel(logging.ERROR)      # it warns of cloud clients that nobody asked for
    logging.getLogger().addFilter(lambda record: "apitools" not in record.getMessage())
    logging.getLogger("apache_beam.runners.common").addFilter(_is_no_usage_error)
    gc.disable()
    import apache_beam as beam
    from apache_beam.options.pipeline_options import GoogleCloudOptions, StandardOptions
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner, worker_handlers

    # Every second a timer of the runner hands over what is being written to a worker and clears the buffer after that;
    # what was written in between is gone, 10 MB at a time.  Without it the runner sends when a bundle's input is whole.
    worker_handlers.DATA_BUFFER_TIME_LIMIT_MS = 0

    # What is imported stays to the end: looking through it for garbage again and again took a sixth of a stage's time.
    gc.freeze()
    atexit.register(gc.unfreeze)         # else what is frozen looks leaked to libraries that count at the end
    gc.enable()
    # FnApiRunner by name: the default first tries to download another one; `multi_threading` grows without bound.
    local = ["--direct_num_workers", str(workers),
             "--direct_running_mode", "multi_processing" if workers > 1 else "in_memory"]
    options = _beam_options(local, beam_arguments)
    chosen = options.view_as(StandardOptions).runner
    named = options.view_as(GoogleCloudOptions).job_name
    _check_services(options)

    def run(name: str, build: Callable[[Any], None]) -> None:
        _check_services(options)
        if named is None and "Dataflow" not in (chosen or ""):      # there a name may run only once at a time
            options.view_as(GoogleCloudOptions).job_name = job_name(name)
        try:
            pipeline = beam.Pipeline(runner=chosen or FnApiRunner(), options=options)
        except ValueError as error:                           # such as Dataflow without a project
            raise UsageError(f"options after `--`: {error}") from error
        try:
            with progress.shown(name), pipeline as root:
                build(root)
        except (UsageError, RuntimeError) as error:
            if "NoResourceAvailable" in str(error):
                raise UsageError(f"{name}: the cluster has too few free slots for this job; wait for the jobs that "
                                 "run, lower --parallelism, or add workers; then run the same command again") from error
            if "UsageError: " not in str(error) and not isinstance(error, UsageError):
                raise
            # Beam says behind the line where it was; a worker of its own sends its whole traceback as text.
            line = str(error).rpartition("UsageError: ")[2].splitlines()[0]
            raise UsageError(line.partition(" [while running")[0]) from error

    return run


def job_name(name: str) -> str:
    """Returns what an engine's own page calls a job.

    >>> job_name("crawl: fetch round 1, 40 pages")
    'imagebert-crawl-fetch-round-1-40-pages'
    """
    return re.sub(r"[^a-z0-9]+", "-", f"imagebert {name}".lower()).strip("-")


def _is_no_usage_error(record: logging.LogRecord) -> bool:
    """Returns whether a record is worth its traceback: a person's mistake is told in one line when it arrives."""
    return not (record.exc_info and isinstance(record.exc_info[1], UsageError))


def _check_services(options: Any) -> None:
    """Raises UsageError when a job server or a worker pool that is named by address does not answer."""
    import socket

    from apache_beam.options.pipeline_options import PortableOptions
    chosen = options.view_as(PortableOptions)
    named = {"job_endpoint": chosen.job_endpoint}
    if chosen.environment_type == "EXTERNAL":
        named["environment_config"] = chosen.environment_config
    for option, address in named.items():
        host, _, port = (address or "").rpartition(":")
        if not host or not port.isdecimal():
            continue
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except OSError as error:
            what = "job server" if option == "job_endpoint" else "worker pool"
            raise UsageError(f"no {what} answers at --{option}={address} ({error.strerror or error}); "
                             f"start it, or name the right address, and run the same command again") from error


def _beam_options(local: list[str], given: list[str]) -> Any:
    """Returns Beam's options; raises UsageError for a word that is none, an unknown one, or a value of a wrong type."""
    from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
    from apache_beam.runners import create_runner
    if given and not given[0].startswith("--"):
        raise UsageError(f"after `--` come Beam's own options, such as --runner=FlinkRunner, not {given[0]!r}")
    options = PipelineOptions(local + given)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):                # argparse prints its usage, longer than a screen
            known, kept = options.get_all_options(), options.get_all_options(retain_unknown_options=True)
    except SystemExit:
        raise UsageError(f"options after `--`: {said.getvalue().rpartition('error: ')[2].strip()}") from None
    chosen = options.view_as(StandardOptions).runner
    if chosen is None and kept.keys() > known.keys():         # a remote runner may have options of its own
        raise UsageError(f"options after `--`: Beam has no option --{min(kept.keys() - known.keys())}; check "
                         f"its spelling, or name the --runner that has it")
    try:
        create_runner(chosen or "FnApiRunner")
    except (ValueError, ImportError, AttributeError) as error:
        raise UsageError(f"options after `--`: --runner={chosen}: {error}") from error
    return options
