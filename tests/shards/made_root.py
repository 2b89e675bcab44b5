"""A small dataset root made by hand, for the tests of what a person opens: real files, real images, no Beam."""
from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw

from crawl.records import Image, Page, Signal
from crawl.stages import Funnel, Manifest, Stage, funnel_of
from crawl.storage import commit_bytes
from crawl.tables import FileEntry, write_table
from filter.records import Best, Caption, Judged, Pair, ScoredText
from shards.index import encode_index, index_tar
from shards.manifest import ShardFile
from shards.records import SampleRow, json_values, sample_row
from shards.regions import Regions, pack
from shards.sample import regions_name, sample_json
from shards.tokens import load_tokenizer

SHAPES = ("circle", "square", "triangle", "ring")
COLOURS = ("red", "teal", "gold", "navy", "plum")
SIGNAL = Signal("robots", "Disallow: /private/", "allow", "line 3: Allow: /")
TIME = "2026-11-20T10:00:00.000000Z"
PART, PART_STEP = "images/x/part-00000.tar", 1 << 16      # where the original bytes lie, and how far apart
VOCAB = b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nred\nsquare\n"


def drawn(number: int, width: int = 400, height: int = 320) -> bytes:
    """Returns a JPEG with one plain shape; another number, another picture."""
    image = Pillow.new("RGB", (width, height), (200 + number % 40, 210, 190 + number * 7 % 60))
    draw = ImageDraw.Draw(image)
    box = (30 + number * 13 % 120, 40 + number * 29 % 80, 230 + number * 13 % 120, 220 + number * 29 % 80)
    colour = COLOURS[number % len(COLOURS)]
    if number % 2:
        draw.ellipse(box, fill=colour, outline="black", width=3)
    else:
        draw.rectangle(box, fill=colour, outline="black", width=3)
    draw.line((number, 0, number, 10), fill="white")
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def regions(number: int, count: int = 4) -> Regions:
    """Returns a few regions with u8 features of 6 values."""
    confidence = np.linspace(0.9, 0.3, count).astype(np.float16)
    left = np.linspace(0.05, 0.5, count)
    box = np.stack([left, left, left + 0.3, left + 0.4], axis=1).astype(np.float16)
    feat = (np.arange(count * 6).reshape(count, 6) * (number + 3) % 251).astype(np.uint8)
    return Regions(feat=feat, scale=np.full(count, 1 / 255, np.float16), box=box,
                   cls=np.arange(count, dtype=np.int16), conf=confidence)


@dataclasses.dataclass(frozen=True)
class Config:
    """Stands for a stage's config."""

    seed: int = 1


@dataclasses.dataclass(frozen=True)
class Made:
    """One made sample."""

    image: bytes
    best: Best
    json: bytes


def made_sample(number: int, caption: str = "", page_url: str = "") -> Made:
    """Returns a sample with everything it says of itself."""
    data = drawn(number)
    sha256 = hashlib.sha256(data).hexdigest()
    caption = caption or f"a {COLOURS[number % 5]} {SHAPES[number % 4]} on a plain ground number {number}"
    page_url = page_url or f"https://www.site{number % 7}.example/pages/{number}.html"
    best = Best(
        key=sha256[:32], image_sha256=sha256, caption=caption, source=("alt", "figcaption")[number % 2],
        score=(number * 97 % 4096) / 4096, split="test" if number % 10 == 0 else "train",
        texts=(ScoredText("alt", caption, 0.5), ScoredText("title", "another text", 0.25)),
        image_url=f"https://img.site{number % 7}.example/{number}.jpg", page_url=page_url,
        image_urls=(f"https://img.site{number % 7}.example/{number}.jpg",),
        num_occurrences=1, format="jpg", width=400, height=320, orientation=1, perceptual_hash="0" * 16,
        caption_hash=hashlib.sha256(caption.encode()).hexdigest()[:16], group_hash=sha256[:16], natural=0.75,
        page_language=("en", "en", "de")[number % 3], permission="allow", signals=(SIGNAL,),
        page_record_id=f"urn:uuid:{number:08d}-0000-4000-8000-000000000000", page_sha256="ab" * 32,
        page_fetched_at=TIME, image_fetched_at=TIME, part=PART,
        offset=PART_STEP * number, length=len(data))
    plain = dataclasses.asdict(best)
    fields = {name: plain[name] for name in plain
              if name not in ("image_sha256", "part", "offset", "length")}
    fields |= {"sha256": sha256, "num_bytes": len(data), "texts": list(fields["texts"]),
               "image_urls": list(fields["image_urls"]), "signals": list(fields["signals"])}
    return Made(data, best, sample_json(fields))


