import html.parser
import re
from pathlib import Path

import pytest

from crawl.errors import UsageError
from crawl.stages import Stage, current_manifest
from shards.census import HashSample, Sites, Tally
from shards.page import PASSED
from shards.report import render, write_report
from tests.shards.made_root import Config, Made, commit_shards, made_root, made_sample

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Reader(html.parser.HTMLParser):
    """Collects elements and text, and checks that elements nest."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        self.text += data


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[Made]]:
    out = str(tmp_path_factory.mktemp("root"))
    return out, made_root(out, 80, notes=("3 pages were cut at 2 MB",))


@pytest.fixture(scope="module")
def page(made: tuple[str, list[Made]]) -> str:
    return render(made[0])


def test_the_report_lies_beside_the_shards_and_is_the_same_every_time(made: tuple[str, list[Made]], page: str) -> None:
    out, _ = made
    path = write_report(out)
    assert path == current_manifest(out, "shards").directory + "/report.html"
    first = Path(path).read_bytes()
    assert write_report(out) == path and Path(path).read_bytes() == first == page.encode()


def test_it_needs_nothing_from_outside_and_runs_nothing(page: str) -> None:
    elements = read(page).elements
    assert page.startswith("<!doctype html>")
    assert not {tag for tag, _ in elements} & {"script", "link", "iframe", "object", "form", "base"}
    assert all((attributes["src"] or "").startswith("data:image/") for tag, attributes in elements if tag == "img")
    assert all((attributes["href"] or "").startswith("#") for tag, attributes in elements if tag == "a")
    assert not any(name.startswith("on") for _, attributes in elements for name in attributes)
    assert "url(" not in page and "@import" not in page
    assert any(attributes.get("content", "").startswith("default-src 'none'")      # type: ignore[union-attr]
               for tag, attributes in elements if tag == "meta")


def test_text_of_the_web_is_escaped_and_nothing_in_it_hides(page: str) -> None:
    reader = read(page)
    assert "<script>alert(1)</script> a cat ⟨U+202E⟩gpj.exe & ⟨U+001B⟩[31mred" in reader.text
    assert 'evil.example/"onmouseover=alert(1)?<b>' in reader.text
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]", page)


def test_the_funnel_is_every_stage_with_every_reason(made: tuple[str, list[Made]], page: str) -> None:
    text = " ".join(re.sub("<[^>]+>", " ", page).split())
    for name in ("crawl", "judge", "images", "filter", "shards"):
        for line in current_manifest(made[0], name).funnel:
            assert f"{line.stage} in: {line.unit} {line.rows_in:,} " in text
            for outcome, count in line.outcomes:
                assert f" {outcome} {count:,} " in text or outcome in PASSED


def test_contact_sheets_hold_as_many_as_they_say(page: str) -> None:
    def figures(name: str) -> int:
        return page.partition(f'<section id="{name}">')[2].partition("</section>")[0].count("<figure>")

    assert figures("kept") == 60                      # of 80
    assert figures("rejected") == 36                  # 12 of each of three reasons
    kept, rejected = (page.partition(f'<section id="{name}">')[2].partition("</section>")[0]
                      for name in ("kept", "rejected"))
    assert kept.count("<img") == 60                   # read at their addresses
    assert rejected.count("<img") == 0                # no features stage in this root, so no addresses
    assert "Rejected sentence" in rejected            # as found, not as cleaned
    unfetched = page.partition('<section id="unfetched">')[2].partition("</section>")[0]
    assert unfetched.count("<tr>") == 12
    assert unfetched.count(".jpg &lt;i&gt;") == unfetched.count(": file_name</span>") == 6


def test_it_says_what_judging_first_saved_and_what_servers_mislabel(page: str) -> None:
    text = " ".join(read(page).text.split())
    assert "name 240 image URLs" in text and "saved 160 requests: 2.00 for each kept pair" in text
    assert "8 images that came are of another format" in text


def test_notes_stand_once_and_before_the_funnel(page: str) -> None:
    assert page.count("3 pages were cut at 2 MB") == 1
    assert page.index("3 pages were cut at 2 MB") < page.index('id="funnel"')


def test_shards_of_another_filter_are_a_loud_note(tmp_path: Path) -> None:
    out = str(tmp_path)
    samples = made_root(out, 6)
    assert 'class="notes"' not in render(out)
    commit_shards(out, samples, {"filter": "ee" * 32})
    assert "shards was not built from the filter shown here" in render(out)


def test_a_root_with_shards_only_and_one_without(tmp_path: Path) -> None:
    commit_shards(str(tmp_path / "only"), [made_sample(1)])
    assert "Nothing was kept" in read(render(str(tmp_path / "only"))).text
    with pytest.raises(UsageError, match="no finished stage 'shards'"):
        write_report(str(tmp_path / "empty"))


def _root_with_image(out: str, data: bytes) -> str:
    """Returns the report of a root whose one rejected pair has an image with these bytes."""
    from crawl import storage
    from crawl.stages import funnel_of
    from crawl.tables import write_table
    from filter.records import ImageFacts, Pair
    from tests.shards.made_root import rejected_pair
    storage.commit_bytes(storage.join(out, "images/x/part.tar"), data)
    pair = rejected_pair(0)
    facts = ImageFacts(sha256=pair.image_sha256, outcome="decoded", format="jpg", width=120, height=90, orientation=1,
                       mode="RGB", num_bytes=10, part="images/x/part.tar", offset=0, length=len(data), deviation=1.0,
                       entropy=1.0, perceptual_hash="0" * 16, difference_hash="0" * 16, natural=0.5, colours=())
    for name, record, row in (("features", ImageFacts, facts), ("filter", Pair, pair)):
        stage = Stage.open(out, name, 1, Config(), {})
        table = "pairs" if name == "filter" else name
        entry = write_table(stage.directory, f"{table}-00000-of-00001.parquet", record, [row])
        stage.commit({table: [entry]}, [funnel_of(name, "row", [entry])])
    commit_shards(out, [made_sample(1)])
    return render(out)


def test_a_rejected_pair_shows_the_image_at_its_address(tmp_path: Path) -> None:
    from tests.shards.made_root import drawn
    assert _root_with_image(str(tmp_path), drawn(3)).count('<img src="data:image/webp;base64,') == 1


def test_what_is_no_picture_is_not_shown_as_one(tmp_path: Path) -> None:
    page = _root_with_image(str(tmp_path), b"<svg onload=alert(1)>")
    assert "<img" not in page and "no picture" in page


def test_a_hash_sample_does_not_depend_on_order_or_repeats() -> None:
    offers = [(f"key{number}", number % 3 == 0) for number in range(200)]
    forward, backward = HashSample[str](20), HashSample[str](20)
    for key, favoured in offers:
        forward.offer(key, key, favoured)
    for key, favoured in [*reversed(offers), *offers]:
        backward.offer(key, key, favoured)
    assert forward.kept() == backward.kept() and len(set(forward.kept())) == 20
    assert all(int(key[3:]) % 3 == 0 for key in forward.kept())
    few = HashSample[str](5)
    for key, favoured in offers[:4]:
        few.offer(key, key, favoured)
    assert few.kept()[0] in ("key0", "key3") and len(few.kept()) == 4 and few.seen == 4


def test_sites_are_bounded_and_nothing_is_lost() -> None:
    sites = Sites(limit=3)
    for number in range(10):
        sites.of(f"https://www.site{number}.example/x").kept += 1
    sites.of("no url").kept += 1
    assert len(sites.by_site) == 4 and sum(line.kept for line in sites.ranked()) == 11
    assert sites.ranked()[0].site == "(all other sites)"


def test_quantiles_and_bins_are_exact() -> None:
    tally = Tally()
    for value in range(100):
        tally.add(value)
    assert [tally.quantile(share) for share in (0, 0.05, 0.5, 1)] == [0, 4, 49, 99]
    assert tally.binned((0, 10, 50, 60)) == (10, 40, 50)
