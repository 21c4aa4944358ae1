"""The network of NAS-Bench-201: its size, one program for every architecture, and PyTorch's function."""

import functools

import chex
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnas.layers import ConvBatchNorm, count
from rnas.models import NASBench201, build_model
from rnas.models.nasbench201_network import Cell, Edge, NASBench201Supernet, fixed_variables
from rnas.spaces.nasbench201 import SIZE, cost, encode, encodings, to_string

PIXELS = {"num_classes": 10, "mean": (0.4914, 0.4822, 0.4465), "std": (0.2471, 0.2435, 0.2616)}
TINY = {**PIXELS, "channels": 4, "cells": 1}
CONSTANT = ("000000", "111111", "222222", "333333", "444444")


def drawn(number, seed=0):
    return np.random.default_rng(seed).choice(SIZE, number, replace=False).tolist()


def filled(init, *args):
    """Variables as `init` makes them, with arbitrary positive leaves: no scale is 1 and no bias or mean is 0."""
    random = np.random.default_rng(0)
    shapes = jax.eval_shape(init, jax.random.key(0), *args)
    return jax.tree.map(lambda leaf: random.uniform(-0.2, 0.6, leaf.shape).astype(np.float32) ** 2, shapes)


def assert_close(ours, theirs):
    chex.assert_trees_all_equal_structs(ours, theirs)
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5 * max(1.0, float(np.abs(other).max())))


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).random((3, 8, 8, 3), np.float32)


@pytest.fixture(scope="module")
def variables(images):
    return filled(NASBench201(**TINY).init, images, jnp.zeros(6, int))


# -- size and form ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("arch", [*CONSTANT, "323133", 9930, 12])
def test_counts_are_those_of_the_space(arch):
    for side, classes in ((32, 10), (16, 120)):
        model = NASBench201(**{**PIXELS, "num_classes": classes}, arch=arch)
        expected = [cost(encode(arch), image_size=side, num_classes=classes, kind=kind) for kind in ("params", "macs")]
        assert count(model, (side, side, 3)) == tuple(expected)


def test_counts_of_images_that_are_not_square():
    model = NASBench201(**PIXELS, arch=9930)
    expected = [cost(encode(9930), image_size=(8, 12), kind=kind) for kind in ("params", "macs")]
    assert count(model, (8, 12, 3)) == tuple(expected)


def test_traced_network_holds_every_operation():
    # Either convolution on each of 6 edges of 5 cells a stage, C = 16, 32, 64, with BatchNorm.
    edges = 30 * sum(9 * c * c + c * c + 4 * c for c in (16, 32, 64))
    assert count(NASBench201(**PIXELS), (32, 32, 3), jnp.zeros(6, int)).params == 73_306 + edges


def test_model_by_name():
    images = jnp.zeros((2, 16, 16, 3))
    model = build_model("nasbench201_9930", **PIXELS)
    assert model.arch == "333133" == build_model("nasbench201_333133", **PIXELS).arch
    (logits, out), _ = jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), images))
    assert logits.shape == (2, 10) and logits.dtype == jnp.float32
    assert set(out) == set(model.taps) and len(model.taps) == 18
    shapes = {"stem": (16, 16, 16), "stage1.cell4": (16, 16, 16), "reduction1": (8, 8, 32), "stage3.cell0": (4, 4, 64)}
    assert {name: out[name].shape[1:] for name in model.taps if name in shapes} == shapes


def test_bfloat16_gives_float32_logits():
    model = NASBench201(**TINY, arch=9930, dtype=jnp.bfloat16)
    (logits, out), _ = jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), jnp.zeros((2, 8, 8, 3))))
    assert logits.dtype == jnp.float32 and {tap.dtype for tap in out.values()} == {jnp.dtype(jnp.bfloat16)}


@pytest.mark.parametrize(
    ("options", "shape", "given", "message"),
    [
        ({"arch": 0}, (8, 8), (0,) * 6, "takes no encoding"),
        ({}, (8, 8), None, "needs encoding=…"),
        ({}, (8, 8), (0,) * 5, "encoding of length 5"),
        ({"arch": 0}, (8, 10), None, "side 10"),
        ({"arch": "333153"}, (8, 8), None, "nearest code is '333143'"),
    ],
)
def test_what_does_not_fit_is_refused(options, shape, given, message):
    model = NASBench201(**TINY, **options)
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *shape, 3)), given)


