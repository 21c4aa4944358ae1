"""The archives of CIFAR-10 and CIFAR-100 as their authors publish them: Python and binary version, packed or not."""

from collections.abc import Mapping
import gzip
from pathlib import Path, PurePosixPath
import tarfile
from typing import IO, Any, NamedTuple, cast
import zlib

import numpy as np

from rnas.artifacts.pickles import RestrictedUnpickler, bare
from rnas.data.sources.arrays import array_source
from rnas.data.sources.source import Source

LARGEST = 2**28  # bytes of a file; the largest published one has 155 million
UNPACKED = 2**30  # bytes of an archive
PIXELS = 3 * 32 * 32


class Layout(NamedTuple):
    """The files of one of the archives, below its folder."""

    kind: str
    train: tuple[str, ...]
    test: str
    names: str  # of the classes
    labels: str  # key of a pickle
    skipped: int = 0  # of a binary file: bytes before the label


_BATCHES = tuple(f"data_batch_{i}" for i in range(1, 6))
_BINARY = tuple(f"{name}.bin" for name in _BATCHES)
LAYOUTS = {  # folder: its files
    "cifar-10-batches-py": Layout("CIFAR-10, Python version", _BATCHES, "test_batch", "batches.meta", "labels"),
    "cifar-100-python": Layout("CIFAR-100, Python version", ("train",), "test", "meta", "fine_labels"),
    "cifar-10-batches-bin": Layout("CIFAR-10, binary version", _BINARY, "test_batch.bin", "batches.meta.txt", ""),
    "cifar-100-binary": Layout(
        "CIFAR-100, binary version", ("train.bin",), "test.bin", "fine_label_names.txt", "", skipped=1
    ),
}
NAMES = {"batches.meta": "label_names", "meta": "fine_label_names"}  # key of the pickle of names


def cifar_layout(path: Path) -> Layout | None:
    """The layout of a folder that holds all files of one of the archives, whatever it is called."""
    for layout in LAYOUTS.values():
        if all((path / name).is_file() for name in (*layout.train, layout.test, layout.names)):
            return layout
    return None


def cifar_source(path: Path) -> Source:
    """Reads a folder or a .tar.gz file. Nothing is unpacked to the disk, and pickles are read without running them.

    Raises ValueError where it is another archive, holds paths that lead out of it, or a file in it is damaged.
    """
    if path.is_dir():
        layout = cifar_layout(path)
        assert layout is not None, path
        files = {name: _limited(path / name) for name in (*layout.train, layout.test, layout.names)}
    else:
        layout, files = _unpacked(path)
    read = _from_pickle if layout.labels else _from_binary
    batches = [read(files[name], layout, f"{path}: {name}") for name in layout.train]
    images, labels = (np.concatenate(arrays) for arrays in zip(*batches, strict=True))
    test_images, test_labels = read(files[layout.test], layout, f"{path}: {layout.test}")
    arrays = {"train_images": images, "train_labels": labels, "test_images": test_images, "test_labels": test_labels}
    arrays["class_names"] = np.asarray(_class_names(files[layout.names], layout, f"{path}: {layout.names}"))
    return array_source(arrays, str(path), kind=layout.kind, as_published=True)


class _Limited:
    """A stream of an archive that ends with an error where it unpacks to more than any of CIFAR."""

    def __init__(self, stream: IO[bytes], path: Path):
        self._stream, self._path, self._left = stream, path, UNPACKED

    def read(self, size: int) -> bytes:
        content = self._stream.read(size)
        self._left -= len(content)
        if self._left < 0:
            raise ValueError(f"{self._path} unpacks to more than {UNPACKED:,} bytes: it is no archive of CIFAR.")
        return content


