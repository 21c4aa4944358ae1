"""Networks told from their tensors, and every tensor of the published layouts accounted for."""

import json
import re

import numpy as np
import pytest
import torch_networks as nets

from rnas.models import build_model
from rnas.teachers.families import recognise
from rnas.teachers.readers.conversion import check, layout
from rnas.teachers.readers.unwrapping import unwrap

# Label in the file of published layouts, our name, our own derivation of the layout, entries with counters, parameters.
LAYOUTS = [
    ("cifar ResNet18 (kuangliu style)", "resnet18", nets.resnet(18), 122, 11_173_962),
    ("cifar ResNet50 (Engstrom2019, mu/sigma buffers)", "resnet50", nets.resnet(50), 320, 23_520_842),
    (
        "cifar PreActResNet18 (Andriushchenko2020; no final bn)",
        "preact_resnet18_v1_nobn",
        nets.preact(last=False),
        102,
        11_171_146,
    ),
    ("cifar Wong2020Fast", "preact_resnet18_v1_nobn", nets.preact(last=False), 102, 11_171_146),
    ("cifar Rice2020 L2 PreActV2 bn_before_fc", "preact_resnet18", nets.preact(), 107, 11_172_170),
    ("WRN-28-10", "wide_resnet_28_10", nets.wide(28, 10), 155, 36_479_194),
    ("WRN-28-10 sub_block1", "wide_resnet_28_10", nets.wide(28, 10, leftover=True), 204, 36_479_194),
    ("WRN-34-10", "wide_resnet_34_10", nets.wide(34, 10), 191, 46_160_474),
    ("WRN-34-10 sub_block1 (TRADES)", "wide_resnet_34_10", nets.wide(34, 10, leftover=True), 252, 46_160_474),
    ("WRN-34-20", "wide_resnet_34_20", nets.wide(34, 20), 191, 184_531_674),
    ("DMWRN-28-10", "dm_wide_resnet_28_10", nets.deepmind_wide(28, 10), 155, 36_479_194),
    ("DMWRN-34-20", "dm_wide_resnet_34_20", nets.deepmind_wide(34, 20), 191, 184_531_674),
    ("DMWRN-70-16", "dm_wide_resnet_70_16", nets.deepmind_wide(70, 16), 407, 266_796_506),
    ("DMWRN-82-8", "dm_wide_resnet_82_8", nets.deepmind_wide(82, 8), 479, 79_125_466),
    ("DMWRN-94-16", "dm_wide_resnet_94_16", nets.deepmind_wide(94, 16), 551, 365_915_610),
    ("DMPreActResNet18", "dm_preact_resnet18", nets.deepmind_preact(), 107, 12_548_426),
    (
        "RaWRN-70-16 (Peng2023)",
        "ra_wide_resnet_70_16",
        nets.deepmind((30, 31, 10), (216, 432, 864), stem=96, squeeze=True),
        1147,
        267_240_802,
    ),
    ("torchvision resnet18 (normalize_model)", "imagenet_resnet18", nets.torchvision(18), 122, 11_689_512),
    ("torchvision resnet50 (normalize_model)", "imagenet_resnet50", nets.torchvision(50), 320, 25_557_032),
    ("torchvision wide_resnet50_2", "imagenet_wide_resnet50_2", nets.torchvision(50, widening=2), 320, 68_883_240),
]


def empty(shapes) -> dict[str, np.ndarray]:
    """Tensors that take no memory."""
    return {
        name: np.broadcast_to(np.int64(0) if name.endswith("tracked") else np.float32(1), shape)
        for name, shape in shapes.items()
    }


@pytest.mark.parametrize(("name", "shapes", "entries", "parameters"), [row[1:] for row in LAYOUTS])
def test_every_tensor_of_a_published_network_has_its_place(name, shapes, entries, parameters):
    assert len(shapes) == entries
    found = unwrap(empty(shapes))
    recognised = recognise({key: tensor.shape for key, tensor in found.tensors.items()})
    assert recognised.architectures[0] == name and recognised.channels == 3
    imagenet = name.startswith("imagenet")
    assert recognised.num_classes == (1000 if imagenet else 10) and recognised.fixed_size != imagenet
    size = 224 if imagenet else 32
    model = build_model(name, num_classes=recognised.num_classes, mean=(0.0,) * 3, std=(1.0,) * 3)
    needed = dict(layout(model, (size, size, 3)).values())
    check(found.tensors, needed)
    statistics = re.compile(r".*\.running_(mean|var)")
    assert sum(int(np.prod(shape)) for key, shape in needed.items() if not statistics.fullmatch(key)) == parameters


