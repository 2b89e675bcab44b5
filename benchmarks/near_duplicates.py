"""Near-duplicate images: recall and false merges by kind of copy, against the imagededup library.

    python -m benchmarks.near_duplicates --shared ../shared

60 photographs with their two published re-encodings (fixtures/neardup_flickr8k) and the copy of flickr8k, copies made
of them here, imagededup's own fixtures, and the 540 other photographs of flickr8k, which nothing may be merged with.
Both sides see the same folder.  Ours: the facts of the stage features, the bands and the tests of
filter/near_duplicates.py.  Theirs: PHash, at the distance it has by default (10) and at 8.  CPU seconds are of whole
processes, decoding included.
"""
from __future__ import annotations

import argparse
import functools
import hashlib
import itertools
import json
import pathlib
import resource
import shutil
import subprocess
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

from PIL import Image as Pillow
from PIL import ImageDraw, ImageEnhance, ImageFont, ImageOps

from benchmarks.machine import write_result
from benchmarks.peers import default_folder, peer
from crawl.records import Image
from filter.decode import MAX_PIXELS
from filter.image_work import image_sandbox, measured_images
from filter.near_duplicates import Card, NearRules, bands, card_of, give_way, pack, same_picture

Pair = tuple[str, str]
# Copies a person would call the same picture; the last four are pictures of their own to some, so they are told apart.
SAME = ("quality_30", "half_size", "third_size_webp", "png", "grey", "brighter", "contrast", "squeezed_4_3", "crop_2",
        "crop_5", "border", "watermark")
OTHERS = ("crop_15", "mirrored", "turned_90", "turned_5")
_PEER = """
import json, pathlib, resource, sys
from imagededup.methods import PHash
hasher = PHash(verbose=False)
codes = hasher.encode_images(image_dir=sys.argv[1], num_enc_workers=0)
found = {}
for distance in map(int, sys.argv[3:]):
    named = hasher.find_duplicates(encoding_map=codes, max_distance_threshold=distance, num_dist_workers=0)
    found[distance] = sorted({tuple(sorted((one, other))) for one, others in named.items() for other in others})
used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
pathlib.Path(sys.argv[2]).write_text(json.dumps({"images": len(codes), "pairs": found,
                                                 "cpu_s": sum(one.ru_utime + one.ru_stime for one in used)}))
"""


def make_folder(shared: pathlib.Path, folder: pathlib.Path) -> None:
    """Fills a folder with PHOTOGRAPH__KIND.SUFFIX: files of one PHOTOGRAPH show the same."""
    data = shared / "data"
    flickr = {path.stem: path for path in sorted((data / "captions" / "flickr8k").rglob("*.jpg"))}
    if not flickr:
        raise SystemExit(f"{shared}: no flickr8k there; --shared names the folder that holds data/captions")
    for path in sorted((data / "fixtures" / "neardup_flickr8k").glob("*_a.jpg")):
        name = path.stem.removesuffix("_a")
        shutil.copy(path, folder / f"{name}__original.jpg")
        shutil.copy(path.with_name(f"{name}_b.jpg"), folder / f"{name}__small_b.jpg")
        shutil.copy(flickr.pop(name), folder / f"{name}__flickr8k.jpg")
        with Pillow.open(path) as opened:
            picture = opened.convert("RGB")
        for kind in (*SAME, *OTHERS):
            copy, suffix, options = _copy(kind, picture)
            copy.save(folder / f"{name}__{kind}{suffix}", **options)
    for name, path in flickr.items():
        shutil.copy(path, folder / f"{name}__original.jpg")
    _imagededup_fixtures(data / "fixtures" / "imagededup", folder)


def _imagededup_fixtures(fixtures: pathlib.Path, folder: pathlib.Path) -> None:
    """UKBench pictures; a copy is named by what was done to it."""
    for path in sorted((fixtures / "base_images").glob("*.jpg")):
        shutil.copy(path, folder / f"{path.stem}__original.jpg")
    for path in sorted((fixtures / "mixed_images").glob("*_*.jpg")):
        name, _, kind = path.stem.partition("_")
        shutil.copy(path, folder / f"{name}__ukbench_{kind}.jpg")
    shutil.copy(fixtures / "formats_images" / "ukbench09380.webp", folder / "ukbench09380__ukbench_webp.webp")


