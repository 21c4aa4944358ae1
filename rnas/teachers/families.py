"""Which network a state belongs to, by the names and shapes of its tensors."""

from collections.abc import Iterable, Mapping
import re
from typing import NamedTuple

from rnas.models import RaWideResNet, preact_resnet, resnet

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

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
    choice: str
    fixed_size: bool


def recognise(shapes: Shapes) -> Recognised:
    """Recognises a network by the names and shapes that PyTorch gives its tensors, without prefixes.

    Raises ValueError for an unknown one, with what it looks like, where that is clear.
    """

    def has(pattern: str) -> bool:
        return any(re.match(pattern, name) for name in shapes)

    def found(family: str, names: tuple[str, ...], stem: str, classifier: str, choice: str = "") -> Recognised:
        channels, classes = _size(shapes, f"{stem}.weight", 1), _size(shapes, f"{classifier}.weight", 0)
        return Recognised(family, names, channels, classes, choice, fixed_size="torchvision" not in family)

    def deepmind(family: str, name: str, stem: str) -> Recognised:
        choice = "whether the activation is SiLU or ReLU (_relu)"
        return found(family, (name, f"{name}_relu"), stem, "logits", choice)

    if "init_conv.weight" in shapes and has(r"layer\.0\.block\."):
        if has(r"layer\.\d\.block\.\d+\.se\."):
            return deepmind("RaWideResNet", _ra_wide(shapes), "init_conv")
        name = _wide("dm_wide_resnet", shapes, r"layer\.{}\.block", range(3), "logits")
        return deepmind("WideResNet (DeepMind)", name, "init_conv")
    if "conv_2d.weight" in shapes and has(r"layer_0\."):
        name = _deep("dm_preact_resnet", shapes, r"layer_{}", range(4), "conv_2d")
        return deepmind("PreActResNet (DeepMind)", name, "conv_2d")
    if has(r"block1\.layer\.0\."):
        name = _wide("wide_resnet", shapes, r"block{}\.layer", range(1, 4), "fc")
        return found("WideResNet (TRADES)", (name,), "conv1", "fc")
    if has(r"layer1\.0\.") and "conv1.weight" in shapes:
        side = _size(shapes, "conv1.weight", 3)
        if "fc.weight" in shapes and side == 7:
            return found("ResNet (torchvision)", (_imagenet(shapes),), "conv1", "fc")
        if "linear.weight" in shapes and side == 3:
            if has(r"bn1\."):
                name = _deep("resnet", shapes, "layer{}", range(1, 5), "conv1")
                return found("ResNet (CIFAR)", (name,), "conv1", "linear")
            name = _deep("preact_resnet", shapes, "layer{}", range(1, 5), "conv1")
            # With a last normalisation the published files are of the second kind, without one of the first.
            names = (name, f"{name}_v1") if has(r"bn\.") else (f"{name}_v1_nobn", f"{name}_nobn")
            choice = "whether shortcuts see the raw input of a block (_v1) or the activated one"
            return found("PreActResNet", names, "conv1", "linear", choice)
    for pattern, stranger in _STRANGERS:
        if has(pattern):
            raise ValueError(f"these are the tensors of {stranger}, which cannot be imported.")
    some = ", ".join(list(shapes)[:5])
    raise ValueError(
        f"none of the known networks has tensors named {some} … ({len(shapes)} in all). Known are ResNet and "
        "PreActResNet for CIFAR, WideResNet in the layouts of TRADES and of DeepMind, DeepMind's PreActResNet, "
        "RaWideResNet, and torchvision's ResNet and WRN-50-2."
    )


def _size(shapes: Shapes, name: str, axis: int) -> int:
    """Channels of a tensor that has the width of the network; raises ValueError if it is not there."""
    if len(shapes.get(name, ())) <= axis:
        raise ValueError(f"{name} is missing or has shape {shapes.get(name)}; without it the width is unknown.")
    return shapes[name][axis]


def _lengths(shapes: Shapes, pattern: str, stages: Iterable[int]) -> Shape:
    """Blocks of each stage: one more than the largest number that follows `pattern` with the stage in it."""

    def last(stage: int) -> int:
        numbered = re.compile(rf"{pattern.format(stage)}\.(\d+)\.")
        return max((int(found[1]) for name in shapes if (found := numbered.match(name))), default=-1)

    lengths = tuple(1 + last(stage) for stage in stages)
    if sum(lengths) > len(shapes):  # a network so deep would take long to compare
        raise ValueError(f"its {len(shapes)} tensors cannot be those of {' + '.join(map(str, lengths))} blocks.")
    return lengths


def _wide(kind: str, shapes: Shapes, pattern: str, stages: Iterable[int], classifier: str) -> str:
    """`<kind>_<depth>_<width>` of three stages; of unequal ones the longest counts, so that the others miss tensors."""
    channels = _size(shapes, f"{classifier}.weight", 1)
    if channels % 64:
        raise ValueError(f"{classifier}.weight has {channels} channels; a wide ResNet has 64 times its width.")
    return f"{kind}_{6 * max(_lengths(shapes, pattern, stages)) + 4}_{channels // 64}"


def _ra_wide(shapes: Shapes) -> str:
    lengths = _lengths(shapes, r"layer\.{}\.block", range(3))
    widths = tuple(_size(shapes, f"layer.{stage}.block.0.conv_0.weight", 0) for stage in range(3))
    stem = _size(shapes, "init_conv.weight", 0)
    if (lengths, stem, widths) == (RaWideResNet.lengths, RaWideResNet.stem_features, RaWideResNet.widths):
        return "ra_wide_resnet_70_16"
    return f"ra_wide_resnet_{'-'.join(map(str, lengths))}_w{stem}-{'-'.join(map(str, widths))}"


def _deep(kind: str, shapes: Shapes, pattern: str, stages: Iterable[int], stem: str) -> str:
    """`<kind><depth>`, and the width of the stem where it is not 64."""
    lengths = _lengths(shapes, pattern, stages)
    what, known = "pre-activation ResNet", preact_resnet.BLOCKS
    if "preact" not in kind:
        bottleneck = any(re.match(r"layer\d\.\d+\.conv3\.", name) for name in shapes)
        what = "ResNet of bottlenecks" if bottleneck else "ResNet"
        known = {depth: blocks for depth, blocks in resnet.BLOCKS.items() if (depth == 50) == bottleneck}
    depths = [depth for depth, blocks in known.items() if blocks == lengths]
    if not depths:
        listed = ", ".join(f"{depth}: {blocks}" for depth, blocks in known.items())
        raise ValueError(f"stages of {lengths} blocks are those of no {what} that is known ({listed}).")
    width = _size(shapes, f"{stem}.weight", 0)
    return f"{kind}{depths[0]}" if width == 64 else f"{kind}{depths[0]}_w{width}"


def _imagenet(shapes: Shapes) -> str:
    name = _deep("imagenet_resnet", shapes, "layer{}", range(1, 5), "conv1")
    inner, width = (_size(shapes, f"{conv}.weight", 0) for conv in ("layer1.0.conv1", "conv1"))
    if "resnet50" not in name or inner == width:
        return name
    if inner % width:
        raise ValueError(f"layer1.0.conv1.weight has {inner} channels, no multiple of the {width} of the stem.")
    return name.replace("resnet50", f"wide_resnet50_{inner // width}")
