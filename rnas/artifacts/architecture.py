"""The outcome of a search, `architecture.json`: which network, and which teacher layer each student layer follows."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
import dataclasses
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field, GetPydanticSchema, PlainSerializer, PlainValidator

from rnas.artifacts.files import read_json, write_json
from rnas.artifacts.record import Classes, Extent, Number, Record, Size
from rnas.spaces import cell_space, nasbench201, width_space

FILE = "architecture.json"
Rows = Annotated[Any, GetPydanticSchema(lambda source, handler: handler.generate_schema(list[list[Number]]))]  # arrays
Origin = Mapping[str, Any]  # {'method': …} that found a cell ('given' may have a 'file' too), or {'published': name}


@dataclasses.dataclass(frozen=True)
class TutorAssignment(Record):
    """Which layer of a teacher each layer of the student learns from; empty where the search had no teacher."""

    tutors: tuple[str, ...] = ()  # teacher tap of each student tap
    teacher_taps: tuple[str, ...] = ()  # all taps of the teacher, in forward order
    probabilities: Annotated[Rows, Field(alias="tutor_probabilities")] = ()  # [n_s, n_t], softmax of the selector
    logits: Annotated[Rows, Field(alias="tutor_logits")] = ()  # [n_s, n_t], the selector itself
    teacher: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # identity of the teacher

    def check(self, student_taps: Sequence[str]) -> None:
        """Raises ValueError where the tutors are not those of a student with these taps."""
        expected = len(student_taps), len(self.teacher_taps)
        if self.tutors and len(self.tutors) != expected[0]:
            raise ValueError(f"it names {len(self.tutors)} tutors, but the network has {expected[0]} taps.")
        if unknown := set(self.tutors) - set(self.teacher_taps):
            raise ValueError(f"it has tutors that are no teacher taps: {', '.join(sorted(unknown))}.")
        if self.tutors and len(self.probabilities) and np.shape(self.probabilities) != expected:
            raise ValueError(f"tutor_probabilities are not {expected[0]} rows of {expected[1]} numbers.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architecture(Record, abc.ABC):
    """A network of a space, for images of one shape."""

    format = 1
    earlier = "Search again, or write the file in this format."
    beside: ClassVar[tuple[str, ...]] = ("tutor_assignment",)

    image_shape: tuple[Extent, Extent, Extent]  # [H, W, C] of the images it was searched on
    num_classes: Classes
    tutor_assignment: TutorAssignment = TutorAssignment()  # who learns from whom

    def __post_init__(self):
        self.tutor_assignment.check(self.taps)

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """The architecture in a few words."""

    @property
    @abc.abstractmethod
    def taps(self) -> tuple[str, ...]:
        """Names of the student's taps, in forward order."""

    @abc.abstractmethod
    def summary(self) -> dict[str, Any]:
        """What sets the network apart within its space."""

    def for_readers(self) -> dict[str, Any]:
        """What the file states beside the fields; it is not read again."""
        return self.summary()

    def save(self, path: Path, *, params: int, macs: int) -> None:
        """Writes the file; `params` and `macs` of the network are stated in it for the reader."""
        content = {**self.to_json(), **self.for_readers(), "student_taps": self.taps}
        write_json(path, {**content, "params": params, "macs": macs})


@dataclasses.dataclass(frozen=True, kw_only=True)
class WidthArchitecture(Architecture):
    """Output channels per block of a channel-masked space, with the probabilities they were read from."""

    space: Annotated[
        width_space.WidthSpace,
        PlainValidator(lambda name: width_space.get_space(str(name))),
        PlainSerializer(lambda space: space.name),
    ]
    widths: tuple[Extent, ...]
    width_probabilities: Rows = ()

    def __post_init__(self):
        self.space.check_widths(self.widths)
        super().__post_init__()

    @property
    def name(self) -> str:
        return f"{self.space.name} {self.widths}"

    @property
    def taps(self) -> tuple[str, ...]:
        return self.space.taps

    def summary(self) -> dict[str, Any]:
        return {"widths": list(self.widths)}

    def for_readers(self) -> dict[str, Any]:
        _, *sizes = width_space.resolutions(self.space, self.image_shape)
        stated = ("name", "stage", "options", "stride", "expansion")
        blocks = [
            {
                **{key: getattr(block, key) for key in stated},
                "width": width,
                "resolution": height if height == wide else [height, wide],
            }
            for block, width, (height, wide) in zip(self.space.blocks, self.widths, sizes, strict=True)
        ]
        return {"blocks": blocks}


def _genotype(content: Mapping[str, Any]) -> cell_space.Genotype:
    parts = ("space", *cell_space.get_space(content["space"]).types, "concat")
    return cell_space.Genotype.from_json({part: content[part] for part in parts if part in content})


@dataclasses.dataclass(frozen=True, kw_only=True)
class CellArchitecture(Architecture):
    """Cells of a genotype, stacked."""

    beside = ("genotype", "tutor_assignment")

    genotype: Annotated[cell_space.Genotype, PlainValidator(_genotype), PlainSerializer(cell_space.Genotype.to_json)]
    channels: Extent  # of the first cell
    cells: Size  # how many
    width_ratio: tuple[Extent, Extent, Extent] | None = None  # channels of the stages; None is the ratio of the space
    origin: Origin = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        if self.width_ratio is None:
            object.__setattr__(self, "width_ratio", self.space.width_ratio)
        super().__post_init__()

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
        sizes = {name: getattr(self, name) for name in ("channels", "cells", "width_ratio", "origin")}
        return {**self.genotype.to_json(), **sizes}

    def for_readers(self) -> dict[str, Any]:
        return {"placement": self.space.placement(self.cells)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class NASBench201Architecture(Architecture):
    """A cell of NAS-Bench-201 in the network of its table."""

    code: str  # of the cell, six digits
    channels: Extent  # of the first stage
    cells: Size  # in each of the three stages
    origin: Origin = dataclasses.field(default_factory=dict)
    operation_probabilities: Rows = ()  # [6, 5] of each edge that it was read from; empty if from none

    def __post_init__(self):
        if nasbench201.to_code(self.code) != self.code:
            raise ValueError(f"code is {self.code!r}, not six digits from 0 to 4 as text.")
        if len(self.operation_probabilities):
            nasbench201.most_probable(self.operation_probabilities)  # refuses what are none
        super().__post_init__()

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
            **{name: getattr(self, name) for name in ("channels", "cells", "origin")},
        }


def load_architecture(path: str | Path) -> Architecture:
    """Reads an `architecture.json`; counts and probabilities in it are not required.

    Raises ValueError where the file is missing, is not JSON, or does not describe a network of its space.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"no architecture at {path}; run the search first, or name another file.")
    content = read_json(path)
    space = str(content.get("space")) if isinstance(content, dict) else ""
    kinds: dict[str, type[Architecture]] = dict.fromkeys(cell_space.SPACES, CellArchitecture)
    kinds[nasbench201.EDGE_SPACE.name] = NASBench201Architecture
    return kinds.get(space, WidthArchitecture).from_json(content, path)
