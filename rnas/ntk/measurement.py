"""All that is measured of one cell of NAS-Bench-201 at one initialisation, as one traced function."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from rnas.models import NASBench201
from rnas.ntk.activations import activation_kernel
from rnas.ntk.kernel import empirical_ntk
from rnas.ntk.perturbed import STEPS, perturb
from rnas.ntk.proxies import gradient_norm, jacobian_norm, synflow
from rnas.ntk.statistics import frozen_statistics


class Measurement(NamedTuple):
    """Of N images and R radii.

    Attributes:
      kernel: [(1 + 2 R) N, (1 + 2 R) N] between clean images and those perturbed once and twice at each radius.
      agreement: [N, N], on how many ReLUs two clean images agree.
      synflow: see `rnas.ntk.synflow`.
      gradient_norm: see `rnas.ntk.gradient_norm`.
      jacobian_norm: see `rnas.ntk.jacobian_norm`.
    """

    kernel: jax.Array
    agreement: jax.Array
    synflow: jax.Array
    gradient_norm: jax.Array
    jacobian_norm: jax.Array


def make_measurement(
    model: NASBench201, *, steps: int = STEPS, output: str = "sum", parameters: str = "all"
) -> Callable[..., Measurement]:
    """Returns (variables, encoding [6], images, labels, radii [R], key) → Measurement, pure and jittable.

    The architecture is an array, so that one compilation serves all. BatchNorm has the statistics of the clean images
    throughout. All architectures get the same starts of the attacks.

    Args:
      model: the traced network.
      steps: of each attack, see `perturb`.
      output: see `empirical_ntk`.
      parameters: see `empirical_ntk`.
    """
    # Synflow begins with ones, not with ones less a mean.
    unshifted = model.clone(mean=(0.0,) * len(model.mean), std=(1.0,) * len(model.std))

    def measure(
        variables: dict[str, Any],
        encoding: jax.Array,
        images: jax.Array,
        labels: jax.Array,
        radii: jax.Array,
        key: jax.Array,
    ) -> Measurement:
        def apply(variables, images):
            return model.apply(variables, images, encoding)

        frozen = frozen_statistics(model, variables, images, encoding)

        def attack(place_and_radius):
            place, epsilon = place_and_radius
            return perturb(
                lambda points: apply(frozen, points)[0],
                images,
                labels,
                epsilon=epsilon,
                key=jax.random.fold_in(key, place),
                steps=steps,
            )

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
