"""How far a table has come, as `rnas status` shows it."""

import json
import os
from pathlib import Path

import pytest

from rnas.artifacts.failure import Failure, failure_file
from rnas.artifacts.folder_lock import Owner
from rnas.artifacts.leases import FOLDER, Lease
from rnas.artifacts.metrics import MetricsRow
from rnas.artifacts.table_results import planned_networks
from rnas.config import load_config, record_config
from rnas.main import main

RUNNING, BY = "running at step 40 of 184", "process 5 on host, since 2026-01-01T00:00:00+00:00"
DIGITS = Path(__file__).resolve().parents[2] / "configs" / "robbench" / "digits.py"


@pytest.fixture
def networks():
    config = load_config(str(DIGITS), [])
    return [network.name for network in planned_networks(config.archs, config.seeds)]


@pytest.fixture
def workdir(tmp_path, networks):
    """Of twelve networks three are finished, a minute apart; the next three run, are interrupted, and have failed."""
    tmp_path = tmp_path / "table"
    record_config(tmp_path, load_config(str(DIGITS), []))
    (tmp_path / "results").mkdir()
    for number, name in enumerate(networks[:3]):
        path = tmp_path / "results" / f"{name}.json"
        path.touch()
        os.utime(path, (0, 1000 + 60 * number))
    for name in networks[3:6]:
        folder = tmp_path / "training" / name
        folder.mkdir(parents=True)
        rows = [MetricsRow.of("train", "train", step, step / 23, 100.0 + step / 10, {}) for step in (20, 40)]
        (folder / "metrics.jsonl").write_text("".join(row.line for row in rows))
    Lease(Owner("host", 5, "2026-01-01T00:00:00+00:00"), "a").write(lease(tmp_path, networks[3]))
    error = ValueError("stage 'train' diverged: the loss of step 45 is not finite.")
    Failure.of(error).write(failure_file(tmp_path, networks[5]))
    return tmp_path


def lease(workdir, name) -> Path:
    return workdir / FOLDER / f"{name}.json"


def shown(workdir, capsys, *options) -> str:
    assert main(["status", f"--workdir={workdir}", *options]) == 0
    return capsys.readouterr().out


def test_networks_are_counted_and_those_in_training_have_their_steps(workdir, networks, capsys):
    found = json.loads(shown(workdir, capsys, "--json"))
    counts = {"finished": 3, "running": 1, "interrupted": 1, "failed": 1, "waiting": 6}
    assert found["networks"] == counts and sum(counts.values()) == len(networks)
    assert found["left"] == 9 * 60
    running, interrupted, failed = (found["training"][name] for name in networks[3:6])
    assert (running["step"], running["total"], interrupted["step"]) == (40, 8 * 23, 40)  # 8 epochs of 23 steps
    assert running["rate"] == pytest.approx(10) and running["left"] == pytest.approx(14.4) and "rate" not in interrupted
    assert failed["reason"].startswith("stage 'train' diverged") and "step" not in failed


def test_a_reader_sees_lines(workdir, networks, capsys):
    lines = shown(workdir, capsys).splitlines()
    summary = "3 of 12 networks finished, 1 running, 1 interrupted, 1 failed, 6 waiting, about 9:00 left"
    assert lines[:2] == [str(workdir), f"  {summary}"] and len(lines) == 5
    assert lines[2].split(maxsplit=1) == [networks[3], f"{RUNNING}, 10.0 steps/s, 0:14 left, {BY}"]
    assert lines[4].split(maxsplit=1)[1].startswith("failed: stage 'train' diverged: the loss of step 45")


def test_while_nobody_works_there_is_no_time_left(workdir, networks, capsys):
    lease(workdir, networks[3]).unlink()
    assert "left" not in shown(workdir, capsys)


def test_a_table_stands_among_the_runs(workdir, capsys, monkeypatch):
    monkeypatch.chdir(workdir)
    assert main(["status"]) == 0 and "3 of 12 networks finished" in capsys.readouterr().out
    (workdir.parent / "damaged").mkdir()
    (workdir.parent / "damaged" / "config.json").write_text("[]")
    text = shown(workdir.parent, capsys)
    assert f"{workdir}\n  3 of 12 networks finished" in text


def test_a_supernet_stands_for_all_its_cells(tmp_path, capsys):
    record_config(tmp_path, load_config(f"{DIGITS}:one_shot", []))
    Lease(Owner("host", 5, "2026-01-01T00:00:00+00:00"), "a").write(lease(tmp_path, "shared_seed0"))
    assert f"0 of 6 networks finished, 6 running\n  shared_seed0  running, {BY}" in shown(tmp_path, capsys)


def test_the_command_of_tables_says_the_same(workdir, networks, tmp_path, capsys):
    own = shown(workdir, capsys)
    assert main(["tabular", "status", str(workdir)]) == 0 and capsys.readouterr().out == own
    assert main(["tabular", "retry", str(workdir)]) == 0 and networks[5] in capsys.readouterr().out
    assert "failed" not in shown(workdir, capsys)
    assert main(["tabular", "retry", str(workdir)]) == 0 and "nothing has failed" in capsys.readouterr().out
    assert main(["tabular", "status", str(tmp_path / "none")]) == 2
    assert "holds no table of networks" in capsys.readouterr().err
