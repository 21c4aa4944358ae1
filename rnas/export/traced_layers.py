"""Layers that are left whole where a network is traced: one equation each, under the name of their parameters."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
from jax.extend.core import Primitive

from rnas.layers import BatchNorm, Conv, ConvBatchNorm, Normalize
from rnas.layers.convolution import pixels
from rnas.models.cell import POOLS, Operation
from rnas.models.nasbench201_network import Edge
from rnas.spaces.nasbench201 import OPERATIONS

LAYER = Primitive("layer")


@LAYER.def_abstract_eval
def _(x, *, steps, shape):
    return jax.core.ShapedArray(shape, x.dtype)


def whole_layers(call, inputs, options, context):
    """Puts one equation in the place of a layer; what it computes by itself is traced for its shape alone."""
    describe = _LAYERS.get(type(context.module)) if context.method_name == "__call__" else None
    steps = describe(context.module, *inputs) if describe else None
    result = call(*inputs, **options)
    return result if not steps else LAYER.bind(inputs[0], steps=steps, shape=result.shape)


class Layer(NamedTuple):
    """A step of a layer as the parameter of an equation, which has to be hashable."""

    kind: str
    settings: tuple[tuple[str, Any], ...]


def _layer(kind: str, **settings: Any) -> Layer:
    return Layer(kind, tuple(settings.items()))


def _name(module: nn.Module, *parts: str) -> str:
    return ".".join((*module.path, *parts))


def _conv(module: Conv, x: jax.Array, *_: Any, name: str = "") -> tuple[Layer, ...] | None:
    if module.branches is not None:
        return None
    size, stride, dilation = ((each, each) for each in (module.kernel_size, module.stride, module.dilation))
    reach = module.dilation * (module.kernel_size // 2)
    padding = ((reach, reach), (reach, reach)) if module.padding is None else module.padding
    return (
        _layer(
            "conv", name=name or _name(module), channels=x.shape[-1], features=module.features, size=module.kernel_size,
            stride=module.stride, padding=pixels(padding, x.shape[1:3], size, stride, dilation),
            dilation=module.dilation, groups=module.groups, bias=module.use_bias,
        ),
    )  # fmt: skip


def _norm(module: BatchNorm, x: jax.Array) -> tuple[Layer, ...] | None:
    if module.branches is not None:
        return None
    settings = dict(epsilon=module.epsilon, momentum=module.momentum, affine=module.use_affine)
    return (_layer("norm", name=_name(module), features=x.shape[-1], **settings),)


def _conv_norm(module: ConvBatchNorm, x: jax.Array) -> tuple[Layer, ...]:
    groups = x.shape[-1] if module.depthwise else 1
    conv = Conv(module.features, module.kernel_size, module.stride, groups, module.use_bias)
    settings = dict(epsilon=BatchNorm.epsilon, momentum=module.momentum, affine=True)
    norm = _layer("norm", name=_name(module, "bn"), features=module.features, **settings)
    return (*(_conv(conv, x, name=_name(module, "conv")) or ()), norm)


def _linear(module: nn.Dense, x: jax.Array) -> tuple[Layer, ...]:
    return (_layer("linear", name=_name(module), channels=x.shape[-1], features=module.features, bias=module.use_bias),)


def _normalize(module: Normalize, x: jax.Array) -> tuple[Layer, ...]:
    return (_layer("normalize", mean=tuple(module.mean), std=tuple(module.std)),)


def _pool_of_cell(module: Operation, x: jax.Array) -> tuple[Layer, ...] | None:
    if module.operation not in POOLS:
        return None
    kind = "max_pool" if module.operation.startswith("max") else "average_pool"
    return (_layer(kind, size=(3, 3), stride=(module.stride,) * 2, padding=((1, 1), (1, 1))),)


def _pool_of_edge(module: Edge, x: jax.Array, operation: Any) -> tuple[Layer, ...] | None:
    if not isinstance(operation, int) or OPERATIONS[operation] != "avg_pool_3x3":
        return None
    return (_layer("average_pool", size=(3, 3), stride=(1, 1), padding=((1, 1), (1, 1))),)


_LAYERS: dict[type, Callable[..., tuple[Layer, ...] | None]] = {
    Conv: _conv,
    BatchNorm: _norm,
    ConvBatchNorm: _conv_norm,
    nn.Dense: _linear,
    Normalize: _normalize,
    Operation: _pool_of_cell,
    Edge: _pool_of_edge,
}
