"""Batch normalisation: values, statistics, folding, and averaging over replicas."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnas.layers import BatchNorm, Conv, ConvBatchNorm


def random_like(tree, key, low=0.5):
    """Returns positive random leaves of the shapes of `tree`."""
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(key, len(leaves))
    return structure.unflatten(
        [jax.random.uniform(k, leaf.shape, leaf.dtype, low, 1.5) for k, leaf in zip(keys, leaves, strict=True)]
    )


def test_batch_statistics_normalise_and_move_the_running_ones():
    x = np.asarray(3.0 + 2.0 * jax.random.normal(jax.random.key(0), (5, 3, 4, 2)))
    bn = BatchNorm(momentum=0.8)
    variables = random_like(bn.init(jax.random.key(0), x, train=True), jax.random.key(1))
    y, updated = bn.apply(variables, x, train=True, mutable=["batch_stats"])
    params, stats = jax.tree.map(np.asarray, (variables["params"], variables["batch_stats"]))
    mean, var = np.mean(x, (0, 1, 2)), np.var(x, (0, 1, 2))
    np.testing.assert_allclose(
        y, (x - mean) / np.sqrt(var + 1e-5) * params["scale"] + params["bias"], rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(updated["batch_stats"]["mean"], 0.8 * stats["mean"] + 0.2 * mean, rtol=1e-5)
    np.testing.assert_allclose(updated["batch_stats"]["var"], 0.8 * stats["var"] + 0.2 * var, rtol=1e-5)


def test_running_statistics_normalise_and_stay():
    x = jax.random.normal(jax.random.key(0), (2, 3, 3, 2))
    bn = BatchNorm()
    variables = random_like(bn.init(jax.random.key(0), x, train=True), jax.random.key(1))
    y, updated = bn.apply(variables, x, train=False, mutable=["batch_stats"])
    params, stats = variables["params"], variables["batch_stats"]
    params, stats_before = jax.tree.map(np.asarray, (params, stats))
    x = np.asarray(x)
    expected = (x - stats_before["mean"]) / np.sqrt(stats_before["var"] + 1e-5) * params["scale"] + params["bias"]
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    assert jax.tree.all(jax.tree.map(jnp.array_equal, updated["batch_stats"], stats))


def test_training_without_mutable_statistics_is_no_error():
    x = jax.random.normal(jax.random.key(0), (2, 3, 3, 2))
    for module in (BatchNorm(), ConvBatchNorm(4, kernel_size=1)):
        variables = module.init(jax.random.key(0), x, train=False)
        y, _ = module.apply(variables, x, train=True, mutable=["batch_stats"])
        np.testing.assert_array_equal(module.apply(variables, x, train=True), y)


def test_initialisation_leaves_the_statistics_fresh():
    x = 5.0 + jax.random.normal(jax.random.key(0), (2, 3, 3, 2))
    for module in (BatchNorm(axis_name="batch"), ConvBatchNorm(4, kernel_size=1, axis_name="batch")):
        stats = module.init(jax.random.key(0), x, train=True)["batch_stats"]
        stats = stats.get("bn", stats)
        assert (stats["mean"] == 0.0).all() and (stats["var"] == 1.0).all()


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_folding_is_the_plain_sequence(use_bias, precision):
    """Widening 1x1 convolutions fold: values, statistics and gradients are those of conv, then BatchNorm."""
    with jax.enable_x64(precision == np.float64):
        x = jax.random.normal(jax.random.key(0), (3, 4, 4, 5), precision) + 0.5
        folded = ConvBatchNorm(7, kernel_size=1, use_bias=use_bias, momentum=0.7)
        conv, bn = Conv(7, kernel_size=1, use_bias=use_bias), BatchNorm(momentum=0.7)
        variables = random_like(folded.init(jax.random.key(0), x, train=True), jax.random.key(1))
        variables["params"]["conv"]["kernel"] -= 1.0
        variables = jax.tree.map(lambda leaf: leaf.astype(precision), variables)
        target = jax.random.normal(jax.random.key(2), (3, 4, 4, 7), precision)

        def plain(params, x, train):
            y = conv.apply({"params": params["conv"]}, x)
            y, updated = bn.apply(
                {"params": params["bn"], "batch_stats": variables["batch_stats"]["bn"]},
                y,
                train=train,
                mutable=["batch_stats"],
            )
            return y, {"batch_stats": {"bn": updated["batch_stats"]}}

        def ours(params, x, train):
            return folded.apply({**variables, "params": params}, x, train=train, mutable=["batch_stats"])

        @functools.partial(jax.jit, static_argnums=(0, 1))
        def results(f, train):
            def loss(params, x):
                y, updated = f(params, x, train)
                return ((y - target) ** 2).mean(), (y, updated)

            return jax.grad(loss, (0, 1), has_aux=True)(variables["params"], x)

        tolerance = 3e-6 if precision == np.float32 else 1e-12
        for train in (True, False):
            for a, b in zip(jax.tree.leaves(results(ours, train)), jax.tree.leaves(results(plain, train)), strict=True):
                assert a.dtype == b.dtype == precision
                np.testing.assert_allclose(a, b, rtol=tolerance, atol=3 * tolerance)


@pytest.mark.parametrize(
    "options", [{"features": 8, "kernel_size": 1}, {"features": 4, "kernel_size": 3, "depthwise": True}]
)
def test_replicas_average_to_the_global_batch(options):
    """Four devices with a quarter of the batch each do what one does with all of it."""
    x = jax.random.normal(jax.random.key(0), (4, 2, 4, 4, 4)) + jnp.arange(4.0).reshape(4, 1, 1, 1, 1)
    one = ConvBatchNorm(**options)
    variables = one.init(jax.random.key(1), x[0], train=True)
    target = jax.random.normal(jax.random.key(2), (4, 2, 4, 4, options["features"]))

    def gradients(module, x, target):
        def loss(params):
            y, updated = module.apply({**variables, "params": params}, x, train=True, mutable=["batch_stats"])
            return ((y - target) ** 2).mean(), (y, updated)

        return jax.grad(loss, has_aux=True)(variables["params"])

    synchronised = ConvBatchNorm(**options, axis_name="batch")

    def replica(x, target):
        gradient, (y, updated) = gradients(synchronised, x, target)
        return jax.lax.pmean(gradient, "batch"), y, updated

    gradient, y, updated = jax.pmap(replica, axis_name="batch")(x, target)
    expected, (expected_y, expected_stats) = jax.jit(functools.partial(gradients, one))(
        x.reshape(8, 4, 4, 4), target.reshape(8, 4, 4, -1)
    )
    np.testing.assert_allclose(y.reshape(expected_y.shape), expected_y, rtol=1e-4, atol=1e-5)
    for ours, theirs in ((gradient, expected), (updated, expected_stats)):
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
            for one_replica in a:
                np.testing.assert_allclose(one_replica, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("options", [{"kernel_size": 1}, {"kernel_size": 3}], ids=["folded", "plain"])
def test_examples_of_weight_0_are_none(options):
    """On four replicas, of which one and a half hold nothing that counts: as the five examples that do on one."""
    key = jax.random.key(0)
    x, target = (jax.random.normal(each, (8, 3, 3, 4)) + 1.0 for each in jax.random.split(key))
    weights = jnp.where(jnp.arange(8) < 5, 8 / 5, 0.0)
    one = ConvBatchNorm(4, momentum=0.7, **options)
    variables = one.init(jax.random.key(1), x, train=True)

    def gradients(module, x, target, weights):
        def loss(params):
            y, updated = module.apply({**variables, "params": params}, x, train=True, mutable=["batch_stats"])
            return (weights * ((y - target) ** 2).mean((1, 2, 3))).mean(), updated

        return jax.grad(loss, has_aux=True)(variables["params"])

    def replica(x, target, weights):
        gradient, updated = gradients(one.clone(axis_name="batch", weights=weights), x, target, weights)
        return jax.lax.pmean(gradient, "batch"), updated

    spread = [leaf.reshape(4, 2, *leaf.shape[1:]) for leaf in (x, target, weights)]
    found = jax.jit(jax.vmap(replica, axis_name="batch", out_axes=None))(*spread)
    expected = jax.jit(functools.partial(gradients, one))(x[:5], target[:5], jnp.ones(5))
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("module", [BatchNorm(), ConvBatchNorm(4, kernel_size=1)], ids=["plain", "folded"])
def test_hessian_vector_product(module):
    """Forward over reverse against differences of the gradient."""
    with jax.enable_x64(True):
        x = jax.random.normal(jax.random.key(0), (2, 3, 3, 3)) + 2.0
        variables = jax.tree.map(lambda leaf: leaf.astype(x.dtype), module.init(jax.random.key(1), x, train=True))
        direction = jnp.cos(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape)
        gradient = jax.jit(jax.grad(lambda x: jnp.tanh(module.apply(variables, x, train=True) + 0.3).sum()))
        product = jax.jit(lambda x: jax.jvp(gradient, (x,), (direction,))[1])(x)
        step = 1e-5
        difference = (gradient(x + step * direction) - gradient(x - step * direction)) / (2 * step)
        np.testing.assert_allclose(product, difference, rtol=1e-6, atol=1e-8)


def test_variance_beside_a_large_mean():
    """The variance is right although the mean is a thousand times the deviation."""
    x = 1000.0 + jax.random.normal(jax.random.key(0), (8, 4, 4, 3))
    bn = BatchNorm(momentum=0.0)
    _, updated = bn.apply(bn.init(jax.random.key(1), x, train=False), x, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(updated["batch_stats"]["var"], np.asarray(x, np.float64).var((0, 1, 2)), rtol=1e-5)


def test_bfloat16_keeps_statistics_in_float32():
    x = jax.random.normal(jax.random.key(0), (2, 4, 4, 3))
    module = ConvBatchNorm(6, kernel_size=1, dtype=jnp.bfloat16)
    variables = module.init(jax.random.key(0), x, train=True)
    y, updated = module.apply(variables, x, train=True, mutable=["batch_stats"])
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves((variables, updated))} == {jnp.dtype("float32")}
    exact = ConvBatchNorm(6, kernel_size=1).apply(variables, x, train=True)
    np.testing.assert_allclose(y.astype(jnp.float32), exact, atol=0.05)


def test_depthwise_keeps_its_channels():
    with pytest.raises(ValueError, match="keeps its 3 channels"):
        ConvBatchNorm(6, depthwise=True).init(jax.random.key(0), jnp.zeros((1, 4, 4, 3)), train=True)
