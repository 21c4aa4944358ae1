"""What a run expects of a search: a supernet, how it is trained, and what is read off it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
import dataclasses
from typing import TYPE_CHECKING, Any, Protocol

import flax.linen as nn

from rnas.artifacts.architecture import Architecture
from rnas.objectives import TeacherApply
from rnas.steps import Augmentation, Step
from rnas.steps.state import State

if TYPE_CHECKING:
    import numpy as np

    from rnas.data.sampler import Sampler


@dataclasses.dataclass(frozen=True)
class TeacherOfStep:
    """What a search step takes of its teacher; `apply` is None where the search has none."""

    apply: TeacherApply | None
    taps: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class SearchProgram:
    """A search step, and what surrounds it.

    Attributes:
      step: see `rnas.steps`.
      metrics: names of its metrics.
      predict: (packed variables, images) → logits of the network as the search would derive it now.
      pack: state → packed variables.
      observe: state → figures of the architecture worth recording every epoch; None for none.
    """

    step: Step
    metrics: tuple[str, ...]
    predict: Callable[..., Any]
    pack: Callable[[State], Any]
    observe: Callable[[State], dict[str, float]] | None = None


class Search(Protocol):
    """A search over one space. It is built from the configuration alone; see `rnas.runs.searches.make_search`."""

    @property
    def supernet(self) -> Any:
        """The Flax module that is searched; its `taps` name the student's taps."""

    @property
    def searches(self) -> bool:
        """Whether there is anything to search; else `given` returns the architecture."""
        ...

    @property
    def student_label(self) -> str:
        """What people read of the network that it finds."""
        ...

    @property
    def published(self) -> Mapping[str, str]:
        """Baselines that others found, name → what people read."""
        ...

    def check(self) -> None:
        """Raises ValueError for a configuration that this search cannot work with."""
        ...

    def described(self) -> dict[str, tuple[nn.Module, tuple]]:
        """Networks worth describing besides the student, 'supernet' first: name → (module, further inputs)."""
        ...

    def network(self, architecture: Any) -> nn.Module:
        """The Flax module of an architecture of its space; it averages batch statistics over the replicas."""
        ...

    def given(self) -> Architecture | None:
        """The architecture that the configuration names or draws; None where it is to be searched."""
        ...

    def baseline(self, name: str) -> Architecture:
        """The architecture of a baseline that does not have the student's own.

        Raises:
          ValueError: the space has no baseline of this name; the message lists those it has.
        """
        ...

    def steps_per_epoch(self, images: int) -> int:
        """Search steps of one pass over `images` training images.

        Raises:
          ValueError: there are too few of them.
        """
        ...

    def rows_at(self, images: int, sampler: Callable[[str, np.ndarray, int], Sampler]) -> Callable | None:
        """(first step, count) → rows of the training images; None for one shuffled order of all of them.

        Args:
          sampler: (name, rows, batch size) → order of the rows.
        """
        ...

    def images_per_step(self) -> tuple[int, str]:
        """Images of one step over all devices, and the configuration's words for it."""
        ...

    def initial_state(self, teacher_taps: int) -> State:
        """Fresh weights and architecture.

        Args:
          teacher_taps: how many the teacher has; 0 without teacher.
        """
        ...

    def program(self, steps_per_epoch: int, augmentation: Augmentation, teacher: TeacherOfStep) -> SearchProgram:
        """Builds the step."""
        ...

    def derive(self, state: State) -> tuple[Architecture, Any, Iterable[str]]:
        """Reads the architecture off the last state.

        Returns:
          (architecture without tutors, logits [n_s, n_t] of the tutors of its taps or None, warnings).
        """
        ...

    def initial_student(self, architecture: Any, searched: Callable[[], State]) -> Any | None:
        """Variables that training starts from; None for fresh ones. `searched` reads the last state of the search."""
        ...
