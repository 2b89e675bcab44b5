"""Finds what a suppress list means in the tables of a root: images by any of their hashes, their URLs, pages, bytes."""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from crawl import storage, urls
from crawl.suppress import Suppression
from crawl.tables import read_plain, schema_in
from shards.purge_rows import NARROW, RowRule, Targets, phrases_of

_KEPT = "kept"                     # the outcome of the pair that became a sample
_IMAGE_ROW = {"url", "sha256", "format"}       # of the tables `images` and the log of an image fetch


def tables_of(names: Iterable[str]) -> list[str]:
    """Returns the tables among the files of a root; those beside shards are written by shards/rewrite.py."""
    return [name for name in names if name.endswith(".parquet") and not name.startswith("shards/")]


def find_targets(out: str, names: Iterable[str], suppressed: Suppression) -> Targets:
    """Returns everything in the stages of a root that the list names."""
    tables = {name: frozenset(schema_in(storage.join(out, name)).names) for name in tables_of(names)}
    sha256s = _images_by_hash(out, tables, suppressed)
    addresses, url_keys = _addresses_of(out, tables, suppressed, sha256s)
    found = Targets(suppressed, sha256s, addresses, url_keys)
    shown_on = _pages_that_showed(out, tables, RowRule(found))
    found = Targets(suppressed, sha256s, addresses, url_keys, shown_on)
    return Targets(suppressed, sha256s, addresses, url_keys, shown_on, _ranges(out, tables, RowRule(found)))


def num_rows_left(out: str, names: Iterable[str], targets: Targets) -> int:
    """Returns how many rows of a root are still about something removed; 0 behind a purge."""
    rule = RowRule(targets)
    return sum(rule.goes(row) for name in tables_of(names) for row in read_plain(storage.join(out, name), NARROW))


def _images_by_hash(out: str, tables: dict[str, frozenset[str]], suppressed: Suppression) -> frozenset[str]:
    """By key, sha256 or perceptual hash, wherever they stand; by the URL they came from."""
    found: set[str] = set()
    for name, columns in tables.items():
        hashed = next((column for column in ("image_sha256", "sha256") if column in columns), "")
        if not hashed or not (columns & {"perceptual_hash", "key"} or columns >= _IMAGE_ROW):
            continue
        for row in read_plain(storage.join(out, name), (hashed, "perceptual_hash", "url", "final_url", "format")):
            addresses = [row[one] for one in ("url", "final_url") if row.get(one)]
            if row[hashed] and suppressed.suppresses(row[hashed][:32], row[hashed], addresses,
                                                     row.get("perceptual_hash", "")):
                found.add(row[hashed])
    return frozenset(found)


def _addresses_of(out: str, tables: dict[str, frozenset[str]], suppressed: Suppression,
                  sha256s: frozenset[str]) -> tuple[frozenset[str], frozenset[str]]:
    """The URLs that gave these images or stand in their samples, and the keys of all URLs that are to be absent."""
    addresses: set[str] = set()
    keys: set[str] = set()
    listed = suppressed.of_addresses
    for name, columns in tables.items():
        path = storage.join(out, name)
        if {"key", "image_sha256", "image_url"} <= columns:                # where the caption of a sample stood
            addresses |= {row["image_url"] for row in read_plain(path, ("image_sha256", "image_url"))
                          if row["image_sha256"] in sha256s}
        if not {"url", "url_key"} <= columns:
            continue
        for row in read_plain(path, ("url", "url_key", "final_url", "sha256", "format")):
            if columns >= _IMAGE_ROW and row["sha256"] in sha256s:
                addresses |= {row["url"], row["final_url"]} - {""}
            if listed and listed.names(row["url"], row.get("final_url", "")):
                keys.add(row["url_key"])
    return frozenset(addresses), frozenset(keys | {urls.url_key(url) for url in addresses})


def _pages_that_showed(out: str, tables: dict[str, frozenset[str]], rule: RowRule) -> dict[str, frozenset[str]]:
    """The pages whose stored answer holds the URL of a removed image, and the texts they gave it."""
    found: dict[str, set[str]] = defaultdict(set)
    for name, columns in tables.items():
        path = storage.join(out, name)
        if {"page_key", "image_url", "texts"} <= columns:
            for row in read_plain(path, ("page_key", "image_url", "image_key", "alternatives", "link_href", "texts")):
                held = [row["image_url"], row["link_href"], *row["alternatives"]]
                if row["image_key"] in rule.targets.url_keys or any(map(rule.names, filter(None, held))):
                    found[row["page_key"]] |= phrases_of(row)
        elif {"src_key", "dst_url"} <= columns:
            for row in read_plain(path, ("src_key", "dst_url")):
                if row["dst_url"] in rule.targets.urls:
                    found[row["src_key"]] |= set()
        elif {"image_sha256", "caption", "page_url"} <= columns:
            for row in read_plain(path, ("image_sha256", "caption", "raw", "page_url", "outcome")):
                if row["image_sha256"] in rule.targets.sha256s and row.get("outcome", _KEPT) == _KEPT:
                    found[urls.url_key(row["page_url"])] |= {row["caption"], row.get("raw", "")} - {""}
    return {page: frozenset(texts) for page, texts in found.items()}


def _ranges(out: str, tables: dict[str, frozenset[str]], rule: RowRule) -> dict[str, frozenset[tuple[int, int]]]:
    found: dict[str, set[tuple[int, int]]] = defaultdict(set)
    for name, columns in tables.items():
        if {"part", "offset", "length"} <= columns:
            for row in read_plain(storage.join(out, name), NARROW):
                if rule.loses_bytes(row):
                    found[row["part"]].add((row["offset"], row["length"]))
                if row.get("revisit_part") and rule.goes(row):
                    found[row["revisit_part"]].add((row["revisit_offset"], row["revisit_length"]))
    return {part: frozenset(pieces) for part, pieces in found.items()}
