"""A table made here: cells trained by one program, in shards, interrupted or not, and merged."""

import functools
import json
from pathlib import Path

import chex
import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rnas
from rnas import steps
from rnas.artifacts.files import write_json
from rnas.artifacts.folder_lock import locked
from rnas.artifacts.kept_weights import weights_file
from rnas.artifacts.metrics import read_rows
from rnas.artifacts.table_results import Network, NetworkResult, merge, result_file
from rnas.cli import platform
from rnas.config.load import load_config, record_config
from rnas.layers import ConvBatchNorm
from rnas.main import main
from rnas.models.nasbench201_network import NASBench201, fixed_variables, used_parameters
from rnas.objectives import Objective
from rnas.runs import table_training as training
from rnas.runs.table_evaluation import TableJudge
from rnas.runs.table_models import keep_weights
from rnas.runs.table_run import TableRun, draw_cell
from rnas.runs.table_status import status as table_status
from rnas.spaces.nasbench201 import canonical, cost, encode, representatives
from rnas.steps.optimizer import Optimizer, cycled_trace, make_optimizer
from rnas.steps.state import State
from rnas.tabular import load_robbench
from rnas.tabular.column_attacks import column_label
from rnas.training.trainer import DivergedError


def metrics_of(workdir):
    return [row.to_json() for row in read_rows(workdir)]


CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "robbench"
SIDE, BATCH = 4, 8


# -- plan ------------------------------------------------------------------------------------------------


def test_groups_are_of_one_seed_and_of_different_classes():
    groups = training.plan_groups(("333133", "104141", "58", "9930", "0"), (3, 1), 2)
    assert canonical("104141") == canonical("58")
    names = [[tuple(network) for network in group] for group in groups]
    first, second, third = canonical("333133"), canonical("58"), canonical("0")
    assert names == [
        [(first, 3), (second, 3)], [(third, 3)],
        [(first, 1), (second, 1)], [(third, 1)],
    ]  # fmt: skip


def test_no_cells_means_every_class():
    groups = training.plan_groups((), (0, 1, 2), 1)
    assert len(groups) == 3 * 6466 and {network.id for group in groups for network in group} == set(
        representatives().tolist()
    )


