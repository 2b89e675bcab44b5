"""Region files in pieces: every row once, whatever the cut; what cannot be read is refused before a byte is written."""
import dataclasses

import pytest

from crawl.errors import UsageError
from shards.precomputed import BOTTOM_UP, UNITER
from shards.region_config import RegionsConfig, read_class_names
from shards.region_files import check, inputs_of, lines, pieces, rows_of
from tests.shards.region_files import CLASSES, DIM, bottom_up_line, uniter_npz

CONFIG = RegionsConfig(extractor="precomputed", format=BOTTOM_UP, feature_dim=DIM, num_classes=CLASSES)
TEXTS = [b"a", b"", b"bcd", b"e" * 40, b"f"]


@pytest.mark.parametrize("step", [1, 3, 7, 1000])
@pytest.mark.parametrize("block", [2, 5, 4096])
@pytest.mark.parametrize("end", [b"", b"\n"])
def test_any_cut_of_a_file_yields_every_line_once(tmp_path, step, block, end):
    data = b"\n".join(TEXTS) + end
    (tmp_path / "x").write_bytes(data)
    found = [line for start in range(0, len(data), step)
             for line in lines(str(tmp_path / "x"), start, min(start + step, len(data)), block=block)]
    assert [text for _, text in found] == TEXTS
    assert all(data[at:at + len(text)] == text for at, text in found)


@pytest.mark.parametrize("block", [3, 4096])
def test_a_line_without_end_is_not_held_in_memory(tmp_path, block):
    (tmp_path / "x").write_bytes(b"ab\n" + b"x" * 100 + b"\ncd\n")
    assert [text for _, text in lines(str(tmp_path / "x"), 0, 107, most=10, block=block)] == [b"ab", None, b"cd"]


def test_pieces_of_a_tsv_yield_what_the_whole_does(tmp_path):
    (tmp_path / "x.tsv").write_text("".join(bottom_up_line(f"id{n}", n) for n in range(9)))
    config = dataclasses.replace(CONFIG, files=(str(tmp_path / "x.tsv"),))
    (whole,), cut = pieces(config), pieces(config, piece_bytes=700)
    assert len(cut) > 3 and [piece.number for piece in cut] == list(range(len(cut)))
    ids = [row.id for piece in cut for _, row in rows_of(piece, config)]
    assert ids == [row.id for _, row in rows_of(whole, config)] == [f"id{n}" for n in range(9)]


def test_a_folder_of_npz_is_known_by_its_contents(tmp_path):
    for number in range(3):
        (tmp_path / f"img{number}.npz").write_bytes(uniter_npz(number))
    (tmp_path / "readme.txt").write_text("no features")
    config = dataclasses.replace(CONFIG, format=UNITER, files=(str(tmp_path),))
    (piece,), before = pieces(config), inputs_of(config)
    assert [(row.id, row.reason) for _, row in rows_of(piece, config)] == [("img0", ""), ("img1", ""), ("img2", "")]
    (tmp_path / "img1.npz").write_bytes(uniter_npz(7))
    assert inputs_of(config) != before


@pytest.mark.parametrize("changes, says", [
    ({"format": "csv"}, "'csv' is not known"), ({}, "needs --files"), ({"files": ("/nowhere.tsv",)}, "no such file"),
    ({"files": ("{tmp}",)}, "no such file"), ({"format": UNITER, "files": ("{tmp}",)}, "no .npz file in it"),
    ({"format": UNITER, "files": ("/nowhere",)}, "no folder of npz"), ({"fields": ("a", "b")}, "not exactly once"),
    ({"format": UNITER, "fields": ("a",)}, "is for TSV files")])
def test_what_cannot_be_read_is_one_clear_line(tmp_path, changes, says):
    if "files" in changes:
        changes = changes | {"files": tuple(name.format(tmp=tmp_path) for name in changes["files"])}
    elif changes.get("fields"):
        changes = changes | {"files": (str(tmp_path),)}
    with pytest.raises(UsageError, match=says) as raised:
        check(dataclasses.replace(CONFIG, **changes))
    assert "\n" not in str(raised.value)


def test_class_names_are_the_first_of_each_line_and_as_many_as_classes(tmp_path):
    (tmp_path / "names.txt").write_text("yolk\ngoggles\nbathtub,bath tub\n")
    assert read_class_names(str(tmp_path / "names.txt"), 3) == ("yolk", "goggles", "bathtub")
    with pytest.raises(UsageError, match="3 lines for 1600 classes"):
        read_class_names(str(tmp_path / "names.txt"), 1600)
    with pytest.raises(UsageError, match="cannot be read"):
        read_class_names(str(tmp_path / "absent.txt"), 3)
