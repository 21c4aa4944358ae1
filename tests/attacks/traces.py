"""Reference traces: the tiny network they were recorded on, and their arrays turned to NHWC."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np


class Trace(NamedTuple):
    """A recorded attack: `arrays` holds the file's image-shaped arrays as NHWC, the others as they are."""

    logits_fn: Callable
    images: np.ndarray
    labels: np.ndarray
    epsilon: float
    arrays: dict[str, np.ndarray]


def load_trace(shared: Path, name: str) -> Trace:
    """Reads `name`.npz of the reference traces and checks the network against the recorded logits."""
    with np.load(shared / "golden" / "attacks" / f"{name}.npz") as file:
        arrays = dict(file)
    weights = {key[2:]: arrays.pop(key) for key in list(arrays) if key.startswith("w_")}
    kernels = [weights[f"{layer}.weight"].transpose(2, 3, 1, 0) for layer in ("c1", "c2")]
    last = weights["f.weight"].reshape(12, 16, 4, 4).transpose(2, 3, 1, 0).reshape(256, 12)

    def logits_fn(images):
        hidden = images
        for kernel, layer, stride in zip(kernels, ("c1", "c2"), (1, 2), strict=True):
            hidden = lax.conv_general_dilated(
                hidden, kernel, (stride, stride), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC"),
                precision="highest",
            )  # fmt: skip
            hidden = jnp.tanh(hidden + weights[f"{layer}.bias"][None, None, None])
        product = jnp.dot(hidden.reshape(len(images), -1), last, precision="highest")
        return 6 * (product + weights["f.bias"][None])

    # Every image-shaped array ends in [3, 8, 8], or in [3, 1, 8] where it is one sign per column.
    turned = {
        key: np.moveaxis(value, -3, -1) if value.ndim >= 4 and value.shape[-3] == 3 else value
        for key, value in arrays.items()
    }
    images, labels = turned.pop("x"), turned.pop("y").astype(np.int32)
    np.testing.assert_allclose(jax.jit(logits_fn)(images), turned["logits"], atol=1e-5)
    return Trace(logits_fn, images, labels, float(turned.pop("eps")), turned)
