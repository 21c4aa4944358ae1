"""Cell search for accuracy and robustness together: DSARA (arXiv 2212.14049), ARNAS (2405.05502), and their kin."""

import dataclasses
from pathlib import Path
import re
import zlib

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np

from rnas import steps
from rnas.artifacts.architecture import Architecture, Tutelage
from rnas.data.sampler import permutation
from rnas.objectives import (
    SEARCH_METHODS,
    SECOND_ORDER,
    Curvature,
    LookAhead,
    ProbabilityPerturbation,
    Sampling,
    SearchMethod,
)
from rnas.runs.components import check_allowed, check_positive
from rnas.runs.families import FAMILIES
from rnas.runs.system import BASELINES, System, say
from rnas.spaces import cell_space
from rnas.steps.optimizer import make_optimizer
from rnas.steps.state import State
from rnas.teachers import Teacher
from rnas.training.loaders import paired_rows
from rnas.training.loop import fit
from rnas.training.metrics_log import MetricsLog

RANDOM = re.compile(r"random_(\d+)")
ALLOWED = {
    "space": tuple(FAMILIES),
    "search.method": (*SEARCH_METHODS, "random"),
    "search.second_order": SECOND_ORDER,
    "search.attack_bn": ("eval", "train_frozen"),
    "train.bn_update": ("both", "adversarial"),
}
POSITIVE = ("search.channels", "search.cells", "train.channels", "train.cells")


