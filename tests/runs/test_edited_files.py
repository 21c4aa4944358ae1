"""JSON files of a work directory that somebody has edited: every command names the file, in one line."""

import json
from pathlib import Path

import pytest

from rnas.artifacts.architecture import WidthArchitecture
from rnas.artifacts.run_record import RunRecord, StageRecord
from rnas.config import load_config, record_config
from rnas.main import main
from rnas.runs import stages
from rnas.spaces.width_space import get_space

DIGITS = Path(__file__).resolve().parents[2] / "configs" / "rnas_cl" / "digits.py"
OTHER = {"list": "[]", "null": "null", "text": '"x"', "number": "3", "cut": '{"system": "rn', "deep": "[" * 200_000}
RUN = f"run --config={DIGITS}"


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """A run that is complete up to `derive`."""
    monkeypatch.setattr("rnas.cli.platform.prepare", lambda *_: None)
    monkeypatch.setattr("rnas.runs.training_cost.speeds", lambda run: {"student": 1e9, "teacher": 1e9})
    monkeypatch.setitem(stages.STAGES, "train", lambda run: run.architecture)
    record_config(tmp_path, load_config(str(DIGITS), []))
    done = {stage: StageRecord("complete", 1.0, 1) for stage in ("teacher", "search", "derive")}
    RunRecord("2026-01-01T00:00:00+00:00", "rnas run", {}, "cpu", 1, done).write(tmp_path / "run.json")
    found = WidthArchitecture(space=get_space("tiny"), image_shape=(8, 8, 1), num_classes=10, widths=(12, 16, 20, 32))
    found.save(tmp_path / "architecture.json", params=1, macs=1)
    return tmp_path


def refusal(workdir: Path, capsys, command: str) -> str:
    """What a command says when it refuses to work."""
    assert main([*command.split(), f"--workdir={workdir}"]) == 2
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    return shown.err


@pytest.mark.parametrize("content", OTHER.values(), ids=OTHER)
@pytest.mark.parametrize(
    ("name", "command"),
    [
        *(("config.json", command) for command in ("report", "run", RUN, "attack --epsilon=0.1", "describe")),
        *(("run.json", command) for command in ("status", "report", "run")),
        *(("architecture.json", command) for command in ("report", "run", "describe")),
        ("evaluation.json", "report"),
    ],
)
def test_other_content_is_named(workdir, capsys, name, command, content):
    (workdir / name).write_text(content)
    assert str(workdir / name) in refusal(workdir, capsys, command)


@pytest.mark.parametrize(
    ("name", "key", "value", "words"),
    [
        ("config.json", "seed", "x", 'config.json: seed is "x", expected int; it may have been edited.'),
        ("config.json", "baselines", 3, "config.json: baselines is 3, expected a list"),
        ("config.json", "gamma", True, "config.json: gamma is true, expected float"),
        ("config.json", "system", [], "unknown system '[]'"),
        ("architecture.json", "macs", None, "architecture.json macs: expected a count, got None"),
    ],
)
def test_a_value_of_another_kind_is_named(workdir, capsys, name, key, value, words):
    content = json.loads((workdir / name).read_text())
    (workdir / name).write_text(json.dumps(content | {key: value}))
    assert words in refusal(workdir, capsys, "run" if name == "config.json" else "report")


def test_a_card_of_a_teacher_of_another_kind_is_named(tmp_path, capsys):
    card = {"architecture": 5, "num_classes": 10, "image_shape": [8, 8, 1], "mean": [0.3], "std": [0.4], "hash": "x"}
    odd = {"architecture": 5, "image_shape": 3, "mean": ["a"], "origin": [], "num_classes": -1, "std": [0.0]}
    for key, value in odd.items():
        good = card | {"architecture": "wide_resnet_10_1"}
        (tmp_path / "teacher.json").write_text(json.dumps(good | {key: value}))
        assert main(["attack", f"--teacher={tmp_path}", "--epsilon=0.1"]) == 2
        assert f"teacher.json {key}" in (said := capsys.readouterr().err) and "no card of a teacher" in said
