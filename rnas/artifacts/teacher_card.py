"""`teacher.json`: what a teacher is, beside the folder or the file of its weights."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import re
from typing import Annotated, Any

from pydantic import Field

from rnas.artifacts.record import Classes, Extent, Number, Record

FILE = "teacher.json"
Channels = Annotated[tuple[Number, ...], Field(min_length=1)]


@dataclasses.dataclass(frozen=True)
class TeacherCard(Record):
    """The content of the file; its taps are for the reader, `load_teacher` finds them in the network."""

    remedy = "It is no card of a teacher: restore the file, or make the teacher again."

    architecture: str  # name in `rnas.models`
    num_classes: Classes
    image_shape: tuple[Extent, Extent, Extent]  # [H, W, C] that it is meant for
    mean: Channels  # of each channel or one for all, with which images are normalised
    std: Channels
    hash: str  # of the weights
    fixed_size: bool = False  # whether it refuses images of another size; older cards lack it
    origin: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # how it came to be

    def __post_init__(self):
        for name in ("mean", "std"):
            if len(numbers := getattr(self, name)) not in (1, self.image_shape[2]):
                raise ValueError(
                    f"{name}: expected a number for each of {self.image_shape[2]} channels, got {len(numbers)}"
                )
        if min(self.std) <= 0:
            raise ValueError(f"std: expected more than 0, got {list(self.std)}")

    @property
    def dataset(self) -> str:
        """Name of the data set that it was trained on, without its version; empty where that is not recorded."""
        recorded = self.origin.get("dataset")
        return re.sub(r"/[\d.]+$", "", str(recorded.get("name", ""))) if isinstance(recorded, Mapping) else ""
