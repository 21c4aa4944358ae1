"""Arms of a study: which train side by side, and that they leave what each leaves alone."""

import dataclasses
import shutil
from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnas.artifacts.metrics import read_rows
from rnas.config.defaults import rnas_cl
from rnas.config.defaults import sections as common
from rnas.models import build_model
from rnas.objectives import FixedTutors, SampledTutors
from rnas.runs.arm_trainer import Arm, arm_groups, arm_trainer, train_arms
from rnas.runs.recipes import initial_variables, recipe
from rnas.runs.run import predict
from rnas.runs.stage_trainers import checkpoints, first_state, network_trainer, trained
from rnas.runs.stages import open_run
from rnas.teachers import save_teacher

STEPS = 10  # twice 1,300 training images in batches of 260


def configuration(teacher, views=0):
    config = rnas_cl.get_config()
    common.on_digits(config)
    config.data.mean, config.data.std = (0.305,), (0.376,)
    config.data.dir = str(teacher.parent / "data")
    config.teacher.path, config.teacher.cache.views = str(teacher), views
    config.space, config.bn_momentum, config.attention.size = "tiny", 0.5, 4
    config.train.epochs, config.train.batch_size, config.train.objective = 2, 260, "none"
    # Adam would turn rounding errors of a vanishing gradient into whole steps.
    config.train.optimizer.name, config.train.optimizer.learning_rate = "sgd", 0.02
    config.validation.every_epochs, config.validation.count, config.validation.steps = 1, 40, 1
    config.evaluation.batch_size = 40
    config.log_every_steps = config.checkpoint_every_steps = 4
    return config


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """The folder of a teacher with random weights."""
    folder = tmp_path_factory.mktemp("arms") / "teacher"
    model = build_model("wide_resnet_10_1", num_classes=10, mean=(0.305,), std=(0.376,))
    variables = dict(jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 1))))
    save_teacher(folder, model, variables, architecture="wide_resnet_10_1", image_shape=(8, 8, 1), origin={})
    return folder


def make_arm(run, model, stage, gamma, kl_weight, seed=0, variables=None):
    """An arm that fixes random tutors."""
    how = recipe(run.config, "train")
    objective = dataclasses.replace(how.objective, gamma=gamma, kl_weight=kl_weight)
    how = dataclasses.replace(how, stage=stage, objective=objective)
    taps = run.teacher.tap_names
    chosen = np.random.default_rng(len(stage)).choice(taps, len(model.taps))
    tutors = FixedTutors(model.taps, tuple(chosen), len(taps)) if gamma else None
    variables = variables or initial_variables(model, run.config, "train")
    return Arm(how, tutors, first_state(how, variables), seed)


def opened(config, workdir):
    run = open_run(config, workdir)
    return run, run.search.at_widths(run.search.space.smallest)


# -- groups ---------------------------------------------------------------------------------------------


@pytest.fixture
def arms(teacher, tmp_path):
    """`arms(seeds)`: three arms of every seed."""
    run, model = opened(configuration(teacher), tmp_path)
    weights = {"none": (0.0, 0.0), "kl": (0.0, 1.0), "both": (0.3, 1.0)}
    variables = {"params": {}, "batch_stats": {}}
    return lambda seeds: [
        make_arm(run, model, f"{name}_{seed}", *weights[name], seed, variables) for seed in seeds for name in weights
    ]


def names(groups):
    return [[arm.recipe.stage for arm in group] for group in groups]


def test_one_after_another(arms):
    assert names(arm_groups(arms((0, 1)), 1)) == [[arm.recipe.stage] for arm in arms((0, 1))]


@pytest.mark.parametrize(
    ("size", "lengths"),
    [(2, [2, 1, 2, 1, 2, 1]), (3, [3, 3, 3]), (5, [3, 3, 3]), (6, [6, 3]), (20, [9])],
)
def test_groups_hold_whole_seeds_where_these_fit(arms, size, lengths):
    groups = arm_groups(arms((0, 1, 4)), size)
    assert list(map(len, groups)) == lengths
    assert [name for group in names(groups) for name in group] == [arm.recipe.stage for arm in arms((0, 1, 4))]


def test_seeds_of_unequal_numbers_stay_apart(arms):
    assert list(map(len, arm_groups(arms((0, 1))[:5], 6))) == [3, 2]


def changed(arm, **fields):
    how, objective = arm.recipe, arm.recipe.objective
    mine = {name: value for name, value in fields.items() if hasattr(objective, name)}
    others = {name: value for name, value in fields.items() if name not in mine}
    return dataclasses.replace(
        arm, recipe=dataclasses.replace(how, objective=dataclasses.replace(objective, **mine), **others)
    )


@pytest.mark.parametrize(
    "difference", [{"adversarial": "trades"}, {"epsilon": 0.01}, {"normalise": "per_batch"}, {"epochs": 3}]
)
def test_arms_of_other_training_do_not_share_a_program(arms, difference):
    one, two, three = arms((0,))
    assert names(arm_groups([one, changed(two, **difference), three], 3)) == [["none_0", "both_0"], ["kl_0"]]


def test_an_arm_whose_statistics_see_other_images_does_not_share_a_program(arms):
    """PGD-AT alone shows the network no clean images; KL does."""
    group = [changed(arm, adversarial="pgd_at") for arm in arms((0,))]
    assert names(arm_groups(group, 3)) == [["none_0"], ["kl_0", "both_0"]]


