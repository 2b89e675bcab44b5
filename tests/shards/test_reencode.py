"""Images made smaller: the pure function, and a whole build with it."""
import dataclasses
import hashlib
import io
import json
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageCms

from crawl.errors import UsageError
from crawl.stages import current, current_manifest
from shards.build import ShardsConfig, build_shards
from shards.index import load_index
from shards.manifest import load_shards
from shards.order import OrderConfig
from shards.patches import PatchesConfig
from shards.reader import read_samples
from shards.reencode import ReencodeConfig, reencode
from shards.validate import validate
from tests.shards.kept import BeamRun, best_rows, finish_filter, image_bytes, kept

OFF = ShardsConfig(patches=PatchesConfig(num_classes=8, codebook_images=20), order=OrderConfig(max_samples=12))
ON = dataclasses.replace(OFF, reencode=ReencodeConfig(image_size=40))


def smooth(width=640, height=480):
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([x * 255 // width, y * 255 // height, (x + y) * 255 // (width + height)],
                                    axis=2).astype(np.uint8))


def encoded(image, fmt="JPEG", **options):
    buffer = io.BytesIO()
    image.save(buffer, fmt, **options)
    return buffer.getvalue()


def made(data, size=(640, 480), **settings):
    found = reencode(data, size, ReencodeConfig(**settings))
    assert not found.reason
    image = Image.open(io.BytesIO(found.data))
    assert image.format == "JPEG" and image.mode == "RGB" and image.size == (found.width, found.height)
    assert not image.info.keys() & {"exif", "icc_profile", "comment"}
    return image


def psnr(one, other):
    error = np.asarray(one, float) - np.asarray(other, float)
    return 10 * np.log10(255 ** 2 / max((error ** 2).mean(), 1e-9))


@pytest.mark.parametrize("mode, size", [("keep_ratio", (160, 120)), ("keep_ratio_largest", (120, 90)),
                                        ("center_crop", (120, 120)), ("border", (120, 120))])
def test_modes_give_the_sizes_they_name(mode, size):
    assert made(encoded(smooth()), image_size=120, resize=mode).size == size


def test_no_keeps_the_size_and_a_square_is_the_middle_or_has_a_white_border():
    assert made(encoded(smooth()), resize="no").size == (640, 480)
    square = smooth().resize((160, 120), Image.Resampling.BOX).crop((20, 0, 140, 120))
    assert psnr(made(encoded(smooth(), "PNG"), image_size=120, resize="center_crop"), square) > 38
    border = np.asarray(made(encoded(smooth()), image_size=120, resize="border"))
    assert (border[:8] > 240).all() and (border[-8:] > 240).all() and border[20:100].min() < 40


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP"])
def test_a_reduced_decode_is_close_to_the_area_average(fmt):
    wanted = smooth(1300, 975).resize((160, 120), Image.Resampling.BOX)
    found = made(encoded(smooth(1300, 975), fmt, quality=95), (1300, 975), image_size=120)
    assert psnr(found, wanted) > 38


def test_nothing_is_enlarged_unless_asked():
    data = encoded(smooth(), "GIF")
    for mode in ("keep_ratio", "center_crop", "border"):
        assert made(data, image_size=900, resize=mode).size == (640, 480)
    assert made(data, image_size=960, only_if_bigger=False).size == (1280, 960)
    assert reencode(encoded(Image.new("L", (1, 9000)), "PNG"), (1, 9000),
                    ReencodeConfig(image_size=900, only_if_bigger=False)).reason == "too_large_for_jpeg"


def test_the_picture_is_upright():
    exif = Image.Exif()
    exif[0x0112] = 6                                       # to be turned by 90 degrees to the right
    found = made(encoded(smooth(), exif=exif, comment=b"hello"), (480, 640), image_size=120)
    assert found.size == (120, 160)
    wanted = smooth().transpose(Image.Transpose.ROTATE_270).resize((120, 160), Image.Resampling.BOX)
    assert psnr(found, wanted) > 35