@pytest.mark.parametrize(
    ("archs", "seeds", "message"),
    [
        (("15625",), (0,), "out of range"),
        ((), (0, 0), "different whole numbers"),
        ((), (), "different whole numbers"),
        ((), (-1,), "different whole numbers"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(archs, seeds, message):
    with pytest.raises(ValueError, match=message):
        training.plan_groups(archs, seeds, 1)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "digits"])
def test_configurations_hold_the_published_protocol(name, tmp_path):
    config = load_config(str(CONFIGS / f"{name}.py"), [])
    made = TableRun(config, tmp_path)
    assert made.objective == Objective("pgd_at", epsilon=8 / 255, step_size=2 / 255, steps=7)
    assert made.objective.attack_bn == "eval" and not made.objective.needs_clean
    optimizer = config.train.optimizer
    assert (optimizer.name, optimizer.l2, optimizer.clip_norm) == ("sgd", 5e-4, 0)
    if name != "digits":
        assert (config.train.epochs, config.train.batch_size, config.seeds) == (50, 256, (0, 1, 2))
        assert (made.network.channels, made.network.cells, config.archs) == (16, 5, ())


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.name=svhn", "expected one of cifar10, cifar100, digits"),
        ("data.name=cifar10", "images of 3 channels"),
        ("train.weights=mine", "unknown train.weights .mine.; expected one of own, shared"),
        ("evaluation.auto_attack_seeds=(5,)", "not among seeds"),
        ("train.optimizer.schedule=triangle", "one_cycle where"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(tmp_path, override, message):
    config = load_config(str(CONFIGS / "digits.py"), [f"--config.{override}"])
    with pytest.raises(ValueError, match=message):
        TableRun(config, tmp_path).check()


def test_weights_that_were_kept_are_loaded_as_the_cell_they_belong_to(tmp_path):
    """The fixed network answers with them what the traced one does; only its own operations are in the file."""
    config = load_config(str(CONFIGS / "digits.py"), ["--config.train.keep_weights=True"])
    made, network = TableRun(config, tmp_path), Network(canonical("231403"), 4)
    variables = made.initial_state((network,)).variables
    random = np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: random.uniform(0.5, 1, np.shape(leaf)).astype(np.float32), variables)
    record_config(tmp_path, config)
    keep_weights(made, network, variables)
    model = rnas.load(tmp_path, network.name)
    images = random.random((3, *model.image_shape), np.float32)
    expected = made.network.clone(axis_name=None).apply(variables, images, jnp.asarray(encode(network.id)))[0]
    np.testing.assert_allclose(model.logits(images), expected, rtol=1e-4)
    assert model.card.params == cost(encode(network.id), **made.task._asdict(), kind="params")
    assert model.card.dataset == "digits" and model.card.training["epochs"] == config.train.epochs
    with pytest.raises(ValueError, match=f"no weights of a network '0_seed0'; it has those of {network.name}"):
        rnas.load(tmp_path, "0_seed0")
    file = weights_file(tmp_path, network)
    file.rename(weights_file(tmp_path, Network(9930, 4)))
    with pytest.raises(ValueError, match="does not hold the weights of cell 9930: was it renamed"):
        rnas.load(tmp_path, "9930_seed4")
    weights_file(tmp_path, Network(9930, 4)).write_bytes(b"cut")
    with pytest.raises(ValueError, match="cannot be read"):
        rnas.load(tmp_path, "9930_seed4")


# -- optimiser -------------------------------------------------------------------------------------------


def test_one_cycle_of_rate_and_momentum():
    """Rate and momentum at the corners and in between, from the formula of PyTorch's OneCycleLR; its update by hand."""
    config = load_config(str(CONFIGS / "cifar10.py"), []).train.optimizer
    total = 50 * 4
    optimizer = make_optimizer(config, epochs=50, steps_per_epoch=4, cycle=config.cycle)
    top = 0.3 * total - 1

    def between(start, goal, share):
        return goal + (start - goal) / 2 * (1 + np.cos(np.pi * share))

    def expected(step, low, high, last):
        if step <= top:
            return between(low, high, step / top)
        return between(high, last, (step - top) / (total - 1 - top))

    weight, buffer = np.array([1.0, -2.0]), np.zeros(2)
    params, state = jnp.array(weight, jnp.float32), optimizer.init(jnp.zeros(2))
    update = jax.jit(optimizer.update)
    for step in (0, 1, 30, 59, 60, 120, 199):
        gradient = np.array([0.3, -0.1]) * (step + 1) ** -0.5
        rate = expected(step, 0.004, 0.1, 4e-7)
        np.testing.assert_allclose(optimizer.schedule(step), rate, rtol=1e-4)
        buffer = expected(step, 0.95, 0.85, 0.95) * buffer + gradient + 5e-4 * weight
        weight = weight - rate * buffer
        params, state = update(jnp.asarray(gradient, jnp.float32), state, params, step)
        np.testing.assert_allclose(params, weight, rtol=1e-4)
    np.testing.assert_allclose([optimizer.schedule(0), optimizer.schedule(59), optimizer.schedule(199)],
                               [0.004, 0.1, 4e-7], rtol=1e-4)  # fmt: skip


@pytest.mark.parametrize("direction", [optax.trace(0.9), optax.scale_by_adam(), cycled_trace(lambda step: 0.9)])
def test_what_does_not_move_keeps_value_and_momentum(direction):
    optimizer = Optimizer(optax.chain(optax.add_decayed_weights(0.1), direction), optax.constant_schedule(0.5))
    params = {"used": jnp.arange(1.0, 4.0), "unused": jnp.arange(1.0, 4.0)}
    gradients = jax.tree.map(jnp.ones_like, params)
    plain, state = params, optimizer.init(params)
    for step in range(2):  # so that there is a momentum
        plain, state = optimizer.update(gradients, state, plain, step)
    moving = {"used": jnp.bool_(True), "unused": jnp.bool_(False)}
    new, new_state = jax.jit(optimizer.update)(gradients, state, plain, 2, moving)
    full, full_state = jax.jit(optimizer.update)(gradients, state, plain, 2)
    np.testing.assert_array_equal(new["used"], full["used"])
    np.testing.assert_array_equal(new["unused"], plain["unused"])
    for key, other in (("used", full_state), ("unused", state)):
        kept, expected = (
            [leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree) if f"'{key}'" in str(path)]
            for tree in (new_state, other)
        )
        assert len(kept) >= 1
        chex.assert_trees_all_equal(kept, expected)


