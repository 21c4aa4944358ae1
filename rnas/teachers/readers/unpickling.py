"""Pickles written by `torch.save`, read without PyTorch and without running anything they name.

They can name a few functions of this module alone, see `rnas.artifacts.pickles`, which build arrays, mappings, tuples
and numbers. What the functions are given is checked too: a tensor must lie inside its storage.
"""

from collections.abc import Callable
import math
from typing import Any

import ml_dtypes
import numpy as np

from rnas.artifacts.pickles import ForeignGlobal, RestrictedUnpickler, bare

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
_DTYPES = (*(dtype.name for dtype in STORAGES.values()), "double", "float", "half", "long", "int", "short")
LONGEST = 2**23  # bytes of a pickle; those of the largest published networks have a tenth
# Types of NumPy's numbers as its pickles name them; not those of objects, texts, dates and records.
_NUMBERS = ("b1", *(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)), "f2", "f4", "f8")

# What a pickle may name. Storages and types are never called: a text will do.
GLOBALS: dict[str, Any] = {f"torch.{name}": f"torch.{name}" for name in (*STORAGES, *_DTYPES)}
_FOREIGN = "no tensor, container or number"


class _Mapping(dict):
    """A dict for an OrderedDict; the attributes that PyTorch gives to a state (versions of modules) are dropped."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        pass


class _NumberType:
    """A `numpy.dtype` of numbers. NumPy's own takes from a state what it never checks, such as fields and sizes."""

    __slots__ = ("dtype",)

    def __init__(self, name: str):
        self.dtype = np.dtype(name)

    def __setstate__(self, state: Any) -> None:
        match state:
            case (int(), "<" | ">" | "|" | "=" as order, None, None, None, -1, -1, 0):
                self.dtype = self.dtype.newbyteorder(order)
            case _:
                raise ValueError(f"the type {self.dtype} is given a state that is not its own")


# -- what a pickle may call ------------------------------------------------------------------------------


def _callable_as(*names: str) -> Callable:
    """Lets pickles call a function by these names."""

    def add(function: Callable) -> Callable:
        GLOBALS.update(dict.fromkeys(names, bare(function)))
        return function

    return add


@_callable_as("collections.OrderedDict", "collections.Counter")  # a Counter: where schedulers keep their milestones
def _mapping(*pairs: Any) -> _Mapping:
    return _Mapping(*map(_listed, pairs))


@_callable_as("torch.Size")
def _size(sizes: Any = ()) -> tuple:
    return tuple(_listed(sizes))


def _listed(items: Any) -> Any:
    """The same, if it is a container: a tensor can be expanded to more rows than any memory holds."""
    if not isinstance(items, list | tuple | dict):
        raise ValueError(f"a container is made of a {type(items).__name__}")
    return items


@_callable_as("torch._utils._rebuild_tensor_v2")
def _tensor(storage, offset, shape, strides, gradient=None, hooks=None, metadata=None) -> np.ndarray:
    """A view of a one-dimensional storage, read-only; offset and strides count elements."""
    if metadata:  # such as a sign that PyTorch has still to apply
        raise ValueError("a tensor is marked as the negative or conjugate of its numbers; save a clone of it")
    if not (isinstance(storage, np.ndarray) and storage.ndim == 1 and _are_counts((offset,))):
        raise ValueError("a tensor has no storage or no offset into it")
    if not (_are_counts(shape) and _are_counts(strides) and len(shape) == len(strides)):
        raise ValueError("a tensor has a shape or strides that are not as many whole numbers, none negative")
    if not math.prod(shape):
        return np.empty(shape, storage.dtype)
    if offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True)) >= len(storage):
        raise ValueError(f"a tensor of shape {shape} reaches beyond the {len(storage)} elements of its storage")
    steps = [stride * storage.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, steps, writeable=False)


def _are_counts(items: Any) -> bool:
    return isinstance(items, tuple) and all(type(item) is int and item >= 0 for item in items)


@_callable_as("torch._utils._rebuild_parameter")
def _parameter(tensor: Any, *rest: Any) -> np.ndarray:
    if not isinstance(tensor, np.ndarray):
        raise ValueError(f"a parameter is made of a {type(tensor).__name__}, not of a tensor")
    return tensor


@_callable_as("numpy.dtype")
def _number_type(name: Any, *flags: Any) -> _NumberType:
    if type(name) is not str or name not in _NUMBERS:
        raise ForeignGlobal(f"numpy.dtype({name:.20})" if type(name) is str else "numpy.dtype", _FOREIGN)
    return _NumberType(name)


@_callable_as("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")  # the latter since NumPy 2
def _number(kind: Any, content: Any) -> np.generic:
    if not (isinstance(kind, _NumberType) and type(content) is bytes and len(content) == kind.dtype.itemsize):
        raise ValueError(f"a number is made of a {type(kind).__name__} and a {type(content).__name__}")
    return np.frombuffer(content, kind.dtype)[0]


@_callable_as("_codecs.encode")
def _bytes(text: Any, encoding: Any) -> bytes:
    """Bytes as pickles before protocol 3 hold them: each one is a character of Latin-1."""
    if type(text) is not str or encoding != "latin1":
        raise ValueError(f"bytes are made of a {type(text).__name__}, or not by latin1")
    return text.encode("latin1")


class Unpickler(RestrictedUnpickler):
    """Builds dicts, lists, tuples, numbers, texts and NumPy arrays; nothing else.

    `read_storage` returns a one-dimensional, read-only array for (key, element type, number of elements).
    """

    def __init__(self, content: bytes, read_storage: Callable[[str, np.dtype, int], np.ndarray]):
        super().__init__(content, GLOBALS, longest=LONGEST, otherwise=_FOREIGN, encoding="utf-8")
        self._read_storage = read_storage
        self._storages: dict[str, np.ndarray] = {}

    def persistent_load(self, pid: Any) -> np.ndarray:
        match pid:
            case ("storage", str(kind), str(key), str(), int(count)) if kind.removeprefix("torch.") in STORAGES:
                dtype = STORAGES[kind.removeprefix("torch.")]
            case _:
                raise ValueError(f"it refers to a {type(pid).__name__}, which is no storage of a dense tensor")
        if key not in self._storages:
            self._storages[key] = self._read_storage(key, dtype, count)
        storage = self._storages[key]
        if storage.dtype != dtype:
            raise ValueError(f"storage {key!r} is read as {dtype} and as {storage.dtype}")
        return storage
