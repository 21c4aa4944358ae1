"""How far an exported model is from the original, on random images: what decides whether its file is kept."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from rnas.runs.loaded_model import Model

LIMITS = {
    "tensors": 0.0,
    "logits": 1e-5,
    "gradients": 1e-4,
    "predictions": 0.5,
}  # largest difference, as a share of the largest number of the original; of predictions the share that is another
COUNTS = (3, 1)  # images in the batches of an exported model, which takes any number

Function = Callable[[np.ndarray], np.ndarray]


def difference_of_logits(model: Model, exported: Function) -> float:
    """The largest difference of logits on random images; `exported` takes what the model takes, channels last."""
    images = _images(model, sum(COUNTS))
    batches = np.split(images, np.cumsum(COUNTS)[:-1])
    return _difference(
        np.asarray(model.logits(images)),
        np.concatenate([np.asarray(exported(batch)) for batch in batches]),
    )


def difference_of_gradients(model: Model, exported: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> float:
    """The largest difference of gradients of a random combination of logits to the pixels of a random image.

    Both sides compute in float64. In float32 a number that is nearly zero can be on either side of a ReLU, and one such
    number makes gradients differ of networks that are the same.

    Args:
      exported: (images [N, H, W, C], combination [N, K]) → gradients [N, H, W, C], float64.
    """
    images = _images(model, 1).astype(np.float64)
    combination = np.random.default_rng(1).standard_normal((len(images), model.card.num_classes))
    with jax.enable_x64(True), jax.default_device(jax.local_devices(backend="cpu")[0]):
        variables = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), model.variables)

        def combined(images: jax.Array, variables: Any) -> jax.Array:
            return (model.evaluated.predict(variables, images) * combination).sum()

        expected = np.asarray(jax.jit(jax.grad(combined))(images, variables))
    return _difference(expected, exported(images, combination))


def check(differences: dict[str, float], what: str) -> None:
    """Raises ValueError where a difference is above its limit, or NaN."""
    for name, found in differences.items():
        if not found <= LIMITS[name]:
            raise ValueError(
                f"the {what} does not compute what the model computes: its {name} differ by {found:.2g} of "
                f"{'all' if name == 'predictions' else 'the largest'}, at most {LIMITS[name]:g} is accepted. No file "
                "was written."
            )


def _images(model: Model, count: int) -> np.ndarray:
    return np.random.default_rng(0).random((count, *model.image_shape), np.float32)


def _difference(expected: np.ndarray, found: np.ndarray) -> float:
    if found.shape != expected.shape:
        raise ValueError(f"the exported model gives {list(found.shape)} numbers, expected {list(expected.shape)}.")
    scale = float(np.max(np.abs(expected), initial=0.0))
    return float(np.max(np.abs(found - expected), initial=0.0)) / (scale or 1.0)


def as_text(differences: dict[str, Any]) -> str:
    """The differences in one line."""
    return ", ".join(
        f"{name} differ by {found:.1e} at most (limit {LIMITS[name]:g})" for name, found in differences.items()
    )
