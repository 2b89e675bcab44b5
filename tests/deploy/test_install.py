"""What is missing is said in one line, before anything is started."""
import dataclasses
import os
import stat

import pytest

from crawl.errors import UsageError
from deploy import flink
from deploy.install import check_java, install_job_server
from deploy.settings import read_settings


def program(folder, name, text):
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_no_java_is_one_line_and_exit_status_2(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert flink.main(["up", "--home", str(tmp_path / "home")]) == 2
    assert capsys.readouterr().err == ("deploy.flink: Flink needs Java and there is none on the PATH; install Java 17 "
                                       "(Debian: apt-get install openjdk-17-jre-headless)\n")
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("said, version", [('openjdk version "1.8.0_402"', "8"), ('openjdk version "25.0.1"', "25")])
def test_another_java(tmp_path, monkeypatch, said, version):
    program(tmp_path, "java", f"echo '{said}' >&2")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(UsageError, match=rf"is Java {version}; Flink needs Java 11 or 17"):
        check_java()


@pytest.mark.parametrize("name, there, says", [
    ("job-server.jar", False, "there is no such file"),
    ("beam-runners-flink-1.20-job-server-2.62.0.jar", True, "made for Flink 1.20 and the cluster is Flink 1.19.3"),
    ("else.jar", True, r"made for Flink \? and the cluster"),
])
def test_a_job_server_that_is_missing_or_of_another_flink(tmp_path, name, there, says):
    jar = tmp_path / name
    if there:
        jar.write_bytes(b"")
    settings = dataclasses.replace(read_settings(), job_server_jar=str(jar))
    with pytest.raises(UsageError, match=says):
        install_job_server(tmp_path, settings)


def test_a_registry_that_has_no_such_version(tmp_path, monkeypatch):
    program(tmp_path, "mvn", "echo '[ERROR] Could not find artifact x'; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "gradle" / "wrapper").mkdir(parents=True)
    with pytest.raises(UsageError, match="set BEAM_RUNNER_VERSION to one that is there.*Could not find artifact x"):
        install_job_server(tmp_path, read_settings())
    assert not list((tmp_path / "gradle" / "wrapper").iterdir())


def test_options_without_a_cluster(tmp_path, capsys):
    assert flink.main(["options", "--home", str(tmp_path)]) == 2
    assert "no cluster runs here; start one with" in capsys.readouterr().err
