"""The supernet's mixed edges against a sum over edges and operations, one at a time."""

import functools

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import pytest

from rnas.layers import BatchNorm, Conv
from rnas.layers.counting import count
from rnas.models.cell import MixedCell, MixedEdges
from rnas.models.cell_network import CellNetwork, CellSupernet
from rnas.spaces import cell_space

SOURCES, EDGES, IMAGES, SIDE, CHANNELS = 2, 2, 3, 6, 4
DARTS = cell_space.get_space("darts")


def normalised(x):
    return (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5)


def convolved(x, kernel, stride=1, dilation=1, groups=1):
    reach = dilation * (kernel.shape[0] // 2)
    return np.asarray(
        lax.conv_general_dilated(
            x, kernel, (stride, stride), ((reach, reach),) * 2, rhs_dilation=(dilation, dilation),
            dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups,
        )
    )  # fmt: skip


def pooled(x, stride, reduce):
    rows = []
    for top in range(0, x.shape[1], stride):
        seen = [x[:, max(top - 1, 0) : top + 2, max(left - 1, 0) : left + 2] for left in range(0, x.shape[2], stride)]
        rows.append(np.stack([reduce(window, axis=(1, 2)) for window in seen], 1))
    return np.stack(rows, 1)


def alone(name, x, stride, params, branch):
    """One operation on one edge, with that branch of the stacked kernels."""
    if name == "none":
        return 0.0
    if name.endswith("pool_3x3"):
        return normalised(pooled(x, stride, np.max if name.startswith("max") else np.mean))
    if name == "skip_connect":
        if stride == 1:
            return x
        active = np.maximum(x, 0)
        kernels = [params[name]["reduction"][half]["kernel"][branch][0, 0] for half in ("even", "odd")]
        return normalised(np.concatenate([active[:, ::2, ::2] @ kernels[0], active[:, 1::2, 1::2] @ kernels[1]], -1))
    _, dilation, times = cell_space.CONVOLUTIONS[name]
    for part in range(times):
        kernels = params[name][f"part{part}"]
        steps = 1 if part else stride
        x = convolved(np.maximum(x, 0), kernels["depthwise"]["kernel"][branch], steps, dilation, CHANNELS)
        x = normalised(x @ kernels["pointwise"]["kernel"][branch][0, 0])
    return x


@pytest.mark.parametrize("stride", [1, 2])
def test_mixed_edges_are_the_sum_over_operations(stride):
    norm = functools.partial(BatchNorm, use_affine=False)
    module = MixedEdges(DARTS.operations, stride, Conv, norm)
    random = np.random.default_rng(stride)
    states = random.normal(size=(SOURCES, IMAGES, SIDE, SIDE, CHANNELS)).astype(np.float32)
    weights = random.dirichlet(np.ones(len(DARTS.operations)), (SOURCES, EDGES)).astype(np.float32)
    variables = jax.jit(functools.partial(module.init, train=True))(jax.random.key(0), states, weights)
    found = jax.jit(functools.partial(module.apply, train=True))(variables, states, weights)
    params = jax.device_get(variables["params"])
    for source in range(SOURCES):
        for edge in range(EDGES):
            expected = sum(
                weight * alone(name, states[source], stride, params, source * EDGES + edge)
                for name, weight in zip(DARTS.operations, weights[source, edge], strict=True)
            )
            np.testing.assert_allclose(found[source, edge], expected, rtol=2e-3, atol=2e-4)


# Where the parameters of an edge (node, source) between nodes are: step of the scan, and branch.
LATER = {(3, 2): (0, 0), (4, 2): (0, 1), (4, 3): (1, 0), (5, 3): (1, 1), (5, 4): (2, 0), (5, 2): (2, 1)}


@pytest.mark.parametrize("stride", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_every_node_is_the_sum_of_the_edges_that_reach_it(stride):
    norm = functools.partial(BatchNorm, use_affine=False)
    shape = dict(features=CHANNELS, stride=stride, halve=False)
    cell = MixedCell(operations=DARTS.operations, conv=Conv, norm=norm, **shape)
    random = np.random.default_rng(stride)
    inputs = [random.normal(size=(IMAGES, SIDE, SIDE, channels)).astype(np.float32) for channels in (3, 5)]
    weights = random.dirichlet(np.ones(len(DARTS.operations)), len(cell_space.EDGES)).astype(np.float32)
    variables = jax.jit(functools.partial(cell.init, train=True))(jax.random.key(0), *inputs, weights)
    nodes = jax.jit(functools.partial(cell.apply, train=True))(variables, *inputs, weights)
    params = jax.device_get(variables["params"])
    states = [
        normalised(np.maximum(x, 0) @ params[f"preprocess{index}"]["conv"]["kernel"][0, 0])
        for index, x in enumerate(inputs)
    ]
    for node, found in zip(cell_space.CONCAT, nodes, strict=True):
        total = 0.0
        for source in range(node):
            if source < 2:
                own, branch, steps = params["inputs"], 4 * source + node - 2, stride
            else:
                step, branch = LATER[node, source]
                own, steps = jax.tree.map(lambda leaf, step=step: leaf[step], params["later"]), 1
            for name, weight in zip(DARTS.operations, weights[cell_space.EDGES.index((node, source))], strict=True):
                total += weight * alone(name, states[source], steps, own, branch)
        np.testing.assert_allclose(found, total, rtol=5e-3, atol=5e-4)
        states.append(total)


def test_shapes_of_every_tap():
    """Accurate cells keep the size, each reduction halves it, channels double once."""
    space = cell_space.get_space("dsara")
    net = CellSupernet(space=space, cells=5, channels=4, num_classes=7, mean=(0.5,) * 3, std=(0.2,) * 3)
    tables = cell_space.probabilities(cell_space.initial_logits(space, jax.random.key(0)))
    images = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
    (logits, out), _ = jax.eval_shape(lambda x: net.init_with_output(jax.random.key(0), x, tables), images)
    assert logits.shape == (2, 7) and logits.dtype == jnp.float32 and set(out) == set(net.taps)
    sides, widths = (32, 16, 16, 8, 8), (4, 8, 8, 8, 8)
    assert out["stem"].shape == (2, 32, 32, 12)
    for index, (side, width) in enumerate(zip(sides, widths, strict=True)):
        assert all(out[f"cell{index}.node{node}"].shape == (2, side, side, width) for node in (2, 3, 4, 5))


@pytest.mark.parametrize(
    ("space", "image_shape", "width_ratio"), [("dsara", (8, 16, 1), None), ("darts", (16, 8, 3), (1, 2, 2))]
)
def test_the_macs_of_a_genotype_are_those_of_its_network(space, image_shape, width_ratio):
    sizes = dict(channels=4, cells=5, width_ratio=width_ratio, num_classes=7)
    for seed in range(2):
        genotype = cell_space.random_genotype(cell_space.get_space(space), np.random.default_rng(seed))
        colour = dict.fromkeys(("mean", "std"), (0.5,) * image_shape[2])
        expected = count(CellNetwork(genotype=genotype, **sizes, **colour), image_shape).macs
        assert cell_space.macs(genotype, image_shape=image_shape, **sizes) == expected
