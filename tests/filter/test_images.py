"""Decoding, facts and image rules: hostile files, reasons, hashes, photographs against drawings."""
from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import math
import pathlib
import resource

import numpy as np
import pytest
from PIL import Image, ImageDraw

from crawl.errors import UsageError
from crawl.records import Image as ImageRow
from filter.decode import decode
from filter.facts import image_facts
from filter.hashes import distance
from filter.images import ImageRules, reject_image
from filter.labelled_images import Label, labelled_files, read_labels
from filter.natural import natural_probability
from filter.natural_training import read_examples, report_natural, train_natural
from filter.near_duplicates import Card, NearRules, bands, pack, same_picture
from filter.picture_statistics import FEATURES, SIDE, statistics
from tests.filter.tiny_web import jpeg, photograph

DATA = pathlib.Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not here")


def facts(data):
    return image_facts(ImageRow(url_key="", url="", outcome="ok", http_status=200, final_url="", fetched_at="",
                                signals=(), permission="allow", format="jpg", width=0, height=0, num_bytes=len(data),
                                sha256="ab", part="p", offset=0, length=len(data)), data)


def encoded(picture, kind, **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


PHOTOGRAPH = facts(jpeg(photograph(1)))


@pytest.mark.parametrize(("changes", "reason"), [
    ({}, None), ({"width": 300}, "too_small"), ({"height": 301, "width": 301}, None), ({"width": 1000}, "too_narrow"),
    ({"deviation": 2.0}, "flat"), ({"entropy": 1.0}, "too_few_colours"), ({"natural": 0.1}, "not_natural"),
    ({"outcome": "truncated_image"}, "truncated_image"), ({"format": "gif"}, "format_not_kept"),
])
def test_reject_image(changes, reason):
    assert reject_image(dataclasses.replace(PHOTOGRAPH, **changes), ImageRules()) == reason


@pytest.mark.parametrize(("data", "reason"), [
    (b"", "unsupported_format"), (b"<html>", "unsupported_format"), (jpeg(photograph(1))[:5000], "truncated_image"),
    (b"GIF89a" + bytes(20), "unsupported_format"), (encoded(photograph(1), "PNG")[:3000], "truncated_image"),
    (encoded(photograph(1), "TIFF"), "unsupported_format"),
    (encoded(photograph(1), "BMP"), "unsupported_format"),
])
def test_decode_gives_reasons(data, reason):
    assert decode(data).reason == reason


def test_pixels_are_counted_before_they_are_decoded():
    bomb = encoded(Image.new("1", (4000, 4000)), "PNG")
    assert decode(bomb, max_pixels=1_000_000).reason == "too_many_pixels"


def test_orientation_and_transparency():
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = decode(encoded(photograph(1), "JPEG", exif=exif))
    assert (turned.width, turned.height, turned.orientation) == (320, 400, 6)
    assert turned.pixels is not None and turned.pixels.size == (320, 400)
    clear = decode(encoded(Image.new("RGBA", (4, 4), (200, 0, 0, 0)), "PNG"))
    assert clear.pixels is not None and clear.pixels.getpixel((0, 0)) == (255, 255, 255)
    deep = decode(encoded(Image.fromarray(np.full((4, 4), 32768, dtype=np.uint16)), "PNG"))
    assert deep.pixels is not None and deep.pixels.getpixel((0, 0)) == (128, 128, 128)


def test_facts_of_a_photograph():
    assert PHOTOGRAPH.outcome == "decoded" and (PHOTOGRAPH.width, PHOTOGRAPH.height) == (400, 320)
    assert PHOTOGRAPH.natural > 0.5 and abs(sum(PHOTOGRAPH.colours) - 1) < 0.01
    assert facts(jpeg(photograph(1))) == PHOTOGRAPH


def test_a_page_of_text_is_no_photograph():
    page = Image.new("RGB", (640, 480), "white")
    for line in range(20):
        ImageDraw.Draw(page).text((20, 20 + 22 * line), "the quick brown fox jumps over the dog " * 2, fill="black")
    assert natural_probability(page) < 0.1


def test_colours_are_named_as_people_name_them():
    for name, place in (("red", 3), ("green", 7), ("blue", 8), ("yellow", 6), ("white", 2), ("black", 0)):
        assert facts(encoded(Image.new("RGB", (64, 64), name), "PNG")).colours[place] == 1.0, name


@needs_data
def test_hostile_images_end_as_facts_or_reasons():
    paths = sorted(path for path in (DATA / "fixtures" / "images_nasty").iterdir() if path.suffix != ".txt")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes = {facts(path.read_bytes()).outcome for path in paths}
    assert outcomes <= {"decoded", "unsupported_format", "decode_failed", "truncated_image", "too_many_pixels"}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1024 * 1024      # KiB


@needs_data
def test_near_duplicate_photographs_are_found_and_others_not():
    folder = DATA / "fixtures" / "neardup_flickr8k"
    cards = {}
    for path in sorted(folder.glob("*.jpg"))[:60]:
        found = facts(path.read_bytes())
        cards[path.stem] = Card(found.sha256, 0.5, 1, found.perceptual_hash, found.difference_hash,
                                found.width / found.height, found.colours)
    for name, card in cards.items():
        for other, second in cards.items():
            if name < other:
                shared = set(bands(pack(card), NearRules())) & set(bands(pack(second), NearRules()))
                met = bool(shared) and same_picture(card, second, NearRules())
                assert met == (name[:-2] == other[:-2]), (name, other)


def test_hashes_stay_close_when_a_picture_is_resized_and_recompressed():
    copy = facts(jpeg(photograph(1).resize((350, 280)), 60))
    assert distance(copy.perceptual_hash, PHOTOGRAPH.perceptual_hash) <= 4
    assert distance(facts(jpeg(photograph(2))).perceptual_hash, PHOTOGRAPH.perceptual_hash) > 12


@needs_data
def test_the_shipped_classifier_tells_the_labelled_images_apart():
    with open(DATA / "natural_labels.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    right = 0
    for row in rows:
        pixels = decode((DATA / row["path"]).read_bytes(), small=SIDE).pixels
        right += pixels is not None and (natural_probability(pixels) > 0.5) == (row["label"] == "natural")
    assert right / len(rows) > 0.9


def test_nothing_but_the_squeezed_pixels_is_seen():
    small = photograph(1).resize((SIDE, SIDE), Image.Resampling.BOX)
    wide = small.resize((SIDE * 4, SIDE * 2), Image.Resampling.NEAREST)
    assert statistics(small).tolist() == statistics(wide).tolist() and len(statistics(small)) == len(FEATURES)
    assert all(math.isfinite(value) for value in statistics(Image.new("RGB", (5, 400), "red")))


def test_training_on_what_a_folder_holds(tmp_path):
    rows = []
    for number in range(6):
        page = Image.new("RGB", (320, 310), "white")
        ImageDraw.Draw(page).text((10, 10 + number), "some words", fill="black")
        for label, picture in (("natural", photograph(number).resize((320, 310))), ("nonlearnable", page)):
            data = encoded(picture, "PNG")
            (tmp_path / f"{label}{number}.png").write_bytes(data)
            rows.append(Label("", hashlib.sha256(data).hexdigest(), label, f"maker{number % 3}"))
    missing = Label("", "0" * 64, "natural", "gone")
    found = list(labelled_files([*rows, missing], [str(tmp_path)]))
    assert len(found) == 12
    examples = read_examples(found)
    first, second = train_natural(examples), train_natural(examples)
    assert first == second and first["seen"]["large_left_out"]["balanced_accuracy"] == 1.0
    assert report_natural(examples)["each_source_left_out"]["maker0"] == {"natural": [2, 2], "other": [2, 2]}
    with pytest.raises(UsageError, match="0 labelled images were found"):
        read_examples(labelled_files([missing], [str(tmp_path)]))


def test_labels_name_their_column_and_their_values(tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text("sha256,label\nab,photo\n", encoding="utf-8")
    with pytest.raises(UsageError, match="'photo'"):
        read_labels(str(table))
    table.write_text("name,label\nab,natural\n", encoding="utf-8")
    with pytest.raises(UsageError, match="no columns path"):
        read_labels(str(table))
