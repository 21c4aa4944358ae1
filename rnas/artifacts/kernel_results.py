"""`ntk.json`: scores of cells before training, and how far they agree with the accuracies of a table."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
from typing import Annotated

from pydantic import BeforeValidator

from rnas.artifacts.record import LEFT_OUT, Count, Number, Record, Size
from rnas.attacks import radius
from rnas.attacks.catalogue import pgd
from rnas.attacks.epsilon_parsing import pixel_radius
from rnas.attacks.input_checks import check_seed
from rnas.ntk.perturbed import REACH, STEPS
from rnas.ntk.scores import Scores
from rnas.spaces import nasbench201

FILE = "ntk.json"
PROXIES = ("synflow", "naswot", "gradient_norm", "jacobian_norm")
COSTS = ("params", "macs", "conv_3x3")
RANKING = ("lambda_min", "frobenius", "trace", "condition", "log_det", "mean", "fit")  # of kernels, to rank cells by


@dataclasses.dataclass(frozen=True)
class KernelSettings:
    """What every score depends on, beside the data set and the architecture."""

    images: Size = 64  # N, an equal number of every class, the same for all architectures
    initialisations: Size = 3  # independent draws of the parameters
    epsilons: tuple[str, ...] = ("3/255", "8/255")  # radii of the attacks in pixel units, as written: '8/255'
    steps: Size = STEPS  # of each attack
    beta: Number = 0.5  # share of the adversarial loss in the mixed kernels
    output: str = "sum"  # of `rnas.ntk.empirical_ntk`, as `parameters`
    parameters: str = "all"
    channels: Size = nasbench201.CHANNELS  # of the network's first stage
    cells: Size = nasbench201.CELLS  # in each of its three stages
    seed: Count = 0  # of images, parameters and attacks

    def __post_init__(self):
        for name in ("images", "initialisations", "steps", "channels", "cells"):
            if (value := getattr(self, name)) < (least := 2 if name == "images" else 1):
                raise ValueError(f"{name}={value}: expected at least {least}.")
        if not 0 <= self.beta <= 1:
            raise ValueError(f"beta={self.beta}: expected 0 (clean loss alone) to 1 (adversarial loss alone).")
        for epsilon in self.epsilons:
            pixel_radius(epsilon, "linf")
        check_seed(self.seed)
        if not self.epsilons or len(set(self.epsilons)) < len(self.epsilons):
            raise ValueError(f"radii {', '.join(self.epsilons)}: expected one or more, all different.")

    @property
    def attack_label(self) -> str:
        """The attack on the images, for people."""
        return pgd(self.steps, REACH / self.steps).label

    @property
    def ascending_epsilons(self) -> tuple[str, ...]:
        """The radii, smallest first."""
        return tuple(sorted(self.epsilons, key=radius))

    @property
    def kernels(self) -> tuple[str, ...]:
        """Names of the kernels that are scored: 'clean', and 'robust@8/255' and the like for every radius."""
        of_radius = ("cross", "robust", "twice", "mixed_clean", "mixed_robust")
        return ("clean", *(f"{kernel}@{epsilon}" for epsilon in self.epsilons for kernel in of_radius))

    @property
    def scores(self) -> tuple[str, ...]:
        """Names of all scores: 'robust@8/255/lambda_min', 'synflow', 'params' and so on."""
        return self._of_kernels(Scores._fields)

    @property
    def ranking_scores(self) -> tuple[str, ...]:
        """Names of those scores that are compared with a table."""
        return self._of_kernels(RANKING)

    def _of_kernels(self, scores: tuple[str, ...]) -> tuple[str, ...]:
        return (*(f"{kernel}/{score}" for kernel in self.kernels for score in scores), *PROXIES, *COSTS)


@dataclasses.dataclass(frozen=True)
class CellScores:
    """Scores of one cell."""

    id: Count
    code: str
    scores: Mapping[str, Number]  # by name; of the kernels averaged over initialisations, of other scores the mean
    std: Mapping[str, Number]  # standard deviation over initialisations, by name
    degenerate: bool  # whether the clean kernel has rank 0 or 1, because the output does not depend on the image


@dataclasses.dataclass(frozen=True)
class ScoreCorrelation:
    """Rank correlation of a score, such as 'robust@8/255/lambda_min', with a column of the table.

    `low` and `high` are the ends of the 95 % interval of Spearman's coefficient under resampling of the cells, and
    `p_value` is two-sided. All are None where the score or the column is constant.
    """

    score: str
    column: str
    spearman: Number | None
    low: Number | None
    high: Number | None
    p_value: Number | None
    kendall: Number | None

    @property
    def kernel(self) -> str:
        """Name of the kernel; empty for a score without one."""
        return self.score.rpartition("/")[0]

    @property
    def kind(self) -> str:
        """Name of the score without its kernel."""
        return self.score.rpartition("/")[2]


@dataclasses.dataclass(frozen=True)
class KernelGain:
    """By how much |ρ| of a score with a column grows from the kernel `over` to another, with its 95 % interval.

    `p_value` is two-sided, of no difference. Figures are None where the score has no coefficient.
    """

    score: str
    kernel: str
    over: str
    column: str
    gain: Number | None
    low: Number | None
    high: Number | None
    p_value: Number | None


@dataclasses.dataclass(frozen=True)
class BestCells:
    """Correlations among the `count` cells in the best share of the table's classes by one of its columns."""

    share: Number
    by: str
    count: Count
    correlations: tuple[ScoreCorrelation, ...]


@dataclasses.dataclass(frozen=True)
class TableAgreement:
    """How far the scores agree with a table."""

    table: Mapping[str, str]  # name of its file as 'source', and 'sha256'
    columns: tuple[str, ...]  # of the table
    resamples: Count  # number of bootstrap samples behind the intervals
    shown: tuple[str, ...]  # kernels that a picture shows
    correlations: tuple[ScoreCorrelation, ...]  # of every score with every column
    gains: tuple[KernelGain, ...]  # of attacked kernels over others
    best: Annotated[BestCells | None, LEFT_OUT] = None  # among the best cells; None where there are less than three


@dataclasses.dataclass(frozen=True)
class KernelResults(Record):
    """The content of the file; `agreement` stands in it only where a table was given, its entries beside the others."""

    remedy = "It is no result of `rnas ntk`: run that again, with another --output."
    beside = ("agreement",)

    dataset: Mapping[str, str]  # its 'name' and 'description'
    settings: KernelSettings  # of the study
    image_ids: tuple[Count, ...]  # rows of the images in the training part
    seconds: Mapping[str, Number]  # wall time, 'median' over the cells and 'total'
    cpu_seconds: Mapping[str, Number]  # processor time, likewise
    device: str  # kind of the accelerator
    versions: Mapping[str, str]  # package → version
    architectures: tuple[CellScores, ...]  # scores of each cell, ids ascending
    agreement: Annotated[
        TableAgreement | None, BeforeValidator(lambda others: others if "correlations" in others else None)
    ] = None
