"""Adversarial methods as choices of a configuration: coefficients, teachers, baselines, and what is refused."""

import dataclasses
import functools
from pathlib import Path

import jax
import numpy as np
import pytest

from rnas.artifacts.architecture import WidthArchitecture
from rnas.artifacts.evaluation import ModelScores
from rnas.artifacts.scores import AttackScore, Score
from rnas.config.defaults import dsara, rnas_cl
from rnas.config.load import load_config
from rnas.models import build_model
from rnas.objectives import METHODS
from rnas.runs.baselines import PERTURBED
from rnas.runs.recipes import (
    evaluated_names,
    joint_objective,
    model_names,
    network_fields,
    recipe,
    uses_natural_teacher,
    uses_teacher,
)
from rnas.runs.stage_trainers import checkpoints, first_state, network_trainer, trained
from rnas.runs.stages import open_run
from rnas.runs.stages.evaluate_models import named_models
from rnas.training.collapse import CollapseRule

ALONE = ("search.gamma=0.0", "search.kl_weight=0.0")
CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "rnas_cl"
TRAINING = [
    file
    for file in sorted(CONFIGS.parent.glob("*/*.py"))
    if "rnas.config.defaults import robbench" not in file.read_text()
]


def opened(tmp_path, *overrides, argument="", file="digits"):
    config = load_config(f"{CONFIGS / file}.py:{argument}", [f"--config.{each}" for each in overrides])
    return open_run(config, tmp_path)


@pytest.mark.parametrize("defaults", [rnas_cl, dsara])
def test_every_method_has_its_coefficients_in_the_configuration(defaults):
    adversarial = defaults.get_config().adversarial
    for name, method in METHODS.items():
        assert dict(adversarial.get(name, {})) == dataclasses.asdict(method()), name


@pytest.mark.parametrize("name", METHODS)
def test_digits_train_the_student_by_one_method(tmp_path, name):
    experiment, usual = opened(tmp_path, argument=name), opened(tmp_path)
    found = recipe(experiment.config, "train").objective
    assert type(found.adversarial) is METHODS[name] and found.gamma == found.kl_weight == 0
    # The search is that of every other student.
    assert joint_objective(experiment.config, "search") == joint_objective(usual.config, "search")


@pytest.mark.parametrize("name", ["iad_1", "iad_2", "awp"])
def test_a_shortened_training_reaches_the_first_epochs(tmp_path, name):
    how = recipe(opened(tmp_path, argument=f"{name},short", file="cifar10").config, "train")
    assert how.epochs == 2 and how.objective.adversarial.first_epoch == how.perturbation[1] == 0


def test_coefficients_reach_the_method(tmp_path):
    overrides = ("adversarial.trades.beta=2.5", "adversarial.ard.temperature=4.0", "adversarial.iad_1.first_epoch=7")
    experiment = opened(tmp_path, *overrides, argument="methods")
    assert recipe(experiment.config, "train").objective.adversarial.beta == 2.5
    assert recipe(experiment.config, "baseline_ard").objective.adversarial.temperature == 4.0
    assert recipe(experiment.config, "baseline_iad_1").objective.adversarial.first_epoch == 7
    assert (
        recipe(experiment.config, "finetune").objective.adversarial
        == recipe(experiment.config, "train").objective.adversarial
    )


