"""Networks by their names, such as `wide_resnet_34_10`."""

from collections.abc import Sequence
import re
from typing import Any

from rnas.models import preact_resnet, resnet
from rnas.models.deepmind import DMPreActResNet, DMWideResNet, RaWideResNet
from rnas.models.image_classifier import ImageClassifier
from rnas.models.nasbench201_network import NASBench201
from rnas.models.preact_resnet import PreActResNet, WideResNet
from rnas.models.resnet import ImageNetResNet, ResNet
from rnas.spaces.nasbench201 import to_code

FORMS = (
    "wide_resnet_<depth>_<width>",
    *(f"resnet{depth}" for depth in resnet.BLOCKS),
    *(f"preact_resnet{depth}" for depth in preact_resnet.BLOCKS),
    "dm_wide_resnet_<depth>_<width>",
    *(f"dm_preact_resnet{depth}" for depth in preact_resnet.BLOCKS),
    "ra_wide_resnet_70_16",
    "ra_wide_resnet_<blocks>-<blocks>-<blocks>_w<stem>-<width>-<width>-<width>",
    *(f"imagenet_resnet{depth}" for depth in resnet.BLOCKS),
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


def build_model(name: str, *, mean: Sequence[float], std: Sequence[float], **fields: Any) -> ImageClassifier:
    """Returns the network `name`: one of `FORMS`, with any of the `SUFFIXES` that fit, as in `preact_resnet18_v1_nobn`.

    `mean`, `std` and further fields are those of every `ImageClassifier`. Where there is no such network, ValueError.
    """
    for pattern, family in _FAMILIES:
        if match := re.fullmatch(pattern, name):
            found = {key: _READ.get(key, int)(text) for key, text in match.groupdict().items() if text is not None}
            model = family(mean=tuple(mean), std=tuple(std), **fields, **found)
            _ = model.taps  # a depth that does not exist is refused here, not when the model is first applied
            return model
    raise ValueError(f"no model is named {name!r}; the names are {', '.join(FORMS)}, with {'; '.join(SUFFIXES)}.")
