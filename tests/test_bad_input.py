"""What a stranger does wrong, command by command: one clear line on standard error, exit status 2, no traceback.

Each row names what must stand in the line: the thing, the value, or the way out.
"""
from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import imagebert
from crawl.lock import run_lock
from crawl.records import Candidate
from crawl.rounds import CrawlConfig
from crawl.stages import Stage
from crawl.tables import write_table
from tests.train.made_shards import make_shards

SMALL = ("--set", "align.samples=48", "--set", "pretrain.samples=48", "--set", "model.hidden=16", "--set",
         "model.layers=1", "--set", "model.intermediate=16")
# Names of its own are made up in the folder of a test: {root} stands for it.
CRAWL = ("--out", "{root}/out", "--seeds", "{root}/seeds.txt")
PRETRAIN = ("pretrain", "--shards", "{root}/shards", "--out", "{root}/p", *SMALL)
EVALUATE = ("evaluate", "--data", "{root}/shards", "--checkpoint", "{root}/run", "--out", "{root}/e")
FINETUNE = ("finetune", "--data", "{root}/shards", "--checkpoint", "{root}/run", "--out", "{root}/f")
LOCAL = (*CRAWL, "--allow-host", "*.test")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with shards, a small run trained on them, and files that are not what a command wants."""
    root = tmp_path_factory.mktemp("made")
    make_shards(root / "shards")
    with contextlib.redirect_stdout(None):
        assert imagebert.main(["pretrain", "--shards", str(root / "shards"), "--out", str(root / "run"), *SMALL]) == 0
    (root / "file").write_text("x")
    (root / "empty").mkdir()
    (root / "seeds.txt").write_text("http://h.test/\n")
    for name, text in (("nothing.txt", "# nothing\n"), ("words.txt", "http://h.test/\nhello world\n"),
                       ("half.json", "{"), ("list.json", "[]"), ("keys.json", "{}"),
                       ("types.json", '{"seeds": 1, "connect_to": 2, "ca_file": 3}'),
                       ("labels.csv", "path,label\nnone.jpg,natural\n")):
        (root / name).write_text(text)
    (root / "binary.txt").write_bytes(b"\xff\xfe\x00")
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(made, tmp_path / "copy"))


def told(argv: tuple[str, ...], capsys: pytest.CaptureFixture[str], *, jobs: bool = False) -> str:
    """Runs a command that must be refused; returns its line. `jobs`: names of jobs that ran may stand before it."""
    capsys.readouterr()
    try:
        status = imagebert.main(list(argv))
    except SystemExit as end:                    # argparse
        status = end.code if isinstance(end.code, int) else 1
    printed = capsys.readouterr()
    lines = printed.err.splitlines()
    if jobs:
        lines = lines[-1:]
    assert (status, len(lines), printed.out) == (2, 1, ""), printed
    assert lines[0].startswith("imagebert") and "Traceback" not in printed.err
    return lines[0]


USAGE = [
    ("no command", (), ("COMMAND", "--help")),
    ("unknown command", ("frobnicate",), ("'frobnicate'", "choose from")),
    ("unknown option", ("explain", "x", "--out", "o", "--frob"), ("--frob", "--help")),
    ("no options", ("pretrain",), ("--shards", "--out")),
    ("no action", ("shards",), ("ACTION", "--help")),
    ("Beam options where no Beam runs",
     ("evaluate", "--data", "d", "--checkpoint", "c", "--out", "o", "--", "--runner=X"), ("--runner=X", "no Beam job")),
    # seeds
    ("neither seeds nor web", ("dataset", "--out", "{root}/out"), ("--seeds FILE", "--web FILE")),
    ("seeds that are not there", ("crawl", "--out", "{root}/out", "--seeds", "{root}/no.txt"),
     ("no.txt", "No such file")),
    ("seeds that are a folder", ("crawl", "--out", "{root}/out", "--seeds", "{root}"), ("folder", "--seeds")),
    ("empty seeds", ("dataset", "--out", "{root}/out", "--seeds", "{root}/nothing.txt"), ("nothing.txt", "no URL")),
    ("a seed that is no URL", ("crawl", "--out", "{root}/out", "--seeds", "{root}/words.txt"),
     ("line 2", "'hello world'", "https://example.org/")),
    ("seeds that are no text", ("crawl", "--out", "{root}/out", "--seeds", "{root}/binary.txt"),
     ("binary.txt", "UTF-8")),
    ("a stranger without contact", ("dataset", *CRAWL), ("http://h.test/", "--contact", "--allow-host")),
    # the ready file of the synthetic web
    ("web not there", ("dataset", "--out", "{root}/out", "--web", "{root}/no.json"),
     ("no.json", "imagebert web --ready")),
    ("web not JSON", ("dataset", "--out", "{root}/out", "--web", "{root}/half.json"), ("half.json", "imagebert web")),
    ("web a list", ("dataset", "--out", "{root}/out", "--web", "{root}/list.json"), ("list.json", "imagebert web")),
    ("web without keys", ("dataset", "--out", "{root}/out", "--web", "{root}/keys.json"), ("keys.json", "'seeds'")),
    ("web of other types", ("crawl", "--out", "{root}/out", "--web", "{root}/types.json"), ("types.json", "are lists")),
    # output folders
    ("out below a file", ("dataset", "--out", "{root}/file/out", "--seeds", "{root}/seeds.txt"), ("file/out", "--out")),
    ("out is a file", ("judge", "--out", "{root}/file"), ("cannot write", "--out")),
    ("demo below a file", ("demo", "--out", "{root}/file/out"), ("cannot write", "--out")),
    ("pretrain below a file", ("pretrain", "--shards", "{root}/shards", "--out", "{root}/file/out", *SMALL),
     ("cannot write", "--out")),
    ("evaluate below a file", ("evaluate", "--data", "{root}/shards", "--checkpoint", "{root}/run", "--out",
                               "{root}/file/out"), ("cannot write", "--out")),
    # numbers and networks
    ("negative workers", ("crawl", *LOCAL, "--workers", "-1"), ("--workers", "'-1'", "1 to 256")),
    ("no workers", ("judge", "--out", "{root}/empty", "--workers", "0"), ("--workers", "'0'")),
    ("negative images", ("demo", "--out", "{root}/out", "--images", "-1"), ("-1", "50 to 1000000")),
    ("negative web", ("web", "--images", "-1"), ("-1", "50 to 1000000")),
    ("few hosts", ("web", "--images", "50", "--hosts", "1"), ("hosts=1", "40 to 1000")),
    ("port out of range", ("web", "--images", "50", "--port", "99999"), ("--port", "'99999'", "65535")),
    ("negative processes", ("web", "--images", "50", "--draw-processes", "-1"), ("--draw-processes -1", "0")),
    ("ready below a file", ("web", "--images", "50", "--ready", "{root}/file/x"), ("--ready", "file/x")),
    ("render into a file", ("web", "--images", "50", "--render", "{root}/file/x"), ("--render", "file/x")),
    ("negative ranks", (*PRETRAIN, "--ranks", "-1"), ("--ranks -1", "--set lanes=")),
    ("negative threads", (*PRETRAIN, "--threads", "-1"), ("--threads -1", "0")),
    ("no folds", (*EVALUATE, "--folds", "0"), ("folds is 0", "at least 1")),
    ("negative limit", ("shards", "ls", "{root}/shards", "--limit", "-1"), ("--limit", "'-1'")),
    ("no authorities", ("crawl", *LOCAL, "--ca-file", "{root}/file"), ("--ca-file", "PEM")),
    ("a host that is a URL", ("crawl", *LOCAL, "--allow-host", "http://x/"), ("'http://x/'", "HOST[:PORT]")),
    ("half a resolve", ("crawl", *LOCAL, "--resolve", "a.test:80"), ("'a.test:80'", "NAME:PORT:ADDR")),
    ("negative delay", ("crawl", *LOCAL, "--min-delay", "-1"), ("min_delay_s", "-1.0")),
    # settings
    ("no equals sign", ("dataset", *LOCAL, "--set", "x"), ("'x'", "name=value")),
    ("unknown setting", ("dataset", *LOCAL, "--set", "foo=1"), ("'foo=1'", "crawl, features, filter")),
    ("a group as a value", ("dataset", *LOCAL, "--set", "crawl=1"), ("'crawl=1'", "group of settings", "max_rounds")),
    ("words for a number", ("crawl", *LOCAL, "--set", "max_rounds=abc"), ("'abc'", "whole number")),
    ("no rounds", ("crawl", *LOCAL, "--set", "max_rounds=0"), ("max_rounds is 0", "at least 1")),
    ("negative retries", ("crawl", *LOCAL, "--set", "frontier.retries=-1"), ("retries is -1", "at least 0")),
    ("infinite patience", ("crawl", *LOCAL, "--set", "fetch.page_timeout_s=Infinity"), ("Infinity", "finite number")),
    ("not a number", (*PRETRAIN, "--set", "pretrain.optimizer.learning_rate=NaN"), ("NaN", "finite number")),
    ("text for a truth", ("crawl", *LOCAL, "--set", "frontier.follow_nofollow=3"), ("'3'", "true or false")),
    ("number for a list", ("filter", "--out", "{root}/empty", "--set", "images.formats=3"), ("'3'", "list")),
    ("unknown format", ("filter", "--out", "{root}/empty", "--set", 'images.formats=["gif"]'), ("gif", "jpg, png")),
    ("a share of 2", ("filter", "--out", "{root}/empty", "--set", "aggregate.test_share=2"),
     ("test_share is 2", "0 to 1")),
    ("no buckets", ("judge", "--out", "{root}/empty", "--set", "buckets=0"), ("buckets is 0", "at least 1")),
    ("no pixels", ("features", "--out", "{root}/empty", "--set", "max_pixels=0"), ("max_pixels is 0", "at least 1")),
    ("unknown image setting", ("images", "--out", "{root}/empty", "--set", "x=1"), ("'x=1'", "has no 'x'")),
    ("no cells", ("shards", "build", "--out", "{root}/empty", "--set", "patches.grid=0"), ("grid is 0", "1 to 10")),
    ("unknown scorer, before the crawl", ("dataset", *LOCAL, "--set", "filter.scorer=nope"),
     ("'nope'", "prior, weak and clip")),
    ("no language model, before the crawl", ("dataset", *LOCAL, "--set", "judge.lid_path=/none"),
     ("'/none'", "lid.176")),
    ("heads that do not divide", (*PRETRAIN, "--set", "model.heads=3"), ("hidden 16", "heads 3")),
    ("negative threads of torch", (*PRETRAIN, "--set", "compute_threads=-1"), ("compute_threads is -1", "at least 0")),
    ("negative seed", (*EVALUATE, "--set", "retrieval.seed=-1"), ("seed is -1", "at least 0")),
    ("unknown split", (*EVALUATE, "--set", "split=zzz"), ("'zzz'", "train, val or test")),
    ("tiny batch", (*FINETUNE, "--set", "batch=0"), ("batch is 0", "at least 2")),
    # Beam's own options
    ("unknown Beam option", ("crawl", *LOCAL, "--", "--nope=1"), ("--nope", "spelling")),
    ("unknown runner", ("judge", "--out", "{root}/empty", "--", "--runner=Nope"), ("--runner=Nope", "FlinkRunner")),
    ("a word for a count", ("judge", "--out", "{root}/empty", "--", "--direct_num_workers=x"),
     ("direct_num_workers", "'x'")),
    ("a word alone", ("judge", "--out", "{root}/empty", "--", "word"), ("'word'", "--runner=")),
    ("no job server", ("crawl", *LOCAL, "--", "--runner=PortableRunner", "--job_endpoint=127.0.0.1:1"),
     ("no job server answers", "127.0.0.1:1", "start it")),
    ("no worker pool", ("crawl", *LOCAL, "--", "--runner=PortableRunner", "--environment_type=EXTERNAL",
                        "--environment_config=127.0.0.1:1"), ("no worker pool answers", "127.0.0.1:1", "start it")),
    # stages without what they need
    ("judge without crawl", ("judge", "--out", "{root}/empty"), ("'crawl'", "imagebert crawl --out")),
    ("images without judge", ("images", "--out", "{root}/empty"), ("'judge'", "imagebert judge --out")),
    ("features without images", ("features", "--out", "{root}/empty"), ("'images'", "imagebert images --out")),
    ("filter without judge", ("filter", "--out", "{root}/empty"), ("'judge'", "imagebert judge --out")),
    ("shards without filter", ("shards", "build", "--out", "{root}/empty"), ("'filter'", "imagebert filter --out")),
    ("explain nothing", ("explain", "x", "--out", "{root}/empty"), ("no finished stage", "--out")),
    ("report of nothing", ("shards", "report", "{root}/empty"), ("dataset.json", "root")),
    ("no shards", ("shards", "stats", "{root}/no"), ("no such folder", "manifest.json")),
    ("no finished shards", ("shards", "validate", "{root}/empty"), ("not finished", "imagebert dataset")),
    ("no such sample", ("shards", "show", "{root}/shards", "zzzz"), ("'zzzz'", "imagebert shards ls")),
    ("no labels", ("scorer", "train-natural", "--root", "{root}", "--labels", "{root}/no", "--model", "{root}/m"),
     ("--labels", "no'", "CSV")),
    ("no labelled image", ("scorer", "train-natural", "--root", "{root}", "--labels", "{root}/labels.csv", "--model",
                           "{root}/m"), ("none.jpg", "--root")),
    ("pretrain on nothing", ("pretrain", "--shards", "{root}/no", "--out", "{root}/p"), ("no such folder", "dataset")),
    ("evaluate nothing", ("evaluate", "--data", "{root}/shards", "--checkpoint", "{root}/empty", "--out", "{root}/e"),
     ("no checkpoint", "imagebert pretrain")),
    ("finetune from nothing", ("finetune", "--data", "{root}/shards", "--out", "{root}/f"),
     ("--checkpoint", "--from-scratch")),
    # runs that do not fit together
    ("another run is there", (*PRETRAIN, "--out", "{root}/run"), ("already holds a run", "--resume")),
    ("a checkpoint of another model", (*PRETRAIN, "--out", "{root}/run", "--resume", "--set", "model.hidden=32"),
     ("hidden is 16", "32", "--out")),
    ("a checkpoint of another run", (*PRETRAIN, "--out", "{root}/run", "--resume", "--set", "seed=7"),
     ("another config", "--out")),
    ("finetune into a run", (*FINETUNE, "--out", "{root}/run"), ("already holds a run", "--out")),
]


@pytest.mark.parametrize(("argv", "words"), [row[1:] for row in USAGE], ids=[row[0] for row in USAGE])
def test_one_clear_line(argv: tuple[str, ...], words: tuple[str, ...], made: Path,
                        capsys: pytest.CaptureFixture[str]) -> None:
    line = told(tuple(word.replace("{root}", str(made)) for word in argv), capsys)
    assert all(word in line for word in words), line
    # No row begins a stage, a run or a result.
    assert {entry.name for entry in (made / "out").glob("*")} <= {"run.lock", "config.json"}
    assert not any((made / name / left).exists() for name in ("p", "e", "f")
                   for left in ("checkpoint.json", "result.json", "config.json", "metrics.jsonl"))


SEEDS = [
    ("nothing listens", "http://127.0.0.1:{closed}/", ("--allow-host", "127.0.0.1:{closed}"),
     ("connect_error", "server runs")),
    ("loopback is closed", "http://127.0.0.1:{closed}/", ("--contact", "a@example.org"),
     ("blocked_address", "--allow-host 127.0.0.1:{closed}")),
    ("unknown name", "http://nowhere.invalid/", ("--contact", "a@example.org"),
     ("dns_error", "--resolve NAME:PORT:ADDR")),
]


@pytest.mark.parametrize(("url", "options", "words"), [row[1:] for row in SEEDS], ids=[row[0] for row in SEEDS])
def test_unreachable_seed(url: str, options: tuple[str, ...], words: tuple[str, ...], tmp_path: Path,
                          capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = str(free.getsockname()[1])
    (tmp_path / "seeds.txt").write_text(url.replace("{closed}", closed))
    out = tmp_path / "out"
    line = told(("crawl", "--seeds", str(tmp_path / "seeds.txt"), "--out", str(out), "--min-delay", "0", "--set",
                 "frontier.retries=0", "--set", "fetch.retries=0", "--set", "shards=1", "--set", "buckets=1",
                 *(option.replace("{closed}", closed) for option in options)), capsys, jobs=True)
    assert all(word.replace("{closed}", closed) in line for word in (*words, "none of the 1 seeds")), line
    assert not list(out.rglob("manifest.json")) and not (out / "dataset.json").exists()


def test_a_folder_in_use(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, seeds, shards, run = (str(path) for path in (tmp_path, made / "seeds.txt", made / "shards", made / "run"))
    with run_lock(out):
        for argv in (("dataset", "--seeds", seeds, "--allow-host", "*.test"), ("crawl", "--seeds", seeds), ("images",),
                     ("judge",), ("features",), ("filter",), ("demo",), ("shards", "build"),
                     ("pretrain", "--shards", shards, *SMALL), ("finetune", "--data", shards, "--checkpoint", run),
                     ("evaluate", "--data", shards, "--checkpoint", run)):
            line = told((*argv, "--out", out), capsys)
            assert out in line and f"pid {os.getpid()}" in line and "--out" in line
    assert os.listdir(out) == ["run.lock"]


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])


TAR, REGIONS, INDEX = "shards/test/lait-jpg-000004.tar", "shards/test/lait-jpg-000004.regions.tar", \
    "shards/test/lait-jpg-000004.idx.npy"


@pytest.mark.parametrize("name", [TAR, REGIONS, INDEX])
def test_a_shard_cut_in_half(name: str, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    halve(root / name)
    shards, run = str(root / "shards"), str(root / "run")
    for argv in (("pretrain", "--shards", shards, "--out", str(root / "p"), *SMALL), ("shards", "stats", shards),
                 ("evaluate", "--data", shards, "--checkpoint", run, "--out", str(root / "e")),
                 ("finetune", "--data", shards, "--checkpoint", run, "--out", str(root / "f")),
                 ("shards", "ls", shards), ("shards", "show", shards, "0123")):
        line = told(argv, capsys)
        assert str(root / name) in line and "copy it again" in line, line
    assert not (root / "p").exists() and not (root / "e" / "result.json").exists()
    assert imagebert.main(["shards", "validate", "--json", shards]) == 1
    assert Path(name).name in capsys.readouterr().out


@pytest.mark.parametrize(("name", "text", "words"), [
    ("shards/manifest.json", "{", ("not JSON", "copy it again")),
    ("shards/manifest.json", "[]", ("list", "copy it again")),
    ("shards/manifest.json", '{"stage": "shards"}', ("'tables'", "build the shards again")),
    ("shards/manifest.json", '{"stage": "crawl"}', ("'crawl'", "shards/ folder")),
    ("run/checkpoint.json", "{", ("checkpoint.json", "another checkpoint")),
    ("run/checkpoint.json", "{}", ("checkpoint.json", "no current checkpoint")),
])
def test_damaged_json_before_evaluation(name: str, text: str, words: tuple[str, ...], root: Path,
                                        capsys: pytest.CaptureFixture[str]) -> None:
    (root / name).write_text(text)
    line = told(("evaluate", "--data", str(root / "shards"), "--checkpoint", str(root / "run"), "--out",
                 str(root / "e")), capsys)
    assert all(word in line for word in words), line


def test_checkpoints_and_shards_that_do_not_fit(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = root / "shards" / "manifest.json"
    whole = json.loads(path.read_text())

    def evaluated(**changes: object) -> str:
        path.write_text(json.dumps(whole | {"extra": whole["extra"] | changes}))
        return told(("evaluate", "--data", str(root / "shards"), "--checkpoint", str(root / "run"), "--out",
                     str(root / "e")), capsys)

    assert "vocabulary" in evaluated(tokenizer_digest="ab" * 32)
    assert "another model" in evaluated(num_classes=7)
    training = [shard for shard in whole["extra"]["shards"] if shard["split"] == "train"]
    assert "test" in evaluated(shards=training)
    path.write_text(json.dumps(whole))
    halve(root / "run" / json.loads((root / "run" / "checkpoint.json").read_text())["current"] / "model.safetensors")
    assert "model.safetensors: cannot be read" in evaluated()
    (root / "run" / "metrics.jsonl").write_text("{\n")
    line = told(("pretrain", "--shards", str(root / "shards"), "--out", str(root / "run"), "--resume", *SMALL), capsys)
    assert "metrics.jsonl: damaged" in line and "remove this log" in line


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"stages": 3}'])
def test_damaged_pointers_and_manifests(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path)
    (tmp_path / "dataset.json").write_text(text)
    for argv in (("judge", "--out", out), ("explain", "x", "--out", out), ("shards", "build", "--out", out),
                 ("shards", "stats", out), ("shards", "report", out)):
        assert f"{out}/dataset.json: " in told(argv, capsys)
    os.unlink(tmp_path / "dataset.json")
    folder = Path(Stage.open(out, "crawl", 1, CrawlConfig(), {}).commit({}, []).directory)
    (folder / "manifest.json").write_text(text)
    assert f"remove {folder}" in told(("judge", "--out", out), capsys)


def test_damaged_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stage = Stage.open(str(tmp_path), "crawl", 1, CrawlConfig(), {})
    entry = write_table(stage.directory, "candidates-00000-of-00001.parquet", Candidate, [])
    stage.commit({"candidates": [entry]}, [])
    table = Path(stage.directory) / entry.name
    table.write_bytes(bytes(entry.bytes))
    line = told(("judge", "--out", str(tmp_path)), capsys, jobs=True)
    assert f"{table}: damaged table" in line and "while running" not in line
    assert not list((tmp_path / "judge").rglob("manifest.json"))
    halve(table)
    assert f"the manifest says {entry.bytes} bytes" in told(("judge", "--out", str(tmp_path)), capsys)


@pytest.fixture
def taken() -> Iterator[str]:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        yield str(held.getsockname()[1])


def test_port_in_use(taken: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = told(("web", "--images", "50", "--port", taken, "--draw-processes", "0"), capsys)
    assert taken in line and "in use" in line and "choose others" in line


@pytest.mark.parametrize(("missing", "argv", "words"), [
    ("torch", ("pretrain", "--shards", "s", "--out", "{root}/x"), "imagebert-lait[train]"),
    ("torch", ("evaluate", "--data", "s", "--checkpoint", "c", "--out", "{root}/x"), "imagebert-lait[train]"),
    ("torch", ("finetune", "--data", "s", "--out", "{root}/x"), "imagebert-lait[train]"),
    ("torch", ("search", "a cat", "--data", "s", "--checkpoint", "c"), "imagebert-lait[train]"),
    ("torch", ("batch", "--shards", "s", "--step", "0"), "imagebert-lait[train]"),
    ("torch", ("lineage", "c"), "imagebert-lait[train]"),
    ("torch", ("demo", "--out", "{root}/x"), "imagebert-lait[train]"),
    ("trustme", ("demo", "--out", "{root}/x"), "imagebert-lait[web]"),
    ("trustme", ("web", "--images", "50"), "imagebert-lait[web]"),
    ("apache_beam", ("judge", "--out", "{root}/x"), "make install"),
])
def test_missing_extra(missing: str, argv: tuple[str, ...], words: str, tmp_path: Path,
                       capsys: pytest.CaptureFixture[str]) -> None:
    code = (f"import sys; sys.modules[{missing!r}] = None\nimport imagebert\n"
            f"sys.exit(imagebert.main({[word.replace('{root}', str(tmp_path)) for word in argv]!r}))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    lines = done.stderr.splitlines()
    assert done.returncode == 2 and len(lines) == 1, done
    assert missing in lines[0] and words in lines[0] and not os.listdir(tmp_path)
