"""One image in HTML, in every way that pages show images."""
from __future__ import annotations

from html import escape

from demo.plan import Slot
from demo.texts import Texts
from demo.web import SyntheticWeb
from demo.words import dice

# How an image is referred to, with weights for each profile.
_MARKUPS = ("img", "srcset", "picture", "lazy", "lazy_srcset", "noscript", "lazy_noscript", "linked")
_WEIGHTS = {"first": (38, 14, 10, 14, 8, 5, 9, 2), "second": (22, 18, 14, 18, 6, 6, 10, 6)}
_LAZY = {"first": ("data-src", "data-lazy-src"), "second": ("data-original", "data-src")}
_EMPTY = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"


class Reference:
    """Writes URLs as a page of one host would: relative to its base, from the root, without a scheme, or in full."""

    def __init__(self, web: SyntheticWeb, host: int, base: str) -> None:
        self._origin = web.origin(host)
        self._scheme = web.scheme(host)
        self._base = base

    def __call__(self, url: str) -> str:
        """Returns how the page writes that absolute URL."""
        if self._base and url.startswith(self._origin + self._base):
            return url[len(self._origin + self._base):]
        if url.startswith(self._origin + "/"):
            return url[len(self._origin):]
        return url.removeprefix(f"{self._scheme}:")


def has_sizes(slot: Slot) -> bool:
    """Says whether the server offers this image in three sizes."""
    return slot.kind.name == "keep"


def image_html(web: SyntheticWeb, slot: Slot, texts: Texts, refer: Reference) -> str:
    """Returns the image element or elements of a slot, with its alt, title and aria-label."""
    rng = dice(web.config.seed, "markup", slot.number)
    profile = web.config.profile
    markup = rng.choices(_MARKUPS, _WEIGHTS[profile])[0]
    source = escape(refer(web.shown_url(slot)))
    words = _attributes(texts)
    small, large = ((escape(refer(web.image_url(slot, size))) for size in "sl") if has_sizes(slot) else ("", ""))
    if has_sizes(slot) and rng.random() < 0.3:
        words += ' width="{}" height="{}"'.format(*web.scene(slot.number).canvas)
    if profile == "second" and rng.random() < 0.5:
        words += ' loading="lazy" class="pic"'
    lazy = rng.choice(_LAZY[profile])
    if markup == "srcset" and small:
        return (f'<img src="{source}" srcset="{small} 160w, {source} 320w, {large} 480w" '
                f'sizes="(max-width: 600px) 100vw, 320px"{words}>')
    if markup == "picture" and small:
        kind = {"jpg": "jpeg"}.get(slot.path.extension, slot.path.extension)
        return (f'<picture><source type="image/{kind}" media="(min-width: 800px)" srcset="{large}">'
                f'<source type="image/{kind}" srcset="{small} 0.5x, {source}"><img src="{source}"{words}></picture>')
    if markup == "lazy_srcset" and small:
        return f'<img src="{_EMPTY}" data-srcset="{source} 1x, {large} 1.5x" class="lazyload"{words}>'
    if markup in ("lazy", "lazy_srcset"):
        blank = "/static/lazy.gif" if rng.random() < 0.5 else _EMPTY
        return f'<img src="{blank}" {lazy}="{source}"{words}>'
    if markup == "noscript":
        return f'<noscript><img src="{source}"{words}></noscript>'
    if markup == "lazy_noscript":
        return f'<img src="{_EMPTY}" {lazy}="{source}"{words}><noscript><img src="{source}"{words}></noscript>'
    if markup == "linked" and small:
        return f'<a href="{large}"><img src="{source}"{words}></a>'
    return f'<img src="{source}"{words}>'


def _attributes(texts: Texts) -> str:
    words = f' alt="{escape(texts.alt)}"' if texts.has_alt else ""
    if texts.title:
        words += f' title="{escape(texts.title)}"'
    return words + (f' aria-label="{escape(texts.aria)}"' if texts.aria else "")
