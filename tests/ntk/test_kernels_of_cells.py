"""Kernels and ReLUs of the network of NAS-Bench-201: one program for every cell, equal to the fixed network."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnas.models import NASBench201
from rnas.models.nasbench201_network import fixed_variables, nn
from rnas.ntk import activation_kernel, empirical_ntk, frozen_statistics
from rnas.spaces.nasbench201 import SIZE, encode

TINY = {"num_classes": 2, "mean": (0.5,), "std": (0.25,), "channels": 2, "cells": 1}
DEAD = ("333000", "000034", "300002", "004041", "004003")


@pytest.fixture(scope="module")
def network():
    """(traced model, its variables, images [4, 8, 8, 1])."""
    model = NASBench201(**TINY)
    images = jax.random.uniform(jax.random.key(0), (4, 8, 8, 1))
    shapes = jax.eval_shape(model.init, jax.random.key(0), images, jnp.zeros(6, jnp.int32))
    random = np.random.default_rng(0)  # compiles nothing, unlike the initialisation itself
    return model, jax.tree.map(lambda leaf: random.normal(size=leaf.shape).astype(np.float32) / 2, shapes), images


@pytest.fixture(scope="module")
def measured(network):
    """encoding [6] → (kernel, agreements of ReLUs); refuses to be traced twice."""
    model, variables, images = network

    @jax.jit
    @chex.assert_max_traces(n=1)
    def measure(encoding):
        frozen = frozen_statistics(model, variables, images, encoding)
        kernel = empirical_ntk(lambda variables, x: model.apply(variables, x, encoding), frozen, images)
        return kernel, activation_kernel(model, frozen, images, encoding)

    return lambda code: jax.device_get(measure(jnp.array(encode(code))))


def test_one_compilation_scores_every_cell(measured):
    codes = np.random.default_rng(0).choice(SIZE, 50, replace=False).tolist()
    for code in (*codes, *(str(digit) * 6 for digit in range(5))):
        kernel, _ = measured(code)
        scale = np.abs(kernel).max()
        np.testing.assert_allclose(kernel, kernel.T, atol=1e-5 * scale)
        assert np.linalg.eigvalsh(kernel.astype(np.float64)).min() > -1e-5 * scale


@pytest.mark.parametrize("code", DEAD)
def test_dead_cells_have_kernels_of_rank_one(measured, code):
    kernel, _ = measured(code)
    np.testing.assert_allclose(kernel, kernel[0, 0], rtol=1e-4)


@pytest.mark.parametrize("code", ["333133", "012340", "000000"])
def test_relus_are_counted(measured, code):
    """One before every convolution, as large as what it reads, and one at the end."""
    _, agreements = measured(code)
    sizes = [8 * 8 * 2, 4 * 4 * 4, 2 * 2 * 8]
    edges = sum(digit in "23" for digit in code)
    expected = edges * sum(sizes) + (sizes[0] + sizes[1]) + (sizes[1] + sizes[2]) + sizes[2]
    np.testing.assert_array_equal(agreements.diagonal(), expected)
    np.testing.assert_array_equal(agreements, agreements.T)
    assert (agreements <= expected).all()


@pytest.mark.slow
@pytest.mark.parametrize("code", ["333133", "012340"])
def test_the_fixed_network_agrees(network, measured, code, monkeypatch):
    _, variables, images = network
    kernel, agreements = measured(code)
    fixed = NASBench201(**TINY, arch=code)
    frozen = frozen_statistics(fixed, fixed_variables(variables, code), images)
    explicit = jax.jit(jax.jacrev(lambda params: fixed.apply({**frozen, "params": params}, images)[0].sum(1)))
    jacobian = [np.asarray(leaf, np.float64).reshape(4, -1) for leaf in jax.tree.leaves(explicit(frozen["params"]))]
    expected = sum(leaf @ leaf.T for leaf in jacobian)
    np.testing.assert_allclose(kernel, expected, atol=1e-5 * np.abs(expected).max())

    codes, relu = [], nn.relu
    monkeypatch.setattr(nn, "relu", lambda x: codes.append(np.asarray(x).reshape(4, -1) > 0) or relu(x))
    fixed.apply(frozen, images)
    codes = np.concatenate(codes, 1)
    np.testing.assert_array_equal(agreements, (codes[:, None] == codes).sum(-1))