def test_a_profile_is_applied_and_a_damaged_one_is_not():
    # sRGB with red and blue exchanged, made by exchanging the tags of its primaries.
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exchanged = profile.replace(b"rXYZ", b"temp", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"temp", b"bXYZ", 1)
    red = Image.new("RGB", (64, 64), (250, 10, 10))
    for fmt in ("JPEG", "PNG", "WEBP"):
        plain = np.asarray(made(encoded(red, fmt, icc_profile=profile), (64, 64), image_size=32))[16, 16]
        turned = np.asarray(made(encoded(red, fmt, icc_profile=exchanged), (64, 64), image_size=32))[16, 16]
        broken = np.asarray(made(encoded(red, fmt, icc_profile=b"no profile"), (64, 64), image_size=32))[16, 16]
        assert plain[0] > 240 and plain[2] < 25 and turned[2] > 240 and turned[0] < 25 and broken[0] > 240


def test_cmyk_transparency_and_sixteen_bits():
    # Pillow reads the inverted CMYK of Adobe's JPEGs back as it wrote it.
    cmyk = made(encoded(Image.new("CMYK", (64, 64), (0, 255, 255, 0))), (64, 64), image_size=32)
    assert np.abs(np.asarray(cmyk, int) - (255, 0, 0)).max() < 12
    clear = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    assert (np.asarray(made(encoded(clear, "PNG"), (64, 64), image_size=32)) == 255).all()
    deep = Image.fromarray(np.full((64, 64), 128 << 8, np.uint16))
    assert np.abs(np.asarray(made(encoded(deep, "PNG"), (64, 64), image_size=32), int) - 128).max() <= 1


def test_broken_bytes_are_a_reason():
    config = ReencodeConfig(image_size=100)
    assert reencode(encoded(smooth())[:-900], (640, 480), config).reason == "truncated_image"
    assert reencode(b"no image", (640, 480), config).reason == "unsupported_format"


@pytest.mark.parametrize("settings", [{"quality": 80}, {"resize": "border"}, {"resize": "no", "image_size": 9}])
def test_settings_that_do_nothing_are_refused(settings):
    with pytest.raises(UsageError, match="leave|do nothing"):
        ReencodeConfig(**settings).check()


def mixed(number):
    if number == 3:
        return image_bytes(number)[:-600], "jpg"
    if number == 6:                                        # no bigger than asked for: it keeps its bytes
        return image_bytes(number, size=(40, 30)), "jpg"
    if number == 4:
        return image_bytes(number, "GIF"), "gif"
    return (image_bytes(number, "PNG"), "png") if number % 5 == 0 else (image_bytes(number), "jpg")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    out = str(tmp_path_factory.mktemp("reencoded"))
    rows = best_rows(30, out, make=mixed)
    rows[6] = dataclasses.replace(rows[6], width=40, height=30)
    finish_filter(out, rows, 3)
    build_shards(out, ON, BeamRun())
    return out, rows


def test_a_reencoded_set_is_valid_and_keeps_the_sha256_of_the_originals(built):
    out, rows = built
    shards = load_shards(out)
    assert list(validate(shards)) == [] and shards.reencoded
    assert {shard.ext for shard in shards.shards} == {"jpg"}
    by_key = {row.key: row for row in rows}
    samples = [sample for split in ("train", "test") for sample in read_samples(shards, split)]
    assert {sample.key for sample in samples} == by_key.keys() - {rows[3].key}
    for sample in samples:
        sha256 = by_key[sample.key].image_sha256
        assert sample.json["sha256"] == sha256 and sample.json["num_bytes"] == len(sample.image)
        if sample.key == rows[6].key:
            assert hashlib.sha256(sample.image).hexdigest() == sha256
        else:
            assert (sample.json["width"], sample.json["height"]) == (60, 40)
    for shard in shards.shards:
        index = load_index(shards.path(shard.index))
        assert index["image_hash"].tolist() == [int(key.decode()[:16], 16) for key in index["key"]]
    manifest = current_manifest(out, "shards")
    lines = {line.stage: dict(line.outcomes) for line in manifest.funnel}
    assert lines["reencoded"] == {"reencoded": 28, "kept_as_it_is": 1, "truncated_image": 1}
    assert lines["shards"]["not_stored_truncated_image"] == 1 and all(line.adds_up() for line in manifest.funnel)
    assert manifest.extra["reencoded"]["image_size"] == 40
    assert any(note.startswith("28 of 30 images are JPEGs") for note in manifest.notes)


