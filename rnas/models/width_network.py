"""Inverted-residual network of the channel-masked space, as supernet and as narrow student.

Built with the largest widths and called with channel masks it is the weight-sharing supernet of RNAS-CL
(arXiv 2301.08092; FBNetV2 masks, arXiv 2004.05565); built with chosen widths and called without masks it is
the derived network. At a one-hot sample the two compute the same logits and the same taps.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
from jax import lax
import jax.numpy as jnp

from rnas.layers import Conv, ConvBatchNorm, Normalize, hswish
from rnas.spaces.width_space import WidthSpace


def _align(x: jax.Array, channels: int) -> jax.Array:
    """Truncates or zero-pads the last axis: what nested masks do to a shortcut between unequal widths."""
    have = x.shape[-1]
    if have >= channels:
        return x[..., :channels]
    return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, channels - have)])


def _masked(x: jax.Array, mask: jax.Array | None) -> jax.Array:
    return x if mask is None else x * lax.broadcast_to_rank(mask.astype(x.dtype), x.ndim)


class InvertedResidual(nn.Module):
    """1×1 expand, 3×3 depthwise, 1×1 project; BatchNorm after each, hswish after the first two."""

    features: int
    expanded: int
    stride: int
    expand: bool
    shortcut: bool
    conv_bias: bool
    momentum: float
    dtype: jnp.dtype | None
    axis_name: str | None

    @nn.compact
    def __call__(self, x, expansion_mask, output_mask, *, train):
        """Maps x [N,H,W,C] to the output [N,H',W',features] and the taps of the block's convolutions."""
        common: dict[str, Any] = dict(
            use_bias=self.conv_bias, momentum=self.momentum, dtype=self.dtype, axis_name=self.axis_name
        )
        taps = {}
        y = x
        if self.expand:
            y = hswish(ConvBatchNorm(self.expanded, kernel_size=1, name="expand", **common)(y, train=train))
            # The depthwise convolution keeps channels apart, so masking behind it is enough; only the tap
            # needs the mask here.
            taps["expand"] = _masked(y, expansion_mask)
        depthwise = ConvBatchNorm(
            self.expanded, kernel_size=3, stride=self.stride, depthwise=True, name="depthwise", **common
        )
        y = taps["depthwise"] = _masked(hswish(depthwise(y, train=train)), expansion_mask)
        y = ConvBatchNorm(self.features, kernel_size=1, name="project", **common)(y, train=train)
        taps["project"] = _masked(y, output_mask)
        if self.shortcut:
            y = y + _align(x, self.features)
        return _masked(y, output_mask), taps