# -- the step --------------------------------------------------------------------------------------------

TINY = {"num_classes": 10, "mean": (0.5,), "std": (0.25,), "channels": 2, "cells": 1, "axis_name": steps.AXIS}


class Steps:
    """Training steps of the smallest network: traced, fixed, and many side by side."""

    def __init__(self):
        random = np.random.default_rng(0)
        self.images = random.integers(0, 256, (2 * BATCH, SIDE, SIDE, 1), np.uint8)
        self.labels = random.integers(0, 10, 2 * BATCH).astype(np.int32)
        self.direction = optax.chain(optax.add_decayed_weights(0.05), cycled_trace(lambda step: 0.9 - 0.1 * step))
        self.optimizer = Optimizer(self.direction, optax.constant_schedule(0.05))
        self.traced = NASBench201(**TINY)
        init = jax.jit(self.traced.init)
        key = jax.random.key(0, impl="unsafe_rbg")  # compiles sooner than the default
        self.variables = jax.device_get(dict(init(key, jnp.zeros((1, SIDE, SIDE, 1)), jnp.zeros(6, int))))

    def make(self, network, moving=None, objective="none", **options):
        # By default without an attack, whose signs turn the last bit of a gradient into whole steps.
        objective = Objective(objective, epsilon=8 / 255, step_size=8 / 255, steps=1)
        parts = network, objective, steps.Augmentation(1, False), self.optimizer
        return steps.TrainStep(*parts, moving=moving, **options)

    def run(self, step, state, replicas=1, count=2, examples=BATCH):
        """State after `count` steps on virtual replicas of one device; the last sums of metrics.

        Batches have so many `examples`; more replicas than one fill them up to a whole one.
        """
        over_replicas = jax.jit(jax.vmap(step, in_axes=(None, 0, 0, None, None), out_axes=None, axis_name=steps.AXIS))
        for number in range(count):
            size = examples if replicas == 1 else BATCH
            rows = np.arange(number * BATCH, number * BATCH + size)
            labels = np.where(rows < number * BATCH + examples, self.labels[rows], steps.NO_EXAMPLE)
            batch = (leaf.reshape(replicas, -1, *leaf.shape[1:]) for leaf in (self.images[rows], labels))
            state, sums = over_replicas(state, *batch, None, jax.random.key(3))
        return jax.device_get((state, sums))

    @functools.cached_property
    def traced_step(self):
        return self.make(self.traced, used_parameters)

    def start(self, arch, variables=None):
        return State.create(variables or self.variables, self.optimizer, np.asarray(encode(arch), np.int32))


@pytest.fixture(scope="module")
def tiny():
    return Steps()


def assert_close(ours, theirs):
    chex.assert_trees_all_equal_structs(ours, theirs)
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        # Of the largest entry: BatchNorm over a few pixels enlarges what sums in another order differ by.
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4 * np.abs(other).max() + 1e-6)


@pytest.mark.slow
def test_traced_training_on_replicas_equals_fixed_training_on_one(tiny):
    """Weights, statistics and momentum of the chosen operations; the others stay exactly as they were."""
    arch = "231403"
    start = tiny.start(arch)
    state, sums = tiny.run(tiny.traced_step, start, replicas=2)
    network = NASBench201(**TINY, arch=arch)
    fixed = State.create(fixed_variables(tiny.variables, arch), tiny.optimizer)
    expected, expected_sums = tiny.run(tiny.make(network), fixed)
    assert_close(fixed_variables(state.variables, arch), expected.variables)
    traces = [optax.tree.get(tree.opt_state, "trace") for tree in (state, expected)]
    assert_close(fixed_variables({"params": traces[0]}, arch), {"params": traces[1]})
    assert_close(sums, expected_sums)
    np.testing.assert_array_equal(state.architecture, start.architecture)
    used = flax.traverse_util.flatten_dict(fixed_variables(tiny.variables, arch))
    before, after = (flax.traverse_util.flatten_dict(tree.variables) for tree in (start, state))
    momentum = flax.traverse_util.flatten_dict({"params": traces[0]})
    assert any(path not in used for path in before)
    for path in before:
        assert (path in used) != np.array_equal(before[path], after[path]), path
        assert path in used or path not in momentum or not momentum[path].any()


