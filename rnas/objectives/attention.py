"""Attention maps of activations, distances between them, and the cross-layer loss.

A tap A [H,W,C] has the attention map F(A) = Σ_c A² [H,W] (Zagoruyko & Komodakis, arXiv 1612.03928). Maps of
unlike resolution are brought to one size, normalised, and compared between all layers of a student and all
layers of its teacher (RNAS-CL, arXiv 2301.08092, eq. 1). N batch, n_s and n_t layers of student and teacher,
P = size² pixels. Maps are float32 whatever the taps are (float64 for float64 taps).
"""

from collections.abc import Mapping, Sequence
import functools
import itertools

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

# Under the square root of the norm: keeps value and gradient of an all-zero map finite.
TINY = 1e-24

# By default accelerators multiply float32 matrices with 10-bit mantissas, and 2 - 2⟨s, t⟩ cancels.
_einsum = functools.partial(jnp.einsum, precision=lax.Precision.HIGHEST)


def attention_map(tap: jax.Array, size: int, normalise: str = "per_sample") -> jax.Array:
    """Returns the normalised attention map [N, size·size] of one tap [N,H,W,C], see `attention_maps`."""
    return attention_maps({"tap": tap}, ("tap",), size, normalise)[:, 0]


def attention_maps(
    out: Mapping[str, jax.Array], names: Sequence[str], size: int, normalise: str = "per_sample"
) -> jax.Array:
    """Returns the normalised attention maps [N, len(names), size·size] of the taps `out[name]`.

    Args:
      out: activations [N,H,W,C] of any floating type by name; squares are summed in float32.
      names: of the taps.
      size: side of the maps, in pixels. Resizing is bilinear with half-pixel centres, without antialiasing.
      normalise: 'per_sample' divides each example by its own norm, f/sqrt(Σf² + 1e-24). 'per_batch' divides
        all examples by one norm, the root of the mean over N of Σf²: for such maps it is the mean over N of
        `attention_distances` that is a squared distance, that of the batches as unit vectors of N·P numbers.

    Raises:
      ValueError: a tap that is missing or not of four axes, no name, size below 1, or unknown `normalise`.
    """
    maps = attention_energies(out, names, size)
    squares = jnp.sum(jnp.square(maps), axis=-1, keepdims=True)
    if normalise == "per_batch":
        squares = jnp.mean(squares, axis=0, keepdims=True)
    elif normalise != "per_sample":
        raise ValueError(f"normalise is {normalise!r}; expected 'per_sample' or 'per_batch'.")
    return maps / jnp.sqrt(squares + TINY)


def attention_energies(out: Mapping[str, jax.Array], names: Sequence[str], size: int) -> jax.Array:
    """Returns the maps of `attention_maps` before they are normalised; raises the same errors."""
    missing = [name for name in names if name not in out]
    if size < 1:
        raise ValueError(f"size is {size}; give the side of an attention map, at least 1 pixel.")
    if missing or not names:
        raise ValueError(f"cannot map the taps {missing or list(names)}; name one or more of {', '.join(out)}.")
    for name in names:
        if out[name].ndim != 4:
            raise ValueError(f"tap {name!r} has shape {out[name].shape}; expected an activation [N,H,W,C].")
    # Neighbours of one resolution are resized together: few products, whatever the number of layers.
    runs = itertools.groupby((_energy(out[name]) for name in names), key=jnp.shape)
    return jnp.concatenate([_resize(jnp.stack(list(run), axis=1), size) for _, run in runs], axis=1)


def attention_distances(student: jax.Array, teacher: jax.Array) -> jax.Array:
    """Returns d_ij = 2 - 2⟨s_i, t_j⟩ [N,n_s,n_t] of every student with every teacher map.

    For unit vectors this is ‖s_i - t_j‖²; maps are non-negative, so it lies in [0, 2], up to rounding which
    is not clipped. An all-zero map is at distance 2 from everything.

    Args:
      student, teacher: normalised maps [N,n_s,P] and [N,n_t,P]; other shapes are a ValueError.
    """
    if student.ndim != 3 or teacher.ndim != 3 or student.shape[::2] != teacher.shape[::2]:
        raise ValueError(
            f"maps of the student have shape {student.shape}, of the teacher {teacher.shape}; "
            "expected [N,n_s,P] and [N,n_t,P], from the same images and with one map size."
        )
    return 2.0 - 2.0 * _einsum("nip,njp->nij", student, teacher)


def paired_distances(student: jax.Array, teacher: jax.Array) -> jax.Array:
    """Returns 2 - 2⟨s_i, t_i⟩ [N,n]: each student map [N,n,P] with the teacher map of the same row.

    Other shapes are a ValueError.
    """
    if student.ndim != 3 or student.shape != teacher.shape:
        raise ValueError(
            f"maps of the student have shape {student.shape}, of the teacher {teacher.shape}; "
            "expected one shape [N,n,P], a teacher map for every student map."
        )
    return 2.0 - 2.0 * _einsum("nip,nip->ni", student, teacher)


def cross_layer_loss(distances: jax.Array, weights: jax.Array, reduction: str = "sum_layers") -> jax.Array:
    """Returns Σ_i Σ_j g_ij·d_ij per example [N] (RNAS-CL, arXiv 2301.08092, eq. 1).

    Args:
      distances: d [N,n_s,n_t], see `attention_distances`.
      weights: g [n_s,n_t], row i weighs the teacher layers for student layer i. Another shape is a ValueError.
      reduction: 'sum_layers' as above; 'paper' divides by n_s·n_t; another one is a ValueError.
    """
    if distances.ndim != 3 or distances.shape[1:] != weights.shape:
        raise ValueError(
            f"distances have shape {distances.shape}, weights {weights.shape}; expected [N,n_s,n_t] and [n_s,n_t]."
        )
    if reduction not in ("sum_layers", "paper"):
        raise ValueError(f"reduction is {reduction!r}; expected 'sum_layers' or 'paper'.")
    total = _einsum("nij,ij->n", distances, weights)
    return total / weights.size if reduction == "paper" else total


# Differentiated plainly, this would keep a float32 copy of every bfloat16 tap for the backward pass.
@jax.checkpoint
def _energy(tap: jax.Array) -> jax.Array:
    """F(A) = Σ_c A² [N,H,W] of a tap [N,H,W,C], summed in float32 at least."""
    return jnp.sum(jnp.square(tap.astype(jnp.promote_types(tap.dtype, jnp.float32))), axis=-1)


def _resize(maps: jax.Array, size: int) -> jax.Array:
    """Bilinear resize of maps [N,n,H,W] to [N,n,size·size], one constant matrix per axis."""
    height, width = maps.shape[2:]
    rows, columns = (_interpolation(length, size).astype(maps.dtype) for length in (height, width))
    # Two pairwise products: left to itself the three-operand form may pick an order by flops alone.
    resized = _einsum("nipw,qw->nipq", _einsum("nihw,ph->nipw", maps, rows), columns)
    return resized.reshape(*maps.shape[:2], size * size)


def _interpolation(length: int, size: int) -> np.ndarray:
    """The matrix [size, length] that samples `length` points linearly at `size` half-pixel centres."""
    position = np.clip((np.arange(size) + 0.5) * length / size - 0.5, 0, length - 1)
    # A point is weighed by how near it lies, and by nothing from a distance of 1 on.
    return np.maximum(0.0, 1.0 - np.abs(position[:, None] - np.arange(length)))