def test_unknown_cells_have_no_model():
    with pytest.raises(ValueError, match="out of range"):
        build_model("nasbench201_15625", **PIXELS)


# -- initialisation --------------------------------------------------------------------------------------


def test_first_values_depend_on_key_and_path_alone(images):
    key = jax.random.key(1, impl="unsafe_rbg")  # compiles sooner than the default
    traced = jax.jit(NASBench201(**TINY).init)(key, images, jnp.zeros(6, int))
    for arch in ("333133", "020301"):
        fixed = jax.jit(NASBench201(**TINY, arch=arch).init)(key, images)
        chex.assert_trees_all_equal(fixed, fixed_variables(traced, arch))


def test_first_values_are_pytorchs():
    init = jax.jit(NASBench201(**{**PIXELS, "num_classes": 100}, cells=1, arch="323212").init)
    key = jax.random.key(0, impl="unsafe_rbg")
    params = flax.traverse_util.flatten_dict(init(key, jnp.zeros((1, 8, 8, 3)))["params"], sep="/")
    for path, leaf in params.items():
        if path.startswith("classifier") or path.endswith("kernel"):
            fan_in = 64 if path.startswith("classifier") else np.prod(leaf.shape[:-1])
            bound = fan_in**-0.5
            assert np.abs(leaf).max() <= bound
            assert np.std(leaf) == pytest.approx(bound / 3**0.5, rel=5 / leaf.size**0.5)
            assert np.abs(np.mean(leaf)) < 5 * bound / (3 * leaf.size) ** 0.5
        else:
            assert (leaf == (1.0 if path.endswith("scale") else 0.0)).all()


# -- one program for every architecture ------------------------------------------------------------------


def compare_traced_with_fixed(archs, variables, images):
    """Logits, taps and new statistics of both forms, over `archs`; the traced one is traced once."""

    def run(model, variables, images, *encoding):
        return (
            *model.apply(variables, images, *encoding, train=True, mutable=["batch_stats"]),
            model.apply(variables, images, *encoding),
        )

    traced = NASBench201(**TINY)
    chex.clear_trace_counter()
    run_traced = jax.jit(chex.assert_max_traces(lambda *args: run(traced, *args), n=1))
    for arch in archs:
        result, changed, calm = run_traced(variables, images, jnp.asarray(encode(arch)))
        fixed = NASBench201(**TINY, arch=arch)
        expected = jax.jit(lambda *args, fixed=fixed: run(fixed, *args))(fixed_variables(variables, arch), images)
        assert_close((result, fixed_variables(changed, arch), calm), expected)


def test_traced_equals_fixed(variables, images):
    compare_traced_with_fixed(["333133", "201434"], variables, images)


@pytest.mark.slow
def test_traced_equals_fixed_over_the_space(variables, images):
    compare_traced_with_fixed([*CONSTANT, *drawn(195)], variables, images)


def test_gradients_of_a_traced_cell():
    """Those of a fixed cell where an operation was chosen, zero elsewhere; other statistics stay as they were."""
    cell = Cell(4, ConvBatchNorm)
    x = np.random.default_rng(0).standard_normal((3, 6, 6, 4)).astype(np.float32)
    direction = np.random.default_rng(1).standard_normal(x.shape).astype(np.float32)
    variables = filled(functools.partial(cell.init, train=True), x, jnp.zeros(6, int))

    def run(variables, x, encoding):
        def objective(params, x):
            y, changed = cell.apply({**variables, "params": params}, x, encoding, train=True, mutable=["batch_stats"])
            return (y * direction).sum(), changed

        (to_params, to_x), changed = jax.grad(objective, (0, 1), has_aux=True)(variables["params"], x)
        return {"params": to_params, **changed}, to_x

    chex.clear_trace_counter()
    run_traced = jax.jit(chex.assert_max_traces(run, n=1))
    for arch in ("333133", "201432"):
        moved, to_x = run_traced(variables, x, jnp.asarray(encode(arch)))
        run_fixed = jax.jit(functools.partial(run, encoding=encode(arch)))
        assert_close((fixed_variables(moved, arch), to_x), run_fixed(fixed_variables(variables, arch), x))
        chosen = flax.traverse_util.flatten_dict(fixed_variables(moved, arch))
        untouched = {**variables, "params": jax.tree.map(np.zeros_like, variables["params"])}
        untouched = flax.traverse_util.flatten_dict(untouched)
        for path, leaf in flax.traverse_util.flatten_dict(moved).items():
            assert path in chosen or (leaf == untouched[path]).all()


