"""Attention maps, distances and the cross-layer loss against explicit loops."""

import math

import jax
import jax.numpy as jnp
from jax.test_util import check_grads
import numpy as np
import pytest

from rnas.objectives import (
    attention_distances,
    attention_map,
    attention_maps,
    cross_layer_loss,
    paired_distances,
)

# One program per shape compiles faster than its operations one by one.
mapped = jax.jit(attention_map, static_argnums=(1, 2))


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def bilinear(length, size):
    """Half-pixel bilinear weights [size, length] without antialiasing, point by point."""
    matrix = np.zeros((size, length))
    for row in range(size):
        position = max((row + 0.5) * length / size - 0.5, 0.0)
        left = min(int(math.floor(position)), length - 1)
        right = min(left + 1, length - 1)
        matrix[row, left] += 1 - (position - left)
        matrix[row, right] += position - left
    return matrix


def reference_map(tap, size):
    """Resized, unnormalised attention maps [N, size·size] in float64, in loops."""
    count, height, width, channels = tap.shape
    rows, columns = bilinear(height, size), bilinear(width, size)
    maps = np.zeros((count, height, width))
    for n in range(count):
        for h in range(height):
            for w in range(width):
                for c in range(channels):
                    maps[n, h, w] += float(tap[n, h, w, c]) ** 2
    return np.stack([(rows @ one @ columns.T).ravel() for one in maps])


def unit(maps):
    return maps / np.linalg.norm(maps, axis=-1, keepdims=True)


@pytest.mark.parametrize("height, width", [(32, 32), (16, 16), (14, 14), (8, 8), (4, 4), (1, 1), (8, 20)])
def test_map_equals_loops_at_every_resolution(height, width):
    tap = normal(height, 2, height, width, 3)
    expected = unit(reference_map(tap, 14))
    np.testing.assert_allclose(mapped(jnp.asarray(tap), 14), expected, atol=1e-6)


@pytest.mark.parametrize("length", [32, 16, 4])
def test_resize_equals_torch_without_antialiasing(length):
    torch = pytest.importorskip("torch", reason="compares with torch, which is not installed")
    tap = normal(length, 3, length, length, 2)
    energy = torch.from_numpy((tap**2).sum(-1))[:, None]
    resized = torch.nn.functional.interpolate(energy, size=(14, 14), mode="bilinear", align_corners=False)
    expected = unit(resized.numpy().reshape(3, -1))
    np.testing.assert_allclose(mapped(jnp.asarray(tap), 14), expected, atol=1e-6)


def test_shrinking_does_not_antialias():
    tap = jnp.asarray(normal(0, 1, 32, 32, 1))
    smooth = unit(np.ravel(jax.image.resize(tap[..., 0] ** 2, (1, 14, 14), "bilinear", antialias=True)))
    assert np.abs(np.asarray(mapped(tap, 14))[0] - smooth).max() > 0.02


def test_bfloat16_taps_are_summed_in_float32():
    # 1,000 ones cannot be counted one by one in bfloat16, whose integers end at 256.
    active = jnp.arange(1000)[None] < jnp.array([1000, 500, 251, 1])[:, None]
    tap = active.reshape(1, 2, 2, 1000).astype(jnp.bfloat16)
    maps = mapped(tap, 2)
    assert maps.dtype == jnp.float32
    np.testing.assert_allclose(maps[0] / maps[0, 0], [1, 0.5, 0.251, 0.001], rtol=1e-5)


def test_backward_pass_keeps_no_float32_copy_of_a_bfloat16_tap():
    tap = jax.ShapeDtypeStruct((4, 16, 16, 64), jnp.bfloat16)
    gradient = jax.jit(jax.grad(lambda tap: attention_map(tap, 14)[:, 0].sum())).lower(tap).compile()
    assert gradient.memory_analysis().temp_size_in_bytes < 0.5 * tap.size * tap.dtype.itemsize


def test_maps_follow_the_order_of_names():
    out = {
        name: jnp.asarray(normal(seed, 2, size, size, seed + 1))
        for seed, (name, size) in enumerate([("stem", 16), ("a", 16), ("b", 8), ("c", 4), ("d", 8)])
    }
    names = ("d", "stem", "a", "c", "b")
    maps = jax.jit(attention_maps, static_argnums=(1, 2))(out, names, 6)
    assert maps.shape == (2, 5, 36)
    for row, name in enumerate(names):
        np.testing.assert_allclose(maps[:, row], unit(reference_map(np.asarray(out[name]), 6)), atol=1e-6)


def test_scaling_one_example_changes_nothing():
    tap = normal(1, 4, 8, 8, 3)
    scaled = tap * np.array([1, 1e-3, 1, 200], np.float32).reshape(4, 1, 1, 1)
    maps = mapped(jnp.asarray(tap), 6)
    np.testing.assert_allclose(mapped(jnp.asarray(scaled), 6), maps, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(maps, axis=1), 1, rtol=1e-6)


def test_one_norm_for_the_batch_gives_the_distance_of_whole_batches():
    student, teacher = normal(2, 4, 8, 8, 3), normal(3, 4, 5, 5, 6)
    student[0] *= 3  # now the other examples weigh less
    s, t = (unit(reference_map(tap, 6).reshape(1, -1))[0] for tap in (student, teacher))
    maps = [mapped(jnp.asarray(tap), 6, "per_batch")[:, None] for tap in (student, teacher)]
    distances = attention_distances(*maps)
    np.testing.assert_allclose(jnp.mean(distances), np.sum((s - t) ** 2), rtol=1e-5)
    norms = np.linalg.norm(maps[0][:, 0], axis=1)
    assert norms[0] > 3 * norms[1:].max()


