"""Inverted-residual network of the channel-masked space, as supernet and as narrow student.

Built with the largest widths and called with channel masks it is the weight-sharing supernet of RNAS-CL
(arXiv 2301.08092; FBNetV2 masks, arXiv 2004.05565); built with chosen widths and called without masks it is
the derived network. At a one-hot sample the two compute the same logits and the same taps.
"""

from collections.abc import Mapping, Sequence
import functools

import flax.linen as nn
import jax
from jax import lax
import jax.numpy as jnp

from rnas.layers import ConvBatchNorm, Normalize, hswish
from rnas.models.image_classifier import ImageClassifier, Make
from rnas.spaces.width_space import Block, WidthSpace


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
    conv_norm: Make

    @nn.compact
    def __call__(self, x, expansion_mask, output_mask, *, train):
        """Maps x [N,H,W,C] to the output [N,H',W',features] and the taps of the block's convolutions."""
        taps = {}
        y = x
        if self.expand:
            y = hswish(self.conv_norm(self.expanded, kernel_size=1, name="expand")(y, train=train))
            # The depthwise convolution keeps channels apart, so masking behind it is enough; only the tap
            # needs the mask here.
            taps["expand"] = _masked(y, expansion_mask)
        depthwise = self.conv_norm(self.expanded, stride=self.stride, depthwise=True, name="depthwise")
        y = taps["depthwise"] = _masked(hswish(depthwise(y, train=train)), expansion_mask)
        y = self.conv_norm(self.features, kernel_size=1, name="project")(y, train=train)
        taps["project"] = _masked(y, output_mask)
        if self.shortcut:
            y = y + _align(x, self.features)
        return _masked(y, output_mask), taps


class FBNet(ImageClassifier, kw_only=True):
    """The network of a space at given widths; with masks, the supernet.

    Attributes:
      space: macro architecture.
      widths: output width of each block; None takes the largest, which is the supernet.
      conv_bias: whether convolutions have a bias (they do in the published parameter counts).
      mask_expansion: expanded channels follow the *actual* input width; False keeps all e·C_in,max alive.
      shortcut: 'aligned' keeps the shortcut between unequal widths by truncation or zero padding,
        'equal_only' drops it there.
    """

    space: WidthSpace
    widths: tuple[int, ...] | None = None
    conv_bias: bool = True
    mask_expansion: bool = True
    shortcut: str = "aligned"
    momentum: float = 0.997

    @property
    def taps(self) -> tuple[str, ...]:
        return self.space.taps

    @property
    def conv_norm(self) -> Make:
        return functools.partial(ConvBatchNorm, use_bias=self.conv_bias, **self.normalisation)

    @nn.compact
    def __call__(self, images, masks=None, *, train=False):
        """Returns logits and taps, the latter after BatchNorm, activation and mask.

        `masks` has a channel mask [C_b] per block (see `channel_masks`), or is None for a network without masks.
        """
        widths = self.space.largest if self.widths is None else self.space.check_widths(self.widths)
        masks = (None,) * len(widths) if masks is None else masks
        conv_norm = self.conv_norm
        x = Normalize(self.mean, self.std)(images)
        x = hswish(conv_norm(self.space.stem_width, stride=self.space.stem_stride, name="stem")(x, train=train))
        out = {"stem": x}
        width, largest, mask = self.space.stem_width, self.space.stem_width, None
        for block, features, output_mask in zip(self.space.blocks, widths, masks, strict=True):
            module = block_module(self, block, width=width, largest=largest, features=features)
            x, taps = module(x, self._expansion_mask(mask, block.expansion), output_mask, train=train)
            out.update({f"{block.name}.{part}": tap for part, tap in taps.items()})
            width, largest, mask = features, block.width, output_mask
        if self.space.pool_features is not None:
            # Expand, average over the image, and project; the expansion mask applies after the average.
            expanded = 6 * (width if self.mask_expansion else largest)
            x = hswish(conv_norm(expanded, kernel_size=1, name="pool_expand")(x, train=train))
            mask = self._expansion_mask(mask, 6)
            out["pool.expand"] = _masked(x, mask)
            x = _masked(jnp.mean(x, axis=(1, 2), keepdims=True), mask)
            project = self.conv(self.space.pool_features, 1, use_bias=self.conv_bias, name="pool_project")
            x = out["pool.project"] = hswish(project(x))
            x = x.reshape(x.shape[0], -1).astype(jnp.promote_types(x.dtype, jnp.float32))
        else:
            x = jnp.mean(x, axis=(1, 2), dtype=jnp.promote_types(x.dtype, jnp.float32))
        logits = nn.Dense(self.num_classes, kernel_init=nn.initializers.normal(0.01), name="classifier")(x)
        return logits, out

    def _expansion_mask(self, mask, expansion):
        """repeat(mask, e): the first e·c_in expanded channels of a one-hot mask."""
        return jnp.repeat(mask, expansion) if self.mask_expansion and mask is not None else None


def block_module(network: FBNet, block: Block, *, width: int, largest: int, features: int) -> InvertedResidual:
    """A block of a network, also to be used alone; called inside of the network it is a part of it.

    Args:
      width: of its input in channels.
      largest: what this could be at most.
      features: width of its output.
    """
    in_shape = block.stride == 1 and largest == block.width
    return InvertedResidual(
        features=features,
        expanded=block.expansion * (width if network.mask_expansion else largest),
        stride=block.stride,
        expand=block.expansion > 1,
        shortcut=in_shape and (network.shortcut == "aligned" or width == features),
        conv_norm=network.conv_norm,
        name=block.name,
    )


def slice_variables(
    space: WidthSpace, variables: Mapping, widths: Sequence[int], *, mask_expansion: bool = True
) -> dict:
    """Cuts the variables of `FBNet(space=space, widths=widths)` out of the supernet's.

    These are the first channels of every kernel, bias, scale and statistic.
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