def _opened(path: Path) -> IO[bytes]:
    with open(path, "rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    return cast(IO[bytes], gzip.open(path)) if packed else open(path, "rb")


def _limited(path: Path) -> bytes:
    if (size := path.stat().st_size) > LARGEST:
        raise ValueError(f"{path} has {size:,} bytes; no file of CIFAR has more than {LARGEST:,}.")
    return path.read_bytes()


def _unpacked(path: Path) -> tuple[Layout, dict[str, bytes]]:
    """The files that are needed, in memory; the archive is read as far as the last of them."""
    found: dict[str, dict[str, bytes]] = {}
    try:
        with _opened(path) as packed, tarfile.open(fileobj=cast(IO, _Limited(packed, path)), mode="r|") as archive:
            for member in archive:
                place = PurePosixPath(member.name)
                if place.is_absolute() or ".." in place.parts:
                    raise ValueError(
                        f"{path} holds {member.name!r}, a path that leads out of it: it is no such archive."
                    )
                if not (member.isfile() or member.isdir()):
                    raise ValueError(f"{path} holds {member.name!r}, a link or a device: it is no such archive.")
                folder, name = place.parent.name, place.name
                layout = LAYOUTS.get(folder)
                if layout is None or name not in (*layout.train, layout.test, layout.names):
                    continue
                if member.size > LARGEST:
                    raise ValueError(f"{path}: {name} has {member.size:,} bytes; at most {LARGEST:,} are read.")
                stream = archive.extractfile(member)
                assert stream is not None
                found.setdefault(folder, {})[name] = stream.read()
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is no readable archive: {error}. Fetch it again.") from error
    if len(found) != 1:
        raise ValueError(f"{path} is no archive of CIFAR: expected one with a folder {', '.join(LAYOUTS)}.")
    ((folder, files),) = found.items()
    layout = LAYOUTS[folder]
    if missing := [name for name in (*layout.train, layout.test, layout.names) if name not in files]:
        raise ValueError(f"{path} lacks {missing[0]}: it is cut short. Fetch it again.")
    return layout, files


def _from_binary(content: bytes, layout: Layout, where: str) -> tuple[np.ndarray, np.ndarray]:
    record = layout.skipped + 1 + PIXELS
    if not content or len(content) % record:
        raise ValueError(
            f"{where} has {len(content):,} bytes, no multiple of the {record:,} of an image: it is damaged."
        )
    rows = np.frombuffer(content, np.uint8).reshape(-1, record)
    return _planes(rows[:, layout.skipped + 1 :]), rows[:, layout.skipped]


def _planes(rows: np.ndarray) -> np.ndarray:
    """[N, 3072], red before green before blue, as [N, 32, 32, 3]."""
    return np.moveaxis(rows.reshape(-1, 3, 32, 32), 1, -1)


def _from_pickle(content: bytes, layout: Layout, where: str) -> tuple[np.ndarray, np.ndarray]:
    batch = _read_pickle(content, where)
    data, labels = batch.get("data"), batch.get(layout.labels)
    if not isinstance(data, _Bytes) or data.array is None or data.array.ndim != 2 or data.array.shape[1] != PIXELS:
        raise ValueError(f"{where} holds no images of {PIXELS} bytes each.")
    if not isinstance(labels, list) or not all(type(label) is int and 0 <= label < 256 for label in labels):
        raise ValueError(f"{where} holds no labels {layout.labels!r}.")
    return _planes(data.array), np.asarray(labels, np.uint8)


def _class_names(content: bytes, layout: Layout, where: str) -> list[str]:
    if not layout.labels:
        return content.decode("utf-8", "replace").split()
    names = _read_pickle(content, where).get(NAMES[layout.names])
    if not isinstance(names, list) or not names:
        raise ValueError(f"{where} holds no names of classes.")
    return [_text(name) for name in names]


def _text(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value if isinstance(value, str) else "?"


# -- pickles: what they may name -----------------------------------------------------------------------------


class _Bytes:
    """An array of bytes; takes the state of one, and of nothing else."""

    array: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        match state:
            case (1, tuple(shape), _ByteType(), False, bytes(content)) if all(type(size) is int for size in shape):
                self.array = np.frombuffer(content, np.uint8).reshape(shape)
            case _:
                raise ValueError("it holds an array that is not of bytes")


class _ByteType:
    """The type of bytes."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or _text(state[1]) != "|":
            raise ValueError("it holds a type that is not that of bytes")


def _type(name: Any, *_: Any) -> _ByteType:
    if _text(name) != "u1":
        raise ValueError(f"it holds numbers of type {_text(name)!r:.20}, not bytes")
    return _ByteType()


_ARRAY = bare(lambda *_: _Bytes())
_NAMES = {
    "numpy.core.multiarray._reconstruct": _ARRAY,
    "numpy._core.multiarray._reconstruct": _ARRAY,  # where NumPy 2 has written it again
    "numpy.dtype": bare(_type),
    "numpy.ndarray": "numpy.ndarray",  # named, never called
}


def _read_pickle(content: bytes, where: str) -> Mapping[Any, Any]:
    try:
        # Python 2 wrote the published ones: their texts are bytes.
        batch = RestrictedUnpickler(
            content, _NAMES, longest=LARGEST, otherwise="no array of bytes", encoding="bytes"
        ).load()
    except Exception as error:  # a damaged pickle can raise almost anything
        raise ValueError(f"{where} is damaged or forged ({error}); nothing of it was run.") from error
    if not isinstance(batch, dict):
        raise ValueError(f"{where} holds a {type(batch).__name__}; expected a dict.")
    return {_text(key): value for key, value in batch.items()}