def _copy(kind: str, picture: Pillow.Image) -> tuple[Pillow.Image, str, dict[str, Any]]:
    width, height = picture.size
    jpeg = {"quality": 85}

    def scaled(across: float, down: float) -> Pillow.Image:
        return picture.resize((round(width * across), round(height * down)), Pillow.Resampling.LANCZOS)

    def cropped(share: float) -> Pillow.Image:
        return picture.crop((round(width * share), round(height * share), width, height))

    makers: dict[str, Callable[[], tuple[Pillow.Image, str, dict[str, Any]]]] = {
        "quality_30": lambda: (picture, ".jpg", {"quality": 30}),
        "half_size": lambda: (scaled(0.5, 0.5), ".jpg", jpeg),
        "third_size_webp": lambda: (scaled(1 / 3, 1 / 3), ".webp", {"quality": 70}),
        "png": lambda: (scaled(0.7, 0.7), ".png", {}),
        "grey": lambda: (picture.convert("L"), ".jpg", jpeg),
        "brighter": lambda: (ImageEnhance.Brightness(picture).enhance(1.25), ".jpg", jpeg),
        "contrast": lambda: (ImageEnhance.Contrast(picture).enhance(1.4), ".jpg", jpeg),
        "squeezed_4_3": lambda: (scaled(0.75, 1.0), ".jpg", jpeg),
        "crop_2": lambda: (cropped(0.02), ".jpg", jpeg),
        "crop_5": lambda: (cropped(0.05), ".jpg", jpeg),
        "border": lambda: (ImageOps.expand(picture, round(0.02 * width), "white"), ".jpg", jpeg),
        "watermark": lambda: (_marked(picture), ".jpg", jpeg),
        "crop_15": lambda: (cropped(0.15), ".jpg", jpeg),
        "mirrored": lambda: (ImageOps.mirror(picture), ".jpg", jpeg),
        "turned_90": lambda: (picture.transpose(Pillow.Transpose.ROTATE_90), ".jpg", jpeg),
        "turned_5": lambda: (picture.rotate(5, Pillow.Resampling.BICUBIC, fillcolor="white"), ".jpg", jpeg),
    }
    return makers[kind]()


def _marked(picture: Pillow.Image) -> Pillow.Image:
    copy = picture.copy()
    size = picture.width // 12
    ImageDraw.Draw(copy).text((size, picture.height - 2 * size), "example.com", (255, 255, 255),
                              ImageFont.load_default(size))
    return copy


def ours(files: list[pathlib.Path]) -> tuple[dict[str, Card], float]:
    """Returns the cards of all files that decode, by name, and CPU seconds of measuring them."""
    began = _cpu()
    with image_sandbox(MAX_PIXELS) as box:
        stored = ((_row(data), data) for data in map(pathlib.Path.read_bytes, files))
        measured = list(zip(files, measured_images(box, stored), strict=True))
    cards = {path.name: card_of(facts, 0.5) for path, facts in measured if facts.outcome == "decoded"}
    return cards, _cpu() - began


def met(cards: dict[str, Card], rules: NearRules) -> set[Pair]:
    """Returns the pairs of names that share a band and pass the tests."""
    groups = defaultdict(list)
    for name, card in cards.items():
        for band in bands(pack(card), rules):
            groups[band].append(name)
    shared = {pair for group in groups.values() for pair in itertools.combinations(sorted(group), 2)}
    return {(one, other) for one, other in shared if same_picture(cards[one], cards[other], rules)}


def theirs(folder: pathlib.Path, python: str, distances: list[int]) -> dict[str, Any]:
    """Returns what imagededup found in a folder, by distance, and its CPU seconds."""
    with tempfile.TemporaryDirectory() as place:
        answer = pathlib.Path(place) / "found.json"
        subprocess.run([python, "-c", _PEER, str(folder), str(answer), *map(str, distances)], check=True,
                       stderr=subprocess.DEVNULL)
        found: dict[str, Any] = json.loads(answer.read_text())
    found["pairs"] = {distance: {(one, other) for one, other in pairs} for distance, pairs in found["pairs"].items()}
    return found


