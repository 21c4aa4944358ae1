"""The empirical kernel against explicit Jacobians and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnas.ntk import empirical_ntk


def compiled(apply, variables, *examples, **options):
    """The kernel as one program, which compiles sooner than its parts one by one."""
    return jax.jit(lambda *arrays: empirical_ntk(apply, *arrays, **options))(variables, *examples)


def close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())


def products(jacobian, other=None, *, output="sum"):
    other = jacobian if other is None else other
    if output == "sum":
        return jacobian.sum(1) @ other.sum(1).T
    return np.einsum("ikp,jkp->ij", jacobian, other) / jacobian.shape[1]


@pytest.mark.parametrize("output", ["sum", "trace"])
@pytest.mark.parametrize("parameters", ["all", "kernels"])
def test_products_of_the_explicit_jacobian(small_network, jacobian, output, parameters):
    apply, variables, images, _ = small_network
    keep = (lambda path: True) if parameters == "all" else (lambda path: "'kernel'" in path)
    explicit = jacobian(apply, variables, images, keep)
    found = compiled(apply, variables, images, output=output, parameters=parameters)
    close(found, products(explicit, output=output))
    between = compiled(apply, variables, images[:2], images[2:], output=output, parameters=parameters)
    close(between, products(explicit[:2], explicit[2:], output=output))
    np.testing.assert_array_equal(found, found.T)
    assert np.linalg.eigvalsh(np.asarray(found, np.float64)).min() > -1e-5 * np.abs(found).max()


@pytest.mark.parametrize("block", [1, 4])
def test_blocks_do_not_change_the_kernel(small_network, block):
    apply, variables, images, _ = small_network
    for examples, output in (((images,), "sum"), ((images, images[:3]), "trace")):
        whole = compiled(apply, variables, *examples, output=output)
        close(compiled(apply, variables, *examples, output=output, block=block), whole)


def test_blocks_follow_from_the_size_of_the_network(small_network, monkeypatch):
    apply, variables, images, _ = small_network
    whole = compiled(apply, variables, images)
    size = 4 * sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    monkeypatch.setattr("rnas.ntk.kernel.HELD_BYTES", 2 * size)
    program = jax.make_jaxpr(lambda images: empirical_ntk(apply, variables, images))(images)
    shapes = {value.aval.shape for equation in program.eqns for value in equation.outvars}
    assert (3, 3, 2, 2) in shapes  # 3 x 3 blocks of 2 x 2 examples
    close(compiled(apply, variables, images), whole)


def test_examples_permute_with_the_kernel(small_network):
    apply, variables, images, _ = small_network
    order = np.array([3, 1, 5, 0, 2, 4])
    whole = compiled(apply, variables, images)
    close(compiled(apply, variables, images[order]), whole[order][:, order])


def test_a_linear_model_has_the_kernel_of_its_inputs():
    """f = Wx + b, M outputs: M (x·x' + 1) for their sum, x·x' + 1 for their mean kernel."""
    x = jax.random.normal(jax.random.key(0), (5, 7))
    weights = {"w": jax.random.normal(jax.random.key(1), (7, 4)), "b": jnp.ones(4)}
    expected = np.asarray(x, np.float64) @ np.asarray(x, np.float64).T + 1

    def apply(variables, x):
        return x @ variables["w"] + variables["b"][None]

    close(empirical_ntk(apply, weights, x), 4 * expected)
    close(empirical_ntk(apply, weights, x, output="trace"), expected)
    close(empirical_ntk(apply, weights, x, x[:2]), 4 * expected[:, :2])


def _two_layers(variables, x):
    return (jax.nn.relu(x @ variables["w"]) @ variables["a"])[:, None] / variables["a"].size ** 0.5


def test_two_layers_at_finite_width():
    """f = a·relu(Wx)/√m: K = (1/m) Σ_r relu(w_r x) relu(w_r x') + (1/m) Σ_r a_r² [w_r x > 0][w_r x' > 0] x·x'."""
    x = jax.random.normal(jax.random.key(0), (5, 3))
    weights = {"w": jax.random.normal(jax.random.key(1), (3, 8)), "a": jax.random.normal(jax.random.key(2), (8,))}
    points, w, a = (np.asarray(value, np.float64) for value in (x, weights["w"], weights["a"]))
    before = points @ w
    expected = (np.maximum(before, 0) @ np.maximum(before, 0).T) / 8
    expected += ((before > 0) * a**2) @ (before > 0).T / 8 * (points @ points.T)
    close(empirical_ntk(_two_layers, weights, x), expected)


def test_two_layers_approach_the_infinite_width():
    """With w, a ~ N(0, 1) the limit is ‖x‖‖x'‖ (κ₁(u) + u κ₀(u)) / 2, arc-cosine kernels of Cho & Saul (2009)."""
    x = jax.random.normal(jax.random.key(0), (4, 3))
    width = 40_000
    weights = {
        "w": jax.random.normal(jax.random.key(1), (3, width)),
        "a": jax.random.normal(jax.random.key(2), (width,)),
    }
    points = np.asarray(x, np.float64)
    lengths = np.linalg.norm(points, axis=1)
    lengths = np.outer(lengths, lengths)
    cosine = np.clip(points @ points.T / lengths, -1, 1)
    angle = np.arccos(cosine)
    first = (np.sqrt(1 - cosine**2) + (np.pi - angle) * cosine) / np.pi
    expected = lengths * (first + cosine * (np.pi - angle) / np.pi) / 2
    found = empirical_ntk(_two_layers, weights, x)
    np.testing.assert_allclose(found, expected, atol=0.03 * expected.max())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": "mean"}, "'mean'; expected one of sum, trace"),
        ({"parameters": "biases"}, "'biases'; expected one of all, kernels"),
        ({"block": 0}, "block=0"),
        ({"x2": np.zeros((2, 4, 4, 2), np.float32)}, "each of shape \\(5, 5, 2\\)"),
        ({"x2": np.zeros((0, 5, 5, 2), np.float32)}, "at least one"),
    ],
)
def test_mistakes_are_named(small_network, options, message):
    apply, variables, images, _ = small_network
    with pytest.raises(ValueError, match=message):
        empirical_ntk(apply, variables, images, **options)


def test_a_model_without_kernels_is_refused():
    with pytest.raises(ValueError, match="parameters='all'"):
        empirical_ntk(lambda w, x: x @ w["w"], {"w": jnp.ones((2, 2))}, jnp.ones((3, 2)), parameters="kernels")
    with pytest.raises(ValueError, match="logits \\[N, K\\]"):
        empirical_ntk(lambda w, x: x @ w, jnp.ones(2), jnp.ones((3, 2)))
