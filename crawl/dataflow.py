"""What a run on Dataflow needs besides Beam's own options, said before anything starts.

No job has been run there; docs/dataflow.md says what is known and how.
"""
from __future__ import annotations

import argparse
import importlib.util
import pathlib
from collections.abc import Sequence

from crawl.errors import UsageError
from crawl.storage import is_remote

# One element at a time in a worker process: the pace that every address is asked at is kept in the process that asks
# (crawl/address_pace.py, crawl/visits.py), and two threads of one process would each start a sandbox of their own.
THREADS = "--number_of_worker_harness_threads=1"
_NAMES = ("dataflow", "dataflowrunner")


def dataflow_options(given: Sequence[str], out: str) -> list[str]:
    """Returns what must be added to Beam's options for Dataflow; nothing for any other runner.

    Args:
        given: the words after `--`.
        out: the output root.

    Raises UsageError for what could only fail, or ask sites too fast, once workers run.

    >>> dataflow_options(["--runner=FlinkRunner"], "data")
    []
    """
    options = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name in ("--runner", "--setup_file", "--sdk_container_image", "--template_location",
                 "--number_of_worker_harness_threads"):
        options.add_argument(name, default="")
    try:
        said, _ = options.parse_known_args(list(given))
    except argparse.ArgumentError:
        return []                                  # Beam says the same of it, by its own name
    if said.runner.rpartition(".")[2].lower() not in _NAMES:
        return []
    if not is_remote(out):
        raise UsageError(f"--out {out}: workers of Dataflow do not see this machine's disk; name a place as "
                         "gs://BUCKET/DIR")
    if not said.setup_file and not said.sdk_container_image:
        raise UsageError("options after `--`: workers of Dataflow have no imagebert; give --setup_file=./setup.py from "
                         "a checkout, or --sdk_container_image=IMAGE with the package in it (docs/dataflow.md)")
    if said.setup_file and not pathlib.Path(said.setup_file).is_file():
        raise UsageError(f"options after `--`: --setup_file={said.setup_file} is not a file; name the setup.py of a "
                         "checkout")
    if said.template_location:
        raise UsageError("options after `--`: --template_location would keep the first job of a stage with the inputs "
                         "of today, and nobody to commit its manifest; run the stage's own command (docs/dataflow.md)")
    threads = said.number_of_worker_harness_threads
    if threads not in ("", "1"):
        raise UsageError(f"options after `--`: --number_of_worker_harness_threads={threads}: paces are kept by "
                         "process, so it is 1; leave it out, and raise --num_workers")
    if not _has_client():
        raise UsageError("Dataflow's client is not installed; pip install 'imagebert-lait[dataflow]'")
    return [] if threads else [THREADS]


def _has_client() -> bool:
    try:
        return importlib.util.find_spec("google.cloud.dataflow") is not None
    except ModuleNotFoundError:                    # not even google.cloud
        return False
