"""What the automatic checks measure on the model, one row per example.

Pure like the attacks: nothing is jitted here, `epsilon`, `key`, `radius` and `draws` may be traced, and nothing
returned carries a gradient. Arguments and errors are those of `pgd`; `norm` may be 'l1' too. Examples do not influence
each other, so a batch may be padded.
"""

import functools
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from rnas.attacks.epsilon_parsing import Length, pixel_radius
from rnas.attacks.input_checks import check_types
from rnas.attacks.logits import predictions, run_model
from rnas.attacks.losses import cross_entropy, margin
from rnas.attacks.pgd import Logits
from rnas.attacks.projections import TINY, distance, over
from rnas.attacks.random_start import folded, initial_images, per_example_keys
from rnas.attacks.result import AttackResult, seen, unseen

VANISHED = 1e-7  # cross-entropy below this: its gradient no longer leads anywhere
PLACES = tuple(
    f"{loss} at {place}" for place in ("the image", "a random start") for loss in ("cross-entropy", "margin")
)


class GradientHealth(NamedTuple):
    """Which gradients an attack could not use."""

    zero: jax.Array  # bool [N, 4], every entry of the gradient is 0; columns are those of `PLACES`
    broken: jax.Array  # bool [N, 4], some entry is NaN or infinite
    vanished: jax.Array  # bool [N, 2], cross-entropy is below 1e-7, at the image and at the random start


class Stability(NamedTuple):
    """How much the loss moves, and how much its gradient allows it to move."""

    change: jax.Array  # [N], mean over draws of |L(x + δ) - L(x)| / |L(x)|
    slope: jax.Array  # [N], radius · ‖∇L(x)‖₁ / |L(x)|: what the gradient allows anywhere in the ball, to first order


def gradient_health(
    logits_fn: Logits, images: jax.Array, labels: jax.Array, *, epsilon: Length, key: jax.Array, norm: str = "linf"
) -> GradientHealth:
    """Looks at the input gradients of cross-entropy and margin, at the image and at a random start.

    Costs 2 forward and 4 backward passes.
    """
    check_types(images, labels)
    images = lax.stop_gradient(images)
    keys = per_example_keys(key, len(images))
    if norm == "l1":
        start = sign_draw(keys, images, epsilon, norm)
    else:
        start = initial_images(keys, images, epsilon, "uniform", norm)

    def look(points):
        logits, pull_back = jax.vjp(functools.partial(run_model, logits_fn), points)
        slopes = [jax.grad(lambda z, loss=loss: loss(z, labels).sum())(logits) for loss in (cross_entropy, margin)]
        rows = [pull_back(slope)[0].reshape(len(points), points[0].size) for slope in slopes]
        return GradientHealth(
            zero=jnp.stack([jnp.all(row == 0, axis=1) for row in rows], axis=1),
            broken=jnp.stack([~jnp.all(jnp.isfinite(row), axis=1) for row in rows], axis=1),
            vanished=cross_entropy(logits, labels)[:, None] < VANISHED,
        )

    # A loop over the two points, because the model is then compiled once.
    both = lax.map(look, jnp.stack([images, start]))
    return lax.stop_gradient(jax.tree.map(lambda field: jnp.concatenate(list(field), axis=1), both))


def random_noise(
    logits_fn: Logits,
    images: jax.Array,
    labels: jax.Array,
    *,
    epsilon: Length,
    key: jax.Array,
    norm: str = "linf",
    draws: int | jax.Array = 100,
) -> AttackResult:
    """Adds random signs of length ε and clips to [0, 1]: an attack that any useful gradient should beat.

    A thorough search draws 10,000 times and more (Carlini et al. 2019, arXiv 1902.06705, section 5.3). The clean image
    is not looked at; `loss` of the result is the margin, `last_success` that of the last draw. Costs `draws` forward
    passes.
    """
    check_types(images, labels)
    images = lax.stop_gradient(images)
    keys = per_example_keys(key, len(images))
    if len(images) == 0:
        return unseen(images)

    def draw(index, result):
        points = sign_draw(folded(keys, index), images, epsilon, norm)
        logits = run_model(logits_fn, points)
        return seen(result, points, predictions(logits) != labels, margin(logits, labels))

    return lax.stop_gradient(lax.fori_loop(0, draws, draw, unseen(images)))


def loss_stability(
    logits_fn: Logits,
    images: jax.Array,
    labels: jax.Array,
    *,
    key: jax.Array,
    radius: Length = 8 / 255,
    draws: int | jax.Array = 100,
) -> Stability:
    """Compares how much the margin moves in an Linf ball with what its gradient predicts.

    After the unstable predictions of Pintor et al. (2022, arXiv 2106.09947). The loss is the margin, because the
    cross-entropy of a confident model is near 0 and so are its gradients, without anything being wrong; both figures
    are relative to the loss, so that no scale of the logits decides what "near 0" is. Costs one gradient and `draws`
    forward passes; noise is uniform in the ball and clipped to [0, 1].
    """
    check_types(images, labels)
    images = lax.stop_gradient(images)
    keys = per_example_keys(key, len(images))
    radius = pixel_radius(radius, "linf")

    def loss(points):
        values = margin(run_model(logits_fn, points), labels)
        return values.sum(), values

    gradient, here = jax.grad(loss, has_aux=True)(images)

    def draw(index, total):
        fresh = folded(keys, index)
        _, there = loss(initial_images(fresh, images, radius, "uniform", "linf"))
        return total + jnp.abs(there - here)

    total = lax.fori_loop(0, draws, draw, jnp.zeros_like(here))
    scale = jnp.abs(here) + TINY
    return lax.stop_gradient(Stability(total / draws / scale, radius * distance(gradient, "l1") / scale))


def sign_draw(keys: jax.Array, images: jax.Array, epsilon: Length, norm: str) -> jax.Array:
    """Returns `images` [N, ...] plus random signs of length `epsilon` in `norm`, clipped to [0, 1]."""
    epsilon = jnp.asarray(pixel_radius(epsilon, norm), images.dtype)
    signs = jax.vmap(lambda key: jax.random.rademacher(key, images.shape[1:], images.dtype))(keys)
    return jnp.clip(images + epsilon * signs / over(distance(signs, norm), signs), 0.0, 1.0)
