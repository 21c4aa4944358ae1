"""What a run expects of a search: a supernet, how it is trained, and what is read off it."""

import abc
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import flax.linen as nn
from ml_collections import ConfigDict
import numpy as np

from rnas.artifacts.architecture import Architecture
from rnas.data.sampler import Sampler
from rnas.objectives import Sampling, TeacherApply
from rnas.runs import recipes
from rnas.steps import Augmentation
from rnas.steps.optimizer import Optimizer, make_optimizer
from rnas.steps.state import State


class Search(abc.ABC):
    """A search over one space, built from the configuration alone; see `rnas.runs.searches.make_search`."""

    searches = True  # whether there is anything to search; else `given` returns the architecture
    student_label = "Student"  # what people read of the network that it finds
    published: Mapping[str, str] = {}  # baselines that others found, name → what people read
    # state → figures of the architecture worth recording every epoch
    observe: Callable[[State], dict[str, float]] | None = None

    def __init__(self, config: ConfigDict):
        self.config = config

    def check(self) -> None:
        """Raises ValueError for a configuration that this search cannot work with."""
        for name in self.config.baselines:
            if name not in recipes.baselines():
                self.baseline(name)

    # -- networks -----------------------------------------------------------------------------------------

    @property
    @abc.abstractmethod
    def supernet(self) -> Any:
        """The Flax module that is searched, (images, choice) → (logits, taps); its `taps` name the student's taps."""

    @abc.abstractmethod
    def described(self) -> dict[str, tuple[nn.Module, tuple]]:
        """Networks worth describing besides the student, 'supernet' first: name → (module, further inputs)."""

    @abc.abstractmethod
    def network(self, architecture: Any) -> nn.Module:
        """The Flax module of an architecture of its space; it averages batch statistics over the replicas."""

    def given(self) -> Architecture | None:
        """The architecture that the configuration names or draws; None where it is to be searched."""
        return None

    def baseline(self, name: str) -> Architecture:
        """The architecture of a baseline that does not have the student's own; raises ValueError for an unknown one."""
        raise ValueError(f"unknown baseline {name!r}; known: {', '.join(recipes.baselines())}.")

    # -- search -------------------------------------------------------------------------------------------

    def images_per_step(self) -> tuple[int, str]:
        """Images of one step over all devices, and the configuration's words for it."""
        return self.config.search.batch_size, "search.batch_size"

    def steps_per_epoch(self, images: int) -> int:
        """Search steps of one pass over `images` training images; raises ValueError where there are too few."""
        return images // self.config.search.batch_size

    @abc.abstractmethod
    def rows_at(self, images: int, sampler: Callable[[str, np.ndarray, int], Sampler]) -> Callable | None:
        """(first step, count) → rows of the training images; None for one shuffled order of all of them.

        Args:
          sampler: (name, rows, batch size) → order of the rows.
        """

    @abc.abstractmethod
    def initial_state(self, teacher_taps: int) -> State:
        """Fresh weights and architecture; the teacher has so many taps, 0 without teacher."""

    @abc.abstractmethod
    def make_step(
        self, steps_per_epoch: int, augmentation: Augmentation, teacher: TeacherApply | None, taps: tuple[str, ...]
    ) -> Any:
        """The step of the search, see `rnas.steps`; `taps` are the teacher's."""

    @abc.abstractmethod
    def choice(self, state: State) -> Any:
        """What the supernet takes beside images to be the network that the search would derive now."""

    def pack(self, state: State) -> dict[str, Any]:
        """What `predict` takes as variables."""
        return {**state.variables, "choice": self.choice(state)}

    def predict(self, variables: Mapping[str, Any], images: Any) -> Any:
        """Logits of the network that the search would derive now."""
        network = {name: variables[name] for name in ("params", "batch_stats")}
        return self.supernet.apply(network, images, variables["choice"], train=False)[0]

    def _state(self, architecture: dict[str, Any], *inputs: Any) -> State:
        variables = recipes.initial_variables(self.supernet, self.config, "search", *inputs)
        optimizer, arch_optimizer = self._optimizers()
        return State.create(variables, optimizer, architecture, arch_optimizer)

    def _optimizers(self, steps_per_epoch: int = 1) -> tuple[Optimizer, Optimizer]:
        """Of weights and architecture."""
        stage = self.config.search
        length: dict[str, Any] = dict(epochs=stage.epochs, steps_per_epoch=steps_per_epoch)
        return make_optimizer(stage.optimizer, **length), make_optimizer(stage.arch_optimizer, **length)

    def _sampling(self, steps_per_epoch: int) -> Sampling:
        tau = self.config.tau
        return Sampling(tau.start, tau.decay, tau.min, self.config.selector.hard, steps_per_epoch)

    # -- what was found -----------------------------------------------------------------------------------

    @abc.abstractmethod
    def derive(self, state: State) -> tuple[Architecture, Any, Iterable[str]]:
        """Reads the architecture off the last state.

        Returns:
          (architecture without tutors, logits [n_s, n_t] of the tutors of its taps or None, warnings).
        """

    def initial_student(self, architecture: Any, searched: Callable[[], State]) -> Any | None:
        """Variables that training starts from; None for fresh ones. `searched` reads the last state of the search."""
        return None
