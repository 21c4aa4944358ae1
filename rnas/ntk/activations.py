"""The ReLUs of the network of NAS-Bench-201, seen from outside: the network itself does not return them."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnas.layers import BatchNorm, ConvBatchNorm
from rnas.models import NASBench201
from rnas.models.nasbench201_network import Edge, Reduction
from rnas.ntk.proxies import agreement
from rnas.spaces.nasbench201 import CONV_1X1, CONV_3X3


def activation_kernel(
    model: NASBench201, variables: dict[str, Any], images: jax.Array, encoding: jax.Array
) -> jax.Array:
    """Returns on how many ReLUs of the architecture each two images agree, [N, N].

    One ReLU stands before every convolution of cells and reductions, one before the pooled features. Edges that do not
    convolve have none, so that two architectures differ in their number.

    Args:
      model: the traced network.
      variables: its parameters and `batch_stats`.
      images: [N, H, W, C] in [0, 1].
      encoding: [6] operation indices, traced or not.
    """
    found = []

    def look(call, args, kwargs, context):
        module, result = context.module, call(*args, **kwargs)
        if context.method_name != "__call__":
            return result
        if isinstance(module, Edge):
            # The input of the edge, before its branches: they do not return it.
            value, operation = args
            found.append(((operation == CONV_1X1) | (operation == CONV_3X3)) * agreement(value))
        elif isinstance(module, ConvBatchNorm) and isinstance(module.parent, Reduction):
            found.append(agreement(args[0]))
        elif isinstance(module, BatchNorm) and isinstance(module.parent, NASBench201):
            found.append(agreement(result))
        return result

    with nn.intercept_methods(look):
        model.apply(variables, images, jnp.asarray(encoding))
    return sum(found)
