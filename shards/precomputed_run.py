"""Stages `precomputed` and `regions` of files that others made: converted once, then joined to the kept images by id.

    OUT/precomputed/<hash>/piece-00000-of-00004-<sha256>.bin      packed regions, one after the other
    OUT/precomputed/<hash>/piece-00000-of-00004.parquet           PrecomputedRow rows, one for each row of the files
    OUT/regions/<hash>/regions-00000-of-00004.parquet             RegionAddress rows, one for each row of `best`

A changed filter joins again and reads no file again.
"""
from __future__ import annotations

import dataclasses
import hashlib
import json
import posixpath
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

from crawl import progress, stages, storage
from crawl.config import digest
from crawl.errors import UsageError
from crawl.stages import Manifest, Stage, funnel_of
from crawl.tables import encode_table
from filter.records import Best
from shards.files import PartFile, commit_small, encode_entry, entry_from
from shards.precomputed import has_classes
from shards.quantise import UnusableRegions, quantised
from shards.records import EXTRACTED, RegionAddress
from shards.reencode_run import best_record
from shards.region_config import PRECOMPUTED, RegionsConfig
from shards.region_files import Piece, check, inputs_of, pieces, rows_of
from shards.region_stage import commit_without, facts_of, finish_regions
from shards.regions import pack

Run = Callable[[str, Callable[[Any], None]], None]

FORMAT = 1
REGIONS_FORMAT = 1
NOT_IN_FILES, AMBIGUOUS = "no_regions_not_in_files", "no_regions_ambiguous_id"
# More rows than this share with boxes outside their pictures: width and height have changed places.
_MOST_OUTSIDE = 0.05
_READ = ("format", "fields", "feature_dim", "num_classes", "background", "quantise", "soft_classes", "max_regions")


@dataclasses.dataclass(frozen=True, slots=True)
class PrecomputedRow:
    """One row of the files: where its regions lie, or why it is of no use."""

    id: str                        # as the file has it
    outcome: str                   # extracted, or the reason
    part: str                      # relative to the output root
    offset: int
    length: int
    sha256: str
    num_regions: int
    piece: int
    place: int                     # byte of a line in its file, number of an npz in its piece


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Wanted:
    """A kept image, and one id under which its regions may stand."""

    key: str
    rank: int                      # the first of several ids that is found wins


def precomputed(out: str, config: RegionsConfig, run: Run) -> Manifest:
    """Converts the files' rows; raises UsageError when none is of use, or when fields stand in another order."""
    check(config)
    plain = {name: getattr(config, name) for name in _READ}
    stage = Stage.open(out, PRECOMPUTED, FORMAT, _Plain(**plain), inputs_of(config))
    done = stage.finished()
    if done is not None:
        return done
    listed = pieces(config)
    from shards.precomputed_transforms import ConvertFiles
    run(PRECOMPUTED, lambda root: root | "Convert" >> ConvertFiles(tuple(listed), stage.folder, out, config))
    told = [json.loads(storage.read_bytes(storage.join(stage.directory, f"{_stem(number, len(listed))}.json")))
            for number in range(len(listed))]
    tables, parts = ([entry_from(one[name]) for one in told] for name in ("table", "part"))
    counted = funnel_of(PRECOMPUTED, "region row", tables)
    examples: dict[str, str] = {}
    for one in told:
        examples = one["examples"] | examples              # the first of all pieces
    _refuse(counted.rows_in, dict(counted.outcomes), examples, config)
    return stage.commit({"rows": tables, "parts": parts}, [counted], notes=[
        f"{count} rows of the region files are of no use: {name}, such as {examples[name]}"
        for name, count in counted.outcomes if name != EXTRACTED])


@dataclasses.dataclass(frozen=True)
class _Plain:
    """What of a RegionsConfig decides how a row is converted."""

    format: str
    fields: tuple[str, ...]
    feature_dim: int
    num_classes: int
    background: str
    quantise: str
    soft_classes: bool
    max_regions: int


def _refuse(rows: int, outcomes: dict[str, int], examples: dict[str, str], config: RegionsConfig) -> None:
    names = ", ".join(config.files)
    if not rows:
        raise UsageError(f"{names}: no row in it; name files of {config.format}")
    if outcomes.get("box_outside_image", 0) > _MOST_OUTSIDE * rows:
        raise UsageError(f"{names}: {outcomes['box_outside_image']} of {rows} rows have boxes outside their picture, "
                         f"such as {examples['box_outside_image']}; if width and height have changed places, give the "
                         f"order with --fields")
    if not outcomes.get(EXTRACTED):
        reason = max(outcomes, key=lambda name: (outcomes[name], name))
        raise UsageError(f"{names}: none of {rows} rows can be read as {config.format}: {reason}, such as "
                         f"{examples[reason]}; check --format, --fields and feature_dim")


def _stem(number: int, count: int) -> str:
    return f"piece-{number:05d}-of-{count:05d}"


