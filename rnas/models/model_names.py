"""Networks by their names, such as `wide_resnet_34_10`."""

import re
from typing import Any

import flax.linen as nn

from rnas.models.deepmind import DMPreActResNet, DMWideResNet, RaWideResNet
from rnas.models.nasbench201_network import NASBench201
from rnas.models.preact_resnet import PreActResNet
from rnas.models.resnet import ImageNetResNet, ResNet
from rnas.models.wide_resnet import WideResNet
from rnas.spaces.nasbench201 import to_code

FORMS = (
    "wide_resnet_<depth>_<width>",
    "resnet18",
    "resnet34",
    "resnet50",
    "preact_resnet18",
    "preact_resnet34",
    "dm_wide_resnet_<depth>_<width>",
    "dm_preact_resnet18",
    "dm_preact_resnet34",
    "ra_wide_resnet_70_16",
    "ra_wide_resnet_<blocks>-<blocks>-<blocks>_w<stem>-<width>-<width>-<width>",
    "imagenet_resnet18",
    "imagenet_resnet34",
    "imagenet_resnet50",
    "imagenet_wide_resnet50_2",
    "nasbench201_<id or code>",
)
SUFFIXES = (
    "_w<base width> after a name that ends in its depth",
    "_v1 (raw shortcuts) and _nobn (no last normalisation) after a preact_resnet",
    "_relu after a dm_ or ra_ network",
)


# Named groups are attributes of the family; what a name leaves out keeps the family's default.
_FAMILIES = (
    (r"wide_resnet_(?P<depth>\d+)_(?P<width>\d+)", WideResNet),
    (r"resnet(?P<depth>\d+)(?:_w(?P<width>\d+))?", ResNet),
    (r"preact_resnet(?P<depth>\d+)(?:_w(?P<width>\d+))?(?P<raw_shortcut>_v1)?(?P<final_norm>_nobn)?", PreActResNet),
    (r"dm_wide_resnet_(?P<depth>\d+)_(?P<width>\d+)(?P<activation>_relu)?", DMWideResNet),
    (r"dm_preact_resnet(?P<depth>\d+)(?:_w(?P<width>\d+))?(?P<activation>_relu)?", DMPreActResNet),
    (r"ra_wide_resnet_70_16(?P<activation>_relu)?", RaWideResNet),
    (
        r"ra_wide_resnet_(?P<lengths>\d+-\d+-\d+)_w(?P<stem_features>\d+)-(?P<widths>\d+-\d+-\d+)(?P<activation>_relu)?",
        RaWideResNet,
    ),
    (r"nasbench201_(?P<arch>\d+)", NASBench201),
    (r"imagenet_resnet(?P<depth>\d+)(?:_w(?P<width>\d+))?", ImageNetResNet),
    (r"imagenet_wide_resnet(?P<depth>50)_(?P<widening>\d+)(?:_w(?P<width>\d+))?", ImageNetResNet),
)
_READ = {
    "lengths": lambda text: tuple(map(int, text.split("-"))),
    "widths": lambda text: tuple(map(int, text.split("-"))),
    "raw_shortcut": lambda _: True,
    "final_norm": lambda _: False,
    "activation": lambda text: text.removeprefix("_"),
    "arch": to_code,
}  # other groups are whole numbers


def build_model(
    name: str,
    *,
    num_classes: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    momentum: float = 0.9,
    dtype: Any = None,
    axis_name: str | None = None,
) -> nn.Module:
    """Returns the network `name`, called to `(logits, out)`, with the names of `out` in its `taps`.

    Args:
      name: one of `FORMS`, with any of the `SUFFIXES` that fit it, such as `wide_resnet_34_10`, `resnet18_w16` or
        `preact_resnet18_v1_nobn`.
      num_classes: length of the logits.
      mean: of the pixels in [0, 1], per channel.
      std: of the pixels in [0, 1], per channel.
      momentum: of the running statistics.
      dtype: of the computation; None is float32.
      axis_name: mapped axis over which batch statistics are averaged.

    Raises:
      ValueError: if there is no such network.
    """
    for pattern, family in _FAMILIES:
        if match := re.fullmatch(pattern, name):
            fields = {key: _READ.get(key, int)(text) for key, text in match.groupdict().items() if text is not None}
            model = family(
                **fields,
                num_classes=num_classes,
                mean=tuple(mean),
                std=tuple(std),
                momentum=momentum,
                dtype=dtype,
                axis_name=axis_name,
            )
            _ = model.taps  # a depth that does not exist is refused here, not when the model is first applied
            return model
    raise ValueError(f"no model is named {name!r}; the names are {', '.join(FORMS)}, with {'; '.join(SUFFIXES)}.")
