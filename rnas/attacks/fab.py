"""FAB: the nearest misclassified image, found by steps onto the linearised decision boundary.

It looks for the smallest perturbation whatever its size; the radius only decides which findings count as success.
Direct calls are checked and compiled (see `direct.py`); while tracing, `epsilon`, `key` and `targets` may be traced.
Examples of a batch do not influence each other.
"""

import functools
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from rnas.attacks.direct import direct
from rnas.attacks.epsilon_parsing import Length, pixel_radius
from rnas.attacks.hyperplane import onto_hyperplane
from rnas.attacks.input_checks import check_count, check_number, check_targets, check_types
from rnas.attacks.logits import predictions, run_model
from rnas.attacks.losses import at
from rnas.attacks.pgd import Logits
from rnas.attacks.projections import TINY, distance, over, select
from rnas.attacks.random_start import folded, noise, per_example_keys
from rnas.attacks.result import AttackResult, unseen
from rnas.attacks.stored import stored

DUAL = {"linf": "l1", "l2": "l2", "l1": "linf"}
SHORTEST = 1e-8  # moves count as at least this long where their lengths are compared


class Nearest(NamedTuple):
    """The nearest misclassified images seen."""

    images: jax.Array  # [N, ...]
    distance: jax.Array  # [N], inf where there is none


class Plane(NamedTuple):
    """A decision boundary, linearised."""

    lead: jax.Array  # [N], of a class over the label
    slope: jax.Array  # [N, ...]


@direct("targets")
def fab(
    logits_fn: Logits,
    images: jax.Array,
    labels: jax.Array,
    *,
    epsilon: Length,
    key: jax.Array,
    norm: str = "linf",
    steps: int = 100,
    restarts: int = 1,
    targets: jax.Array | None = None,
    alpha_max: float = 0.1,
    eta: float = 1.05,
    beta: float = 0.9,
) -> AttackResult:
    """Fast adaptive boundary attack (Croce & Hein 2020, arXiv 1907.02044, algorithm 1), without final search.

    A step moves from the iterate and from the clean image onto the hyperplane where the linearised model ties, and a
    little beyond; it mixes the two, the nearer one counting more, and goes part of the way back to the clean image
    wherever the model was fooled. Every image that the model sees is judged, so an input that is misclassified as it
    stands is found at distance 0.

    Costs `steps` gradients and `steps` forward passes for each restart; untargeted K - 1 times the gradients.

    Args:
      logits_fn, images, labels, epsilon, key: as for `pgd`, as are errors; the key is used from restart 2 on.
      norm: 'linf', 'l2' or 'l1', in which distances are measured.
      steps: steps of each restart, at least 1.
      restarts: runs; the first starts at `images`, each other one at a random point epsilon / 2 away.
      targets: classes, integers [N] other than the labels, whose boundary with the label is approached (FAB-T); None
        approaches the nearest boundary of the linearised model, anew in each step. Any wrong class counts.
      alpha_max: upper bound of the weight of the clean image's move, in [0, 1].
      eta: how far to go, as a multiple of the way onto the hyperplane.
      beta: share of the perturbation that remains after a step back, in (0, 1).

    Returns:
      An `AttackResult`. `images` are the nearest misclassified images found, where they lie within epsilon; `success`
      is true there. `loss` is minus their distance in `norm`, also where it exceeds epsilon, and -inf where none was
      found. `queries` counts gradient and forward passes alike, an untargeted gradient as one. `last_success`: whether
      the last point tested, of any restart, was misclassified and within epsilon.
    """
    check_types(images, labels)
    epsilon = pixel_radius(epsilon, norm)
    check_count("steps", steps, least=1)
    check_count("restarts", restarts, least=1)
    for name, share in (("alpha_max", alpha_max), ("beta", beta)):
        check_number(name, share, 0, 1)
    check_number("eta", eta, least=0)
    if targets is not None:
        check_targets(targets, labels)
    images = lax.stop_gradient(images)
    keys = per_example_keys(key, len(images))
    if len(images) == 0:
        return unseen(images)

    clean = images.reshape(len(images), -1)

    def step(_, state):
        points, _, nearest = state
        logits, plane = linearise(logits_fn, points, labels, targets, norm)
        nearest = keep_nearest(nearest, points, distance(points - images, norm), predictions(logits) != labels)

        # The projections pass over slopes many times.
        here, slope = points.reshape(clean.shape), stored(plane.slope).reshape(clean.shape)
        offset = jnp.sum(slope * here, axis=1) - plane.lead
        moves = onto_hyperplane(jnp.stack([here, clean]), slope[None], offset[None], norm)
        near, far = (jnp.maximum(distance(move, norm), SHORTEST) for move in moves)
        alpha = jnp.minimum(near / (near + far), alpha_max)[:, None]
        mixed = (here + eta * moves[0]) * (1 - alpha) + (clean + eta * moves[1]) * alpha
        tested = stored(jnp.clip(mixed, 0.0, 1.0).reshape(images.shape))

        fooled = predictions(run_model(logits_fn, tested)) != labels
        length = distance(tested - images, norm)
        nearest = keep_nearest(nearest, tested, length, fooled)
        points = jnp.where(over(fooled, tested), images + beta * (tested - images), tested)
        return points, fooled & (length <= epsilon), nearest

    def run(restart, carry):
        last_before, nearest = carry
        fresh = folded(keys, restart)
        start = jnp.where(restart == 0, images, halfway(fresh, images, epsilon, norm))
        _, last, nearest = lax.fori_loop(0, steps, step, (start, last_before, nearest))
        return last | last_before, nearest

    none = jnp.zeros(len(images), bool)
    infinitely_far = jnp.full(len(images), jnp.inf, images.dtype)
    last_success, nearest = lax.fori_loop(0, restarts, run, (none, Nearest(images, infinitely_far)))
    success = nearest.distance <= epsilon
    found, loss = select(success, nearest.images, images), -nearest.distance
    queries = jnp.full(len(images), 2 * steps * restarts, jnp.int32)
    return lax.stop_gradient(AttackResult(found, success, loss, queries, last_success))


