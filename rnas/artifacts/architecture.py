"""The outcome of a search, `architecture.json`: which network, and which teacher layer each student layer follows."""

import abc
from collections.abc import Callable, Sequence
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from rnas.artifacts.files import read_json, write_json
from rnas.spaces import cell_space, nasbench201, width_space

FILE = "architecture.json"
FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Tutelage:
    """Who learns from whom, where the search had a teacher; empty where it had none.

    Attributes:
      tutors: teacher tap of each student tap.
      teacher_taps: all taps of the teacher, in forward order.
      probabilities: [n_s, n_t], softmax of the selector.
      logits: [n_s, n_t], the selector itself, for training with samples of it.
      teacher: identity of the teacher.
    """

    tutors: tuple[str, ...] = ()
    teacher_taps: tuple[str, ...] = ()
    probabilities: Any = ()
    logits: Any = ()
    teacher: dict = dataclasses.field(default_factory=dict)

    def content(self) -> dict[str, Any]:
        return {
            "teacher_taps": list(self.teacher_taps),
            "tutors": list(self.tutors),
            "tutor_probabilities": np.asarray(self.probabilities).tolist(),
            "tutor_logits": np.asarray(self.logits).tolist(),
            "teacher": self.teacher,
        }

    @classmethod
    def of(cls, content: dict, student_taps: Sequence[str]) -> "Tutelage":
        """Reads what `content` wrote; raises ValueError where it does not fit the student's taps."""
        found = cls(
            tutors=tuple(content.get("tutors", ())),
            teacher_taps=tuple(content.get("teacher_taps", ())),
            probabilities=content.get("tutor_probabilities", ()),
            logits=content.get("tutor_logits", ()),
            teacher=content.get("teacher", {}),
        )
        if found.tutors and len(found.tutors) != len(student_taps):
            raise ValueError(f"it names {len(found.tutors)} tutors, but the network has {len(student_taps)} taps.")
        if unknown := set(found.tutors) - set(found.teacher_taps):
            raise ValueError(f"it has tutors that are no teacher taps: {', '.join(sorted(unknown))}.")
        expected = len(student_taps), len(found.teacher_taps)
        if found.tutors and len(found.probabilities) and np.shape(found.probabilities) != expected:
            raise ValueError(f"tutor_probabilities are not {expected[0]} rows of {expected[1]} numbers.")
        return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architecture(abc.ABC):
    """A network of a space, for images of one shape.

    Attributes:
      image_shape: [H, W, C] of the images it was searched on.
      num_classes: K.
      tutelage: who learns from whom.
    """

    image_shape: tuple[int, int, int]
    num_classes: int
    tutelage: Tutelage = Tutelage()

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """The architecture in a few words."""

    @property
    @abc.abstractmethod
    def taps(self) -> tuple[str, ...]:
        """Names of the student's taps, in forward order."""

    @abc.abstractmethod
    def content(self) -> dict[str, Any]:
        """The part of the file that is particular to the space."""

    @abc.abstractmethod
    def summary(self) -> dict[str, Any]:
        """What sets the network apart within its space."""

    def save(self, path: Path, *, params: int, macs: int) -> None:
        """Writes the file; `params` and `macs` of the network are stated in it for the reader."""
        content = {
            "format": FORMAT,
            **self.content(),
            "image_shape": list(self.image_shape),
            "num_classes": self.num_classes,
            "student_taps": list(self.taps),
            **self.tutelage.content(),
            "params": params,
            "macs": macs,
        }
        write_json(path, content)