@pytest.mark.slow
def test_a_batch_that_is_filled_up_trains_as_the_smaller_one(tiny):
    """On four replicas, the last of which has no example: weights, statistics, momentum, attack and metrics."""
    made = dict(moving=used_parameters, objective="pgd_at")
    start, examples = tiny.start("231403"), BATCH - 3
    filled = tiny.run(tiny.make(tiny.traced, **made, filled=True), start, replicas=4, examples=examples)
    smaller = tiny.run(tiny.make(tiny.traced, **made), start, examples=examples)
    assert_close(filled, smaller)
    assert filled[1]["count"] == examples


@pytest.mark.slow
def test_a_supernet_trains_the_cell_that_was_drawn(tiny):
    """Each step moves what its cell uses; what only an earlier cell used keeps weights and momentum."""
    cells = ("231403", "303132")
    draw = lambda key: jnp.asarray([encode(arch) for arch in cells])[jax.random.bernoulli(key).astype(int)]  # noqa: E731
    step = tiny.make(tiny.traced, used_parameters, draw=draw)
    state = State.create(tiny.variables, tiny.optimizer)
    seen = set()
    for _ in range(6):
        new, _ = tiny.run(step, state, count=1)
        before, after = (flax.traverse_util.flatten_dict(tree.variables) for tree in (state, new))
        moved = {path for path in before if not np.array_equal(before[path], after[path])}
        used = {arch: set(flax.traverse_util.flatten_dict(fixed_variables(state.variables, arch))) for arch in cells}
        drawn = [arch for arch in cells if moved == used[arch]]
        assert len(drawn) == 1
        seen.add(drawn[0])
        state = new
    assert seen == set(cells)


def test_cells_are_drawn_uniformly():
    drawn = jax.vmap(draw_cell)(jax.random.split(jax.random.key(0), 5000))
    counts = np.stack([(np.asarray(drawn) == operation).sum(0) for operation in range(5)])
    assert counts.sum() == 5000 * 6 and np.abs(counts - 1000).max() < 5 * (5000 * 0.2 * 0.8) ** 0.5


@pytest.mark.slow
def test_cells_side_by_side_train_as_they_do_alone(tiny):
    archs = ("231403", "000000", "333133")
    alone = [tiny.run(tiny.traced_step, tiny.start(arch)) for arch in archs]
    variables = jax.tree.map(lambda leaf: np.broadcast_to(leaf, (len(archs), *leaf.shape)), tiny.variables)
    start = State.create(variables, tiny.optimizer, np.asarray([encode(arch) for arch in archs], np.int32))
    together, sums = tiny.run(steps.side_by_side(tiny.traced_step), start)
    for row, (state, _) in enumerate(alone):
        for name in ("params", "batch_stats", "opt_state"):
            assert_close(jax.tree.map(lambda leaf, row=row: leaf[row], getattr(together, name)), getattr(state, name))
    assert together.step == 2 and sums["count"] == 3 * BATCH
    np.testing.assert_allclose(sums["loss"], sum(each["loss"] for _, each in alone), rtol=1e-4)


# -- results ---------------------------------------------------------------------------------------------

FIGURES = {"clean": 0.5, "fgsm_3": 0.375, "pgd_3": 0.25, "fgsm_8": 0.25, "pgd_8": 0.125}


def result(folder, number=10, seed=0, dataset="cifar10", protocol=1, **changes):
    accuracy = {name: value + 0.0625 * seed for name, value in FIGURES.items()} | changes
    network = Network(number, seed)
    found = NetworkResult.of(network, dataset=dataset, accuracy=accuracy, protocol={"epochs": protocol})
    found.write(result_file(folder, network))