class FBNet(nn.Module):
    """The network of a space at given widths; with masks, the supernet.

    Attributes:
      space: macro architecture.
      widths: output width of each block; None takes the largest, which is the supernet.
      num_classes: K.
      mean, std: per-channel constants in pixel units [0, 1]; normalisation is the first layer.
      conv_bias: whether convolutions have a bias (they do in the published parameter counts).
      mask_expansion: expanded channels follow the *actual* input width; False keeps all e·C_in,max alive.
      shortcut: 'aligned' keeps the shortcut between unequal widths by truncation or zero padding,
        'equal_only' drops it there.
      momentum: BatchNorm's, Flax convention.
      dtype: compute type; parameters, statistics and logits stay float32.
      axis_name: replica axis over which batch statistics are averaged.
    """

    space: WidthSpace
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    widths: tuple[int, ...] | None = None
    conv_bias: bool = True
    mask_expansion: bool = True
    shortcut: str = "aligned"
    momentum: float = 0.997
    dtype: jnp.dtype | None = None
    axis_name: str | None = None

    @property
    def taps(self) -> tuple[str, ...]:
        return self.space.taps

    @nn.compact
    def __call__(self, images, masks=None, *, train=False):
        """Classifies images.

        Args:
          images: [N,H,W,C] float in [0, 1].
          masks: channel mask [C_b] per block (see `channel_masks`), or None for a network without masks.
          train: use batch statistics (and update running ones where `batch_stats` is mutable).

        Returns:
          (logits [N,K] float32, {tap name: [N,h,w,c]}), taps after BatchNorm, activation and mask.
        """
        widths = self.space.largest if self.widths is None else self.space.check_widths(self.widths)
        masks = (None,) * len(widths) if masks is None else masks
        common: dict[str, Any] = dict(momentum=self.momentum, dtype=self.dtype, axis_name=self.axis_name)
        x = Normalize(self.mean, self.std)(images)
        stem = ConvBatchNorm(
            self.space.stem_width, stride=self.space.stem_stride, use_bias=self.conv_bias, name="stem", **common
        )
        x = hswish(stem(x, train=train))
        out = {"stem": x}
        width, largest, mask = self.space.stem_width, self.space.stem_width, None
        for block, features, output_mask in zip(self.space.blocks, widths, masks, strict=True):
            in_shape = block.stride == 1 and largest == block.width
            x, taps = InvertedResidual(
                features=features,
                expanded=block.expansion * (width if self.mask_expansion else largest),
                stride=block.stride,
                expand=block.expansion > 1,
                shortcut=in_shape and (self.shortcut == "aligned" or width == features),
                conv_bias=self.conv_bias,
                name=block.name,
                **common,
            )(x, self._expansion_mask(mask, block.expansion), output_mask, train=train)
            out.update({f"{block.name}.{part}": tap for part, tap in taps.items()})
            width, largest, mask = features, block.width, output_mask
        if self.space.pool_features is not None:
            x, taps = self._pool(
                x, self.space.pool_features, 6 * (width if self.mask_expansion else largest), mask, train, common
            )
            out.update(taps)
        else:
            x = jnp.mean(x, axis=(1, 2), dtype=jnp.promote_types(x.dtype, jnp.float32))
        logits = nn.Dense(self.num_classes, kernel_init=nn.initializers.normal(0.01), name="classifier")(x)
        return logits, out

    def _expansion_mask(self, mask, expansion):
        """repeat(mask, e): the first e·c_in expanded channels of a one-hot mask."""
        return jnp.repeat(mask, expansion) if self.mask_expansion and mask is not None else None

    def _pool(self, x, features, expanded, mask, train, common):
        """Expand, average over the image, and project; the expansion mask applies after the average."""
        x = ConvBatchNorm(expanded, kernel_size=1, use_bias=self.conv_bias, name="pool_expand", **common)(
            x, train=train
        )
        x = hswish(x)
        mask = self._expansion_mask(mask, 6)
        taps = {"pool.expand": _masked(x, mask)}
        x = _masked(jnp.mean(x, axis=(1, 2), keepdims=True), mask)
        x = Conv(features, kernel_size=1, use_bias=self.conv_bias, dtype=self.dtype, name="pool_project")(x)
        x = taps["pool.project"] = hswish(x)
        return x.reshape(x.shape[0], -1).astype(jnp.promote_types(x.dtype, jnp.float32)), taps


def slice_variables(
    space: WidthSpace, variables: Mapping, widths: Sequence[int], *, mask_expansion: bool = True
) -> dict:
    """Cuts the weights of the narrow network out of the supernet's.

    Args:
      variables: {'params': …, 'batch_stats': …} of the supernet.
      widths: the narrow network's.

    Returns:
      Variables of `FBNet(space, widths=widths)`: first channels of every kernel, bias, scale and statistic.
    """
    widths = space.check_widths(widths)
    ends: dict[str, tuple[int | None, int | None]] = {"stem": (None, space.stem_width)}
    c_in, c_largest = space.stem_width, space.stem_width
    for block, c_out in zip(space.blocks, widths, strict=True):
        mid = block.expansion * (c_in if mask_expansion else c_largest)
        ends[f"{block.name}/expand"] = (c_in, mid)
        ends[f"{block.name}/depthwise"] = (1, mid)
        ends[f"{block.name}/project"] = (mid, c_out)
        c_in, c_largest = c_out, block.width
    mid = 6 * (c_in if mask_expansion else c_largest)
    ends["pool_expand"] = (c_in, mid)
    ends["pool_project"] = (mid, space.pool_features)
    ends["classifier"] = (c_in if space.pool_features is None else space.pool_features, None)

    def cut(path, leaf):
        names = [entry.key for entry in path][1:]  # without the collection's name
        layer = "/".join(names[:2]) if names[0].startswith("block") else names[0]
        inputs, outputs = ends[layer]
        if names[-1] == "kernel":
            return leaf[..., :inputs, :outputs]
        return leaf[..., :outputs]

    return jax.tree_util.tree_map_with_path(cut, dict(variables))
