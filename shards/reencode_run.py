"""Stage `reencoded`: kept images become smaller JPEGs, a part a bucket of `best`, measured before shards are planned.

    OUT/reencoded/<hash>/reencoded-00000-of-00004-<sha256>.bin      JPEGs, one after the other
    OUT/reencoded/<hash>/best-00000-of-00004.parquet                StoredBest rows, one for each row of `best`
"""
from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from crawl import progress, stages, storage
from crawl.sandbox_client import Sandbox
from crawl.stages import Manifest, Stage, funnel_of
from crawl.tables import read_table
from filter.records import Best
from shards.addresses import read_addresses
from shards.files import PartFile, encode_entry, read_entry
from shards.image_work import reencode_sandbox
from shards.records import REENCODED, UNTOUCHED, StoredBest, image_address
from shards.reencode import Encoded, ReencodeConfig, is_bigger
from shards.sample import EXTENSIONS

REENCODED_STAGE = "reencoded"
REENCODED_FORMAT = 1
# Rows whose images are read and encoded at a time: bounds memory, and gives the read plan neighbours to join.
_WINDOW = 256


def best_record(source: str) -> type[Best]:
    """Returns what the rows of `best` are in a stage: of reencoded, StoredBest."""
    return StoredBest if source == REENCODED_STAGE else Best


def reencoded(out: str, config: ReencodeConfig, run: Callable[[str, Callable[[Any], None]], None]) -> Manifest:
    """Encodes the kept images again that are bigger than asked for; `best` says where what is to be stored lies."""
    filtered = stages.current_manifest(out, "filter")
    stage = Stage.open(out, REENCODED_STAGE, REENCODED_FORMAT, config, {"filter": filtered.digest})
    done = stage.finished()
    if done is not None:
        return done
    best = filtered.paths("best")
    from shards.transforms import ReencodeImages
    run("reencoded", lambda root: root | "Reencoded" >> ReencodeImages(out, best, stage.folder, config))
    from crawl.transforms import entries_of
    tables = list(entries_of(stage.directory, "best", len(best)))
    parts = [read_entry(stage.directory, f"{_stem(bucket, len(best))}.part.json") for bucket in range(len(best))]
    counted = funnel_of(REENCODED_STAGE, "image", tables)
    again = dict(counted.outcomes).get(REENCODED, 0)
    return stage.commit({"best": tables, "parts": parts}, [counted], notes=[
        *filtered.notes, f"{again} of {counted.rows_in} images are JPEGs made of the original bytes; keys and sha256 "
                         f"are of the originals"])


def _stem(bucket: int, buckets: int) -> str:
    return f"reencoded-{bucket:05d}-of-{buckets:05d}"


def reencode_bucket(out: str, folder: str, best_path: str, bucket: int, buckets: int, config: ReencodeConfig) -> None:
    """Commits the part and the rows of one bucket of `best`; does nothing where they are committed.

    The part's name holds its sha256, so that a bucket killed between part and table is simply done again.
    """
    from crawl.transforms import bucket_name, write_bucket
    directory, stem = storage.join(out, folder), _stem(bucket, buckets)
    if storage.exists(storage.join(directory, bucket_name("best", bucket, buckets) + ".json")):
        return
    rows: list[StoredBest] = []
    with PartFile(directory) as part, reencode_sandbox(config) as box:
        source = read_table(best_path, Best)
        while window := list(itertools.islice(source, _WINDOW)):
            for best, encoded in zip(window, _encoded(out, window, config, box), strict=True):
                rows.append(_stored(best, encoded, part))
                progress.add("images encoded again", int(encoded is not None))
        entry = part.commit(lambda sha256: f"{stem}-{sha256[:12]}.bin")
    # Replaced, not committed: a bucket that is done again may have made another part.
    storage.replace_bytes(storage.join(directory, stem + ".part.json"), encode_entry(entry))
    name = storage.join(folder, entry.name)
    write_bucket(directory, "best", bucket, buckets, StoredBest,
                 [dataclasses.replace(row, part=name) if row.outcome == REENCODED else row for row in rows])


def _stored(best: Best, encoded: Encoded | None, part: PartFile) -> StoredBest:
    """Returns the row of an image, its JPEG appended to the part; the part's name is not known yet."""
    same: dict[str, Any] = {field.name: getattr(best, field.name) for field in dataclasses.fields(Best)}
    if encoded is None or encoded.reason:
        return StoredBest(**same, outcome=encoded.reason if encoded else UNTOUCHED, stored_sha256=best.image_sha256)
    return StoredBest(**same | {
        "format": "jpg", "width": encoded.width, "height": encoded.height, "orientation": 1, "part": "",
        "offset": part.append(encoded.data), "length": len(encoded.data)},
        outcome=REENCODED, stored_sha256=hashlib.sha256(encoded.data).hexdigest())


def _encoded(out: str, window: Sequence[Best], config: ReencodeConfig,
             box: Sandbox[Encoded]) -> Iterator[Encoded | None]:
    """Yields the JPEG of each row or why there is none; None for an image that keeps its bytes, which are not read."""
    wanted = [place for place, best in enumerate(window) if best.format not in EXTENSIONS
              or not config.only_if_bigger or is_bigger(best.width, best.height, config)]
    read = read_addresses(out, [image_address(window[place]) for place in wanted])
    items = ((wanted[number], [window[wanted[number]].width, window[wanted[number]].height], data)
             for number, data in read)
    found = {place: answer.result or Encoded(f"decode_{answer.reason}") for place, answer in box.map(items)}
    for place in range(len(window)):
        yield found.get(place)
