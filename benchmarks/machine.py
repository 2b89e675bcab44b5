"""Names the machine in a result file, without naming a host or a path."""
from __future__ import annotations

import json
import os
import pathlib
import platform
import resource
from typing import Any

RESULTS = pathlib.Path(__file__).resolve().parent / "results"


def describe() -> dict[str, Any]:
    """Returns processor, cores, memory in GiB and Python of this machine."""
    model = "unknown processor"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {"processor": model, "cores": os.cpu_count(), "memory_gib": round(memory, 1),
            "python": platform.python_version(), "load": [round(load, 1) for load in os.getloadavg()],
            "note": "shared cores: times vary by 10-25 %; load: 1, 5 and 15 minutes before the end"}


def peak_mib_of_children() -> float:
    """Returns the largest resident size any finished child process had, in MiB."""
    return round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024, 1)


def write_result(name: str, command: str, result: dict[str, Any]) -> pathlib.Path:
    """Writes `results/NAME.json` with the machine and the command that repeats it; returns the path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    value = {"command": command, "machine": describe()} | result
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")
    return path