def test_one_program_serves_every_cell(variables, images):
    traced = NASBench201(**TINY)
    chex.clear_trace_counter()
    run = jax.jit(chex.assert_max_traces(lambda encoding: traced.apply(variables, images, encoding)[0], n=1))
    logits = np.stack([run(jnp.asarray(encodings()[arch])) for arch in drawn(50)])
    assert np.isfinite(logits).all()
    assert len(np.unique(logits.round(5), axis=0)) > 40


@pytest.mark.slow
def test_many_architectures_side_by_side(variables, images):
    traced = NASBench201(**TINY)

    def run(variables, encoding):
        return traced.apply(variables, images, encoding, train=True, mutable=["batch_stats"])

    archs = jnp.asarray(encodings()[drawn(5)])
    many = jax.jit(jax.vmap(run, (None, 0)))(variables, archs)
    alone = jax.jit(run)
    for row, encoding in enumerate(archs):
        for one, other in zip(jax.tree.leaves(alone(variables, encoding)), jax.tree.leaves(many), strict=True):
            np.testing.assert_allclose(other[row], one, atol=2e-5 * max(1.0, float(np.abs(one).max())))


# -- mixtures --------------------------------------------------------------------------------------------


def test_an_edge_mixes_what_its_operations_give(images):
    edge = Edge(3, functools.partial(ConvBatchNorm))
    x = jnp.asarray(images)
    variables = filled(functools.partial(edge.init, train=False), x, jnp.full(5, 0.2))
    shares = jnp.array([0.3, 0.1, 0.2, 0.25, 0.15])

    @jax.jit
    def run(variables, x):
        alone = [edge.apply(variables, x, operation, train=False) for operation in range(5)]
        return edge.apply(variables, x, shares, train=False), sum(s * y for s, y in zip(shares, alone, strict=True))

    ours, expected = run(variables, x)
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_a_mixture_of_one_operation_an_edge_is_that_cell(images, variables):
    supernet, traced = NASBench201Supernet(**TINY), NASBench201(**TINY)
    encoding = jnp.array(encode("324102"))
    shares = {"cell": jnp.eye(5)[encoding]}
    fresh = jax.eval_shape(supernet.init, jax.random.key(0), images, shares)
    chex.assert_trees_all_equal_shapes_and_dtypes(fresh, variables)  # one supernet's weights serve both
    ours, theirs = (
        jax.jit(functools.partial(model.apply, train=False))(variables, images, how)
        for model, how in ((supernet, shares), (traced, encoding))
    )
    assert_close(ours, theirs)
    assert set(supernet.taps) == set(ours[1])
    with pytest.raises(ValueError, match="'cell': \\(6, 5\\)"):
        jax.eval_shape(supernet.init, jax.random.key(0), images, {"cell": jnp.ones((6, 4))})


# -- PyTorch ---------------------------------------------------------------------------------------------