def test_distances_equal_loops():
    student, teacher = unit(np.abs(normal(4, 3, 2, 9))), unit(np.abs(normal(5, 3, 4, 9)))
    distances = attention_distances(jnp.asarray(student), jnp.asarray(teacher))
    assert distances.shape == (3, 2, 4)
    for n in range(3):
        for i in range(2):
            for j in range(4):
                expected = sum((a - b) ** 2 for a, b in zip(student[n, i], teacher[n, j], strict=True))
                np.testing.assert_allclose(distances[n, i, j], expected, atol=1e-6)


def test_paired_distances_are_those_of_the_chosen_tutors():
    student, teacher = unit(np.abs(normal(6, 2, 3, 9))), unit(np.abs(normal(7, 2, 5, 9)))
    tutors = np.array([4, 0, 4])
    paired = paired_distances(jnp.asarray(student), jnp.asarray(teacher[:, tutors]))
    np.testing.assert_allclose(paired, np.sum((student - teacher[:, tutors]) ** 2, axis=-1), atol=1e-6)


def test_proportional_taps_are_at_distance_zero(float64):
    tap = normal(8, 3, 8, 8, 4).astype(np.float64)
    # The same energy in other channels, at another scale per example.
    other = np.roll(tap, 1, axis=-1) * np.array([0.1, 5.0, -2.0]).reshape(3, 1, 1, 1)
    s, t = (attention_maps({"tap": jnp.asarray(a)}, ["tap"], 14) for a in (tap, other))
    np.testing.assert_allclose(attention_distances(s, t), 0, atol=1e-14)


@pytest.mark.parametrize("normalise", ["per_sample", "per_batch"])
@pytest.mark.parametrize("dead", [slice(None), slice(0, 1)])
def test_dead_layer_is_at_distance_two_with_finite_gradients(normalise, dead):
    teacher = mapped(jnp.asarray(normal(9, 2, 8, 8, 3)), 6, normalise)[:, None]
    tap = jnp.asarray(normal(10, 2, 4, 4, 3)).at[dead].set(0.0)

    @jax.jit
    def distances(tap):
        return attention_distances(attention_map(tap, 6, normalise)[:, None], teacher)[:, 0, 0]

    np.testing.assert_array_equal(distances(tap)[dead], 2.0)
    gradient = jax.jit(jax.grad(lambda tap: distances(tap).sum()))(tap)
    assert np.all(np.isfinite(gradient))
    np.testing.assert_array_equal(gradient[dead], 0.0)


@pytest.mark.parametrize("reduction, scale", [("sum_layers", 1.0), ("paper", 1 / 12)])
def test_cross_layer_loss_equals_loops(reduction, scale):
    distances, weights = np.abs(normal(11, 2, 3, 4)), np.abs(normal(12, 3, 4))
    loss = cross_layer_loss(jnp.asarray(distances), jnp.asarray(weights), reduction)
    expected = [scale * sum(weights[i, j] * distances[n, i, j] for i in range(3) for j in range(4)) for n in range(2)]
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_gradients_of_the_whole_chain(float64):
    teacher = attention_maps({"t": jnp.asarray(normal(13, 2, 3, 3, 2), float)}, ["t"] * 2, 4)
    taps = {"a": jnp.asarray(normal(14, 2, 5, 5, 2), float), "b": jnp.asarray(normal(15, 2, 3, 3, 2), float)}

    @jax.jit
    def loss(taps, weights):
        maps = attention_maps(taps, ("a", "b"), 4)
        return cross_layer_loss(attention_distances(maps, teacher), weights) + paired_distances(maps, teacher)[:, 0]

    check_grads(loss, (taps, jnp.asarray(normal(16, 2, 2), float)), order=1, rtol=1e-6)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda tap: attention_map(tap[0], 4), r"\(4, 4, 3\).*\[N,H,W,C\]"),
        (lambda tap: attention_map(tap, 0), "size is 0"),
        (lambda tap: attention_map(tap, 4, "per_layer"), "'per_layer'.*'per_sample' or 'per_batch'"),
        (lambda tap: attention_maps({"stem": tap}, ["stem", "steam"], 4), r"\['steam'\].*stem"),
        (lambda tap: attention_maps({"stem": tap}, [], 4), "one or more of stem"),
        (lambda tap: attention_distances(tap[0], tap[0, :, :, :2]), r"\(4, 4, 3\).*\(4, 4, 2\)"),
        (lambda tap: attention_distances(tap[0], tap[0, :1]), r"\(4, 4, 3\).*\(1, 4, 3\)"),
        (lambda tap: paired_distances(tap[0], tap[0, :, :1]), r"\(4, 4, 3\).*\(4, 1, 3\)"),
        (lambda tap: cross_layer_loss(tap[0], tap[0, 0].T), r"\(4, 4, 3\).*\(3, 4\)"),
        (lambda tap: cross_layer_loss(tap[0], tap[0, 0], "mean"), "'mean'.*'sum_layers' or 'paper'"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(jnp.ones((2, 4, 4, 3)))
