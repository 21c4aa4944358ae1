"""The program that JAX traces of a network, read as a graph: one reader for all networks.

What stands between the layers is read from the two dozen primitives that it is traced to. So a new network needs no
code here, unless it has a layer or a primitive of a new kind, which is named.
"""

from collections.abc import Callable, Mapping, Sequence
import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax
from jax.extend.core import Literal
import jax.numpy as jnp
import numpy as np

from rnas.export.graph import FIRST, Graph, Step, channels_first, steps_up_to, tensors_of
from rnas.export.traced_layers import LAYER, Layer, whole_layers

BATCH = 2  # images of the traced program; the graph takes any number


def read_graph(predict: Callable[..., jax.Array], variables: Any, image_shape: tuple[int, int, int]) -> Graph:
    """Reads the graph of a classifier.

    Args:
      predict: (variables, images [N, H, W, C]) → logits [N, K], of a network of `rnas.models` in inference mode.
      variables: {'params', 'batch_stats'} of that network.
      image_shape: [H, W, C].

    Raises ValueError where the network holds what a graph cannot express.
    """
    images = jax.ShapeDtypeStruct((BATCH, *image_shape), jnp.float32)
    with nn.intercept_methods(whole_layers):
        # A function of its own, because what JAX has traced of one it takes wherever that one is compiled.
        program = jax.make_jaxpr(lambda variables, images: predict(variables, images))(variables, images)
    reader = _Reader()
    parameters = [_Unread("a parameter outside of the known layers")] * (len(program.jaxpr.invars) - 1)
    (logits,) = reader.read(program.jaxpr, program.consts, [*parameters, _Value(-1, images.shape)])
    if isinstance(logits, _Unread):
        raise ValueError(f"this network cannot be exported: it holds {logits.reason}.")
    if not isinstance(logits, _Value):
        raise ValueError("this network cannot be exported: its logits do not depend on the images.")
    steps = steps_up_to(reader.steps, logits.step)
    layers = {step.settings["name"] for step in steps if "name" in step.settings}
    # Without those of what only training calls.
    tensors = {name: array for name, array in tensors_of(variables).items() if name.rpartition(".")[0] in layers}
    return Graph(steps, tensors, image_shape)


class _Value(NamedTuple):
    """An array that depends on the images.

    Attributes:
      step: that gives it.
      shape: in JAX, channels last.
      stretched: whether axes of length 1 stand for longer ones, which arithmetic does by itself.
    """

    step: int
    shape: tuple[int, ...]
    stretched: bool = False


class _Unread(NamedTuple):
    """An array that the graph does not express, and what it comes from."""

    reason: str


_ARITHMETIC = {"add": "add", "sub": "sub", "mul": "mul", "div": "div", "max": "maximum", "min": "minimum"}
_NEUTRAL = {"add": 0.0, "sub": 0.0, "mul": 1.0, "div": 1.0}  # on the right
_SIXTH = float(np.float32(1 / 6))
_FUNCTIONS = {"logistic": "sigmoid", "relu": "relu", "silu": "silu"}


