"""Auto-PGD: projected gradient ascent that chooses its own steps.

For Linf and L2 it is algorithm 1 of Croce & Hein 2020 (arXiv 2003.01690): momentum, and a step that is halved, with a
return to the best point, whenever the loss stopped rising. For L1 it is algorithm 1 of Croce & Hein 2021 (arXiv
2103.01208): sparse steps inside the exact intersection of ball and box, which starts at wider radii.

Direct calls are checked and compiled (see `direct.py`); while tracing, `epsilon`, `key`, `initial_images` and `targets`
may be traced. Every evaluation of a run passes through one compiled body, so that the gradient of the model is compiled
once.
"""

from collections.abc import Callable
import math
from typing import Any, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from rnas.attacks import losses
from rnas.attacks.direct import direct
from rnas.attacks.epsilon_parsing import Length, pixel_radius
from rnas.attacks.input_checks import check_count, check_targets, check_types
from rnas.attacks.logits import predictions, run_model
from rnas.attacks.projections import TINY, direction, distance, over, project, project_l1, select
from rnas.attacks.random_start import folded, noise, per_example_keys
from rnas.attacks.result import AttackResult, seen, unseen

KEPT = ("fooling", "highest_loss")
WIDENINGS = (3, 2, 1)  # L1 radii of the successive phases, in units of epsilon
STRICTLY = 1 - 1e-6  # room within an L1 radius for the rounding of long sums


class Schedule(NamedTuple):
    """The schedule of a run, one entry an evaluation; arrays [evaluations]."""

    begins: np.ndarray  # whether a phase begins, so that its start is what is evaluated
    inertia: np.ndarray  # weight of the new step against momentum, α in the paper
    window: np.ndarray  # iterations since the last checkpoint if the evaluation is followed by one, else 0
    widening: np.ndarray  # radius in units of epsilon


class State(NamedTuple):
    """A run between two evaluations; arrays [N, ...] and [N]."""

    point: jax.Array  # where the next step begins
    gradient: jax.Array  # there
    previous: jax.Array  # where the last step began
    best: jax.Array  # the evaluated point of highest loss in this phase
    best_gradient: jax.Array
    best_loss: jax.Array
    loss: jax.Array  # of the last evaluation
    step: jax.Array  # length of the next step
    rises: jax.Array  # evaluations since the last checkpoint whose loss exceeded the one before
    halved: jax.Array  # whether the last checkpoint halved the step
    checked_loss: jax.Array  # `best_loss` at the last checkpoint
    moved: jax.Array  # pixels in which `best` differed from the image at the last checkpoint
    result: AttackResult  # what was found so far


@direct("initial_images", "targets")
def apgd(
    logits_fn: Callable[..., jax.Array],
    images: jax.Array,
    labels: jax.Array,
    *,
    epsilon: Length,
    key: jax.Array,
    restarts: int = 1,
    initial_images: jax.Array | None = None,
    keep: str = "fooling",
    **settings: Any,
) -> AttackResult:
    """Auto-PGD with restarts, judged on every iterate.

    Costs `steps + 1` gradients for each restart and draw, `steps + 3` in L1. There the radius is 3, 2 and 1 epsilon for
    0.3, 0.3 and 0.4 of the steps, and only what is seen at the last one counts in `images`, `success` and `loss`; given
    `initial_images`, all steps are made at the last one.

    Args:
      logits_fn: as for `pgd`. With `eot` above 1 it is random, and takes (images, key); it is called on one image at a
        time, each with keys of its own.
      images, labels, epsilon, key: as for `pgd`, as are errors.
      restarts: independent runs from random starts; run r is the same whatever their number. Of several that fool the
        model the image of the first is kept.
      initial_images: starts [N, H, W, C] instead of random ones, moved into the ball and the box.
      keep: 'fooling' returns `images` as `AttackResult` describes them; 'highest_loss' returns the evaluated image of
        highest loss instead, fooling or not, as training needs it.
      norm: 'linf' (default), 'l2' or 'l1'.
      loss: 'ce' (default), 'margin', 'dlr', 'dlr_targeted', or a function (logits [N, K], labels [N]) → [N], which is
        maximised.
      steps: iterations of each restart; default 100.
      targets: integers [N], the classes that 'dlr_targeted' strives for. Every misclassification is a success.
      eot: draws of a random model (default 1) averaged at every point (expectation over transformation, Athalye et al.
        2018, arXiv 1802.00420): the loss, its gradient, and the softmax probabilities, whose argmax is taken for the
        prediction. Keys of draws derive from the example's key, the restart, the evaluation and the draw.
    """
    check_types(images, labels)
    check_count("restarts", restarts, least=1)
    if initial_images is not None and restarts > 1:
        raise ValueError(f"restarts={restarts} from given initial_images would repeat one run; use restarts=1.")
    keys = per_example_keys(key, len(images))
    settings |= {"epsilon": epsilon, "initial_images": initial_images, "keep": keep}

    def run(restart, best):
        found, _ = ascend(logits_fn, images, labels, key=folded(keys, restart), **settings)
        better = found.success & ~best.success if keep == "fooling" else found.loss > best.loss
        return AttackResult(
            images=jnp.where(over(better, images), found.images, best.images),
            success=best.success | found.success,
            loss=jnp.maximum(best.loss, found.loss),
            queries=best.queries + found.queries,
            last_success=best.last_success | found.last_success,
        )

    return lax.fori_loop(0, restarts, run, unseen(lax.stop_gradient(jnp.asarray(images))))