def test_merged_results_are_a_table_of_runs(tmp_path):
    for seed in (0, 1, 2):
        result(tmp_path / "one", 10, seed, **({"autoattack": 0.0625} if seed == 0 else {}))
    result(tmp_path / "two", 9930, 1, dataset="digits")
    merged = merge([tmp_path / "two", tmp_path / "one"])
    content = merged.to_json()
    assert content["cifar10"]["10"]["val_acc"] == {"0": 0.5, "1": 0.5625, "2": 0.625, "threeseed": 0.5625}
    assert content["cifar10"]["10"]["autoattack"] == 0.0625
    assert set(content["cifar10"]["10"]) == {
        "val_acc", "val_fgsm_3.0_acc", "val_pgd_3.0_acc", "val_fgsm_8.0_acc", "val_pgd_8.0_acc", "autoattack",
    }  # fmt: skip
    (tmp_path / "table.json").write_text(json.dumps(content))
    table = load_robbench(tmp_path / "table.json", partial=True)
    assert table.query("333000", "cifar10", "pgd_8", seed=2) == 0.25
    assert table.query("333000", "cifar10", "clean") == 0.5625
    assert table.query("333133", "digits", "fgsm_3") == 0.4375
    small = dict(image_size=8, num_classes=10, inputs=1, channels=8, cells=1, kind="params")
    assert table.query("333133", "digits", "params") == cost(encode("333133"), **small)
    assert merged == merge([tmp_path / "one", tmp_path / "two", tmp_path / "two"])


def test_pgd_of_the_last_iterate_has_columns_of_its_own(tmp_path):
    """It is what is published; `pgd_8` counts any iterate."""
    result(tmp_path, 10, pgd_3_last=0.375, pgd_8_last=0.25)
    content = merge([tmp_path]).to_json()["cifar10"]["10"]
    assert content["val_pgd_8.0_acc"] == {"0": 0.125} and content["val_pgd_8.0_last_acc"] == {"0": 0.25}
    (tmp_path / "table.json").write_text(json.dumps({"cifar10": {"10": content}}))
    table = load_robbench(tmp_path / "table.json", partial=True)
    assert [table.query(10, "cifar10", f"pgd_{radius}_last") for radius in (3, 8)] == [0.375, 0.25]
    assert column_label("pgd_8_last") == ("PGD-20 (step ε/8), last iterate", "ε = 8/255")


def test_cost_of_the_small_network_is_that_of_its_parameters():
    config = load_config(str(CONFIGS / "digits.py"), [])
    made = TableRun(config, Path())
    variables = jax.eval_shape(made.init, jax.random.key(0))
    for arch in ("333133", "020301"):
        chosen = fixed_variables(variables, arch)["params"]
        size = sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(chosen))
        assert size == cost(encode(arch), kind="params", **made.task._asdict())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: None, "no results in"),
        (lambda folder: (result(folder), result(folder, 0, protocol=2)), "different protocols"),
        (lambda folder: (result(folder), result(folder / "b", pgd_8=0.0)), "other figures"),
        (lambda folder: write_json(folder / "results" / "0.json", {}), "no result of `rnas tabular train`; remove it"),
        (lambda folder: result(folder, pgd=0.0), "no result of `rnas tabular train`; remove it"),
    ],
)  # fmt: skip
def test_results_that_do_not_fit_together_are_refused(tmp_path, spoil, message):
    spoil(tmp_path)
    with pytest.raises(ValueError, match=message):
        merge([tmp_path, tmp_path / "b"])


# -- the whole way ---------------------------------------------------------------------------------------


class Layer(nn.Module):
    """In place of the real network, which compiles slowly: one convolution, and a shift that tells cells apart."""

    axis_name: str | None = steps.AXIS
    momentum: float = 0.9
    weights: jax.Array | None = None

    @nn.compact
    def __call__(self, images, encoding, *, train=False):
        statistics = dict(momentum=self.momentum, axis_name=self.axis_name, weights=self.weights)
        conv = ConvBatchNorm(4, **statistics, name="conv")
        x = nn.relu(conv(images, train=train) + 0.5 * jnp.sin(encoding[None, None, None, :4]))
        return nn.Dense(10, name="classifier")(x.reshape(len(x), -1)), {}


@pytest.fixture(scope="module")
def layer():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TableRun, "network", Layer())
        yield


