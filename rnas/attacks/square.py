"""Square attack (Andriushchenko et al. 2020, arXiv 1912.00049): random search that needs no gradients.

Each query changes one square of the image and is kept if the margin shrank. The size of squares falls with the number
of the query by a fixed schedule. Settings are those of AutoAttack (Croce & Hein 2020, arXiv 2003.01690); draws are made
for each image alone, so that examples of a batch do not influence each other.

A run may be cut into blocks, between which solved examples can be dropped: `start_square`, then `continue_square` for
each block, then `square_result`. Query i of an example depends only on the example's key and on i. Direct calls of
`square` are checked and compiled (see `direct.py`); `first` and `count` may be traced, so that one compilation serves
all blocks.
"""

import math
from typing import Any, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from rnas.attacks import losses
from rnas.attacks.direct import direct
from rnas.attacks.epsilon_parsing import Length, pixel_radius
from rnas.attacks.input_checks import check_count, check_number, check_types
from rnas.attacks.logits import predictions, run_model
from rnas.attacks.pgd import Logits
from rnas.attacks.projections import select
from rnas.attacks.random_start import folded, per_example_keys
from rnas.attacks.result import Array, AttackResult
from rnas.attacks.square_perturbations import LEAST_HEIGHT, bump_table, exchanged, fitted, placed_bumps, tiled_bumps
from rnas.attacks.stored import stored

# From each of these queries on, squares have half the area they had before; in units of 1/10000 of all queries
# where the schedule is rescaled.
HALVINGS = (11, 51, 201, 501, 1001, 2001, 4001, 6001, 8001)


class SquareState(NamedTuple):
    """A search under way, one row per example."""

    points: Array  # [N, H, W, C], the best image so far
    loss: Array  # [N], its margin loss max_{i != y} z_i - z_y; from 0 on the example is not queried any more
    fooled: Array  # bool [N], whether it is misclassified; at a loss of exactly 0 it may not be
    queries: Array  # int32 [N], images of this example shown to the model


class SquareDraws(NamedTuple):
    """Draws to replay in place of random ones, in Linf, those of a query shared by all examples."""

    start_signs: jax.Array  # [N, 1, W, C], ±1
    corners: jax.Array  # integers [queries, 2], first row and column of the square of each query
    signs: jax.Array  # [queries, C], ±1


@direct("draws")
def square(
    logits_fn: Logits,
    images: jax.Array,
    labels: jax.Array,
    *,
    epsilon: Length,
    key: jax.Array,
    norm: str = "linf",
    queries: int = 5000,
    p_init: float = 0.8,
    rescale: bool = False,
    draws: SquareDraws | None = None,
) -> AttackResult:
    """Searches at random for squares (Linf) or pairs of bumps (L2, L1) that make the margin negative.

    Costs `queries` + 1 forward passes of the batch, fewer if all examples are solved earlier.

    Args:
      logits_fn, images, labels, epsilon, key: as for `pgd`, as are errors. L2 and L1 need H >= 5.
      norm: 'linf', 'l2' or 'l1'.
      queries: after the start, for each example.
      p_init: share of the image that the first squares cover.
      rescale: whether the schedule of sizes, made for 10,000 queries, is stretched to `queries`. AutoAttack does not,
        and so ends at squares of 1/128 of the first area.
      draws: replayed instead of random ones.

    Returns:
      An `AttackResult`, its loss the margin loss. Success is judged on the final image by its prediction.
    """
    run: dict[str, Any] = {"epsilon": epsilon, "key": key, "norm": norm, "draws": draws}
    state = start_square(logits_fn, images, labels, **run)
    run |= {"first": 0, "count": queries, "queries": queries, "p_init": p_init, "rescale": rescale}
    return square_result(continue_square(logits_fn, state, images, labels, **run), images)


