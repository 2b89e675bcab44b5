"""One settings file: every name, no other, in its range."""
import pytest

from crawl.errors import UsageError
from deploy.configuration import flink_conf, task_heap_mib
from deploy.settings import FILE, read_settings


def test_the_projects_own_file():
    settings = read_settings()
    assert settings.flink_minor == settings.flink_version.rpartition(".")[0]
    assert settings.task_managers * settings.slots >= 4
    assert task_heap_mib(settings) >= 256


@pytest.mark.parametrize("old, new, says", [
    ("SLOTS=2", "SLOTS=0", "SLOTS=0 is not a whole number from 1"),
    ("SLOTS=2", "SLOTS=many", "SLOTS=many is not a whole number"),
    ("SLOTS=2", "", "SLOTS is missing"),
    ("SLOTS=2", "SLOTS=2\nSPEED=9", "SPEED is no setting"),
    ("SLOTS=2", "two slots", "'two slots' is not NAME=VALUE"),
    ("REST_PORT=8081", "REST_PORT=70000", "REST_PORT=70000 is not a whole number from 0 to 65535"),
    ("FLINK_VERSION=", "FLINK_VERSION=latest ", "is not a version such as"),
])
def test_a_bad_setting_is_one_line(tmp_path, old, new, says):
    path = tmp_path / "flink.env"
    path.write_text(FILE.read_text().replace(old, new))
    with pytest.raises(UsageError, match=says):
        read_settings(path)


def test_everything_listens_on_loopback(tmp_path):
    lines = flink_conf(read_settings(), 1, 2, str(tmp_path)).splitlines()
    hosts = [line for line in lines if "host" in line.partition(":")[0] or "address" in line.partition(":")[0]]
    assert len(hosts) == 6
    assert all(line.endswith(": 127.0.0.1") for line in hosts)
