"""Baselines by name: what each part changes, whom a layer learns from, and which widths stand beside the found ones."""

from collections import Counter
from pathlib import Path
import shlex

import numpy as np
import pytest

from rnas.artifacts.architecture import TutorAssignment, WidthArchitecture
from rnas.config import load_config
from rnas.objectives import METHODS
from rnas.runs.baselines import parse
from rnas.runs.recipes import recipe
from rnas.runs.stages import open_run
from rnas.runs.study import comparisons_of
from rnas.runs.tutor_assignments import fixed_assignment
from rnas.spaces import width_space
from tests.runs.test_method_choices import opened

DIGITS = Path(__file__).resolve().parents[2] / "configs" / "rnas_cl" / "digits.py"
TEACHER = {"architecture": "toy", "hash": "beef"}
TAPS = ("t0", "t1", "t2", "t3", "t4")
STUDENT = width_space.get_space("tiny").taps


def written(tmp_path, *overrides, **options):
    """A run with the network that a search would have left there."""
    run = opened(tmp_path, *overrides, **options)
    tutors = tuple(np.resize(TAPS[1:4], len(STUDENT)))
    searched = TutorAssignment(tutors=tutors, teacher_taps=TAPS, teacher=TEACHER)
    found = WidthArchitecture(
        space=run.search.space,
        widths=(16, 12, 28, 24),
        image_shape=(8, 8, 1),
        num_classes=10,
        tutor_assignment=searched,
    )
    run.save_architecture(found)
    return run, found


@pytest.mark.parametrize(
    ("name", "method", "gamma", "kl_weight"),
    [
        ("kl_only", "trades", 0, 1),
        ("attention_only+none", "none", 1, 0),
        ("kl_and_attention+none", "none", 1, 1),
        ("kl_only+rslad", "rslad", 0, 1),
        ("rslad", "rslad", 0, 0),
        ("no_distillation", "trades", 0, 0),
        ("plain", "none", 0, 0),
        ("uniform", "trades", 1, 1),
        ("random_1+plain", "none", 0, 0),
        ("attention_only+pgd_at_awp", "pgd_at", 1, 0),
    ],
)
def test_parts_change_what_they_name(tmp_path, name, method, gamma, kl_weight):
    run = opened(tmp_path, f"baselines=('{name}',)")
    student, how = recipe(run.config, "train"), recipe(run.config, f"baseline_{name}")
    assert type(how.objective.adversarial) is METHODS[method]
    assert (how.objective.gamma, how.objective.kl_weight) == (gamma, kl_weight)
    assert how.perturbation == ((0.01, 0) if name.endswith("awp") else student.perturbation)
    same = ("epochs", "batch_size", "optimizer", "augmentation", "randomness")
    assert all(getattr(how, field) == getattr(student, field) for field in same)


def test_the_order_of_parts_is_of_no_account():
    assert parse("kl_only+trades+random_3") == parse("random_3+trades+kl_only")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("kl_only+attention_only", "'kl_only.attention_only' has two parts for its terms"),
        ("plain+trades", "two parts for its method"),
        ("uniform+random_1", "two parts for its architecture"),
        ("kl_only+tutors_hub", "has tutors, but no attention to learn from them: join attention_only"),
        ("tutors_hub+none", "has tutors, but no attention"),
        ("attention_only+middle", "unknown baseline 'middle'; known, .*tutors_hub.*uniform, smallest"),
        ("", "unknown baseline ''"),
    ],
)
def test_names_that_mean_nothing_are_refused(tmp_path, name, message):
    with pytest.raises(ValueError, match=message):
        opened(tmp_path, f"baselines=('{name}',)")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("baselines=('kl_only',)", "train.kl_weight=0.0"), "'kl_only' needs train.kl_weight, which is 0"),
        (("baselines=('tutors_hub',)", "train.gamma=0.0"), "'tutors_hub' needs train.gamma, which is 0"),
        (("baselines=('tutors_hub',)", "search.gamma=0.0"), "needs a search with tutors"),
        (("baselines=('tutors_robust',)", "data.held_out=0"), "needs held-out images"),
    ],
)
def test_baselines_without_their_ground_are_refused(tmp_path, overrides, message):
    with pytest.raises(ValueError, match=message):
        opened(tmp_path, *overrides)


@pytest.mark.parametrize("off", [("gamma",), ("kl_weight",), ("gamma", "kl_weight")])
@pytest.mark.parametrize("variant", ["", ":arms"])
def test_the_advice_for_baselines_without_their_ground_holds(tmp_path, off, variant):
    """What a message names, given as it stands in a shell, makes the run, and then its study, one that can be made."""
    given = [f"--config.{key}=0" for key in off]

    def advised(check):
        with pytest.raises(ValueError) as refused:
            check(load_config(f"{DIGITS}{variant}", given))
        given.extend(word for word in shlex.split(str(refused.value)) if word.startswith("--config."))

    advised(lambda config: open_run(config, tmp_path))
    advised(comparisons_of)
    config = load_config(f"{DIGITS}{variant}", given)
    open_run(config, tmp_path)
    assert {"plain", "no_distillation"} <= {*config.baselines}
    assert comparisons_of(config) and all(len(pair) == 2 for pair in comparisons_of(config))


