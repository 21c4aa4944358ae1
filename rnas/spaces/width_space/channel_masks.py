"""Nested channel masks of blocks, mixed by samples of their widths (FBNetV2, arXiv 2004.05565)."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from rnas.spaces.width_space.inverted_residuals import WidthSpace


def initial_width_logits(space: WidthSpace) -> tuple[jax.Array, ...]:
    """Zero logits θ_b [n_b], one array per block: every width equally likely."""
    return tuple(jnp.zeros(len(block.options)) for block in space.blocks)


def channel_masks(space: WidthSpace, samples: Sequence[jax.Array]) -> tuple[jax.Array, ...]:
    """Mixes nested channel masks (arXiv 2004.05565, eq. 2).

    Args:
      samples: m_b [n_b] per block, weights over width options that sum to 1 (one-hot or soft).

    Returns:
      mask_b [C_b] per block: Σ_i m_{b,i}·[1 for the first (C_b − i·step_b) channels, else 0].
    """
    masks = []
    for block, sample in zip(space.blocks, samples, strict=True):
        nested = np.arange(block.width)[None, :] < np.asarray(block.options)[:, None]
        masks.append(sample @ jnp.asarray(nested, sample.dtype))
    return tuple(masks)


def one_hot_widths(space: WidthSpace, widths: Sequence[int]) -> tuple[jax.Array, ...]:
    """The one-hot samples m_b that select `widths`."""
    widths = space.check_widths(widths)
    return tuple(
        jax.nn.one_hot(block.options.index(width), len(block.options))
        for block, width in zip(space.blocks, widths, strict=True)
    )


def effective_widths(space: WidthSpace, samples: Sequence[jax.Array]) -> tuple[jax.Array, ...]:
    """Expected output width of each block, c̄_b = Σ_i m_{b,i}·(C_b − i·step_b), scalars in channels."""
    return tuple(
        sample @ jnp.asarray(block.options, sample.dtype) for block, sample in zip(space.blocks, samples, strict=True)
    )
