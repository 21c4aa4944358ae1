"""Pictures as users have them, recognised by what they are: folders, arrays, archives, parquet."""

from pathlib import Path
import re

from rnas.data.sources.arrays import npy_folder_source, npy_source, npz_source
from rnas.data.sources.cifar import cifar_layout, cifar_source
from rnas.data.sources.folders import folder_source
from rnas.data.sources.hub import fetch
from rnas.data.sources.idx import idx_files, idx_source
from rnas.data.sources.parquet import parquet_source
from rnas.data.sources.source import Example, Source

HUB = "hf:"
EXPECTED = (
    "expected a folder of pictures with one folder a class, an .npz file, two .npy files, parquet, a folder of IDX "
    "files, an archive of CIFAR as published, or hf:OWNER/NAME"
)


def open_source(given: str, labels: str | None = None, *, label: str | None = None) -> Source:
    """Opens what a user calls a source.

    Args:
      given: a file or a folder, or `hf:OWNER/NAME` of the Hugging Face Hub.
      labels: the .npy file of the labels, where `given` is the one of the images.
      label: the column of labels of parquet files; None takes the only one that there is.

    Raises ValueError where there is no such thing, it is of no known kind, or of none that takes the other arguments.
    """
    path = Path(given)
    if labels is not None and path.suffix != ".npy":
        raise ValueError(f"{labels} is given beside {given}: only an .npy file of images takes one of labels.")
    if given.startswith(HUB):
        return parquet_source(fetch(given.removeprefix(HUB)), label)
    if not path.exists():
        hint = (
            f" A set of the Hugging Face Hub is named {HUB}{given}." if re.fullmatch(r"[\w.-]+/[\w.-]+", given) else ""
        )
        raise ValueError(f"there is no {given}.{hint}")
    if path.suffix == ".parquet" or path.is_dir() and next(path.rglob("*.parquet"), None):
        return parquet_source(path, label)
    if label is not None:
        raise ValueError(f"--label={label}: only parquet files have columns, and {given} is none.")
    return _open_folder(path) if path.is_dir() else _open_file(path, labels)


def _open_folder(path: Path) -> Source:
    if cifar_layout(path):
        return cifar_source(path)
    if next(idx_files(path), None):
        return idx_source(path)
    if next(path.glob("*.npy"), None):
        return npy_folder_source(path)
    return folder_source(path)


def _open_file(path: Path, labels: str | None) -> Source:
    if path.suffix == ".npz":
        return npz_source(path)
    if path.suffix == ".npy":
        if labels is None:
            raise ValueError(f"{path} holds images: give the .npy file of their labels after it.")
        return npy_source(path, Path(labels))
    if re.search(r"\.(tar|tar\.gz|tgz)$", path.name):
        return cifar_source(path)
    hint = "unpack it and give the folder" if path.suffix in (".zip", ".7z", ".rar", ".gz") else EXPECTED
    raise ValueError(f"{path} is of no kind that is read: {hint}.")
