"""Flink and the Beam job server from the package registries: no Docker, no download of another kind.

    HOME/gradle/wrapper/flink-1.19.3/*.jar              from the Python package apache-flink-libraries
    HOME/gradle/wrapper/job-server-1.19-2.62.0/*.jar    Beam's Flink runner and what it needs, by Maven

Both are on the class path of every process of the cluster.  Beam's job server would still upload its class path with
every job, 200 MB and more than ten seconds; files below a folder of this name are the only ones it leaves out.
"""
from __future__ import annotations

import importlib.metadata
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator

from crawl.errors import UsageError
from deploy.settings import Settings

JAVA_VERSIONS = (11, 17)           # what Flink 1.19 and Beam's runner for it run on
_TIMEOUT_S = 900
_NOT_UPLOADED = pathlib.PurePath("gradle", "wrapper")
_RUNNER = re.compile(r"beam-runners-flink-(\d+\.\d+)-(?:job-server-)?[\d.]+\.jar")
_POM = """<project><modelVersion>4.0.0</modelVersion>
<groupId>imagebert</groupId><artifactId>job-server</artifactId><version>1</version><dependencies>
<dependency><groupId>org.apache.beam</groupId><artifactId>beam-runners-flink-{flink}</artifactId>
<version>{beam}</version></dependency></dependencies></project>
"""


def check_java() -> str:
    """Returns the java command; raises UsageError where there is none, or one of another version."""
    java = shutil.which("java")
    if java is None:
        raise UsageError("Flink needs Java and there is none on the PATH; install Java 17 "
                         "(Debian: apt-get install openjdk-17-jre-headless)")
    said = subprocess.run([java, "-version"], capture_output=True, text=True).stderr
    found = re.search(r'version "(?:1\.)?(\d+)', said)
    if not found or int(found[1]) not in JAVA_VERSIONS:
        raise UsageError(f"{java} is Java {found[1] if found else 'of an unknown version'}; Flink needs Java "
                         f"{' or '.join(map(str, JAVA_VERSIONS))}: put one first on the PATH")
    return java


def install(home: pathlib.Path, settings: Settings) -> tuple[pathlib.Path, pathlib.Path]:
    """Returns the folders of Flink's jars and of the job server's; what is there already is not fetched again."""
    (home / _NOT_UPLOADED).mkdir(parents=True, exist_ok=True)
    job_server = install_job_server(home, settings)
    return install_flink(home, settings), job_server


def install_flink(home: pathlib.Path, settings: Settings) -> pathlib.Path:
    """Returns the folder of Flink's own jars."""
    target = home / _NOT_UPLOADED / f"flink-{settings.flink_version}"
    if not target.is_dir():
        with tempfile.TemporaryDirectory(dir=home) as temporary:
            folder = pathlib.Path(temporary)
            name = f"apache-flink-libraries=={settings.flink_version}"
            _fetch(f"{name} from the Python registry; set FLINK_VERSION to one that is there",
                   [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-build-isolation",
                    "--dest", str(folder), name])
            made = folder / "made"
            made.mkdir()
            for jar, data in _jars_of(next(path for path in folder.iterdir() if path.is_file())):
                (made / jar).write_bytes(data)
            made.rename(target)
    return target


def _jars_of(package: pathlib.Path) -> Iterator[tuple[str, bytes]]:
    """Yields name and bytes of the jars that batch jobs run on (tables and SQL are not ours), from either package."""
    wanted = re.compile(r"(?:.*/)?(?:deps|pyflink)/lib/((?:flink-dist|log4j)[^/]+\.jar)")
    if package.suffix == ".whl":
        with zipfile.ZipFile(package) as wheel:
            for name in wheel.namelist():
                if found := wanted.fullmatch(name):
                    yield found[1], wheel.read(name)
        return
    with tarfile.open(package) as source:
        for member in source:
            if (found := wanted.fullmatch(member.name)) and (file := source.extractfile(member)):
                yield found[1], file.read()


def install_job_server(home: pathlib.Path, settings: Settings) -> pathlib.Path:
    """Returns the folder of the job server's jars; raises UsageError for a missing jar or one for another Flink."""
    if settings.job_server_jar:
        jar = pathlib.Path(settings.job_server_jar)
        if not jar.is_file():
            raise UsageError(f"JOB_SERVER_JAR={jar}: there is no such file; leave it empty to fetch "
                             f"Beam's runner {settings.beam_runner_version} for Flink {settings.flink_minor}")
        _check_runner([jar.name], settings)
        return jar
    target = home / _NOT_UPLOADED / f"job-server-{settings.flink_minor}-{settings.beam_runner_version}"
    if not target.is_dir():
        maven = shutil.which("mvn")
        if maven is None:
            raise UsageError("the job server is fetched with Maven and there is no mvn on the PATH; install it "
                             "(Debian: apt-get install maven), or name a job server with JOB_SERVER_JAR")
        with tempfile.TemporaryDirectory(dir=home) as temporary:
            folder = pathlib.Path(temporary)
            (folder / "pom.xml").write_text(_POM.format(flink=settings.flink_minor,
                                                        beam=settings.beam_runner_version))
            _fetch(f"beam-runners-flink-{settings.flink_minor} {settings.beam_runner_version} from the Maven registry; "
                   "set BEAM_RUNNER_VERSION to one that is there, or JOB_SERVER_JAR to a job server you have",
                   [maven, "-B", "-q", "-f", str(folder / "pom.xml"), "dependency:copy-dependencies",
                    "-DincludeScope=runtime", f"-DoutputDirectory={folder / 'made'}"])
            # The cluster's own Flink and logging come from Flink's folder.
            for jar in (folder / "made").glob("*.jar"):
                if re.match(r"flink-|log4j|slf4j-(?!api)", jar.name):
                    jar.unlink()
            (folder / "made").rename(target)
    _check_runner([path.name for path in target.glob("*.jar")], settings)
    return target


def install_prism(home: pathlib.Path) -> pathlib.Path:
    """Returns Beam's Prism of the version of Beam that is installed, built from its Go module."""
    program = home / "prism"
    if not program.exists():
        go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
        if go is None:
            raise UsageError("Prism is built with Go and there is no go on the PATH; install it")
        version = importlib.metadata.version("apache-beam")
        home.mkdir(parents=True, exist_ok=True)
        _fetch(f"Prism {version} from the Go module registry",
               [go, "install", f"github.com/apache/beam/sdks/v2/go/cmd/prism@v{version}"],
               os.environ | {"GOBIN": str(home.absolute())})
    return program


def _check_runner(names: list[str], settings: Settings) -> None:
    made_for = next((found[1] for name in names if (found := _RUNNER.fullmatch(name))), None)
    if made_for != settings.flink_minor:
        raise UsageError(f"the job server {names[0] if len(names) == 1 else ''} is made for Flink {made_for or '?'} "
                         f"and the cluster is Flink {settings.flink_version}; set JOB_SERVER_JAR to "
                         f"a beam-runners-flink-{settings.flink_minor}-job-server jar, or FLINK_VERSION")


def _fetch(what: str, command: list[str], environment: dict[str, str] | None = None) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, env=environment)
    except subprocess.TimeoutExpired:
        raise UsageError(f"no answer within {_TIMEOUT_S} s while fetching {what}") from None
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if "ERROR" in line] or ["no reason given"]
        raise UsageError(f"could not fetch {what} ({lines[0].strip()[-300:]})")