@pytest.mark.parametrize("file", TRAINING, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_ard_averages_over_the_classes_of_every_set(file):
    config = load_config(str(file), [])
    assert config.adversarial.ard.kl_scale == pytest.approx(1 / config.data.num_classes)


def test_the_attack_of_a_teacher_is_that_of_every_stage_until_it_is_changed(tmp_path):
    overrides = ["adversarial.epsilon=0.2", "adversarial.step_size=0.05", "teacher.steps=3"]
    found = recipe(opened(tmp_path, *overrides).config, "teacher").objective
    assert (found.epsilon, found.step_size, found.steps, found.start) == (0.2, 0.05, 3, "uniform")
    config = opened(tmp_path, *overrides, "teacher.epsilon=0.3", "teacher.step_size=0.375").config
    changed, student = (recipe(config, stage).objective for stage in ("teacher", "train"))
    assert (changed.epsilon, changed.step_size) == (0.3, 0.375)
    assert (student.epsilon, student.step_size) == (0.2, 0.05)


def test_one_step_of_a_teacher_is_longer_than_the_radius():
    found = recipe(load_config(f"{CONFIGS.parent / 'teachers' / 'fashion_mnist'}.py:one_step", []), "teacher").objective
    assert (found.steps, found.start) == (1, "uniform") and found.step_size == pytest.approx(1.25 * found.epsilon)


def test_stages_under_attack_are_watched_for_a_collapse(tmp_path):
    experiment = opened(tmp_path, "validation.collapse=0.25", f"data.dir={tmp_path}")
    for stage, rule in (("teacher", CollapseRule(0.25, 0.1)), ("natural_teacher", None)):
        model = build_model("wide_resnet_10_1", **network_fields(experiment.config))
        assert network_trainer(experiment, recipe(experiment.config, stage), model).collapse == rule


def test_baselines_have_one_network_and_one_start(tmp_path):
    experiment = opened(tmp_path, argument="methods")
    largest = WidthArchitecture(
        space=experiment.search.space, widths=experiment.search.space.largest, image_shape=(8, 8, 1), num_classes=10
    )
    experiment.save_architecture(largest)
    assert set(experiment.config.baselines) == {"plain", *METHODS, *PERTURBED} - {"none"}
    for name in experiment.config.baselines:
        assert experiment.baseline_architecture(name).widths == largest.widths
        objective = recipe(experiment.config, f"baseline_{name}").objective
        assert objective.gamma == objective.kl_weight == 0 and objective.attack_bn == "eval"


@pytest.mark.parametrize(
    ("argument", "overrides", "robust", "natural"),
    [
        ("trades", (*ALONE, "baselines=('plain',)"), False, False),
        ("ard", ALONE, True, False),
        ("akd2", ALONE, True, True),
        ("pgd_at", (*ALONE, "baselines=('mtard',)"), True, True),
        ("pgd_at", (*ALONE, "finetune.epochs=1", "finetune.objective=iad_1"), True, False),
        ("", (), True, False),
    ],
)
def test_which_teachers_a_run_needs(tmp_path, argument, overrides, robust, natural):
    experiment = opened(tmp_path, *overrides, argument=argument)
    assert (uses_teacher(experiment.config), uses_natural_teacher(experiment.config)) == (robust, natural)
    assert recipe(experiment.config, "natural_teacher").objective.attacks is False


def test_without_distillation_a_distilling_method_becomes_trades(tmp_path):
    experiment = opened(tmp_path, argument="mtard")
    assert type(recipe(experiment.config, "baseline_no_distillation").objective.adversarial) is METHODS["trades"]
    assert (
        type(recipe(opened(tmp_path, argument="mart").config, "baseline_no_distillation").objective.adversarial)
        is METHODS["mart"]
    )


def test_what_training_kept_is_found_again(tmp_path):
    """Memory and average belong to the stage's state; the average is what is judged."""
    experiment = opened(tmp_path, argument="mtard,average")
    network = experiment.search.at_widths(experiment.search.space.smallest)
    shapes = jax.eval_shape(functools.partial(network.init, jax.random.key(0)), np.zeros((1, 8, 8, 1), np.float32))
    variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), dict(shapes))
    how = recipe(experiment.config, "train")
    state = first_state(how, variables)
    assert set(state.loss_state) == {"natural_weight", "first_adversarial", "first_natural"}
    state = state.replace(averaged=jax.tree.map(lambda leaf: leaf + 1, state.averaged))
    with checkpoints(experiment, "train") as stored:
        stored.save(1, jax.device_get(state), {"score": 0.5})
    found = trained(experiment, how, network).state
    for part, value in {"params": 1, "batch_stats": 0}.items():
        assert all(np.all(leaf == value) for leaf in jax.tree.leaves(found.outcome[part]))
    # Another stage keeps neither.
    plain = first_state(recipe(opened(tmp_path).config, "baseline_plain"), variables)
    assert plain.loss_state is None and plain.averaged is None


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("adversarial.objective=mtard",), "search.objective='mtard' trains fixed networks only; name it in train"),
        (("search.objective=iad_1",), "search.objective='iad_1' trains fixed networks only"),
        (("teacher.objective=rslad",), "teacher.objective='rslad' needs a teacher itself"),
        (("finetune.objective=fgsm",), "unknown adversarial 'fgsm' of the objective; expected one of none, pgd_at, "),
        (
            ("train.perturbation.gamma=0.1", "train.perturbation.first_epoch=20"),
            "stage train perturbs its weights from epoch 20 on, which it never reaches in 20",
        ),
        (
            ("baselines=('trades_awp',)", "train.epochs=10"),
            "stage baseline_trades_awp perturbs its weights from epoch 10 on",
        ),
        (("baselines=('iad_2',)", "train.epochs=4"), "stage baseline_iad_2 trains by iad_2 from epoch 4 on, which"),
        (
            ("train.objective=iad_1", "adversarial.iad_1.first_epoch=20"),
            "stage train trains by iad_1 from epoch 20 on, which it never reaches in 20: set adversarial.iad_1",
        ),
        (
            ("baselines=('fgsm',)",),
            "unknown baseline .fgsm.; known, .*: no_distillation, kl_only, .*plain, none, pgd_at.*tutors_hub.*smallest",
        ),
    ],
)
def test_what_cannot_work_is_refused_before_anything_runs(tmp_path, overrides, message):
    with pytest.raises(ValueError, match=message):
        opened(tmp_path, *overrides)


