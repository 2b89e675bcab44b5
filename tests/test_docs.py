"""The tables of rules name code and tests that exist."""
from __future__ import annotations

import fnmatch
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent


def named(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def rows(page: str) -> list[list[str]]:
    """Cells of the table lines that name a test."""
    lines = (ROOT / "docs" / page).read_text().splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines
            if line.startswith("|") and ("`test" in line)]


@pytest.mark.parametrize("page", ["crawl_rules.md", "permission.md"])
def test_every_test_that_a_rule_names_is_there(page: str) -> None:
    missing, count = [], 0
    for row in rows(page):
        file = ""
        for name in named(row[-1]):
            found = re.fullmatch(r"(?:((?:\.\./|tests/)?[\w/]*test_\w+\.py)(?:::)?)?(test_[\w*]+)?", name)
            if not found:
                continue
            file = found[1] or file
            path = ROOT / file if file.startswith("tests/") else ROOT / "tests/crawl" / file
            defined = re.findall(r"^def (test_\w+)", path.read_text(), re.M) if path.is_file() else []
            count += 1
            if not defined or found[2] and not fnmatch.filter(defined, found[2]):
                missing.append(f"{file}::{found[2]}")
    assert not missing and count > 25


def test_every_file_that_a_rule_names_is_there() -> None:
    files = [name for row in rows("crawl_rules.md") for name in named(row[-2])]
    assert len(files) > 50
    assert [name for name in files if not any((ROOT / folder / name).is_file() for folder in ("crawl", "."))] == []