@dataclasses.dataclass(frozen=True, kw_only=True)
class WidthArchitecture(Architecture):
    """Output channels per block of a channel-masked space, with the probabilities they were read from."""

    space: width_space.WidthSpace
    widths: tuple[int, ...]
    probabilities: Sequence = ()

    @property
    def name(self) -> str:
        return f"{self.space.name} {self.widths}"

    @property
    def taps(self) -> tuple[str, ...]:
        return self.space.taps

    def summary(self) -> dict[str, Any]:
        return {"widths": list(self.widths)}

    def content(self) -> dict[str, Any]:
        _, sides = width_space.resolutions(self.space, self.image_shape[0])
        return {
            "space": self.space.name,
            "widths": list(self.widths),
            "blocks": [
                {
                    "name": block.name,
                    "stage": block.stage,
                    "width": width,
                    "options": list(block.options),
                    "stride": block.stride,
                    "expansion": block.expansion,
                    "resolution": side,
                }
                for block, width, side in zip(self.space.blocks, self.widths, sides, strict=True)
            ],
            "width_probabilities": [np.asarray(p).tolist() for p in self.probabilities],
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class CellArchitecture(Architecture):
    """Cells of a genotype, stacked.

    Attributes:
      genotype: the cells.
      channels: of the first cell.
      cells: how many.
      width_ratio: channels of the three stages, relative to the first.
      origin: {'method': …} that found it ('given' has a 'file' too), or {'published': name}.
    """

    genotype: cell_space.Genotype
    channels: int
    cells: int
    width_ratio: tuple[int, int, int]
    origin: dict = dataclasses.field(default_factory=dict)

    @property
    def space(self) -> cell_space.CellSpace:
        return cell_space.get_space(self.genotype.space)

    @property
    def name(self) -> str:
        origin = " ".join(map(str, self.origin.values()))
        return f"{self.genotype.space} cells ({origin or 'given'}), C={self.channels}, L={self.cells}"

    @property
    def taps(self) -> tuple[str, ...]:
        return self.space.taps(self.cells)

    def summary(self) -> dict[str, Any]:
        return {
            **self.genotype.to_json(),
            "channels": self.channels,
            "cells": self.cells,
            "width_ratio": list(self.width_ratio),
            "origin": self.origin,
        }

    def content(self) -> dict[str, Any]:
        return {**self.summary(), "placement": list(self.space.placement(self.cells))}


@dataclasses.dataclass(frozen=True, kw_only=True)
class NASBench201Architecture(Architecture):
    """A cell of NAS-Bench-201 in the network of its table.

    Attributes:
      code: of the cell, six digits.
      channels: of the first stage.
      cells: in each of the three stages.
      origin: {'method': …} that found it ('given' may have a 'file' too).
      probabilities: [6, 5] of the operations on each edge that it was read from; empty if from none.
    """

    code: str
    channels: int
    cells: int
    origin: dict = dataclasses.field(default_factory=dict)
    probabilities: Sequence = ()

    @property
    def name(self) -> str:
        return f"nasbench201 {self.code} ({self.origin.get('method', 'given')}), C={self.channels}, N={self.cells}"

    @property
    def taps(self) -> tuple[str, ...]:
        return nasbench201.taps(self.cells)

    def summary(self) -> dict[str, Any]:
        return {
            "space": nasbench201.EDGE_SPACE.name,
            "code": self.code,
            "id": nasbench201.identify(self.code),
            "string": nasbench201.to_string(self.code),
            "channels": self.channels,
            "cells": self.cells,
            "origin": self.origin,
        }

    def content(self) -> dict[str, Any]:
        return {**self.summary(), "operation_probabilities": np.asarray(self.probabilities).tolist()}


def load_architecture(path: str | Path) -> Architecture:
    """Reads an `architecture.json`; counts and probabilities in it are not required.

    Raises:
      ValueError: where the file is missing, is not JSON, or does not describe a network of its space.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"no architecture at {path}; run the search first, or name another file.")
    content = read_json(path)
    space = str(content.get("space")) if isinstance(content, dict) else ""
    read: Callable[[dict, dict], Architecture] = _of_widths
    own: tuple[str, ...] = ("widths",)
    if space in cell_space.SPACES:
        read, own = _of_cells, ("channels", "cells")
    elif space == nasbench201.EDGE_SPACE.name:
        read, own = _of_nasbench201, ("code", "channels", "cells")
    required = ("format", "space", *own, "image_shape", "num_classes")
    missing = [key for key in required if not isinstance(content, dict) or key not in content]
    if missing:
        raise ValueError(f"{path} is no architecture: it lacks {', '.join(missing)}.")
    if content["format"] != FORMAT:
        raise ValueError(f"{path} has format {content['format']!r}; this version reads format {FORMAT}.")
    try:
        if len(content["image_shape"]) != 3 or not all(isinstance(n, int) for n in content["image_shape"]):
            raise ValueError(f"image_shape is {content['image_shape']!r}, not three whole numbers.")
        if not isinstance(content["num_classes"], int):
            raise ValueError(f"num_classes is {content['num_classes']!r}, not a whole number.")
        shared = {"image_shape": tuple(content["image_shape"]), "num_classes": content["num_classes"]}
        architecture = read(content, shared)
        tutelage = Tutelage.of(content, architecture.taps)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} does not describe a network: {error}") from error
    return dataclasses.replace(architecture, tutelage=tutelage)


def _of_widths(content: dict, shared: dict) -> WidthArchitecture:
    space = width_space.get_space(content["space"])
    return WidthArchitecture(
        space=space,
        widths=space.check_widths(content["widths"]),
        probabilities=content.get("width_probabilities", ()),
        **shared,
    )


def _of_cells(content: dict, shared: dict) -> CellArchitecture:
    space = cell_space.get_space(content["space"])
    parts = ("space", *space.types, "concat")
    genotype = cell_space.Genotype.from_json({part: content[part] for part in parts if part in content})
    ratio = content.get("width_ratio", space.width_ratio)
    return CellArchitecture(
        genotype=genotype,
        **_size(content),
        width_ratio=tuple(ratio),
        origin=content.get("origin", {}),
        **shared,
    )


def _of_nasbench201(content: dict, shared: dict) -> NASBench201Architecture:
    code = content["code"]
    if not isinstance(code, str) or nasbench201.to_code(code) != code:
        raise ValueError(f"code is {code!r}, not six digits from 0 to 4 as text.")
    probabilities = content.get("operation_probabilities", ())
    if len(probabilities):
        nasbench201.most_probable(probabilities)  # refuses what are none
    return NASBench201Architecture(
        code=code, origin=content.get("origin", {}), probabilities=probabilities, **_size(content), **shared
    )


def _size(content: dict) -> dict[str, Any]:
    for key in ("channels", "cells"):
        if not isinstance(content[key], int) or content[key] < 1:
            raise ValueError(f"{key} is {content[key]!r}, not a whole number above 0.")
    return {key: content[key] for key in ("channels", "cells")}
