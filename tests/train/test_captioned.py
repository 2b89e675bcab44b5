"""Captioned folders: three forms, bad entries named, bad images counted."""
import json

import pytest

from crawl.errors import UsageError
from shards.regions import Regions
from shards.tokens import load_tokenizer
from tests.train.made_shards import regions_of
from tests.train.photographs import make_folder
from train.captioned import UnusableImage, captions_file, dataset_name, load_captioned, read_photographs

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "one", "on", "grey", "painted", "red", "green", "blue",
          "white", "circle", "square"]


@pytest.fixture
def tokenizer(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("".join(piece + "\n" for piece in PIECES))
    return load_tokenizer(str(path))


def _regions(data: bytes) -> Regions:
    if not data.startswith(b"\xff\xd8"):
        raise UnusableImage("unsupported_format")
    return regions_of([0, 1, 2], len(data))


def test_both_forms_give_the_same_collection(tmp_path, tokenizer):
    plain = load_captioned(make_folder(tmp_path / "a"), ("train", "test"), _regions, tokenizer)
    karpathy = load_captioned(make_folder(tmp_path / "b", karpathy=True), ("train", "test"), _regions, tokenizer)
    for split, images in (("train", 24), ("test", 8)):
        assert len(plain[split]) == images and plain[split].num_captions == 2 * images
        assert plain[split].digest() == karpathy[split].digest()
    first = plain["train"].captions[0]
    assert [tokenizer.decode(words.tolist()) for words in first] == ["a red circle on grey", "one circle painted red"]


def test_bad_images_are_counted_and_left_out(tmp_path, tokenizer):
    folder = tmp_path / "a"
    make_folder(folder)
    (folder / "images" / "photo032.jpg").write_bytes(b"no image")
    (folder / "images" / "photo033.jpg").unlink()
    found = load_captioned(str(folder), ("test",), _regions, tokenizer)["test"]
    assert len(found) == 6 and dict(found.skipped) == {"image_missing": 1, "unsupported_format": 1}


def test_an_empty_split_is_one_clear_line(tmp_path, tokenizer):
    with pytest.raises(UsageError, match="no usable photograph in this split"):
        load_captioned(make_folder(tmp_path / "a", test=0), ("test",), _regions, tokenizer)


@pytest.mark.parametrize("entry, message", [
    ({"captions": ["a"], "split": "train"}, "has no \"file\""),
    ({"file": "../../secret.jpg", "captions": ["a"], "split": "train"}, "leads out of the folder"),
    ({"file": "/etc/passwd", "captions": ["a"], "split": "train"}, "leads out of the folder"),
    ({"file": "a.jpg", "captions": [], "split": "train"}, "no list of captions"),
    ({"file": "a.jpg", "captions": [3], "split": "train"}, "no list of captions"),
    ({"file": "a.jpg", "captions": ["a"], "split": "nowhere"}, "split 'nowhere'"),
    ("a.jpg", "is str, not an object"),
])
def test_a_bad_entry_is_named(tmp_path, entry, message):
    (tmp_path / "captions.json").write_text(json.dumps([entry]))
    with pytest.raises(UsageError, match="entry 0") as raised:
        read_photographs(str(tmp_path))
    assert message in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("text", ["not json", "{}", "[]", '{"images": 3}'])
def test_a_captions_file_that_is_none(tmp_path, text):
    (tmp_path / "captions.json").write_text(text)
    with pytest.raises(UsageError, match="captions.json"):
        read_photographs(str(tmp_path))


def test_a_dataset_root_is_no_captioned_folder(tmp_path):
    (tmp_path / "dataset.json").write_text("{}")
    assert captions_file(str(tmp_path)) == ""
    with pytest.raises(UsageError, match=r"neither captions.json nor dataset_\*.json"):
        read_photographs(str(tmp_path))


def _coco(folder, **changed):
    """Writes 24 + 8 photographs in COCO's form, and one image without a caption."""
    make_folder(folder, test=0)
    entries = json.loads((folder / "captions.json").read_text())
    (folder / "captions.json").unlink()
    (folder / "images").rename(folder / "train2014")
    (folder / "annotations").mkdir()
    (folder / "val2014").mkdir()
    for split in ("train", "val"):
        own = [(100 + n, entry) for n, entry in enumerate(entries) if entry["split"] == split]
        images = [{"id": n, "file_name": entry["file"]} for n, entry in own]
        notes = [{"id": 10 * n + at, "image_id": n, "caption": text} for n, entry in own
                 for at, text in enumerate(entry["captions"])][::-1]
        for _, entry in own:
            (folder / "train2014" / entry["file"]).rename(folder / f"{split}2014" / entry["file"])
        value = {"images": [*images, {"id": 7, "file_name": "alone.jpg"}], "annotations": notes} | changed
        (folder / "annotations" / f"captions_{split}2014.json").write_text(json.dumps(value))
    return str(folder)


def test_cocos_form_gives_the_same_collection(tmp_path, tokenizer):
    folder = _coco(tmp_path / "a")
    assert dataset_name(folder) == "coco"
    coco = load_captioned(folder, ("train", "val"), _regions, tokenizer)
    plain = load_captioned(make_folder(tmp_path / "b"), ("train", "val"), _regions, tokenizer)
    assert [coco[split].digest() for split in coco] == [plain[split].digest() for split in coco]
    assert dict(coco["val"].skipped) == {"image_missing": 1}
    assert dataset_name(make_folder(tmp_path / "c", karpathy=True)) == "small"


@pytest.mark.parametrize("changed, message", [
    ({"images": []}, "a caption of image"), ({"annotations": [{"id": 1}]}, "not COCO's captions"),
    ({"images": [{"id": 1, "file_name": "../x.jpg"}], "annotations": []}, "leads out of the folder")])
def test_a_broken_coco_file_is_named(tmp_path, changed, message):
    with pytest.raises(UsageError, match=message) as raised:
        read_photographs(_coco(tmp_path / "a", **changed))
    assert "captions_train2014.json" in str(raised.value) and "\n" not in str(raised.value)
