"""Adversarial methods in the step of a fixed network: attacks, teachers, perturbed and averaged weights, loss_state."""

import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rnas import steps
from rnas.objectives import (
    METHODS,
    Logits,
    Network,
    Objective,
    TeacherOutputs,
    TrainProgress,
    adversarial_images,
    run_teachers_on_adversarial,
)
from rnas.objectives.methods import Akd2, Ard, Iad1, Method, Mtard, Rslad
from rnas.steps.optimizer import Optimizer
from rnas.steps.state import State
from rnas.training.checkpoints import Checkpoints
from rnas.training.loaders import replicate

ATTACKING = tuple(name for name in METHODS if name != "none")
PLAIN = steps.Augmentation(0, False)
# With this optimiser a step subtracts the gradient.
DESCENT = Optimizer(optax.identity(), optax.constant_schedule(1.0))
N, K, PIXELS = 6, 3, 8


class Dense(nn.Module):
    """The smallest student that has all kinds of parameters; no image of a batch sees another."""

    @nn.compact
    def __call__(self, images, *, train=False):
        features = nn.tanh(nn.Dense(5, name="first")(images.reshape(len(images), -1) - 0.5))
        self.variable("batch_stats", "seen", lambda: jnp.zeros(()))
        return nn.Dense(4, name="last")(features), {}


class Study:
    """One batch, a student, and two teachers that are formulas."""

    def __init__(self, study):
        self.base = study
        self.student = Dense()
        self.variables = study.initial(self.student, 0)

    def teacher(self, variables, images):
        pixels = images.reshape(len(images), -1)
        return 3 * jnp.stack([jnp.mean(pixels[:, index::4], 1) for index in range(4)], 1) * variables["robust"], {}

    def natural(self, variables, images):
        pixels = images.reshape(len(images), -1)
        return jnp.stack([jnp.std(pixels[:, index::4], 1) for index in range(4)], 1) * variables["natural"], {}

    def objective(self, method, **changes):
        return Objective(method, **{**dict(epsilon=8 / 255, step_size=4 / 255, steps=2), **changes})

    def step(self, method, optimizer=DESCENT, *, teacher=None, natural=None, changes=None, **options):
        return steps.TrainStep(
            self.student, self.objective(method, **(changes or {})), PLAIN, optimizer, teacher=teacher or self.teacher,
            natural=natural or self.natural, **options,
        )  # fmt: skip

    def compiled(self, *args, **options):
        return jax.jit(self.base.over_replicas(self.step(*args, **options)))

    def state(self, method="none", optimizer=DESCENT, **options) -> State:
        method = METHODS[method]() if isinstance(method, str) else method
        return State.create(self.variables, optimizer, loss_state=method.initial_loss_state(), **options)

    def run(self, step, state, count=1):
        """Returns (state, metric sums) on the host after `count` steps, see `compiled`."""
        for number in range(count):
            state, sums = step(state, *self.base.batch(number, 1), {"robust": 2.0, "natural": 5.0}, self.base.root)
        return jax.device_get((state, sums))


@pytest.fixture(scope="module")
def small(study) -> Study:
    return Study(study)


# -- every method ---------------------------------------------------------------------------------------


# The others run through the step in tests of theirs, below and beside this file.
ALWAYS = ("trades", "score", "ard", "iad_2", "mtard")


