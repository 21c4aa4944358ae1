"""The folder of `rnas attack --corruptions`: `corruptions.json`, and which image is classified correctly under which.

`corruptions.json` is the last file to be written: a folder without it holds an unfinished measurement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from rnas.artifacts.attack import AttackedModel, Images
from rnas.artifacts.record import Count, Number, Record, Share, one_of
from rnas.artifacts.scores import CorruptionScore, Score

FOLDER = "corruptions"  # of a work directory, or a teacher's; a folder in it for each measurement
FILE = "corruptions.json"
OUTCOMES = "outcomes.npz"  # see `rnas.artifacts.outcomes`; a measurement is called <type>@<severity>
SEVERITIES = (1, 2, 3, 4, 5)
GROUPS = ("noise", "blur", "weather", "digital")
STANDINGS = ("published", "ours", "extra")
COMPUTED = "computed"


@dataclass(frozen=True)
class CorruptionRow:
    """The accuracy under one type of corruption."""

    name: str
    group: Annotated[str, one_of(*GROUPS)]
    standing: Annotated[
        str, one_of(*STANDINGS)
    ]  # one of the 15 types of the benchmark, made here, or one of its 4 more
    severities: tuple[Score, ...]  # from 1 to 5

    def __post_init__(self):
        if len(self.severities) != len(SEVERITIES):
            raise ValueError(f"severities are {len(self.severities)}, expected {len(SEVERITIES)}")

    @property
    def mean(self) -> float:
        """Over the severities."""
        return mean(score.accuracy for score in self.severities)


@dataclass(frozen=True)
class CorruptionSummary(Record):
    """The content of `corruptions.json`."""

    format = 1
    earlier = remedy = "Measure again with another --output, or remove the folder."

    identity: Mapping[str, Any]  # all that the figures depend on; a folder of another identity is not continued
    model: AttackedModel
    dataset: Images  # the clean ones
    source: str  # of the corrupted images: 'computed', or the name of a prepared set
    seed: Count  # of the draws of computed ones
    clean: Score  # without corruption
    # Means over types and severities, as for CIFAR-10-C: of published types, and with the one that is made here.
    mean: Share
    mean_with_ours: Share
    rows: tuple[CorruptionRow, ...]
    seconds: Number  # work of all measurements
    versions: Mapping[str, str]
    device: str
    devices: Count
    batch_size: Count  # the largest, over all devices
    precision: str

    @property
    def has_ours(self) -> bool:
        """Whether a type is among them that is made here in place of a published one."""
        return any(row.standing == "ours" for row in self.rows)

    @property
    def score(self) -> CorruptionScore:
        """What stands beside the attacks: the mean over the published types that were measured."""
        published = [row for row in self.rows if row.standing == "published"]
        count = min((score.count for row in published for score in row.severities), default=0)
        return CorruptionScore(self.mean, len(published), count, self.source)


def means(rows: Sequence[CorruptionRow]) -> tuple[float, float]:
    """Mean accuracy over the published types, and over these and ours; each type counts the same."""
    published = [row.mean for row in rows if row.standing == "published"]
    ours = [row.mean for row in rows if row.standing == "ours"]
    return mean(published), mean([*published, *ours])


def mean(values: Any) -> float:
    """The mean of numbers; 0 of none."""
    known = list(values)
    return sum(known) / max(len(known), 1)
