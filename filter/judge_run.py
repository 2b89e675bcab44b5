"""The stage judge: which images are worth a download, before anything is downloaded."""
from __future__ import annotations

import hashlib
import pathlib
from collections.abc import Callable
from typing import Any

from crawl import storage
from crawl.permission import never_fetched
from crawl.records import Candidate, ImageFetch
from crawl.stages import Funnel, Manifest, Stage, check_accounted, current_manifest, funnel_of
from crawl.suppress import suppression
from crawl.tables import read_table
from filter.judging import JudgeConfig
from filter.quality import OFF, model_digest
from filter.records import Judged, JudgedImage, TextOutcome

FORMAT = 7                         # 6: addresses in site suffixes; 7: personal data, texts counted, quality
Run = Callable[[str, Callable[[Any], None]], None]
_TABLES = ("judged", "judged_images", "fetch")
_TEXTS = "text_outcomes"
_DATA = ("boilerplate.txt", "contact_words.txt", "determiners.txt", "english_triples.txt", "menu_words.txt",
         "prepositions.txt", "spam_words.txt", "stop_words.txt")


def judge(out: str, config: JudgeConfig, run: Run) -> Manifest:
    """Returns the manifest of four tables: a row a candidate, an image URL, an image URL asked for, a fate of texts.

    They are `judged`, `judged_images`, `fetch` and `text_outcomes`.
    """
    crawl = current_manifest(out, "crawl")
    suppressed = suppression(out).of_addresses
    stage = Stage.open(out, "judge", FORMAT, config, {"crawl": crawl.digest} | _data_digests(config)
                       | ({"suppress": suppressed.digest} if suppressed else {}))
    finished = stage.finished()
    if finished is not None:
        return finished
    from crawl.transforms import ReadTable, WriteTable, entries_of
    from filter.transforms import ChooseImages, CountTexts, JudgeCandidates, SettleImages

    def build(root: Any) -> None:
        judged = (root | "Candidates" >> ReadTable(crawl.paths("candidates"), Candidate)
                  | "Judge candidates" >> JudgeCandidates(config, suppressed))
        judged | "Write judged" >> WriteTable(stage.directory, "judged", Judged, "occurrence", config.buckets)
        (judged | "Settle images" >> SettleImages()
         | "Write judged images" >> WriteTable(stage.directory, "judged_images", JudgedImage, "image_key",
                                               config.buckets))
        (judged | "Choose images" >> ChooseImages()
         | "Write fetch" >> WriteTable(stage.directory, "fetch", ImageFetch, "url_key", config.buckets))

        (judged | "Count texts" >> CountTexts()
         | "Write text outcomes" >> WriteTable(stage.directory, _TEXTS, TextOutcome, "outcome", 1))

    run("judge", build)
    tables = {name: tuple(entries_of(stage.directory, name, config.buckets)) for name in _TABLES}
    check_accounted(stage, "candidates", crawl.tables["candidates"], tables["judged"])
    tables[_TEXTS] = tuple(entries_of(stage.directory, _TEXTS, 1))
    texts = sorted((row.outcome, row.texts) for entry in tables[_TEXTS]
                   for row in read_table(storage.join(stage.directory, entry.name), TextOutcome))
    refused = never_fetched(pair for table in ("fetch_log", "pages") for entry in crawl.tables.get(table, ())
                            for pair in entry.outcomes)
    return stage.commit(tables, [funnel_of("judge", "candidate row", tables["judged"]),
                                 funnel_of("judge", "image URL", tables["judged_images"]),
                                 Funnel("judge", "text", sum(count for _, count in texts), tuple(texts))],
                        notes=([refused] if refused else []) + ([] if config.quality_path else [OFF]))


def _data_digests(config: JudgeConfig) -> dict[str, str]:
    """Word lists and models decide outcomes, so they name the stage folder like any other input."""
    folder = pathlib.Path(__file__).parent / "data"
    digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in _DATA}
    if config.lid_path:
        from filter.language import load_model
        load_model(config.lid_path)                # a wrong path is said before any work
        digests["lid"] = hashlib.sha256(storage.read_bytes(config.lid_path)).hexdigest()
    if config.quality_path:
        digests["quality"] = model_digest(config.quality_path)
    return digests
