"""What runs where the GPU is needs the standard library, numpy, torch, safetensors and tokenizers, and nothing else."""
import os
import subprocess
import sys

import pytest

from tests.train.made_shards import make_shards
from tests.train.minimal_machine import ROOT


def _run(tmp_path, *modules):
    words = [sys.executable, "-m", "tests.train.minimal_machine", str(make_shards(tmp_path / "shards")),
             str(tmp_path / "run"), *modules]
    return subprocess.run(words, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
                          timeout=300)


def test_ten_steps_and_an_evaluation_with_those_alone(tmp_path):
    done = _run(tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "step 8 of pretrain, 3 rows\n"      # after two steps of `align`


@pytest.mark.parametrize("module", ["crawl.tables"])
def test_anything_else_is_not_there(tmp_path, module):
    done = _run(tmp_path, module)
    assert done.returncode == 1 and "ModuleNotFoundError" in done.stderr.splitlines()[-1]
