"""The empirical neural tangent kernel of a network at given parameters (Jacot et al. 2018, arXiv 1806.07572).

Scope: parameters as they are, no training, no infinite width. Normalisation must not couple the examples of a batch:
`apply` is called on one image at a time, so that BatchNorm has to use running statistics; `frozen_statistics` gives
those of a batch.
"""

from collections.abc import Callable, Mapping
import functools
import operator
from typing import Any

import flax.linen as nn
import jax
from jax import lax
import jax.numpy as jnp

PyTree = Any
Apply = Callable[[PyTree, jax.Array], Any]

OUTPUTS = ("sum", "trace")
PARAMETERS = ("all", "kernels")
HELD_BYTES = 2**30  # of gradients at once, by default


def frozen_statistics(model: nn.Module, variables: dict[str, Any], images: jax.Array, *inputs: Any) -> dict[str, Any]:
    """Returns the variables with the BatchNorm statistics of this batch as the running ones.

    In inference mode the network then gives on the batch what it gives in training mode, and any other image passes
    through it without touching its neighbours. Statistics of what the batch does not pass through stay as they are.

    Args:
      model: of `rnas.models`, with an attribute `momentum`.
      variables: its parameters and `batch_stats`.
      images: [N, H, W, C] in [0, 1].
      inputs: what the model takes after the images, such as an encoding.
    """
    # Without momentum nothing of the former statistics is kept.
    _, moved = model.clone(momentum=0.0).apply(variables, images, *inputs, train=True, mutable=["batch_stats"])
    return {**variables, **moved}


def empirical_ntk(
    apply: Apply,
    variables: PyTree,
    x1: jax.Array,
    x2: jax.Array | None = None,
    *,
    output: str = "sum",
    parameters: str = "all",
    block: int | None = None,
) -> jax.Array:
    """Returns ⟨∇f(x1_i), ∇f(x2_j)⟩ for every pair of examples, [N1, N2] in the type of the gradients.

    Per-example gradients are contracted leaf by leaf. The whole Jacobian is held only where it fits; otherwise blocks
    of examples are differentiated and contracted one after the other, those of `x2` once for every block of `x1`.

    Args:
      apply: (variables, images [N, ...]) → logits [N, K], or a tuple that begins with them, as the models of
        `rnas.models` return. In inference mode.
      variables: with an entry 'params', that is differentiated and the others are constants; a tree without one is
        parameters as a whole.
      x1: examples [N1, ...].
      x2: examples [N2, ...]; None takes `x1`, and the kernel is symmetric.
      output: 'sum' differentiates f = Σ_k logits_k, with one backward pass an example; 'trace' averages the kernels
        of the K logits, (1/K) Σ_k ⟨∇f_k, ∇f_k⟩, with K.
      parameters: 'all', or 'kernels' for leaves of that name alone, neither biases nor BatchNorm.
      block: examples on either side whose gradients are held at once; None takes as many as fit into 1 GiB.

    Raises:
      ValueError: an unknown `output` or `parameters`, a block below 1, no example, examples of two shapes, no leaf
        that is called 'kernel', or logits of another shape.
    """
    for name, value, known in (("parameters", parameters, PARAMETERS), ("output", output, OUTPUTS)):
        if value not in known:
            raise ValueError(f"unknown {name} {value!r}; expected one of {', '.join(known)}.")
    if block is not None and block < 1:
        raise ValueError(f"block={block}: expected at least 1 example, or None.")
    given = (x1,) if x2 is None else (x1, x2)
    for x in given:
        if len(x) == 0 or x.shape[1:] != x1.shape[1:]:
            raise ValueError(f"examples of shape {x.shape}: expected at least one, each of shape {x1.shape[1:]}.")
    params, logits = split(apply, variables)
    leaves, structure = jax.tree.flatten_with_path(params)
    chosen = [parameters == "all" or getattr(path[-1] if path else None, "key", None) == "kernel" for path, _ in leaves]
    if not any(chosen):
        raise ValueError("no parameter is called 'kernel'; parameters='all' takes every one.")
    moving = [leaf for (_, leaf), is_chosen in zip(leaves, chosen, strict=True) if is_chosen]
    one = jax.eval_shape(lambda x: logits(params, x), x1[:1])
    if one.ndim != 2 or len(one) != 1:
        raise ValueError(f"apply must return logits [N, K]; got shape {one.shape} for one example.")
    classes = one.shape[1]
    # [D, K]: the combinations of logits whose kernels are summed.
    if output == "sum":
        directions = jnp.ones((1, classes), one.dtype)
    else:
        directions = jnp.eye(classes, dtype=one.dtype) * classes**-0.5

    def directed(moving, example, direction):
        left = iter(moving)
        filled = [next(left) if is_chosen else leaf for (_, leaf), is_chosen in zip(leaves, chosen, strict=True)]
        return jnp.vdot(logits(jax.tree.unflatten(structure, filled), example[None])[0], direction)

    def gradients(x, direction):
        return jax.vmap(jax.grad(directed), in_axes=(None, 0, None))(moving, x, direction)

    if block is None:
        size = sum(leaf.size * leaf.dtype.itemsize for leaf in moving)
        block = max(1, HELD_BYTES // (len(given) * size))
    if max(map(len, given)) <= block:

        def kernel(direction):
            held = [gradients(x, direction) for x in given]
            return inner_products(held[0], held[-1])

    else:
        block = min(block, max(map(len, given)))

        def kernel(direction):
            def row(rows):
                held = gradients(rows, direction)
                return lax.map(lambda columns: inner_products(held, gradients(columns, direction)), blocks[-1])

            blocks = [_cut(x, block) for x in given]
            products = lax.map(row, blocks[0])  # [blocks of x1, blocks of x2, block, block]
            products = products.swapaxes(1, 2).reshape(products.shape[0] * block, products.shape[1] * block)
            return products[: len(given[0]), : len(given[-1])]

    if len(directions) == 1:
        return kernel(directions[0])
    shape = jax.eval_shape(kernel, directions[0])
    zeros = jnp.zeros(shape.shape, shape.dtype)
    return lax.scan(lambda total, direction: (total + kernel(direction), None), zeros, directions)[0]


def split(apply: Apply, variables: PyTree) -> tuple[PyTree, Callable[[PyTree, jax.Array], jax.Array]]:
    """Returns the parameters, and the logits [N, K] as a function of them and the images."""
    whole = not (isinstance(variables, Mapping) and "params" in variables)

    def logits(params, images):
        found = apply(params if whole else {**variables, "params": params}, images)
        return found[0] if isinstance(found, tuple) else found

    return (variables if whole else variables["params"]), logits


def inner_products(left: PyTree, right: PyTree) -> jax.Array:
    """Returns the products [N1, N2] of two batches of gradients, trees of leaves [N1, ...] and [N2, ...]."""
    products = (
        jnp.matmul(one.reshape(len(one), -1), other.reshape(len(other), -1).T, precision=lax.Precision.HIGHEST)
        for one, other in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True)
    )
    return functools.reduce(operator.add, products)


def _cut(x: jax.Array, block: int) -> jax.Array:
    """[blocks, block, ...], the last one filled up with the first example."""
    missing = -len(x) % block
    filled = jnp.concatenate([x, jnp.broadcast_to(x[:1], (missing, *x.shape[1:]))])
    return filled.reshape(-1, block, *x.shape[1:])
