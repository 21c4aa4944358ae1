"""A run: one configuration over one work directory, and what both lead to, loaded when it is first needed."""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
from ml_collections import ConfigDict

from rnas import attacks
from rnas.artifacts.architecture import FILE as ARCHITECTURE
from rnas.artifacts.architecture import Architecture, TutorAssignment, load_architecture
from rnas.attacks import catalogue
from rnas.data.balance import balanced_rows
from rnas.data.datasets import Dataset, Split, load_dataset
from rnas.data.extra_images import ExtraImages, load_extra
from rnas.evaluation import Evaluator
from rnas.evaluation.evaluated_model import in_float32
from rnas.evaluation.robustness_table import CURVE_ATTACK
from rnas.layers.counting import count
from rnas.runs import recipes
from rnas.runs.baselines import SEARCHED_TUTORS, parse
from rnas.runs.searches import Search
from rnas.runs.tutor_assignments import fixed_assignment
from rnas.steps.state import State
from rnas.teachers import Teacher, load_teacher

if TYPE_CHECKING:
    from rnas.data.stream import Stream


@functools.cache
def predict(model) -> Callable:
    """(variables, images [N,H,W,C]) → logits [N,K] of a Flax module in inference mode and float32; one if equal."""
    model = in_float32(model)
    return lambda variables, images: model.apply(variables, images, train=False)[0]


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """What the stages of a run share."""

    config: ConfigDict  # checked by `rnas.runs.checks`
    workdir: Path  # where stages leave their outcome and find that of the ones before
    search: Search  # of the configuration's system and space

    # -- data ---------------------------------------------------------------------------------------------

    @functools.cached_property
    def dataset(self) -> Dataset:
        """The images of `config.data`.

        Raises ValueError where they are missing, or their shape or number of classes is not that of the configuration.
        """
        data = self.config.data
        if data.streaming:
            from rnas.data.held_parts import load_held_parts  # brings grain, which other sets do not need

            dataset = load_held_parts(data.name, self.stream)
        else:
            dataset = load_dataset(
                data.name, data_dir=data.dir or None, held_out=data.held_out, seed=self.config.seed,
                train_count=data.train_count, class_ids=tuple(data.class_ids),
            )  # fmt: skip
        if dataset.num_classes != data.num_classes or dataset.image_shape != tuple(data.image_shape):
            raise ValueError(
                f"data.num_classes={data.num_classes}, data.image_shape={tuple(data.image_shape)} do not fit dataset "
                f"{data.name!r}, which has {dataset.num_classes} classes and images of {dataset.image_shape}. Give its "
                "values, or use configs/own_data.py, which takes them from a set that rnas data import has made."
            )
        return dataset

    @functools.cached_property
    def extra(self) -> ExtraImages:
        """The further training images of `data.extra`; raises ValueError where they are missing or do not fit."""
        data = self.config.data
        return load_extra(data.extra, self.dataset, data_dir=data.extra_dir or None)

    def stream(self, part: str, batch_size: int | None = None) -> Stream:
        """A part of the data set, decoded on the host while it is used."""
        from rnas.data.stream import Stream

        data = self.config.data
        side = data.image_shape[0]
        return Stream(
            data.name, data_dir=data.dir or None, part=part, seed=self.config.seed, image_size=side,
            batch_size=batch_size or jax.process_count(), resize=round(side * 256 / 224),
            class_ids=tuple(data.class_ids), held_out=data.held_out, train_count=data.train_count,
            process_index=jax.process_index(), process_count=jax.process_count(),
        )  # fmt: skip

    @functools.cached_property
    def validation(self) -> Split:
        """At most `validation.count` held-out images, the same share of every class."""
        held_out, wanted, classes = self.dataset.validation, self.config.validation.count, self.config.data.num_classes
        if wanted >= len(held_out):
            return held_out
        return held_out.take(balanced_rows(held_out.labels, wanted, num_classes=classes, seed=self.config.seed))

    # -- teachers -----------------------------------------------------------------------------------------

    @functools.cached_property
    def teacher(self) -> Teacher:
        """The robust teacher: that of `teacher.path`, or the one trained here."""
        return self._load_teacher(self.config.teacher.path or self.workdir / "teacher", recipes.dtype(self.config))

    @property
    def judged_teacher(self) -> Teacher:
        """The robust teacher as it is judged: in float32, whatever type training uses."""
        if recipes.dtype(self.config) is None:
            return self.teacher
        return self._load_teacher(self.config.teacher.path or self.workdir / "teacher", None)

    @functools.cached_property
    def natural_teacher(self) -> Teacher:
        """The naturally trained teacher: that of `teacher.natural_path`, or the one trained here."""
        path = self.config.teacher.natural_path or self.workdir / "natural_teacher"
        return self._load_teacher(path, recipes.dtype(self.config))

    def _load_teacher(self, path: str | Path, dtype: Any) -> Teacher:
        teacher = load_teacher(path, dtype=dtype)
        classes = tuple(self.config.data.class_ids)
        if len(classes) < teacher.num_classes > max(classes, default=teacher.num_classes):
            teacher = teacher.restricted(classes)
        if teacher.num_classes != self.config.data.num_classes:
            raise ValueError(
                f"the teacher at {path} has {teacher.num_classes} classes, but data.num_classes="
                f"{self.config.data.num_classes}."
            )
        if teacher.image_shape != tuple(self.config.data.image_shape):
            raise ValueError(
                f"the teacher at {path} was made for images of {teacher.image_shape}, but data.image_shape="
                f"{tuple(self.config.data.image_shape)}: import it again with --image-size, or train one here "
                "(teacher.path='')."
            )
        return teacher

    # -- the network that was found -----------------------------------------------------------------------

    @property
    def architecture(self) -> Architecture:
        """What the search found, from `architecture.json`."""
        return load_architecture(self.workdir / ARCHITECTURE)

    def save_architecture(self, architecture: Architecture, path: Path | None = None) -> None:
        """Writes an architecture with the size of its network, by default that which the search found."""
        size = count(self.search.network(architecture), architecture.image_shape)
        architecture.save(path or self.workdir / ARCHITECTURE, params=size.params, macs=size.macs)

    def baseline_architecture(self, name: str) -> Architecture:
        """The network of a baseline and its tutors: the student's own but for what its name changes.

        Tutors that a search of their own chooses are missing until `train_baselines` has written them.
        """
        found, own = parse(name), self.architecture
        architecture = self.search.baseline(found.architecture, own) if found.architecture else own
        assignment = own.tutor_assignment
        if found.tutors in SEARCHED_TUTORS:
            path = self.baseline_file(name)
            assignment = load_architecture(path).tutor_assignment if path.exists() else TutorAssignment()
        elif found.tutors:
            assignment = fixed_assignment(found.tutors, assignment, self.config.seed)
        return dataclasses.replace(architecture, tutor_assignment=assignment)

    def baseline_file(self, name: str) -> Path:
        """Where the architecture of a baseline is written, if it is not the student's with the student's tutors."""
        return self.workdir / "architectures" / f"{name}.json"

    # -- judging ------------------------------------------------------------------------------------------

    def evaluator(self, predict: Callable) -> Evaluator:
        return Evaluator(predict, batch_size=self.config.evaluation.batch_size, seed=self.config.seed)

    def validate(
        self, predict: Callable, pack: Callable[[State], Any] = lambda state: state.outcome
    ) -> Callable[[State], dict[str, float]] | None:
        """state → scores on the held-out images, which choose the best checkpoint; None where none are held out.

        `pack` makes of a state what `predict` takes as variables.
        """
        if not len(self.validation):
            return None
        evaluator = self.evaluator(predict)
        attack = catalogue.pgd(self.config.validation.steps, CURVE_ATTACK.step)
        epsilon = attacks.radius(self.config.adversarial.epsilon)
        return lambda state: evaluator.score(pack(state), self.validation, epsilon, attack)