def start_square(
    logits_fn: Logits,
    images: jax.Array,
    labels: jax.Array,
    *,
    epsilon: Length,
    key: jax.Array,
    norm: str = "linf",
    draws: SquareDraws | None = None,
) -> SquareState:
    """Shows the model the first image of each example: vertical stripes in Linf, tiles of bumps in L2 and L1.

    Arguments and errors are those of `square`.
    """
    images, radius, keys = _checked(images, labels, epsilon, key, norm, draws)
    shape, dtype = images.shape[1:], images.dtype
    if len(images) == 0:
        return SquareState(images, jnp.zeros(0, dtype), jnp.zeros(0, bool), jnp.zeros(0, jnp.int32))
    keys = folded(keys, 0)  # query i takes i + 1
    if norm != "linf":
        points = fitted(tiled_bumps(keys, shape, norm).astype(dtype), images, radius, norm)
    else:
        if draws is None:
            signs = jax.vmap(lambda k: jax.random.rademacher(k, (1, *shape[1:]), dtype))(keys)
        else:
            signs = jnp.asarray(draws.start_signs, dtype)
        points = jnp.clip(images + radius * signs, 0, 1)
    loss, fooled = _judged(logits_fn, points, labels)
    return lax.stop_gradient(SquareState(points, loss, fooled, jnp.ones(len(images), jnp.int32)))


def continue_square(
    logits_fn: Logits,
    state: SquareState,
    images: jax.Array,
    labels: jax.Array,
    *,
    epsilon: Length,
    key: jax.Array,
    norm: str = "linf",
    first: int | jax.Array,
    count: int | jax.Array,
    queries: int = 5000,
    p_init: float = 0.8,
    rescale: bool = False,
    draws: SquareDraws | None = None,
) -> SquareState:
    """Makes queries `first`, …, `first` + `count` - 1 of the `queries` in all; those beyond do not exist.

    Blocks that follow each other give the same bits as one call. Where rows are dropped between blocks, `key` must hold
    one key for each row that is left. Stops early once nothing is left to do.

    Args:
      state: of `start_square` or of the block before, rows in the order of `images`.
      first: number of the first query, from 0; may be traced.
      count: how many; may be traced.

    The other arguments and errors are those of `square`.
    """
    images, radius, keys = _checked(images, labels, epsilon, key, norm, draws)
    for name, value, least in (("queries", queries, 1), ("first", first, 0), ("count", count, 0)):
        check_count(name, value, least=least)
    if state.points.shape != images.shape:
        raise ValueError(f"state and images must have the same rows; got {state.points.shape} and {images.shape}.")
    state = lax.stop_gradient(state)
    if len(images) == 0:
        return state
    height, width, channels = images.shape[1:]
    size = (height, width)
    schedule = square_sides(*size, queries=queries, p_init=p_init, norm=norm, rescale=rescale)
    distinct, kinds = np.unique(schedule, return_inverse=True)  # few, so that one program holds all their bumps
    if norm != "linf":
        bumps = jnp.asarray(bump_table(tuple(distinct.tolist()), norm), images.dtype)

    def corners(uniform, side):
        # The last corner that would fit is never drawn, as in the published code.
        return jnp.floor(uniform * (jnp.array(size) - side)[None]).astype(jnp.int32)

    def proposal(query, points):
        kind = jnp.asarray(kinds, jnp.int32)[query]
        side = jnp.asarray(distinct, jnp.int32)[kind]
        if draws is not None:
            corner = jnp.broadcast_to(jnp.asarray(draws.corners, jnp.int32)[query], (len(points), 2))
            sign = jnp.asarray(draws.signs, points.dtype)[query]
        else:
            numbers = 2 + channels if norm == "linf" else 5 + channels
            uniform = jax.vmap(lambda k: jax.random.uniform(k, (numbers,)))(folded(keys, query + 1))
            corner = corners(uniform[:, :2], side)
            sign = jnp.where(uniform[:, None, None, -channels:] < 0.5, -1, 1).astype(points.dtype)
        window = _window(corner, side, size)
        if norm == "linf":
            moved = points + jnp.where(window, 2 * radius * sign, 0)
            return jnp.clip(jnp.clip(moved, images - radius, images + radius), 0, 1)
        emptied = _window(corners(uniform[:, 2:4], side), side, size)
        fresh = placed_bumps(bumps[kind], corner, uniform[:, 4] >= 0.5, size) * sign
        return fitted(exchanged(points - images, fresh, window, emptied, radius, norm), images, radius, norm)

    def step(carry):
        query, state = carry
        points = stored(proposal(query, state.points))
        loss, fooled = _judged(logits_fn, points, labels)
        active = state.loss < 0
        points, loss, fooled = select(active & (loss > state.loss), (points, loss, fooled), state[:3])
        state = SquareState(points, loss, fooled, state.queries + active)
        return query + 1, state

    first = jnp.asarray(first, jnp.int32)
    stop = first + jnp.minimum(count, queries - first)
    _, state = lax.while_loop(lambda c: (c[0] < stop) & jnp.any(c[1].loss < 0), step, (first, state))
    return lax.stop_gradient(state)


