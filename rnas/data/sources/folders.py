"""A folder with one folder a class, with train/ and test/ above them or without."""

from collections.abc import Iterator
import os
from pathlib import Path

from rnas.data.sources.source import (
    PARTS,
    TEST,
    TRAIN,
    Example,
    Source,
    check_class_names,
    joined,
    known_parts,
    natural_order,
)

EXPECTED = (
    "expected a folder for each class with its images in it, or folders train and test that hold such folders; or "
    ".npz, .npy, .parquet, IDX files or the archives of CIFAR"
)


def folder_source(path: Path) -> Source:
    """Reads the pictures below the folders of classes; the names of those are the names of the classes.

    Every file there is taken for a picture, however deep, but hidden ones. Links to files are followed, links to
    folders below a class are not.

    Raises ValueError where there are no classes, or those of the test part are not among those of the training part.
    """
    tops = _folders(path)
    # A folder train without folders in it is a class among other vehicles.
    if any(PARTS.get(top.name.lower()) == TRAIN and _folders(top) for top in tops):
        parts = known_parts([top.name for top in tops], str(path))
    else:
        parts = {"": TRAIN}
    classes = {name: {each.name: each for each in _folders(path / name)} for name in parts}
    ordered = natural_order({own for name, part in parts.items() if part == TRAIN for own in classes[name]})
    if not ordered:
        raise ValueError(f"{path} holds no folders of classes; {EXPECTED}.")
    for name in parts:
        if strange := sorted(classes[name].keys() - set(ordered)):
            raise ValueError(f"{path / name} has a class {strange[0]!r} that the training part has not.")
    names = check_class_names(ordered, str(path))
    labels = {own: label for label, own in enumerate(ordered)}

    files = [
        (part, labels[own], file)
        for name, part in parts.items()
        for own in natural_order(classes[name])
        for file in _files(classes[name][own])
    ]

    def examples() -> Iterator[Example]:
        for part, label, file in files:
            yield Example(part, label, file, _printable(file.relative_to(path)))

    above = dict.fromkeys((path, *(path / name for name in parts)))
    lost = [
        each.name for folder in above for each in sorted(folder.iterdir()) if each.is_file() and not _is_hidden(each)
    ]
    notes = joined(parts)
    if lost:
        notes += (f"{len(lost)} files beside the folders of classes are passed over, such as {lost[0]}.",)
    return Source("folder of pictures", names, len(files), examples, TEST in parts.values(), notes)


def _printable(path: Path) -> str:
    """The text of a path, with what is no Unicode in it replaced."""
    return os.fsencode(path).decode("utf-8", "replace")


def _is_hidden(path: Path) -> bool:
    return path.name.startswith((".", "__MACOSX")) or path.name in ("Thumbs.db", "desktop.ini")


def _folders(path: Path) -> list[Path]:
    return sorted(each for each in path.iterdir() if each.is_dir() and not _is_hidden(each))


def _files(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not _is_hidden(Path(name)))
        links = [name for name in folders if os.path.islink(os.path.join(root, name))]
        # A link to a folder is left to be listed as no picture.
        yield from (Path(root, name) for name in sorted([*files, *links]) if not _is_hidden(Path(name)))
