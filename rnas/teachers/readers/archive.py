"""Checkpoint files opened: what format one has, by its content and not its name, and what it holds."""

import collections
from pathlib import Path, PurePosixPath
import re
from typing import Any, NamedTuple
import zipfile
import zlib

import ml_dtypes
import numpy as np
import safetensors

from rnas.teachers.readers.trusted import read_trusted, read_weights
from rnas.teachers.readers.unpickling import ForeignGlobal, Unpickler

LARGEST = 16 * 2**30  # bytes that a file may unpack to: eleven times the largest published network
# A pickled number, of any protocol, that begins every file of torch.save before version 1.6.
LEGACY = re.compile(rb"\x80[\x02-\x05](\x95.{8})?\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19\.", re.DOTALL)
SAFETENSORS = {  # element types by their names in such files
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": ml_dtypes.bfloat16},
    **{"I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1", "BOOL": "?"},
}
HOW_TO_TRUST = (
    "PyTorch's reader of weights alone is tried where PyTorch 2.6 or newer is installed (pip install torch). If that "
    "does not read it and you trust where it comes from, give --trust; or load it there and save the mapping of names "
    "to tensors alone."
)


class Contents(NamedTuple):
    """What a file holds."""

    content: Any  # nested containers with NumPy arrays
    format: str  # its name, for the reader
    foreign: tuple[str, ...] = ()  # classes that placeholders stand for, see `rnas.teachers.readers.trusted`


def read_checkpoint(path: Path, *, trust: bool = False) -> Contents:
    """Reads a file of PyTorch (.pt, .pth, .ckpt, .t7 …), safetensors or NumPy (.npz).

    Tensors and plain containers in PyTorch's zip format (1.6 and later) are read without PyTorch; see
    `rnas.teachers.readers.unpickling`. Files that hold more, or are in its older format, are read by PyTorch: by its
    reader of weights alone, which runs nothing that a file names, or else only with `trust`; see
    `rnas.teachers.readers.trusted`. Whatever else a file is, and damage, raise ValueError.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a directory; expected a checkpoint file.")
    with open(path, "rb") as stream:
        start = stream.read(512)
    if not start:
        raise ValueError(f"{path} is empty: its download or copy never began. Fetch it again.")
    # First, because the length that these files begin with may look like the beginning of another.
    if start[8:9] == b"{" and 8 + int.from_bytes(start[:8], "little") <= path.stat().st_size:
        return _read_safetensors(path)
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise ValueError(
            f"{path} is a web page, not a checkpoint: the download was answered by a page about consent or "
            "about a quota that is used up. Open the link in a browser and save the file itself."
        )
    if start.startswith(b"version https://git-lfs"):
        raise ValueError(f"{path} is a Git LFS pointer, not the file it points to; run `git lfs pull`.")
    if start.startswith(b"PK"):
        return _read_zip(path, trust)
    if LEGACY.match(start):
        return _read_by_torch(path, trust, "is in PyTorch's format before version 1.6, a bare pickle.")
    if start[8:9] == b"{":  # cut short
        return _read_safetensors(path)
    kind = "a pickle, but not one of torch.save" if start.startswith(b"\x80") else "of unknown format"
    raise ValueError(f"{path} is {kind}; expected a checkpoint of PyTorch, safetensors or NumPy (.npz).")


def _read_safetensors(path: Path) -> Contents:
    try:
        tensors = safetensors.deserialize(path.read_bytes())
        arrays = {name: np.frombuffer(each["data"], SAFETENSORS[each["dtype"]]) for name, each in tensors}
        return Contents({name: arrays[name].reshape(each["shape"]) for name, each in tensors}, "safetensors")
    except KeyError as kind:
        raise ValueError(f"{path}: tensors of type {kind} cannot be read; expected {', '.join(SAFETENSORS)}.") from kind
    except (safetensors.SafetensorError, ValueError) as error:
        raise ValueError(f"{path} is no readable safetensors file ({error}); {_often(path)}") from error


def _often(path: Path) -> str:
    return f"most often a download cut short, here after {path.stat().st_size:,} bytes. Fetch it again."


def _read_zip(path: Path, trust: bool) -> Contents:
    try:
        with zipfile.ZipFile(path) as archive:
            names = _check_members(path, archive)
            if names and all(name.endswith(".npy") for name in names):
                return Contents(_read_npz(path), "npz")
            return Contents(_read_torch(path, archive, names), "PyTorch")
    except ForeignGlobal as error:
        return _read_by_torch(path, trust, f"holds more than tensors: {error}. Nothing of it was run.")
    except (zipfile.BadZipFile, OSError) as error:  # a directory of members that points outside the file is the latter
        raise ValueError(f"{path} is a damaged archive ({error}); {_often(path)}") from error
    except (zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"{path} is an archive that cannot be unpacked: {error}.") from error


def _read_by_torch(path: Path, trust: bool, reason: str) -> Contents:
    """What PyTorch's reader of weights alone accepts, else what `trust` allows, else ValueError with the reason."""
    if (content := read_weights(path)) is not None:
        return Contents(content, "PyTorch, weights alone")
    if not trust:
        raise ValueError(f"{path} {reason} {HOW_TO_TRUST}")
    return Contents(*read_trusted(path))


