"""Whether images fool a model, by a pass of its own: no attack judges itself."""

from collections.abc import Callable
import functools
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp

from rnas.attacks import losses
from rnas.attacks.random_models import one_by_one
from rnas.attacks.random_start import folded

DRAWS = 20  # of a random model, to average over


def judge(
    eot: int, logits_fn: Callable, images: jax.Array, labels: jax.Array, keys: jax.Array, settings: Any, carry: Any
) -> dict[str, jax.Array]:
    """Judges `images` in a fresh pass: a program like that of an attack.

    Args:
      eot: 1 for a model that is a function of its input; else the number of draws of a random one, which is then
        called with a key, and wrong where at least half of the draws are.

    Returns:
      wrong bool [N]; wrong_share [N], of the draws; margin [N], the label's lead over the best other class, mean
      over draws; prediction [N], of the last draw.
    """

    def one(*draw):
        logits = one_by_one(logits_fn)(images, *draw) if draw else logits_fn(images)
        prediction = jnp.argmax(logits, axis=1)
        return {
            "wrong": (prediction != labels).astype(jnp.float32),
            "margin": -losses.margin(logits, labels),
            "prediction": prediction,
        }

    if eot == 1:
        found = jax.tree.map(lambda leaf: leaf[None], one())
    else:
        found = lax.map(lambda draw: one(folded(keys, draw)), jnp.arange(eot))
    share = jnp.mean(found["wrong"], axis=0)
    return {
        "wrong": share >= 0.5,
        "wrong_share": share,
        "margin": jnp.mean(found["margin"], axis=0),
        "prediction": found["prediction"][-1],
    }


judge_once = functools.partial(judge, 1)
judge_draws = functools.partial(judge, DRAWS)
