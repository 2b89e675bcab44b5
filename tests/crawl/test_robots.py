import time

import pytest

from crawl.robots import Robots, canonical

ME = "ImageBot"


def allowed(text, target, token=ME):
    return Robots(text if isinstance(text, bytes) else text.encode()).decide(target, token).allowed


@pytest.mark.parametrize("bom", [b"\xef\xbb\xbf", b"\xef\xbb", b"\xef"])
def test_r7_a_whole_or_partial_bom_is_skipped_at_the_start_only(bom):
    assert not allowed(bom + b"User-agent: *\nDisallow: /", "/x")
    assert allowed(b"\n" + b"\xef\xbb\xbfUser-agent: *\nDisallow: /", "/x")


def test_r8_html_is_read_line_by_line_and_usually_says_nothing():
    assert allowed("<html><body>User-agent: *\nDisallow: /</body>", "/x")


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\n\r"])
def test_r9_line_ends(end):
    assert not allowed(end.join(["User-agent: *", "Disallow: /x"]), "/x")


@pytest.mark.parametrize("separator", ["\u2028", "\u0085", "\x0b", "\x0c", "\x1c"])
def test_r9_no_other_character_ends_a_line(separator):
    assert not allowed(f"User-agent: *\nDisallow: /x # c{separator}Allow: /x", "/x")


def test_r10_comments_and_white_space():
    assert not allowed("  User-Agent :\t* # all\n\n#x\n DISALLOW  :  /x  # why", "/x")


@pytest.mark.parametrize("line", ["disallow /x", "Dissallow: /x", "dissalow: /x", "disalow: /x", "diasllow: /x",
                                  "disallaw: /x"])
def test_r11_typos_count(line):
    assert not allowed(f"useragent: *\n{line}", "/x")
    assert not allowed(f"user agent: *\n{line}", "/x")


def test_r12_rules_before_a_group_are_ignored_and_other_records_do_not_end_one():
    assert allowed("Disallow: /\nUser-agent: *\nAllow: /", "/x")
    text = "User-agent: FooBot\nInvalid-Unknown-Line: x\nSitemap: http://a.test/s\nUser-agent: *\nDisallow: /"
    assert not allowed(text, "/x", "FooBot")
    for known in ("Crawl-delay: 2", "Request-rate: 1/2", "Content-Usage: train-ai=n", "Content-Signal: ai-train=no"):
        assert not allowed(f"User-agent: FooBot\n{known}\nUser-agent: *\nDisallow: /", "/x", "FooBot"), known


def test_r13_whole_tokens_match_in_any_case():
    text = "User-agent: ImageBot/2.1\nDisallow: /a\nUser-agent: image\nDisallow: /b\nUser-agent: *\nDisallow: /c"
    assert not allowed(text, "/a", "imagebot")
    assert allowed(text, "/b", "imagebot") and allowed(text, "/c", "imagebot")
    assert not allowed("User-agent: FOO BAR\nDisallow: /", "/", "foo")


def test_r14_groups_of_one_agent_are_merged_and_the_star_only_serves_without_them():
    text = "User-agent: ImageBot\nDisallow: /a\nUser-agent: *\nDisallow: /\nUser-agent: imagebot\nDisallow: /b"
    assert [allowed(text, path) for path in ("/a", "/b", "/c")] == [False, False, True]
    assert not allowed("User-agent: *\nDisallow: /a\nUser-agent: x\nDisallow: /\nUser-agent: *\nDisallow: /b", "/b")
    assert allowed("User-agent: other\nDisallow: /", "/x")


@pytest.mark.parametrize("target, fine", [
    ("/p", True), ("/page", False), ("/page/x", True), ("/folder/page", True), ("/q", True), ("/PAGE", True)])
def test_r16_longest_match_wins_case_matters(target, fine):
    assert allowed("User-agent: *\nDisallow: /page\nAllow: /page/\nDisallow: /fold\nAllow: /folder", target) is fine


def test_r16_allow_wins_a_tie_and_an_empty_pattern_is_no_rule():
    assert allowed("User-agent: *\nDisallow: /x\nAllow: /x", "/x")
    assert allowed("User-agent: *\nDisallow:", "/x")
    assert not allowed("User-agent: *\nDisallow: /*?q=", "/a;b?q=1")
    assert allowed("User-agent: *\nDisallow: /", "/robots.txt")


