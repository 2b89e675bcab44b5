"""What does a page say?  Bytes in; a flat document, title, language, links, meta elements and visible text out.

The parser is lexbor's (WHATWG tree building, scripting off, so the children of `noscript` are elements).  The tree is
flattened once into a list in document order: every later question is a slice of it, and no walk can recurse.
"""
from __future__ import annotations

import collections
import dataclasses
import itertools
import re
from typing import Any, NamedTuple

from selectolax.lexbor import LexborHTMLParser

from crawl import charset, urls

# Blink stops nesting at 512 elements as well; what lies deeper is hostile.
MAX_DEPTH = 512
MAX_LINKS = 5_000
MAX_TITLE = 1_000
TEXT_SAMPLE = 4_000
MAX_META = 256
MAX_LICENCES = 4
MAX_META_VALUE = 4_096
_ELEMENT_TEXT = 16_384             # characters of an element's text that are folded: a label may name the whole body

# Tree building is quadratic in what stays open, and clones open formatting elements into every new block: both are
# bounded before the parser starts (200,000 nested <div> took it 84 s).
MAX_OPEN = 5_000
MAX_CLONES = 5_000_000


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Elements that do not interrupt a word or a sentence of the text around them.
_INLINE = _words("a abbr acronym b bdi bdo big cite code data del dfn em font i ins kbd label mark q s samp small "
                    "span strike strong sub sup time tt u var wbr")
_INVISIBLE = _words("script style template noscript head title textarea select option datalist svg math iframe "
                       "object video audio canvas noembed noframes")
_HIDDEN_STYLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
BLOCK = "\x1e"                     # between the blocks of a page's text; white space to everything that folds
_OUTSIDE_A_URL = "".join(map(chr, range(0x21)))      # C0 controls and space (URL standard, 4.4)
_INSIDE_NO_URL = str.maketrans("", "", "\t\n\r")
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]*)")
_FORMATTING = _words("a b big code em font i nobr s small strike strong tt u")
# Void elements, and those whose end tag may be left out (HTML, 13.1.2.4): they do not pile up.
_NOT_NESTING = _words("area base br col embed hr img input link meta param source track wbr frame html head body li "
                         "dt dd p rt rp optgroup option colgroup caption thead tbody tfoot tr td th")
# A link to one of these is not a page: it would be fetched only to be dropped.
_NOT_A_PAGE = _words("jpg jpeg png gif webp avif svg bmp ico tif tiff css js mjs json xml rss atom pdf epub mobi zip "
                     "gz tgz bz2 xz 7z rar tar mp3 mp4 m4a ogg oga ogv webm avi mov wav flac woff woff2 ttf otf eot "
                     "exe dmg iso apk deb rpm doc docx xls xlsx ppt pptx csv txt")


class ParseFailure(Exception):
    """A page that cannot be parsed within the limits: a row with a reason, never a crash."""


@dataclasses.dataclass(frozen=True, slots=True)
class ParseLimits:
    """How much of a page is looked at."""

    max_bytes: int = 5 * 2**20     # of the decoded body; the rest is cut
    max_nodes: int = 200_000       # elements and text nodes; a page with more has failed
    max_candidates: int = 2_000    # image candidates of one page


class Element(NamedTuple):
    """One element of the flat document; offsets are into `Document.text`.  A page has thousands: a tuple is quick."""

    tag: str
    attributes: dict[str, str]
    parent: int                    # index of the parent, -1 for the root
    start: int                     # visible text before the element ends here
    in_noscript: bool


@dataclasses.dataclass(slots=True)
class Document:
    """A page in document order."""

    elements: list[Element]
    last: list[int]                # per element: index after its last descendant
    ends: list[int]                # per element: where its visible text ends
    text: str                      # visible text of the whole page, blocks set off by BLOCK
    raw_texts: dict[int, str]      # text inside title and JSON-LD scripts, by element index
    by_tag: dict[str, list[int]]   # indices of the elements of each tag, in order
    _by_id: dict[str, int] = dataclasses.field(default_factory=dict)

    def tagged(self, *tags: str) -> list[int]:
        """Returns the indices of the elements of some tags, in document order."""
        found = [self.by_tag[tag] for tag in tags if tag in self.by_tag]
        return sorted(itertools.chain.from_iterable(found)) if len(found) > 1 else found[0] if found else []

    def identified(self, name: str) -> int | None:
        """Returns the index of the first element with an id, None without one."""
        if not self._by_id:                # few pages ask
            for index, element in enumerate(self.elements):
                if "id" in element.attributes:
                    self._by_id.setdefault(element.attributes["id"], index)
        return self._by_id.get(name)

    def text_of(self, index: int) -> str:
        """Returns the visible text of an element, white space folded; of a long one its beginning."""
        start = self.elements[index].start
        return fold(self.text[start:min(self.ends[index], start + _ELEMENT_TEXT)])


class PageLink(NamedTuple):
    """A link to what may be a page."""

    url: str
    nofollow: bool


