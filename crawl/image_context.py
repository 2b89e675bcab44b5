"""What does a page say around an image?  Captions, the heading before, and the text before and after it."""
from __future__ import annotations

import bisect
import re
from collections.abc import Iterator, Sequence

from crawl.html import Document, fold_blocks

WINDOW = 512                       # characters of surrounding text on each side
MAX_TEXT = 2_048                   # characters of any one text
_GAP = re.compile(r"\s")
_MAX_CAPTIONS = 4
_CAPTIONS_LOOKED_AT = 64           # of one figure
_MAX_CLIMB = 64                    # ancestors looked at for the block of an image
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
# Class names under which content systems put the caption of an image (WordPress, MediaWiki, Drupal, LaTeX2HTML, ...).
_CAPTION_CLASS = re.compile(r"(?:^|[_-])(?:caption|thumbcaption|credit-caption)(?:$|[_-]text$|[_-]inner$)|"
                            r"^(?:wp-caption-text|gallery-caption|image-caption|photo-caption|img-caption|"
                            r"os-caption|figcaption)$", re.IGNORECASE)
_NOT_MAIN = ("nav", "aside")
_NOT_MAIN_ROLES = ("navigation", "banner", "contentinfo", "complementary", "search")
_SECTIONS = ("article", "main", "section")


class Surroundings:
    """Answers for every image of one document; built once, so that each answer is cheap."""

    def __init__(self, document: Document, images: Sequence[int]) -> None:
        """Takes the indices of the image elements, sorted."""
        self._document = document
        self._images = list(images)
        elements = document.elements
        self._headings = document.tagged(*_HEADINGS)
        self._captions = [index for index, element in enumerate(elements)
                          if element.tag == "figcaption"
                          or "class" in element.attributes and _has_caption_class(element.attributes["class"])]
        self._blocks = {index: self._block(index) for index in self._images}

    def ancestors(self, index: int) -> Iterator[int]:
        """Yields the indices of an element's ancestors, the nearest first."""
        parent = self._document.elements[index].parent
        while parent >= 0:
            yield parent
            parent = self._document.elements[parent].parent

    def _block(self, index: int) -> int:
        """Returns the largest element around an image that holds no other image."""
        block = index
        for steps, ancestor in enumerate(self.ancestors(index)):
            if steps >= _MAX_CLIMB or self._document.elements[ancestor].tag in ("body", "html"):
                break
            first = bisect.bisect_left(self._images, ancestor)
            beyond = bisect.bisect_left(self._images, self._document.last[ancestor])
            if beyond - first > 1:
                break
            block = ancestor
        return block

    def windows(self, index: int) -> tuple[str, str]:
        """Returns the visible text before and after an image, one line a block, at most 512 characters each.

        A window ends at the block of the image before or after, and at a heading: beyond it another thing is told.
        """
        document, elements = self._document, self._document.elements
        place = bisect.bisect_left(self._images, index)
        low, high = 0, len(document.text)
        if place > 0:
            low = document.ends[self._blocks[self._images[place - 1]]]
        if place + 1 < len(self._images):
            high = elements[self._blocks[self._images[place + 1]]].start
        heading = self._heading_before(index)
        if heading is not None:
            low = max(low, document.ends[heading])
        following = bisect.bisect_right(self._headings, index)
        if following < len(self._headings):
            high = min(high, elements[self._headings[following]].start)
        start, end = elements[index].start, document.ends[index]
        # Folding only shrinks: eight windows are enough but for pages that are mostly white space.
        before = fold_blocks(document.text[max(low, start - 8 * WINDOW):start])
        after = fold_blocks(document.text[end:min(high, end + 8 * WINDOW)])
        return _last_words(before), first_words(after, WINDOW)

    def heading(self, index: int) -> str:
        """Returns the text of the heading of an image, "" without one.

        That is the heading in its own block (a card may put it below the picture), else the nearest before it that is
        not in the block of another image.
        """
        block = self._blocks.get(index, index)
        first = bisect.bisect_left(self._headings, block)
        if first < len(self._headings) and self._headings[first] < self._document.last[block]:
            return self._document.text_of(self._headings[first])[:MAX_TEXT]
        place = bisect.bisect_left(self._images, index)
        taken = self._blocks[self._images[place - 1]] if place > 0 else -1
        heading = self._heading_before(index)
        if heading is None or (taken >= 0 and taken <= heading < self._document.last[taken]):
            return ""
        return self._document.text_of(heading)[:MAX_TEXT]

    def _heading_before(self, index: int) -> int | None:
        place = bisect.bisect_left(self._headings, index) - 1
        # An image inside a heading is not described by its own empty words.
        while place >= 0 and self._document.last[self._headings[place]] > index:
            place -= 1
        return self._headings[place] if place >= 0 else None

    def captions(self, index: int) -> list[str]:
        """Returns the captions of the nearest figure, or of what lies around no image but this one."""
        scope = self._blocks.get(index, index)
        for ancestor in self.ancestors(index):
            if self._document.elements[ancestor].tag == "figure":
                scope = ancestor
                break
        first = bisect.bisect_left(self._captions, scope)
        beyond = bisect.bisect_left(self._captions, self._document.last[scope])
        found: list[str] = []
        end = -1
        for caption in self._captions[first:min(beyond, first + _CAPTIONS_LOOKED_AT)]:
            holds_image = caption <= index < self._document.last[caption]
            if holds_image or caption < end:           # `wp-caption` is the frame; a caption inside one is part of it
                continue
            text = self._document.text_of(caption)[:MAX_TEXT]
            if text:
                found.append(text)
            end = self._document.last[caption]
        return found[:_MAX_CAPTIONS]

    def in_main(self, index: int) -> bool:
        """Returns whether an image stands outside nav, aside, and the header and footer of the page."""
        edge = False
        for ancestor in self.ancestors(index):
            element = self._document.elements[ancestor]
            if element.tag in _NOT_MAIN or element.attributes.get("role", "").lower() in _NOT_MAIN_ROLES:
                return False
            if element.tag in ("header", "footer"):
                edge = True
            # The header of an article is its beginning, not the page's (HTML, "scoped to the body element").
            if element.tag in _SECTIONS:
                edge = False
        return not edge

    def language(self, index: int) -> str:
        """Returns the nearest lang attribute, "" without one."""
        for place in (index, *self.ancestors(index)):
            attributes = self._document.elements[place].attributes
            value = attributes.get("lang") or attributes.get("xml:lang")
            if value:
                return value.strip()[:35]
        return ""


def _has_caption_class(names: str) -> bool:
    return "caption" in names.lower() and any(_CAPTION_CLASS.search(name) for name in names.split())


def first_words(text: str, limit: int) -> str:
    """Returns the beginning of a text, cut at a word.

    >>> first_words("one two three", 9)
    'one two'
    """
    if len(text) <= limit:
        return text
    return text[:limit + 1].rsplit(None, 1)[0] if _GAP.search(text[:limit + 1]) else text[:limit]


def _last_words(text: str) -> str:
    if len(text) <= WINDOW:
        return text
    return text[-WINDOW - 1:].split(None, 1)[-1] if _GAP.search(text[-WINDOW - 1:]) else text[-WINDOW:]