def test_sampled_tutors_do_not_share_a_program(arms):
    one, two, three = arms((0,))
    sampled = dataclasses.replace(three, tutors=SampledTutors(("a",), ("b",), ((0.0,),)))
    assert names(arm_groups([one, two, sampled], 3)) == [["none_0", "kl_0"], ["both_0"]]


def test_a_stream_has_one_order(arms, teacher, tmp_path):
    config = configuration(teacher)
    config.data.streaming = True
    run, model = opened(config, tmp_path / "run")
    with pytest.raises(ValueError, match=r"arms of seeds \(0, 1\): a stream has the order of the run's seed, 0, alone"):
        arm_trainer(run, model, arms((0, 1)))


# -- training, whole ------------------------------------------------------------------------------------

WEIGHTS = {"arm_none": (0.0, 0.0), "arm_other": (0.3, 1.0)}
SEEDS = (0, 5)


def study_of(teacher, workdir, side_by_side, views):
    config = configuration(teacher, views)
    config.train.side_by_side = side_by_side
    config.teacher.cache.dir = str(teacher.parent / f"cache_{views}")
    run, model = opened(config, workdir)
    arms = []
    for seed in SEEDS:
        start = initial_variables(model, config, f"seed{seed}")  # the same arrays for all arms of a seed
        arms += [make_arm(run, model, f"{name}_{seed}", *WEIGHTS[name], seed, start) for name in WEIGHTS]
    return SimpleNamespace(run=run, model=model, arms=arms)


@pytest.fixture(scope="module")
def together(teacher):
    """Two arms of two seeds as one program, which learns from a cache of two views."""
    study = study_of(teacher, teacher.parent / "together", 4, views=2)
    train_arms(study.run, study.model, study.arms)
    return study


def states(study, which):
    return [trained(study.run, arm.recipe, study.model, which) for arm in study.arms]


def logged(study, split):
    rows = [row for row in read_rows(study.run.workdir) if row.split == split]
    return {(row.stage, row.step): row.values for row in rows}


@pytest.mark.slow
def test_arms_leave_what_each_leaves_alone(together, teacher):
    study = study_of(teacher, teacher.parent / "alone", 1, views=2)
    train_arms(study.run, study.model, study.arms)
    ends = states(together, "latest")
    for found, expected in zip(ends, states(study, "latest"), strict=True):
        chex.assert_trees_all_equal_shapes_and_dtypes(found.state, expected.state)
        # An activation that rounding moves over a kink changes a gradient by far more than rounding; what is exact in
        # single steps is compared in double precision in tests/steps.
        chex.assert_trees_all_close(found.state.variables, expected.state.variables, atol=3e-4, rtol=1e-3)
    for row in range(1, 4):
        one, other = (each.state.params["classifier"]["kernel"] for each in (ends[0], ends[row]))
        assert np.abs(one - other).max() > 3e-3, "other terms, other seeds"
    for split, steps in (("train", {4, 5, 8, 10}), ("validation", {5, 10})):
        found, expected = logged(together, split), logged(study, split)
        assert found.keys() == expected.keys() and {step for _, step in found} == steps
        for key, values in expected.items():
            assert found[key].keys() == values.keys()
            for name in values.keys() & {"loss", "classification", "kl", "attention", "learning_rate"}:
                if values[name]:  # a term of weight 0 is reported where another arm has it
                    assert found[key][name] == pytest.approx(values[name], rel=1e-3), (key, name)


@pytest.mark.slow
def test_held_out_images_choose_the_best_step_of_each_arm(together):
    scores = logged(together, "validation")
    for arm, best in zip(together.arms, states(together, "best"), strict=True):
        own = {step: values["score"] for (stage, step), values in scores.items() if stage == arm.recipe.stage}
        assert best.step == max(own, key=lambda step: (own[step], step))
        score = together.run.validate(predict(together.model))(best.state)["score"]
        assert score == pytest.approx(own[best.step], abs=1e-9)


@pytest.mark.slow
def test_a_group_goes_on_to_the_same_end(together, teacher):
    """Three arms are taken back to step 8, in the second epoch; the process was killed after one had saved step 10."""
    study = study_of(teacher, teacher.parent / "resumed", 4, views=2)
    shutil.copytree(together.run.workdir, study.run.workdir)
    for number, arm in enumerate(study.arms):
        if number != 2:
            shutil.rmtree(study.run.workdir / "checkpoints" / arm.recipe.stage / "10")
    train_arms(study.run, study.model, study.arms)
    for which in ("latest", "best"):
        for found, expected in zip(states(study, which), states(together, which), strict=True):
            assert found.step == expected.step
            chex.assert_trees_all_equal(found.state, expected.state)
    for split in ("train", "validation"):
        assert logged(study, split) == logged(together, split)


@pytest.mark.slow
def test_an_arm_alone_is_the_student(teacher, tmp_path):
    """With the stage name, the seed and the recipe of a run's student, bit for bit; with the live teacher."""
    run, model = opened(configuration(teacher), tmp_path / "student")
    arm = make_arm(run, model, "train", 1.0, 1.0)
    expected = network_trainer(run, arm.recipe, model, arm.tutors).fit(jax.device_get(arm.state))
    other, _ = opened(configuration(teacher), tmp_path / "arm")
    trainer, state = arm_trainer(other, model, [arm])
    chex.assert_trees_all_equal(trainer.fit(state), expected)
    with checkpoints(other, "train") as kept:
        assert kept.steps()[-1] == STEPS
