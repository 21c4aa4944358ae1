"""Cell search for accuracy and robustness together: DSARA (arXiv 2212.14049), ARNAS (2405.05502), and their kin."""

from collections.abc import Callable, Iterable, Mapping
import functools
import re
from typing import Any
import zlib

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np

from rnas.artifacts.architecture import Architecture
from rnas.config.checks import check_allowed
from rnas.data.sampler import permutation
from rnas.objectives import SEARCH_METHODS, Curvature, LookAhead, ProbabilityPerturbation, Sampling, SearchMethod
from rnas.runs import recipes
from rnas.runs.searches.cell_families import families
from rnas.runs.searches.protocol import SearchProgram, TeacherOfStep
from rnas.spaces import cell_space
from rnas.steps import Augmentation, CellSearchStep
from rnas.steps.optimizer import Optimizer, make_optimizer
from rnas.steps.state import State
from rnas.training.initial import initial_variables
from rnas.training.loaders import paired_rows

RANDOM = re.compile(r"random_(\d+)")


class CellSearch:
    """The search over cells; see `rnas.runs.searches.protocol.Search` for what its methods promise."""

    def __init__(self, config: ConfigDict):
        check_allowed(config, {"space": tuple(families()), "search.method": (*SEARCH_METHODS, "random")})
        self.config = config
        fields = {"momentum": config.bn_momentum, **recipes.network_fields(config)}
        self.family = families()[config.space](config, fields)
        self.space = self.family.space

    @property
    def searches(self) -> bool:
        return not self.config.genotype and self.config.search.method != "random"

    @property
    def published(self) -> Mapping[str, str]:
        return self.family.published

    @property
    def student_label(self) -> str:
        if self.config.genotype:
            return f"{self.published.get(self.config.genotype, 'Given')} network"
        return "Searched network" if self.searches else "Random network"

    def check(self) -> None:
        config, search = self.config, self.config.search
        if self.searches:
            if self._method(1).kind.pair and not recipes.joint_objective(config, "search").attacks:
                raise ValueError(
                    f"search.method={search.method!r} weighs natural against adversarial losses: it needs an "
                    "adversarial objective, but search.objective is 'none'."
                )
        elif recipes.joint_objective(config, "train").gamma:
            raise ValueError("train.gamma is not 0, but tutors are found by a search: use a method that searches.")
        self.given()  # refuses a genotype that is none
        for name in config.baselines:
            if name not in recipes.baselines():
                self.baseline(name)

    # -- networks -----------------------------------------------------------------------------------------

    @property
    def supernet(self):
        return self.family.supernet

    def described(self) -> dict[str, tuple]:
        operations = len(self.space.operations)
        even = np.full((len(self.space.edges), operations), 1 / operations, np.float32)
        return {"supernet": (self.supernet, (dict.fromkeys(self.space.types, even),))}

    def network(self, architecture: Architecture):
        return self.family.network(architecture)

    def given(self) -> Architecture | None:
        if self.config.genotype:
            return self.family.named(self.config.genotype)
        return self._random("student") if self.config.search.method == "random" else None

    def baseline(self, name: str) -> Architecture:
        """Random or published cells, which are trained exactly like the student."""
        if name in self.family.published:
            return self.family.named(name)
        if RANDOM.fullmatch(name):
            return self._random(name)
        known = ", ".join((*recipes.baselines(), "random_0, random_1, …", *self.family.published))
        raise ValueError(f"unknown baseline {name!r}; known: {known}.")

    def _random(self, word: str) -> Architecture:
        draw = np.random.Generator(np.random.Philox(key=np.array([self.config.seed, zlib.crc32(word.encode())], "u8")))
        return self.family.random(draw)

    # -- search -------------------------------------------------------------------------------------------

    def images_per_step(self) -> tuple[int, str]:
        return 2 * self.config.search.batch_size, "twice search.batch_size"

    def steps_per_epoch(self, images: int) -> int:
        batch_size = self.config.search.batch_size
        if images // 2 < batch_size:
            raise ValueError(
                f"search.batch_size = {batch_size} is more than half of the {images} training images; lower it."
            )
        return images // 2 // batch_size

    def rows_at(self, images: int, sampler: Callable) -> Callable:
        """Weights train on one half of the images, the architecture on the other."""
        rows, half = permutation(images, self.config.seed, zlib.crc32(b"search/split")), images // 2
        batch_size = self.config.search.batch_size
        return paired_rows(
            sampler("search/weights", rows[:half], batch_size),
            sampler("search/architecture", rows[half : 2 * half], batch_size),
        )

    def _method(self, steps_per_epoch: int) -> SearchMethod:
        search = self.config.search
        return SearchMethod(
            search.method,
            steps_per_epoch,
            stage1_epochs=search.stage1_epochs,
            adversarial_weight=search.adversarial_weight,
        )

    def _optimizers(self, epochs: int = 1, steps_per_epoch: int = 1) -> tuple[Optimizer, Optimizer]:
        stage = self.config.search
        length: dict[str, Any] = dict(epochs=epochs, steps_per_epoch=steps_per_epoch)
        return make_optimizer(stage.optimizer, **length), make_optimizer(stage.arch_optimizer, **length)

    def initial_state(self, teacher_taps: int) -> State:
        config = self.config
        key = jax.random.fold_in(jax.random.key(config.seed), zlib.crc32(b"search/architecture"))
        architecture: dict[str, Any] = {"cells": cell_space.initial_logits(self.space, key)}
        if teacher_taps:
            architecture["tutors"] = jnp.zeros((len(self.supernet.taps), teacher_taps))
        variables = initial_variables(self.supernet, config, "search", cell_space.probabilities(architecture["cells"]))
        optimizer, arch_optimizer = self._optimizers()
        return State.create(variables, optimizer, architecture, arch_optimizer)

    def program(self, steps_per_epoch: int, augmentation: Augmentation, teacher: TeacherOfStep) -> SearchProgram:
        config, stage, supernet = self.config, self.config.search, self.supernet
        tau = config.tau
        step = CellSearchStep(
            supernet, recipes.joint_objective(config, "search"), augmentation,
            *self._optimizers(stage.epochs, steps_per_epoch),
            Sampling(tau.start, tau.decay, tau.min, config.selector.hard, steps_per_epoch),
            self._method(steps_per_epoch),
            LookAhead(stage.second_order, stage.finite_difference_radius, stage.optimizer.momentum,
                      stage.optimizer.l2),
            Curvature(stage.curvature.weight, stage.curvature.first_epoch, steps_per_epoch),
            ProbabilityPerturbation(stage.epochs, steps_per_epoch),
            teacher=teacher.apply, teacher_taps=teacher.taps,
        )  # fmt: skip

        def predict(variables, images):
            network = {name: variables[name] for name in ("params", "batch_stats")}
            return supernet.apply(network, images, variables["probabilities"], train=False)[0]

        def pack(state):
            return {**state.variables, "probabilities": cell_space.probabilities(state.architecture["cells"])}

        return SearchProgram(step, step.metrics, predict, pack, functools.partial(operation_probabilities, self.space))

    # -- what was found -----------------------------------------------------------------------------------

    def derive(self, state: State) -> tuple[Architecture, Any, Iterable[str]]:
        """The cells, and where there was a teacher the tutors.

        The network that is trained is deeper: each of its cells takes the tutors of the searched cell at its place.
        """
        found = jax.device_get(state.architecture)
        origin = {"method": self.config.search.method}
        architecture, warning = self.family.found(cell_space.probabilities(found["cells"]), origin)
        tutors = found.get("tutors")
        if tutors is not None:
            searched = self.supernet.taps
            tutors = tutors[[searched.index(self.family.searched_tap(tap)) for tap in architecture.taps]]
        return architecture, tutors, (warning,) if warning else ()

    def initial_student(self, architecture: Architecture, searched: Callable[[], State]) -> None:
        return None


def operation_probabilities(space: cell_space.EdgeSpace, state: State) -> dict[str, float]:
    """Probabilities of the operations, named 'type/edge/operation'."""
    tables = jax.device_get(cell_space.probabilities(state.architecture["cells"]))
    return {
        f"{kind}/{edge}/{operation}": value
        for kind, table in tables.items()
        for edge, row in enumerate(table)
        for operation, value in zip(space.operations, row, strict=True)
    }