@pytest.mark.parametrize(("label", "name", "shapes"), [row[:3] for row in LAYOUTS])
def test_published_layouts(shared, label, name, shapes):
    """The tensors of the real files, normalisers and wrapping modules included."""
    published = json.loads((shared / "specs" / "state_dict_layouts.json").read_text())
    assert len(published) == len(LAYOUTS)
    state = {key: tuple(shape) for key, shape in published[label].items()}
    found = unwrap(empty(state))
    own = unwrap(empty(shapes))
    assert {key: tensor.shape for key, tensor in found.tensors.items()} == {
        key: tensor.shape for key, tensor in own.tensors.items()
    }
    assert (found.normaliser is None) == all(key != "mu" and "normalize" not in key for key in state)
    assert recognise({key: tensor.shape for key, tensor in found.tensors.items()}).architectures[0] == name


@pytest.mark.parametrize(
    ("shapes", "names"),
    [
        (nets.preact(18, 16), ("preact_resnet18_w16", "preact_resnet18_w16_v1")),
        (nets.preact(34, last=False), ("preact_resnet34_v1_nobn", "preact_resnet34_nobn")),
        (nets.deepmind_wide(16, 4), ("dm_wide_resnet_16_4", "dm_wide_resnet_16_4_relu")),
        (nets.deepmind_preact(34, 32), ("dm_preact_resnet34_w32", "dm_preact_resnet34_w32_relu")),
        (
            nets.deepmind((1, 3, 2), (8, 16, 20), stem=6, squeeze=True),
            ("ra_wide_resnet_1-3-2_w6-8-16-20", "ra_wide_resnet_1-3-2_w6-8-16-20_relu"),
        ),
        (nets.torchvision(34, 16), ("imagenet_resnet34_w16",)),
        (nets.torchvision(50, 8, widening=3), ("imagenet_wide_resnet50_3_w8",)),
        (nets.resnet(34, 8), ("resnet34_w8",)),
    ],
)
def test_depth_and_width_are_told_and_what_tensors_do_not_tell_is_left_open(shapes, names):
    shapes = {key: shape for key, shape in shapes.items() if not key.endswith("tracked")}
    recognised = recognise(shapes)
    assert recognised.architectures == names and bool(recognised.choice) == (len(names) > 1)
    for name in names:
        model = build_model(name, num_classes=recognised.num_classes, mean=(0.0,) * 3, std=(1.0,) * 3)
        assert dict(layout(model, (32, 32, 3)).values()) == shapes


LONGER = nets.resnet(18) | nets.conv("layer3.2.conv1", 256, 256, 3)
HEADLESS = {key: shape for key, shape in nets.wide(16, 1).items() if key != "fc.weight"}


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"patch_embed.proj.weight": (96, 3, 4, 4), "cls_token": (1, 1, 384)}, "the tensors of a vision transformer"),
        ({"layers.0.blocks.0.attn.qkv.weight": (288, 96)}, "the tensors of a Swin transformer"),
        ({"downsample_layers.0.0.weight": (96, 3, 4, 4)}, "the tensors of a ConvNeXt"),
        ({"stem.stem.stem.0.weight": (96, 3, 7, 7)}, "the tensors of a RaWideResNet for ImageNet"),
        ({"features.0.weight": (64, 3, 3, 3)}, "the tensors of a VGG, AlexNet or MobileNet"),
        ({"encoder.weight": (4, 4), "decoder.weight": (4, 4)}, r"named encoder.weight, decoder.weight … \(2 in all\)"),
        ({}, "none of the known networks"),
        (LONGER, r"stages of \(2, 2, 3, 2\) blocks are those of no ResNet"),
        ({**nets.wide(16, 1), "fc.weight": (10, 65)}, "fc.weight has 65 channels"),
        (HEADLESS, "fc.weight is missing"),
        ({**nets.resnet(18), "conv1.weight": ()}, r"conv1.weight is missing or has shape \(\)"),
    ],
)
def test_other_networks_are_refused_by_name(shapes, message):
    with pytest.raises(ValueError, match=message):
        recognise(shapes)
