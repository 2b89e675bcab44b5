"""Code pages of the Latin alphabet, told by the letters of the language."""
from __future__ import annotations

import pytest

from crawl import charset
from crawl.latin import code_page

SENTENCES = {
    "portuguese": ("cp1252", "As crianças não sabem por que razão o avião voltou à estação depois da reunião."),
    "spanish": ("cp1252", "El niño pequeño soñó con una montaña de piñas y después volvió al jardín de su compañía."),
    "french": ("cp1252", "L'été dernier, la fenêtre était ouverte et le garçon a mangé un gâteau près de la forêt."),
    "german": ("cp1252", "Das Mädchen grüßt den König auf der Straße und hört die Vögel über den Dächern."),
    "danish": ("cp1252", "Der står en rød båd på søen, og børnene spiser æbler ved den blå bænk i går."),
    "icelandic": ("cp1252", "Það er köld nótt við sjóinn og þrír bátar bíða þar með rauð ljós í stafni."),
    "polish": ("cp1250", "Żółty wąż leży na gorącej łące, a dzieci śpiewają piosenkę o źdźble trawy i ćmie."),
    "polish, iso": ("iso8859_2", "Żółty wąż leży na gorącej łące, a dzieci śpiewają piosenkę o źdźble trawy i ćmie."),
    "czech": ("cp1250", "Příliš žluťoučký kůň běžel po louce a za ním šly děti s červeným míčem až ke škole."),
    "czech, iso": ("iso8859_2", "Příliš žluťoučký kůň běžel po louce a za ním šly děti s červeným míčem až ke škole."),
    "hungarian": ("cp1250", "Az öreg nő tűzön főzött levest, és a fiú hosszú útról érkezett a hűvös kertbe."),
    "romanian": ("cp1250", "Copiii au văzut o pasăre în pădure şi au alergat până la casa de lângă râul îngheţat."),
    "turkish": ("cp1254", "Küçük çocuk ağacın altında oturdu, yağmuru dinledi ve çok güzel bir şarkı söyledi."),
    "lithuanian": ("cp1257", "Mažas berniukas žaidžia kieme, o jo sesuo šią dieną rašo ilgą laišką į Vilnių."),
    "latvian": ("cp1257", "Mazs zēns spēlējas pagalmā, bet viņa māsa šodien raksta garu vēstuli uz Rīgu."),
}


@pytest.mark.parametrize("language", SENTENCES)
def test_a_page_that_declares_nothing_is_read_as_it_was_written(language: str) -> None:
    codec, sentence = SENTENCES[language]
    page = f"<html><head><title>{sentence[:20]}</title></head><body><p>{sentence}</p></body></html>"
    text, _ = charset.decode(page.encode(codec), "text/html")
    assert text == page


def test_quotation_marks_and_signs_tell_nothing() -> None:
    assert code_page("\u201cTwenty degrees\u201d, 30 \u20ac \u2013 \u00a9".encode("cp1252")) == ""
    assert charset.detect("<p>\u201cTwenty degrees\u201d, 30 \u20ac</p>".encode("cp1252")) == "windows-1252"


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
def test_utf16_without_its_mark_is_seen_by_its_zeros(codec: str) -> None:
    page = "<html><body><p>A café by the river</p></body></html>"
    assert charset.decode(page.encode(codec), "text/html")[0] == page
    assert charset.detect(page.encode() + b"\0" * 20) == "utf-8"


def test_korean_between_signs_and_escapes_of_others() -> None:
    assert charset.detect(("<p>☞ " + "우리는 강가에서 빵을 먹었다. ") .encode("cp949") * 40) == "euc-kr"
    assert charset.detect(b"\x1b$)C\x0e\x21\x22\x0f text") == "windows-1252"     # ISO-2022-KR: no browser reads it
    assert charset.detect("今日は天気がいい".encode("iso2022_jp")) == "iso-2022-jp"