@pytest.mark.parametrize("name", [n if n in ALWAYS else pytest.param(n, marks=pytest.mark.slow) for n in METHODS])
def test_a_step_descends_what_the_method_minimises(small, name):
    """The gradient of the method's loss at the adversarial images, taken apart from the step."""
    objective = small.objective(name)
    before = small.state(name)
    after, sums = small.run(small.compiled(name), before)
    images, labels = (leaf[0] for leaf in small.base.batch(0, 1))
    images = images / np.float32(255)
    variables = {"robust": 2.0, "natural": 5.0}

    @jax.jit
    def reference(params):
        keys = jax.random.split(jax.random.fold_in(small.base.root, 0), 5)[2]
        keys = jax.vmap(jax.random.fold_in, (None, 0))(keys, jnp.arange(len(labels)))
        teacher_outputs = TeacherOutputs(small.teacher(variables, images)[0])
        adversarial = images
        if objective.attacks:
            network = Network(small.student, params, before.batch_stats)
            adversarial, _ = adversarial_images(network, objective, images, labels, keys, teacher_outputs)

        def logits(params, images):
            return small.student.apply({"params": params, "batch_stats": before.batch_stats}, images)[0]

        def loss(params):
            teachers = (
                apply(variables, view)[0] for apply in (small.teacher, small.natural) for view in (images, adversarial)
            )
            seen = Logits(logits(params, images), logits(params, adversarial), *teachers)
            method = objective.adversarial
            loss_state = method.update_loss_state(before.loss_state, seen, TrainProgress(), lambda means: means)
            return jnp.mean(method.loss(seen, labels, TrainProgress(), loss_state))

        return jax.value_and_grad(loss)(params)

    value, gradient = reference(before.params)
    # At temperature 30, ARD's loss is 900 times a divergence of almost equal distributions.
    np.testing.assert_allclose(sums["loss"] / sums["count"], value, rtol=1e-5, atol=5e-6)
    chex.assert_trees_all_close(optax.tree.sub(before.params, after.params), gradient, atol=2e-6, rtol=1e-4)
    assert optax.tree.norm(gradient) > 1e-5 and sums["nonfinite_step"] == steps.NEVER


@pytest.mark.parametrize("name", ATTACKING)
def test_teachers_run_where_the_method_needs_them_and_nowhere_else(small, name):
    passes = []
    images, adversarial = np.zeros((2, 6, 6, 1)), np.ones((2, 6, 6, 1))

    def teacher(who, variables, images):
        passes.append(f"{who}_adversarial" if images.mean() else who)
        return np.zeros((2, 4)), {}

    teacher_outputs = run_teachers_on_adversarial(
        TeacherOutputs("kept"), functools.partial(teacher, "teacher"), functools.partial(teacher, "natural"), None,
        images, adversarial, small.objective(name),
    )  # fmt: skip
    wanted = set(METHODS[name].needs) - {"teacher"}  # that one runs before the attack
    assert sorted(passes) == sorted(wanted) and teacher_outputs.logits == "kept"
    assert {field for field in teacher_outputs._fields[2:] if getattr(teacher_outputs, field) is not None} == wanted


@pytest.mark.parametrize("name", ATTACKING)
def test_own_start_and_mode_of_the_attack(name):
    published = {
        "pgd_at": ("uniform", "eval"), "trades": ("gaussian", "eval"), "mart": ("gaussian", "eval"),
        "score": ("uniform", "train_frozen"), "ard": ("uniform", "train"), "rslad": ("gaussian", "eval"),
        "akd2": ("uniform", "train"), "iad_1": ("uniform", "train"), "iad_2": ("uniform", "train"),
        "mtard": ("gaussian", "eval"),
    }[name]  # fmt: skip
    found = Objective(name, 0.1, 0.05, 2, attack_bn="own")
    assert (found.start, found.attack_bn) == published
    # The mode is evaluation by default; a mode that is given stays.
    given = Objective(name, 0.1, 0.05, 2, start="none")
    assert (given.start, given.attack_bn) == ("none", "eval")


def test_a_linear_student_is_attacked_along_the_gradient_of_score():
    """∂‖q - p‖²/∂x = 2·W·(diag(q) - q·q')·(q - p) for logits W'x."""
    random = np.random.default_rng(0)
    images, weights = random.uniform(0.3, 0.7, (N, PIXELS)), random.normal(size=(PIXELS, K))

    class Linear:
        def apply(self, variables, images, *, train):
            return images @ variables["params"], {}

    objective = Objective("score", 0.1, 0.03, 3)
    keys = jax.random.split(jax.random.key(0), N)
    network = Network(Linear(), weights.astype("f"), {})
    arguments = (images.astype("f"), np.zeros(N, int), keys, TeacherOutputs())
    found, _ = adversarial_images(network, objective, *arguments)
    start, _ = adversarial_images(network, Objective("score", 0.1, 0.03, 0), *arguments)
    points, clean = np.asarray(start, float), softmax(images @ weights)
    for _ in range(3):
        q = softmax(points @ weights)
        gap = q - clean
        gradient = 2 * (q * (gap - np.sum(q * gap, 1, keepdims=True))) @ weights.T
        points = np.clip(np.clip(points + 0.03 * np.sign(gradient), images - 0.1, images + 0.1), 0, 1)
    np.testing.assert_allclose(found, points, atol=1e-5)