def linearise(
    logits_fn: Logits, points: jax.Array, labels: jax.Array, targets: jax.Array | None, norm: str
) -> tuple[jax.Array, Plane]:
    """Returns the logits [N, K] at `points` and the boundary with `targets`, or with None the nearest of them all."""
    logits, pull_back = jax.vjp(functools.partial(run_model, logits_fn), points)
    classes = logits.shape[1]
    if classes < 2:
        raise ValueError(f"FAB needs at least 2 classes, got K={classes}; a model with one class cannot be fooled.")

    def boundary(rivals: jax.Array) -> Plane:
        sides = jax.nn.one_hot(jnp.stack([rivals, labels]), classes, dtype=logits.dtype)
        (slope,) = pull_back(sides[0] - sides[1])
        lead = (at(logits, rivals) - at(logits, labels)).astype(points.dtype)
        return Plane(lead, jnp.where(jnp.isfinite(slope), slope, 0.0))

    if targets is not None:
        return logits, boundary(targets)

    def nearer(offset, best):
        plane = boundary((labels + offset) % classes)
        gap = jnp.abs(plane.lead) / (distance(plane.slope, DUAL[norm]) + TINY)
        return select(gap < best[0], (gap, plane), best)

    # One class after another: all slopes at once would multiply the memory of the backward pass by K.
    flat = Plane(jnp.zeros(len(points), points.dtype), jnp.zeros_like(points))
    infinitely_far = jnp.full(len(points), jnp.inf, points.dtype)
    return logits, lax.fori_loop(1, classes, nearer, (infinitely_far, flat))[1]


def keep_nearest(nearest: Nearest, points: jax.Array, length: jax.Array, fooled: jax.Array) -> Nearest:
    """Adds `points` [N, ...] at distances `length` [N], wherever they fooled the model and nothing nearer did."""
    return select(fooled & (length < nearest.distance), Nearest(points, length), nearest)


def halfway(keys: jax.Array, images: jax.Array, epsilon: float | jax.Array, norm: str) -> jax.Array:
    """Returns random points [N, ...] at distance epsilon / 2 from `images`, clipped to [0, 1]."""
    move = noise(keys, images, norm)
    length = jnp.asarray(0.5 * epsilon, images.dtype) / (distance(move, norm) + TINY)
    return jnp.clip(images + move * over(length, move), 0.0, 1.0)