def convert_piece(out: str, folder: str, piece: Piece, count: int, config: RegionsConfig) -> None:
    """Commits part and table of one piece and, last, a JSON with both entries; does nothing where it is committed."""
    directory, stem = storage.join(out, folder), _stem(piece.number, count)
    if storage.exists(storage.join(directory, f"{stem}.json")):
        return
    rows: list[PrecomputedRow] = []
    examples: dict[str, str] = {}
    with PartFile(directory) as part:
        for place, row in rows_of(piece, config):
            packed, outcome, detail, regions = b"", row.reason, row.detail, 0
            if row.found is not None:
                try:
                    made = quantised(row.found, config.quantise, config.max_regions, config.soft_classes)
                    packed, outcome, regions = pack(made), EXTRACTED, len(made)
                except UnusableRegions as error:
                    outcome, detail = error.reason, error.detail
            if outcome != EXTRACTED:
                where = piece.names[place] if piece.names else f"byte {place}"
                examples.setdefault(outcome, f"{posixpath.basename(piece.path)}, {where}: {detail}")
            rows.append(PrecomputedRow(row.id, outcome, "", part.append(packed), len(packed),
                                       hashlib.sha256(packed).hexdigest(), regions, piece.number, place))
            progress.add("region rows read", 1)
        entry = part.commit(lambda sha256: f"{stem}-{sha256[:12]}.bin")
    name = storage.join(folder, entry.name)
    data, counted = encode_table(PrecomputedRow, [dataclasses.replace(row, part=name) for row in rows])
    table = dataclasses.replace(commit_small(directory, f"{stem}.parquet", data), **counted)
    commit_small(directory, f"{stem}.json", json.dumps({
        "table": json.loads(encode_entry(table)), "part": json.loads(encode_entry(entry)), "examples": examples},
        sort_keys=True).encode())


def precomputed_regions(out: str, config: RegionsConfig, run: Run, source: str) -> Manifest:
    """Gives every kept image the regions that the files have for it; without any it is stored without."""
    files = precomputed(out, config, run)
    kept = stages.current_manifest(out, source)
    classes = config.num_classes if has_classes(config) else 0
    stage = Stage.open(out, "regions", REGIONS_FORMAT, facts_of(config, match=config.match),
                       {source: kept.digest, PRECOMPUTED: files.digest})
    done = stage.finished()
    if done is not None:
        return done
    best = kept.paths("best")
    without = commit_without(stage, config.quantise, config.feature_dim, NOT_IN_FILES)
    from shards.precomputed_transforms import JoinRegions
    run("regions", lambda root: root | "Regions" >> JoinRegions(
        best, best_record(source), files.paths("rows"), stage.directory, config.match, without))
    from crawl.transforms import entries_of
    return finish_regions(stage, list(entries_of(stage.directory, "regions", len(best))), [], config, {
        "extractor": PRECOMPUTED, "feature_dim": config.feature_dim, "num_classes": classes,
        "quantisation": "f16" if config.quantise == "f16" else "u8_scale_zero",
        "extractor_digest": digest({"name": PRECOMPUTED, "files": files.table_digest("rows")})})


def ids_of(best: Best, match: str) -> Iterator[tuple[str, Wanted]]:
    """Yields the ids under which a kept image may stand in the files, and which image that is."""
    if match == "key":
        names = [best.key]
    elif match.startswith("extras."):
        value = json.loads(best.extras).get(match.partition(".")[2], "") if best.extras else ""
        names = [str(value)] if value != "" else []
    else:
        names = [url if match == "url" else posixpath.basename(unquote(urlsplit(url).path))
                 for url in dict.fromkeys((best.image_url, *best.image_urls))]
    for rank, normal in enumerate(dict.fromkeys(normal_id(name, match) for name in names)):
        if normal:
            yield normal, Wanted(best.key, rank)


def normal_id(text: str, match: str) -> str:
    """Returns an id as both sides are compared: of `key` 32 hex digits, of `name` without folder and suffix.

    >>> normal_id("val2014/COCO_val2014_000000000042.jpg", "name")
    'COCO_val2014_000000000042'
    """
    if match == "key":
        return text.lower()[:32]
    return posixpath.splitext(posixpath.basename(text))[0] if match == "name" else text


def joined(wanted: Sequence[Wanted], row: PrecomputedRow | None) -> Iterator[tuple[str, tuple[int, RegionAddress]]]:
    """Yields for the image that wants an id what the files have for it; an id that several images want is of no use."""
    if row is None:
        return
    for one in wanted:
        address = RegionAddress(one.key, EXTRACTED, row.part, row.offset, row.length, row.sha256, row.num_regions)
        yield one.key, (one.rank, address if len(wanted) == 1 else dataclasses.replace(address, outcome=AMBIGUOUS))


def settled(key: str, why: str, found: Sequence[tuple[int, RegionAddress]], without: RegionAddress) -> RegionAddress:
    """Returns the one address of a kept image, by the first of its ids that is of use; of an image that cannot be
    stored, why."""
    if why:
        return RegionAddress(key, why, "", 0, 0, "", 0)
    own = [(rank, address) for rank, address in found if address.outcome == EXTRACTED]
    if own:
        return min(own, key=lambda one: one[0])[1]
    return dataclasses.replace(without, key=key, outcome=AMBIGUOUS if found else NOT_IN_FILES)
