"""Imports run backwards along the data; Beam and torch stay where they belong."""
from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT: dict[str, set[str]] = {"crawl": set(), "filter": {"crawl"}, "shards": {"filter", "crawl"}, "model": set(),
                                   "train": {"model", "shards", "crawl"}, "demo": {"crawl"}}
STORY = "imagebert"
RUNNER = "crawl/runner.py"
# What a trainer's machine has: the reading half of shards/ runs there.
READING = ("sample", "regions", "checksum", "index", "manifest", "reader", "straight", "tokens")
# Bytes on a local disk need no more than the standard library; a store's client is imported when a URL is read.
READING_STORAGE = ("storage", "object_store")
READING_OWN = ("crawl.errors.", *(f"crawl.{module}." for module in READING_STORAGE),
               *(f"shards.{module}." for module in (*READING, "remote_tar", "window_cache")))
READING_LIBRARIES = {"numpy", "safetensors", "tokenizers"}
FORBIDDEN_NAMES = ("utils", "util", "common", "helpers", "helper", "base", "manager", "misc")


def imports(tree: ast.AST) -> Iterator[tuple[str, int, bool]]:
    """Yields (dotted module, line, whether it is imported only when a function runs)."""
    def visit(node: ast.AST, lazy: bool) -> Iterator[tuple[str, int, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from ((alias.name, child.lineno, lazy) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                if child.level:
                    yield ".", child.lineno, lazy
                else:
                    yield from ((f"{child.module}.{alias.name}", child.lineno, lazy) for alias in child.names)
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from visit(child, lazy or inside)

    return visit(tree, False)


def faults_of(path: Path, root: Path = ROOT) -> list[str]:
    """Returns a line for each import of one file that goes the wrong way, and for a name that says nothing."""
    relative = path.relative_to(root)
    package = relative.parts[0] if len(relative.parts) > 1 else ""
    storing = package == "crawl" and path.stem in READING_STORAGE
    reading = storing or package == "shards" and path.stem in READING
    faults = []
    if path.stem in FORBIDDEN_NAMES or set(relative.parts[:-1]) & set(FORBIDDEN_NAMES):
        faults.append(f"{relative}: a name that says nothing")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    faults += [f"{relative}:{node.lineno}: `import filter` hides the builtin" for node in ast.walk(tree)
               if isinstance(node, ast.Import) and any(alias.name == "filter" for alias in node.names)]
    for name, line, lazy in imports(tree):
        top, where = name.partition(".")[0], f"{relative}:{line}: {name}"
        if name == ".":
            faults.append(f"{where}: relative import; write the package's name")
        if package in MAY_IMPORT:
            if top == STORY or top == "tests" or (top in MAY_IMPORT and top not in MAY_IMPORT[package] | {package}
                                                  and not _extractor(package, path, top, lazy)):
                allowed = ", ".join(sorted(MAY_IMPORT[package])) or "itself"
                faults.append(f"{where}: {package}/ may import only {allowed}")
            if top == "apache_beam" and not path.name.endswith("transforms.py") and str(relative) != RUNNER:
                faults.append(f"{where}: Beam belongs in transforms.py and {RUNNER}")
            if top in ("torch", "torchvision") and package not in ("model", "train") \
                    and not (lazy and package in ("shards", "filter")):
                faults.append(f"{where}: torch belongs in model/ and train/")
        if reading and not (top in sys.stdlib_module_names or top in READING_LIBRARIES
                            or f"{name}.".startswith(READING_OWN) or storing and lazy and top == "obstore"
                            or path.stem == "checksum" and top == "isal"):      # which it can do without
            faults.append(f"{where}: the reading half of shards/ runs where only numpy, safetensors and tokenizers are")
    return faults


def _extractor(package: str, path: Path, top: str, lazy: bool) -> bool:
    """Returns whether an import is the one exception of DESIGN.md: transforms may load a network of model/ lazily."""
    return package in ("filter", "shards") and path.name.endswith("transforms.py") and top == "model" and lazy


def sources() -> list[Path]:
    found = [ROOT / "imagebert.py"]
    for package in MAY_IMPORT:
        found += sorted((ROOT / package).rglob("*.py"))
    return [path for path in found if path.exists()]


def test_there_is_something_to_check() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in sources()} >= set(MAY_IMPORT) and len(sources()) > 60


@pytest.mark.parametrize("package", [*MAY_IMPORT, "imagebert.py"])
def test_imports_run_backwards_along_the_data(package: str) -> None:
    faults = [line for path in sources() if path.relative_to(ROOT).parts[0] == package for line in faults_of(path)]
    assert not faults, "\n".join(faults)


def test_no_file_of_the_tests_or_benchmarks_has_a_name_that_says_nothing() -> None:
    found = [path for folder in ("tests", "benchmarks") for path in (ROOT / folder).rglob("*.py")
             if path.stem in FORBIDDEN_NAMES]
    assert not found


@pytest.mark.parametrize("file, source, says", [
    ("crawl/x.py", "import shards.writer", "crawl/ may import only itself"),
    ("crawl/x.py", "def f():\n    from filter.records import Best", "crawl/ may import only itself"),
    ("filter/x.py", "from demo.scenes import draw", "filter/ may import only crawl"),
    ("shards/x.py", "from model.inputs import Batch", "shards/ may import only crawl, filter"),
    ("model/x.py", "from crawl.errors import UsageError", "model/ may import only itself"),
    ("train/x.py", "from filter.records import Best", "train/ may import only crawl, model, shards"),
    ("train/x.py", "import imagebert", "train/ may import only"),
    ("demo/x.py", "from shards.reader import ShardReader", "demo/ may import only crawl"),
    ("demo/x.py", "import tests.web", "demo/ may import only crawl"),
    ("filter/x.py", "import apache_beam as beam", "Beam belongs in transforms.py"),
    ("crawl/transforms.py", "import torch", "torch belongs in model/ and train/"),
    ("crawl/x.py", "def f():\n    import torch", "torch belongs in model/ and train/"),
    ("shards/x.py", "import torch.nn", "torch belongs in model/ and train/"),
    ("shards/reader.py", "import pyarrow", "the reading half of shards/"),
    ("shards/reader.py", "from crawl.tables import read_table", "the reading half of shards/"),
    ("crawl/storage.py", "import obstore", "the reading half of shards/"),
    ("shards/index.py", "def f():\n    from shards.writer import write_shard", "the reading half of shards/"),
    ("tests/x.py", "import filter", "hides the builtin"),
    ("imagebert.py", "import filter", "hides the builtin"),
    ("crawl/x.py", "from .urls import host", "relative import"),
    ("crawl/utils.py", "", "a name that says nothing"),
    ("filter/common/x.py", "", "a name that says nothing"),
])
def test_a_planted_violation_is_found(tmp_path: Path, file: str, source: str, says: str) -> None:
    path = tmp_path / file
    os.makedirs(path.parent, exist_ok=True)
    path.write_text(source)
    assert any(says in fault for fault in faults_of(path, tmp_path)), faults_of(path, tmp_path)


@pytest.mark.parametrize("file, source", [
    ("filter/scoring.py", "def load():\n    import torch"),
    ("shards/transforms.py", "import apache_beam\ndef setup():\n    from model.patches import load"),
    ("filter/clip_transforms.py", "import apache_beam\ndef setup():\n    from model.clip_pairs import ClipPairs"),
    ("train/x.py", "import torch\nfrom shards.reader import ShardReader\nfrom model.inputs import Batch"),
    ("shards/reader.py", "import os\nimport numpy as np\nfrom crawl.errors import UsageError"),
    ("imagebert.py", "import apache_beam\nimport demo.cli\nimport train.cli"),
])
def test_what_is_allowed_is_no_fault(tmp_path: Path, file: str, source: str) -> None:
    path = tmp_path / file
    os.makedirs(path.parent, exist_ok=True)
    path.write_text(source)
    assert faults_of(path, tmp_path) == []
