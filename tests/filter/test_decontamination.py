"""Evaluation images and their copies are out, whatever their size and format; all else stays."""
from __future__ import annotations

import hashlib
import pathlib

import pytest

import imagebert
from crawl.errors import UsageError
from crawl.stages import Manifest
from filter.decontamination import evaluation_images, evaluation_source
from filter.facts import picture_hash
from filter.features_run import FeaturesConfig, features
from filter.filter_config import FilterConfig
from filter.filter_run import filter_pairs
from filter.judge_run import judge
from filter.judging import JudgeConfig
from filter.records import Best, ImageOutcome, Pair
from tests.filter import tiny_web
from tests.filter.tiny_web import candidate, jpeg, photograph, rows_of, run, texts

SITE = "https://a.example"
EVALUATION, OTHER = photograph(1), photograph(2)
COPY, KEPT = jpeg(EVALUATION.resize((640, 500)), 60), jpeg(OTHER)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = str(tmp_path_factory.mktemp("out"))
    tiny_web.commit_crawl(root, [
        candidate(f"{SITE}/heron.jpg", texts=texts(alt="A grey heron stands in the shallow lake")),
        candidate(f"{SITE}/barn.jpg", f"{SITE}/p2", texts=texts(alt="A red barn stands behind the old fence"))])
    judged = judge(root, JudgeConfig(buckets=1), run)
    tiny_web.commit_images(root, judged, {f"{SITE}/heron.jpg": COPY, f"{SITE}/barn.jpg": KEPT})
    features(root, FeaturesConfig(buckets=1), run)
    return root


def filtered(out: str, decontaminate: str) -> Manifest:
    return filter_pairs(out, FilterConfig(min_score=0.0, buckets=1), run, decontaminate)


def outcomes(manifest: Manifest) -> dict[str, str]:
    return {row.sha256: row.outcome for row in rows_of(manifest, "image_outcomes", ImageOutcome)}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_resized_and_reencoded_copy_of_a_folder_s_image_is_out(out: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "val" / "deep").mkdir(parents=True)
    EVALUATION.save(tmp_path / "val" / "deep" / "1.png")
    (tmp_path / "val" / "2.jpg").write_bytes(b"not an image")
    (tmp_path / "val" / "captions.json").write_text("{}")
    found = filtered(out, str(tmp_path / "val"))
    assert outcomes(found) == {sha256(COPY): "evaluation_image", sha256(KEPT): "kept"}
    assert {row.outcome for row in rows_of(found, "pairs", Pair) if row.image_sha256 == sha256(COPY)} == {
        "evaluation_image"}
    assert [row.image_sha256 for row in rows_of(found, "best", Best)] == [sha256(KEPT)]
    told = found.extra["decontaminate"]
    assert (told["count"], told["kind"], told["unreadable"]) == (2, "folder", 1) and len(told["digest"]) == 64
    assert "1 of 2" in found.notes[0] and str(tmp_path) not in repr(found)

    plain = filtered(out, "")
    assert set(outcomes(plain).values()) == {"kept"} and plain.folder != found.folder
    assert "decontaminate" not in plain.extra


@pytest.mark.parametrize("line", [f"sha256:{sha256(COPY)}", f"phash:{picture_hash(jpeg(EVALUATION))}:6  # val 1"])
def test_a_list_of_hashes_is_as_good(out: str, tmp_path: pathlib.Path, line: str) -> None:
    file = tmp_path / "hashes.txt"
    file.write_text(f"# evaluation images\n{line}\n")
    found = filtered(out, str(file))
    assert outcomes(found) == {sha256(COPY): "evaluation_image", sha256(KEPT): "kept"}
    assert found.extra["decontaminate"] | {"digest": ""} == {"count": 1, "kind": "list", "digest": "", "unreadable": 0}


def test_names_and_order_of_files_do_not_matter_and_bytes_do(tmp_path: pathlib.Path) -> None:
    digests = []
    for folder, names in (("a", "xy"), ("b", "yx")):
        (tmp_path / folder).mkdir()
        for name, data in zip(names, (COPY, KEPT), strict=True):
            (tmp_path / folder / f"{name}.jpg").write_bytes(data)
        digests.append(evaluation_source(str(tmp_path / folder)).digest)
    (tmp_path / "b" / "z.jpg").write_bytes(jpeg(photograph(3)))
    assert digests[0] == digests[1] != evaluation_source(str(tmp_path / "b")).digest


@pytest.mark.parametrize(("content", "said"), [
    (None, "no such folder or file"), ({}, "no image below this folder"), ("", "no hash in this list"),
    ("md5:00", "--decontaminate .*line 1.*neither sha256")])
def test_what_is_no_evaluation_set_is_one_clear_line(tmp_path: pathlib.Path, content: object, said: str) -> None:
    path = tmp_path / "val"
    if content == {}:
        path.mkdir()
    elif content is not None:
        path.write_text(str(content))
    with pytest.raises(UsageError, match=said):
        evaluation_source(str(path))


def test_a_folder_of_which_no_image_decodes_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "1.jpg").write_bytes(b"nothing")
    with pytest.raises(UsageError, match="none of its 1 images decodes"):
        evaluation_images(evaluation_source(str(tmp_path)))


def test_dataset_refuses_a_missing_folder_before_it_fetches(tmp_path: pathlib.Path,
                                                            capsys: pytest.CaptureFixture[str]) -> None:
    seeds = tmp_path / "seeds.txt"
    seeds.write_text("https://a.example/\n")
    status = imagebert.main(["dataset", "--seeds", str(seeds), "--out", str(tmp_path / "data"), "--contact",
                             "mailto:me@a.example", "--decontaminate", str(tmp_path / "missing")])
    said = capsys.readouterr().err
    assert status == 2 and said.count("\n") == 1 and "--decontaminate" in said and not (tmp_path / "data").exists()
