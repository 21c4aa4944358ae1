"""Studies: which comparisons, which seeds a process takes, and what is read off finished seeds."""

import numpy as np
import pytest

from rnas.artifacts.evaluation import FILE as EVALUATION
from rnas.artifacts.evaluation import Evaluation, ModelScores
from rnas.artifacts.files import read_json
from rnas.artifacts.outcomes import FOLDER, Outcomes
from rnas.artifacts.run_record import FILE as RUN
from rnas.artifacts.run_record import RunRecord, StageRecord
from rnas.artifacts.scores import Score
from rnas.artifacts.study_results import FILE, StudyResults
from rnas.config.load import load_config
from rnas.evaluation.paired_statistics import compare
from rnas.runs import study
from rnas.runs.study import collect, comparisons_of, folder, run_study
from tests.runs.test_method_choices import CONFIGS

IMAGES = 40


def config_of(*overrides):
    given = (
        "study.seeds=(0,1,2)",
        "baselines=('plain','kl_only+none')",
        "comparisons=('kl_only+none : plain',)",
        "study.auto_attack_count=7",
    )
    keys = dict(each.split("=", 1) for each in (*given, *overrides))  # a tuple given twice would be joined
    return load_config(str(CONFIGS / "digits.py"), [f"--config.{key}={value}" for key, value in keys.items()])


def finish(config, workdir, *, images=IMAGES, attacked=10):
    """What `evaluate` would leave of one seed: outcomes drawn anew for every model and measurement."""
    draw = np.random.default_rng(config.seed)
    measured = ["clean", *(f"pgd_100@{epsilon}" for epsilon in config.evaluation.epsilons), "curve@0.1"]
    scores = {}
    for name in ("student", "baseline_plain", "baseline_kl_only+none", "teacher"):
        right = {what: draw.random(images) < 0.7 for what in measured}
        right["auto_attack@0.1"] = draw.random(attacked) < 0.5  # of the first images
        Outcomes(np.arange(images), np.arange(images) % 10, right).write(workdir / FOLDER / f"{name}.npz")
        clean = Score.of(int(right["clean"].sum()), images)
        scores[name] = ModelScores("student", name.title(), 1000 + config.seed, 2000, clean)
    Evaluation(scores, {"name": "digits"}, "linf", config.seed, {"jax": "1"}).write(workdir / EVALUATION)
    RunRecord("2026-01-01", "", {}, "cpu", 1, {"report": StageRecord("complete")}).write(workdir / RUN)


@pytest.fixture
def executed(monkeypatch):
    """`run_study` with runs that end at once; the list has the seeds that were run."""
    seeds = []

    def execute(config, workdir, *, command, report):
        seeds.append(config.seed)
        assert config.evaluation.auto_attack == config.study.auto_attack
        assert config.evaluation.auto_attack_count == config.study.auto_attack_count == 7
        finish(config, workdir)

    monkeypatch.setattr(study, "execute", execute)
    return seeds


def test_shards_share_the_seeds_and_the_last_one_collects(executed, tmp_path, capsys):
    config, drawn = config_of(), []
    run_study(config, tmp_path, 1, 2, command="rnas study", report_study=drawn.append)
    assert executed == [1] and not (tmp_path / FILE).exists() and not drawn
    assert "seeds 0, 2 are not finished yet" in capsys.readouterr().err
    run_study(config, tmp_path, 0, 2, command="rnas study", report_study=drawn.append)
    assert executed == [1, 0, 2] and drawn == [tmp_path]
    found, shown = StudyResults.read(tmp_path / FILE), capsys.readouterr().err
    assert found.seeds == (0, 1, 2) and found.arm("teacher").params == (1000, 1001, 1002)
    assert "3 arms, 2 of 3 seeds" in shown and "auto_attack@0.1" in shown and "left for this worker" in shown


def test_what_lies_ahead_is_told_once(executed, tmp_path):
    """Of the first seed that is not finished, and how many are not."""
    told = []
    tell = lambda run, seeds: told.append((run.config.seed, run.workdir, seeds))  # noqa: E731
    finish(config_of("seed=0"), folder(tmp_path, 0))
    run_study(config_of(), tmp_path, command="rnas study", announce=tell)
    assert told == [(1, folder(tmp_path, 1), 2)] and executed == [1, 2]
    run_study(config_of(), tmp_path, command="rnas study", announce=tell)
    assert len(told) == 1


