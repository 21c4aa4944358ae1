"""Networks by name."""

import re
from typing import Any

import flax.linen as nn

from rnas.models.nasbench201 import NASBench201
from rnas.models.preact_resnet import PreActResNet
from rnas.models.resnet import ResNet
from rnas.models.wide_resnet import WideResNet
from rnas.spaces.nasbench201 import to_code

FORMS = (
    "wide_resnet_<depth>_<width>",
    "resnet18",
    "resnet34",
    "resnet50",
    "preact_resnet18",
    "preact_resnet34",
    "resnet<depth>_w<base width>",
    "preact_resnet<depth>_w<base width>",
    "nasbench201_<id or code>",
)


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
      name: one of `FORMS`, such as `wide_resnet_34_10`, `resnet18` or `resnet18_w16`.
      num_classes: length of the logits.
      mean: of the pixels in [0, 1], per channel.
      std: of the pixels in [0, 1], per channel.
      momentum: of the running statistics.
      dtype: of the computation; None is float32.
      axis_name: mapped axis over which batch statistics are averaged.

    Raises:
      ValueError: if there is no such network.
    """
    shared = {
        "num_classes": num_classes,
        "mean": tuple(mean),
        "std": tuple(std),
        "momentum": momentum,
        "dtype": dtype,
        "axis_name": axis_name,
    }
    if wide := re.fullmatch(r"wide_resnet_(\d+)_(\d+)", name):
        model = WideResNet(depth=int(wide[1]), width=int(wide[2]), **shared)
    elif residual := re.fullmatch(r"(preact_)?resnet(\d+)(?:_w(\d+))?", name):
        family = PreActResNet if residual[1] else ResNet
        model = family(depth=int(residual[2]), width=int(residual[3] or 64), **shared)
    elif cell := re.fullmatch(r"nasbench201_(\d+)", name):
        model = NASBench201(arch=to_code(cell[1]), **shared)
    else:
        raise ValueError(f"no model is named {name!r}; the names are {', '.join(FORMS)}.")
    _ = model.blocks  # a depth that does not exist is refused here, not when the model is first applied
    return model