@pytest.mark.parametrize(("file", "argument"), [("digits", "methods"), ("fashion_mnist", "short,methods")])
def test_every_network_of_a_comparison_meets_auto_attack(tmp_path, file, argument):
    """One that never sees the strongest attack could lead the table by masked gradients."""
    experiment = opened(tmp_path, argument=argument, file=file)
    names = model_names(experiment.config)
    models = models_of(dict.fromkeys(names, 0))
    assert set(named_models(experiment.config.evaluation.auto_attack, models)) >= set(names) - {"teacher"}
    assert len(model_names(experiment.config)) > 12 and {
        "baseline_plain",
        "baseline_pgd_at_awp",
        "baseline_mtard",
    } < set(model_names(experiment.config))


def test_models_may_be_left_out_of_the_evaluation(tmp_path):
    names = {
        "('student',)": ("student",),
        "('student','teacher')": ("student", "teacher"),
        "('student','baseline_plain')": ("student", "baseline_plain"),
        "('student','baselines','teacher')": ("student", "baseline_no_distillation", "baseline_plain", "teacher"),
    }
    for models, expected in names.items():
        run = opened(tmp_path, f"evaluation.models={models}", "baselines=('no_distillation','plain')", "comparisons=()")
        assert evaluated_names(run.config) == expected
    with pytest.raises(ValueError, match="evaluation.models names baseline_x; this run will have student, "):
        opened(tmp_path, "evaluation.models=('student','baseline_x')")
    with pytest.raises(ValueError, match="the student is always among them"):
        opened(tmp_path, "evaluation.models=('teacher',)")


def models_of(standing):
    """name → how many of ten images withstand PGD-100, as scores."""
    return {
        name: ModelScores("method", name, 1, 1, Score.of(10, 10), {"pgd_100": AttackScore.of(count, 10)})
        for name, count in standing.items()
    }


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (("student", "strongest_baseline", "teacher"), ["student", "baseline_b", "teacher"]),
        (("teacher", "baselines"), ["baseline_a", "baseline_b", "teacher"]),
        (("baseline_a", "strongest_baseline"), ["baseline_a", "baseline_b"]),
        ((), []),
    ],
)
def test_which_models_meet_auto_attack(wanted, expected):
    assert named_models(wanted, models_of({"student": 9, "baseline_a": 3, "baseline_b": 4, "teacher": 8})) == expected


def test_groups_without_a_member_mean_no_model():
    assert named_models(("baselines", "strongest_baseline", "teacher"), models_of({"student": 9})) == []


def test_a_naturally_trained_teacher_has_no_perturbed_weights(tmp_path):
    experiment = opened(tmp_path, "teacher.perturbation.gamma=0.01", argument="mtard")
    assert recipe(experiment.config, "teacher").perturbation == (0.01, 0)
    assert recipe(experiment.config, "natural_teacher").perturbation[0] == 0


@pytest.mark.parametrize("name", ["iad_1", "iad_2"])
def test_fine_tuning_needs_no_warm_up(tmp_path, name):
    fine_tuned = ("finetune.epochs=5", f"finetune.objective={name}")
    perturbed = ("train.perturbation.gamma=0.005", "train.perturbation.first_epoch=10")
    experiment = opened(tmp_path, *fine_tuned, *perturbed, f"train.objective={name}")
    trained, tuned = (recipe(experiment.config, stage).objective.adversarial for stage in ("train", "finetune"))
    assert tuned == dataclasses.replace(trained, first_epoch=0) and trained.first_epoch > 0
    assert recipe(experiment.config, "train").perturbation == (0.005, 10)
    assert recipe(experiment.config, "finetune").perturbation == (0.005, 0)


def test_unknown_variants_are_refused(tmp_path):
    with pytest.raises(ValueError, match="unknown variant 'fgsm'; expected any of none, pgd_at, .*, methods"):
        opened(tmp_path, argument="fgsm")
    with pytest.raises(ValueError, match="unknown variant 'long'; expected any of study, short, average, cutmix, "):
        opened(tmp_path, argument="short,long", file="fashion_mnist")


@pytest.mark.parametrize(
    ("argument", "perturbation"), [("pgd_at,awp", (0.01, 0)), ("trades,awp", (0.005, 10)), ("trades", (0.0, 0))]
)
def test_published_perturbations(tmp_path, argument, perturbation):
    found = opened(tmp_path, argument=argument).config.train.perturbation
    assert (found.gamma, found.first_epoch) == perturbation


@pytest.mark.parametrize("name", ["score", "ard", "akd2", "iad_1", "iad_2", "mtard", "awp", "average"])
def test_cifar10_has_them_by_name(tmp_path, name):
    config = opened(tmp_path, argument=f"s3,{name}", file="cifar10").config
    if name in METHODS:
        assert config.train.objective == name
    assert (config.train.weight_average, config.train.perturbation.gamma) == {
        "awp": (0.0, 0.005), "average": (0.995, 0.0)
    }.get(name, (0.0, 0.0))  # fmt: skip
