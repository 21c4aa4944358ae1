"""A trained network as a list of operations, from which every format but JAX's own is written.

Layers that have parameters, and the pools of cells, are whole: they are the layers that people look for, with
parameters of their own, none folded away. Other tools have channels first. So has the graph: an image array
[N, H, W, C] of JAX is its [N, C, H, W], and its tensors have PyTorch's layouts and names, which are the paths of the
Flax parameters joined by dots. Those of a teacher are so the names of the checkpoint that it was published as.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any, NamedTuple

from flax.traverse_util import flatten_dict
import numpy as np

FIRST = (0, 2, 3, 1)  # where the axes of [N, H, W, C] are with channels first


class Step(NamedTuple):
    """One operation.

    Attributes:
      kind: conv, norm, linear, normalize, average_pool, max_pool, window_sum, relu, silu, sigmoid, hard_swish, clamp,
        add, sub, mul, div, maximum, minimum, mean, sum, concatenate, slice, pad, flatten, spread, columns or full.
      inputs: numbers of steps, -1 for the images; of arithmetic also a Python float.
      settings: what else defines it, by name; axes are those with channels first.
    """

    kind: str
    inputs: tuple[int | float, ...]
    settings: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Graph:
    """A network.

    Attributes:
      steps: in an order in which they can be carried out; the last one gives the logits [N, K].
      tensors: of the layers, float32, in PyTorch's names and layouts.
      image_shape: [H, W, C] of the images, which the graph takes as [N, C, H, W] in [0, 1].
    """

    steps: tuple[Step, ...]
    tensors: dict[str, np.ndarray]
    image_shape: tuple[int, int, int]


def steps_up_to(steps: Sequence[Step], last: int) -> tuple[Step, ...]:
    """The steps that the last one needs, numbered anew."""
    needed = {last}
    for number in range(last, -1, -1):
        if number in needed:
            needed |= {each for each in steps[number].inputs if isinstance(each, int)}
    place = {-1: -1} | {number: place for place, number in enumerate(sorted(needed - {-1}))}
    return tuple(
        step._replace(inputs=tuple(place[each] if isinstance(each, int) else each for each in step.inputs))
        for number, step in enumerate(steps[: last + 1])
        if number in needed
    )


_NAMES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
_AXES = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}  # convolutions HWIO → OIHW, dense layers IO → OI


def tensors_of(variables: Any) -> dict[str, np.ndarray]:
    """The Flax variables {'params', 'batch_stats'} in PyTorch's names and layouts, float32."""
    tensors = {}
    for path, leaf in flatten_dict(dict(variables)).items():
        leaf = np.asarray(leaf, np.float32)
        name = ".".join((*path[1:-1], _NAMES[path[-1]]))
        tensors[name] = np.ascontiguousarray(leaf.transpose(_AXES[leaf.ndim]))
    return tensors


def channels_first(shape: Sequence[Any]) -> tuple[Any, ...]:
    """[N, H, W, C] as [N, C, H, W]."""
    return tuple(shape[axis] for axis in (0, 3, 1, 2))
