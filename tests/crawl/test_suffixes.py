"""The registrable part of a name, by the Public Suffix List; the package that brings the list along is not imported."""
from __future__ import annotations

import subprocess
import sys

import pytest

from crawl import suffixes


@pytest.mark.parametrize(("name", "known"), [
    ("img.news.co.uk", "news.co.uk"),
    ("co.uk", "co.uk"),                                    # a suffix itself
    ("a.b.github.io", "b.github.io"),                      # private suffixes count
    ("x.anything.ck", "x.anything.ck"),                    # *.ck
    ("a.x.anything.ck", "x.anything.ck"),
    ("shop.www.ck", "www.ck"),                             # !www.ck
    ("a.city.kawasaki.jp", "city.kawasaki.jp"),            # !city.kawasaki.jp in *.kawasaki.jp
    ("www.xn--85x722f.xn--55qx5d.cn", "xn--85x722f.xn--55qx5d.cn"),        # of 公司.cn
    ("www.h017.test", ""),
])
def test_registrable(name, known):
    assert suffixes.registrable(name) == known


def test_every_rule_is_read_as_tldextract_reads_it():
    tldextract = pytest.importorskip("tldextract")
    extract = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None, include_psl_private_domains=True)

    def theirs(name: str) -> str:
        found = extract.extract_str(name)
        return f"{found.domain}.{found.suffix}".lstrip(".") if found.suffix else ""

    names = {f"{before}{rule.lstrip('!').replace('*', 'any')}" for rule in suffixes.rules()
             for before in ("a.", "b.a.")}
    differ = {name for name in names if suffixes.registrable(name) != theirs(name)}
    assert len(names) > 15_000
    # Theirs forgets a wildcard where a label of its own stands beside it, here *.psl.hrsn.dev and *.wc.psl.hrsn.dev.
    assert all(f"*.{name.partition('.')[2]}" in suffixes.rules() or f"*.{name.split('.', 2)[2]}" in suffixes.rules()
               for name in differ)
    assert len(differ) < 20


def test_the_rules_cost_no_http_client():
    said = subprocess.run([sys.executable, "-c", "import sys, crawl.page_work, crawl.urls\n"
                           "crawl.urls.site('http://www.example.co.uk/'); print({'requests', 'tldextract'} & "
                           "sys.modules.keys())"], check=True, capture_output=True, text=True)
    assert said.stdout == "set()\n"