def scored(pairs: set[Pair], names: list[str]) -> dict[str, Any]:
    """Returns recall by kind (copy against original), and the pairs of different photographs that were merged."""
    originals = {_photograph(name): name for name in names if _kind(name) == "original"}
    wanted: Counter[str] = Counter()
    hit: Counter[str] = Counter()
    for name in names:
        kind = _kind(name)
        if kind != "original" and _photograph(name) in originals:
            wanted[kind] += 1
            one, other = sorted((name, originals[_photograph(name)]))
            hit[kind] += (one, other) in pairs
    same = [kind for kind in wanted if kind not in OTHERS and not kind.endswith(("hflip", "rotation", "corrupt"))]
    merged = {tuple(sorted((_photograph(one), _photograph(other)))) for one, other in pairs
              if _photograph(one) != _photograph(other)}
    return {"recall_of_same_pictures": round(sum(hit[kind] for kind in same) / sum(wanted[kind] for kind in same), 4),
            "by_kind": {kind: f"{hit[kind]}/{wanted[kind]}" for kind in wanted},
            "photographs_falsely_merged": len(merged),
            "false_pairs_of_files": sum(_photograph(one) != _photograph(other) for one, other in pairs)}


def main() -> None:
    """Runs both sides on the same folder and writes results/near_duplicates.json."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--shared", type=pathlib.Path, default=pathlib.Path("../shared"), help="holds data/fixtures")
    options.add_argument("--peers", type=pathlib.Path, default=default_folder(), help="folder of the environments")
    options.add_argument("--keep", type=pathlib.Path, help="folder to make the images in, and to leave")
    args = options.parse_args()
    other = peer("imagededup", args.peers)
    with tempfile.TemporaryDirectory() as place:
        folder = args.keep or pathlib.Path(place)
        if not folder.is_dir() or not any(folder.iterdir()):
            folder.mkdir(exist_ok=True)
            make_folder(args.shared, folder)
        files = sorted(folder.iterdir())
        names = [path.name for path in files]
        cards, measuring = ours(files)
        began = _cpu()
        meetings = defaultdict(list)
        for card in map(pack, cards.values()):
            for band in bands(card, NearRules()):
                meetings[band].append(card)
        for group in meetings.values():
            list(give_way(group, NearRules()))
        comparing = _cpu() - began
        pairs = met(cards, NearRules())
        found = theirs(folder, other.program("python"), [8, 10])
    result = {
        "images": len(files), "photographs": len(set(map(_photograph, names))),
        "ours": {"decoded": len(cards), "rules": repr(NearRules()), **scored(pairs, names),
                 "cpu_s": {"decoding, all facts and hashes": round(measuring, 1), "comparing": round(comparing, 2)}},
        **{f"imagededup, distance {distance}": {"decoded": found["images"], **scored(named, names),
                                                "cpu_s": round(found["cpu_s"], 1)}
           for distance, named in found["pairs"].items()},
        "peer": [version for version in other.versions() if version.startswith(("imagededup", "pillow"))]}
    print(json.dumps(result, indent=1))
    write_result("near_duplicates", "make bench-near-duplicates", result)


@functools.cache
def _photograph(name: str) -> str:
    return name.partition("__")[0]


def _kind(name: str) -> str:
    return name.partition("__")[2].partition(".")[0]


def _row(data: bytes) -> Image:
    return Image(url_key="0" * 32, url="http://a.example/a.jpg", outcome="ok", http_status=200, final_url="",
                 fetched_at="", signals=(), permission="allow", format="jpg", width=1, height=1, num_bytes=len(data),
                 sha256=hashlib.sha256(data).hexdigest(), part="p.tar", offset=0, length=len(data))


def _cpu() -> float:
    return sum(used.ru_utime + used.ru_stime for used in map(
        resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


if __name__ == "__main__":
    main()
