"""HTML pages of the synthetic web: front, listings, articles and the calendar, in the layouts of two profiles."""
from __future__ import annotations

import dataclasses
import random
from html import escape

from demo.addresses import PagePath, image_folder, page_path
from demo.foreign import LANGUAGES, foreign_paragraph
from demo.layouts import CARDS, SHELLS, calendar_body
from demo.markup import Reference, has_sizes, image_html
from demo.plan import PIXEL, Article
from demo.texts import Texts, texts_of
from demo.web import SyntheticWeb
from demo.words import dice, file_name, paragraph, title

TOPIC_ARTICLES, LISTED = 60, 12    # articles of a topic, and on one page of its listing
# (charset, where it is said) of English pages; the header always says text/html.
_CHARSETS = (("utf-8", ("header", "meta")), ("utf-8", ("meta",)), ("utf-8", ("header",)), ("iso-8859-1", ("header",)),
             ("windows-1252", ("meta",)), ("utf-8", ("header", "meta")))
_META = {"meta_noindex": '<meta name="robots" content="noindex, follow">',
         "meta_noai": '<meta name="robots" content="noai">',
         "meta_noimageai": '<meta name="ROBOTS" content="index, noimageai">',
         "tdm_meta": '<meta name="tdm-reservation" content="1">'}


@dataclasses.dataclass(frozen=True, slots=True)
class Html:
    """One page as bytes."""

    body: bytes
    content_type: str


