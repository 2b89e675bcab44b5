"""What TensorBoard and Weights & Biases show is what the logs say, also of a run that was killed and resumed."""
import importlib.util
import sys
import types
from pathlib import Path

import pytest

from crawl.errors import UsageError
from tests.train.dying import dying_after
from tests.train.made_shards import make_shards, small_config
from train.boards import check_boards
from train.loop import train
from train.metrics import PROBES, read_metrics

CONFIG = small_config(checkpoint_samples=24, probe_samples=48, probe_images=4, probe_captions=8)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return str(make_shards(tmp_path_factory.mktemp("shards")))


def killed_and_resumed(shards, out, boards):
    with dying_after(11):
        train(CONFIG, shards, out, boards=boards)
    train(CONFIG, shards, out, resume=True, boards=boards)


def told(out, name):
    """Returns {samples over all stages: value} of a loss, and of a probe's recall, by the logs."""
    before = {"align": 0, "pretrain": 48}
    return {before[row["stage"]] + row["samples"]: row[name] for row in read_metrics(out) if row["stage"] == "pretrain"
            and name in row} or {before[row["stage"]] + row["samples"]: row[name] for row in read_metrics(out, PROBES)
                                 if row["stage"] == "pretrain"}


def test_tensorboard_shows_the_log_once(shards, tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    out = str(tmp_path)
    killed_and_resumed(shards, out, ["tensorboard"])
    drawn = events.EventAccumulator(str(tmp_path / "tensorboard"))
    drawn.Reload()
    for tag, name in (("pretrain/itm", "itm"), ("pretrain/mlm_accuracy", "mlm_accuracy"),
                      ("pretrain/probe/image_to_text/recall@1", "image_to_text/recall@1")):
        found = {event.step: event.value for event in drawn.Scalars(tag)}
        assert len(drawn.Scalars(tag)) == len(found) and found == pytest.approx(told(out, name))
    assert "pretrain/time/samples_per_second" in drawn.Tags()["scalars"]


def test_wandb_is_told_the_log_under_one_id(shards, tmp_path, monkeypatch):
    runs = []

    class Run:
        def __init__(self, **settings):
            self.settings, self.rows, self.resumed, self.finished = settings, [], bool(runs), False
            runs.append(self)

        def define_metric(self, name, step_metric):
            assert (name, step_metric) == ("*", "samples")

        def log(self, values):
            self.rows.append(values)

        def finish(self):
            self.finished = True

    module = types.ModuleType("wandb")
    module.init = lambda **settings: Run(**settings)
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: module)
    out = str(tmp_path / "mine")
    killed_and_resumed(shards, out, ["wandb=pairs"])
    assert len(runs) == 2 and all(run.finished for run in runs)
    first, second = (run.settings for run in runs)
    assert first["id"] == second["id"] == Path(out, "wandb.id").read_text() and first["resume"] == "allow"
    assert (first["project"], first["name"], first["config"]["seed"]) == ("pairs", "mine", 1)
    found = {row["samples"]: row["pretrain/itm"] for run in runs for row in run.rows if "pretrain/itm" in row}
    assert found == told(out, "itm")
    assert all(row["samples"] > 48 for row in runs[1].rows)        # the lines of the first life are there already


def test_a_missing_package_is_one_line_before_anything_is_written(shards, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for board, package in (("tensorboard", "tensorboard"), ("wandb=p", "wandb")):
        with pytest.raises(UsageError, match=rf"--{package} needs the package {package}.*imagebert-lait\[{package}\]"):
            train(CONFIG, shards, str(tmp_path / "out"), boards=[board])
    assert not (tmp_path / "out").exists()
    for board in ("aim", "wandb", "tensorboard=x"):
        with pytest.raises(UsageError, match="it is tensorboard or wandb=PROJECT"):
            check_boards([board])
