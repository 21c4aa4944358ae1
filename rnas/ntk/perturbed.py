"""Kernels of images and of their perturbations, and the mixtures that bound clean and robust error.

After Wu et al. 2024 (arXiv 2403.13134): training on (1 - β) times the clean and β times the adversarial loss is
governed by mixtures of the kernel between clean images x, perturbed ones A(x), and twice perturbed ones A(A(x)).
"""

from typing import Any, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from rnas.attacks import cross_entropy, initial_images, projected_ascent, radius
from rnas.attacks.epsilon_parsing import Length, is_traced
from rnas.attacks.input_checks import check_count
from rnas.attacks.pgd import Logits
from rnas.attacks.random_start import per_example_keys
from rnas.ntk.kernel import Apply, PyTree, empirical_ntk

STEPS = 7
REACH = 2.5  # sum of all step sizes, in radii


class Perturbed(NamedTuple):
    """Images [N, ...], perturbed once and twice."""

    once: jax.Array
    twice: jax.Array


class Kernels(NamedTuple):
    """Kernels [..., N, N] with g = ∇f; rows are i, columns j. The two that cross are not symmetric.

    `clean` is K = ⟨g(x_i), g(x_j)⟩, `cross` K̄ = ⟨g(x_i), g(A(x_j))⟩, `robust` K̂ = ⟨g(A(x_i)), g(A(x_j))⟩,
    `twice_cross` K̄₂ = ⟨g(A(x_i)), g(A(A(x_j)))⟩, and `twice` K̂₂ = ⟨g(A(A(x_i))), g(A(A(x_j)))⟩.
    """

    clean: jax.Array
    cross: jax.Array
    robust: jax.Array
    twice_cross: jax.Array
    twice: jax.Array


class Mixed(NamedTuple):
    """Kernels [..., N, N] whose least eigenvalues bound the errors: K_all the clean, K̃_all the robust; symmetric."""

    clean: jax.Array
    robust: jax.Array


def perturb(
    logits_fn: Logits,
    images: jax.Array,
    labels: jax.Array,
    *,
    epsilon: Length,
    key: jax.Array,
    steps: int | jax.Array = STEPS,
) -> Perturbed:
    """Returns A(x) and A(A(x)): PGD on cross-entropy, L∞, uniform start, its last iterate.

    The second attack starts from A(x) with a ball of its own, so that A(A(x)) may lie up to 2 ε from x.

    Arguments and errors are those of `rnas.attacks.pgd`. Either attack takes `steps`, at least one, of 2.5 ε / steps.
    """
    check_count("steps", steps, least=1)
    keys = jax.vmap(jax.random.split, out_axes=1)(per_example_keys(key, len(images)))

    def attack(centre, keys):
        def loss(points):
            return cross_entropy(logits_fn(points), labels)

        start, length = initial_images(keys, centre, epsilon), REACH * radius(epsilon) / steps
        found = projected_ascent(loss, start, centre, epsilon=epsilon, step_size=length, steps=steps)
        return found, found

    _, (once, twice) = lax.scan(attack, images, keys)  # a scan, so that the network is compiled once
    return Perturbed(once, twice)


def perturbed_kernels(
    apply: Apply, variables: PyTree, images: jax.Array, perturbed: Perturbed, **options: Any
) -> Kernels:
    """Returns the five kernels of `images` [N, ...], clean and `perturbed`, from one gradient for each of the 3 N.

    Other arguments and errors are those of `empirical_ntk`; its `output`, `parameters` and `block` are the `options`.
    """
    whole = empirical_ntk(apply, variables, jnp.concatenate([images, *perturbed]), **options)
    return blocks(whole, len(images), 0)


def blocks(whole: Any, examples: int, place: int) -> Kernels:
    """Cuts the five kernels of one radius out of a kernel of clean images and images perturbed at several radii.

    Args:
      whole: [..., (1 + 2 R) N, (1 + 2 R) N], of N clean images, then once and twice perturbed ones for each of R radii.
      examples: N.
      place: of the radius, 0 to R - 1.
    """

    def between(rows, columns):
        row, column = rows * examples, columns * examples
        return whole[..., row : row + examples, column : column + examples]

    once, twice = 1 + 2 * place, 2 + 2 * place
    return Kernels(between(0, 0), between(0, once), between(once, once), between(once, twice), between(twice, twice))


def mixed_kernels(kernels: Kernels, beta: float | jax.Array) -> Mixed:
    """Returns the mixtures for the loss (1 - β) · clean + β · adversarial.

    K_all = (1-β)² K + β(1-β)(K̄ + K̄ᵀ) + β² K̂ for clean error, and for robust error the same one perturbation
    further, K̃_all = (1-β)² K̂ + β(1-β)(K̄₂ + K̄₂ᵀ) + β² K̂₂. Both are Gram matrices, of (1-β) g(x) + β g(A(x)) and of
    (1-β) g(A(x)) + β g(A(A(x))). The kernels are of one radius, of JAX or NumPy; a `beta` outside [0, 1] is refused.
    """
    if not is_traced(beta) and not 0 <= beta <= 1:
        raise ValueError(f"beta={beta}: expected 0 (clean loss alone) to 1 (adversarial loss alone).")

    def mixture(first, between, last):
        both = between + between.swapaxes(-1, -2)
        return (1 - beta) ** 2 * first + beta * (1 - beta) * both + beta**2 * last

    return Mixed(
        mixture(kernels.clean, kernels.cross, kernels.robust),
        mixture(kernels.robust, kernels.twice_cross, kernels.twice),
    )
