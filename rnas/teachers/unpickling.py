"""Pickles written by `torch.save`, read without PyTorch and without running anything they ask for.

A pickle is a program: it names functions and calls them. Here a name can only mean one of a few functions of this
module, which build arrays, mappings and tuples; any other name ends the reading before anything is called. What the
functions are given is checked too: a tensor must lie inside its storage.
"""

from collections.abc import Callable
import math
import pickle
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

# Element types of storages by the name of their class in `torch`.
STORAGES = {
    "DoubleStorage": np.dtype(np.float64),
    "FloatStorage": np.dtype(np.float32),
    "HalfStorage": np.dtype(np.float16),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ShortStorage": np.dtype(np.int16),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(np.bool_),
}
_DTYPES = (
    *("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"),
    *("double", "float", "half", "long", "int", "short"),
)


class ForeignGlobal(ValueError):
    """A pickle names something that is neither a tensor nor a container.

    Attributes:
      name: module and name, joined by a dot.
    """

    def __init__(self, name: str):
        super().__init__(f"it asks for {name!r}, which is neither a tensor nor a container")
        self.name = name


class _Mapping(dict):
    """A dict for an OrderedDict; the attributes that PyTorch gives to a state (versions of modules) are dropped."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        del state


# What a pickle may call. Instances without attributes, not functions: a pickle can set attributes of what it holds.


class _MakeMapping:
    __slots__ = ()

    def __call__(self, *pairs: Any) -> _Mapping:
        return _Mapping(*pairs)


class _MakeSize:
    __slots__ = ()

    def __call__(self, sizes: Any = ()) -> tuple:
        return tuple(sizes)


class _MakeTensor:
    """`torch._utils._rebuild_tensor_v2`; gradient flag, hooks and what newer versions add are not needed."""

    __slots__ = ()

    def __call__(self, storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> np.ndarray:
        return view(storage, offset, shape, strides)


class _MakeParameter:
    """`torch._utils._rebuild_parameter`."""

    __slots__ = ()

    def __call__(self, tensor: Any, *rest: Any) -> np.ndarray:
        if not isinstance(tensor, np.ndarray):
            raise ValueError(f"a parameter is made of a {type(tensor).__name__}, not of a tensor")
        return tensor


GLOBALS: dict[str, Any] = {
    "collections.OrderedDict": _MakeMapping(),
    "torch.Size": _MakeSize(),
    "torch._utils._rebuild_tensor_v2": _MakeTensor(),
    "torch._utils._rebuild_parameter": _MakeParameter(),
    # Only named, never called: a text will do.
    **{f"torch.{name}": f"torch.{name}" for name in (*STORAGES, *_DTYPES)},
}


class Unpickler(pickle.Unpickler):
    """Builds dicts, lists, tuples, numbers, texts and NumPy arrays; nothing else.

    Args:
      stream: the pickle.
      read_storage: (key, element type, number of elements) -> one-dimensional array, read-only.
    """

    def __init__(self, stream: BinaryIO, read_storage: Callable[[str, np.dtype, int], np.ndarray]):
        super().__init__(stream, encoding="utf-8")
        self._read_storage = read_storage
        self._storages: dict[str, np.ndarray] = {}

    def find_class(self, module: str, name: str) -> Any:
        try:
            return GLOBALS[f"{module}.{name}"]
        except KeyError:
            raise ForeignGlobal(f"{module}.{name}") from None

    def persistent_load(self, pid: Any) -> np.ndarray:
        match pid:
            case ("storage", str(kind), str(key), str(), int(count)) if kind.removeprefix("torch.") in STORAGES:
                dtype = STORAGES[kind.removeprefix("torch.")]
            case _:
                raise ValueError(f"it refers to {pid!r:.100}, which is no storage of a dense tensor")
        if key not in self._storages:
            self._storages[key] = self._read_storage(key, dtype, count)
        storage = self._storages[key]
        if storage.dtype != dtype:
            raise ValueError(f"storage {key!r} is read as {dtype} and as {storage.dtype}")
        return storage


def view(storage: Any, offset: Any, shape: Any, strides: Any) -> np.ndarray:
    """The tensor that begins at `offset` of a storage, read-only and without a copy.

    Args:
      storage: one-dimensional array.
      offset: elements before the first one.
      shape: of the tensor.
      strides: elements from one entry of an axis to the next.

    Raises:
      ValueError: if any of it is not what it should be, or an entry would lie outside the storage.
    """

    def counts(sequence: Any) -> bool:
        return isinstance(sequence, tuple) and all(type(item) is int and item >= 0 for item in sequence)

    if not (isinstance(storage, np.ndarray) and storage.ndim == 1 and counts((offset,))):
        raise ValueError("a tensor has no storage or no offset into it")
    if not (counts(shape) and counts(strides) and len(shape) == len(strides)):
        raise ValueError(f"a tensor of shape {shape!r:.100} has the strides {strides!r:.100}")
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if math.prod(shape) and last >= len(storage):
        raise ValueError(f"a tensor of shape {shape} reaches beyond the {len(storage)} elements of its storage")
    if not math.prod(shape):
        return np.empty(shape, storage.dtype)
    steps = [stride * storage.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, steps, writeable=False)