def test_a_calibrated_cell_normalises_as_the_batch_does(layer, tmp_path):
    """In inference mode it then answers what training mode answers on the calibration images."""
    config = load_config(f"{CONFIGS / 'digits.py'}:one_shot", ["--config.train.calibration=30"])
    made = TableRun(config, tmp_path)
    assert (len(made.dataset.train), len(made.dataset.validation), made.judging) == (1300, 137, "validation")
    variables = made.initial_state((Network(0, 0),)).variables
    images = made.dataset.train.images[:30].astype(np.float32) / 255
    network = made.network.clone(axis_name=None)
    encoding = jnp.asarray(encode("231403"))
    expected, _ = jax.jit(lambda: network.apply(variables, images, encoding, train=True, mutable="batch_stats"))()
    judge = TableJudge(made, lambda folder: None)
    found = jax.jit(judge.predict)({**judge.calibrated(variables, "231403"), "encoding": encoding}, images)
    np.testing.assert_allclose(found, expected[0], atol=1e-4)


SMALL = (
    "--config.archs=('333133','132013')", "--config.seeds=(0,)", "--config.train.epochs=4",
    "--config.adversarial.steps=1", "--config.train.batch_size=256", "--config.evaluation.count=200",
    "--config.evaluation.batch_size=100", "--config.log_every_steps=2",
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def settings():
    """Leaves JAX as the tests set it up."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(platform, "prepare", lambda *_: None)
        yield


def train(workdir, *options):
    return main(["tabular", "train", f"--config={CONFIGS / 'digits.py'}", f"--workdir={workdir}", *SMALL, *options])


@pytest.fixture(scope="module")
def whole(layer, tmp_path_factory):
    """A table of two cells made by one process."""
    workdir = tmp_path_factory.mktemp("whole")
    assert train(workdir) == 0
    return workdir


def losses(workdir, network):
    """Mean loss after each dispatch: the last bit of a weight shows in it."""
    return [(record["step"], record["loss"]) for record in metrics_of(workdir / "training" / network)]


def test_shards_make_the_same_table(whole, tmp_path, capsys):
    assert train(tmp_path, "--shard=0/2") == 0
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["9930_seed0.json"]
    assert train(tmp_path, "--shard=1/2") == 0
    assert merge([tmp_path]) == merge([whole])
    assert losses(tmp_path, "1000_seed0") == losses(whole, "1000_seed0")
    capsys.readouterr()
    file = tmp_path / "table.json"
    assert main(["tabular", "merge", str(tmp_path), f"--output={file}", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["datasets"] == {"digits": 2}
    assert main(["tabular", "query", f"--table={file}", "--partial", "--arch=333133", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    figures = json.loads((whole / "results" / "9930_seed0.json").read_text())["accuracy"]
    for metric, value in figures.items():
        assert found["runs"][f"digits/{metric}"] == {"0": value}
        assert value * 200 == pytest.approx(round(value * 200)) and value <= figures["clean"]
    assert figures["clean"] > 0.5
    assert figures != json.loads((whole / "results" / "1000_seed0.json").read_text())["accuracy"]


def test_a_network_that_another_process_trains_is_left_to_it(layer, tmp_path, capsys):
    with locked(tmp_path / "training" / "1000_seed0"):
        assert train(tmp_path, "--shard=1/2") == 2
    assert "1000_seed0. Wait for its end, or stop it; perhaps this shard was started twice." in capsys.readouterr().err


def test_an_epoch_has_every_image(whole):
    """1,437 of them in batches of 256: five, and one of 157."""
    rows = read_rows(whole / "training" / "9930_seed0")
    assert [(row.step, row.epoch) for row in rows if row.epoch == int(row.epoch)] == [(6, 1), (12, 2), (18, 3), (24, 4)]


def test_networks_of_another_protocol_stay_among_themselves(whole, tmp_path, capsys):
    """Such as those of a version that dropped the last batch of an epoch."""
    assert train(tmp_path, "--shard=1/2") == 0
    path = tmp_path / "results" / "1000_seed0.json"
    content = json.loads(path.read_text())
    del content["protocol"]["last_batch"]
    path.write_text(json.dumps(content))
    assert train(tmp_path) == 2
    refusal = "1000_seed0.json was made by another protocol: last_batch None there, 'trained' here. Use another"
    assert refusal in capsys.readouterr().err and len(list((tmp_path / "results").iterdir())) == 1


def test_a_network_that_diverged_has_failed_until_it_is_trained_again(layer, tmp_path, monkeypatch, capsys):
    def diverge(trainer, state):
        raise DivergedError("stage 'train' diverged: the loss of step 3 is not finite.")

    with monkeypatch.context() as patch:
        patch.setattr(training.Trainer, "fit", diverge)
        assert train(tmp_path) == 2
    assert "some networks failed, see above" in capsys.readouterr().err
    found = table_status(tmp_path)
    assert found["networks"]["failed"] == 2 and "the loss of step 3" in found["training"]["9930_seed0"]["reason"]
    assert train(tmp_path, "--shard=0/2") == 2, "it is not tried again"
    assert main(["tabular", "retry", str(tmp_path)]) == 0
    assert train(tmp_path, "--shard=0/2") == 0
    found = table_status(tmp_path)["networks"]
    assert (found["finished"], found["failed"], found["waiting"]) == (1, 0, 1)


def test_finished_networks_are_left_alone(whole):
    files = sorted((whole / "results").iterdir())
    before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in files]
    assert train(whole) == 0
    assert [(path.read_bytes(), path.stat().st_mtime_ns) for path in files] == before
    assert not list(whole.rglob("checkpoints"))


def test_a_killed_training_goes_on_to_the_same_table(whole, tmp_path, monkeypatch):
    """Killed after a checkpoint in the middle of a network, and again between training and result."""
    every = "--config.checkpoint_every_steps=2"

    class Killed(BaseException):
        pass

    save = training.Checkpoints.save

    def save_and_die(self, step, *args):
        save(self, step, *args)
        self.wait()
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(training.Checkpoints, "save", save_and_die)
        with pytest.raises(Killed):
            train(tmp_path, every)
    assert [path.name for path in tmp_path.glob("training/9930_seed0/checkpoints/[0-9]*")] == ["2"]

    with monkeypatch.context() as patch:
        patch.setattr(NetworkResult, "write", lambda *_: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            train(tmp_path, every)
    assert not (tmp_path / "results").exists()

    assert train(tmp_path, every) == 0
    assert merge([tmp_path]) == merge([whole])
    assert losses(tmp_path, "9930_seed0") == losses(whole, "9930_seed0")
    assert [step for step, _ in losses(whole, "9930_seed0")] == list(range(2, 25, 2))


@pytest.mark.slow
def test_real_cells_make_the_same_table_in_shards(tmp_path):
    assert train(tmp_path / "whole") == 0
    assert train(tmp_path / "parts", "--shard=1/2") == 0 == train(tmp_path / "parts", "--shard=0/2")
    assert merge([tmp_path / "parts"]) == merge([tmp_path / "whole"])


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--config.train.side_by_side=2", "--config.train.weights=shared"])
def test_cells_that_are_trained_together_have_results_each(tmp_path, capsys, option):
    assert train(tmp_path, option, "--config.train.keep_weights=True") == 0
    attacked = ["--attack=fgsm", "--count=200", "--epsilon=8/255", "--json", f"--output={tmp_path / 'attack'}"]
    capsys.readouterr()
    assert main(["attack", f"--workdir={tmp_path}", "--model=9930_seed0", *attacked]) == 0
    found = json.loads(capsys.readouterr().out)
    accuracy = json.loads((tmp_path / "results" / "9930_seed0.json").read_text())["accuracy"]
    assert found["clean"]["accuracy"] == accuracy["clean"], "the weights are those that were judged"
    assert len(list((tmp_path / "results").iterdir())) == 2 and set(merge([tmp_path]).to_json()["digits"]) == {
        "1000",
        "9930",
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--shard=2/2",), "shard 2/2"),
        (("--shard=1",), "--shard=1: expected I/N"),
        (("--config.archs=('x',)",), "is no architecture"),
        (("--config.epochs=1",), "nearest is 'train.epochs'"),
    ],
)
def test_a_mistake_of_training_is_one_line(tmp_path, capsys, options, message):
    assert train(tmp_path / "new", *options) == 2
    shown = capsys.readouterr()
    assert message in shown.err and shown.err.count("\n") == 1 and not (tmp_path / "new").exists()


def test_questions_have_no_configuration(capsys):
    with pytest.raises(SystemExit) as refused:
        main(["tabular", "query", "--table=x", "--arch=0", "--config.seed=1"])
    assert refused.value.code == 2
    assert "this command takes no configuration" in capsys.readouterr().err