@dataclasses.dataclass(frozen=True, slots=True)
class ParsedPage:
    """What html.parse found."""

    document: Document
    base: str                      # what URLs of the page are resolved against
    charset: str
    title: str
    description: str
    html_lang: str
    metas: tuple[tuple[str, str], ...]   # (name or property or http-equiv in lower case, content) in order
    links: tuple[PageLink, ...]
    text_sample: str
    licences: tuple[tuple[str, str], ...] = ()     # (type, URL) of link rel=license, in order


def fold(text: str) -> str:
    """Returns text with every run of white space as one space, and none at its ends.

    >>> fold(" a\\n\\tb ")
    'a b'
    """
    return " ".join(text.split())


def fold_blocks(text: str) -> str:
    """Returns text folded, one line a block of the page: what stands in two blocks is no one sentence.

    >>> fold_blocks(f"a red\\n bus {BLOCK}{BLOCK} Next")
    'a red bus\\nNext'
    """
    return "\n".join(filter(None, map(fold, text.split(BLOCK))))


def resolve(value: str, base: str) -> str | None:
    """Returns the URL that an attribute names, normalised; None for an empty one and for what urls.normalize refuses.

    Browsers strip controls and spaces around it and drop tabs and line ends inside (URL standard, basic URL parser).

    >>> resolve(" a\\n.jpg\\x1f ", "http://a.example/x/")
    'http://a.example/x/a.jpg'
    """
    value = value.strip(_OUTSIDE_A_URL)
    if "\n" in value or "\t" in value or "\r" in value:
        value = value.translate(_INSIDE_NO_URL)
    return urls.normalize(value, base) if value else None


def parse(body: bytes, content_type: str, url: str, limits: ParseLimits) -> ParsedPage:
    """Returns what a page says; raises ParseFailure for a page that breaks the limits or the parser."""
    text, encoding = charset.decode(body[:limits.max_bytes], content_type)
    # The parser ends its input at NUL (as C strings do); WHATWG reads U+FFFD there.
    tree = _tree(text.replace("\x00", "\ufffd"))
    document = flatten(tree.root, limits)
    metas = _metas(document)
    named = dict(reversed(metas))          # the first of a name counts
    base = _base(document, url)
    return ParsedPage(
        document=document, base=base, charset=encoding, title=_title(document), html_lang=_language(document, named),
        metas=metas,
        description=fold(named.get("description") or named.get("og:description") or "")[:MAX_META_VALUE],
        links=_links(document, base, url), text_sample=_sample(document.text), licences=_licences(document, base))


def _sample(text: str) -> str:
    """Returns the first characters of a text, folded; little more than those is looked at."""
    folded = fold(text[:2 * TEXT_SAMPLE])
    if len(folded) <= TEXT_SAMPLE and len(text) > 2 * TEXT_SAMPLE:
        folded = fold(text[:32 * TEXT_SAMPLE])
    return folded[:TEXT_SAMPLE]


def _tree(text: str) -> LexborHTMLParser:
    _refuse_runaway(text)
    try:
        # A lone surrogate cannot be encoded for the parser; decoding never makes one, a test may.
        return LexborHTMLParser(text)
    except (ValueError, RuntimeError, UnicodeError) as error:       # lexbor's SelectolaxError is a RuntimeError
        raise ParseFailure(f"lexbor: {error}") from error


def _refuse_runaway(text: str) -> None:
    """Raises ParseFailure for markup whose tree would take the parser minutes or gigabytes."""
    most = text.count("<")
    if most <= MAX_OPEN and most * most <= MAX_CLONES:         # most pages: nothing that is counted below can be more
        return
    most_opened = most - text.count("</")
    if most_opened <= MAX_OPEN and most_opened * most <= MAX_CLONES:
        return
    opened: dict[str, int] = {}
    depth = deepest = formatting = most_formatting = tags = 0
    for match in _TAG.finditer(text):
        name = match.group(2).lower()
        tags += 1
        if name in _NOT_NESTING:
            continue
        step = 1
        if match.group(1):
            if not opened.get(name):
                continue
            step = -1
        opened[name] = opened.get(name, 0) + step
        depth += step
        if name in _FORMATTING:
            formatting += step
            most_formatting = max(most_formatting, formatting)
        deepest = max(deepest, depth)
    if deepest > MAX_OPEN or most_formatting * tags > MAX_CLONES:
        raise ParseFailure(f"{deepest} elements open at once, {most_formatting} of them formatting")


