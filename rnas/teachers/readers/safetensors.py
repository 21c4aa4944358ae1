"""Files in safetensors format: a JSON table of names, types, shapes and offsets before the raw numbers.

The format is that of its specification (github.com/huggingface/safetensors): the table's length, 8 bytes, little
endian; the table; the numbers, little endian, in the order of the axes.
"""

import json
import math
from pathlib import Path

import ml_dtypes
import numpy as np

_DTYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """All tensors of a file by name.

    Raises:
      ValueError: if the file is cut short or its table makes no sense.
    """
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    if 8 + length > len(content):
        raise ValueError(f"{path} is cut short: its table alone has {length:,} bytes, the file {len(content):,}.")
    try:
        table = json.loads(content[8 : 8 + length])
        table.pop("__metadata__", None)
        tensors = {name: _tensor(entry, content, 8 + length) for name, entry in table.items()}
        end = 0
        for begin, after in sorted(entry["data_offsets"] for entry in table.values()):
            if begin < end:
                raise ValueError(f"bytes {begin} to {end} belong to two tensors")
            end = after
        return tensors
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is no readable safetensors file: {error}.") from error


def _tensor(entry: dict, content: bytes, start: int) -> np.ndarray:
    if entry["dtype"] not in _DTYPES:
        raise ValueError(f"tensors of type {entry['dtype']!r} cannot be read; expected one of {', '.join(_DTYPES)}")
    dtype, shape, (begin, end) = _DTYPES[entry["dtype"]], entry["shape"], entry["data_offsets"]
    if not (0 <= begin <= end <= len(content) - start and end - begin == math.prod(shape) * dtype.itemsize):
        raise ValueError(f"bytes {begin} to {end} of {len(content) - start} do not hold a {entry['dtype']} of {shape}")
    return np.frombuffer(content, dtype, math.prod(shape), start + begin).reshape(shape)
