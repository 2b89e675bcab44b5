"""Texts a core-second: caption cleaning, the choice of a sentence, the rules and the language, as `judge` runs them.

And with personal data masked and a caption-quality classifier, trained here from the captions of flickr8k and what the
rules call page furniture on the real sites.

    python -m benchmarks.captions --shared ../shared

Texts: the captions of flickr8k, and every text that extraction finds on the developers' real sites, those of one line
(alt, title, figcaption, heading) and the running ones of some hundred characters, from which a sentence is chosen.
Each text counts as one, whatever it holds.  No peer does this work; beside it, in the same run, the language of the
raw texts alone.
"""
from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

from benchmarks.extraction import candidates_of, real_pages
from benchmarks.machine import write_result
from filter.captions import RUNNING_TEXT
from filter.judging import JudgeConfig, read_text
from filter.language import caption_language
from filter.quality_training import FURNITURE, distinct, train_quality

RUNS = 5
Text = tuple[str, str]                 # (source, what the page said)


def flickr8k(shared: pathlib.Path) -> list[Text]:
    """Returns the captions of flickr8k as alt texts."""
    path = shared / "data" / "captions" / "flickr8k" / "captions.json"
    if not path.is_file():
        raise SystemExit(f"{path}: not there; --shared names the folder that holds data/captions")
    return [("alt", caption) for row in json.loads(path.read_text()) for caption in row["captions"]]


def of_sites(shared: pathlib.Path) -> tuple[list[Text], list[Text]]:
    """Returns the texts around the pictures of the real sites: those of one line, and the running ones."""
    texts = [(text.source, text.text) for row in candidates_of(real_pages(shared)) for text in row.texts]
    running = [text for text in texts if text[0] in RUNNING_TEXT]
    return [text for text in texts if text[0] not in RUNNING_TEXT], running


def rate(work: Callable[[Text], object], texts: list[Text]) -> dict[str, Any]:
    """Returns the median of texts a core-second, with its range, in this process."""
    rates = []
    for _ in range(RUNS):
        began = time.process_time()
        for text in texts:
            work(text)
        rates.append(len(texts) / (time.process_time() - began))
    return {"texts_per_core_s": round(statistics.median(rates)), "range": [round(min(rates)), round(max(rates))]}


def quality_model(shared: pathlib.Path, texts: list[Text], folder: str) -> str:
    """Returns the path of a classifier that `imagebert quality train` would make of these captions and sites."""
    judged = [read_text(*text, "en", JudgeConfig()) for text in texts]
    noise = [caption.text or caption.raw for caption in judged if caption.reason in FURNITURE]
    path = pathlib.Path(folder) / "quality.bin"
    path.write_bytes(train_quality(distinct([raw for _, raw in flickr8k(shared)], noise)).model)
    return str(path)


def main() -> None:
    """Measures the three kinds of texts, writes results/captions.json."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--shared", type=pathlib.Path, default=pathlib.Path("../shared"), help="holds data/sites")
    args = options.parse_args()
    config = JudgeConfig()
    lines, running = of_sites(args.shared)
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        measure(args.shared, config, lines, running, quality_model(args.shared, lines + running, folder), result)
    print(json.dumps(result, indent=1))
    write_result("captions", "make bench-captions", {"runs": RUNS, "texts": result})


def measure(shared: pathlib.Path, config: JudgeConfig, lines: list[Text], running: list[Text], model: str,
            result: dict[str, Any]) -> None:
    """Fills in the rates of each kind of texts."""
    whole = dataclasses.replace(config, quality_path=model,
                                captions=dataclasses.replace(config.captions, personal_data="mask"))
    for name, texts in (("flickr8k captions", flickr8k(shared)), ("real sites, one line", lines),
                        ("real sites, running text", running)):
        passed = sum(not read_text(*text, config.language, config).reason for text in texts)
        result[name] = {
            "texts": len(texts), "mean_characters": round(sum(len(raw) for _, raw in texts) / len(texts), 1),
            "passed": passed, "cleaning, rules and language": rate(lambda text: read_text(*text, "en", config), texts),
            "with quality and personal data": rate(lambda text: read_text(*text, "en", whole), texts),
            "language alone": rate(lambda text: caption_language(text[1]), texts)}


if __name__ == "__main__":
    main()
