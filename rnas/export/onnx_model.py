"""A graph as an ONNX model, built node by node with the package onnx; the number of images is left open."""

from collections.abc import Mapping, Sequence
import itertools
from typing import Any

import numpy as np

from rnas.export.graph import Graph, Step

OPSET, IR_VERSION = 17, 8  # that every onnxruntime since 1.12 reads
INPUT, OUTPUT = "images", "logits"

_NODES = {
    "relu": "Relu", "sigmoid": "Sigmoid", "add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "maximum": "Max",
    "minimum": "Min", "hard_swish": "HardSwish",
}  # fmt: skip


def onnx_model(graph: Graph, title: str, metadata: Mapping[str, str]) -> Any:
    """Returns the `onnx.ModelProto`: images [N, C, H, W], float32 in [0, 1] → logits [N, K]."""
    import onnx
    from onnx import TensorProto, helper

    height, width, channels = graph.image_shape
    made = _Nodes(graph.tensors)
    for number, step in enumerate(graph.steps):
        made.step(step, OUTPUT if number == len(graph.steps) - 1 else f"value{number}")
    nodes = [helper.make_node(kind, inputs, [output], name=output, **options) for kind, inputs, output, options in made]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            title,
            [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["N", channels, height, width])],
            [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["N", None])],
            [onnx.numpy_helper.from_array(array, name) for name, array in made.constants.items()],
        ),
        producer_name="rnas",
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model, full_check=True)
    return model


class _Nodes(list):
    """The nodes (kind, inputs, output, attributes), and the constants that they use."""

    def __init__(self, tensors: Mapping[str, np.ndarray]):
        super().__init__()
        self.tensors = tensors
        self.constants: dict[str, np.ndarray] = {}
        self.names: dict[int, str] = {-1: INPUT}
        self.fresh = (f"part{number}" for number in itertools.count())

    def node(self, kind: str, inputs: Sequence[str], output: str | None = None, **attributes: Any) -> str:
        output = output or next(self.fresh)
        self.append((kind, list(inputs), output, attributes))
        return output

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        array = np.asarray(value, dtype)
        name = f"{array.dtype}_{'_'.join(map(str, array.reshape(-1).tolist()))}_{array.ndim}"
        self.constants[name] = array
        return name

    def tensor(self, name: str) -> str:
        self.constants[name] = self.tensors[name]
        return name

    def step(self, step: Step, output: str) -> None:
        """Adds the nodes of a step, the last of which gives `output`."""
        self.names[len(self.names) - 1] = output
        inputs = [self.names[each] if isinstance(each, int) else self.constant(each) for each in step.inputs]
        if step.kind in _NODES:
            self.node(_NODES[step.kind], inputs, output)
        else:
            getattr(self, f"step_{step.kind}")(inputs, output, **step.settings)

    # -- layers ------------------------------------------------------------------------------------------

    def step_conv(self, inputs, output, *, name, size, stride, padding, dilation, groups, bias, **_):
        weights = [self.tensor(f"{name}.{part}") for part in (("weight", "bias") if bias else ("weight",))]
        options = dict(kernel_shape=[size] * 2, strides=[stride] * 2, dilations=[dilation] * 2, group=groups)
        self.node("Conv", [*inputs, *weights], output, pads=_sides(padding), **options)

    def step_norm(self, inputs, output, *, name, features, epsilon, affine, **_):
        scale = [self.tensor(f"{name}.weight"), self.tensor(f"{name}.bias")] if affine else []
        for number in () if affine else (1, 0):
            scale.append(f"{name}.{number}")
            self.constants[scale[-1]] = np.full(features, number, np.float32)
        statistics = [self.tensor(f"{name}.running_{part}") for part in ("mean", "var")]
        self.node("BatchNormalization", [*inputs, *scale, *statistics], output, epsilon=epsilon)

    def step_linear(self, inputs, output, *, name, bias, **_):
        weights = [self.tensor(f"{name}.{part}") for part in (("weight", "bias") if bias else ("weight",))]
        self.node("Gemm", [*inputs, *weights], output, transB=1)

    def step_normalize(self, inputs, output, *, mean, std):
        mean, std = (self.constant(np.reshape(numbers, (-1, 1, 1))) for numbers in (mean, std))
        self.node("Div", [self.node("Sub", [*inputs, mean]), std], output)

    def step_average_pool(self, inputs, output, *, size, stride, padding):
        options = dict(kernel_shape=size, strides=stride, pads=_sides(padding))
        self.node("AveragePool", inputs, output, count_include_pad=0, **options)

    def step_max_pool(self, inputs, output, *, size, stride, padding):
        self.node("MaxPool", inputs, output, kernel_shape=size, strides=stride, pads=_sides(padding))

    def step_window_sum(self, inputs, output, *, size, stride, padding):
        options = dict(kernel_shape=size, strides=stride, pads=_sides(padding))
        mean = self.node("AveragePool", inputs, count_include_pad=1, **options)
        self.node("Mul", [mean, self.constant(float(np.prod(size)))], output)

    # -- what stands between them ------------------------------------------------------------------------

    def step_silu(self, inputs, output):
        self.node("Mul", [*inputs, self.node("Sigmoid", inputs)], output)

    def step_clamp(self, inputs, output, *, low, high):
        self.node("Clip", [*inputs, self.constant(low), self.constant(high)], output)

    def step_mean(self, inputs, output, *, axes):
        self.node("ReduceMean", inputs, output, axes=list(axes), keepdims=0)

    def step_sum(self, inputs, output, *, axes, count):
        self.node("ReduceSum", [*inputs, self.constant(axes, np.int64)], output, keepdims=0)

    def step_concatenate(self, inputs, output, *, axis):
        self.node("Concat", inputs, output, axis=axis)

    def step_slice(self, inputs, output, *, cuts):
        starts, stops, steps = zip(*cuts.values(), strict=True)
        self.node(
            "Slice", [*inputs, *(self.constant(each, np.int64) for each in (starts, stops, [*cuts], steps))], output
        )

    def step_pad(self, inputs, output, *, pads, value):
        sides = [pad[side] for side in (0, 1) for pad in pads]
        self.node("Pad", [*inputs, self.constant(sides, np.int64), self.constant(value)], output)

    def step_flatten(self, inputs, output):
        self.node("Flatten", inputs, output, axis=1)

    def step_spread(self, inputs, output):
        self.node("Unsqueeze", [*inputs, self.constant([2, 3], np.int64)], output)

    def step_columns(self, inputs, output, *, columns):
        self.node("Gather", [*inputs, self.constant(columns, np.int64)], output, axis=1)

    def step_full(self, inputs, output, *, number, size):
        shape = self.node("Shape", inputs, end=1)
        shape = self.node("Concat", [shape, self.constant(size, np.int64)], axis=0)
        self.node("Expand", [self.constant(number), shape], output)


def _sides(padding: Sequence[Sequence[int]]) -> list[int]:
    """Pixels as ONNX has them: before every axis, then after every axis."""
    return [pair[side] for side in (0, 1) for pair in padding]