def test_a_changed_key_json_of_a_reencoded_set_is_a_fault(built, tmp_path):
    from shards.faults import of_picture, of_sample
    from shards.image_work import Picture
    from shards.sample import sample_json
    from shards.tarwalk import Member
    shards = load_shards(built[0])
    sample = next(iter(read_samples(shards, "train")))
    shard = next(shard for shard in shards.shards if shard.split == "train")
    image, txt = (Member("", 0, 0, data, ()) for data in (sample.image, sample.caption.encode()))

    def faults(reencoded=True, **changed):
        said = Member("", 0, 0, sample_json(sample.json | changed), ())
        sha256 = hashlib.sha256(sample.image).hexdigest()
        picture = Picture("", "jpg", sample.json["width"], sample.json["height"])
        return [fault.what for fault in (*of_sample(shard, sample.key, image, txt, said, sha256, reencoded),
                                         *of_picture(shard, sample.key, image, said, picture))]

    assert faults() == []
    assert any("sha256" in what for what in faults(sha256="00" * 32))
    assert faults(width=61) and faults(reencoded=False)


def test_the_same_bytes_on_two_workers_and_other_buckets(built, tmp_path):
    out, rows = built
    part = rows[0].part
    (tmp_path / part).parent.mkdir(parents=True)
    with open(f"{out}/{part}", "rb") as file:
        (tmp_path / part).write_bytes(file.read())
    finish_filter(str(tmp_path), rows[::-1], 2)
    build_shards(str(tmp_path), ON, BeamRun(2))

    def tables(root):
        return json.dumps([dataclasses.asdict(entry) for entry in current_manifest(root, "shards").tables["shards"]])
    assert tables(str(tmp_path)) == tables(out)


def test_switched_off_again_nothing_of_it_is_left(built, tmp_path):
    out, rows = built
    again = build_shards(out, OFF, BeamRun())
    assert set(again.inputs) == {"filter", "regions", "vocab"} and "reencoded" not in again.extra
    shards = load_shards(out)
    assert not shards.reencoded
    for sample in read_samples(shards, "train"):
        assert hashlib.sha256(sample.image).hexdigest() == sample.json["sha256"]


_KILLED = """
import os, signal, sys
left = int(sys.argv[2])
def before(event, args):
    global left
    if event in ("os.rename", "os.link") and any("/reencoded/" in str(one) for one in args):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(before)
from shards.build import build_shards
from tests.shards.kept import BeamRun
from tests.shards.test_reencode import KILL_CONFIG
build_shards(sys.argv[1], KILL_CONFIG, BeamRun())
"""
KILL_CONFIG = ShardsConfig(patches=PatchesConfig(num_classes=4, codebook_images=6),
                           reencode=ReencodeConfig(image_size=96))


def test_killed_in_the_stage_reencoded_the_build_ends_with_the_same_shards(tmp_path):
    """SIGKILL before each of the first changes of its files: parts, their entries, rows, the manifest."""
    whole = str(tmp_path / "whole")
    kept(whole, 8)
    shutil.copytree(whole, tmp_path / "killed")
    build_shards(whole, KILL_CONFIG, BeamRun())
    killed = str(tmp_path / "killed")
    for moment in (0, 1, 3):                                # each run begins with what the one before it committed
        ended = subprocess.run([sys.executable, "-c", _KILLED, killed, str(moment)], capture_output=True, check=False)
        assert ended.returncode == -signal.SIGKILL, ended.stderr[-2000:]
        assert "shards" not in current(killed)
    build_shards(killed, KILL_CONFIG, BeamRun())
    assert {shard.name: shard.sha256 for shard in load_shards(killed).shards} == {
        shard.name: shard.sha256 for shard in load_shards(whole).shards}
