"""Stage `shards`: samples in hash order, cut into deterministic tars; the manifest says all a reader needs.

    OUT/shards/<hash>/train/lait-jpg-000000.{tar,regions.tar,idx.npy,parquet,json}
    OUT/shards/<hash>/{plan.json,vocab.txt,codebook.safetensors,classes.txt,manifest.json}
"""
from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from crawl import stages, storage
from crawl.funnel import image_requests
from crawl.stages import Funnel, Manifest, Stage
from crawl.suppress import Suppression, suppression
from crawl.tables import read_table
from filter.records import Best
from shards.files import commit_small
from shards.order import OrderConfig, Range, first_rank, num_shards, order_of, range_of, shard_of, shard_stem, totals
from shards.records import EXTRACTED, WITHOUT_REGIONS, Placed, RegionAddress, json_values
from shards.reencode_run import REENCODED_STAGE, best_record
from shards.regions_run import CODEBOOK
from shards.same_images import same_images
from shards.sample import sample_json
from shards.vocabulary import VOCAB
from shards.writer import WrittenShard, read_written, tar_bytes

FORMAT = 5                         # 3: extras and drift; 4: image_requests; 5: class_names
PLAN = "plan.json"


def shards(out: str, config: OrderConfig, run: Callable[[str, Callable[[Any], None]], None],
           source: str = "filter") -> Manifest:
    """Writes all shards and returns their manifest; `shards.manifest.load_shards` reads it back.

    Args:
        source: the stage whose `best` rows are stored: filter, or reencoded.
    """
    upstream = {name: stages.current_manifest(out, name) for name in (source, "regions", "vocab")}
    if "codebook" in upstream["regions"].inputs:
        upstream["codebook"] = stages.current_manifest(out, "codebook")
    suppressed = suppression(out)
    stage = Stage.open(out, "shards", FORMAT, config,
                       {name: upstream[name].digest for name in (source, "regions", "vocab")}
                       | ({"suppress": suppressed.digest} if suppressed else {}))
    done = stage.finished()
    if done is not None:
        return done
    pairs = tuple(zip(upstream[source].paths("best"), upstream["regions"].paths("regions"), strict=True))
    vocab_path = storage.join(upstream["vocab"].directory, VOCAB)
    before_these = same_images(out, stage)
    from shards.transforms import WriteShards
    run("shards", lambda root: root | "Shards" >> WriteShards(
        out, pairs, best_record(source), stage.directory, config, vocab_path, suppressed, before_these))
    written = list(_committed(stage.directory, config))
    files = [entry for one in written for entry in one.files]
    known = upstream["regions"].extra
    beside = {VOCAB: "vocab", CODEBOOK: "codebook", known.get("class_names", ""): "regions"}
    files += [commit_small(stage.directory, name, storage.read_bytes(storage.join(upstream[owner].directory, name)))
              for name, owner in beside.items() if name and owner in upstream]
    cut = sum(one.captions_cut for one in written)
    tables = [entry for one in written for entry in one.files if entry.name == one.shard.table]
    before = upstream_funnel(out, upstream["regions"])
    return stage.commit(
        {"shards": files, "samples": tables},
        [*before, _funnel(upstream["regions"].funnel[0], written, bool(suppressed))],
        notes=[note for name in (source, "codebook", "regions") if name in upstream
               for note in upstream[name].notes]
        + ([f"{cut} captions are longer than 41 word pieces and are cut when they are read"] if cut else []),
        extra={"shards": [dataclasses.asdict(one.shard) for one in written],
               **{name: known[name] for name in ("feature_dim", "num_classes", "max_regions", "quantisation",
                                                 "extractor", "extractor_digest")},
               "class_names": known.get("class_names", ""),
               **({"codebook": CODEBOOK, "codebook_digest": upstream["codebook"].extra["digest"]}
                  if "codebook" in upstream else {"codebook": ""}), "vocab": VOCAB,
               "tokenizer_digest": upstream["vocab"].extra["tokenizer_digest"], "captions_cut": cut,
               "image_requests": image_requests(before),
               **({"reencoded": upstream[source].config} if source == REENCODED_STAGE else {})})


