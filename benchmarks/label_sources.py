"""Downloads and unpacks the packages whose pictures were labelled (benchmarks/labels/README.md).

    python -m benchmarks.label_sources --to DIR        about 1.5 GB; needs apt-get, pip, npm and their indexes
"""
from __future__ import annotations

import argparse
import csv
import pathlib
import shutil
import subprocess
import sys
import tempfile

PACKAGES = pathlib.Path(__file__).parent / "labels" / "packages.csv"


def fetch(kind: str, name: str, version: str, folder: pathlib.Path) -> None:
    """Unpacks one package below a folder; raises CalledProcessError where a client cannot have it."""
    with tempfile.TemporaryDirectory() as temporary:
        if kind == "deb":
            _run(["apt-get", "download", "-q", f"{name}={version}"], temporary)
            _run(["dpkg-deb", "-x", str(next(pathlib.Path(temporary).glob("*.deb"))), str(folder)], temporary)
        elif kind == "npm":
            _run(["npm", "pack", "-s", f"{name}@{version}"], temporary)
            shutil.unpack_archive(next(pathlib.Path(temporary).glob("*.tgz")), folder, "gztar", filter="data")
        else:
            _run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-build-isolation", "-d", ".",
                  f"{name}=={version}", *(["--no-binary", ":all:"] if name in _SOURCES else [])], temporary)
            found = next(pathlib.Path(temporary).iterdir())
            shutil.unpack_archive(found, folder, "zip" if found.suffix == ".whl" else "gztar")


_SOURCES = ("face_recognition", "thumbor", "wand")       # their pictures lie in the source package alone


def _run(command: list[str], folder: str) -> None:
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, timeout=600)


def main() -> None:
    """Fetches every package; says which could not be had."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--to", type=pathlib.Path, required=True, help="folder to unpack into")
    args = options.parse_args()
    with open(PACKAGES, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            kind, name = row["package"].split(":")
            folder = args.to / f"{kind}_{name}"
            if folder.exists():
                continue
            try:
                folder.mkdir(parents=True)
                fetch(kind, name, row["version"], folder)
            except (subprocess.SubprocessError, OSError, StopIteration) as error:
                folder.rmdir() if not any(folder.iterdir()) else None
                print(f"{row['package']} {row['version']}: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
