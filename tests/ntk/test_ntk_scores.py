"""Scores against NumPy's own functions, and their values where a kernel is singular."""

import numpy as np
import pytest

from rnas.ntk import ntk_scores


@pytest.fixture
def kernel():
    random = np.random.default_rng(0).normal(size=(6, 40))
    return random @ random.T


def test_scores_are_those_of_numpy(kernel):
    labels = np.array([0, 1, 2, 0, 1, 2])
    found = ntk_scores(kernel, labels)
    values = np.linalg.eigvals(kernel).real
    assert found.lambda_min == pytest.approx(values.min())
    assert found.lambda_max == pytest.approx(values.max())
    assert found.frobenius == pytest.approx(np.linalg.norm(kernel))
    assert found.trace == pytest.approx(kernel.diagonal().sum())
    assert found.condition == pytest.approx(np.linalg.cond(kernel))
    assert found.mean == pytest.approx(kernel.mean())
    assert found.rank == 6 and not found.degenerate
    jittered = kernel + 1e-6 * kernel.trace() / 6 * np.eye(6)
    assert found.log_det == pytest.approx(np.log(np.linalg.det(jittered)))
    y = np.eye(3)[labels] - 1 / 3
    assert found.fit == pytest.approx(np.sqrt(np.trace(y.T @ np.linalg.inv(kernel) @ y) / 6))


def test_labels_may_be_targets(kernel):
    y = np.array([1.0, -1.0, 1.0, 1.0, -1.0, -1.0])
    expected = np.sqrt(y @ np.linalg.solve(kernel, y) / 6)
    assert ntk_scores(kernel, y).fit == ntk_scores(kernel, y[:, None]).fit == pytest.approx(expected)
    assert np.isnan(ntk_scores(kernel).fit)


@pytest.mark.parametrize(
    ("kernel", "rank"), [(np.full((6, 6), 3.0), 1), (np.zeros((6, 6)), 0), (np.outer(np.arange(6), np.arange(6)), 1)]
)
def test_a_dead_network_has_finite_scores(kernel, rank):
    found = ntk_scores(kernel, np.array([0, 1, 2, 0, 1, 2]))
    assert np.isfinite(found).all()
    assert found.rank == rank and found.degenerate
    assert found.condition == pytest.approx(2.0**23 / 6, rel=1e-6)
    assert found.trace == kernel.trace()


def test_scaling(kernel):
    one, other = ntk_scores(kernel, np.arange(6) % 2), ntk_scores(4 * kernel, np.arange(6) % 2)
    assert other.condition == pytest.approx(one.condition)
    assert other.lambda_min == pytest.approx(4 * one.lambda_min)
    assert other.fit == pytest.approx(one.fit / 2)
    assert other.log_det == pytest.approx(one.log_det + 6 * np.log(4))


@pytest.mark.parametrize(
    ("kernel", "labels", "message"),
    [
        (np.ones((2, 3)), None, "expected \\[N, N\\]"),
        (np.ones((3, 2, 2)), None, "one kernel at a time"),
        (np.array([[1.0, np.nan], [np.nan, 1.0]]), None, "not finite"),
        (np.array([[1.0, 2.0], [0.0, 1.0]]), None, "mixed_kernels"),
        (np.eye(2), np.arange(3), "labels of shape \\(3,\\)"),
    ],
)
def test_mistakes_are_named(kernel, labels, message):
    with pytest.raises(ValueError, match=message):
        ntk_scores(kernel, labels)
