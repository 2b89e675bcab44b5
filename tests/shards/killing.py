"""Runs `imagebert` in a process of its own that kills itself (SIGKILL) before the n-th change of a file's name."""
from __future__ import annotations

import subprocess
import sys

_CODE = """
import os, signal, sys
left, root = int(sys.argv[1]), sys.argv[2]
def before(event, args):
    global left
    if event in ("os.rename", "os.link", "os.remove", "shutil.rmtree") and any(root in str(one) for one in args):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(before)
import imagebert
code = imagebert.main(sys.argv[3:])
print("changes", int(sys.argv[1]) - left)
sys.exit(code)
"""


def run_killed(moment: int, root: str, *words: str) -> bool:
    """Returns whether the process was killed; False when it ended before that many changes, and well."""
    done = subprocess.run([sys.executable, "-c", _CODE, str(moment), root, *words], capture_output=True, text=True,
                          timeout=120, check=False)
    assert done.returncode in (0, -9), done.stderr
    return done.returncode == -9


def num_changes(root: str, *words: str) -> int:
    """Runs a command to its end; returns how often it changed the name of a file below `root`."""
    done = subprocess.run([sys.executable, "-c", _CODE, "1000000", root, *words], capture_output=True, text=True,
                          timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1])
