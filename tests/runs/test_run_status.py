"""How far a run has come, as `rnas status` shows it."""

import dataclasses
import json
from pathlib import Path
import socket
import subprocess
import sys

import pytest

from rnas.artifacts.folder_lock import OWNER, Owner
from rnas.artifacts.metrics import MetricsRow
from rnas.artifacts.run_record import RunRecord, StageRecord
from rnas.config import load_config, record_config
from rnas.main import main
from rnas.runs.run_status import status
from rnas.runs.stages import stages_of

DIGITS = Path(__file__).resolve().parents[2] / "configs" / "rnas_cl" / "digits.py"
COMPLETE = StageRecord("complete", 61.0, 1)


@pytest.fixture(scope="module")
def dead() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.fixture
def workdir(tmp_path):
    """`workdir(stage, owner, trained)`: a run in `stage`, whose network `trained` reported 50 and 100 steps."""

    def make(stage="search", owner=None, trained=None, path=tmp_path):
        record_config(path, load_config(str(DIGITS), ["--config.search.epochs=40"]))
        stages = {"teacher": COMPLETE, stage: StageRecord("running", 12.0, 2)}
        RunRecord("2026-01-01T00:00:00+00:00", "rnas run", {}, "cpu", 1, stages).write(path / "run.json")
        if owner:
            owner.write(path / OWNER)
        rows = [MetricsRow.of("teacher", "train", 9, 1.0, 90.0, {})]
        rows += [MetricsRow.of(trained or stage, "train", step, step / 20, 100.0 + step / 10, {}) for step in (50, 100)]
        (path / "metrics.jsonl").write_text("".join(row.line for row in rows))
        return path

    return make


def test_a_process_that_ended_has_interrupted_its_stage(workdir, dead):
    for owner in (None, Owner(socket.gethostname(), dead, ""), dataclasses.replace(Owner.here(), began="0")):
        found = status(workdir(owner=owner))["stages"]
        assert found["teacher"] == {"status": "complete", "seconds": 61.0, "starts": 1}
        assert found["search"] == {"status": "interrupted", "seconds": 12.0, "starts": 2, "step": 100, "total": 800}


def test_a_process_that_works_has_a_rate(workdir):
    assert Owner.here().is_alive
    found = status(workdir(owner=Owner.here()))["stages"]["search"]
    assert found["status"] == "running" and found["rate"] == pytest.approx(10) and found["left"] == pytest.approx(70)
    assert status(workdir(owner=Owner("elsewhere", 1, "")))["stages"]["search"]["status"] == "running"


def test_a_process_of_another_host_is_gone_once_it_is_silent(workdir, monkeypatch):
    folder = workdir(owner=Owner("elsewhere", 1, ""))
    monkeypatch.setattr("rnas.artifacts.folder_lock.SILENT", 0.0)
    assert status(folder)["stages"]["search"]["status"] == "interrupted"


def test_a_network_of_a_stage_is_named(workdir):
    found = status(workdir("baselines", trained="baseline_plain"))["stages"]["baselines"]
    epochs = load_config(str(DIGITS), []).train.epochs
    assert (found["step"], found["total"], found["network"]) == (100, 20 * epochs, "baseline_plain")
    found = status(workdir("baselines", trained="search_tutors_anew"))["stages"]["baselines"]
    assert (found["total"], found["network"]) == (800, "search_tutors_anew")


def test_stages_that_a_run_has_not_are_left_out(workdir, capsys):
    """Also where they are recorded as complete, which they were in no time."""
    folder = workdir()
    record = RunRecord.read(folder / "run.json")
    stages = {**record.stages, "finetune": StageRecord("complete", 0.0, 1)}
    dataclasses.replace(record, stages=stages).write(folder / "run.json")
    assert list(status(folder)["stages"]) == ["teacher", "search", "derive", "train", "baselines", "evaluate", "report"]
    for overrides, own in (
        (["--config.finetune.epochs=1", "--config.baselines=()", "--config.comparisons=()"], {"finetune"}),
        (["--config.teacher.path=shipped:digits"], {"baselines"}),
    ):
        config = load_config(str(DIGITS), overrides)
        found = {*stages_of(config)} & {"teacher", "finetune", "baselines"}
        assert found == own | ({"teacher"} if "finetune" in own else set())


def test_a_reader_sees_lines(workdir, capsys):
    assert main(["status", f"--workdir={workdir()}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "  teacher    complete, 1:01" in lines and "  derive     waiting" in lines
    assert "  search     interrupted at step 100 of 800, 0:12" in lines


def test_without_a_directory_all_runs_are_listed(workdir, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["status"]) == 2
    assert "there is no run in runs/; name one by --workdir=DIR" in capsys.readouterr().err
    workdir(path=tmp_path / "runs" / "rnas_cl" / "one")
    workdir("baselines", path=tmp_path / "runs" / "study" / "two" / "seed_0", trained="baseline_plain")
    assert main(["status"]) == 0
    shown = capsys.readouterr().out
    assert "runs/rnas_cl/one\n  search interrupted at step 100 of 800" in shown
    assert "runs/study/two/seed_0\n  baselines interrupted at step 100 of" in shown
    assert main(["status", "--json"]) == 0
    assert [run["workdir"] for run in json.loads(capsys.readouterr().out)["runs"]] == [
        "runs/rnas_cl/one", "runs/study/two/seed_0",
    ]  # fmt: skip
    assert main(["status", "--workdir=runs/study/two"]) == 0, "the seeds of a study"
    assert capsys.readouterr().out.startswith("runs/study/two/seed_0\n")
    monkeypatch.chdir(tmp_path / "runs" / "rnas_cl" / "one")
    assert main(["status"]) == 0 and "interrupted at step 100 of 800" in capsys.readouterr().out
