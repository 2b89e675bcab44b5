"""A sample is what one key of a shard holds: `KEY.jpg` (or png, webp), `KEY.txt` and `KEY.json`, in this order.

The key is the first 32 hex digits of the sha256 of the image bytes, so equal images have equal keys and a key never
contains a dot (WebDataset ends the key at the first one).
"""
from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

EXTENSIONS = ("jpg", "png", "webp")
SPLITS = ("train", "test")
REGIONS_SUFFIX = "regions.safetensors"
KEY_LENGTH = 32

_KEY = re.compile(r"[0-9a-f]{32}")

# Every field of KEY.json with its type: always present, never null.  An unknown text is "", an empty list is [].
SAMPLE_FIELDS: dict[str, type] = {
    "key": str,
    "caption": str,
    "source": str,                 # where the caption stood: alt, figcaption, ...
    "score": float,                # P(caption describes image), in [0, 1]
    "split": str,                  # train or test
    "texts": list,                 # {source, text, score}: all that competed, best first
    "image_url": str,
    "page_url": str,
    "image_urls": list,            # image_url, then further URLs of the same picture
    "num_occurrences": int,        # how often it was seen, true count
    "sha256": str,                 # of the image bytes
    "format": str,                 # jpg, png, webp
    "num_bytes": int,
    "width": int,                  # px after orientation
    "height": int,
    "orientation": int,            # EXIF, 1..8: the stored bytes are turned by it
    "perceptual_hash": str,
    "group_hash": str,             # equal for pictures the near-duplicate rule saw as one
    "caption_hash": str,           # of the normalised caption
    "natural": float,              # P(photograph-like), in [0, 1]
    "page_language": str,
    "permission": str,             # allow, deny or unknown
    "signals": list,               # {name, raw, verdict, evidence}: what the verdict was made from
    "page_record_id": str,         # WARC-Record-ID of the page
    "page_sha256": str,            # payload digest of the page
    "page_fetched_at": str,        # ISO 8601 UTC
    "image_fetched_at": str,
    "extras": str,                 # a JSON object: further columns of the caption table; "" where there are none
    "drift": str,                  # same, drifted: the image against the hash its table gives; "" where it gives none
    "drift_distance": int,         # bits between the table's perceptual hash and this one; -1 where it gives none
}


def key_of(image_sha256: str) -> str:
    """Returns the sample key of an image's sha256 in hex."""
    return image_sha256[:KEY_LENGTH]


def is_key(text: str) -> bool:
    """Returns whether text is a key of ours: 32 lower-case hex digits."""
    return _KEY.fullmatch(text) is not None


def member_names(key: str, ext: str) -> tuple[str, str, str]:
    """Returns the three member names of a sample in tar order.

    >>> member_names("ab" * 16, "jpg")[0]
    'abababababababababababababababab.jpg'
    """
    if not is_key(key) or ext not in EXTENSIONS:
        raise ValueError(f"no sample: key {key!r}, extension {ext!r}")
    return f"{key}.{ext}", f"{key}.txt", f"{key}.json"


def regions_name(key: str) -> str:
    """Returns the name of a sample's member in the regions tar."""
    return f"{key}.{REGIONS_SUFFIX}"


def sample_json(values: Mapping[str, Any]) -> bytes:
    """Returns the bytes of KEY.json: the fields of SAMPLE_FIELDS in their order.

    Raises ValueError for a missing, unknown or null field and for an empty list: a reader may rely on all of them, and
    those that guess types from the first samples (`datasets`) guess right.
    """
    if values.keys() != SAMPLE_FIELDS.keys():
        raise ValueError(f"KEY.json: fields differ: {sorted(values.keys() ^ SAMPLE_FIELDS.keys())}")
    for name, kind in SAMPLE_FIELDS.items():
        if not isinstance(values[name], kind) or isinstance(values[name], bool):
            raise ValueError(f"KEY.json of {values['key']}: {name} is {values[name]!r}, not a {kind.__name__}")
        if kind is list and not values[name]:
            raise ValueError(f"KEY.json of {values['key']}: {name} is empty")
    ordered = {name: values[name] for name in SAMPLE_FIELDS}
    return json.dumps(ordered, ensure_ascii=False, allow_nan=False).encode()


def parse_sample_json(data: bytes) -> dict[str, Any]:
    """Returns KEY.json as plain values; of a foreign shard it holds whatever its writer put there."""
    value = json.loads(data)
    if not isinstance(value, dict):
        raise ValueError(f"KEY.json holds a {type(value).__name__}, not an object")
    return value
