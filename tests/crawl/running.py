"""Runs a Beam pipeline in this process, as `imagebert` does with one worker."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any


def run(name: str, build: Callable[[Any], None]) -> None:
    import apache_beam as beam
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner
    with beam.Pipeline(runner=FnApiRunner()) as root:
        build(root)
