"""What a run expects of a search: a supernet, how it is trained, and what is read off it."""

import abc
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import flax.linen as nn
import jax
from ml_collections import ConfigDict
import numpy as np

from rnas.artifacts.architecture import Architecture
from rnas.data.sampler import Sampler
from rnas.evaluation.evaluated_model import in_float32
from rnas.objectives import Sampling, TeacherApply
from rnas.runs import recipes
from rnas.runs.baselines import RANDOM, SEARCHED_TUTORS, known_parts, parse
from rnas.steps import Augmentation
from rnas.steps.optimizer import Optimizer, make_optimizer
from rnas.steps.state import State


class Search(abc.ABC):
    """A search over one space, built from the configuration alone; see `rnas.runs.searches.make_search`."""

    searches = True  # whether there is anything to search; else `given` returns the architecture
    searches_tutors_alone = False
    student_label = "Student"  # what people read of the network that it finds
    published: Mapping[str, str] = {}  # baselines that others found, name → what people read
    baselines: tuple[str, ...] = ()  # architectures that `baseline` knows, published ones among them

    def __init__(self, config: ConfigDict):
        self.config = config

    def check(self) -> None:
        """Raises ValueError for a configuration that this search cannot work with."""
        for name in self.config.baselines:
            part = parse(name)
            if (own := part.architecture) is not None and own not in self.baselines and not RANDOM.fullmatch(own):
                known = ", ".join((*known_parts(), "random_0, random_1, …", *self.baselines))
                raise ValueError(f"unknown baseline {own!r}; known, to be joined by '+': {known}.")
            if part.tutors in SEARCHED_TUTORS and not self.searches_tutors_alone:
                raise ValueError(f"baseline {name!r}: this space has no search over the tutors alone.")

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

    def example(self) -> Architecture | None:
        """An architecture of the size of those that it finds; None where they cost about what the supernet costs."""
        return None

    def baseline(self, name: str, found: Any) -> Architecture:
        """The architecture, without tutors, of a name of `baselines`, or of random_<k>.

        Args:
          found: the student's, which some are made to resemble. Raises ValueError where none does.
        """
        raise NotImplementedError(name)

    def over_tutors(self, architecture: Any) -> "Search":
        """The same search with all but the tutors fixed; there is one where `searches_tutors_alone`."""
        raise NotImplementedError

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
        self,
        steps_per_epoch: int,
        augmentation: Augmentation,
        teacher: TeacherApply | None,
        taps: tuple[str, ...],
        tutor_penalty: tuple[float, ...] = (),
    ) -> Any:
        """The step of the search, see `rnas.steps`; `taps` are the teacher's, with a `tutor_penalty` each."""

    @abc.abstractmethod
    def choice(self, state: State) -> Any:
        """What the supernet takes beside images to be the network that the search would derive now."""

    def observe(self, state: State) -> dict[str, float]:
        """Figures of the architecture that metrics record every epoch."""
        return {}

    def probabilities(self, state: State) -> dict[str, np.ndarray]:
        """What the search holds to be likely, as `rnas.artifacts.search_history` keeps it every epoch."""
        tutors = state.architecture.get("tutors")
        return {} if tutors is None else {"tutors": np.asarray(jax.nn.softmax(jax.device_get(tutors)))}

    def pack(self, state: State) -> dict[str, Any]:
        """What `predict` takes as variables."""
        return {**state.variables, "choice": self.choice(state)}

    def predict(self, variables: Mapping[str, Any], images: Any) -> Any:
        """Logits of the network that the search would derive now, computing in float32."""
        network = {name: variables[name] for name in ("params", "batch_stats")}
        return in_float32(self.supernet).apply(network, images, variables["choice"], train=False)[0]

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


def first_search_state(search: Search, architecture: dict[str, Any], *inputs: Any) -> State:
    """The state of a search before its first step; `inputs` are what the supernet takes beside images."""
    variables = recipes.initial_variables(search.supernet, search.config, "search", *inputs)
    optimizer, arch_optimizer = search_optimizers(search.config)
    return State.create(variables, optimizer, architecture, arch_optimizer)


def search_optimizers(config: ConfigDict, steps_per_epoch: int = 1) -> tuple[Optimizer, Optimizer]:
    """The optimisers of weights and architecture."""
    stage = config.search
    length: dict[str, Any] = dict(epochs=stage.epochs, steps_per_epoch=steps_per_epoch)
    return make_optimizer(stage.optimizer, **length), make_optimizer(stage.arch_optimizer, **length)


def sampling(config: ConfigDict, steps_per_epoch: int) -> Sampling:
    """How architectures and tutors are sampled."""
    tau = config.tau
    return Sampling(tau.start, tau.decay, tau.min, config.selector.hard, steps_per_epoch)
