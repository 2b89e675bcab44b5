"""What a purge finds of a page that a recrawl found unchanged: its bytes of before, and every record of the recrawl."""
from __future__ import annotations

import os

from crawl import storage
from crawl.stages import Manifest
from crawl.suppress import Suppression, parse_rule
from crawl.warc_reader import read_records
from shards.purge_bytes import overwritten
from shards.purge_targets import find_targets
from tests.crawl.test_recrawl import Twice, base, twice

__all__ = ["base", "twice"]        # fixtures


def about(manifest: Manifest, url: str) -> list[str]:
    """Returns the types of the records that hold a URL in any place."""
    found = []
    for path in manifest.paths("warc"):
        with open(path, "rb") as file:
            found += [record.fields["warc-type"] for record in read_records(file)
                      if url in str(record.fields) or url.encode() in record.block]
            file.seek(0)
            assert not any(record.fault for record in read_records(file))
    return found


def test_no_record_of_a_removed_page_is_left(twice: Twice) -> None:      # noqa: F811, the fixture
    first, again = twice.first, twice.again
    gone, stays = "http://a.test/none", "http://a.test/etag"
    assert about(first, gone) == ["request", "metadata", "response"]
    assert about(again, gone) == ["request", "metadata", "revisit"]
    kept = about(first, stays), about(again, stays)
    found = find_targets(again.out, storage.names_below(again.out), Suppression((parse_rule("url", gone),)))
    for part, ranges in found.ranges.items():
        path = storage.join(again.out, part)
        size = os.path.getsize(path)
        temporary, entry = overwritten(path, part, ranges)
        os.replace(temporary, path)
        assert entry.bytes == size
    assert about(first, gone) == about(again, gone) == []
    assert (about(first, stays), about(again, stays)) == kept