def torch_network(torch, string, channels, cells):
    """The same network, written from the paper and a cell's string."""
    nn, functional = torch.nn, torch.nn.functional

    class ConvNorm(nn.Module):
        def __init__(self, inputs, outputs, kernel, stride=1):
            super().__init__()
            self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
            self.bn = nn.BatchNorm2d(outputs)

        def forward(self, x):
            return self.bn(self.conv(x))

    class Active(ConvNorm):
        def forward(self, x):
            return super().forward(functional.relu(x))

    class Cell(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.nodes = [[entry.split("~") for entry in node.strip("|").split("|")] for node in string.split("+")]
            for target, node in enumerate(self.nodes, 1):
                for operation, source in node:
                    if operation.startswith("nor_conv"):
                        conv = Active(width, width, int(operation[-1]))
                        self.add_module(f"edge{source}{target}", nn.ModuleDict({operation: conv}))

        def forward(self, x):
            values = [x]
            for target, node in enumerate(self.nodes, 1):
                total = torch.zeros_like(x)
                for operation, source in node:
                    value = values[int(source)]
                    if operation.startswith("nor_conv"):
                        total = total + getattr(self, f"edge{source}{target}")[operation](value)
                    elif operation == "skip_connect":
                        total = total + value
                    elif operation == "avg_pool_3x3":
                        total = total + functional.avg_pool2d(value, 3, 1, 1, count_include_pad=False)
                values.append(total)
            return values[-1]

    class Reduction(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.conv1, self.conv2 = Active(width // 2, width, 3, 2), Active(width, width, 3)
            self.shortcut = nn.Conv2d(width // 2, width, 1, bias=False)

        def forward(self, x):
            return self.conv2(self.conv1(x)) + self.shortcut(functional.avg_pool2d(x, 2, 2))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = ConvNorm(3, channels, 3)
            self.parts = []
            for stage in range(3):
                width = channels * 2**stage
                if stage:
                    self.parts.append((f"reduction{stage}", Reduction(width)))
                self.parts += [(f"stage{stage + 1}_cell{cell}", Cell(width)) for cell in range(cells)]
            for name, part in self.parts:
                self.add_module(name, part)
            self.norm = nn.BatchNorm2d(width)
            self.classifier = nn.Linear(width, 10)

        def forward(self, x):
            x = self.stem(x)
            for _, part in self.parts:
                x = part(x)
            return self.classifier(functional.relu(self.norm(x)).mean((2, 3)))

    return Net()


def compare_with_torch(archs, channels, cells, side):
    torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
    images = np.random.default_rng(0).random((4, side, side, 3), np.float32)
    mean, std = (np.asarray(PIXELS[key], np.float32) for key in ("mean", "std"))
    inputs = torch.tensor((images - mean) / std).permute(0, 3, 1, 2)
    traced = NASBench201(**PIXELS, channels=channels, cells=cells)
    others = filled(traced.init, images, jnp.zeros(6, int))
    run = jax.jit(lambda variables, encoding: traced.apply(variables, images, encoding)[0])
    leaves = {"running_mean": ("batch_stats", "mean"), "running_var": ("batch_stats", "var")}
    for arch in archs:
        torch.manual_seed(arch)
        net = torch_network(torch, to_string(arch), channels, cells).eval()
        with torch.no_grad():
            for module in net.modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                        tensor.copy_(0.5 + torch.rand_like(tensor))
            expected = net(inputs).numpy()
        state = {name: tensor.numpy() for name, tensor in net.state_dict().items() if "num_batches" not in name}
        flat = flax.traverse_util.flatten_dict(others)
        for name, value in state.items():
            *modules, leaf = name.replace("_cell", ".cell", 1).split(".")
            if modules[0].startswith("stage"):
                modules[:2] = [".".join(modules[:2])]
            collection, leaf = leaves.get(leaf, ("params", leaf))
            if leaf == "weight":
                leaf = "scale" if value.ndim == 1 else "kernel"
                value = value.transpose({4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}[value.ndim])
            path = (collection, *modules, leaf)
            assert flat[path].shape == value.shape
            flat[path] = value
        parameters = sum(parameter.numel() for parameter in net.parameters())
        if (channels, cells) == (16, 5):
            assert parameters == cost(encode(arch), kind="params")
        assert parameters == count(traced.clone(arch=arch), (side, side, 3)).params
        logits = run(flax.traverse_util.unflatten_dict(flat), jnp.asarray(encode(arch)))
        scale = max(1.0, float(np.abs(expected).max()))
        np.testing.assert_allclose(logits, expected, atol=1e-5 * scale, err_msg=to_string(arch))


def test_equals_pytorch():
    compare_with_torch([9930, *drawn(5, seed=2)], channels=4, cells=1, side=8)


@pytest.mark.slow
def test_equals_pytorch_at_full_size():
    compare_with_torch(drawn(50, seed=3), channels=16, cells=5, side=32)
