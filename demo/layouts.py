"""Page shells and picture cards of the two profiles: what surrounds the content, and how a picture sits in it."""
from __future__ import annotations

from collections.abc import Callable
from html import escape

from demo.texts import Texts

Shell = Callable[[str, str, str, str, str, str], str]  # site, language, head, heading, content, pixel -> HTML
Card = Callable[[str, Texts], str]                     # image HTML, its texts -> HTML
_ICONS = "".join(f'<a href="/"><img src="/static/icons/{name}.png" alt="{name}" width="32" height="32"></a>'
                 for name in ("mail", "feed", "search"))


def _head(site: str, language: str, head: str, heading: str) -> str:
    return (f'<!DOCTYPE html>\n<html lang="{language}"><head>{head}<title>{escape(heading)} | {site}</title>'
            f'<link rel="icon" href="/favicon.ico"></head>')


def _magazine(site: str, language: str, head: str, heading: str, content: str, pixel: str) -> str:
    return (f'{_head(site, language, head, heading)}<body><header><img src="/static/logo.png" alt="{site}" width="180" '
            f'height="60"><nav><a href="/">Home</a></nav></header>\n<main><h1>{escape(heading)}</h1>\n{content}</main>'
            f'<footer>{_ICONS}<img src="{pixel}" width="1" height="1" alt=""></footer></body></html>\n')


def _blog(site: str, language: str, head: str, heading: str, content: str, pixel: str) -> str:
    return (f'{_head(site, language, head, heading)}<body><div id="top"><img src="/static/masthead.jpg" alt="{site}">'
            f'<div class="menu"><a href="/">Home</a> {_ICONS}</div></div>\n<div id="content"><h2>{escape(heading)}</h2>'
            f'{content}</div>\n<aside><a href="/"><img src="/static/sale.jpg" width="728" height="90" '
            f'alt="Advertisement"></a></aside><img src="{pixel}" height="1" width="1" style="display:none" alt="">'
            f'</body></html>\n')


def _portal(site: str, language: str, head: str, heading: str, content: str, pixel: str) -> str:
    return (f'{_head(site, language, head, heading)}<body><table width="100%"><tr><td class="side"><img '
            f'src="/static/logo.png" alt="logo"><br><a href="/">Start</a></td><td><h1>{escape(heading)}</h1>{content}'
            f'</td></tr></table><noscript><img src="{pixel}" width="1" height="1"></noscript>{_ICONS}</body></html>\n')


def _app(site: str, language: str, head: str, heading: str, content: str, pixel: str) -> str:
    return (f'{_head(site, language, head, heading)}<body class="app"><div class="bar"><a class="brand" href="/"><img '
            f'src="/static/logo.png" alt="Home"></a></div><section class="feed"><h1>{escape(heading)}</h1>\n{content}'
            f'</section><div class="foot">{_ICONS}<img src="/static/sale.jpg" alt="Download our app"><img '
            f'src="{pixel}" alt=""></div></body></html>\n')


def _wiki(site: str, language: str, head: str, heading: str, content: str, pixel: str) -> str:
    return (f'{_head(site, language, head, heading)}<body><div id="mw"><div id="head"><h1>{escape(heading)}</h1>'
            f'</div><div id="bodyContent">{content}</div></div><div id="panel"><img src="/static/masthead.jpg" alt="">'
            f'<ul><li><a href="/">Main page</a></li></ul>{_ICONS}</div><img src="{pixel}" width="1" height="1" alt="">'
            f'</body></html>\n')


def _grid_card(image: str, texts: Texts) -> str:
    if texts.figcaption:
        image = f"<figure>{image}<figcaption>{escape(texts.figcaption)}</figcaption></figure>"
    return f'<div class="card">{_heading(texts, "h3")}{image}{_surrounding(texts, "p")}</div>\n'


def _figure_card(image: str, texts: Texts) -> str:
    caption = f"<figcaption>{escape(texts.figcaption)}</figcaption>" if texts.figcaption else ""
    return f'{_heading(texts, "h2")}<figure class="wide">{image}{caption}</figure>{_surrounding(texts, "p")}\n'


def _list_card(image: str, texts: Texts) -> str:
    if texts.figcaption:
        image = f"<figure>{image}<figcaption><em>{escape(texts.figcaption)}</em></figcaption></figure>"
    return f'<div class="entry">{_heading(texts, "h4")}<p>{image}</p>{_surrounding(texts, "p")}<hr></div>\n'


def _cell_card(image: str, texts: Texts) -> str:
    caption = f'<figcaption class="credit">{escape(texts.figcaption)}</figcaption>' if texts.figcaption else ""
    return (f'<article class="post">{_heading(texts, "h2")}<div class="media"><figure>{image}{caption}</figure></div>'
            f'{_surrounding(texts, "div")}</article>\n')


def _thumb_card(image: str, texts: Texts) -> str:
    if texts.figcaption:
        image = (f'<div class="thumbinner"><figure>{image}<figcaption class="thumbcaption">'
                 f'{escape(texts.figcaption)}</figcaption></figure></div>')
    return f'<section>{_heading(texts, "h3")}<div class="thumb">{image}</div>{_surrounding(texts, "p")}</section>\n'


def _heading(texts: Texts, tag: str) -> str:
    return f"<{tag}>{escape(texts.heading)}</{tag}>" if texts.heading else ""


def _surrounding(texts: Texts, tag: str) -> str:
    return f"<{tag}>{escape(texts.surrounding)}</{tag}>" if texts.surrounding else ""


SHELLS: dict[str, tuple[Shell, ...]] = {"first": (_magazine, _blog, _portal), "second": (_app, _wiki)}
CARDS: dict[str, tuple[Card, ...]] = {"first": (_grid_card, _figure_card, _list_card),
                                      "second": (_cell_card, _thumb_card)}


def calendar_body(year: int, month: int) -> str:
    """Returns the content of one month, with links to the months and years around it: there is no end to it."""
    before = (year, month - 1) if month > 1 else (year - 1, 12)
    after = (year, month + 1) if month < 12 else (year + 1, 1)
    links = "".join(f'<a href="/calendar/{y}/{m}/">{m}/{y}</a> ' for y, m in (before, after, (year + 1, month)))
    days = "".join(f"<td>{day}</td>" for day in range(1, 29))
    return f"<p>{links}</p><table><tr>{days}</tr></table><p>No events are planned for this month.</p>"
