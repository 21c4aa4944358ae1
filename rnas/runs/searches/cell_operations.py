"""Cell search for accuracy and robustness together: DSARA (arXiv 2212.14049), ARNAS (2405.05502), and their kin."""

from collections.abc import Callable, Iterable
from typing import Any
import zlib

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np

from rnas.artifacts.architecture import Architecture
from rnas.config.checks import check_allowed
from rnas.data.sampler import named_generator, permutation
from rnas.objectives import SEARCH_METHODS, Curvature, LookAhead, ProbabilityPerturbation, SearchMethod, TeacherApply
from rnas.runs import recipes
from rnas.runs.searches.cell_families import families
from rnas.runs.searches.search import Search, first_search_state, sampling, search_optimizers
from rnas.spaces import cell_space
from rnas.steps import Augmentation, CellSearchStep
from rnas.steps.state import State
from rnas.training.loaders import paired_rows


class CellSearch(Search):
    """The search over cells."""

    def __init__(self, config: ConfigDict):
        super().__init__(config)
        check_allowed(config, {"space": tuple(families()), "search.method": (*SEARCH_METHODS, "random")})
        self.family = families()[config.space](config)
        self.space, self.published = self.family.space, self.family.published
        self.baselines = tuple(self.published)
        self.searches = not config.genotype and config.search.method != "random"
        self.student_label = "Searched network" if self.searches else "Random network"
        if config.genotype:
            self.student_label = f"{self.published.get(config.genotype, 'Given')} network"

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
        super().check()

    # -- networks -----------------------------------------------------------------------------------------

    @property
    def supernet(self) -> Any:
        return self.family.supernet

    def described(self) -> dict[str, tuple]:
        operations = len(self.space.operations)
        even = np.full((len(self.space.edges), operations), 1 / operations, np.float32)
        return {"supernet": (self.supernet, (dict.fromkeys(self.space.types, even),))}

    def network(self, architecture: Any) -> Any:
        return self.family.network(architecture)

    def given(self) -> Architecture | None:
        if self.config.genotype:
            return self.family.named(self.config.genotype)
        return None if self.searches else self._random("student")

    def example(self) -> Architecture:
        return self.given() or self._random("example")

    def baseline(self, name: str, found: Any) -> Architecture:
        """Random cells of the MACs of `found`, or published ones, which are trained exactly like the student."""
        if name in self.published:
            return self.family.named(name)
        return self.family.random_like(found, named_generator(self.config.seed, name))

    def _random(self, word: str) -> Architecture:
        return self.family.random(named_generator(self.config.seed, word))

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
        options = {key: search[key] for key in ("stage1_epochs", "adversarial_weight")}
        return SearchMethod(search.method, steps_per_epoch, **options)

    def initial_state(self, teacher_taps: int) -> State:
        key = jax.random.fold_in(jax.random.key(self.config.seed), zlib.crc32(b"search/architecture"))
        architecture: dict[str, Any] = {"cells": cell_space.initial_logits(self.space, key)}
        if teacher_taps:
            architecture["tutors"] = jnp.zeros((len(self.supernet.taps), teacher_taps))
        return first_search_state(self, architecture, cell_space.probabilities(architecture["cells"]))

    def make_step(
        self,
        steps_per_epoch: int,
        augmentation: Augmentation,
        teacher: TeacherApply | None,
        taps: tuple[str, ...],
        tutor_penalty: tuple[float, ...] = (),
    ) -> CellSearchStep:
        stage, method = self.config.search, self._method(steps_per_epoch)
        return CellSearchStep(
            self.supernet, recipes.joint_objective(self.config, "search"), augmentation,
            *search_optimizers(self.config, steps_per_epoch), sampling(self.config, steps_per_epoch),
            method,
            LookAhead(stage.second_order, stage.finite_difference_radius, stage.optimizer.momentum,
                      stage.optimizer.l2),
            Curvature.at_scale(method.kind.curvature, **stage.curvature.to_dict(), steps_per_epoch=steps_per_epoch,
                               batch_size=stage.batch_size),
            ProbabilityPerturbation(stage.epochs, steps_per_epoch),
            teacher=teacher, teacher_taps=taps, tutor_penalty=tutor_penalty,
        )  # fmt: skip

    def choice(self, state: State) -> dict[str, Any]:
        """Probabilities of the operations by type of cell, [edges, operations]."""
        return cell_space.probabilities(state.architecture["cells"])

    def observe(self, state: State) -> dict[str, float]:
        """The same, named 'type/edge/operation'."""
        return {
            f"{kind}/{edge}/{operation}": value
            for kind, table in jax.device_get(self.choice(state)).items()
            for edge, row in enumerate(table)
            for operation, value in zip(self.space.operations, row, strict=True)
        }

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