def add_member(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """Adds a file to a tar as the contract has it: mtime 0, no owner, mode 644."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def write_shard(directory: str, name: str, split: str, samples: list[Made]) -> tuple[ShardFile, list[FileEntry]]:
    """Writes a shard, its regions tar and its index; returns how the manifest lists them."""
    stem = f"{split}/{name}"
    os.makedirs(os.path.join(directory, split), exist_ok=True)
    paths = {kind: f"{stem}{suffix}" for kind, suffix in
             (("name", ".tar"), ("regions", ".regions.tar"), ("index", ".idx.npy"), ("table", ".parquet"))}
    with tarfile.open(os.path.join(directory, paths["name"]), "w", format=tarfile.USTAR_FORMAT) as tar:
        for made in samples:
            key = made.best.key
            for suffix, data in (("jpg", made.image), ("txt", made.best.caption.encode()), ("json", made.json)):
                add_member(tar, f"{key}.{suffix}", data)
    with tarfile.open(os.path.join(directory, paths["regions"]), "w", format=tarfile.USTAR_FORMAT) as tar:
        for number, made in enumerate(samples):
            add_member(tar, regions_name(made.best.key), pack(regions(number)))
    tokenizer = load_tokenizer(os.path.join(directory, "vocab.txt"))

    def count_pieces(caption: str) -> int:
        ids, cut = tokenizer.encode(caption)
        return len(ids) + cut

    index = index_tar(os.path.join(directory, paths["name"]), os.path.join(directory, paths["regions"]),
                      count_pieces)
    index["image_hash"] = [int(made.best.image_sha256[:16], 16) for made in samples]
    index["group_hash"] = [int(made.best.group_hash, 16) for made in samples]
    index["caption_hash"] = [int(made.best.caption_hash, 16) for made in samples]
    Path(directory, paths["index"]).write_bytes(encode_index(index))
    table = write_table(directory, paths["table"], SampleRow, [
        sample_row(made.best, 4, int(row["num_tokens"]), int(row["num_cut"]))
        for made, row in zip(samples, index, strict=True)])
    entries = [_entry(directory, paths[kind]) for kind in ("name", "regions", "index")] + [table]
    shard = ShardFile(split=split, ext="jpg", samples=len(samples), bytes=entries[0].bytes, sha256=entries[0].sha256,
                      **paths)
    return shard, entries


def _entry(directory: str, name: str) -> FileEntry:
    data = Path(directory, name).read_bytes()
    return FileEntry(name=name, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def commit_shards(out: str, samples: list[Made], inputs: dict[str, str] | None = None,
                  notes: tuple[str, ...] = ()) -> Manifest:
    """Commits the shards stage of a root: one shard a split."""
    stage = Stage.open(out, "shards", 1, Config(), inputs or {})
    os.makedirs(stage.directory)
    Path(stage.directory, "vocab.txt").write_bytes(VOCAB)
    shards: list[ShardFile] = []
    entries: list[FileEntry] = []
    for split in ("test", "train"):
        chosen = sorted((made for made in samples if made.best.split == split), key=lambda made: made.best.key)
        if chosen:
            shard, listed = write_shard(stage.directory, "lait-jpg-000000", split, chosen)
            shards.append(shard)
            entries += listed
    return _commit_set(stage, shards, entries, len(samples), notes)


def _commit_set(stage: Stage, shards: list[ShardFile], entries: list[FileEntry], samples: int,
                notes: tuple[str, ...]) -> Manifest:
    entries = [*entries, _entry(stage.directory, "vocab.txt")]
    facts: dict[str, Any] = {
        "shards": [dataclasses.asdict(shard) for shard in shards], "feature_dim": 6, "num_classes": 16,
        "max_regions": 4, "quantisation": "u8_scale", "extractor": "patches", "extractor_digest": "cd" * 32,
        "codebook": "", "tokenizer_digest": hashlib.sha256(VOCAB).hexdigest(), "vocab": "vocab.txt"}
    return stage.commit({"shards": entries}, [Funnel("shards", "sample", samples, (("stored", samples),))],
                        notes=notes, extra=facts)


def small_sample(image: bytes, number: int, page_url: str) -> Made:
    """Returns a training sample of an image that many share; its bytes differ behind the end of the JPEG."""
    made = made_sample(1, caption=f"a small picture number {number}", page_url=page_url)
    data = image + number.to_bytes(4, "big")
    sha256 = hashlib.sha256(data).hexdigest()
    best = dataclasses.replace(made.best, key=sha256[:32], image_sha256=sha256, split="train", width=64, height=48,
                               group_hash=sha256[:16], length=len(data), image_url=f"{page_url}.jpg",
                               image_urls=(f"{page_url}.jpg",))
    return Made(data, best, sample_json(json_values(best)))


def commit_many(out: str, shards: list[list[Made]]) -> Manifest:
    """Commits a root whose only stage is shards, one shard a list."""
    stage = Stage.open(out, "shards", 1, Config(), {})
    os.makedirs(stage.directory)
    Path(stage.directory, "vocab.txt").write_bytes(VOCAB)
    written = [write_shard(stage.directory, f"lait-jpg-{number:06d}", "train", made)
               for number, made in enumerate(shards)]
    return _commit_set(stage, [shard for shard, _ in written], [entry for _, files in written for entry in files],
                       sum(map(len, shards)), ())


def made_root(out: str, number: int = 30, notes: tuple[str, ...] = ()) -> list[Made]:
    """Makes a root with crawl, judge, images, filter and shards; returns the kept samples."""
    samples = [made_sample(place) for place in range(number)]
    samples[1] = made_sample(1, caption="<script>alert(1)</script> a cat \u202egpj.exe & \x1b[31mred",
                             page_url="https://evil.example/\"onmouseover=alert(1)?<b>")
    crawl = _commit(out, "crawl", {"seeds": "00" * 32}, {"pages": (Page, [_page(place) for place in range(number)])},
                    "page")
    judge = _commit(out, "judge", {"crawl": crawl.digest},
                    {"judged": (Judged, [_judged(place) for place in range(3 * number)])}, "candidate row",
                    Funnel("judge", "image URL", 3 * number, (("fetch", number), ("not_fetched", 2 * number))))
    images = _commit(out, "images", {"judge": judge.digest},
                     {"images": (Image, [_image(place) for place in range(number)])}, "image URL")
    pairs = [_kept_pair(made) for made in samples] + [rejected_pair(place) for place in range(2 * number)]
    filtered = _commit(out, "filter", {"images": images.digest, "judge": judge.digest},
                       {"pairs": (Pair, pairs), "best": (Best, [made.best for made in samples])}, "pair")
    part = bytearray(PART_STEP * number)
    for made in samples:
        part[made.best.offset:made.best.offset + made.best.length] = made.image
    commit_bytes(f"{out}/{PART}", bytes(part))
    commit_shards(out, samples, {"filter": filtered.digest}, notes)
    return samples


def _commit(out: str, name: str, inputs: dict[str, str], tables: dict[str, Any], unit: str, *more: Funnel) -> Manifest:
    stage = Stage.open(out, name, 1, Config(), inputs)
    written = {table: [write_table(stage.directory, f"{table}-00000-of-00001.parquet", kind, listed)]
               for table, (kind, listed) in tables.items()}
    return stage.commit(written, [funnel_of(name, unit, next(iter(written.values()))), *more])


def _page(number: int) -> Page:
    url = f"https://www.site{number % 7}.example/pages/{number}.html"
    return Page(url_key=f"{number:032x}", url=url, final_url=url, outcome="parsed" if number % 9 else "optout_meta",
                title="t", description="", charset="utf-8", html_lang="en", text_sample="words", signals=(SIGNAL,),
                permission=("allow", "unknown", "deny")[number % 3], num_images=3, num_links=2,
                warc_record_id="urn:uuid:0", payload_sha256="ab" * 32, fetched_at=TIME)


def _judged(number: int) -> Judged:
    outcome = ("fetch", "not_fetched_no_text", "not_fetched_too_small")[number % 3]
    captions = () if outcome.endswith("no_text") else (
        Caption("alt", f"IMG_{number:04d}.jpg <i>", "", "file_name"), Caption("title", "a photo", "a photo", ""))
    return Judged(occurrence=f"{number:032x}", image_key=f"{number:032x}",
                  image_url=f"https://img.site{number % 7}.example/{number}.gif", page_key=f"{number:032x}",
                  page_url=f"https://www.site{number % 7}.example/pages/{number}.html", outcome=outcome,
                  captions=captions, page_language="en", page_title="t", found_in="img.src", ordinal=0,
                  images_on_page=3, in_main=True, permission="allow", signals=(SIGNAL,),
                  page_record_id="urn:uuid:0", page_sha256="ab" * 32, page_fetched_at=TIME)


def _image(number: int) -> Image:
    outcome = "ok" if number % 5 else "http_404"
    return Image(url_key=f"{number:032x}", url=f"https://img.site{number % 7}.example/{number}.jpg", outcome=outcome,
                 http_status=200 if number % 5 else 404, final_url="", fetched_at=TIME, signals=(),
                 permission="unknown", format="jpg", width=400, height=320, num_bytes=1000, sha256="",
                 part="", offset=0, length=0, content_type="image/webp" if number % 10 == 1 else "image/jpeg")


def _kept_pair(made: Made) -> Pair:
    best = made.best
    return Pair(pair_id=best.key, image_sha256=best.image_sha256, image_url=best.image_url, page_url=best.page_url,
                occurrence=best.key, source=best.source, caption=best.caption, raw=best.caption, score=best.score,
                outcome="kept", width=best.width, height=best.height)


def rejected_pair(number: int) -> Pair:
    """Returns a pair that failed, the image not at hand."""
    reason = ("image_too_small", "low_score", "shared_caption")[number % 3]
    return Pair(pair_id=f"{number:032x}", image_sha256=f"{number:064x}", image_url="https://img.site1.example/r.jpg",
                page_url=f"https://www.site{number % 7}.example/", occurrence=f"{number:032x}", source="alt",
                caption=f"rejected sentence {number}", raw=f"Rejected sentence {number}!", score=number % 10 / 16,
                outcome=reason, width=120, height=90)


def sample_fields(made: Made) -> dict[str, Any]:
    """Returns KEY.json of a made sample as a reader sees it."""
    return json.loads(made.json)
