"""Parquet files with a column of images and one of labels, as Hugging Face keeps data sets."""

from collections.abc import Iterator, Sequence
import json
from pathlib import Path
import re
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

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

_ROWS = 256  # read at once


class Columns(NamedTuple):
    """Which columns of a file hold what."""

    image: str
    label: str
    names: tuple[str, ...] | None  # of the classes, where the file has them


def parquet_source(path: Path, label: str | None = None) -> Source:
    """Reads a parquet file, or all of a folder; the part of a file is the word train, test or validation in its path.

    Args:
      path: a file or a folder.
      label: the column of labels; None takes the only one that there is.

    Raises ValueError where a file is damaged, of other columns than the first, or it is unclear which ones are meant.
    """
    files = [path] if path.is_file() else sorted(path.rglob("*.parquet"))
    by_part: dict[str, list[Path]] = {}
    for file in files:
        by_part.setdefault(_part(file.relative_to(path) if path.is_dir() else Path(file.name)), []).append(file)
    opened = {file: _open(file) for own in by_part.values() for file in own}
    columns = _columns(opened[files[0]], files[0], label)
    for file, content in opened.items():
        if (other := _columns(content, file, label)) != columns:
            raise ValueError(
                f"{file} has {_described(other)}, and {files[0]} {_described(columns)}: expected the same."
            )
    labels = {name: [value for file in own for value in _labels(file, columns)] for name, own in by_part.items()}
    secret = [name for name, own in labels.items() if set(own) == {-1}]  # parts whose labels are kept back
    parts = known_parts([name for name in by_part if name not in secret], str(path))
    names = columns.names
    if names is None:
        values = natural_order({str(each) for name, part in parts.items() if part == TRAIN for each in labels[name]})
        names = check_class_names(values, str(path))
        numbers: dict[Any, int] = {value: number for number, value in enumerate(values)}
    else:
        names = check_class_names(names, str(path))
        numbers = {str(number): number for number in range(len(names))}
    for name in parts:
        if strange := sorted({str(each) for each in labels[name]} - numbers.keys()):
            known = f"0 to {len(names) - 1}" if columns.names else "those of the training part"
            raise ValueError(f"{path}, {name} part, has the label {strange[0]!r}; expected {known}.")

    def examples() -> Iterator[Example]:
        for name, part in parts.items():
            row = 0
            for file in by_part[name]:
                for batch in pq.ParquetFile(file).iter_batches(_ROWS, columns=[columns.image, columns.label]):
                    for image, value in zip(*(batch.column(each).to_pylist() for each in columns[:2]), strict=True):
                        content = image["bytes"] if isinstance(image, dict) else image
                        yield Example(part, numbers[str(value)], content or b"", f"{name} {row}")
                        row += 1

    notes = [f"Column {columns.label!r} has the labels, {columns.image!r} the images."]
    notes += [f"The {name} part has no labels (-1) and is passed over." for name in secret]
    count = sum(len(labels[name]) for name in parts)
    return Source("parquet", names, count, examples, TEST in parts.values(), (*notes, *joined(parts)))


def _part(path: Path) -> str:
    """The part that a file belongs to: of the words of its path that name one, the last."""
    words = [word for word in re.split(r"[^a-z0-9]+", str(path.with_suffix("")).lower()) if word in PARTS]
    return words[-1] if words else TRAIN


def _open(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{file} is no readable parquet file: {error}.") from error


def _columns(content: pq.ParquetFile, file: Path, label: str | None) -> Columns:
    schema = content.schema_arrow
    images = [field.name for field in schema if _is_picture(field.type)]
    features = _features(schema)
    labels = [name for name, feature in features.items() if feature.get("_type") == "ClassLabel"]
    labels = labels or [field.name for field in schema if _is_label(field.type)]
    shown = ", ".join(f"{field.name} ({field.type})" for field in schema)
    if len(images) != 1:
        raise ValueError(f"{file} has the columns {shown}: expected one with the bytes of images, found {len(images)}.")
    if label is not None:
        if label not in schema.names or not _is_label(schema.field(label).type):
            raise ValueError(f"--label={label}: {file} has the columns {shown}, no labels of that name.")
    elif len(labels) == 1:
        label = labels[0]
    else:
        which = f"give --label=NAME, one of {', '.join(labels)}" if labels else "expected one of whole numbers or texts"
        raise ValueError(f"{file} has the columns {shown}: {which}.")
    names = features.get(label, {}).get("names")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        names = None
    return Columns(images[0], label, None if names is None else tuple(names))


def _is_picture(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _is_picture(kind.field("bytes").type)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _is_label(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_label(kind.value_type)
    return pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _features(schema: pa.Schema) -> dict[str, dict]:
    """What Hugging Face writes about the columns, as far as it can be read."""
    try:
        found = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: feature for name, feature in found.items() if isinstance(feature, dict)}
    except (KeyError, TypeError, AttributeError, ValueError):
        return {}


def _labels(file: Path, columns: Columns) -> Sequence[Any]:
    labels = pq.read_table(file, columns=[columns.label]).column(columns.label).to_pylist()
    if None in labels:
        raise ValueError(f"{file}: column {columns.label!r} lacks the label of row {labels.index(None)}.")
    return labels


def _described(columns: Columns) -> str:
    names = "no names" if columns.names is None else f"{len(columns.names)} names"
    return f"images {columns.image!r}, labels {columns.label!r} and {names} of classes"
