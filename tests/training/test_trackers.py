"""Trackers show the rows of `metrics.jsonl`; their libraries run without a network, where they are installed."""

import json

import pytest

from rnas.artifacts.metrics import read_rows
from rnas.training import trackers
from rnas.training.metrics_log import MetricsLog
from rnas.training.trackers import check_trackers

FIGURES = {1: 4.0, 2: 3.0, 3: 2.5}


class Noted:
    """A tracker that writes down what it is told, and may fail."""

    fails = False

    def __init__(self, workdir, stage):
        self.told = [(workdir.name, stage)]
        made.append(self)

    def log(self, row):
        if self.fails:
            raise ConnectionError("no server")
        self.told.append(trackers.scalars(row) | {"step": row.step})

    def rewind(self, step):
        self.told.append(step)

    def close(self):
        self.told.append("closed")


made: list[Noted] = []


@pytest.fixture
def noted(monkeypatch):
    made.clear()
    monkeypatch.setitem(trackers.TRACKERS, "noted", Noted)
    return made


def write(log, steps=FIGURES):
    for step in steps:
        log.write(step, step / 2, "train", {"loss": FIGURES[step], "kl": float("nan")})


def test_a_tracker_gets_what_is_finite_of_every_row(noted, tmp_path):
    with MetricsLog(tmp_path, "search", ["noted"]) as log:
        write(log)
    (tracker,) = noted
    rows = [{"train/loss": figure, "step": step} for step, figure in FIGURES.items()]
    assert tracker.told == [(tmp_path.name, "search"), *rows, "closed"]


def test_a_stage_without_a_row_opens_none(noted, tmp_path):
    with MetricsLog(tmp_path, "search", ["noted"]) as log:
        log.rewind(10)
    assert not noted


def test_a_stage_that_goes_on_tells_from_where(noted, tmp_path):
    with MetricsLog(tmp_path, "search", ["noted"]) as log:
        log.rewind(2)
        write(log, [3])
    assert noted[0].told[1:] == [2, {"train/loss": 2.5, "step": 3}, "closed"]


def test_a_tracker_that_fails_stops_nothing(noted, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Noted, "fails", True)
    with MetricsLog(tmp_path, "search", ["noted"]) as log:
        write(log)
    assert [row.step for row in read_rows(tmp_path)] == [1, 2, 3]
    assert capsys.readouterr().err.count("warning: Noted takes no more rows (no server)") == 1


@pytest.mark.parametrize("names, message", [
    (("tensorboard", "wand"), "unknown tracker 'wand'; expected some of tensorboard, wandb, mlflow, trackio"),
    (("absent",), r"'absent' needs its library: pip install 'rnas\[absent\]'"),
])  # fmt: skip
def test_what_cannot_track_is_refused(monkeypatch, names, message):
    if "absent" in names:
        monkeypatch.setitem(trackers.TRACKERS, "absent", Noted)
    with pytest.raises(ValueError, match=message):
        check_trackers(names)


def twice(workdir, name):
    """A stage that stopped after step 2, whose checkpoint was of step 1, and goes on to step 3."""
    with MetricsLog(workdir, "search", [name]) as log:
        write(log, [1, 2])
    with MetricsLog(workdir, "search", [name]) as log:
        log.rewind(1)
        write(log, [2, 3])
    with MetricsLog(workdir, "train", [name]) as log:
        write(log, [1])


@pytest.mark.slow
def test_mlflow(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlflow").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # mlflow-skinny has no database
    twice(tmp_path / "run", "mlflow")
    client = mlflow.MlflowClient()
    runs = client.search_runs([client.get_experiment_by_name("rnas").experiment_id])
    assert {run.info.run_name: run.info.status for run in runs} == {"run search": "FINISHED", "run train": "FINISHED"}
    (search,) = (run for run in runs if run.info.run_name == "run search")
    history = client.get_metric_history(search.info.run_id, "train/loss")
    assert {(each.step, each.value) for each in history} == set(FIGURES.items())


@pytest.mark.slow
def test_weights_and_biases_without_a_network(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    twice(tmp_path / "run", "wandb")
    kept = sorted((tmp_path / "run" / "events" / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len(kept) == 3 and len({path.name for path in kept}) == 2  # two starts of one run, and another run
    for path in kept:
        assert b"train/loss" in path.read_bytes()


@pytest.mark.slow
def test_trackio_on_this_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio")
    twice(tmp_path / "run", "trackio")
    import sqlite3

    (database,) = (tmp_path / "trackio").glob("*.db")
    with sqlite3.connect(database) as connection:
        rows = connection.execute("SELECT run_name, step, metrics FROM metrics").fetchall()
    found = {(name.split()[1], step, json.loads(metrics)["train/loss"]) for name, step, metrics in rows}
    assert found == {*(("search", *figure) for figure in FIGURES.items()), ("train", 1, 4.0)}