def ascend(
    logits_fn: Callable[..., jax.Array],
    images: jax.Array,
    labels: jax.Array,
    *,
    epsilon: Length,
    key: jax.Array,
    norm: str = "linf",
    loss: str | losses.Loss = "ce",
    steps: int = 100,
    initial_images: jax.Array | None = None,
    targets: jax.Array | None = None,
    eot: int = 1,
    keep: str = "fooling",
) -> tuple[AttackResult, jax.Array]:
    """One run of Auto-PGD; arguments and errors are those of `apgd`, whose restart r folds every key with r.

    Returns:
      An `AttackResult`, and the highest loss so far [steps + 1, N] after the start and after each step. In L1 with
      random starts it covers the steps at the last radius.
    """
    check_types(images, labels)
    check_count("steps", steps, least=1)
    check_count("eot", eot, least=1)
    if keep not in KEPT:
        raise ValueError(f"unknown keep={keep!r}; expected one of {', '.join(KEPT)}.")
    if initial_images is not None and initial_images.shape != images.shape:
        raise ValueError(f"initial_images must have the shape of images, {images.shape}; got {initial_images.shape}.")
    loss = chosen_loss(loss, labels, targets)
    epsilon = pixel_radius(epsilon, norm)
    images, epsilon, initial_images = lax.stop_gradient((jnp.asarray(images), epsilon, initial_images))
    epsilon = jnp.asarray(epsilon, images.dtype)
    examples = len(images)
    keys = per_example_keys(key, examples)
    schedule = plan(norm, steps, widened=norm == "l1" and initial_images is None)
    last_phase = len(schedule.begins) - int(np.flatnonzero(schedule.begins)[-1])
    if examples == 0:
        return unseen(images), jnp.zeros((last_phase, 0), images.dtype)
    start_keys, draw_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
    if initial_images is None:
        start = noise(start_keys, images, norm)
        if norm != "l1":  # else the first phase brings it to its radius
            start *= over(epsilon / (distance(start, norm) + TINY), start)
        initial_images = images + start

    advance, review = (advance_sparse, review_sparse) if norm == "l1" else (advance_dense, review_dense)

    def body(state, row):
        index, now = row
        reach = epsilon * now.widening

        def inside(points):
            if norm == "l1":
                return project_l1(points, images, STRICTLY * reach)
            return project(points, images, reach, norm)

        def begin(state):
            point = inside(state.best)
            return state._replace(
                point=point,
                previous=point,
                step=jnp.full(examples, reach if norm == "l1" else 2 * reach),
                loss=jnp.full_like(state.loss, jnp.inf),  # so that the start is no rise
                rises=jnp.zeros_like(state.rises),
                halved=jnp.ones_like(state.halved),
                moved=moved_pixels(point, images),
            )

        def move(state):
            return state._replace(point=inside(advance(state, inside, norm, now.inertia)), previous=state.point)

        state = lax.cond(now.begins, begin, move, state)
        draws = None
        if eot > 1:
            fresh = folded(draw_keys, index)
            draws = jax.vmap(lambda key: jax.random.split(key, eot), out_axes=1)(fresh)  # [eot, N]
        gradient, value, fooled = evaluate(logits_fn, loss, state.point, labels, draws)
        # A loss that is not a number never counts as a rise.
        value = jnp.where(jnp.isnan(value), -jnp.inf, value).astype(images.dtype)
        judged = now.widening == 1
        result = seen(state.result, state.point, fooled & judged, jnp.where(judged, value, -jnp.inf))

        better = (value > state.best_loss) | now.begins
        before = state.best, state.best_gradient, state.best_loss
        best, best_gradient, best_loss = select(better, (state.point, gradient, value), before)
        rises = state.rises + (value > state.loss)
        state = state._replace(gradient=gradient, best=best, best_gradient=best_gradient, best_loss=best_loss)
        state, back = review(state._replace(rises=rises, loss=value, result=result), images, reach, now.window)
        point, gradient = select(back, (state.best, state.best_gradient), (state.point, state.gradient))
        return state._replace(point=point, gradient=gradient), state.best_loss

    number, count = jnp.zeros(examples, images.dtype), jnp.zeros(examples, jnp.int32)
    blank = {
        **dict.fromkeys(("point", "gradient", "previous", "best_gradient"), jnp.zeros_like(images)),
        **dict.fromkeys(("best_loss", "loss", "step", "checked_loss"), number),
        **dict.fromkeys(("rises", "moved"), count),
    }
    state = State(**blank, best=initial_images.astype(images.dtype), halved=count == 0, result=unseen(images))
    rows = (np.arange(len(schedule.begins), dtype=np.int32), schedule)
    state, best_losses = lax.scan(body, state, rows)
    result = state.result._replace(queries=eot * state.result.queries)
    if keep == "highest_loss":
        result = result._replace(images=state.best)
    return lax.stop_gradient((result, best_losses[-last_phase:]))