def square_result(state: SquareState, images: jax.Array) -> AttackResult:
    """Returns what a search, finished or not, has found; `images` [N, H, W, C] are the clean ones."""
    points = select(state.fooled, state.points, images)
    return lax.stop_gradient(AttackResult(points, state.fooled, state.loss, state.queries, state.fooled))


def square_sides(
    height: int, width: int, *, queries: int = 5000, p_init: float = 0.8, norm: str = "linf", rescale: bool = False
) -> np.ndarray:
    """Returns the side of the square of each query, integers [queries], for images [H, W]."""
    check_number("p_init", p_init)
    if not 0 < p_init <= 1:
        raise ValueError(f"p_init is the share of the image that the first squares cover, in (0, 1]; got {p_init!r}.")
    number = np.arange(queries)
    if rescale:
        number = (number / queries * 10_000).astype(int)
    halvings = np.searchsorted(HALVINGS, number, side="right")
    sides = np.array([round(math.sqrt(p_init / 2**k * height * width)) for k in range(len(HALVINGS) + 1)])
    sides = np.maximum(sides, 1) if norm == "linf" else np.maximum(sides, 3) // 2 * 2 + 1  # bumps: odd
    return np.minimum(sides, min(height, width))[halvings]


def check_height(shape: tuple[int, ...], norm: str) -> None:
    """Refuses images of a `shape` (H, W, C) with too few rows for the start in `norm`."""
    if norm != "linf" and shape[0] < LEAST_HEIGHT:
        raise ValueError(
            f"in L2 and L1 the Square attack needs images of at least {LEAST_HEIGHT} rows, which its start cuts "
            f"into {LEAST_HEIGHT} tiles; got {shape[0]} rows. Pad them inside the model, or use APGD and FAB."
        )


def _checked(images, labels, epsilon, key, norm, draws) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns images behind `stop_gradient`, the radius in their type, and one key per example."""
    check_types(images, labels)
    epsilon = pixel_radius(epsilon, norm)
    check_height(images.shape[1:], norm)
    if draws is not None and norm != "linf":
        raise ValueError(f"draws can be replayed in norm='linf' only, got norm={norm!r}; leave draws=None.")
    keys = per_example_keys(key, len(images))
    images, epsilon = lax.stop_gradient((images, jnp.asarray(epsilon, images.dtype)))
    return images, epsilon, keys


def _window(corner: jax.Array, side: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Returns bool [N, H, W, 1], true in the square whose first pixel is `corner` [N, 2]."""
    rows = jnp.arange(size[0])[None] - corner[:, :1]
    columns = jnp.arange(size[1])[None] - corner[:, 1:]
    inside = ((rows >= 0) & (rows < side))[:, :, None] & ((columns >= 0) & (columns < side))[:, None, :]
    return inside[..., None]


def _judged(logits_fn, points, labels):
    """Returns the margin loss and whether the prediction is wrong, both [N].

    A loss that is not a number is the highest where the prediction is wrong, else the lowest.
    """
    logits = lax.stop_gradient(run_model(logits_fn, points))  # here, as a loop of unknown length has no gradient
    loss, fooled = losses.margin(logits, labels).astype(points.dtype), predictions(logits) != labels
    return jnp.where(jnp.isnan(loss), jnp.where(fooled, jnp.inf, -jnp.inf), loss), fooled
