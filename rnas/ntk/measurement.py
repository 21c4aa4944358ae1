"""All that is measured of one cell of NAS-Bench-201 at one initialisation, as one traced function."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
from jax import lax
import jax.numpy as jnp

from rnas.layers import BatchNorm, ConvBatchNorm
from rnas.models import NASBench201
from rnas.models.nasbench201_network import Edge, Reduction
from rnas.ntk.kernel import empirical_ntk, frozen_statistics
from rnas.ntk.perturbed import STEPS, perturb
from rnas.ntk.proxies import agreement, gradient_norm, jacobian_norm, synflow
from rnas.spaces.nasbench201 import CONV_1X1, CONV_3X3


class Measurement(NamedTuple):
    """Of N images and R radii."""

    kernel: jax.Array  # [(1 + 2 R) N] squared, of clean images and those perturbed once and twice at each radius
    agreement: jax.Array  # [N, N], on how many ReLUs two clean images agree
    synflow: jax.Array  # a number, as the next two; see `rnas.ntk.proxies`
    gradient_norm: jax.Array
    jacobian_norm: jax.Array


def activation_kernel(
    model: NASBench201, variables: dict[str, Any], images: jax.Array, encoding: jax.Array
) -> jax.Array:
    """Returns on how many ReLUs of the architecture each two images agree, [N, N].

    The ReLUs are seen from outside: the network does not return them. One stands before every convolution of cells and
    reductions, one before the pooled features. Edges that do not convolve have none, so that two architectures differ
    in their number. Of the traced network, images [N, H, W, C] in [0, 1], and an encoding of [6] operation indices.
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


def make_measurement(
    model: NASBench201, *, steps: int = STEPS, output: str = "sum", parameters: str = "all"
) -> Callable[..., Measurement]:
    """Returns (variables, encoding [6], images, labels, radii [R], key) → Measurement, pure and jittable.

    The architecture is an array, so that one compilation serves all. BatchNorm has the statistics of the clean images
    throughout. All architectures get the same starts of the attacks, of so many `steps`; `output` and `parameters` are
    those of `empirical_ntk`.
    """
    # Synflow begins with ones, not with ones less a mean.
    unshifted = model.clone(mean=(0.0,) * len(model.mean), std=(1.0,) * len(model.std))

    def measure(variables, encoding, images, labels, radii, key) -> Measurement:
        def apply(variables, images):
            return model.apply(variables, images, encoding)

        frozen = frozen_statistics(model, variables, images, encoding)

        def attack(place_and_radius):
            place, epsilon = place_and_radius
            own = dict(epsilon=epsilon, key=jax.random.fold_in(key, place), steps=steps)
            return perturb(lambda points: apply(frozen, points)[0], images, labels, **own)

        perturbed = jnp.stack(lax.map(attack, (jnp.arange(len(radii)), radii)), axis=1)  # [R, 2, N, H, W, C]
        points = jnp.concatenate([images, perturbed.reshape(-1, *images.shape[1:])])
        return Measurement(
            kernel=empirical_ntk(apply, frozen, points, output=output, parameters=parameters),
            agreement=activation_kernel(model, frozen, images, encoding),
            synflow=synflow(lambda v, x: unshifted.apply(v, x, encoding), variables, jnp.ones_like(images[:1])),
            gradient_norm=gradient_norm(apply, frozen, images, labels),
            jacobian_norm=jacobian_norm(apply, frozen, images),
        )

    return measure
