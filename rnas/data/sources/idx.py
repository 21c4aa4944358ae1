"""IDX files, the format of MNIST and Fashion-MNIST, as they are or as gzip files."""

from collections.abc import Iterator
import gzip
import math
from pathlib import Path
import re
import zlib

import numpy as np

from rnas.data.sources.arrays import array_source
from rnas.data.sources.source import Source

NAME = re.compile(r"(?P<set>.*?)[-_]?(?P<part>train|test|t10k)-(?P<what>images|labels)[.-]idx[13]-ubyte(\.gz)?")
LARGEST = 2**33  # bytes that a file may hold, unpacked


def idx_files(folder: Path) -> Iterator[tuple[re.Match, Path]]:
    """The files of a folder that are named as those of MNIST.

    Where one is there packed and unpacked, as torchvision leaves it, the unpacked one is taken.
    """
    files = [file for file in sorted(folder.iterdir()) if file.is_file()]
    for file in files:
        unpacked_too = file.suffix == ".gz" and file.with_suffix("") in files
        if (match := NAME.fullmatch(file.name)) and not unpacked_too:
            yield match, file


def idx_source(folder: Path) -> Source:
    """Reads train-images-idx3-ubyte, train-labels-idx1-ubyte and the same for t10k, each perhaps with .gz.

    Raises ValueError where one is missing or damaged, or there are several sets.
    """
    found: dict[tuple[str, str], Path] = {}
    sets = {match["set"] for match, _ in idx_files(folder)}
    if len(sets) != 1:
        raise ValueError(f"{folder} holds IDX files of {len(sets)} sets ({', '.join(sorted(sets))}), expected one.")
    for match, file in idx_files(folder):
        key = "train" if match["part"] == "train" else "test", match["what"]
        if key in found:
            raise ValueError(f"{folder} holds {found[key].name} and {file.name}: remove one of them.")
        found[key] = file
    for part in {part for part, _ in found}:
        for what in ("images", "labels"):
            if (part, what) not in found:
                raise ValueError(f"{folder} lacks the IDX file of the {what} of the {part} part.")
    arrays = {f"{part}_{what}": read_idx(file, 3 if what == "images" else 1) for (part, what), file in found.items()}
    return array_source(arrays, str(folder), kind="IDX files", as_published=True)


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """The bytes of an IDX file as uint8 of so many dimensions.

    Raises ValueError where it is of another type or shape, or is shorter or longer than it claims.
    """
    head = 4 + 4 * dimensions
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as stream:
            start = stream.read(head)
            if len(start) < head or start[:3] != b"\0\0\x08" or start[3] != dimensions:
                raise ValueError(f"{path} is no IDX file of bytes in {dimensions} dimension{'s' * (dimensions > 1)}.")
            shape = tuple(int(size) for size in np.frombuffer(start, ">u4", dimensions, 4))
            if (size := math.prod(shape)) > LARGEST:
                raise ValueError(f"{path} claims {size:,} bytes {list(shape)}; at most {LARGEST:,} are read.")
            # Not read(size): it would reserve what a header claims before there is any of it.
            pieces, left = [], size + 1
            while left and (piece := stream.read(min(left, 2**24))):
                pieces.append(piece)
                left -= len(piece)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read: {error}. Fetch it again.") from error
    if left != 1:
        state = "more" if not left else f"{size + 1 - left:,}"
        raise ValueError(f"{path} claims {list(shape)}, {size:,} bytes, and holds {state}: fetch it again.")
    return np.frombuffer(b"".join(pieces), np.uint8).reshape(shape)
