"""Draws a whole synthetic web to files: what the server would send, and the truth beside it."""
from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from rich.progress import track

from crawl.errors import UsageError
from demo.addresses import PagePath, page_path
from demo.answers import answer, image_targets
from demo.images import DrawJob, draw
from demo.pages import LISTED, TOPIC_ARTICLES
from demo.plan import CHROME, GONE_HOST
from demo.web import SyntheticWeb


def render_web(web: SyntheticWeb, folder: Path) -> tuple[int, int]:
    """Writes every page and image that answers with 200, and truth.jsonl; returns (pages, images)."""
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"--render {folder} is not empty; name a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    pages = images = 0
    with (folder / "truth.jsonl").open("w", encoding="utf-8") as truths:
        for host, path, is_image in track(targets(web), "drawing", total=_count(web)):
            found = answer(web, True, host, path, attempt=2)
            file = folder / host / (path.replace("?", "@").lstrip("/") + ("index.html" if path.endswith("/") else ""))
            if found.status == 200:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(draw(found.body) if isinstance(found.body, DrawJob) else found.body)
                pages, images = pages + (not is_image), images + is_image
            if is_image:
                url = f"{web.scheme(web.numbers[host])}://{host}{path}"
                truth = web.truth(url)
                truths.write(json.dumps({
                    "url": url, "file": str(file.relative_to(folder)) if found.status == 200 else "",
                    "scene_id": truth.scene_id, "expected": truth.expected,
                    "true_captions": truth.true_captions}, ensure_ascii=False) + "\n")
    return pages, images


def targets(web: SyntheticWeb) -> Iterator[tuple[str, str, bool]]:
    """Yields (host, path, is an image) of every front page, listing, article, image and piece of chrome."""
    profile = web.config.profile
    for host, name in enumerate(web.hosts):
        yield name, "/", False
        yield name, "/robots.txt", False
        for path in CHROME:
            yield name, path, True
        for first in range(0, web.articles_of[host], LISTED):
            topic, part = first // TOPIC_ARTICLES, first % TOPIC_ARTICLES // LISTED + 1
            yield name, page_path(profile, PagePath("listing", topic, part)), False
        for number in range(web.articles_of[host]):
            yield name, web.article(host, number).path, False
    for slot in web.slots():
        for name, path in image_targets(web, slot):
            if name != GONE_HOST:
                yield name, path, True


def _count(web: SyntheticWeb) -> int:
    return sum(1 for _ in targets(web))
