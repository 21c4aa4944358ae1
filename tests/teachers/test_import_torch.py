"""Imported networks compute what PyTorch computes with the same tensors."""

import functools

import flax.linen as nn
import jax
import numpy as np
import pytest
from test_import_figures import assert_near, logits_and_gradient
from torch_figures import FILE, MEAN, NETWORKS, STD, figures_of, images, kept, logits_of
import torch_networks as nets

from rnas.layers import Conv
from rnas.models import DMWideResNet, WideResNet
from rnas.teachers import import_torch, load_teacher
from rnas.teachers.readers.conversion import convert

torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")

slow = pytest.mark.slow
# Other depths, and combinations of what those above have.
VARIANTS = {
    "imagenet_wide_resnet50_2_w4": (nets.torchvision(50, 4, 7, widening=2), nets.run_torchvision, 64),
    "resnet50_w4": (nets.resnet(50, 4, 7), nets.run_resnet, 32),
    "resnet34_w4": (nets.resnet(34, 4, 7), nets.run_resnet, 32),
    "preact_resnet18_w4_v1": (nets.preact(18, 4, 7), functools.partial(nets.run_preact, raw=True), 32),
    "preact_resnet34_w4_nobn": (nets.preact(34, 4, 7, last=False), functools.partial(nets.run_preact, raw=False), 32),
    "wide_resnet_28_1": (nets.wide(28, 1, 7), nets.run_wide, 32),
    "dm_wide_resnet_10_1_relu": (
        nets.deepmind_wide(10, 1, 7),
        functools.partial(nets.run_deepmind_wide, activation="relu"),
        32,
    ),
    "dm_preact_resnet34_w4_relu": (
        nets.deepmind_preact(34, 4, 7),
        functools.partial(nets.run_deepmind_preact, activation="relu"),
        32,
    ),
    "imagenet_resnet34_w4": (nets.torchvision(34, 4, 7), nets.run_torchvision, 224),
    "imagenet_resnet50_w4": (nets.torchvision(50, 4, 7), nets.run_torchvision, 96),
}


def assert_same_function(teacher, run, state, size, mean=MEAN, std=STD):
    logits, gradient = figures_of(torch, run, state, size, mean, std)
    our_logits, our_gradient = logits_and_gradient(teacher, images(size))
    assert_near(our_logits, logits, 1e-6)
    assert_near(our_gradient, gradient, 1e-6)


def assert_same_logits(teacher, run, state, size, mean=MEAN, std=STD):
    """Compares logits in single precision."""
    logits = logits_of(torch, run, state, torch.tensor(images(size)), mean, std)
    ours, _ = jax.jit(teacher.apply)(teacher.variables, images(size))
    assert_near(ours, logits.numpy(), 1e-4)


def exported(tmp_path, state, **rest):
    """A file that PyTorch writes."""
    file = tmp_path / "checkpoint.pt"
    torch.save({"state_dict": {name: torch.tensor(tensor) for name, tensor in state.items()}, **rest}, file)
    return file


@pytest.mark.parametrize("name", NETWORKS)
def test_the_figures_kept_for_where_pytorch_is_absent_are_its_own(name):
    """`test_import_figures` compares what is imported with them."""
    shapes, run, size = NETWORKS[name]
    logits, gradient = figures_of(torch, run, nets.filled(shapes), size)
    theirs = np.load(FILE)[name]
    assert_near(theirs[: logits.size], logits.reshape(-1), 1e-6)
    assert_near(theirs[logits.size :], kept(logits, gradient)[logits.size :], 1e-6)


@slow
@pytest.mark.parametrize("name", VARIANTS)
def test_logits_and_gradients_are_those_of_pytorch(tmp_path, name):
    shapes, run, size = VARIANTS[name]
    state = nets.filled(shapes)
    file = exported(tmp_path, state, epoch=3)
    teacher = import_torch(file, name, (MEAN, STD), image_size=size)
    assert teacher.architecture == name and teacher.num_classes == 7 and teacher.image_shape == (size, size, 3)
    assert_same_function(teacher, run, state, size)


@slow
def test_a_teacher_of_published_size(tmp_path):
    state = nets.filled(nets.wide(34, 10))
    file = exported(tmp_path, state)
    teacher = import_torch(file, "wide_resnet_34_10", "none")
    teacher.save(tmp_path / "teacher")
    loaded = load_teacher(tmp_path / "teacher")
    assert loaded.hash == teacher.hash
    assert_same_logits(loaded, nets.run_wide, state, 32, (0.0,) * 3, (1.0,) * 3)
    assert_same_function(loaded, nets.run_wide, state, 32, (0.0,) * 3, (1.0,) * 3)


class TensorFlowPadded(WideResNet):
    @property
    def conv(self):
        return functools.partial(Conv, padding="SAME")


class TorchPadded(DMWideResNet):
    @property
    def conv(self):
        return Conv


class Plain(DMWideResNet):
    @property
    def activate(self):
        return nn.relu


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("wide_resnet_16_2", TensorFlowPadded),
        ("dm_wide_resnet_16_2", TorchPadded),
        ("dm_wide_resnet_16_2", Plain),
    ],
)
def test_the_comparison_finds_wrong_padding_and_a_wrong_activation(name, wrong):
    """The same tensors in a graph that differs in one detail run without error, and the figures show it."""
    shapes, run, size = NETWORKS[name]
    state = nets.filled(shapes)
    model = wrong(depth=16, width=2, num_classes=7, mean=MEAN, std=STD)
    tensors = {key: tensor for key, tensor in state.items() if not key.endswith("tracked")}
    variables = convert(tensors, model, (size, size, 3))
    logits = logits_of(torch, run, state, torch.tensor(images(size))).numpy()
    ours = jax.jit(model.apply)(variables, images(size))[0]
    assert np.abs(ours - logits).max() > 0.01 * np.abs(logits).max()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_becomes_single_exactly(tmp_path, dtype):
    shapes, run, size = NETWORKS["wide_resnet_16_2"]
    short = {name: torch.tensor(tensor).to(dtype) for name, tensor in nets.filled(shapes).items() if tensor.ndim}
    torch.save(short, tmp_path / "checkpoint.pt")
    teacher = import_torch(tmp_path / "checkpoint.pt", "wide_resnet_16_2", (MEAN, STD))
    assert teacher.origin["dtypes"] == [str(dtype).removeprefix("torch.")]
    assert {leaf.dtype for leaf in jax.tree.leaves(teacher.variables)} == {np.dtype(np.float32)}
    assert_same_logits(teacher, run, {name: tensor.float().numpy() for name, tensor in short.items()}, size)
