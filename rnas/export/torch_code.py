"""A graph as a PyTorch module in a file of its own, which imports PyTorch and safetensors and nothing else."""

from collections.abc import Callable, Iterator, Mapping
import itertools
from typing import Any

from rnas.export.graph import Graph, Step

WIDTH = 110  # characters of a line, as far as expressions can be cut

TEMPLATE = '''"""{title}

{about}

`load()` reads the weights, which lie beside this file, and returns the network in inference mode. It takes images
[N, {channels}, {height}, {width}], floats in [0, 1], and returns logits [N, {classes}]; the normalisation is inside.
"""

from pathlib import Path

from safetensors.torch import load_file
import torch
from torch import nn
from torch.nn import functional as F

WEIGHTS = Path(__file__).with_name({weights!r})


class Network(nn.Module):
    def __init__(self):
        super().__init__()
{buffers}        layers = {{
{layers}
        }}
        for name, layer in layers.items():
            place = self
            *outer, last = name.split(".")
            for part in outer:
                if not hasattr(place, part):
                    place.add_module(part, nn.Module())
                place = getattr(place, part)
            place.add_module(last, layer)

    def forward(self, images):
        layer = self.get_submodule
{forward}


def load(weights=WEIGHTS):
    network = Network()
    network.load_state_dict(load_file(weights))
    return network.eval()
'''


def torch_code(graph: Graph, title: str, about: str, weights: str) -> str:
    """Returns the text of the module; `weights` is the name of the file of its tensors, in the same folder.

    Raises ValueError for a step that PyTorch has no expression for.
    """
    height, width, channels = graph.image_shape
    last = next(step for step in reversed(graph.steps) if step.kind in ("linear", "columns"))
    classes = len(last.settings["columns"]) if last.kind == "columns" else last.settings["features"]
    layers = {step.settings["name"]: LAYERS[step.kind](step.settings) for step in graph.steps if step.kind in LAYERS}
    buffers = [
        f'        self.register_buffer("{name}", torch.tensor({list(step.settings[name])}).view(-1, 1, 1), '
        "persistent=False)\n"
        for step in graph.steps
        if step.kind == "normalize"
        for name in ("mean", "std")
    ]
    return TEMPLATE.format(
        title=_inert(title), about=_inert(about), weights=weights,
        channels=channels, height=height, width=width, classes=classes,
        buffers="".join(buffers), layers="\n".join(f'            "{name}": {made},' for name, made in layers.items()),
        forward="\n".join(f"        {line}" for line in _lines(graph)),
    )  # fmt: skip


def _inert(text: str) -> str:
    """A text that ends no docstring: names of data sets come from files that others may have written."""
    return text.replace("\\", "\\\\").replace('"', '\\"')


# -- layers ----------------------------------------------------------------------------------------------


def _call(name: str, *values: Any, **options: Any) -> str:
    """A call without the options that are None."""
    named = [f"{key}={value!r}" for key, value in options.items() if value is not None]
    return f"{name}({', '.join([*map(repr, values), *named])})"


def _unless(value: Any, default: Any) -> Any:
    return None if value == default else value


def _conv(settings: Mapping[str, Any]) -> str:
    (top, bottom), (left, right) = settings["padding"]
    equal = top == bottom == left == right
    return _call(
        "nn.Conv2d", settings["channels"], settings["features"], settings["size"],
        stride=_unless(settings["stride"], 1), padding=_unless(top if equal else 0, 0),
        dilation=_unless(settings["dilation"], 1), groups=_unless(settings["groups"], 1),
        bias=_unless(settings["bias"], True),
    )  # fmt: skip


def _norm(settings: Mapping[str, Any]) -> str:
    momentum = round(1 - settings["momentum"], 12)  # PyTorch's is the share of the new statistics
    return _call(
        "nn.BatchNorm2d", settings["features"], eps=_unless(settings["epsilon"], 1e-5),
        momentum=_unless(momentum, 0.1), affine=_unless(settings["affine"], True),
    )  # fmt: skip


def _linear(settings: Mapping[str, Any]) -> str:
    return _call("nn.Linear", settings["channels"], settings["features"], bias=_unless(settings["bias"], True))


LAYERS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {"conv": _conv, "norm": _norm, "linear": _linear}


# -- the forward pass ------------------------------------------------------------------------------------


