"""The benchmark of the cell search compares like with like: one network, one step."""

import types

import jax
import numpy as np
import optax
import pytest

from rnas.models.cell import FROM_INPUTS, LATER
from rnas.spaces.cell_space import EDGES
from rnas.steps.optimizer import Optimizer

torch = pytest.importorskip("torch", reason="the other side of this benchmark is PyTorch")

LATER_EDGES = [EDGES.index(edge) for pair in LATER for edge in pair]


@pytest.fixture(scope="module")
def modules(script):
    """The files of the benchmark."""
    names = ("cell_problem", "cell_jax", "cell_torch", "search_step")
    return types.SimpleNamespace(**{name: script(name) for name in names})


def in_torch_form(params):
    """Leaves under the names and in the layouts of the PyTorch network."""
    found = {}

    def put(name, leaf):
        found[name] = torch.tensor(np.transpose(leaf, (3, 2, 0, 1) if leaf.ndim == 4 else None))

    for path, leaf in jax.tree.leaves_with_path(jax.device_get(params)):
        top, *rest = (key.key for key in path)
        if top == "stem_conv":
            put("stem.0.weight", leaf)
        elif top == "stem_bn":
            put({"scale": "stem.1.weight", "bias": "stem.1.bias"}[rest[0]], leaf)
        elif top == "classifier":
            put({"kernel": "classifier.weight", "bias": "classifier.bias"}[rest[0]], leaf)
        elif rest[0].startswith("preprocess"):
            place = f"cells.{top.removeprefix('cell')}.preprocess.{rest[0][-1]}"
            put(f"{place}.{rest[2]}.weight" if rest[1] == "reduction" else f"{place}.0.weight", leaf)
        else:
            block, operation, part, kind, _ = rest
            rows = FROM_INPUTS.ravel() if block == "inputs" else LATER_EDGES
            for row, one in zip(rows, leaf.reshape(len(rows), *leaf.shape[-4:]), strict=True):
                place = f"cells.{top.removeprefix('cell')}.edges.{row}.candidates.{operation}"
                layer = {"depthwise": "0", "pointwise": "1"}.get(kind)
                put(f"{place}.parts.{part[-1]}.{layer}.weight" if layer else f"{place}.{kind}.weight", one)
    return found


@pytest.mark.parametrize("channels, cells, count", [(24, 8, 1_882_930), (16, 8, 944_378), (4, 5, 77_686)])
def test_the_other_supernet_has_the_published_size(modules, channels, cells, count):
    search = modules.cell_torch.Search(modules.cell_problem.make_problem("dsara", 1, channels, cells))
    assert sum(weight.numel() for weight in search.weights) == count


@pytest.fixture
def double():
    """Everything in float64: in float32 the signs of slopes of rounding size part, and seven steps make many of few."""
    torch.set_default_dtype(torch.float64)
    with jax.enable_x64(True):
        yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.slow
def test_both_sides_take_the_same_step(modules, double):
    problem = modules.cell_problem.make_problem("dsara", 4, 2, 4)
    plain = Optimizer(optax.identity(), optax.constant_schedule(1.0))
    ours = modules.cell_jax.Search(problem, 1, arch_optimizer=plain, start="none")
    ours.state = jax.tree.map(lambda x: x.astype(np.float64) if x.dtype == np.float32 else x, ours.state)
    before = jax.device_get(ours.state)
    loss = ours(1)
    after = jax.device_get(ours.state)

    theirs = modules.cell_torch.Search(problem, start="none")
    missing, unknown = theirs.network.load_state_dict(in_torch_form(before.params), strict=False)
    assert not unknown and not set(missing) & {name for name, _ in theirs.network.named_parameters()}
    for kind, alpha in theirs.alpha.items():
        alpha.data = torch.tensor(before.architecture["cells"][kind])
    theirs.arch_optimizer = torch.optim.SGD(theirs.alpha.values(), 1.0)
    np.testing.assert_allclose(loss, theirs(1), rtol=1e-6)
    for kind, alpha in theirs.alpha.items():
        start = before.architecture["cells"][kind]
        moved, expected = after.architecture["cells"][kind] - start, alpha.detach().numpy() - start
        np.testing.assert_allclose(moved, expected, rtol=0, atol=1e-5 * np.abs(expected).max(), err_msg=kind)
    weights = dict(theirs.network.named_parameters())
    start = in_torch_form(before.params)
    for name, weight in in_torch_form(after.params).items():
        moved, expected = weight - start[name], weights[name].detach() - start[name]
        scale = float(expected.abs().max())
        torch.testing.assert_close(moved, expected, rtol=0, atol=1e-5 * scale, msg=name)


def test_sizes_are_those_of_the_space(modules):
    arguments = modules.search_step.parse(["--space=dsara", "--channels=4", "--cells=5"])
    problem = modules.search_step.make_problem(arguments)
    assert problem.sizes == {"space": "dsara", "channels": 4, "cells": 5, "batch": 32, "image": [32, 32, 3]}
    assert modules.search_step.parse([]).batch == 128
