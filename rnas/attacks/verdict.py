"""Whether images fool a model, by a pass of its own: no attack judges itself."""

from collections.abc import Callable
import functools
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp

from rnas.attacks import losses
from rnas.attacks.logits import predictions, run_model
from rnas.attacks.random_start import folded

DRAWS = 20  # of a random model, to average over


def judge(
    eot: int, logits_fn: Callable, images: jax.Array, labels: jax.Array, keys: jax.Array, settings: Any, carry: Any
) -> dict[str, jax.Array]:
    """Judges `images` in a fresh pass: a program like that of an attack.

    Args:
      eot: 1 for a model that is a function of its input; else the number of draws of a random one, which is then called
        with a key, and wrong where at least half of the draws are.

    Returns:
      wrong bool [N]; wrong_share [N], of the draws; margin [N], the label's lead over the best other class, mean over
      draws; prediction [N], of the last draw, -1 where a logit is NaN.
    """

    def one(*draw):
        logits = run_model(logits_fn, images, *draw)
        prediction = predictions(logits)
        wrong = (prediction != labels).astype(jnp.float32)
        return {"wrong": wrong, "margin": -losses.margin(logits, labels), "prediction": prediction}

    if eot == 1:
        found = jax.tree.map(lambda leaf: leaf[None], one())
    else:
        found = lax.map(lambda draw: one(folded(keys, draw)), jnp.arange(eot))
    share = jnp.mean(found["wrong"], axis=0)
    wrong, margin, prediction = share >= 0.5, jnp.mean(found["margin"], axis=0), found["prediction"][-1]
    return {"wrong": wrong, "wrong_share": share, "margin": margin, "prediction": prediction}


judge_once = functools.partial(judge, 1)
judge_draws = functools.partial(judge, DRAWS)
