"""The settings of a cluster: one file of NAME=VALUE lines, read here and by docker-compose.yml."""
from __future__ import annotations

import dataclasses
import pathlib
import re

from crawl.errors import UsageError

FILE = pathlib.Path(__file__).with_name("flink.env")
_VERSION = re.compile(r"\d+\.\d+\.\d+")


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """What a cluster is made of; sizes in MiB, ports 0 for any free one."""

    flink_version: str
    beam_runner_version: str
    job_server_jar: str
    task_managers: int
    slots: int                     # of one TaskManager
    job_manager_mib: int
    task_manager_mib: int
    job_server_mib: int
    rest_port: int
    job_port: int
    worker_pool_port: int
    restarts: int
    restart_delay_s: int

    @property
    def flink_minor(self) -> str:
        """Returns the version a runner is made for, such as 1.19."""
        return self.flink_version.rpartition(".")[0]


_AT_LEAST = {"task_managers": 1, "slots": 1, "job_manager_mib": 512, "task_manager_mib": 1024, "job_server_mib": 256}


def read_settings(path: pathlib.Path = FILE) -> Settings:
    """Returns the settings of a file; raises UsageError for a name that is missing or unknown, and for a bad value."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}; name a settings file with --settings") from error
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals:
            raise UsageError(f"{path}, line {number}: {line!r} is not NAME=VALUE")
        found[name.strip().lower()] = value.strip()
    fields = {field.name: field for field in dataclasses.fields(Settings)}
    for name in sorted(found.keys() ^ fields.keys()):
        raise UsageError(f"{path}: {name.upper()} is {'missing' if name in fields else 'no setting'}; "
                         f"{FILE.name} of the project has every name")
    values = {name: _value(path, name, found[name], fields[name].type == "int") for name in fields}
    return Settings(**values)      # type: ignore[arg-type]


def _value(path: pathlib.Path, name: str, text: str, is_number: bool) -> str | int:
    if not is_number:
        if name.endswith("version") and not _VERSION.fullmatch(text):
            raise UsageError(f"{path}: {name.upper()}={text} is not a version such as 1.19.3")
        return text
    least, most = _AT_LEAST.get(name, 0), 65535 if name.endswith("port") else 1 << 20
    if not text.isdecimal() or not least <= int(text) <= most:
        raise UsageError(f"{path}: {name.upper()}={text} is not a whole number from {least} to {most}")
    return int(text)
