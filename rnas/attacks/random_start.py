"""Where an attack begins, and the random keys of each example alone."""

from functools import partial

import jax
import jax.numpy as jnp

from rnas.attacks.epsilon_parsing import Length, ball_radius
from rnas.attacks.projections import TINY, distance, over, project

STARTS = ("uniform", "gaussian", "none")
SPREAD = 0.001  # standard deviation of the Gaussian start (Zhang et al. 2019, arXiv 1901.08573)


def per_example_keys(key: jax.Array, examples: int) -> jax.Array:
    """Returns one key per example, [N]: `fold_in(key, i)`, or `key` itself if it already holds N keys.

    Giving N keys, folded from positions in the whole data set, makes a result independent of how that set was cut into
    batches. What is neither one typed key nor N of them raises ValueError.
    """
    if not (isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)):
        raise ValueError(f"key must be a typed key, as jax.random.key(seed) makes; got {type(key).__name__}.")
    if key.ndim == 0:
        return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.arange(examples))
    if key.shape != (examples,):
        raise ValueError(f"key must be one key or {examples}, one per example; got shape {key.shape}.")
    return key


def folded(keys: jax.Array, number: int | jax.Array) -> jax.Array:
    """Returns the keys [N], each folded with the same number."""
    return jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, number)


def noise(keys: jax.Array, images: jax.Array, norm: str) -> jax.Array:
    """Returns noise [N, ...] for `images` [N, ...]: uniform in [-1, 1] in Linf, standard normal otherwise."""
    draw = partial(jax.random.uniform, minval=-1.0, maxval=1.0) if norm == "linf" else jax.random.normal
    return jax.vmap(lambda key: draw(key, images.shape[1:], images.dtype))(keys)


def initial_images(
    key: jax.Array, images: jax.Array, epsilon: Length, start: str = "uniform", norm: str = "linf"
) -> jax.Array:
    """Returns the first iterates [N, ...], in the ball and in [0, 1].

    Args:
      key: one key or one per example, [N].
      images: clean images [N, ...] in [0, 1].
      epsilon: radius in pixel units; may be traced.
      start: 'uniform' in the ball (L2: uniform direction, distance `epsilon * u**(1/d)`), clipped to the box;
        'gaussian' adds 0.001 * N(0, 1); 'none' is `images` itself.
      norm: 'linf' or 'l2'.
    """
    epsilon = jnp.asarray(ball_radius(epsilon, norm), images.dtype)
    if start not in STARTS:
        raise ValueError(f"unknown start {start!r}; expected one of {', '.join(STARTS)}.")
    images = jax.lax.stop_gradient(images)
    if start == "none":
        return images
    keys = per_example_keys(key, len(images))
    if start == "gaussian":
        move = SPREAD * noise(keys, images, "l2")
    elif norm == "linf":
        move = epsilon * noise(keys, images, norm)
    else:
        keys = jax.vmap(jax.random.split)(keys)
        move = noise(keys[:, 0], images, norm)
        draw = jax.vmap(lambda k: jax.random.uniform(k, (), images.dtype))
        share = draw(keys[:, 1]) ** (1.0 / images[0].size)
        move = move * over(epsilon * share / (distance(move, "l2") + TINY), move)
    return jax.lax.stop_gradient(project(images + move, images, epsilon, norm))
