"""Models whose robustness is an illusion, each broken in one known way, and a healthy one beside them.

Every control wraps a logits function, images [N, H, W, C] → [N, K], and changes its predictions little or not
at all, so that only what an evaluation can learn about it differs.
"""

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

SHAPE = (4, 5, 3)
CLASSES = 4

_rng = np.random.default_rng(11)
_D = int(np.prod(SHAPE))
_HIDDEN = _rng.normal(0, 0.2, (_D, 12)).astype(np.float32)
_OUT = _rng.normal(0, 1.0, (12, CLASSES)).astype(np.float32)


def healthy(images):
    """A smooth network with one hidden layer, and nothing to complain about."""
    hidden = jnp.tanh((images - 0.5).reshape(len(images), _D) @ _HIDDEN)
    return hidden @ _OUT


def examples(count, logits_fn=healthy):
    """Random images [count, ...] away from the box, and labels [count], which are the model's predictions."""
    images = np.random.default_rng(3).uniform(0.1, 0.9, (count, *SHAPE)).astype(np.float32)
    return images, np.asarray(logits_fn(images)).argmax(1).astype(np.int32)


def quantised(logits_fn, levels=16):
    """Rounds its input: every gradient is 0."""
    return lambda images: logits_fn(jnp.round(levels * images) / levels)


def blocked(logits_fn):
    """Right values, but no gradient is let through."""
    return lambda images: logits_fn(lax.stop_gradient(images))


def saturated(logits_fn, scale=1000.0):
    """Logits so large that cross-entropy is 0 in float32, and so is its gradient; the margin is as good as ever."""
    return lambda images: scale * logits_fn(images)


def shattered(logits_fn):
    """Right values, but every gradient is NaN: that of a square root at 0."""
    return lambda images: logits_fn(images) + jnp.sqrt(0.0 * images.sum((1, 2, 3)))[:, None]


def probabilities(logits_fn):
    """Returns softmax outputs where logits are expected."""
    return lambda images: jax.nn.softmax(logits_fn(images))


def noisy(logits_fn, spread=0.1):
    """Adds noise drawn on the host, so that no two passes agree, compiled or not."""
    rng = np.random.default_rng()

    def draw(logits):
        return rng.normal(0, spread, logits.shape).astype(np.float32)

    def model(images):
        logits = logits_fn(images)
        # Handed the logits, the call can be neither moved out of a loop nor merged with another.
        like = jax.ShapeDtypeStruct(logits.shape, jnp.float32)
        return logits + jax.pure_callback(draw, like, lax.stop_gradient(logits))

    return model


def batch_normalised(logits_fn):
    """Begins with BatchNorm in training mode: statistics of the batch, then scale and shift of uniform pixels."""

    def model(images):
        mean = images.mean((0, 1, 2), keepdims=True)
        deviation = jnp.sqrt(images.var((0, 1, 2), keepdims=True) + 1e-5)
        return logits_fn(0.5 + 0.23 * (images - mean) / deviation)

    return model


MASKED = {"quantised": quantised, "blocked": blocked, "saturated": saturated}
