"""The stage judge: which images are worth a download, before anything is downloaded."""
from __future__ import annotations

import hashlib
import pathlib
from collections.abc import Callable
from typing import Any

from crawl import storage
from crawl.permission import never_fetched
from crawl.records import Candidate, ImageFetch
from crawl.stages import Manifest, Stage, current_manifest, funnel_of
from crawl.suppress import suppression
from filter.judging import JudgeConfig
from filter.records import Judged, JudgedImage

FORMAT = 6                         # 4: permission by stored signals; 5: judged_images; 6: addresses in site suffixes
Run = Callable[[str, Callable[[Any], None]], None]
_TABLES = ("judged", "judged_images", "fetch")
_DATA = ("boilerplate.txt", "contact_words.txt", "english_triples.txt", "menu_words.txt", "spam_words.txt",
         "stop_words.txt")


def judge(out: str, config: JudgeConfig, run: Run) -> Manifest:
    """Returns the manifest of three tables: a row a candidate, a row an image URL, a row an image URL asked for.

    They are `judged`, `judged_images` and `fetch`.
    """
    crawl = current_manifest(out, "crawl")
    suppressed = suppression(out).of_addresses
    stage = Stage.open(out, "judge", FORMAT, config, {"crawl": crawl.digest} | _data_digests(config)
                       | ({"suppress": suppressed.digest} if suppressed else {}))
    finished = stage.finished()
    if finished is not None:
        return finished
    from crawl.transforms import ReadTable, WriteTable, entries_of
    from filter.transforms import ChooseImages, JudgeCandidates, SettleImages

    def build(root: Any) -> None:
        judged = (root | "Candidates" >> ReadTable(crawl.paths("candidates"), Candidate)
                  | "Judge candidates" >> JudgeCandidates(config, suppressed))
        judged | "Write judged" >> WriteTable(stage.directory, "judged", Judged, "occurrence", config.buckets)
        (judged | "Settle images" >> SettleImages()
         | "Write judged images" >> WriteTable(stage.directory, "judged_images", JudgedImage, "image_key",
                                               config.buckets))
        (judged | "Choose images" >> ChooseImages()
         | "Write fetch" >> WriteTable(stage.directory, "fetch", ImageFetch, "url_key", config.buckets))

    run("judge", build)
    tables = {name: tuple(entries_of(stage.directory, name, config.buckets)) for name in _TABLES}
    refused = never_fetched(pair for table in ("fetch_log", "pages") for entry in crawl.tables.get(table, ())
                            for pair in entry.outcomes)
    return stage.commit(tables, [funnel_of("judge", "candidate row", tables["judged"]),
                                 funnel_of("judge", "image URL", tables["judged_images"])],
                        notes=[refused] if refused else [])


def _data_digests(config: JudgeConfig) -> dict[str, str]:
    """Word lists and models decide outcomes, so they name the stage folder like any other input."""
    folder = pathlib.Path(__file__).parent / "data"
    digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in _DATA}
    if config.lid_path:
        from filter.language import load_model
        load_model(config.lid_path)                # a wrong path is said before any work
        digests["lid"] = hashlib.sha256(storage.read_bytes(config.lid_path)).hexdigest()
    return digests