def softmax(z):
    e = np.exp(z)
    return e / e.sum(1, keepdims=True)


def test_epochs_and_the_learning_rate_reach_the_method(small):
    falling = Optimizer(optax.identity(), optax.piecewise_constant_schedule(0.5, {4: 0.1}))

    class Noting(Method):
        def initial_loss_state(self):
            return jnp.zeros(2)

        def update_loss_state(self, loss_state, logits, progress, average):
            return jnp.float32(progress)

    step = small.compiled(Noting(), falling, steps_per_epoch=2)
    for number, expected in ((0, (0, 1.0)), (3, (1, 1.0)), (4, (2, 0.1))):
        after, _ = small.run(step, small.state(Noting(), falling).replace(step=jnp.int32(number)))
        np.testing.assert_allclose(after.loss_state, expected, rtol=1e-6)


# -- what reduces to what -------------------------------------------------------------------------------

STILL = dict(epsilon=0.0, steps=1)


def moved(small, method, *, changes=None, **options):
    before = small.state(method)
    after, _ = small.run(small.compiled(method, changes=changes, **options), before)
    return optax.tree.sub(before.params, after.params)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Iad1(first_epoch=1), Ard(temperature=1.0, kl_scale=1.0)),  # before it distrusts anything
        (Akd2(robust=0.0, natural=0.0), METHODS["pgd_at"]()),
    ],
)
def test_methods_that_reduce_to_others(small, one, other):
    chex.assert_trees_all_close(moved(small, one), moved(small, other), atol=1e-7, rtol=1e-5)


def test_equal_teachers_and_images_that_nothing_changes(small):
    """Whatever MTARD's weights, it is RSLAD then."""
    found = moved(small, Mtard(), natural=small.teacher, changes=STILL)
    chex.assert_trees_all_close(found, moved(small, Rslad(), changes=STILL), atol=1e-7, rtol=1e-5)
    assert optax.tree.norm(found) > 1e-3


# -- perturbed weights ----------------------------------------------------------------------------------


def test_until_its_first_step_perturbation_changes_nothing(small):
    perturbed = small.compiled("none", perturbation=steps.WeightPerturbation(0.3, first_step=1))
    plain = small.compiled("none")
    expected, sums = small.run(plain, small.state())
    found, others = small.run(perturbed, small.state())
    chex.assert_trees_all_close(found, expected, atol=1e-7, rtol=1e-6)
    np.testing.assert_allclose(others["loss"], sums["loss"], rtol=1e-6)
    later = small.run(perturbed, found)[0].params, small.run(plain, expected)[0].params
    assert optax.tree.norm(optax.tree.sub(*later)) > 1e-3


def test_gradient_and_decay_are_those_of_the_perturbed_weights(small):
    """Two plain steps give both gradients: θ' = θ - rate·(∇L(θ + δ) + decay·(θ + δ))."""
    gamma, decay, rate = 0.2, 0.1, 0.5
    optimizer = Optimizer(optax.add_decayed_weights(decay), optax.constant_schedule(rate))
    options = dict(changes=dict(steps=0, start="uniform"))  # adversarial images that do not depend on the weights
    start = small.state()
    descend = small.compiled("trades", **options)

    def loss_and_gradient(params):
        after, sums = small.run(descend, start.replace(params=params))
        return sums["loss"], optax.tree.sub(params, after.params)

    def share(w, g):
        return gamma * np.linalg.norm(w) / np.linalg.norm(g) * g if w.ndim == 2 else 0 * w

    loss, gradients = loss_and_gradient(start.params)
    there = optax.tree.add(start.params, jax.tree.map(share, start.params, gradients))
    worse, gradients = loss_and_gradient(there)
    expected = jax.tree.map(lambda w, t, g: w - rate * (g + decay * t), start.params, there, gradients)
    step = small.compiled("trades", optimizer, perturbation=steps.WeightPerturbation(gamma), **options)
    found, sums = small.run(step, small.state(optimizer=optimizer))
    chex.assert_trees_all_close(found.params, expected, atol=1e-5, rtol=1e-4)
    np.testing.assert_allclose(sums["loss"], worse, rtol=1e-5)
    assert worse > loss + 0.01