class _Reader:
    """Reads a program equation by equation; what is constant is computed, what is unknown is remembered as such."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def read(self, jaxpr: Any, constants: Sequence[Any], inputs: Sequence[Any]) -> list[Any]:
        values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*constants, *inputs), strict=True))

        def of(atom):
            return atom.val if isinstance(atom, Literal) else values[atom]

        for equation in jaxpr.eqns:
            found = self.equation(equation, [of(atom) for atom in equation.invars])
            values.update(zip(equation.outvars, found, strict=True))
        return [of(atom) for atom in jaxpr.outvars]

    def equation(self, equation: Any, inputs: Sequence[Any]) -> list[Any]:
        """The results of an equation."""
        name, params = equation.primitive.name, equation.params
        inner = params.get("jaxpr", params.get("call_jaxpr"))
        if inner is not None:
            name = params.get("name", name)
            if name not in _FUNCTIONS and not (name == "clip" and _is_value(inputs[0])):
                constants = getattr(inner, "consts", ())
                return self.read(getattr(inner, "jaxpr", inner), constants, inputs)
        if unread := [each for each in inputs if isinstance(each, _Unread)]:
            return [unread[0]] * len(equation.outvars)
        if not any(map(_is_value, inputs)) and name != LAYER.name:
            found = equation.primitive.bind(*inputs, **params)
            return list(found) if equation.primitive.multiple_results else [found]
        shapes = [variable.aval.shape for variable in equation.outvars]
        one = self.one(name, params, inputs, shapes[0]) if len(shapes) == 1 else None
        return [_Unread(f"the operation {name}")] * len(shapes) if one is None else [one]

    def one(self, name: str, params: Mapping[str, Any], inputs: Sequence[Any], shape: tuple[int, ...]) -> Any:
        """The one result, of the shape that it has in JAX; None where it cannot be expressed."""
        if name == LAYER.name:
            return self.layer(params["steps"], inputs[0], shape)
        if name in _ARITHMETIC:
            return self.arithmetic(_ARITHMETIC[name], inputs, shape)
        x, *others = inputs
        if not _is_value(x) or any(map(_is_value, others)) and name != "concatenate":
            return None
        same = params.get("new_dtype", jnp.float32) == jnp.float32 and x.shape == shape
        if same and name in ("convert_element_type", "copy", "reshape", "squeeze"):
            return x
        if name in _FUNCTIONS:
            return self.add(_FUNCTIONS[name], [x], shape, x.stretched)
        if name == "clip":
            low, high = map(_number, others)
            if low is None or high is None:
                return None
            return self.add("clamp", [x], shape, x.stretched, low=low, high=high)
        if name == "broadcast_in_dim":
            return self.broadcast(x, params["broadcast_dimensions"], shape)
        if any(each.stretched for each in inputs if _is_value(each)):
            return None
        read = getattr(self, f"read_{name}", None)
        return None if read is None else read(params, inputs, shape)

    def add(
        self, kind: str, inputs: Sequence[Any], shape: tuple[int, ...], stretched: bool = False, /, **settings: Any
    ) -> _Value:
        """A further step; numbers of NumPy among its settings become Python's, which are written into code."""
        numbers = tuple(each.step if _is_value(each) else each for each in inputs)
        plain = jax.tree.map(lambda each: each.item() if isinstance(each, np.generic) else each, settings)
        self.steps.append(Step(kind, numbers, plain))
        return _Value(len(self.steps) - 1, shape, stretched)

    def layer(self, steps: Sequence[Layer], x: Any, shape: tuple[int, ...]) -> Any:
        if not _is_value(x):
            if (number := _number(x)) is None:
                return None
            size = channels_first(np.shape(x))[1:]
            x = self.add("full", [_Value(-1, ())], np.shape(x), number=number, size=size)
        if x.stretched:
            return None
        for kind, settings in steps:
            x = self.add(kind, [x], shape, **dict(settings))
        return x

    def arithmetic(self, kind: str, inputs: Sequence[Any], shape: tuple[int, ...]) -> Any:
        operands: list[Any] = [each if _is_value(each) else _number(each) for each in inputs]
        left, right = operands
        if left is None or right is None:
            return None
        if kind not in ("sub", "div") and not _is_value(left):
            left, right = operands = [right, left]
        if right == _NEUTRAL.get(kind) and left.shape == shape:
            return left
        if kind == "maximum" and right == 0.0:
            return self.add("relu", [left], shape, left.stretched)
        if kind == "mul" and right == _SIXTH and (known := self.hard_swish(left)) is not None:
            return known
        if kind == "div" and _is_value(left) and (mean := self.mean(left, right)) is not None:
            return mean
        return self.add(kind, operands, shape, all(each.stretched for each in operands if _is_value(each)))

    def hard_swish(self, x: _Value) -> _Value | None:
        """The hard swish of y, where `x` is y · clip(y + 3, 0, 6): other tools have it as one operation."""
        match self.steps[x.step]:
            case Step("mul", (int(y), int(gate)), _) if self.steps[gate].kind == "clamp":
                clamp = self.steps[gate]
                moved = self.steps[int(clamp.inputs[0])]
                if clamp.settings == {"low": 0.0, "high": 6.0} and moved[:2] == ("add", (y, 3.0)):
                    return self.add("hard_swish", [_Value(y, ())], x.shape)
        return None

    def mean(self, x: _Value, divisor: Any) -> _Value | None:
        """`x` / `divisor`, where `x` is the sum of so many."""
        last = self.steps[x.step] if x.step >= 0 else Step("", (), {})
        if last.kind == "spread" and isinstance(place := last.inputs[0], int):
            mean = self.mean(_Value(place, x.shape), divisor)
            return mean and self.add("spread", [mean], x.shape, x.stretched)
        if last.kind != "sum" or last.settings["count"] != divisor:
            return None
        return self.add("mean", [_Value(int(last.inputs[0]), ())], x.shape, axes=last.settings["axes"])

    def broadcast(self, x: _Value, axes: Sequence[int], shape: tuple[int, ...]) -> Any:
        if len(x.shape) == len(shape):
            return x._replace(shape=shape, stretched=x.stretched or x.shape != shape)
        if len(x.shape) == 2 and len(shape) == 4 and tuple(axes) == (0, 3):
            return self.add("spread", [x], (*shape[:1], 1, 1, shape[3]))._replace(
                shape=shape, stretched=shape[1:3] != (1, 1)
            )
        return None

    # -- one function a primitive ------------------------------------------------------------------------

    def read_reduce_sum(self, params, inputs, shape):
        (x,) = inputs
        if 0 in params["axes"] or len(x.shape) != 4:
            return None
        count = math.prod(x.shape[axis] for axis in params["axes"])
        return self.add("sum", inputs, shape, axes=tuple(sorted(FIRST[axis] for axis in params["axes"])), count=count)

    def read_concatenate(self, params, inputs, shape):
        if not all(map(_is_value, inputs)) or len(shape) != 4:
            return None
        return self.add("concatenate", inputs, shape, axis=FIRST[params["dimension"]])

    def read_slice(self, params, inputs, shape):
        (x,) = inputs
        strides = params["strides"] or (1,) * len(shape)
        cuts: list[Any] = list(zip(params["start_indices"], params["limit_indices"], strides, strict=True))
        if len(shape) != 4 or cuts[0] != (0, BATCH, 1):
            return None
        whole = [(0, size, 1) for size in x.shape]
        cut = {FIRST[axis]: cuts[axis] for axis in (1, 2, 3) if cuts[axis] != whole[axis]}
        return self.add("slice", inputs, shape, cuts=cut)

    def read_pad(self, params, inputs, shape):
        x, value = inputs
        number, pads = _number(value), params["padding_config"]
        if number is None or len(shape) != 4 or tuple(pads[0]) != (0, 0, 0) or any(between for *_, between in pads):
            return None
        return self.add("pad", [x], shape, pads=[pad[:2] for pad in channels_first(pads)], value=number)

    def read_reshape(self, params, inputs, shape):
        (x,) = inputs
        if len(x.shape) == 4 and len(shape) == 2 and x.shape[1:3] == (1, 1):
            return self.add("flatten", inputs, shape)
        if len(x.shape) == 2 and len(shape) == 4 and shape[1:3] == (1, 1):
            return self.add("spread", inputs, shape)
        return None

    read_squeeze = read_reshape

    def read_reduce_window_max(self, params, inputs, shape):
        return self._window("max_pool", params, inputs, shape)

    def read_reduce_window_sum(self, params, inputs, shape):
        return self._window("window_sum", params, inputs, shape)

    def _window(self, kind, params, inputs, shape):
        size, stride, pads = (params[name] for name in ("window_dimensions", "window_strides", "padding"))
        dilated = any(each != 1 for name in ("base_dilation", "window_dilation") for each in params[name])
        ends = [(size[axis], stride[axis], tuple(pads[axis])) for axis in (0, 3)]
        if len(shape) != 4 or dilated or ends != [(1, 1, (0, 0))] * 2:
            return None
        padding = tuple(map(tuple, pads[1:3]))
        return self.add(kind, inputs[:1], shape, size=tuple(size[1:3]), stride=tuple(stride[1:3]), padding=padding)

    def read_gather(self, params, inputs, shape):
        """Some of the logits: a teacher that is restricted to some of its classes."""
        numbers, (x, places) = params["dimension_numbers"], inputs
        plain = (numbers.offset_dims, numbers.collapsed_slice_dims, numbers.start_index_map) == ((0,), (1,), (1,))
        if len(x.shape) != 2 or not plain or params["slice_sizes"] != (BATCH, 1):
            return None
        return self.add("columns", [x], shape, columns=np.asarray(places).reshape(-1).tolist())


def _is_value(each: Any) -> bool:
    return isinstance(each, _Value)


def _number(array: Any) -> float | None:
    """The one number that all entries of a constant are; None where they differ."""
    array = np.asarray(array)
    return float(array.flat[0]) if array.size and np.all(array == array.flat[0]) else None
