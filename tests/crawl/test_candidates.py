"""Images of a page and their texts."""
from __future__ import annotations

import pathlib

import pytest

from crawl.html import ParseLimits
from crawl.records import Candidate
from tests.crawl.pages import candidates, texts

FIXTURES = pathlib.Path(__file__).resolve().parents[3] / "shared" / "data" / "fixtures" / "readability"
PIXEL = "data:image/gif;base64,R0lGODlhAQABAAAAACw="


def only(html: str) -> Candidate:
    (found,) = candidates(html)
    return found


@pytest.mark.parametrize(("html", "url", "found_in"), [
    ("<img src=a.jpg>", "a.jpg", "img.src"),
    ("<base href=/x/><img src=a.jpg>", "../x/a.jpg", "img.src"),
    ("<img src=a.jpg srcset='b.jpg 400w, c.jpg 1600w, d.jpg 4000w'>", "c.jpg", "img.srcset"),
    ("<img src=a.jpg srcset='b.jpg 2x'>", "b.jpg", "img.srcset"),
    ("<img src=a.jpg srcset='a.jpg 1x'>", "a.jpg", "img.src"),
    ("<picture><source srcset='a.avif 900w' type=image/avif><source srcset='a.webp 800w' type=image/webp>"
     "<img src=a.jpg></picture>", "a.webp", "picture.source"),
    (f"<img src='{PIXEL}' data-src=real.jpg>", "real.jpg", "img.data-src"),
    ("<img src=/img/placeholder.gif data-original=real.jpg>", "real.jpg", "img.data-original"),
    ("<img src=small-blurred.jpg data-src=real.jpg>", "real.jpg", "img.data-src"),
    (f"<img src='{PIXEL}' data-srcset='s.jpg 300w, m.jpg 900w'>", "m.jpg", "img.data-srcset"),
    (f"<img src='{PIXEL}' data-something=/deep/real.jpg>", "../deep/real.jpg", "img.data-something"),
    ("<img src=a.jpg data-lazy=true>", "a.jpg", "img.src"),
    ("<img src=a.jpg data-image=b.jpg>", "a.jpg", "img.src"),
    (f"<img src='{PIXEL}'><noscript><img src=real.jpg></noscript>", "real.jpg", "noscript"),
    ("<div><div><img src=spacer.gif></div><noscript><img src=real.jpg></noscript></div>", "real.jpg", "noscript"),
    ("<body><noscript><img src=alone.jpg></noscript>", "alone.jpg", "noscript"),
    (f"<img src='{PIXEL}' data-src=real.jpg><noscript><img src=real.jpg></noscript>", "real.jpg", "img.data-src"),
    ("<video poster=p.jpg></video>", "p.jpg", "video.poster"),
    ("<div style=\"color: red; Background: #fff url('b;1.jpg') no-repeat\">x</div>", "b;1.jpg", "css.background"),
    ("<p style='background-image: image-set(url(s.png) 1x, url(l.png) 2x)'>x", "l.png", "css.background"),
    ("<section data-bg='url(b.jpg)'>x</section>", "b.jpg", "css.lazy"),
    ("<a data-background-image=/b.jpg href=/>x</a>", "../b.jpg", "css.lazy"),
    ("<table background=b.jpg><tr><td>x</table>", "b.jpg", "background"),
    ("<form><input type=Image src=i.png alt=Go></form>", "i.png", "input.src"),
    ("<object data=o type=image/png>x</object>", "o", "object.data"),
    ("<object data=o.jpg>x</object>", "o.jpg", "object.data"),
    ("<object data-src=o type=image/png>x</object>", "o", "object.data-src"),
    ("<video data-poster=p.jpg data-src=film.mp4></video>", "p.jpg", "video.data-poster"),
    ("<video poster=p.jpg data-poster=q.jpg></video>", "p.jpg", "video.poster"),
    ("<p data-bg-multi='url(b.jpg), url(c.jpg)'>x</p>", "b.jpg", "css.lazy"),
    ("<p data-bg=b.jpg data-bg-hidpi=b2.jpg>x</p>", "b2.jpg", "css.lazy"),
    ("<p data-bg-set=\"url('b.jpg') 1x, url('b2.jpg') 2x\">x</p>", "b2.jpg", "css.lazy"),
    ("<meta itemprop=image content=/m.jpg>", "../m.jpg", "itemprop.image"),
    ("<div itemscope><link itemprop='image url' href=l.jpg></div>", "l.jpg", "itemprop.image"),
    ("<meta property=og:image content=/o.jpg><meta name=twitter:image content=/o.jpg>", "../o.jpg", "og:image"),
    ("<meta name=twitter:image content=/t.jpg>", "../t.jpg", "twitter:image"),
    ("<link rel=image_src href=/l.jpg>", "../l.jpg", "link.image_src"),
    ("<script type=application/ld+json>{\"@graph\": [{\"image\": [\"/j.jpg\"]}]}</script>", "../j.jpg", "json-ld"),
    ("<img src=' \na\t.jpg\r'>", "a.jpg", "img.src"),
    (f"<img src='{PIXEL}' data-src='real\n.jpg'>", "real.jpg", "img.data-src"),
    ("<video poster='p\n.jpg'></video>", "p.jpg", "video.poster"),
    ("<meta property=og:image content=' /o\n.jpg'>", "../o.jpg", "og:image"),
    ("<base href=/x/><base href=/y/><img srcset='b.jpg 400w'>", "../x/b.jpg", "img.srcset"),
    ("<html><head><noscript><img src=head.jpg></noscript></head><body>", "head.jpg", "img.src"),
    ("<img src=only.svg>", "only.svg", "img.src"),
])
def test_one_row_a_node_and_its_url(html: str, url: str, found_in: str) -> None:
    found = only(html)
    assert (found.image_url, found.found_in) == (_resolve(url), found_in)