def _committed(directory: str, config: OrderConfig) -> Iterator[WrittenShard]:
    """Yields every shard of the plan; a missing one is a bug, not a smaller dataset."""
    plan = json.loads(storage.read_bytes(storage.join(directory, PLAN)))
    for line in plan:
        for number in range(line["shards"]):
            stem = shard_stem(line["split"], line["ext"], number, config)
            found = read_written(directory, stem)
            if found is None:
                raise FileNotFoundError(f"{directory}: the plan names {stem}, nothing wrote it")
            yield found


def _funnel(extracted: Funnel, written: Iterable[WrittenShard], suppressed: bool) -> Funnel:
    """Returns what became of each kept image: a sample of a split, or the reason why it is not stored.

    Without a suppress list a sample that got lost is no outcome: the funnel then does not add up.
    """
    counts: dict[str, int] = {f"not_stored_{name}": count for name, count in extracted.outcomes
                              if name != EXTRACTED and not name.startswith(WITHOUT_REGIONS)}
    for one in written:
        counts[one.shard.split] = counts.get(one.shard.split, 0) + one.shard.samples
    if suppressed and extracted.rows_in > sum(counts.values()):
        counts["not_stored_suppressed"] = extracted.rows_in - sum(counts.values())
    return Funnel("shards", "sample", extracted.rows_in, tuple(sorted(counts.items())))


def upstream_funnel(out: str, last: Manifest) -> list[Funnel]:
    """Returns the funnel lines of `last` and of all stages it was made from, sources first."""
    seen: set[str] = set()
    lines: list[Funnel] = []
    folders = stages.current(out)

    def visit(manifest: Manifest) -> None:
        if manifest.digest in seen:
            return
        seen.add(manifest.digest)
        for name, digest in sorted(manifest.inputs.items()):
            source = stages.read_manifest(out, folders[name]) if name in folders else None
            if source is not None and source.digest == digest:      # an input may also be a file, such as the seeds
                visit(source)
        lines.extend(line for line in manifest.funnel if line not in lines)

    visit(last)
    return lines


def placed_rows(best_path: str, regions_path: str, record: type[Best], config: OrderConfig,
                suppressed: Suppression) -> Iterator[Placed]:
    """Yields the samples of one bucket: rows of `best` beside their addresses.

    Left out: images that cannot be stored, and what the suppress list names.
    """
    for best, regions in zip(read_table(best_path, record), read_table(regions_path, RegionAddress), strict=True):
        if best.key != regions.key:
            raise AssertionError(f"{regions_path}: row {regions.key} stands beside {best.key} of {best_path}")
        if not regions.part or suppressed.suppresses(
                best.key, best.image_sha256, (best.page_url, *best.image_urls), best.perceptual_hash):
            continue
        sizes = [best.length, len(best.caption.encode()), len(sample_json(json_values(best)))]
        sizes += [regions.length] if config.inline_regions else []
        yield Placed(order_of(best.key, config), best, regions, tar_bytes(sizes))


def range_of_sample(placed: Placed, config: OrderConfig) -> Range:
    """Returns the range a sample is counted in."""
    return placed.best.split, placed.best.format, range_of(placed.order, config)


def assign(at: Range, samples: Iterable[Placed], counts: Mapping[Range, tuple[int, int]],
           config: OrderConfig) -> Iterator[tuple[str, Placed]]:
    """Yields (shard, sample) for the samples of one range."""
    split, ext, _ = at
    total, size = totals(counts, split, ext)
    number = num_shards(total, size, config)
    before = first_rank(counts, at)
    ordered = sorted(samples, key=lambda one: (one.order, one.best.key))
    for rank, placed in enumerate(ordered, before):
        yield shard_stem(split, ext, shard_of(rank, total, number), config), placed


def write_plan(counts: Mapping[Range, tuple[int, int]], directory: str, config: OrderConfig) -> None:
    """Commits `plan.json`: how many samples, bytes and shards each split and extension has."""
    plan = []
    for split, ext in sorted({(split, ext) for split, ext, _ in counts}):
        samples, size = totals(counts, split, ext)
        plan.append({"split": split, "ext": ext, "samples": samples, "bytes": size,
                     "shards": num_shards(samples, size, config)})
    commit_small(directory, PLAN, json.dumps(plan, sort_keys=True).encode())
