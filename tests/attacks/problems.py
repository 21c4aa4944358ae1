"""Random linear models, on which the strongest image of a ball is known in closed form."""

from functools import partial

import jax
import numpy as np

KEY = jax.random.key(7)
DUAL = {"linf": 1, "l2": 2, "l1": np.inf}
SHAPE = (2, 3, 2)
D = int(np.prod(SHAPE))
RADII = {"linf": 0.08, "l2": 0.25, "l1": 0.35}  # the box is further away than these


def linear(weights, images):
    """Logits of a linear model, `weights` [D, K]."""
    return images.reshape(len(images), -1) @ weights


def linear_problems(classes, count=150, examples=3):
    """Models [count, D, K], images far from the box [count, N, ...], labels = predictions, radii [count]."""
    rng = np.random.default_rng(classes)
    weights = rng.normal(0, 1, (count, D, classes)).astype(np.float32)
    images = rng.uniform(0.4, 0.6, (count, examples, *SHAPE)).astype(np.float32)
    labels = np.einsum("pnd,pdk->pnk", images.reshape(count, examples, D), weights).argmax(-1).astype(np.int32)
    return weights, images, labels, rng.uniform(0.2, 1.0, count).astype(np.float32)


def largest_margins(weights, images, labels, radii, norm):
    """max over the ball of max_{i != y} (z_i - z_y), [count, N]: a rival's lead plus radius by dual norm."""
    count, examples = labels.shape
    weights = weights.astype(np.float64)
    logits = np.einsum("pnd,pdk->pnk", images.reshape(count, examples, D), weights)
    own = np.take_along_axis(weights, labels[:, None, :], 2)  # [count, D, N]
    reach = np.linalg.norm(weights[:, :, None, :] - own[..., None], DUAL[norm], axis=1)  # [count, N, K]
    leads = logits - np.take_along_axis(logits, labels[..., None], 2) + radii[:, None, None] * reach
    np.put_along_axis(leads, labels[..., None], -np.inf, 2)
    return leads.max(-1)


def attack_all(attack, weights, images, labels, radii, norm):
    def one(weights, images, labels, radius):
        return attack(partial(linear, weights), images, labels, epsilon=radius, key=KEY, norm=norm)

    return jax.jit(jax.vmap(one))(weights, images, labels, radii)