@pytest.mark.parametrize("pattern, target, matches", [
    ("/*.gif$", "/a/b.gif", True), ("/*.gif$", "/a/b.gif?x", False), ("/a*b*c", "/a1b2c3", True),
    ("/a*b*c", "/a1c2b", False),
    ("/a$b", "/a$b", True), ("/a$b", "/a", False), ("/x$", "/x", True), ("/x$", "/xy", False),
    ("/*$", "/anything", True),
    ("/%2A", "/*", True), ("/%2A", "/x", False), ("/a%24", "/a$", True), ("/a%24", "/a", False),
    ("/ab*ab$", "/ab", False),
    ("*/x", "/y/x", True), ("/a*", "/a", True)])
def test_r17_wildcards(pattern, target, matches):
    assert allowed(f"User-agent: *\nDisallow: {pattern}", target) is not matches


def test_r17_many_stars_do_not_take_long():
    text = "User-agent: *\n" + "".join(f"Disallow: /{'*a' * 200}{n}$\n" for n in range(50))
    begin = time.process_time()
    assert allowed(text, "/" + "a" * 2000)
    assert time.process_time() - begin < 1.0


@pytest.mark.parametrize("pattern, target", [
    ("/ü", "/%C3%BC"), ("/%c3%bc", "/%C3%BC"), ("/%62%61%7A", "/baz"), ("/a%2fb", "/a%2Fb"), ("/~x", "/%7Ex")])
def test_r18_one_spelling_for_each_octet(pattern, target):
    assert not allowed(f"User-agent: *\nDisallow: {pattern}", target)
    assert allowed("User-agent: *\nDisallow: /a/b", "/a%2Fb")


def test_r19_the_deciding_line_is_named():
    decision = Robots(b"# hi\nUser-agent: imagebot\nDisallow: /a\n").decide("/a/b", ME)
    assert (decision.allowed, decision.group, decision.line, decision.rule) == (False, "imagebot", 3, "Disallow: /a")
    assert Robots(b"User-agent: *\nDisallow: /a").decide("/b", ME).line == 0


@pytest.mark.parametrize("lines, seconds", [
    ("Crawl-delay: 2.5", 2.5), ("Crawl-delay: nan", 0), ("Crawl-delay: inf", 0), ("Crawl-delay: -1", 0),
    ("Crawl-delay: x", 0),
    ("Request-rate: 1/5", 5), ("Request-rate: 2/1m", 30), ("Request-rate: 0/5", 0),
    ("Crawl-delay: 3\nRequest-rate: 1/1", 3)])
def test_r20_crawl_delay(lines, seconds):
    assert Robots(f"User-agent: *\n{lines}\nDisallow: /x".encode()).crawl_delay(ME) == seconds


def test_r20_a_delay_told_to_others_is_not_ours():
    text = b"User-agent: slow\nCrawl-delay: 100\n\nUser-agent: *\nDisallow: /x"
    assert Robots(text).crawl_delay(ME) == 0.0
    assert Robots(text).crawl_delay("slow") == 100.0


def test_r21_sitemaps_stand_anywhere():
    robots = Robots(b"Sitemap: http://a.test/1\nUser-agent: *\nDisallow: /\nsite-map: /2")
    assert robots.sitemaps == ["http://a.test/1", "/2"]


def test_any_bytes_are_read_without_raising():
    for seed in range(200):
        data = bytes((seed * 7919 + n * 104729) % 256 for n in range(300))
        Robots(data).decide("/x", ME)
        Robots(b"User-agent: *\nDisallow: " + data).decide("/x", ME)


def test_many_agents_in_front_of_many_rules_share_them() -> None:
    """512 KiB could otherwise become gigabytes: every rule once for every agent."""
    names = [chr(97 + n // 676 % 26) + chr(97 + n // 26 % 26) + chr(97 + n % 26) for n in range(3000)]
    text = "".join(f"User-agent: {name}\n" for name in names) + "Disallow: /x\n" * 3000
    robots = Robots(text.encode())
    assert not robots.decide("/x", "abc").allowed
    assert len({id(lines) for groups in robots._groups.values() for lines, _ in groups}) == 1


@pytest.mark.parametrize(("text", "path", "pattern"), [
    ("/a/b-c_d.e~f?g=h&i+j;k,l:m@n!o'(p)#", None, None), ("/a*b", "/a%2Ab", None), ("/a$", "/a%24", "/a%24"),
    ("/%7ea%2fb", "/~a%2Fb", "/~a%2Fb"), ("/%", None, None), ("/\u00e9 \x7f", "/%C3%A9%20%7F", "/%C3%A9%20%7F")])
def test_r18_every_octet_has_one_spelling(text, path, pattern):
    assert canonical(text, is_pattern=False) == (path or text)
    assert canonical(text, is_pattern=True) == (pattern or text)