def test_running_statistics_are_those_of_the_pass_at_the_perturbed_weights(study):
    """Not those of the pass before it, which only gives the direction."""
    objective = Objective("trades", 8 / 255, 0.0, 0, start="uniform")
    gamma = 0.2

    def after(state, **options):
        step = steps.TrainStep(study.student, objective, PLAIN, DESCENT, **options)
        return jax.device_get(jax.jit(study.over_replicas(step))(state, *study.batch(0, 1), None, study.root)[0])

    def shifted(w, g):
        return w + gamma * np.linalg.norm(w) / np.linalg.norm(g) * g if w.ndim > 1 else w

    start = study.train_state(optimizer=DESCENT)
    before = after(start)
    there = jax.tree.map(shifted, start.params, optax.tree.sub(start.params, before.params))
    expected = after(start.replace(params=there)).batch_stats
    found = after(start, perturbation=steps.WeightPerturbation(gamma)).batch_stats
    chex.assert_trees_all_close(found, expected, atol=1e-6, rtol=1e-5)
    assert optax.tree.norm(optax.tree.sub(before.batch_stats, expected)) > 1e-4


# -- averaged weights -----------------------------------------------------------------------------------


def test_without_decay_the_average_is_the_weights(small):
    state, _ = small.run(small.compiled("none", average=steps.WeightAverage(0.0)), small.state(average=True), count=2)
    chex.assert_trees_all_equal(state.outcome, state.variables)
    expected, _ = small.run(small.compiled("none"), small.state(), count=2)
    assert expected.averaged is None and expected.outcome == expected.variables
    chex.assert_trees_all_close(state.variables, expected.variables, atol=1e-7)


def test_the_average_of_three_steps_by_hand(study):
    """Of the weights alone, beside the latest BatchNorm statistics; decay 0.15 is reached in the second step."""
    step = steps.TrainStep(
        study.student, Objective("none", 0.0, 0.0, 0), PLAIN, DESCENT, average=steps.WeightAverage(0.15)
    )
    step = jax.jit(study.over_replicas(step))
    state = State.create(study.initial(study.student, 0), DESCENT, average=True)
    expected = state.params
    for number, decay in enumerate((1 / 10, 0.15, 0.15)):
        state, _ = step(state, *study.batch(number, 1), None, study.root)
        expected = jax.tree.map(lambda old, new, d=decay: d * old + (1 - d) * new, expected, state.params)
    chex.assert_trees_all_close(state.outcome["params"], expected, atol=1e-6)
    assert optax.tree.norm(optax.tree.sub(expected, state.params)) > 1e-5
    chex.assert_trees_all_equal(state.outcome["batch_stats"], state.batch_stats)


# -- loss_state, replicas, checkpoints ----------------------------------------------------------------------


def test_memory_perturbation_and_average_do_not_depend_on_the_number_of_replicas(small):
    """One replica of eight images, and four devices of two with donated states and two steps a dispatch."""
    options = dict(
        perturbation=steps.WeightPerturbation(0.05), average=steps.WeightAverage(0.9),
        changes=dict(steps=0, start="uniform"),
    )  # fmt: skip
    expected, _ = small.run(small.compiled("mtard", **options), small.state("mtard", average=True), count=2)
    run = steps.run_steps(small.step("mtard", **options), steps.TRAIN_METRICS)
    state, teachers = replicate((small.state("mtard", average=True), {"robust": 2.0, "natural": 5.0}))
    found, _ = run(state, *small.base.loader().dispatch(0, 2), np.int32(2), teachers, small.base.root)
    chex.assert_trees_all_close(jax.device_get(found), expected, atol=1e-6, rtol=1e-4)
    assert expected.loss_state["first_natural"] > 0 and expected.loss_state["natural_weight"] != 0.5


def test_a_checkpoint_keeps_memory_and_average(small, tmp_path):
    state = small.state("mtard", average=True)
    state = state.replace(loss_state=jax.tree.map(lambda leaf: leaf + 0.25, state.loss_state))
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(2, jax.device_get(state))
        checkpoints.wait()
        restored = checkpoints.restore(jax.eval_shape(lambda: small.state("mtard", average=True)))
        chex.assert_trees_all_equal(restored.state, jax.device_get(state))
        with pytest.raises(ValueError, match="another model.*averaged"):
            checkpoints.restore(jax.eval_shape(lambda: small.state("mtard")))
