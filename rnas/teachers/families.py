"""Which network a state belongs to, by the names and shapes of its tensors."""

from collections.abc import Iterable, Mapping
import re
from typing import NamedTuple

from rnas.models import RaWideResNet, preact_resnet, resnet

Shape = tuple[int, ...]

# What names betray of networks that are not read, with what they are.
_STRANGERS = (
    (r"layers\.\d+\.blocks\.\d+\.attn\.|.*relative_position_bias_table", "a Swin transformer"),
    (r"cls_token|patch_embed\.|blocks\.\d+\.attn\.", "a vision transformer"),
    (r"stages\.\d+\.(?:blocks\.)?\d+\.(?:dwconv|conv_dw)\.|downsample_layers\.", "a ConvNeXt"),
    (r"stages\.stage\d|stem\.stem\.", "a RaWideResNet for ImageNet, with grouped convolutions"),
    (r"features\.\d+\.", "a VGG, AlexNet or MobileNet"),
)


class Recognised(NamedTuple):
    """A network recognised by its tensors.

    Attributes:
      family: in words.
      architectures: names in `rnas.models` that such tensors can belong to; where there are several, the tensors
        are the same, and the first is the most published one.
      channels: of the images.
      num_classes: K.
      choice: what distinguishes those names.
      fixed_size: whether the published code pools a window that is the whole image at 32x32 pixels only.
    """

    family: str
    architectures: tuple[str, ...]
    channels: int
    num_classes: int
    choice: str = ""
    fixed_size: bool = True


def recognise(shapes: Mapping[str, Shape]) -> Recognised:
    """Recognises a network by the names and shapes that PyTorch gives its tensors, without prefixes.

    Raises:
      ValueError: an unknown network; the message names what it looks like, where that is clear.
    """
    if "init_conv.weight" in shapes and _any(shapes, r"layer\.0\.block\."):
        squeezed = _any(shapes, r"layer\.\d\.block\.\d+\.se\.")
        return _ra_wide_resnet(shapes) if squeezed else _dm_wide_resnet(shapes)
    if "conv_2d.weight" in shapes and _any(shapes, r"layer_0\."):
        return _dm_preact_resnet(shapes)
    if _any(shapes, r"block1\.layer\.0\."):
        return _wide_resnet(shapes)
    if _any(shapes, r"layer1\.0\.") and "conv1.weight" in shapes:
        side = _size(shapes, "conv1.weight", 3)
        if "fc.weight" in shapes and side == 7:
            return _imagenet_resnet(shapes)
        if "linear.weight" in shapes and side == 3:
            return _resnet(shapes) if _any(shapes, r"bn1\.") else _preact_resnet(shapes)
    for pattern, name in _STRANGERS:
        if _any(shapes, pattern):
            raise ValueError(f"these are the tensors of {name}, which cannot be imported.")
    some = ", ".join(list(shapes)[:5])
    raise ValueError(
        f"none of the known networks has tensors named {some} … ({len(shapes)} in all). Known are ResNet and "
        "PreActResNet for CIFAR, WideResNet in the layouts of TRADES and of DeepMind, DeepMind's PreActResNet, "
        "RaWideResNet, and torchvision's ResNet and WRN-50-2."
    )


def _any(names: Iterable[str], pattern: str) -> bool:
    return any(re.match(pattern, name) for name in names)


def _size(shapes: Mapping[str, Shape], name: str, axis: int) -> int:
    """Channels of a tensor that has the width of the network.

    Raises:
      ValueError: if it is not there.
    """
    if len(shapes.get(name, ())) <= axis:
        raise ValueError(f"{name} is missing or has shape {shapes.get(name)}; without it the width is unknown.")
    return shapes[name][axis]


def _lengths(shapes: Mapping[str, Shape], pattern: str, stages: Iterable[int]) -> tuple[int, ...]:
    """Blocks of each stage: one more than the largest number that follows `pattern` with the stage in it.

    Raises:
      ValueError: if there are fewer tensors than blocks.
    """
    lengths = tuple(
        1 + max((int(found[1]) for name in shapes if (found := re.match(pattern.format(stage), name))), default=-1)
        for stage in stages
    )
    if sum(lengths) > len(shapes):  # a network so deep would take long to compare
        raise ValueError(f"its {len(shapes)} tensors cannot be those of {' + '.join(map(str, lengths))} blocks.")
    return lengths


def _wide_size(shapes: Mapping[str, Shape], lengths: tuple[int, ...], last: str) -> str:
    """`<depth>_<width>` of three equal stages; of unequal ones the longest counts, so that the others miss tensors."""
    channels = _size(shapes, last, 1)
    if channels % 64:
        raise ValueError(f"{last} has {channels} channels; a wide ResNet has 64 times its width.")
    return f"{6 * max(lengths) + 4}_{channels // 64}"


def _depth(lengths: tuple[int, ...], known: Mapping[int, tuple[int, ...]], what: str) -> int:
    for depth, blocks in known.items():
        if blocks == lengths:
            return depth
    listed = ", ".join(f"{depth}: {blocks}" for depth, blocks in known.items())
    raise ValueError(f"stages of {lengths} blocks are those of no {what} that is known ({listed}).")


