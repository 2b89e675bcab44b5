"""What is installed, pinned and composed is what is there."""
import configparser
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile

import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGES = {"crawl", "filter", "shards", "model", "train", "demo"}


def setup_cfg():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def requirement_name(line):
    return re.split(r"[<>=!~\[ ;]", line.strip(), maxsplit=1)[0].lower().replace("_", "-")


def test_every_package_is_shipped_and_nothing_else():
    include = setup_cfg()["options.packages.find"]["include"].split()
    assert set(include) == PACKAGES | {f"{name}.*" for name in PACKAGES}
    assert setup_cfg()["options"]["py_modules"] == "imagebert"


def test_every_requirement_has_bounds_and_a_pin():
    pins = {requirement_name(line) for line in (ROOT / "constraints.txt").read_text().splitlines() if line.strip()}
    config = setup_cfg()
    lines = config["options"]["install_requires"].split("\n")
    for extra in ("train", "dataflow", "web", "dev"):
        lines += config["options.extras_require"][extra].split("\n")
    for line in filter(None, (line.strip() for line in lines)):
        assert ">=" in line and "<" in line, f"{line}: give both bounds"
        assert requirement_name(line) in pins, f"{line}: not in constraints.txt"


def test_package_data_is_shipped():
    config = setup_cfg()["options.package_data"]
    for package in PACKAGES:
        if (ROOT / package / "data").is_dir():
            assert config[package] == "data/*"


def test_what_setup_py_sends_to_workers_is_everything(tmp_path):
    """Beam's --setup_file builds this archive and installs it on each worker."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("setup.cfg", "setup.py", "pyproject.toml", "README.md", "imagebert.py"):
        shutil.copy(ROOT / name, source)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([sys.executable, "-W", "ignore", "setup.py", "-q", "sdist", "--dist-dir", str(tmp_path)], cwd=source,
                   check=True, capture_output=True)
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        sent = {name.partition("/")[2] for name in archive.getnames()}
    there = {str(path.relative_to(ROOT)) for package in PACKAGES for path in (ROOT / package).rglob("*")
             if path.is_file() and "__pycache__" not in path.parts}
    assert there | {"imagebert.py", "setup.cfg", "pyproject.toml"} <= sent


def test_workers_need_no_torch():
    assert "torch" not in setup_cfg()["options"]["install_requires"]


def test_compose_runs_commands_that_exist():
    from imagebert import parser

    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    build = compose["services"]["dataset"]["command"][0].partition("exec imagebert ")[2].partition(" -- ")[0].split()
    ours = [compose["services"][name]["command"] for name in ("web", "train")] + [build]
    for words in ours:
        assert callable(parser().parse_args(words).command), words
