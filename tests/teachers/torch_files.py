"""Files as torch.save writes them, made by hand: the pickle by its opcodes, the archive by zipfile."""

from collections.abc import Sequence
import itertools
import struct
from typing import Any, NamedTuple
import zipfile

import ml_dtypes
import numpy as np

STORAGES = {
    np.dtype(np.float64): "DoubleStorage",
    np.dtype(np.float32): "FloatStorage",
    np.dtype(np.float16): "HalfStorage",
    np.dtype(ml_dtypes.bfloat16): "BFloat16Storage",
    np.dtype(np.int64): "LongStorage",
    np.dtype(np.int32): "IntStorage",
    np.dtype(np.int16): "ShortStorage",
    np.dtype(np.int8): "CharStorage",
    np.dtype(np.uint8): "ByteStorage",
    np.dtype(np.bool_): "BoolStorage",
}


class Global(NamedTuple):
    """A function or class by name."""

    module: str
    name: str


class Call(NamedTuple):
    """What a function gives for some arguments."""

    function: Any
    arguments: tuple


class New(NamedTuple):
    """An object of a class, made without calling it."""

    type: Any
    arguments: tuple


class Build(NamedTuple):
    """An object that is given a state."""

    object: Any
    state: Any


class Persistent(NamedTuple):
    """A reference to something outside the pickle."""

    id: tuple


class View(NamedTuple):
    """A tensor that is part of a storage."""

    storage: np.ndarray
    offset: int
    shape: Sequence[int]
    strides: Sequence[int]


def pickled(content: Any, members: dict[str, bytes] | None = None, order: str = "<") -> bytes:
    """A pickle of protocol 2; arrays become tensors, whose numbers go into `members` by name."""
    members = {} if members is None else members
    stored: list[np.ndarray] = []

    def storage(array):
        assert array.ndim == 1
        key = next((key for key, other in enumerate(stored) if other is array), len(stored))
        if key == len(stored):
            stored.append(array)
            words = np.ascontiguousarray(array).view(f"u{array.itemsize}")
            members[f"data/{key}"] = words.astype(f"{order}u{array.itemsize}").tobytes()
        kind = Global("torch", STORAGES[array.dtype])
        return Persistent(("storage", kind, str(key), "cpu", len(array)))

    def tensor(view):
        arguments = storage(view.storage), view.offset, tuple(view.shape), tuple(view.strides)
        return Call(Global("torch._utils", "_rebuild_tensor_v2"), (*arguments, False, ordered({})))

    def emit(item):
        if isinstance(item, Global):
            return f"c{item.module}\n{item.name}\n".encode()
        if isinstance(item, Call):
            return emit(item.function) + emit(item.arguments) + b"R"
        if isinstance(item, New):
            return emit(item.type) + emit(item.arguments) + b"\x81"
        if isinstance(item, Build):
            return emit(item.object) + emit(item.state) + b"b"
        if isinstance(item, Persistent):
            return emit(item.id) + b"Q"
        if isinstance(item, View):
            return emit(tensor(item))
        if isinstance(item, np.ndarray):
            strides = [stride // item.itemsize for stride in np.empty(item.shape, item.dtype).strides]
            return emit(View(np.ascontiguousarray(item).reshape(-1), 0, item.shape, strides))
        if item is None or isinstance(item, bool):
            return {None: b"N", True: b"\x88", False: b"\x89"}[item]
        if isinstance(item, int):
            return b"\x8a\x08" + struct.pack("<q", item)
        if isinstance(item, float):
            return b"G" + struct.pack(">d", item)
        if isinstance(item, str):
            return b"X" + struct.pack("<I", len(item.encode())) + item.encode()
        if isinstance(item, tuple):
            return b"(" + b"".join(map(emit, item)) + b"t"
        if isinstance(item, list):
            return b"](" + b"".join(map(emit, item)) + b"e"
        assert isinstance(item, dict), item
        return b"}(" + b"".join(map(emit, itertools.chain.from_iterable(item.items()))) + b"u"

    return b"\x80\x02" + emit(content) + b"."


def ordered(pairs: dict) -> Call:
    """An OrderedDict."""
    return Call(Global("collections", "OrderedDict"), ([list(pair) for pair in pairs.items()],))


def write_pt(path, content: Any, *, root: str = "archive", order: str = "<") -> None:
    """Writes what torch.save would of a content in which tensors are arrays."""
    members: dict[str, bytes] = {}
    program = pickled(content, members, order)
    said = {"byteorder": b"little" if order == "<" else b"big", "version": b"3\n"}
    write_archive(path, {"data.pkl": program, **said, **members}, root)


def write_archive(path, members: dict[str, bytes], root: str = "archive") -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{root}/{name}" if root else name, content)
