"""Sizes of networks: parameters and multiply-accumulates, found without computing anything."""

import functools
import math
import operator
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnas.layers.convolution import Conv


class Count(NamedTuple):
    """Size of a network.

    Attributes:
      params: entries of the collection `params`, biases and BatchNorm scales included, statistics not.
      macs: multiply-accumulates of convolutions and dense layers for one image; biases, normalisation and
        activations are not counted.
    """

    params: int
    macs: int


def count(model: nn.Module, image_shape: tuple[int, int, int], *args: Any, **kwargs: Any) -> Count:
    """Returns the size of `model` as called by `model(images, *args, **kwargs)`.

    Args:
      model: unbound Flax module taking images [N, H, W, C]; its convolutions and dense layers count each time
        they are called, inside `nn.scan` in every step (twice, if it is to check constancy invariants).
      image_shape: (H, W, C).
      *args: passed on after the images.
      **kwargs: passed on.
    """
    macs = 0

    def tally(call, inputs, options, context):
        nonlocal macs
        result = call(*inputs, **options)
        module = context.module
        if isinstance(module, (Conv, nn.Conv, nn.Dense)) and context.method_name == "__call__":
            # Every entry of the kernel is used once for every position of the result, of its own branch where there
            # are several; a scan calls once for all steps, whose kernels lie side by side outside of it.
            positions = math.prod(result.shape[:-1]) // (getattr(module, "branches", None) or 1)
            kernel = functools.reduce(operator.getitem, (*module.path, "kernel"), variables["params"])
            macs += positions * kernel.size
        return result

    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    variables = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, *args, **kwargs), images)
    # Not while initialising: what only training calls has parameters too.
    with nn.intercept_methods(tally):
        jax.eval_shape(lambda v, x: model.apply(v, x, *args, mutable=list(v), **kwargs), variables, images)
    return Count(sum(leaf.size for leaf in jax.tree.leaves(variables["params"])), macs)