class Dsara(System):
    """The search over cells, and what is read off it.

    Raises (on construction):
      ValueError: naming the key at fault, what it holds and what it may hold.
    """

    def __init__(self, config: ConfigDict, workdir: Path):
        check_allowed(config, ALLOWED)
        check_positive(config, POSITIVE)
        super().__init__(config, workdir)
        self.family = FAMILIES[config.space](config, self._common)
        self.space = self.family.space
        if self._searches:
            if self._method(1).kind.pair and not self.objective(config.search).attacks:
                raise ValueError(
                    f"search.method={config.search.method!r} weighs natural against adversarial losses: it needs an "
                    "adversarial objective, but search.objective is 'none'."
                )
            if config.search.second_order != "none" and config.search.optimizer.name != "sgd":
                raise ValueError(
                    f"search.second_order={config.search.second_order!r} looks one step of sgd ahead, but "
                    f"search.optimizer.name={config.search.optimizer.name!r}; use 'sgd', or second_order 'none'."
                )
        elif self.objective(config.train).gamma:
            raise ValueError("train.gamma is not 0, but tutors are found by a search: use a method that searches.")
        self.given_architecture()  # refuses a genotype that is none
        for name in config.baselines:
            self._check_baseline(name)
        self.check_models()
        if config.data.streaming:
            raise ValueError("the cell search needs the images in memory: data.streaming must be False.")
        self.check_teaching()

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

    @property
    def _common(self) -> dict:
        config = self.config
        return dict(
            num_classes=config.data.num_classes,
            mean=tuple(config.data.mean),
            std=tuple(config.data.std),
            momentum=config.bn_momentum,
            dtype=self.dtype,
            axis_name=steps.AXIS,
        )

    def given_architecture(self) -> Architecture | None:
        return self.family.named(self.config.genotype) if self.config.genotype else None

    # -- search -------------------------------------------------------------------------------------------

    @property
    def _searches(self) -> bool:
        return not self.config.genotype and self.config.search.method != "random"

    def augmentation_of(self, stage: ConfigDict) -> steps.Augmentation:
        data = self.config.data
        return steps.Augmentation(data.crop_padding, data.flip, stage.get("cutout", 0))

    def check_surroundings(self) -> None:
        super().check_surroundings()
        if self._searches:
            self._halves()

    def _halves(self) -> tuple[np.ndarray, np.ndarray, int]:
        """Rows of the images that train weights and of those that train the architecture, and steps an epoch."""
        images = len(self.dataset.train)
        rows = permutation(images, self.config.seed, zlib.crc32(b"search/split"))
        halves = rows[: images // 2], rows[images // 2 : images // 2 * 2]
        batch_size = self.config.search.batch_size
        if len(halves[0]) < batch_size:
            raise ValueError(
                f"search.batch_size = {batch_size} is more than half of the {images} training images; lower it."
            )
        return *halves, len(halves[0]) // batch_size

    def _method(self, steps_per_epoch: int) -> SearchMethod:
        search = self.config.search
        return SearchMethod(
            search.method,
            steps_per_epoch,
            stage1_epochs=search.stage1_epochs,
            adversarial_weight=search.adversarial_weight,
        )

    def search(self) -> None:
        """Trains the supernet's weights and its architecture side by side, on disjoint halves of the images."""
        if not self._searches:
            say("the cells are given: nothing to search.")
            return
        config = self.config
        stage = config.search
        teacher = self.searching_teacher()
        weights, architecture, per_epoch = self._halves()
        rows_at = paired_rows(
            self.sampler("search/weights", weights, stage.batch_size),
            self.sampler("search/architecture", architecture, stage.batch_size),
        )
        loader = self.loader("search", 2 * stage.batch_size, "twice search.batch_size", rows_at)
        teaching = self.teaching(teacher, stage, loader, per_epoch)
        optimizer, arch_optimizer = self._optimizers(stage.epochs, per_epoch)
        supernet = self.supernet
        method = self._method(per_epoch)
        step = steps.CellSearchStep(
            supernet, self.objective(stage), teaching.augmentation, optimizer, arch_optimizer, method,
            LookAhead(stage.second_order, stage.finite_difference_radius, stage.optimizer.momentum,
                      stage.optimizer.l2),
            Sampling(config.tau.start, config.tau.decay, config.tau.min, config.selector.hard, per_epoch),
            Curvature(stage.curvature.weight, stage.curvature.first_epoch, per_epoch),
            ProbabilityPerturbation(stage.epochs, per_epoch),
            teacher=teaching.apply, teacher_taps=teacher.tap_names if teacher else (),
        )  # fmt: skip

        def predict(variables, images):
            network = {name: variables[name] for name in ("params", "batch_stats")}
            return supernet.apply(network, images, variables["probabilities"], train=False)[0]

        def pack(state):
            return {**state.variables, "probabilities": cell_space.probabilities(state.architecture["cells"])}

        with self.checkpoints("search") as checkpoints, MetricsLog(self.workdir, "search") as log:
            fit(
                self.plan("search", stage.epochs, per_epoch, observe=True),
                self._initial_state(teacher),
                steps.run_steps(step, step.metrics, cached_teacher=teaching.cached_teacher),
                teaching.loader,
                checkpoints=checkpoints,
                log=log,
                teacher_variables=teaching.variables,
                validate=self.validate(predict, pack),
                observe=self._observed,
            )

    def _optimizers(self, epochs: int = 1, steps_per_epoch: int = 1):
        stage = self.config.search
        recipe = dict(epochs=epochs, steps_per_epoch=steps_per_epoch)
        return make_optimizer(stage.optimizer, **recipe), make_optimizer(stage.arch_optimizer, **recipe)

    def _initial_state(self, teacher: Teacher | None) -> State:
        key = jax.random.fold_in(jax.random.key(self.config.seed), zlib.crc32(b"search/architecture"))
        architecture = {"cells": cell_space.initial_logits(self.space, key)}
        if teacher:
            architecture["tutors"] = jnp.zeros((len(self.supernet.taps), len(teacher.taps)))
        variables = self.initial_variables(self.supernet, "search", cell_space.probabilities(architecture["cells"]))
        optimizer, arch_optimizer = self._optimizers()
        return State.create(variables, optimizer, architecture, arch_optimizer)

    def _observed(self, state: State) -> dict[str, float]:
        """Probabilities of the operations, named 'type/edge/operation', for the log."""
        tables = jax.device_get(cell_space.probabilities(state.architecture["cells"]))
        return {
            f"{kind}/{edge}/{operation}": value
            for kind, table in tables.items()
            for edge, row in enumerate(table)
            for operation, value in zip(self.space.operations, row, strict=True)
        }

    # -- what was found -----------------------------------------------------------------------------------

    def derive(self) -> None:
        """Reads cells, and tutors where there is a teacher, off the searched logits."""
        given = self.given_architecture()
        if given is None and self.config.search.method == "random":
            given = self._random("student")
        if given is None:
            teacher = self.searching_teacher()
            state = self.searched_state(jax.eval_shape(lambda: self._initial_state(teacher)))
            found = jax.device_get(state.architecture)
            origin = {"method": self.config.search.method}
            given, warning = self.family.found(cell_space.probabilities(found["cells"]), origin)
            if warning:
                say(f"warning: {warning}")
            given = dataclasses.replace(given, tutelage=self._tutelage(given, found.get("tutors")))
        self.save_architecture(given)

    def _tutelage(self, architecture: Architecture, selector: np.ndarray | None) -> Tutelage:
        """Tutors of the deeper network: each of its cells takes those of the searched cell at its place."""
        if selector is None:
            return self.tutelage(np.zeros((0, 0)))
        searched = self.supernet.taps
        return self.tutelage(selector[[searched.index(self.family.searched_tap(tap)) for tap in architecture.taps]])

    def _random(self, word: str) -> Architecture:
        draw = np.random.Generator(np.random.Philox(key=np.array([self.config.seed, zlib.crc32(word.encode())], "u8")))
        return self.family.random(draw)

    def _check_baseline(self, name: str) -> None:
        published = self.family.published
        if name not in BASELINES and name not in published and not RANDOM.fullmatch(name):
            known = ", ".join((*BASELINES, "random_0, random_1, …", *published))
            raise ValueError(f"unknown baseline {name!r}; known: {known}.")

    def baseline(self, name: str) -> Architecture:
        """Random and published cells are trained exactly like the student, with its tutors."""
        if name in BASELINES:
            return super().baseline(name)
        architecture = self.family.named(name) if name in self.family.published else self._random(name)
        return dataclasses.replace(architecture, tutelage=self.architecture.tutelage)

    def baselines(self) -> None:
        """Trains the baselines; cells that are not the student's are kept in `architectures/`."""
        for name in self.config.baselines:
            if name not in BASELINES:
                self.save_architecture(self.baseline(name), f"architectures/{name}.json")
        super().baselines()
