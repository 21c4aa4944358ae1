"""The bodies of the steps lower for hardware that is not here."""

import collections
import functools
import re

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rnas import steps
from rnas.layers import convolution
from rnas.models import build_model
from rnas.models.width_network import FBNet
from rnas.objectives import Alternation, FixedTutors, Objective, Sampling, SearchCost
from rnas.spaces import width_space
from rnas.steps.optimizer import Optimizer
from rnas.steps.state import State

OPTIMIZER = Optimizer(optax.scale_by_adam(), optax.constant_schedule(0.004))
AUGMENTATION = steps.Augmentation(4, True)
MEAN, STD = (0.491, 0.482, 0.447), (0.247, 0.243, 0.262)


def lower(step, state, teacher_variables, side):
    """Lowers `step` over all devices, as `jax.pmap` maps it; returns the text for each platform."""
    mesh, shape = jax.sharding.Mesh(np.array(jax.devices()), (steps.AXIS,)), jax.ShapeDtypeStruct
    whole, cut = jax.sharding.PartitionSpec(), jax.sharding.PartitionSpec(steps.AXIS)
    mapped = jax.shard_map(step, mesh=mesh, in_specs=(whole, cut, cut, whole, whole), out_specs=whole, check_vma=False)
    traced = jax.jit(mapped).trace(
        state,
        shape((8, side, side, 3), jnp.uint8),
        shape((8,), jnp.int32),
        teacher_variables,
        jax.eval_shape(lambda: jax.random.key(0)),
    )
    return {platform: traced.lower(lowering_platforms=(platform,)).as_text() for platform in ("tpu", "cuda")}


def make(kind, space, teacher_name, side, size, classes, dtype):
    """(step, abstract state, abstract teacher variables) of the search or of the derived network's training."""
    space = width_space.get_space(space)
    images = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    shared = dict(num_classes=classes, mean=MEAN, std=STD, dtype=dtype)
    teacher = build_model(teacher_name, **shared)

    def variables(model):
        return jax.eval_shape(lambda images: dict(model.init(jax.random.key(0), images)), images)

    objective = Objective("trades", 8 / 255, 2 / 255, 10, gamma=1.0, kl_weight=1.0, size=size)
    apply = functools.partial(teacher.apply, train=False)
    if kind == "search":
        supernet = FBNet(space=space, axis_name=steps.AXIS, **shared)
        cost = functools.partial(width_space.cost, space, image_shape=(side, side, 3), num_classes=classes)
        step = steps.WidthSearchStep(
            supernet, objective, AUGMENTATION, OPTIMIZER, OPTIMIZER, Sampling(5.0, 0.045, 0.0, False, 195),
            Alternation(195), SearchCost(cost, 0.2, 0.5), teacher=apply, teacher_taps=teacher.taps,
        )  # fmt: skip
        architecture = {
            "widths": width_space.initial_width_logits(space),
            "tutors": jnp.zeros((len(space.taps), len(teacher.taps))),
        }
        state = jax.eval_shape(lambda all: State.create(all, OPTIMIZER, architecture, OPTIMIZER), variables(supernet))
    else:
        student = FBNet(space=space, widths=space.smallest, axis_name=steps.AXIS, **shared)
        chosen = tuple(np.resize(teacher.taps, len(space.taps)))
        tutors = FixedTutors(space.taps, chosen, len(teacher.taps))
        step = steps.TrainStep(student, objective, AUGMENTATION, OPTIMIZER, teacher=apply, tutors=tutors)
        state = jax.eval_shape(lambda all: State.create(all, OPTIMIZER), variables(student))
    return step, state, variables(teacher)


def operations(text):
    """How often a lowered program holds each operation, a function's as often as it is called."""
    parts = re.split(r"func\.func \w+ @([\w.]+)", text)
    functions = dict(zip(parts[1::2], parts[2::2], strict=True))

    @functools.cache
    def inside(name):
        body = functions[name]
        found = collections.Counter(re.findall(r"stablehlo\.(\w+)", body))
        for called in re.findall(r"call @([\w.]+)", body):
            found += inside(called)
        return found

    return inside("main")


@pytest.mark.parametrize(
    ("kind", "space", "teacher", "side", "size", "classes", "dtype"),
    [
        pytest.param("search", "s7", "wide_resnet_34_10", 32, 14, 10, None, marks=pytest.mark.slow),
        ("search", "tiny", "wide_resnet_10_2", 8, 8, 10, None),
        pytest.param("train", "s7", "wide_resnet_34_10", 32, 14, 10, jnp.bfloat16, marks=pytest.mark.slow),
        pytest.param("search", "imagenet", "imagenet_resnet50", 224, 28, 100, jnp.bfloat16, marks=pytest.mark.slow),
        pytest.param("train", "imagenet", "imagenet_resnet18", 224, 28, 100, None, marks=pytest.mark.slow),
    ],
)
def test_a_step_lowers_for_accelerators(kind, space, teacher, side, size, classes, dtype):
    step, state, teacher_variables = make(kind, space, teacher, side, size, classes, dtype)
    layers = len(width_space.get_space(space).taps)
    for platform, text in lower(step, state, teacher_variables, side).items():
        # An accelerator is given convolutions as such, forward and backward; the CPU has forms of its own.
        found = operations(text)
        assert found["convolution"] > 5 * layers and found["all_reduce"], platform


@pytest.mark.parametrize("kind", ["search", "train"])
def test_replicas_exchange_all_gradients_at_once(kind):
    """One all-reduce of all gradients, one of all metrics, and for each BatchNorm two a pass, forward and backward."""
    step, state, teacher_variables = make(kind, "tiny", "wide_resnet_10_2", 8, 8, 10, None)
    found = operations(lower(step, state, teacher_variables, 8)["cuda"])["all_reduce"]
    norms = len(jax.tree.leaves(state.batch_stats)) // 2
    # Mean and variance, of clean and adversarial images, forward and backward; the attack has running statistics.
    exchanged = 2 * 2 * 2 * norms
    if kind == "train":
        assert found == 2 + exchanged
    else:  # two branches, one of which runs: weights, or architecture, whose gradient needs no pass to the images
        assert found <= 3 + 2 * exchanged


# What the CPU's forms are made of: loops over blocks of images, columns side by side, products of matrices and of
# shifted images. Slices are not compared: the axis of branches, of length 1, adds some that slice nothing off.
FORMS = ("convolution", "while", "dynamic_slice", "concatenate", "dot_general", "multiply")


@pytest.mark.slow
def test_accelerators_get_none_of_the_forms_of_the_cpu(monkeypatch):
    """A search step holds, operation by operation, what it holds with XLA's convolution in place of ours."""
    arguments = ("search", "tiny", "wide_resnet_10_2", 8, 8, 10, None)
    ours = lower(*make(*arguments), 8)
    monkeypatch.setattr(convolution, "convolve", lax.conv_general_dilated)
    native = lower(*make(*arguments), 8)
    for platform in ("tpu", "cuda"):
        found, expected = ({name: operations(text[platform])[name] for name in FORMS} for text in (ours, native))
        assert found == expected, platform
