import random
import re

import pytest

from crawl import urls


@pytest.mark.parametrize("url", [
    "ftp://a.example/", "javascript:alert(1)", "data:image/png;base64,AA", "http://user@a.example/",
    "http://a.example/\x00", "http://a.ex\tample/", "http:///", "http://", "", "http://a.example/" + "x" * 2083,
    "http://[::1", "http://a b/", "http://\ud800.example/", "mailto:me@a.example"])
def test_what_is_not_to_be_fetched_is_none(url):
    assert urls.normalize(url) is None


@pytest.mark.parametrize("url", [
    "http://a.example", "HTTPS://A.Example:443/x/./y/../z?b=ü#f", "http://0x7f.1/", "http://①②⑦.0.0.1/", "http://[::1]:8080/",
    " \n http://a.example/p q ", "http://ok.com\\@127.0.0.1/", "http://a.example/#"])
def test_normalising_twice_changes_nothing_and_gives_ascii(url):
    once = urls.normalize(url)
    assert once is not None and once.isascii() and "#" not in once
    assert urls.normalize(once) == once


def test_odd_spellings_of_an_address_become_that_address_before_anyone_decides():
    for spelling in ("http://0x7f.1/", "http://2130706433/", "http://0177.0.0.1/", "http://127。0。0。1/"):
        assert urls.host(urls.normalize(spelling)) == "127.0.0.1"
    assert urls.host(urls.normalize("http://ok.com\\@127.0.0.1/")) == "ok.com"


def test_relative_urls_need_a_base():
    assert urls.normalize("/a.jpg") is None
    assert urls.normalize("//cdn.example/a.jpg", "https://a.example/x") == "https://cdn.example/a.jpg"


def test_key_is_of_the_url_and_stable():
    assert urls.url_key("http://a.example/") == "217fbabc0e7aa17115435afd966b734a"
    assert urls.url_key("http://a.example/") != urls.url_key("https://a.example/")


@pytest.mark.parametrize("url, key", [
    ("http://h017.test:8081/a", "h017.test"), ("https://img.h017.test/", "h017.test"),
    ("https://me.github.io/", "me.github.io"), ("https://a.example.co.uk./", "example.co.uk"),
    ("http://127.0.0.1:18080/", "127.0.0.1:18080"), ("http://[2001:db8::1]/", "[2001:db8::1]:80"),
    ("http://localhost:8000/", "localhost:8000"), ("https://co.uk/", "co.uk")])
def test_politeness_key(url, key):
    assert urls.politeness_key(url) == key
    assert urls.site(url) == key


def test_authority_always_writes_the_port():
    assert urls.authority("http://a.example/") == "http://a.example:80"
    assert urls.authority("http://[::1]:8443/") == "http://[::1]:8443"
    assert urls.target("http://a.example/x;y?z") == "/x;y?z"


def test_the_short_way_is_the_long_way(monkeypatch):
    """Most URLs are their own serialisation and are not parsed; they must come out as if they were."""
    draw = random.Random(3)
    pieces = ["/", "//", "/./", "/../", "..", ".", "%2e", "%2E", "%41", "?", "#", "a", "B", "\u00e9", "'", "|", "^",
              "[", "\\", "@", ":", ":80", ":8080", "&=", " ", "{", "xn--", "9", "a.9x", "a.test", "1.2.3.4",
              "0x7f.1", "a..b"]
    bases = ["http://a.test/x/y?z", "https://b.c.de:8443/q", "http://1.2.3.4/", None, None,
             "https://a.test/d/e/f/g.html?p=/h/i", "http://a.test/d//e", "https://a.test"]
    bases = [base and urls.normalize(base) for base in bases]
    asked = []
    for _ in range(20_000):
        begin = draw.choice(["http://", "https://a.test/", "https://b-c.example.com/", "HTTP://", "/", "", "../", "q/",
                             "../../", "../../../../", "../..", "./", "?", "//c.test", "httpdocs/", "\t../"])
        asked.append((begin + "".join(draw.choices(pieces, k=draw.randrange(5))), draw.choice(bases)))
    short = [urls.normalize(*one) for one in asked]
    assert sum(bool(urls._PLAIN.fullmatch(url)) for url, _ in asked) > 300
    monkeypatch.setattr(urls, "_PLAIN", re.compile("(?!)"))
    assert short == [urls.normalize(*one) for one in asked]
