"""Channel-masked inverted-residual space of RNAS-CL (arXiv 2301.08092): macro tables, masks, cost and derivation.

The search is over the output widths of blocks; kernels, expansions, depth and resolution are fixed. The network itself
is `rnas.models.width_network.FBNet`.
"""

from collections.abc import Sequence
import dataclasses
from fractions import Fraction
import math

import jax
import jax.numpy as jnp
import numpy as np

from rnas.spaces.registry import Registry


@dataclasses.dataclass(frozen=True)
class Stage:
    """A run of blocks of one maximal width; the first block has the stage's stride.

    Width options are `width - i * step` for i in 0..options-1, widest first.
    """

    width: int
    blocks: int
    stride: int
    options: int
    step: int = 4
    expansion: int = 6


@dataclasses.dataclass(frozen=True)
class Block:
    """One inverted-residual block of a space, at its largest."""

    name: str
    stage: int  # counted from 1
    stride: int
    expansion: int
    options: tuple[int, ...]  # output widths, widest first

    @property
    def width(self) -> int:
        return self.options[0]


@dataclasses.dataclass(frozen=True)
class WidthSpace:
    """Macro architecture: stem, stages, and the optional pooling block of the ImageNet network."""

    name: str
    stages: tuple[Stage, ...]
    stem_width: int = 16
    stem_stride: int = 2
    pool_features: int | None = None  # width after pooling; None: classify the pooled map directly

    @property
    def blocks(self) -> tuple[Block, ...]:
        found = []
        for number, stage in enumerate(self.stages, start=1):
            options = tuple(stage.width - i * stage.step for i in range(stage.options))
            for index in range(stage.blocks):
                stride = stage.stride if index == 0 else 1
                found.append(Block(f"block{len(found)}", number, stride, stage.expansion, options))
        return tuple(found)

    @property
    def taps(self) -> tuple[str, ...]:
        """Names of the student taps in forward order: the stem, then every convolution of every block."""
        names = ["stem"]
        for block in self.blocks:
            parts = ("expand", "depthwise", "project") if block.expansion > 1 else ("depthwise", "project")
            names += [f"{block.name}.{part}" for part in parts]
        if self.pool_features is not None:
            names += ["pool.expand", "pool.project"]
        return tuple(names)

    @property
    def largest(self) -> tuple[int, ...]:
        return tuple(block.options[0] for block in self.blocks)

    @property
    def smallest(self) -> tuple[int, ...]:
        return tuple(block.options[-1] for block in self.blocks)

    def check_widths(self, widths: Sequence[int]) -> tuple[int, ...]:
        """Returns `widths` as a tuple; raises ValueError where one is no option of its block."""
        blocks = self.blocks
        if len(widths) != len(blocks):
            raise ValueError(f"space {self.name!r} has {len(blocks)} blocks, but {len(widths)} widths were given.")
        for block, width in zip(blocks, widths, strict=True):
            if width not in block.options:
                raise ValueError(
                    f"{block.name} of space {self.name!r} cannot have width {width!r}; its options are "
                    f"{', '.join(map(str, block.options))}."
                )
        return tuple(int(width) for width in widths)


SPACES: Registry[WidthSpace] = Registry("width")
register, get_space = SPACES.register, SPACES.get_space

# For 8×8 digits: no downsampling in the stem, two resolutions.
register(WidthSpace("tiny", (Stage(16, 2, 1, 2), Stage(32, 2, 2, 4)), stem_stride=1))
# Of CIFAR, (blocks, width) of each stage; strides and numbers of options are the same for all.
for _name, *_stages in (
    ("s1", (1, 16), (1, 32), (1, 64)),
    ("s3", (3, 16), (3, 32), (3, 64)),
    ("s5", (5, 16), (5, 32), (5, 64)),
    ("s7", (7, 16), (7, 32), (7, 64)),
    ("m", (9, 80), (7, 160), (1, 128)),
    ("l", (9, 160), (7, 320), (1, 256)),
):
    _rest = ((1, 2), (2, 4), (2, 4))
    register(WidthSpace(_name, tuple(Stage(w, b, *rest) for (b, w), rest in zip(_stages, _rest, strict=True))))