def checkpoints(steps: int) -> np.ndarray:
    """Returns the windows [steps]: k after iterations that end a window of k, else 0 (paper, section 3.2)."""
    windows = np.zeros(steps, np.int32)
    window, least, shrink = (max(int(share * steps), 1) for share in (0.22, 0.06, 0.03))
    last = window
    while last <= steps:
        windows[last - 1] = window
        window = max(window - shrink, least)
        last += window
    return windows


def plan(norm: str, steps: int, *, widened: bool) -> Schedule:
    """Returns the schedule of a run of one phase, or of one for each of `WIDENINGS`."""
    lengths = {1: steps}
    if widened:
        wide = min(math.ceil(0.3 * steps), (steps - 1) // 2)  # leaves at least one for the last radius
        lengths = dict(zip(WIDENINGS, (wide, wide, steps - 2 * wide), strict=True))
    phases = []
    for factor, length in lengths.items():
        begins = np.arange(length + 1) == 0
        inertia = np.where(np.arange(length + 1) == 1, 1.0, 0.75)  # nothing came before the first step
        if norm == "l1":
            every = max(int(0.04 * length), 1)
            windows = np.where(np.arange(1, length + 1) % every == 0, every, 0)
        else:
            windows = checkpoints(length)
        phases.append(Schedule(begins, inertia, np.append(0, windows), np.full(length + 1, factor)))
    begins, inertia, window, widening = map(np.concatenate, zip(*phases, strict=True))
    return Schedule(begins, inertia.astype(np.float32), window.astype(np.int32), widening.astype(np.float32))


def advance_dense(state: State, inside: Callable[[jax.Array], jax.Array], norm: str, inertia: jax.Array) -> jax.Array:
    """Returns the next point in Linf and L2: a projected step, mixed with the last move (equation 2)."""
    point = state.point
    ahead = inside(point + over(state.step, point) * direction(state.gradient, norm))
    return inside(point + inertia * (ahead - point) + (1 - inertia) * (point - state.previous))


def advance_sparse(state: State, inside: Callable[[jax.Array], jax.Array], norm: str, inertia: jax.Array) -> jax.Array:
    """Returns the next point in L1: along two thirds as many pixels as were moved, without momentum.

    Rounded down, where the authors' code rounds up: two pixels would stay two, and even a linear model unsolved.
    """
    step = sparse_direction(state.gradient, 2 * state.moved // 3)
    return inside(state.point + over(state.step, step) * step)


def sparse_direction(gradient: jax.Array, count: jax.Array) -> jax.Array:
    """Returns the signs of the `count` [N], but at least 1, largest entries [N, ...], of L1 length 1.

    Entries that tie with the smallest of them are kept as well, entries of 0 are not. Never sorts.
    """
    rows = gradient.reshape(len(gradient), -1)
    # Floats that are not negative are ordered as their bits; the threshold is found from its highest bit down.
    bits = lax.bitcast_convert_type(jnp.abs(rows).astype(jnp.float32), jnp.int32)
    count = jnp.maximum(count, 1)

    def extend(place, threshold):
        raised = threshold | (1 << (30 - place))
        reached = jnp.sum(bits >= raised[:, None], axis=1) >= count
        return jnp.where(reached, raised, threshold)

    threshold = lax.fori_loop(0, 31, extend, jnp.zeros_like(count))
    signs = jnp.where(bits >= threshold[:, None], jnp.sign(rows), 0)
    return (signs / (distance(signs, "l1") + TINY)[:, None]).reshape(gradient.shape)


def review_dense(state: State, images: jax.Array, reach: jax.Array, window: jax.Array) -> tuple[State, jax.Array]:
    """At a checkpoint halves steps that stopped paying, [N] of which return to their best point (section 3.2).

    They are those whose loss rose in at most 0.75 of the window, or whose best loss and step are as they were.
    """
    due = window > 0
    rarely = 4 * state.rises <= 3 * window
    stuck = ~state.halved & (state.checked_loss >= state.best_loss)
    halve = due & (rarely | stuck)
    state = state._replace(
        step=jnp.where(halve, state.step / 2, state.step),
        rises=jnp.where(due, 0, state.rises),
        halved=jnp.where(due, halve, state.halved),
        checked_loss=jnp.where(due, state.best_loss, state.checked_loss),
    )
    return state, halve


def review_sparse(state: State, images: jax.Array, reach: jax.Array, window: jax.Array) -> tuple[State, jax.Array]:
    """At a checkpoint adapts the sparsity: steps [N] whose best point lost pixels begin anew from there."""
    due = window > 0
    now = moved_pixels(state.best, images)
    sparser = due & (now < 0.95 * state.moved)
    step = jnp.clip(jnp.where(sparser, reach, state.step / 1.5), reach / 10, reach)
    state = state._replace(step=jnp.where(due, step, state.step), moved=jnp.where(due, now, state.moved))
    return state, sparser


def moved_pixels(points: jax.Array, images: jax.Array) -> jax.Array:
    """Returns how many entries of `points` [N, ...] differ from `images`, int32 [N]."""
    return jnp.sum((points != images).reshape(len(images), -1), axis=1, dtype=jnp.int32)


def evaluate(
    logits_fn: Callable, loss: losses.Loss, points: jax.Array, labels: jax.Array, draws: jax.Array | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns the gradient [N, ...] of the loss, its value [N], and whether the model was fooled, bool [N].

    Given keys `draws` they are means over one draw of the model for each, and the prediction is that of the mean
    softmax probabilities. An entry of a gradient that is not finite counts as 0.
    """

    def differentiate(*key):
        def total(points):
            logits = run_model(logits_fn, points, *key)
            values = loss(logits, labels)
            return jnp.sum(values), (values, logits)

        gradient, (values, logits) = jax.grad(total, has_aux=True)(points)
        gradient = jnp.where(jnp.isfinite(gradient), gradient, 0.0)
        return gradient, values, jax.nn.softmax(logits) if key else logits

    if draws is None:
        gradient, values, scores = differentiate()
    else:
        zeros = jax.tree.map(jnp.zeros_like, jax.eval_shape(differentiate, draws[0]))
        sums, _ = lax.scan(lambda sums, key: (jax.tree.map(jnp.add, sums, differentiate(key)), None), zeros, draws)
        gradient, values, scores = jax.tree.map(lambda total: total / len(draws), sums)
    return gradient, values, predictions(scores) != labels


def chosen_loss(loss: str | losses.Loss, labels: jax.Array, targets: jax.Array | None) -> losses.Loss:
    """Returns the loss as a function of logits and labels."""
    if loss == "dlr_targeted":
        if targets is None:
            raise ValueError("loss='dlr_targeted' needs targets, one class per image.")
        check_targets(targets, labels)
        return lambda logits, labels: losses.dlr_targeted(logits, labels, targets)
    if targets is not None:
        raise ValueError(f"targets are read by loss='dlr_targeted' only, but loss={loss!r}; leave them out.")
    return losses.find(loss, "dlr_targeted")