def _lines(graph: Graph) -> Iterator[str]:
    """The forward pass; a name is free for another value where its own is not needed any more.

    What the next step alone uses becomes a part of that step's expression.
    """
    uses = [each for step in graph.steps for each in step.inputs if isinstance(each, int)]
    last_use = {
        each: number for number, step in enumerate(graph.steps) for each in step.inputs if isinstance(each, int)
    }
    said: dict[int, str] = {-1: "images"}  # what stands for a value: its name, or an expression
    names: dict[int, set[int]] = {-1: set()}  # the values whose names are in it
    taken: dict[str, int] = {}  # names that are needed, and of what
    final = len(graph.steps) - 1
    for number, step in enumerate(graph.steps):
        expression = _expression(step, [said[each] if isinstance(each, int) else repr(each) for each in step.inputs])
        if number == final:
            yield f"return {expression}"
        elif uses.count(number) == 1 and number in graph.steps[number + 1].inputs and len(expression) + 40 < WIDTH:
            said[number] = expression
            names[number] = set().union(*(names[each] for each in step.inputs if isinstance(each, int)))
            last_use |= {each: max(last_use[each], number + 1) for each in names[number]}
        else:
            taken = {name: value for name, value in taken.items() if last_use[value] > number}
            name = next(name for name in _names() if name not in taken)
            taken[name], said[number], names[number] = number, name, {number}
            yield f"{name} = {expression}"


def _names() -> Iterator[str]:
    yield from ("x", "y", "z")
    yield from (f"x{number}" for number in itertools.count(1))


_SIGNS = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
_CALLS = {
    "relu": "F.relu({})",
    "silu": "F.silu({})",
    "hard_swish": "F.hardswish({})",
    "sigmoid": "torch.sigmoid({})",
    "maximum": "torch.maximum({}, {})",
    "minimum": "torch.minimum({}, {})",
    "flatten": "{}.flatten(1)",
    "spread": "{}[:, :, None, None]",
}


def _expression(step: Step, inputs: list[str]) -> str:
    settings, kind = step.settings, step.kind
    if kind in LAYERS:
        if kind == "conv" and len({*settings["padding"][0], *settings["padding"][1]}) > 1:
            inputs = [f"F.pad({inputs[0]}, {_pads(settings['padding'])})"]
        return f'layer("{settings["name"]}")({inputs[0]})'
    if kind in _SIGNS:
        return f" {_SIGNS[kind]} ".join(map(_grouped, inputs))
    if kind in ("maximum", "minimum") and isinstance(step.inputs[1], float):
        return f"{_grouped(inputs[0])}.clamp({'min' if kind == 'maximum' else 'max'}={inputs[1]})"
    if kind in _CALLS:
        return _CALLS[kind].format(*(map(_grouped, inputs) if _CALLS[kind].startswith("{}") else inputs))
    x = _grouped(inputs[0])
    if kind == "normalize":
        return f"({x} - self.mean) / self.std"
    if kind == "clamp":
        return f"{x}.clamp({settings['low']}, {settings['high']})"
    if kind in ("mean", "sum"):
        return f"{x}.{kind}({settings['axes']})"
    if kind == "concatenate":
        return f"torch.cat([{', '.join(inputs)}], {settings['axis']})"
    if kind == "columns":
        return f"{x}[:, {settings['columns']}]"
    if kind == "slice":
        cuts = [settings["cuts"].get(axis) for axis in range(4)]
        while cuts[-1] is None:
            cuts.pop()
        return f"{x}[{', '.join(_cut(*cut) if cut else ':' for cut in cuts)}]"
    if kind == "pad":
        return f"F.pad({inputs[0]}, {_pads(settings['pads'][1:])}, value={settings['value']})"
    if kind == "full":
        return f"images.new_full((len(images), {', '.join(map(str, settings['size']))}), {settings['number']})"
    if kind in ("average_pool", "max_pool", "window_sum"):
        return _pool(kind, settings, inputs[0])
    raise ValueError(f"the operation {kind!r} of this network is not known in PyTorch code.")


def _grouped(expression: str) -> str:
    """An expression that can stand beside an operator or before a dot."""
    depth, plain = 0, True
    for letter in expression:
        depth += (letter in "([{") - (letter in ")]}")
        plain = plain and (depth > 0 or letter != " ")
    return expression if plain and not expression.startswith("-") else f"({expression})"


def _cut(start: int, stop: int, step: int) -> str:
    return f"{start or ''}:{stop}" + (f":{step}" if step > 1 else "")


def _pads(pads: Any) -> tuple[int, ...]:
    """Pixels on every side as `F.pad` takes them: the last axis first."""
    return tuple(pixels for pair in reversed(pads) for pixels in pair)


def _pool(kind: str, settings: Mapping[str, Any], x: str) -> str:
    size, stride, padding = settings["size"], settings["stride"], settings["padding"]
    even = all(before == after for before, after in padding)
    value = ", value=-float('inf')" if kind == "max_pool" else ""
    if not even and kind == "average_pool":
        raise ValueError(f"PyTorch has no average without its padding where that is unequal, as here {padding}.")
    if not even:
        x = f"F.pad({x}, {_pads(padding)}{value})"
    around = tuple(before if even else 0 for before, _ in padding)
    if kind == "max_pool":
        return f"F.max_pool2d({x}, {size}, {stride}, {around})"
    how = "count_include_pad=False" if kind == "average_pool" else "divisor_override=1"
    return f"F.avg_pool2d({x}, {size}, {stride}, {around}, {how})"
