"""Projected gradient ascent, and the evaluation attacks that are one: FGSM, PGD, MI-FGSM, CW (as in PGD).

`projected_ascent` is the bare loop, for the inner maximisation of adversarial training. `fgsm`, `pgd`, `mim` and `cw`
wrap it for evaluation: they look at every iterate and keep what fooled the model.

The attacks check and compile direct calls (see `direct.py`). While tracing, `epsilon`, `step_size`, `steps`, `restarts`
and `momentum` may be traced, so that one compilation serves all of them. Examples of a batch do not influence each
other, provided the model gives the same row whatever the rest of the batch holds. Norms are Linf and L2.
"""

from collections.abc import Callable
import functools
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp

from rnas.attacks import losses
from rnas.attacks.catalogue import CW_STEP, PGD_STEP
from rnas.attacks.direct import direct
from rnas.attacks.epsilon_parsing import Length, ball_radius, is_traced, pixel_radius, radius
from rnas.attacks.input_checks import check_count, check_number, check_types
from rnas.attacks.logits import predictions, run_model
from rnas.attacks.projections import TINY, direction, distance, over, project
from rnas.attacks.random_start import folded, initial_images, per_example_keys
from rnas.attacks.result import AttackResult, seen, unseen

Logits = Callable[[jax.Array], jax.Array]


def projected_ascent(
    loss_fn: Callable[..., Any],
    start: jax.Array,
    images: jax.Array,
    *,
    epsilon: Length,
    step_size: Length,
    steps: int | jax.Array,
    norm: str = "linf",
    momentum: float | jax.Array | None = None,
    carry: Any = None,
) -> Any:
    """Maximises a loss in a ball around `images` by x ← P(x + step_size · dir(∇ loss(x))).

    `dir` is the sign (Linf) or the normalised gradient (L2), P the projection on ball and box (Madry et al. 2018, arXiv
    1706.06083, section 2.1). An entry of the gradient that is not finite counts as 0.

    Args:
      loss_fn: images [N, ...] → loss [N]; with a `carry`, (images, carry) → (loss [N], carry).
      start: first iterate [N, ...], see `initial_images`.
      images: centre of the ball [N, ...], in [0, 1].
      epsilon: radius in pixel units, a number, a string such as '8/255', or traced.
      step_size: length of a step, likewise.
      steps: how many, may be traced.
      norm: 'linf' or 'l2'.
      momentum: None, or the decay μ of MI-FGSM, which steps along g ← μ·g + ∇/‖∇‖₁ instead of ∇ (Dong et al. 2018,
        arXiv 1710.06081, equation 6).
      carry: state that `loss_fn` hands from one evaluation to the next, such as BatchNorm statistics.

    Returns:
      The last iterate [N, ...], behind `stop_gradient`; with a `carry`, the pair (last iterate, carry).

    Raises:
      ValueError: unknown `norm`, unreadable length, negative `steps`.
    """
    check_count("steps", steps, least=0)
    if momentum is not None:
        check_number("momentum", momentum, least=0)
    images, start, first_carry = lax.stop_gradient((images, start, carry))
    epsilon = jnp.asarray(ball_radius(epsilon, norm), images.dtype)
    step_size = jnp.asarray(radius(step_size), images.dtype)

    def total(points, carry):
        loss, carry = (loss_fn(points), None) if carry is None else loss_fn(points, carry)
        return jnp.sum(loss), carry

    def step(_, state):
        points, velocity, carry = state
        gradient, carry = jax.grad(total, has_aux=True)(points, carry)
        gradient = jnp.where(jnp.isfinite(gradient), gradient, 0.0)
        if momentum is not None:
            share = gradient / over(distance(gradient, "l1") + TINY, gradient)
            gradient = velocity = momentum * velocity + share
        points = project(points + step_size * direction(gradient, norm), images, epsilon, norm)
        return points, velocity, carry

    velocity = None if momentum is None else jnp.zeros_like(images)
    points, _, last_carry = lax.fori_loop(0, steps, step, (start, velocity, first_carry))
    points, last_carry = lax.stop_gradient((points, last_carry))
    return points if carry is None else (points, last_carry)


@direct()
def fgsm(
    logits_fn: Logits, images: jax.Array, labels: jax.Array, *, epsilon: Length, start: str = "none", **settings: Any
) -> AttackResult:
    """Fast gradient sign method (Goodfellow et al. 2015, arXiv 1412.6572): one step of length ε.

    On cross-entropy. The original has no random start; a variant that has one must be reported as such. Costs one
    gradient and one forward pass. Other settings, result and errors are those of `pgd`.
    """
    return pgd(logits_fn, images, labels, epsilon=epsilon, steps=1, step_size=epsilon, start=start, **settings)


