"""Files that PyTorch itself must read: its format before version 1.6, and those with classes of other packages.

What its own reader of weights alone accepts needs no trust. For the rest a user's word is needed. Then PyTorch reads
the container and the tensors, and whatever else the pickle names, by dill or not, is replaced by an inert placeholder,
so that even a trusted file runs nothing but PyTorch's own reading. What depends on a placeholder cannot be used; a
state of tensors beside an optimiser, arguments and the like, as MadryLab's library saves it, can.
"""

import collections
from pathlib import Path
import pickle
import types
from typing import Any
import warnings
import zipfile

import ml_dtypes
import numpy as np

SAFE = (2, 6)  # version of PyTorch from which on its reader of weights alone is safe


class Placeholder(type):
    """The type of `PLACEHOLDER`, which stands for every class, function and object that was not loaded.

    It is a class, because pickles make objects of classes that they make first; called, filled or given a state, it
    does nothing and stays what it is.
    """

    def __call__(cls, *arguments: Any, **options: Any) -> "Placeholder":
        return cls

    def append(cls, *filling: Any) -> None:
        pass

    add = extend = __setitem__ = __setstate__ = append


PLACEHOLDER = Placeholder("PLACEHOLDER", (), {"__new__": lambda cls, *arguments, **options: cls})


def read_weights(path: Path) -> Any | None:
    """Reads a file by PyTorch's own reader of weights alone, which calls nothing that a file names.

    Returns the content with NumPy arrays in place of tensors; None where PyTorch is missing or older than 2.6, whose
    reader could be made to run code (CVE-2025-32434), or where it does not accept the file.
    """
    try:
        import torch
    except ImportError:
        return None
    if tuple(map(int, torch.__version__.split(".")[:2])) < SAFE:
        return None
    try:
        with warnings.catch_warnings(action="ignore"):  # of how old the format is
            return _arrays(torch.load(path, map_location="cpu", weights_only=True), torch)
    except Exception:  # whatever it refuses, or a damaged pickle makes of it
        return None


def read_trusted(path: Path) -> tuple[Any, str, tuple[str, ...]]:
    """Reads a file by PyTorch, with placeholders for all classes but its own of tensors; warns that it does.

    Returns the content with NumPy arrays in place of tensors, the format's name, and the names of the classes replaced.
    Raises ValueError if PyTorch is not installed or cannot read the file.
    """
    try:
        import torch
    except ImportError as error:
        needed = "can only be read by PyTorch, which is not installed: pip install torch."
        raise ValueError(f"{path} {needed}") from error
    trusted = "is read by PyTorch because you trust it: only do so for files whose origin you know."
    warnings.warn(f"{path} {trusted}", stacklevel=2)
    allowed = {
        "collections.OrderedDict": collections.OrderedDict,
        "torch.Size": torch.Size,
        "torch._utils._rebuild_tensor_v2": torch._utils._rebuild_tensor_v2,
        "torch._utils._rebuild_parameter": torch._utils._rebuild_parameter,
        **{f"torch.{name}": found for name, found in vars(torch).items() if isinstance(found, torch.dtype)},
    }
    foreign: set[str] = set()

    class Unpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            if (found := f"{module}.{name}") not in allowed:
                foreign.add(found)
            return allowed.get(found, PLACEHOLDER)

    # PyTorch takes the class of the unpickler from a module of its caller's choice and adds the storages to it.
    reader: Any = types.ModuleType("placeholders")
    reader.Unpickler = Unpickler
    reader.load = lambda stream, **options: Unpickler(stream, **options).load()
    try:
        # PyTorch would run a TorchScript program; by its own reading of the archive, for another one may see less.
        if zipfile.is_zipfile(path) and "constants.pkl" in torch._C.PyTorchFileReader(str(path)).get_all_records():
            raise ValueError("it is a TorchScript program; save its state_dict instead")
        content = _arrays(torch.load(path, map_location="cpu", pickle_module=reader, weights_only=False), torch)
    except Exception as error:  # a damaged pickle can raise almost anything
        raise ValueError(f"PyTorch cannot read {path}: {type(error).__name__}: {error}") from error
    if foreign:
        warnings.warn(f"{path} also holds {', '.join(sorted(foreign))}; these were left out.", stacklevel=2)
    return content, "PyTorch, trusted", tuple(sorted(foreign))


def _arrays(content: Any, torch: types.ModuleType) -> Any:
    """The same containers with NumPy arrays in place of tensors."""
    if isinstance(content, torch.Tensor):
        tensor = content.detach().resolve_neg()
        if tensor.dtype == torch.bfloat16:
            return tensor.view(torch.uint16).numpy().view(ml_dtypes.bfloat16)
        return np.asarray(tensor)
    if isinstance(content, dict):
        return {key: _arrays(value, torch) for key, value in content.items()}
    return content