def _check_members(path: Path, archive: zipfile.ZipFile) -> list[str]:
    names = archive.namelist()
    if odd := [name for name in names if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts]:
        raise ValueError(f"{path} holds a member named {odd[0]!r}, which no checkpoint has.")
    # PyTorch looks members up without regard to case.
    if twice := [name for name, number in collections.Counter(map(str.lower, names)).items() if number > 1]:
        raise ValueError(f"{path} holds several members named {twice[0]!r}; it is unclear which one is meant.")
    if (total := sum(member.file_size for member in archive.infolist())) > LARGEST:
        raise ValueError(f"{path} would unpack to {total:,} bytes; at most {LARGEST:,} are read.")
    # Of other methods zipfile unpacks a whole member, however large, before it looks at the size that was declared.
    known = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    if packed := [member.filename for member in archive.infolist() if member.compress_type not in known]:
        raise ValueError(f"{path} holds {packed[0]!r} neither stored nor deflated; PyTorch and NumPy write no others.")
    return names


def _unpack(archive: zipfile.ZipFile, name: str) -> bytes:
    """A member, up to the size it declares; `archive.read` has no such limit."""
    with archive.open(name) as stream:
        return stream.read(archive.getinfo(name).file_size)


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    content = {}
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
        for name in arrays:
            try:
                content[name] = arrays[name]
            except (zipfile.BadZipFile, OSError):
                raise
            except Exception as error:  # a damaged header can raise almost anything
                raise ValueError(f"{path} holds {name!r}, which is damaged or no plain array: {error}") from error
    return content


def _read_torch(path: Path, archive: zipfile.ZipFile, names: list[str]) -> Any:
    # A program may lie where PyTorch finds it and the state is not; it would be run there.
    folders = [name.lower().split("/") for name in names]
    if any(last == "constants.pkl" or "code" in above[1:] for *above, last in folders):
        raise ValueError(f"{path} is a TorchScript program; save its state_dict instead.")
    roots = [name.removesuffix("data.pkl") for name in names if name.split("/")[-1] == "data.pkl"]
    if len(roots) != 1:
        raise ValueError(f"{path} is an archive, but not one of torch.save: it holds {len(roots)} files data.pkl.")
    (root,) = roots
    order = "<"  # that of files without this entry
    if f"{root}byteorder" in names and (found := _unpack(archive, f"{root}byteorder")) != b"little":
        if found != b"big":
            raise ValueError(f"{path} names a byte order {found!r:.40}; expected little or big.")
        order = ">"

    def read_storage(key: str, dtype: np.dtype, count: int) -> np.ndarray:
        if (name := f"{root}data/{key}") not in names:
            raise ValueError(f"storage {key!r} is missing")
        content = _unpack(archive, name)
        if len(content) != count * dtype.itemsize:
            raise ValueError(f"storage {key!r} has {len(content):,} bytes, not {count:,} numbers of type {dtype}")
        words = np.frombuffer(content, f"{order}u{dtype.itemsize}")
        return words.astype(f"=u{dtype.itemsize}", copy=False).view(dtype)

    try:
        return Unpickler(_unpack(archive, f"{root}data.pkl"), read_storage).load()
    except (ForeignGlobal, zipfile.BadZipFile):
        raise
    except Exception as error:  # a damaged pickle can raise almost anything
        raise ValueError(f"the pickle in {path} is damaged or forged: {error}.") from error