@direct(numbers=("momentum",), lengths=("step_size",))
def pgd(
    logits_fn: Logits,
    images: jax.Array,
    labels: jax.Array,
    *,
    epsilon: Length,
    key: jax.Array,
    norm: str = "linf",
    steps: int | jax.Array = 100,
    step_size: Length | None = None,
    start: str = "uniform",
    restarts: int | jax.Array = 1,
    loss: str | losses.Loss = "ce",
    momentum: float | jax.Array | None = None,
) -> AttackResult:
    """Projected gradient descent (Madry et al. 2018, arXiv 1706.06083), judged on every iterate.

    Costs `steps` gradients and one forward pass for each restart.

    Args:
      logits_fn: images [N, H, W, C] in [0, 1] → logits [N, K]; pure, in inference mode.
      images: float32 [N, H, W, C] in [0, 1]; N may be 0.
      labels: integers [N].
      epsilon: radius in pixel units, a number, a string such as '8/255', or traced.
      key: one key, folded with positions in the batch, or one key per example [N].
      norm: 'linf' or 'l2'.
      steps: steps of each restart.
      step_size: of one step; None is epsilon / 4, so 2/255 at 8/255.
      start: 'uniform', 'gaussian' or 'none', see `initial_images`.
      restarts: independent runs; the first r of them are the same whatever their number.
      loss: 'ce', 'margin', 'dlr', or a function (logits [N, K], labels [N]) → [N], which is maximised.
      momentum: as in `projected_ascent`.

    Raises:
      ValueError: wrong shapes or types, unreadable lengths, unknown names, several restarts from one start, a loss with
        more classes than the model.
    """
    check_types(images, labels)
    check_count("restarts", restarts, least=1)
    if start == "none" and not is_traced(restarts) and restarts > 1:
        raise ValueError(f"restarts={restarts} with start='none' would repeat one run; use start='uniform'.")
    loss = losses.find(loss)
    epsilon = ball_radius(epsilon, norm)
    step_size = epsilon * PGD_STEP if step_size is None else pixel_radius(step_size, norm, "step_size")
    images = lax.stop_gradient(images)
    keys = per_example_keys(key, len(images))
    if len(images) == 0:
        return unseen(images)

    settings: dict[str, Any] = dict(epsilon=epsilon, step_size=step_size, steps=steps, norm=norm, momentum=momentum)

    def run(restart, result):
        last_before = result.last_success
        first = initial_images(folded(keys, restart), images, epsilon, start, norm)
        _, result = watched_ascent(logits_fn, loss, first, images, labels, result, **settings)
        return result._replace(last_success=result.last_success | last_before)

    return lax.stop_gradient(lax.fori_loop(0, restarts, run, unseen(images)))


def watched_ascent(
    logits_fn: Logits,
    loss: losses.Loss,
    first: jax.Array,
    images: jax.Array,
    labels: jax.Array,
    result: AttackResult,
    **settings: Any,
) -> tuple[jax.Array, AttackResult]:
    """`projected_ascent` from `first` [N, ...], whose every iterate the model judges.

    Args:
      loss: (logits [N, K], labels [N]) → [N].
      result: what was seen before.
      settings: of `projected_ascent`.

    Returns:
      (last iterate [N, ...], `result` with all iterates added).
    """

    def watched(points, result):
        logits = run_model(logits_fn, points)
        value = loss(logits, labels)
        fooled = predictions(logits) != labels
        return value, seen(result, *lax.stop_gradient((points, fooled, value)))

    last, result = projected_ascent(watched, first, images, **settings, carry=result)
    return last, lax.stop_gradient(watched(last, result)[1])


@direct(numbers=("momentum",), lengths=("step_size",))
def mim(
    logits_fn: Logits,
    images: jax.Array,
    labels: jax.Array,
    *,
    epsilon: Length,
    steps: int | jax.Array = 10,
    step_size: Length | None = None,
    momentum: float | jax.Array = 1.0,
    start: str = "none",
    **settings: Any,
) -> AttackResult:
    """Momentum iterative FGSM (Dong et al. 2018, arXiv 1710.06081, algorithm 1) on cross-entropy.

    As published there is no random start, and `step_size=None` is epsilon / steps. Other settings, result and errors
    are those of `pgd`.
    """
    if step_size is None:
        check_count("steps", steps, least=1)
        step_size = radius(epsilon) / steps
    settings |= {"steps": steps, "step_size": step_size, "momentum": momentum, "start": start}
    return pgd(logits_fn, images, labels, epsilon=epsilon, **settings)


@direct(numbers=("kappa",), lengths=("step_size",))
def cw(
    logits_fn: Logits,
    images: jax.Array,
    labels: jax.Array,
    *,
    epsilon: Length,
    steps: int | jax.Array = 30,
    step_size: Length | None = None,
    kappa: float | None = None,
    **settings: Any,
) -> AttackResult:
    """PGD on the margin loss of Carlini & Wagner (arXiv 1608.04644), what robustness tables call CW∞.

    Not the attack of the same paper that minimises the L2 distance. Other settings, result and errors are those of
    `pgd`.

    Args:
      step_size: None is 0.003 at a radius of 8/255, and in proportion at others.
      kappa: None maximises the margin without limit; a number stops at wrong classes leading by that much, as -max(z_y
        - max_{i != y} z_i + kappa, 0).
    """
    if step_size is None:
        step_size = radius(epsilon) * CW_STEP
    loss = losses.margin if kappa is None else functools.partial(_margin_up_to, kappa)
    return pgd(logits_fn, images, labels, epsilon=epsilon, steps=steps, step_size=step_size, loss=loss, **settings)


def _margin_up_to(kappa: float, logits: jax.Array, labels: jax.Array) -> jax.Array:
    return jnp.minimum(losses.margin(logits, labels) - kappa, 0.0)
