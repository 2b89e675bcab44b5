"""Facts of a dataset as HTML: text of the web is escaped, isolated in direction, unseen characters written out."""
from __future__ import annotations

import base64
import functools
from typing import Any

import jinja2
import markupsafe

from crawl.stages import Funnel
from shards.visible import pieces, shortened, visible

# What an outcome is called when the row goes on to the next stage; every other outcome is a loss.
PASSED = frozenset({"ok", "parsed", "candidate", "fetch", "decoded", "kept", "extracted", "stored", "written", "found",
                    "reached_by_redirect", "train", "test"})


def page(**facts: Any) -> str:
    """Returns the page that `data/report.html.j2` makes of facts; a fact it names and does not get is an error."""
    return _environment().get_template("report.html.j2").render(passed=PASSED, **facts)


def search_page(**facts: Any) -> str:
    """Returns the page that `data/search.html.j2` makes of a search; a fact it names and does not get is an error."""
    return _environment().get_template("search.html.j2").render(**facts)


def browse_page(**facts: Any) -> str:
    """Returns one page of samples; a fact that `data/browse.html.j2` names and does not get is an error."""
    return _environment().get_template("browse.html.j2").render(**facts)


def sample_page(**facts: Any) -> str:
    """Returns the page of one sample; a fact that `data/sample.html.j2` names and does not get is an error."""
    return _environment().get_template("sample.html.j2").render(**facts)


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(loader=jinja2.PackageLoader("shards", "data"), autoescape=True,
                                     undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"web": _web, "url": _url, "picture": _picture, "share": _share, "losses": _losses,
                            "through": _through, "shown": visible}
    return environment


def _web(text: str, limit: int = 300) -> markupsafe.Markup:
    """Returns text of the web as HTML: isolated in direction, unseen characters set apart."""
    parts = [markupsafe.Markup('<b class="ctl">{}</b>').format(piece) if is_marker else markupsafe.escape(piece)
             for piece, is_marker in pieces(shortened(text, limit))]
    return markupsafe.Markup("<bdi>{}</bdi>").format(markupsafe.Markup("").join(parts))


def _url(text: str, limit: int = 120) -> markupsafe.Markup:
    return _web(text.partition("://")[2] or text, limit)


def _picture(data: bytes) -> str:
    """Returns a data: URL of a thumbnail, "" when it is none of the three formats that the project writes."""
    kinds = ((b"RIFF", "image/webp"), (b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG", "image/png"))
    for magic, kind in kinds:
        if data.startswith(magic):
            return f"data:{kind};base64,{base64.b64encode(data).decode()}"
    return ""


def _share(part: float, whole: float) -> str:
    """Returns a percentage that never rounds a part away.

    >>> _share(1, 3), _share(1, 100000), _share(0, 5), _share(0, 0)
    ('33 %', '<0.1 %', '0 %', '–')
    """
    if not whole:
        return "–"
    percent = 100 * part / whole
    if part and percent < 0.1:
        return "<0.1 %"
    if 0 < percent < 10 or 99 < percent < 100:
        return f"{percent:.1f} %"
    return f"{percent:.0f} %"


def _through(line: Funnel) -> int:
    return sum(count for name, count in line.outcomes if name in PASSED)


def _losses(line: Funnel) -> list[tuple[str, int]]:
    return sorted(((name, count) for name, count in line.outcomes if name not in PASSED),
                  key=lambda pair: (-pair[1], pair[0]))
