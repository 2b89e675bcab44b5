"""Bodies that a site refused in a header or meta element, kept aside because `fetch.keep_denied` says so.

    STAGE/quarantine/<url_key>-<12 hex of sha256>.warc.gz    a page's answer, one WARC member
    STAGE/quarantine/<url_key>-<12 hex of sha256>.bin        an image's bytes

No table, index or address names these files, so no stage can read one; a row of the fetch log is found by its url_key.
The folder may be removed at any time.
"""
from __future__ import annotations

import hashlib

from crawl import storage

FOLDER = "quarantine"
_SUFFIX = {"page": ".warc.gz", "image": ".bin"}


def keep(directory: str, kind: str, url_key: str, stored: bytes) -> str:
    """Writes one body (kind page: a WARC member) below a stage folder; returns its name in there."""
    digest = hashlib.sha256(stored).hexdigest()[:12]
    name = storage.join(FOLDER, f"{url_key}-{digest}{_SUFFIX[kind]}")
    storage.commit_bytes(storage.join(directory, name), stored)
    return name


def names(directory: str) -> dict[str, list[str]]:
    """Returns url_key -> what lies there of it, relative to the stage folder; for a person's eyes, no stage asks."""
    found: dict[str, list[str]] = {}
    for name in storage.names_in(storage.join(directory, FOLDER)):
        if name.endswith(tuple(_SUFFIX.values())):
            found.setdefault(name.partition("-")[0], []).append(storage.join(FOLDER, name))
    return found