def _base(shapes: Mapping[str, Shape], stem: str) -> str:
    width = _size(shapes, f"{stem}.weight", 0)
    return "" if width == 64 else f"_w{width}"


def _ends(shapes: Mapping[str, Shape], stem: str, classifier: str) -> tuple[int, int]:
    """Channels of the images and number of classes."""
    return _size(shapes, f"{stem}.weight", 1), _size(shapes, f"{classifier}.weight", 0)


def _wide_resnet(shapes: Mapping[str, Shape]) -> Recognised:
    lengths = _lengths(shapes, r"block{}\.layer\.(\d+)\.", (1, 2, 3))
    name = f"wide_resnet_{_wide_size(shapes, lengths, 'fc.weight')}"
    return Recognised("WideResNet (TRADES)", (name,), *_ends(shapes, "conv1", "fc"))


def _dm_wide_resnet(shapes: Mapping[str, Shape]) -> Recognised:
    lengths = _lengths(shapes, r"layer\.{}\.block\.(\d+)\.", (0, 1, 2))
    name = f"dm_wide_resnet_{_wide_size(shapes, lengths, 'logits.weight')}"
    return Recognised("WideResNet (DeepMind)", *_deepmind(shapes, name, "init_conv"))


def _ra_wide_resnet(shapes: Mapping[str, Shape]) -> Recognised:
    lengths = _lengths(shapes, r"layer\.{}\.block\.(\d+)\.", (0, 1, 2))
    widths = tuple(_size(shapes, f"layer.{stage}.block.0.conv_0.weight", 0) for stage in (0, 1, 2))
    stem = _size(shapes, "init_conv.weight", 0)
    size = f"{'-'.join(map(str, lengths))}_w{stem}-{'-'.join(map(str, widths))}"
    if (lengths, stem, widths) == (RaWideResNet.lengths, RaWideResNet.stem_features, RaWideResNet.widths):
        size = "70_16"
    return Recognised("RaWideResNet", *_deepmind(shapes, f"ra_wide_resnet_{size}", "init_conv"))


def _dm_preact_resnet(shapes: Mapping[str, Shape]) -> Recognised:
    lengths = _lengths(shapes, r"layer_{}\.(\d+)\.", (0, 1, 2, 3))
    depth = _depth(lengths, preact_resnet.BLOCKS, "pre-activation ResNet")
    name = f"dm_preact_resnet{depth}{_base(shapes, 'conv_2d')}"
    return Recognised("PreActResNet (DeepMind)", *_deepmind(shapes, name, "conv_2d"))


def _deepmind(shapes: Mapping[str, Shape], name: str, stem: str) -> tuple[tuple[str, str], int, int, str]:
    return (name, f"{name}_relu"), *_ends(shapes, stem, "logits"), "whether the activation is SiLU or ReLU (_relu)"


def _preact_resnet(shapes: Mapping[str, Shape]) -> Recognised:
    lengths = _lengths(shapes, r"layer{}\.(\d+)\.", (1, 2, 3, 4))
    name = f"preact_resnet{_depth(lengths, preact_resnet.BLOCKS, 'pre-activation ResNet')}{_base(shapes, 'conv1')}"
    # With a last normalisation the published files are of the second kind, without one of the first.
    names = (name, f"{name}_v1") if _any(shapes, r"bn\.") else (f"{name}_v1_nobn", f"{name}_nobn")
    choice = "whether shortcuts see the raw input of a block (_v1) or the activated one"
    return Recognised("PreActResNet", names, *_ends(shapes, "conv1", "linear"), choice)


def _resnet_depth(shapes: Mapping[str, Shape]) -> int:
    lengths = _lengths(shapes, r"layer{}\.(\d+)\.", (1, 2, 3, 4))
    bottleneck = _any(shapes, r"layer\d\.\d+\.conv3\.")
    known = {depth: blocks for depth, blocks in resnet.BLOCKS.items() if (depth == 50) == bottleneck}
    return _depth(lengths, known, "ResNet of bottlenecks" if bottleneck else "ResNet")


def _resnet(shapes: Mapping[str, Shape]) -> Recognised:
    name = f"resnet{_resnet_depth(shapes)}{_base(shapes, 'conv1')}"
    return Recognised("ResNet (CIFAR)", (name,), *_ends(shapes, "conv1", "linear"))


def _imagenet_resnet(shapes: Mapping[str, Shape]) -> Recognised:
    depth, width = _resnet_depth(shapes), _size(shapes, "conv1.weight", 0)
    name = f"imagenet_resnet{depth}"
    if depth == 50 and (inner := _size(shapes, "layer1.0.conv1.weight", 0)) != width:
        if inner % width:
            raise ValueError(f"layer1.0.conv1.weight has {inner} channels, no multiple of the {width} of the stem.")
        name = f"imagenet_wide_resnet50_{inner // width}"
    name += _base(shapes, "conv1")
    return Recognised("ResNet (torchvision)", (name,), *_ends(shapes, "conv1", "fc"), fixed_size=False)
