"""A grid of configurations over seeds: its points, who runs them, and how they are compared."""

from pathlib import Path

import numpy as np
import pytest

from rnas.artifacts.evaluation import FILE as EVALUATION
from rnas.artifacts.evaluation import Evaluation, ModelScores
from rnas.artifacts.outcomes import FOLDER, Outcomes
from rnas.artifacts.run_record import FILE as RUN
from rnas.artifacts.run_record import RunRecord, StageRecord
from rnas.artifacts.scores import Score
from rnas.artifacts.study_results import FILE, StudyResults
from rnas.cli import platform
from rnas.main import main
from rnas.pages import write_study_page
from rnas.runs import sweep
from rnas.runs.sweep import points, read_grid, read_seeds

DIGITS = Path(__file__).resolve().parents[2] / "configs" / "rnas_cl" / "digits.py"
IMAGES = 40


def test_a_grid_is_read_as_it_was_written():
    assert read_grid(["train.objective=trades,rslad", "search.epochs=3"]) == {
        "train.objective": ("trades", "rslad"), "search.epochs": ("3",),
    }  # fmt: skip
    assert read_grid(["data.class_ids=(0,1),(2,3)"]) == {"data.class_ids": ("(0,1)", "(2,3)")}
    assert read_grid(["a='x,y',8/255"]) == {"a": ("'x,y'", "8/255")}


@pytest.mark.parametrize("settings", [["a"], ["a="], ["=1"], ["a=1", "a=2"], ["a=1,1"]])
def test_a_grid_that_cannot_be_is_refused(settings):
    with pytest.raises(ValueError, match="expected KEY=VALUE,VALUE,…"):
        read_grid(settings)


def test_seeds_are_ranges_or_numbers():
    assert read_seeds("0-4") == (0, 1, 2, 3, 4) and read_seeds("7") == (7,) and read_seeds("0,2-3,9") == (0, 2, 3, 9)


@pytest.mark.parametrize("text", ["", "a", "1,", "3-1", "1,1", "0-2,2", "-1"])
def test_seeds_that_cannot_be_are_refused(text):
    with pytest.raises(ValueError, match=f"--seeds={text}: expected"):
        read_seeds(text)


def test_points_have_short_names_where_these_are_clear():
    found = points({"train.objective": ("trades", "rslad"), "search.epochs": ("3",), "train.epochs": ("1", "2")})
    assert [point.name for point in found][:2] == [
        "objective=trades+search.epochs=3+train.epochs=1", "objective=trades+search.epochs=3+train.epochs=2",
    ]  # fmt: skip
    assert len(found) == 4
    assert found[0].overrides == (
        "--config.train.objective=trades", "--config.search.epochs=3", "--config.train.epochs=1",
    )  # fmt: skip
    assert [point.name for point in points({"adversarial.epsilon": ("8/255",)})] == ["epsilon=8_255"]
    assert [point.name for point in points({})] == ["as_given"]
    with pytest.raises(ValueError, match="too alike"):
        points({"a": ("8/255", "8_255")})


@pytest.fixture
def ran(monkeypatch):
    """`rnas sweep` with runs that end at once: TRADES is right 20 points more often."""
    runs = []

    def execute(config, workdir, *, command, report):
        runs.append((config.train.objective, config.seed))
        right = np.random.default_rng(config.seed).random(IMAGES) < 0.5
        right[:8] = config.train.objective == "trades"
        names = ["clean", *(f"pgd_100@{epsilon}" for epsilon in config.evaluation.epsilons)]
        Outcomes(np.arange(IMAGES), np.arange(IMAGES) % 10, dict.fromkeys(names, right)).write(
            workdir / FOLDER / "student.npz"
        )
        scores = {"student": ModelScores("student", "Student", 1000, 2000, Score.of(int(right.sum()), IMAGES))}
        Evaluation(scores, {"name": "digits"}, "linf", config.seed, {"jax": "1"}).write(workdir / EVALUATION)
        RunRecord("2026-01-01", "", {}, "cpu", 1, {"report": StageRecord("complete")}).write(workdir / RUN)

    monkeypatch.setattr(sweep, "execute", execute)
    monkeypatch.setattr(platform, "prepare", lambda: None)
    return runs


def test_points_are_run_once_and_compared_with_the_first(ran, tmp_path, capsys):
    command = ["sweep", f"--config={DIGITS}", f"--workdir={tmp_path}", "--seeds=0-1", "--set",
               "train.objective=none,trades"]  # fmt: skip
    assert main(command) == 0
    assert sorted(ran) == [("none", 0), ("none", 1), ("trades", 0), ("trades", 1)]
    found = StudyResults.read(tmp_path / FILE)
    assert [arm.label for arm in found.arms] == ["objective=none", "objective=trades"] and found.seeds == (0, 1)
    for row in found.comparisons:
        assert (row.arm, row.reference) == ("objective=trades", "objective=none")
        assert row.difference == pytest.approx(8 / IMAGES) and row.same_sign
    assert (tmp_path / "study.html").exists() and "objective=trades : objective=none" in capsys.readouterr().err
    assert write_study_page(tmp_path) == tmp_path / "study.html"
    assert main(command) == 0 and len(ran) == 4


def test_a_sweep_without_a_grid_is_one_arm(ran, tmp_path):
    assert main(["sweep", f"--config={DIGITS}", f"--workdir={tmp_path}", "--seeds=3"]) == 0
    assert [arm.name for arm in StudyResults.read(tmp_path / FILE).arms] == ["as_given"]
    assert (tmp_path / "as_given" / "seed_3" / EVALUATION).exists()


@pytest.mark.parametrize(
    "words, message",
    [
        (("--set", "train.objektive=trades"), "train.objektive"),
        (("--set", "train.objective=trades", "--config.train.objective=none"), "the sweep sets this key"),
        (("--config.seed=3",), "--config.seed: the sweep sets this key"),
        (("--set", "adversarial.epsilon=8"), "adversarial.epsilon"),
    ],
)
def test_a_mistake_is_found_before_anything_runs(ran, tmp_path, capsys, words, message):
    assert main(["sweep", f"--config={DIGITS}", f"--workdir={tmp_path / 'new'}", *words]) == 2
    assert message in capsys.readouterr().err and not ran and not (tmp_path / "new").exists()
