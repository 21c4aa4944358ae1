"""Perturbations that the Square attack draws from in L2 and L1: pairs of bumps, one up, one down.

Andriushchenko et al. 2020 (arXiv 1912.00049) for L2, Croce & Hein 2021 (arXiv 2103.01208) for L1.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from rnas.attacks.projections import TINY, distance, over, project_l1

DECAY = {"l2": 2, "l1": 4}  # power with which a bump falls off from its centre
TILES = 5  # across the height of the start
LEAST_HEIGHT = TILES  # a tile has at least one pixel


def bump(side: int, norm: str) -> np.ndarray:
    """Returns [side, side] of unit `norm`: rows above side // 2 form a positive bump, the others a negative one.

    A bump is a pyramid of squares around its centre, the k-th of them, k = 0, 1, …, of height 1 / (k + 1)^p and
    reaching k pixels far, p = 2 in L2 and 4 in L1. Either bump has unit norm before the pair is normalised.
    """
    half = side // 2
    pair = np.zeros((side, side))
    for rows, sign in ((slice(0, half), 1), (slice(half, side), -1)):
        if (height := len(pair[rows])) == 0:
            continue  # of a pair of one pixel the upper bump is empty
        steps = 1 / np.arange(1, max(height // 2, half) + 2) ** float(DECAY[norm])
        reaching = np.cumsum(steps[::-1])[::-1]  # [k]: of all squares that reach k pixels far
        far = np.maximum(abs(np.arange(height) - height // 2)[:, None], abs(np.arange(side) - half))
        pair[rows] = sign * _unit(reaching[far], norm)
    return _unit(pair, norm).astype(np.float32)


def _unit(values: np.ndarray, norm: str) -> np.ndarray:
    return values / np.linalg.norm(values.ravel(), {"l2": 2, "l1": 1}[norm])


@functools.lru_cache(maxsize=32)
def bump_table(sides: tuple[int, ...], norm: str) -> np.ndarray:
    """Returns the bumps of `sides` [S], padded with zeros to the largest of them: [S, side, side]."""
    largest = max(sides)
    return np.stack([np.pad(bump(side, norm), (0, largest - side)) for side in sides])


def tiled_bumps(keys: jax.Array, shape: tuple[int, ...], norm: str) -> jax.Array:
    """Returns a perturbation of `shape` [H, W, C] for each of `keys` [N], tiled with bumps of side H // 5.

    Each tile is transposed or not at random, and has a random sign for each channel. Tiles begin at the pixel
    that centres five of them; what they do not reach stays 0.
    """
    height, width, channels = shape
    side = height // TILES
    first = (height - TILES * side) // 2
    down, across = height // side, width // side
    table = bump(side, norm)[None, None]

    def one(key):
        draws = jax.random.uniform(key, (down, across, channels + 1))
        signs = jnp.where(draws[..., :channels] < 0.5, -1.0, 1.0)
        tiles = jnp.where(draws[..., channels, None, None] < 0.5, table, table.mT)  # [down, across, side, side]
        tiles = tiles[..., None] * signs[:, :, None, None]
        tiles = jnp.swapaxes(tiles, 1, 2).reshape(down * side, across * side, channels)
        short = (max(0, height - first - down * side), max(0, width - first - across * side))
        return jnp.pad(tiles, ((first, short[0]), (first, short[1]), (0, 0)))[:height, :width]

    return jax.vmap(one)(keys)


def placed_bumps(pair: jax.Array, corners: jax.Array, flips: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Returns [N, H, W, 1]: a bump in each of N empty images of `size` (H, W).

    The bump is `pair` [A, A], beyond its side padded with zeros; its first pixel lies at `corners`, integers [N, 2] of
    row and column, and it is transposed where `flips`, bool [N], are true.
    """
    across = len(pair)
    rows = jnp.arange(size[0])[None, :, None] - corners[:, 0, None, None]
    columns = jnp.arange(size[1])[None, None] - corners[:, 1, None, None]
    inside = (rows >= 0) & (rows < across) & (columns >= 0) & (columns < across)
    position = jnp.where(flips[:, None, None], columns * across + rows, rows * across + columns)
    return jnp.where(inside, jnp.take(pair, position, mode="clip"), 0)[..., None]


def exchanged(
    move: jax.Array, fresh: jax.Array, first: jax.Array, second: jax.Array, epsilon: jax.Array, norm: str
) -> jax.Array:
    """Moves the perturbation of a window, and any that is left of `epsilon`, into a new one.

    Args:
      move: the perturbations so far [N, H, W, C].
      fresh: what is added in the first window [N, H, W, C], 0 outside it.
      first, second: bool [N, H, W, 1], the window that receives and the one that is emptied.

    Returns:
      Perturbations [N, H, W, C] of about the length `epsilon`, to be fitted into ball and box by `fitted`.
    """
    power = {"l2": 2, "l1": 1}[norm]
    channels = move.shape[-1]

    def total(values, axes=(1, 2)):  # of the power; of each channel unless said otherwise
        return jnp.sum(jnp.abs(values) ** power, axes, keepdims=True)

    before = jnp.where(first, move, 0)
    unused = jnp.maximum(epsilon**power - total(move, (1, 2, 3)), 0)
    budget = (unused / channels + total(jnp.where(first | second, move, 0))) ** (1 / power)
    if norm == "l1":
        budget *= channels  # too much on purpose: the projection then keeps the largest entries only
    new = fresh + before / (total(before) ** (1 / power) + TINY)
    new *= budget / (total(new) ** (1 / power) + TINY)
    return jnp.where(first, new, jnp.where(second, 0, move))


def fitted(move: jax.Array, images: jax.Array, epsilon: jax.Array, norm: str) -> jax.Array:
    """Returns `images` + `move` in ball and box: L2 rescales to `epsilon`, then clips; L1 takes the nearest."""
    if norm == "l1":
        return project_l1(images + move, images, epsilon)
    return jnp.clip(images + move * over(epsilon / (distance(move, "l2") + TINY), move), 0, 1)
