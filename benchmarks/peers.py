"""Programs of others that a figure is measured against, each in an environment of its own.

    python -m benchmarks.peers img2dataset [--peers DIR]      makes it where it is missing and prints its folder

DIR is the environment variable IMAGEBERT_PEERS, or ~/.cache/imagebert-lait/peers: outside of the repository, and never
the project's own environment, whose pins it would break.  A change of a pin makes another folder.
"""
from __future__ import annotations

import argparse
import dataclasses
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys

# A dependency is pinned where another version makes the peer fail, or does other work.
PEERS = {
    "beautifulsoup": ("beautifulsoup4==4.15.0", "lxml==6.1.3"),
    "chardet": ("chardet==7.7.0", "charset-normalizer==3.5.2"),
    "img2dataset": ("img2dataset==1.47.0", "albumentations==1.4.24", "opencv-python-headless==4.14.0.94",
                    "webdataset==0.2.111"),
    "cc2dataset": ("cc2dataset==1.5.0",),
    "imagededup": ("imagededup==0.3.3.post2", "torch==2.15.0", "pillow==12.3.0"),
    "moto": ("moto[s3,server]==5.2.5",),
    "datasets": ("datasets==5.2.0", "pillow==12.3.0"),
    "mlcroissant": ("mlcroissant==1.1.1",),
    "webdataset-0.2": ("webdataset==0.2.111",),
    "webdataset-1.0": ("webdataset==1.0.2",),
    "transformers": ("transformers==5.17.0", "torch==2.15.0", "safetensors==0.8.0"),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Peer:
    """A finished environment."""

    name: str
    folder: pathlib.Path
    requirements: tuple[str, ...]

    def program(self, name: str) -> str:
        """Returns the path of one of its programs: `python`, or a script it installed."""
        return str(self.folder / "bin" / name)

    def versions(self) -> list[str]:
        """Returns NAME==VERSION of all that is installed in it, sorted: for the result file."""
        listed = subprocess.run([self.program("python"), "-m", "pip", "list", "--format", "freeze",
                                 "--disable-pip-version-check"], check=True, capture_output=True, text=True).stdout
        return sorted(line for line in listed.split() if not line.startswith(("pip==", "setuptools==")))


def default_folder() -> pathlib.Path:
    """Returns where environments are kept when no option names a place."""
    return pathlib.Path(os.environ.get("IMAGEBERT_PEERS") or "~/.cache/imagebert-lait/peers").expanduser()


def peer(name: str, folder: pathlib.Path | None = None) -> Peer:
    """Returns a peer's environment below `folder`, made first where it is missing (needs a package index)."""
    requirements = PEERS[name]
    identity = hashlib.sha256("\n".join(requirements).encode()).hexdigest()[:12]
    home = (folder or default_folder()) / f"{name}-{identity}"
    done = home / "installed"
    if not done.exists():
        shutil.rmtree(home, ignore_errors=True)
        print(f"installing {requirements[0]}", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        subprocess.run([str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
                        *requirements], check=True)
        done.touch()
    return Peer(name, home, requirements)


def main() -> None:
    """Makes one environment and prints where it is."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("name", choices=sorted(PEERS))
    options.add_argument("--peers", type=pathlib.Path, help="folder of the environments")
    args = options.parse_args()
    print(peer(args.name, args.peers).folder)


if __name__ == "__main__":
    main()
