"""Moves onto hyperplanes inside the box: recorded ones, NumPy versions, solvers, and cases at the edge."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from rnas.attacks.hyperplane import level, onto_hyperplane

NORMS = ("linf", "l2", "l1")
ORDER = {"linf": np.inf, "l2": 2, "l1": 1}
onto = jax.jit(onto_hyperplane, static_argnums=3)


def problems():
    """Points of which many coordinates touch the box, some flat normals, hyperplanes near, far and out of reach."""
    rng = np.random.default_rng(3)
    points = np.clip(rng.normal(0.4, 0.4, (240, 17)), 0, 1).astype(np.float32)
    w = rng.normal(0, 1, points.shape) * 10.0 ** rng.integers(-3, 2, points.shape)
    w[:60, ::3] = 0
    w = w.astype(np.float32)
    toward = rng.choice([-1.0, 1.0], len(w))
    room = np.where(toward[:, None] * w > 0, 1 - points, points)
    full = (abs(w) * room).sum(1, dtype=np.float64)
    share = rng.choice([0.0, 0.01, 0.3, 0.9, 1.5], len(w))
    return points, w, ((w * points).sum(1, dtype=np.float64) + toward * share * full).astype(np.float32), share > 1


def numpy_moves(points, w, b, norm):
    """In float64: one multiplier found by bisection, in L1 coordinates spent one after another."""
    points, w, b = (array.astype(np.float64) for array in (points, w, b))
    moves = np.zeros_like(points)
    for v, normal, offset, move in zip(points, w, b, moves, strict=True):
        need = offset - normal @ v
        toward = np.sign(need) * normal
        room = np.where(toward > 0, 1 - v, v)
        room[(abs(toward) < 1e-8) & ((norm != "linf") | (toward == 0))] = 0
        need = abs(need)
        if abs(toward) @ room <= need:
            move[:] = np.sign(toward) * room
        elif norm == "l1":
            for i in np.argsort(-abs(toward)):
                move[i] = np.sign(toward[i]) * min(room[i], need / max(abs(toward[i]), 1e-300))
                need -= abs(toward[i] * move[i])
        else:
            steer = np.sign(toward) if norm == "linf" else toward
            low, high = 0.0, 1e9
            for _ in range(200):
                middle = 0.5 * (low + high)
                move[:] = np.sign(toward) * np.minimum(abs(steer) * middle, room)
                low, high = (middle, high) if toward @ move < need else (low, middle)
    return moves


@pytest.mark.parametrize(("norm", "tolerance"), [("linf", 1e-6), ("l2", 1e-6), ("l1", 1e-5)])
def test_recorded_projections(shared, norm, tolerance):
    with np.load(shared / "golden" / "attacks" / "e4_projections.npz") as file:
        points, w, b, expected = (file[name] for name in ("pts", "w", "b", f"d_{norm}"))
    moves = np.asarray(onto(points, w, b, norm))
    np.testing.assert_allclose(moves, expected, atol=tolerance)
    residual = abs((w * (points + moves)).sum(1, dtype=np.float64) - b)
    assert (residual < 5e-6).sum() == 61 and (residual > 1).sum() == 3


@pytest.mark.parametrize("norm", NORMS)
def test_equal_to_the_numpy_version(norm):
    points, w, b, unreachable = problems()
    moves = np.asarray(onto(points, w, b, norm))
    expected = numpy_moves(points, w, b, norm)
    lengths, shortest = (np.linalg.norm(array, ORDER[norm], axis=1) for array in (moves, expected))
    np.testing.assert_allclose(lengths, shortest, rtol=2e-5, atol=1e-6)
    reached = points + moves
    assert reached.min() >= -1e-7 and reached.max() <= 1 + 1e-7
    residual = abs((w * reached).sum(1, dtype=np.float64) - b)
    np.testing.assert_array_less(residual[~unreachable], 1e-5 * (1 + abs(w).sum(1))[~unreachable])
    np.testing.assert_allclose(moves[unreachable], expected[unreachable], atol=1e-6)
    assert not moves[:60, ::3].any()


@pytest.mark.parametrize("norm", NORMS)
def test_no_solver_finds_a_shorter_move(norm):
    points, w, b, unreachable = problems()
    chosen = [n for n in range(60, 120) if 1e-3 < abs(w[n] @ points[n] - b[n]) < 20 and not unreachable[n]][:6]
    moves = np.asarray(onto(points, w, b, norm))
    for n in chosen:
        v, normal, need = (
            points[n].astype(np.float64),
            w[n].astype(np.float64),
            b[n] - w[n].astype(np.float64) @ points[n],
        )
        if norm == "l2":
            # The dual of the quadratic programme has one unknown; its optimum is the squared length.
            def dual(multiplier, v=v, normal=normal, need=need):
                move = np.clip(multiplier * normal, -v, 1 - v)
                return -(move @ move + 2 * multiplier * (need - normal @ move))

            top = max(1.0, 2 / abs(normal[abs(normal) > 0]).min())
            best = -optimize.minimize_scalar(dual, bounds=(-top, top), options={"xatol": 1e-12}).fun
            np.testing.assert_allclose(moves[n] @ moves[n], best, rtol=1e-4, atol=1e-8)
            continue
        size = len(v)
        if norm == "l1":  # move = up - down
            cost, rows, extra = np.ones(2 * size), np.r_[normal, -normal], {}
            bounds = [*zip(np.zeros(size), 1 - v, strict=True), *zip(np.zeros(size), v, strict=True)]
        else:  # minimise the last variable, which bounds every coordinate on both sides
            cost, rows = np.r_[np.zeros(size), 1.0], np.r_[normal, 0.0]
            sides = np.block([[np.eye(size), -np.ones((size, 1))], [-np.eye(size), -np.ones((size, 1))]])
            extra = {"A_ub": sides, "b_ub": np.zeros(2 * size)}
            bounds = [*zip(-v, 1 - v, strict=True), (0, 1)]
        solved = optimize.linprog(cost, A_eq=rows[None], b_eq=[need], bounds=bounds, **extra)
        assert solved.status == 0
        np.testing.assert_allclose(np.linalg.norm(moves[n], ORDER[norm]), solved.fun, rtol=1e-4, atol=1e-6)
    assert len(chosen) == 6


@pytest.mark.parametrize("norm", NORMS)
def test_equal_rates_share_the_move(norm):
    moves = onto(jnp.full((1, 4), 0.5), jnp.array([[2.0, -2.0, 2.0, 0.0]]), jnp.array([2.5]), norm)
    np.testing.assert_allclose(moves, [[0.25, -0.25, 0.25, 0.0]], atol=1e-6)


def test_breakpoints_of_every_size():
    """Over ten orders of magnitude the search passes them almost one by one, and still ends on the root."""
    rng = np.random.default_rng(4)
    reach = (10.0 ** rng.uniform(-5, 5, (40, 60))).astype(np.float32)
    weight = (10.0 ** rng.uniform(-0.5, 0.5, reach.shape) / reach).astype(np.float32)
    need = (np.linspace(0, 0.999, len(reach)) * (weight * reach).sum(1)).astype(np.float32)
    root = np.asarray(jax.jit(level)(reach, weight, need))[:, None]
    total = (weight.astype(np.float64) * np.minimum(reach, root)).sum(1)
    np.testing.assert_allclose(total, need, rtol=1e-5)
    assert np.all(jax.jit(level)(reach, weight, 1.01 * (weight * reach).sum(1)) >= reach.max(1))


@pytest.mark.parametrize("norm", NORMS)
def test_nothing_to_do(norm):
    """No normal, and points that lie on the hyperplane already: no move, and no division by zero."""
    points = jnp.full((3, 5), 0.25)
    w = jnp.array([[0.0] * 5, [0.0] * 5, [1.0, 0.0, -1.0, 0.0, 0.0]])
    moves = onto(points, w, jnp.array([1.0, 0.0, 0.0]), norm)
    np.testing.assert_array_equal(moves, np.zeros((3, 5)))


@pytest.mark.parametrize("norm", NORMS)
def test_neighbours_do_not_matter(norm):
    """Rows that need more passes leave the others' bits alone, also along leading axes."""
    points, w, b, _ = problems()
    together = onto(np.stack([points, 1 - points]), w[None], b[None], norm)
    np.testing.assert_array_equal(together[0], onto(np.stack([points, points]), w[None], b[None], norm)[1])
    np.testing.assert_allclose(together[1], onto(1 - points, w, b, norm), atol=1e-4)


def test_refuses_unknown_norms():
    with pytest.raises(ValueError, match="unknown norm 'l3'; expected one of linf, l2, l1"):
        onto_hyperplane(jnp.zeros((1, 2)), jnp.ones((1, 2)), jnp.ones(1), "l3")