register(
    WidthSpace(
        "imagenet",
        (
            Stage(16, 1, 1, 2, step=4, expansion=1),
            Stage(28, 3, 2, 4, step=4),
            Stage(40, 3, 2, 4, step=8),
            Stage(96, 3, 2, 7, step=8),
            Stage(128, 4, 1, 8, step=8),
            Stage(216, 4, 2, 14, step=8),
        ),
        pool_features=1984,
    )
)

# -- channel masks ---------------------------------------------------------------------------------------


def initial_width_logits(space: WidthSpace) -> tuple[jax.Array, ...]:
    """Zero logits θ_b [n_b], one array per block: every width equally likely."""
    return tuple(jnp.zeros(len(block.options)) for block in space.blocks)


def channel_masks(space: WidthSpace, samples: Sequence[jax.Array]) -> tuple[jax.Array, ...]:
    """Mixes nested channel masks by samples of the widths (FBNetV2, arXiv 2004.05565, eq. 2).

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
    return tuple(
        jax.nn.one_hot(block.options.index(width), len(block.options))
        for block, width in zip(space.blocks, space.check_widths(widths), strict=True)
    )


def effective_widths(space: WidthSpace, samples: Sequence[jax.Array]) -> tuple[jax.Array, ...]:
    """Expected output width of each block, c̄_b = Σ_i m_{b,i}·(C_b − i·step_b), scalars in channels."""
    return tuple(
        sample @ jnp.asarray(block.options, sample.dtype) for block, sample in zip(space.blocks, samples, strict=True)
    )


# -- cost ------------------------------------------------------------------------------------------------


def resolutions(space: WidthSpace, image_shape: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """(height, width) in pixels of the output of the stem and of each block (3×3, padding 1: ceil(H / stride))."""
    sizes = [(image_shape[0], image_shape[1])]
    for stride in (space.stem_stride, *(block.stride for block in space.blocks)):
        height, width = sizes[-1]
        sizes.append((math.ceil(height / stride), math.ceil(width / stride)))
    return tuple(sizes[1:])


def cost(
    space: WidthSpace,
    widths: Sequence,
    *,
    image_shape: Sequence[int],
    num_classes: int = 10,
    kind: str = "macs",
    conv_bias: bool = True,
    mask_expansion: bool = True,
):
    """Cost of a network whose blocks have `widths` output channels; differentiable in the widths.

    Args:
      widths: per block, integers or (effective, soft) scalars.
      image_shape: height and width in pixels, and channels, of the input.
      kind: 'macs' counts multiply-accumulates of convolutions and classifier for one image;
        'params' counts weights, biases, BatchNorm scale and shift;
        'released' is the formula of the authors' code (depthwise counted as dense, output resolution and
        width everywhere, e = 1 in the first stage, neither stem nor head), for reproduction only.

    Returns:
      A Python integer for integer widths, else a scalar array.
    """
    if kind not in ("macs", "params", "released"):
        raise ValueError(f"unknown cost kind {kind!r}; expected 'macs', 'params' or 'released'.")
    macs = kind == "macs"
    stem_pixels, *pixels = (height * width for height, width in resolutions(space, image_shape))

    def layer(weights, out, pixels, norm=True):
        extras = (conv_bias + 2 * norm) * out
        return pixels * weights if macs else weights + extras

    total = 0
    if kind != "released":
        total += layer(9 * image_shape[2] * space.stem_width, space.stem_width, stem_pixels)
    c_in, c_largest, pixels_in = space.stem_width, space.stem_width, stem_pixels
    for block, c_out, pixels_out in zip(space.blocks, widths, pixels, strict=True):
        e = block.expansion
        if kind == "released":
            e = 1 if block.stage == 1 else e
            total += pixels_out * (c_in * c_out * e + 9 * (e * c_out) ** 2 + e * c_out**2)
        else:
            mid = e * (c_in if mask_expansion else c_largest)
            if e > 1:
                total += layer(c_in * mid, mid, pixels_in)
            total += layer(9 * mid, mid, pixels_out) + layer(mid * c_out, c_out, pixels_out)
        c_in, c_largest, pixels_in = c_out, block.width, pixels_out
    if kind != "released":
        if space.pool_features is not None:
            mid = 6 * (c_in if mask_expansion else c_largest)
            total += layer(c_in * mid, mid, pixels_in)
            total += layer(mid * space.pool_features, space.pool_features, 1, norm=False)
            c_in = space.pool_features
        total += c_in * num_classes + (0 if macs else num_classes)
    return total


# -- derivation ------------------------------------------------------------------------------------------


def derive_widths(space: WidthSpace, logits: Sequence[np.ndarray]) -> tuple[int, ...]:
    """The most probable width of each block; the widest of equals."""
    return tuple(block.options[int(np.argmax(theta))] for block, theta in zip(space.blocks, logits, strict=True))


def check_target(space: WidthSpace, target: float, cost_of, unit: str = "") -> None:
    """Raises ValueError, naming both bounds, where no network of the space costs about `target`.

    `unit` stands behind the numbers of the message.
    """
    low, high = cost_of(space.smallest), cost_of(space.largest)
    if not low <= target <= high:
        raise ValueError(
            f"budget.target = {target:,}{unit} lies outside space {space.name!r}: its smallest network costs "
            f"{low:,}{unit}, its largest {high:,}{unit}. Choose a target between them."
        )


def narrow_to_budget(space: WidthSpace, logits: Sequence[np.ndarray], target: float, cost_of) -> tuple[int, ...]:
    """Argmax widths, narrowed one option at a time until `cost_of(widths) <= target`.

    Each time the block is taken that loses least Σ_b log softmax(θ_b) per unit of cost saved; the earliest
    of equals. What saves nothing, as a step of a measured latency may, comes last. Raises ValueError where `target`
    lies outside the space.
    """
    check_target(space, target, cost_of)
    blocks = space.blocks
    log_probabilities = [np.asarray(jax.nn.log_softmax(np.asarray(theta, np.float64))) for theta in logits]
    choice = [int(np.argmax(theta)) for theta in logits]

    def widths(indices):
        return tuple(block.options[i] for block, i in zip(blocks, indices, strict=True))

    while (now := cost_of(widths(choice))) > target:
        prices = []
        for b, block in enumerate(blocks):
            if choice[b] + 1 < len(block.options):
                narrower = choice[:b] + [choice[b] + 1] + choice[b + 1 :]
                loss = log_probabilities[b][choice[b]] - log_probabilities[b][choice[b] + 1]
                saved = now - cost_of(widths(narrower))
                prices.append((loss / saved if saved > 0 else np.inf, b))
        choice[min(prices)[1]] += 1
    return widths(choice)


# -- networks to compare a found one with ----------------------------------------------------------------


def uniform_widths(space: WidthSpace, target: float, cost_of) -> tuple[int, ...]:
    """The widths, all at the same place of their options, whose `cost_of(widths)` is nearest to `target`.

    A place q in [0, 1] stands for option q·(n_b - 1) of each block, halves rounded up; of equals the widest.
    """
    lengths = [len(block.options) - 1 for block in space.blocks]
    half = Fraction(1, 2)  # exact: the places are those at which an option changes
    places = sorted({Fraction(0), *((i + half) / length for length in lengths for i in range(length))})

    def widths(place):
        indices = (math.floor(place * length + half) for length in lengths)
        return tuple(block.options[i] for block, i in zip(space.blocks, indices, strict=True))

    return min(map(widths, places), key=lambda found: abs(cost_of(found) - target))


def random_widths(
    space: WidthSpace, found: Sequence[int], cost_of, generator: np.random.Generator, tolerance: float = 0.02
) -> tuple[int, ...]:
    """Random widths other than `found`, at the same cost up to the share `tolerance`.

    Widths are drawn uniformly; then random blocks take the next width towards the cost of `found` until it is met.
    Raises ValueError, naming the nearest cost that was met, where many draws lead to none.
    """
    blocks, target, found = space.blocks, cost_of(tuple(found)), tuple(found)
    nearest = np.inf
    for _ in range(500):
        choice = [int(generator.integers(len(block.options))) for block in blocks]
        for _ in range(10 * len(blocks)):
            widths = tuple(block.options[i] for block, i in zip(blocks, choice, strict=True))
            excess = cost_of(widths) / target - 1
            if widths != found:
                nearest = min(nearest, abs(excess))
                if abs(excess) <= tolerance:
                    return widths
            step = 1 if excess > 0 else -1  # options are widest first
            able = [b for b, block in enumerate(blocks) if 0 <= choice[b] + step < len(block.options)]
            if not able:
                break
            choice[able[int(generator.integers(len(able)))]] += step
    raise ValueError(
        f"space {space.name!r} has no other network found within {tolerance:.0%} of the cost of {list(found)}; the "
        f"nearest is {nearest:.1%} away."
    )