def front_page(web: SyntheticWeb, host: int) -> Html:
    """Returns the front page of a host: links to its topics, its first articles, and whatever its role brings."""
    rng = dice(web.config.seed, "front", host)
    topics = -(-web.articles_of[host] // TOPIC_ARTICLES)
    links = [(_listing_path(web, topic, 1), f"Topic {topic + 1}") for topic in range(topics)]
    links += [(web.article(host, number).path, f"Read article {number + 1}")
              for number in range(min(3, web.articles_of[host]))]
    role = web.role(host)
    if role == "calendar":
        links.append(("/calendar/2024/5/", "Calendar of events"))
    if role == "hazards":
        links += [(path, path.strip("/")) for path in HAZARD_PAGES]
    neighbour = web.plain_hosts[(host + 5) % len(web.plain_hosts)]
    links.append((web.origin(neighbour) + "/", "A friend's site"))
    content = f"<p>{escape(paragraph(rng, 3, web.config.profile))}</p>{_link_list(links)}"
    return _page(web, host, "front", title(rng, web.config.profile), content, rng, "")


# What the front page of the host with the role "hazards" links to; demo/answers.py says how each ends.
HAZARD_PAGES = ("/old/article.html", "/loop/page/a", "/chain/3", "/missing.html", "/broken.html", "/slow.html",
                "/drip.html", "/bomb.html", "/leaflet.pdf", "/gone-for-good.html")


def listing_page(web: SyntheticWeb, host: int, topic: int, part: int) -> Html | None:
    """Returns one page of a topic's listing with small teaser pictures, or None where there is none."""
    first = topic * TOPIC_ARTICLES
    last = min(first + TOPIC_ARTICLES, web.articles_of[host])
    parts = max(1, -(-(last - first) // LISTED))
    if first >= last or not 1 <= part <= parts:
        return None
    rng = dice(web.config.seed, "listing", host, topic, part)
    refer = Reference(web, host, "")
    teasers = []
    for number in range(first + (part - 1) * LISTED, min(first + part * LISTED, last)):
        article = web.article(host, number)
        slot = web.slot(article.images[0])
        name = escape(_article_title(web, article))
        picture = ""
        if has_sizes(slot):
            picture = f'<img src="{refer(web.image_url(slot, "s"))}" width="120" height="110" alt="{name}">'
        teasers.append(f'<li><a href="{article.path}">{picture}{name}</a></li>')
    pager = [(_listing_path(web, topic, number), str(number)) for number in range(1, parts + 1) if number != part]
    if part < parts:
        pager.append((_listing_path(web, topic, part + 1), "Next page"))
    content = f"<ul class=\"teasers\">{''.join(teasers)}</ul>{_link_list(pager)}"
    return _page(web, host, f"topic{topic}-{part}", f"Topic {topic + 1}, page {part}", content, rng, "")


def article_page(web: SyntheticWeb, article: Article) -> Html:
    """Returns an article with its pictures and prose."""
    host, language = article.host, LANGUAGES.get(article.kind.name)
    rng = dice(web.config.seed, "article", host, article.number)
    base = f"/{image_folder(web.config.profile, host)}/" if host % 5 == 2 else ""
    refer = Reference(web, host, base)
    card = CARDS[web.config.profile][host % len(CARDS[web.config.profile])]
    head = _META.get(article.kind.name, "")
    shared = _shared_image(web, article)
    blocks = []
    for number in article.images:
        slot = web.slot(number)
        texts = texts_of(web, slot, article.kind.name)
        if number == shared:
            # The caption moves into og:description; the page itself says nothing of the picture.
            caption = web.scene(number).captions[0]
            head += (f'<meta property="og:image" content="{escape(web.shown_url(slot))}">'
                     f'<meta property="og:description" content="{escape(caption)}">')
            texts = Texts(alt=file_name(rng, web.config.profile))
        blocks.append(card(image_html(web, slot, texts, refer), texts))
        if rng.random() < 0.35:
            blocks.append(f"<p>{escape(_prose(web, rng, article, 2))}</p>")
    name = _article_title(web, article)
    links = [(web.article(host, (article.number + 1) % web.articles_of[host]).path, "Next"), ("/", "Home")]
    content = f"<p>{escape(_prose(web, rng, article, 3))}</p>{''.join(blocks)}{_link_list(links)}"
    charset = (language.charset, language.declared) if language else rng.choice(_CHARSETS)
    return _page(web, host, f"a{article.number}", name, content, rng, head, base, charset,
                 language.code if language else "en")


def calendar_page(web: SyntheticWeb, host: int, year: int, month: int) -> Html:
    """Returns one month of an endless calendar: the trap."""
    rng = dice(web.config.seed, "calendar", host, year, month)
    return _page(web, host, f"c{year}-{month}", f"Events {month}/{year}", calendar_body(year, month), rng, "")


def plain_page(web: SyntheticWeb, host: int, name: str) -> Html:
    """Returns a page with a title and prose but no pictures of its own."""
    rng = dice(web.config.seed, "plain", host, name)
    profile = web.config.profile
    return _page(web, host, name, title(rng, profile), f"<p>{escape(paragraph(rng, 4, profile))}</p>", rng, "")


def _shared_image(web: SyntheticWeb, article: Article) -> int | None:
    """Returns the image that an article offers to social networks with its caption, for one article in six."""
    if article.number % 6 or article.kind.name in LANGUAGES:
        return None
    return next((number for number in article.images if web.slot(number).kind.name == "keep"), None)


def _prose(web: SyntheticWeb, rng: random.Random, article: Article, sentences: int) -> str:
    name = article.kind.name
    return foreign_paragraph(rng, name) if name in LANGUAGES else paragraph(rng, sentences, web.config.profile)


def _article_title(web: SyntheticWeb, article: Article) -> str:
    if article.kind.name in LANGUAGES:
        return f"{LANGUAGES[article.kind.name].title} {article.number + 1}"
    return title(dice(web.config.seed, "title", article.host, article.number), web.config.profile)


def _listing_path(web: SyntheticWeb, topic: int, part: int) -> str:
    return page_path(web.config.profile, PagePath("listing", topic, part))


def _link_list(links: list[tuple[str, str]]) -> str:
    return "".join(f'<a href="{escape(path)}">{escape(text)}</a> ' for path, text in links)


def _page(web: SyntheticWeb, host: int, name: str, heading: str, content: str, rng: random.Random, head: str,
          base: str = "", charset: tuple[str, tuple[str, ...]] = _CHARSETS[0], language: str = "en") -> Html:
    """Returns the whole page: its content within the shell of the host's layout, encoded."""
    label, declared = charset
    head = (f'<meta charset="{label}">' if "meta" in declared else "") + (
        f'<base href="{base}">' if base else "") + head
    shells = SHELLS[web.config.profile]
    text = shells[host % len(shells)](web.hosts[host], language, head, heading, content, f"{PIXEL}?p={host}-{name}")
    kind = f"text/html; charset={label}" if "header" in declared else "text/html"
    return Html(text.encode(label, "xmlcharrefreplace"), kind)