def flatten(root: Any, limits: ParseLimits) -> Document:
    """Returns the flat document of a lexbor tree; raises ParseFailure beyond the node cap."""
    elements: list[Element] = []
    last: list[int] = []
    ends: list[int] = []
    pieces: list[str] = []
    raw_texts: dict[int, str] = {}
    by_tag: dict[str, list[int]] = collections.defaultdict(list)
    length = nodes = depth = 0
    parent, visible, noscript = -1, True, False
    node = root
    # What is open: (node, its index, and parent, visible, noscript as they are beside it)
    opened: list[tuple[Any, int, int, bool, bool]] = []
    while True:
        while node is None or not depth and nodes:         # the last sibling is done, or the root is
            if not opened:
                return Document(elements, last, ends, "".join(pieces), raw_texts, by_tag)
            node, index, parent, visible, noscript = opened.pop()
            depth -= 1
            last[index], ends[index] = len(elements), length
            if elements[index].tag not in _INLINE:
                pieces.append(BLOCK)
                length += 1
            node = node.next if depth else None
        nodes += 1
        if nodes > limits.max_nodes:
            raise ParseFailure(f"more than {limits.max_nodes} nodes")
        if node.is_text_node:
            if visible:
                piece = node.text_content or ""
                pieces.append(piece)
                length += len(piece)
        elif node.is_element_node and depth <= MAX_DEPTH:
            tag = node.tag or ""
            attributes = node.attributes
            if attributes and None in attributes.values():
                attributes = {name: value or "" for name, value in attributes.items()}
            index = len(elements)
            if tag not in _INLINE:
                pieces.append(BLOCK)
                length += 1
            # As Element(...) does it, in half the time.
            elements.append(tuple.__new__(Element, (tag, attributes, parent, length, noscript)))
            by_tag[tag].append(index)
            last.append(index + 1)
            ends.append(length)
            if tag == "title" or (tag == "script" and "ld+json" in attributes.get("type", "").lower()):
                raw_texts[index] = node.text(deep=True) or ""
            child = node.first_child
            if child is not None:
                opened.append((node, index, parent, visible, noscript))
                parent, node = index, child
                depth += 1
                visible = visible and tag not in _INVISIBLE and not (attributes and _is_hidden(attributes))
                noscript = noscript or tag == "noscript"
                continue
        node = node.next


def _is_hidden(attributes: dict[str, str]) -> bool:
    return "hidden" in attributes or "style" in attributes and bool(_HIDDEN_STYLE.search(attributes["style"]))


def _metas(document: Document) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    for index in document.tagged("meta"):
        attributes = document.elements[index].attributes
        if "content" in attributes and len(found) < MAX_META:
            name = attributes.get("name") or attributes.get("property") or attributes.get("http-equiv") or ""
            if name:
                found.append((name.strip().lower(), attributes["content"][:MAX_META_VALUE]))
    return tuple(found)


def _licences(document: Document, base: str) -> tuple[tuple[str, str], ...]:
    """Returns (type, URL) of the first few `link rel=license` elements."""
    linked = [document.elements[index].attributes for index in document.tagged("link")]
    found = [(attributes.get("type", "")[:64], resolve(attributes["href"], base) or "") for attributes in linked
             if "href" in attributes and "license" in attributes.get("rel", "").lower().split()]
    return tuple(found[:MAX_LICENCES])


def _base(document: Document, url: str) -> str:
    """Returns the base URL: only the first base element with a href counts (HTML, "frozen base URL")."""
    for index in document.tagged("base"):
        attributes = document.elements[index].attributes
        if "href" in attributes:
            return resolve(attributes["href"], url) or url
    return url


def _title(document: Document) -> str:
    for index, text in document.raw_texts.items():
        if document.elements[index].tag == "title":
            return fold(text)[:MAX_TITLE]
    return ""


def _language(document: Document, named: dict[str, str]) -> str:
    """Returns the language that the page declares: its root element, else Content-Language, else og:locale."""
    for index in document.tagged("html")[:1]:
        attributes = document.elements[index].attributes
        own = (attributes.get("lang") or attributes.get("xml:lang") or "").strip()[:35]
        if own:
            return own
    # HTML, "pragma-set default language": a list of languages says nothing of one text.
    pragma = named.get("content-language", "").split()
    if pragma and "," not in named["content-language"]:
        return pragma[0][:35]
    return named.get("og:locale", "").strip().replace("_", "-")[:35]


def _links(document: Document, base: str, own: str) -> tuple[PageLink, ...]:
    """Returns the links to http(s) pages in document order, each URL once, without those to the page itself."""
    found: dict[str, bool] = {}
    for index in document.tagged("a", "area"):
        attributes = document.elements[index].attributes
        if "href" not in attributes:
            continue
        url = resolve(attributes["href"], base)
        if url is None or url == own or _ending(url) in _NOT_A_PAGE:
            continue
        nofollow = "rel" in attributes and "nofollow" in attributes["rel"].lower().split()
        # One followable link to a page is enough.
        found[url] = found.get(url, True) and nofollow
        if len(found) >= MAX_LINKS:
            break
    return tuple(PageLink(url, nofollow) for url, nofollow in found.items())


def _ending(url: str) -> str:
    """Returns what stands behind the last dot of a URL without its query, in lower case."""
    return url.partition("?")[0].rpartition(".")[2].lower()