def _resolve(url: str) -> str:
    return "http://a.test/" + (url[3:] if url.startswith("../") else f"dir/{url}")


def test_a_src_repeated_five_times_is_a_placeholder_where_a_lazy_url_stands() -> None:
    found = candidates("".join(f"<img src=grey.jpg data-bg=real{n}.jpg>" for n in range(5)))
    assert [row.image_url[-9:] for row in found] == [f"real{n}.jpg" for n in range(5)]
    assert {row.repeats_on_page for row in found} == {1}
    repeated = candidates("<img src=logo.jpg>" * 5)
    assert [row.repeats_on_page for row in repeated] == [5] * 5
    assert len({row.occurrence for row in repeated}) == 5


def test_other_urls_are_alternatives_and_the_link_around_is_one() -> None:
    found = only("<a href=full.jpg><img src=a.jpg srcset='b.jpg 400w, c.jpg 900w'></a>")
    assert found.image_url.endswith("/c.jpg")
    assert [url.rpartition("/")[2] for url in found.alternatives] == ["b.jpg", "a.jpg", "full.jpg"]
    assert found.link_href == "http://a.test/dir/full.jpg"
    assert only("<a href=other.html><img src=a.jpg></a>").alternatives == ()


def test_nothing_of_a_page_without_http_images() -> None:
    assert candidates(f"<img><img src=''><img src='{PIXEL}'><img src='ftp://a.test/a.jpg'>") == []


def test_alt_absent_and_alt_empty_differ() -> None:
    rows = candidates("<img src=a.jpg><img src=b.jpg alt><img src=c.jpg alt='A &amp;amp;  dog'>")
    assert [row.alt_present for row in rows] == [False, True, True]
    assert texts(rows[2], "alt") == ["A &amp; dog"]


def test_captions_of_a_figure_of_wordpress_and_of_labels() -> None:
    figure = only("<figure><div><img src=a.jpg></div><figcaption>A <b>red</b> kite.</figcaption></figure>")
    assert texts(figure, "figcaption") == ["A red kite."]
    wordpress = only("<div class='wp-caption alignleft'><img src=a.jpg><p class=wp-caption-text>A blue kite.</p></div>")
    assert texts(wordpress, "figcaption") == ["A blue kite."]
    labelled = only("<p id=x>A green kite.</p><img src=a.jpg aria-labelledby='x y' title=T aria-label=L>")
    assert texts(labelled, "aria_label") == ["L", "A green kite."]
    assert texts(labelled, "title") == ["T"]


def test_a_caption_belongs_to_its_own_image() -> None:
    rows = candidates("".join(f"<div><img src={n}.jpg><p class=caption>Caption {n}.</p></div>" for n in range(3)))
    assert [texts(row, "figcaption") for row in rows] == [[f"Caption {n}."] for n in range(3)]


def test_surrounding_text_stops_at_the_block_of_another_image() -> None:
    first, second = candidates("<p>Before.<p><img src=a.jpg><p>Between the two.<div><p>Of the second."
                               "<img src=b.jpg></div><p>After.")
    assert texts(first, "surrounding") == ["Before.", "Between the two."]
    assert texts(second, "surrounding") == ["Between the two.\nOf the second.", "After."]      # a line a block


def test_surrounding_text_is_cut_at_words_and_at_headings() -> None:
    found = only("<p>far away <h2>Dogs</h2>" + "word " * 300 + "<img src=a.jpg>" + "more " * 300)
    before, after = texts(found, "surrounding")
    assert len(before) <= 512 and set(before.split()) == {"word"}
    assert len(after) <= 512 and set(after.split()) == {"more"}
    near = only("<p>of another section <h2>Dogs</h2><img src=a.jpg> A dog. <h2>Cats</h2> A cat.")
    assert texts(near, "surrounding") == ["A dog."]
    assert texts(near, "heading") == ["Dogs"]