def test_comparisons_are_those_of_the_paired_statistics(executed, tmp_path):
    config = config_of()
    run_study(config, tmp_path, command="rnas study")
    found = StudyResults.read(tmp_path / FILE)
    read = lambda name, what: np.stack(  # noqa: E731
        [Outcomes.read(folder(tmp_path, seed) / FOLDER / f"{name}.npz").right[what] for seed in range(3)]
    )
    arms = ("baseline_kl_only+none", "baseline_plain")
    # All four measurements of every epsilon, of clean images, and AutoAttack's of the first images alone.
    assert [row.measurement for row in found.comparisons] == [
        "clean", "pgd_100@0.1", "pgd_100@0.05", "pgd_100@0.15", "auto_attack@0.1",
    ]  # fmt: skip
    assert found.headline == "auto_attack@0.1" and found.images == IMAGES
    for row in found.comparisons:
        outcomes = {name: read(name, row.measurement) for name in arms}
        (expected,) = compare(outcomes, [arms])
        assert (row.difference, row.interval, row.p_adjusted) == (
            expected.difference, expected.interval, expected.p_adjusted,
        )  # fmt: skip
        assert row.difference == pytest.approx(outcomes[arms[0]].mean() - outcomes[arms[1]].mean())
        assert row.images == (10 if row.measurement.startswith("auto") else IMAGES) and row.seeds == 3
    plain = found.arm("baseline_plain")
    assert plain.accuracies["pgd_100@0.15"] == tuple(read("baseline_plain", "pgd_100@0.15").mean(axis=1))
    assert plain.curve.keys() == {"0.1"}


def test_radii_of_the_curve_below_the_largest_are_compared_too(executed, tmp_path):
    """Where no network stands the largest radius, differences show only below it."""
    config = config_of("evaluation.epsilons=('0.15','0.05')", "evaluation.curve=('0','0.05','0.1','0.15','0.3')")
    run_study(config, tmp_path, command="rnas study")
    found = StudyResults.read(tmp_path / FILE)
    assert {row.measurement for row in found.comparisons} == {"clean", "pgd_100@0.15", "pgd_100@0.05", "curve@0.1"}


def test_seeds_may_be_added_later(executed, tmp_path):
    run_study(config_of("study.seeds=(0,1)"), tmp_path, command="rnas study")
    run_study(config_of("comparisons=()"), tmp_path, command="rnas study")
    found = StudyResults.read(tmp_path / FILE)
    assert found.seeds == (0, 1, 2) and len({row.reference for row in found.comparisons}) == 1
    assert read_json(tmp_path / "config.json")["study"]["seeds"] == [0, 1, 2]
    with pytest.raises(ValueError, match="another configuration"):
        run_study(config_of("train.epochs=3"), tmp_path, command="rnas study")


def test_without_comparisons_all_baselines_stand_beside_the_student():
    pairs = comparisons_of(config_of("comparisons=()"))
    assert pairs == [("baseline_plain", "student"), ("baseline_kl_only+none", "student")]


@pytest.mark.parametrize(
    ("overrides", "shard", "message"),
    [
        (("comparisons=('plain : trades',)",), (0, 1), "'plain : trades': expected 'ARM : REFERENCE', two of student"),
        (("comparisons=('plain',)",), (0, 1), "expected 'ARM : REFERENCE'"),
        (("comparisons=('plain : plain',)",), (0, 1), "expected 'ARM : REFERENCE'"),
        (("study.seeds=(1,1)",), (0, 1), "one seed or more, all different"),
        (("study.seeds=()",), (0, 1), "one seed or more"),
        ((), (3, 3), "shard 3/3: expected i/n"),
        ((), (0, 4), "the study has 3 seeds to share"),
        (("study.auto_attack=('baseline_x',)",), (0, 1), "study.auto_attack names baseline_x"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_runs(executed, tmp_path, overrides, shard, message):
    with pytest.raises(ValueError, match=message):
        run_study(config_of(*overrides), tmp_path, *shard, command="rnas study")
    assert not executed and not any(tmp_path.iterdir())


def test_seeds_on_other_images_are_not_compared(executed, tmp_path):
    config = config_of()
    run_study(config, tmp_path, command="rnas study")
    finish(config, folder(tmp_path, 2), images=IMAGES - 1)
    with pytest.raises(ValueError, match="student of seed 0 and student of seed 2"):
        collect(config, tmp_path)
