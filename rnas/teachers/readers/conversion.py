"""Tensors of a PyTorch state as variables of a Flax model of the same names, every one of them accounted for."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

_NAMES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
# Where an axis of a Flax kernel comes from: convolutions OIHW -> HWIO, linear layers OI -> IO.
_AXES = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}


def layout(model: nn.Module, image_shape: tuple[int, int, int]) -> dict[tuple[str, ...], tuple[str, tuple[int, ...]]]:
    """Name and shape in PyTorch of each variable of a network of `rnas.models`, by its path in Flax."""
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    template = flax.traverse_util.flatten_dict(jax.eval_shape(model.init, jax.random.key(0), images))

    def in_torch(path: tuple[str, ...], shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
        order = np.argsort(_AXES[len(shape)]).tolist()
        return ".".join((*path[1:-1], _NAMES[path[-1]])), tuple(shape[axis] for axis in order)

    return {path: in_torch(path, leaf.shape) for path, leaf in template.items()}


def check(tensors: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raises ValueError with all tensors that are left over, are missing, or are not what a model needs.

    What it needs has the shape in `shapes`, a floating type, finite numbers, and no negative variance.
    """
    shared = sorted(set(shapes) & set(tensors))
    fitting = [name for name in shared if tensors[name].shape == shapes[name]]
    # Half precision of either kind is a floating type to JAX, not to NumPy.
    floating = [name for name in fitting if jnp.issubdtype(tensors[name].dtype, jnp.floating)]
    problems = {
        "not used by the network": [f"{name} {tensors[name].shape}" for name in sorted(set(tensors) - set(shapes))],
        "missing": [f"{name} {shapes[name]}" for name in sorted(set(shapes) - set(tensors))],
        "of another shape": [
            f"{name} {tensors[name].shape}, expected {shapes[name]}" for name in shared if name not in fitting
        ],
        "not of a floating type": [f"{name} {tensors[name].dtype}" for name in fitting if name not in floating],
        "not finite in single precision": [name for name in floating if not np.isfinite(_single(tensors[name])).all()],
        "negative": [name for name in floating if name.endswith(".running_var") and (tensors[name] < 0).any()],
    }
    listed = []
    for title, lines in problems.items():
        listed += [f"  {len(lines)} {title}:", *(f"    {line}" for line in lines)] if lines else []
    if listed:
        raise ValueError("\n".join(["the tensors do not fit the network:", *listed]))


def convert(tensors: Mapping[str, np.ndarray], model: nn.Module, image_shape: tuple[int, int, int]) -> Any:
    """Variables of `model`, float32, of images [H,W,C]; raises ValueError where tensors are not what it needs.

    The names of the tensors in PyTorch are the paths of the model's parameters, joined by dots.
    """
    needed = layout(model, image_shape)
    check(tensors, dict(needed.values()))
    leaves = {path: _single(tensors[name]).transpose(_AXES[len(shape)]) for path, (name, shape) in needed.items()}
    return jax.tree.map(np.ascontiguousarray, flax.traverse_util.unflatten_dict(leaves))


def _single(tensor: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # found by `check`
        return tensor.astype(np.float32, copy=False)