def test_the_heading_of_a_card_may_follow_its_image() -> None:
    rows = candidates("<h1>All</h1>" + "".join(f"<li><img src={n}.jpg><h3>Card {n}</h3>" for n in range(3)))
    assert [texts(row, "heading") for row in rows] == [["Card 0"], ["Card 1"], ["Card 2"]]


def test_a_tracking_pixel_divides_no_text() -> None:
    row = candidates("<p>Before.</p><img src=t.gif width=1 height=1><img src=a.jpg>")[1]
    assert texts(row, "surrounding") == ["Before."]


def test_in_main_language_and_declared_size() -> None:
    rows = candidates("<html lang=en><nav><img src=0.jpg></nav><header><img src=1.jpg></header><article lang=fr>"
                      "<header><img src=2.jpg width=300 height=200px></header><p lang=de><img src=3.jpg width=100% "
                      "style='width: 640px; height:480.5px'></article><footer><img src=4.jpg></footer>")
    assert [row.in_main for row in rows] == [False, False, True, True, False]
    assert [row.html_lang for row in rows] == ["en", "en", "fr", "de", "en"]
    assert [(row.declared_width, row.declared_height) for row in rows[2:4]] == [(300, 200), (640, 480)]
    assert [row.ordinal for row in rows] == list(range(5)) and {row.images_on_page for row in rows} == {5}


def test_open_graph_texts() -> None:
    found = only("<meta property=og:image content=/o.jpg><meta property=og:image:alt content='A fox.'>"
                 "<meta property=og:image:width content=1200><meta property=og:image:height content=630>"
                 "<meta property=og:description content='Foxes of the city.'><title>Foxes</title>")
    assert (texts(found, "alt"), texts(found, "og_description"), texts(found, "page_title")) == (
        ["A fox."], ["Foxes of the city."], ["Foxes"])
    assert (found.declared_width, found.declared_height) == (1200, 630)


def test_at_most_as_many_rows_as_allowed() -> None:
    html = "".join(f"<img src={n}.jpg>" for n in range(50))
    assert len(candidates(html, limits=ParseLimits(max_candidates=20))) == 20


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="../shared/data/fixtures/readability is not here")
@pytest.mark.parametrize(("name", "found_in", "count"), [
    ("lazy-image-3", "img.data-src", 2), ("telegraph", "noscript", 20), ("wordpress", "img.srcset", 3)])
def test_real_pages_give_the_real_images(name: str, found_in: str, count: int) -> None:
    folder = FIXTURES / name
    if not folder.is_dir():
        pytest.skip(f"no fixture {name}")
    rows = candidates(folder.joinpath("source.html").read_text(encoding="utf-8"))
    assert sum(row.found_in == found_in for row in rows) >= count
    assert not any(row.image_url.startswith("data:") for row in rows)


def test_what_names_no_image_gives_none() -> None:
    assert candidates("<div style='color: url(a.jpg); background: red'>x</div><i data-bg=dark>x</i><i data-bg=''>x</i>"
                      "<map><area href=a.jpg shape=rect coords=0,0,1,1></map><object data=film.swf></object>"
                      "<input type=text src=a.jpg><body background=''>") == []
    assert candidates("<script type=application/ld+json>{\"publisher\": {\"@type\": \"Organization\", \"logo\": "
                      "{\"@type\": \"ImageObject\", \"url\": \"/logo.jpg\"}, \"image\": \"/building.jpg\"}, "
                      "\"logo\": {\"@type\": \"ImageObject\", \"url\": \"/l.jpg\"}}</script>") == []


def test_a_background_divides_no_text_and_takes_the_heading_inside_it() -> None:
    html = ("<body style='background: url(paper.jpg)'><h1>Birds</h1><p>A heron stands in the lake.</p>"
            "<img src=heron.jpg><p>It waits for fish.</p>"
            "<div style='background-image: url(barn.jpg)' aria-label='A red barn'><h2>Barns of the North</h2></div>")
    by_name = {one.image_url.rpartition("/")[2]: one for one in candidates(html)}
    assert texts(by_name["heron.jpg"], "surrounding") == ["A heron stands in the lake.", "It waits for fish."]
    assert texts(by_name["barn.jpg"], "heading") == ["Barns of the North"]
    assert texts(by_name["barn.jpg"], "aria_label") == ["A red barn"] and not texts(by_name["barn.jpg"], "surrounding")
    assert by_name["barn.jpg"].alternatives == ()