def test_cells_have_no_search_over_tutors_alone(tmp_path):
    with pytest.raises(ValueError, match="no search over the tutors alone"):
        opened(tmp_path, "baselines=('tutors_anew',)", "gamma=1.0", file="../dsara/digits")


def test_tutors_by_rule(tmp_path):
    names = ("tutors_same_depth", "tutors_last_layer", "tutors_hub", "tutors_random_0", "tutors_random_1")
    run, found = written(tmp_path, f"baselines={names}")
    tutors = {name: run.baseline_architecture(name).tutor_assignment.tutors for name in names}
    assert all(len(chosen) == len(STUDENT) and set(chosen) <= set(TAPS) for chosen in tutors.values())
    depth = [TAPS.index(tap) for tap in tutors["tutors_same_depth"]]
    assert depth == sorted(depth) and (depth[0], depth[-1]) == (0, 4) and depth == [4 - j for j in depth[::-1]]
    assert set(tutors["tutors_last_layer"]) == {"t4"}
    assert set(tutors["tutors_hub"]) == {Counter(found.tutor_assignment.tutors).most_common(1)[0][0]} == {"t1"}
    assert len({*tutors.values()}) == len(names)
    again, _ = written(tmp_path / "again", f"baselines={names}")
    other, _ = written(tmp_path / "other", f"baselines={names}", "seed=1")
    drawn = [each.baseline_architecture("tutors_random_0").tutor_assignment.tutors for each in (again, other)]
    assert drawn[0] == tutors["tutors_random_0"] != drawn[1]
    # Whose layers they are stays; what the search believed of them does not.
    kept = run.baseline_architecture("tutors_hub").tutor_assignment
    assert kept.teacher == TEACHER and not kept.probabilities and not kept.logits


def test_random_tutors_are_uniform():
    searched = TutorAssignment(tutors=tuple(np.resize(TAPS, 1000)), teacher_taps=TAPS, teacher=TEACHER)
    counts = Counter(tap for k in range(10) for tap in fixed_assignment(f"tutors_random_{k}", searched, 0).tutors)
    # Five binomials of 10,000 at 1/5: standard deviation 40.
    assert all(abs(counts[tap] - 2000) < 200 for tap in TAPS)


def test_tutors_without_a_search_of_them_are_refused():
    with pytest.raises(ValueError, match="the search ran without tutors"):
        fixed_assignment("tutors_hub", TutorAssignment(), 0)


def test_widths_beside_the_found_ones(tmp_path):
    names = ("random_0", "random_1", "uniform", "smallest", "largest")
    run, found = written(tmp_path, f"baselines={names}")
    widths = {name: run.baseline_architecture(name).widths for name in names}
    space, macs = run.search.space, run.search.cost_of("macs")
    assert (widths["smallest"], widths["largest"]) == (space.smallest, space.largest)
    for name in ("random_0", "random_1"):
        assert widths[name] != found.widths and abs(macs(widths[name]) / macs(found.widths) - 1) <= 0.02
    assert run.baseline_architecture("uniform").tutor_assignment.tutors == found.tutor_assignment.tutors


@pytest.mark.parametrize("name", ["tiny", "s3", "m"])
def test_uniform_widths_are_the_nearest_of_their_kind(name):
    space = width_space.get_space(name)

    def cost_of(widths):
        return width_space.cost(space, widths, image_shape=(32, 32, 3))

    low, high = cost_of(space.smallest), cost_of(space.largest)
    assert width_space.uniform_widths(space, low, cost_of) == space.smallest
    assert width_space.uniform_widths(space, high, cost_of) == space.largest
    # Every network whose blocks stand at one place q, by a fine grid in q.
    grid = set()
    for place in range(0, 997):
        index = [(2 * place * (len(block.options) - 1) + 996) // (2 * 996) for block in space.blocks]
        grid.add(tuple(block.options[i] for block, i in zip(space.blocks, index, strict=True)))
    for target in np.linspace(low, high, 7):
        found = width_space.uniform_widths(space, target, cost_of)
        assert found in grid and abs(cost_of(found) - target) == min(abs(cost_of(each) - target) for each in grid)


def test_random_widths_that_do_not_exist_are_refused():
    one = width_space.WidthSpace("one", (width_space.Stage(16, 1, 1, 1),))
    with pytest.raises(ValueError, match="no other network found within 2% of the cost"):
        width_space.random_widths(one, (16,), lambda widths: sum(widths), np.random.default_rng(0))


def test_labels_tell_baselines_apart(tmp_path):
    """And none takes a network for another's: kinds say what a model is."""
    expected = {
        "plain": ("plain", "Baseline, plain training"),
        "no_distillation": ("no_distillation", "Baseline, no distillation"),
        "trades": ("method", "Baseline, TRADES"),
        "trades_awp": ("method", "Baseline, TRADES with AWP"),
        "kl_only+none": ("ablation", "Baseline, KL only, no attack"),
        "attention_only+none+tutors_random_1": ("ablation", "Baseline, attention only, random tutors 1, no attack"),
        "uniform": ("random", "Uniform network"),
        "random_1+plain": ("random", "Random network 1, no attack"),
    }
    run, found = written(tmp_path, f"baselines={tuple(expected)}")
    from rnas.runs.trained_models import _kind_and_label

    assert {name: _kind_and_label(run, f"baseline_{name}") for name in expected} == expected
