"""What a configuration stands for: data, models, objectives, feeds and plans of its stages."""

from collections.abc import Callable, Mapping
import functools
from pathlib import Path
from typing import Any
import zlib

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np

from rnas import attacks
from rnas.artifacts.architecture import Architecture, load_architecture
from rnas.attacks import catalogue
from rnas.data.balance import balanced_rows
from rnas.data.datasets import Dataset, load_dataset
from rnas.data.sampler import Sampler
from rnas.evaluation import Evaluator
from rnas.evaluation.robustness_table import CURVE_ATTACK
from rnas.objectives import METHODS, Method
from rnas.objectives.joint import Objective
from rnas.steps.optimizer import make_optimizer
from rnas.steps.state import State
from rnas.teachers import Teacher, load_teacher
from rnas.training.checkpoints import Checkpoints
from rnas.training.loaders import ResidentLoader, StreamLoader, per_device
from rnas.training.loop import Plan, stage_key

ALLOWED = {
    "dtype": ("float32", "bfloat16"),
    "derive.tutor": ("argmax", "sampled"),
}
POSITIVE = (
    "teacher.epochs",
    "search.epochs",
    "train.epochs",
    "attention.size",
    "log_every_steps",
    "checkpoint_every_steps",
    "evaluation.pgd_100_restarts",
)
# Keys by which a stage departs from the shared sections.
OF_STAGE = ("bn_update", "attack_bn", "start", "step_size", "auxiliary", "clean_pass")


def value_of(config: ConfigDict, key: str) -> Any:
    """What the dotted `key` holds."""
    return functools.reduce(lambda section, name: section[name], key.split("."), config)


def check_allowed(config: ConfigDict, allowed: Mapping[str, tuple]) -> None:
    """Raises ValueError for the first dotted key that holds none of its values."""
    for key, values in allowed.items():
        if (value := value_of(config, key)) not in values:
            raise ValueError(f"unknown {key} {value!r}; expected one of {', '.join(values)}.")


def check_positive(config: ConfigDict, keys: tuple[str, ...]) -> None:
    """Raises ValueError for the first dotted key that holds less than 1."""
    for key in keys:
        if (value := value_of(config, key)) < 1:
            raise ValueError(f"{key} = {value} must be at least 1.")


@functools.cache
def predict(model) -> Callable:
    """(variables, images [N,H,W,C]) → logits [N,K] of a Flax module in inference mode; equal modules share it."""
    return lambda variables, images: model.apply(variables, images, train=False)[0]


class Components:
    """Builds what a configuration of any system asks for; refuses one that cannot work before anything runs.

    Raises (on construction):
      ValueError: naming the key at fault, what it holds and what it may hold.
    """

    def __init__(self, config: ConfigDict, workdir: Path):
        self.config = config
        self.workdir = workdir
        check_allowed(config, ALLOWED)
        check_positive(config, POSITIVE)
        self.dtype = {"float32": None, "bfloat16": jnp.bfloat16}[config.dtype]
        if not 0 <= config.seed < 2**32:
            raise ValueError(f"seed = {config.seed} must be a whole number from 0 to 2**32 - 1.")
        # What follows refuses what it could not build later.
        if not self.objective(config.search).searches:
            raise ValueError(
                f"search.objective={config.search.objective!r} trains fixed networks only; name it in train.objective, "
                "and search with another objective."
            )
        self.objective(config.train)
        for name in ("teacher", "train"):
            decay, gamma = config[name].weight_average, config[name].perturbation.gamma
            if not 0 <= decay < 1:
                raise ValueError(f"{name}.weight_average = {decay} must be at least 0 and less than 1.")
            if gamma < 0:
                raise ValueError(f"{name}.perturbation.gamma = {gamma} must not be negative.")
        for section in (config.teacher, config.search, config.train, config.finetune):
            make_optimizer(section.optimizer, epochs=1, steps_per_epoch=1)
        make_optimizer(config.search.arch_optimizer, epochs=1, steps_per_epoch=1)
        for length in (*config.evaluation.epsilons, *config.evaluation.curve):
            attacks.radius(length)

    def check_surroundings(self) -> None:
        """Looks at everything outside the configuration that a run needs: data, devices, a teacher's directory.

        Raises:
          ValueError: naming what is missing or does not fit.
        """
        for stage in ("teacher", "search", "train", "evaluation"):
            per_device(self.config[stage].batch_size, f"{stage}.batch_size")
        _ = self.dataset
        if self.config.teacher.path:
            _ = self.loaded_teacher
        if self.config.teacher.natural_path:
            _ = self.loaded_natural_teacher

    @functools.cached_property
    def dataset(self) -> Dataset:
        data = self.config.data
        if data.streaming:
            from rnas.data.stream import load_held_parts  # brings grain, which other sets do not need

            dataset = load_held_parts(data.name, self.stream)
        else:
            dataset = load_dataset(data.name, data_dir=data.dir or None, held_out=data.held_out, seed=self.config.seed)
        if dataset.num_classes != data.num_classes or dataset.image_shape != tuple(data.image_shape):
            raise ValueError(
                f"data.num_classes={data.num_classes}, data.image_shape={tuple(data.image_shape)} do not fit dataset "
                f"{data.name!r}, which has {dataset.num_classes} classes and images of {dataset.image_shape}."
            )
        return dataset

    @functools.cached_property
    def loaded_teacher(self) -> Teacher:
        return self._load_teacher(self.config.teacher.path or self.workdir / "teacher")

    @functools.cached_property
    def loaded_natural_teacher(self) -> Teacher:
        return self._load_teacher(self.config.teacher.natural_path or self.workdir / "natural_teacher")

    def _load_teacher(self, path: str | Path) -> Teacher:
        teacher = load_teacher(path, dtype=self.dtype)
        classes = tuple(self.config.data.class_ids)
        if len(classes) < teacher.num_classes > max(classes, default=teacher.num_classes):
            teacher = teacher.restricted(classes)
        if teacher.num_classes != self.config.data.num_classes:
            raise ValueError(
                f"the teacher at {path} knows {teacher.num_classes} classes, but data.num_classes="
                f"{self.config.data.num_classes}."
            )
        return teacher

    @property
    def architecture(self) -> Architecture:
        return load_architecture(self.workdir / "architecture.json")

    def initial_variables(self, model, stage: str, *inputs: Any) -> Any:
        """Fresh variables of `model(images, *inputs)`, a function of the seed and the stage."""
        images = jnp.zeros((1, *self.config.data.image_shape))
        return dict(jax.jit(model.init)(stage_key(self.config.seed, f"{stage}/init"), images, *inputs))

    def objective(self, stage: ConfigDict, **changes) -> Objective:
        """The joint objective of a stage that has gamma, kl_weight and objective; `changes` override fields."""
        adversarial, attention = self.config.adversarial, self.config.attention
        fields = dict(
            adversarial=stage.objective,
            epsilon=adversarial.epsilon,
            step_size=adversarial.step_size,
            steps=adversarial.steps,
            start=adversarial.start,
            attack_bn=adversarial.attack_bn,
            gamma=stage.gamma,
            kl_weight=stage.kl_weight,
            size=attention.size,
            normalise=attention.normalise,
            reduction=attention.reduction,
            view=attention.view,
        )
        fields |= {key: stage[key] for key in OF_STAGE if key in stage} | changes
        lengths = {field: attacks.radius(fields[field]) for field in ("epsilon", "step_size")}
        return Objective(**{**fields, **lengths, "adversarial": self.method(fields["adversarial"])})

    def method(self, name: str) -> Method | str:
        """The adversarial method of this name with its coefficients; the name alone where there is no such method."""
        return METHODS[name](**self.config.adversarial.get(name, {})) if name in METHODS else name

    @functools.cached_property
    def validation(self):
        """At most `validation.count` held-out images, the same share of every class."""
        held_out = self.dataset.validation
        count = min(self.config.validation.count, len(held_out))
        classes = self.config.data.num_classes
        if count == len(held_out):
            return held_out
        return held_out.take(balanced_rows(held_out.labels, count, num_classes=classes, seed=self.config.seed))

    def evaluator(self, predict: Callable) -> Evaluator:
        return Evaluator(predict, batch_size=self.config.evaluation.batch_size, seed=self.config.seed)

    def checkpoints(self, stage: str) -> Checkpoints:
        return Checkpoints(self.workdir / "checkpoints" / stage, best="score")

    def sampler(self, stage: str, rows: np.ndarray, batch_size: int) -> Sampler:
        return Sampler(rows, batch_size, (self.config.seed << 32) + zlib.crc32(stage.encode()))

    def loader(self, stage: str, batch_size: int, what: str, rows_at: Callable | None = None):
        """Training images of a stage; `rows_at` replaces the plain shuffled order of an image set in memory."""
        if self.config.data.streaming:
            batches = self.stream("train", batch_size).batches()
            return StreamLoader(batches, batch_size=batch_size, what=what)
        train = self.dataset.train
        rows_at = rows_at or self.sampler(stage, np.arange(len(train)), batch_size).rows_at
        most = self.config.log_every_steps
        return ResidentLoader(train.images, train.labels, rows_at, batch_size=batch_size, most=most, what=what)

    def stream(self, part: str, batch_size: int | None = None):
        from rnas.data.stream import Stream

        data = self.config.data
        return Stream(
            data.name,
            data_dir=data.dir or None,
            part=part,
            batch_size=batch_size or self.config.evaluation.batch_size,
            seed=self.config.seed,
            image_size=data.image_shape[0],
            resize=round(data.image_shape[0] * 256 / 224),
            classes=tuple(data.class_ids) or None,
            held_out=data.held_out,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )

    def steps_per_epoch(self, batch_size: int) -> int:
        return self.dataset.fingerprint["counts"]["train"] // batch_size

    def plan(self, stage: str, epochs: int, steps_per_epoch: int, validate_from: int = 0, observe=False) -> Plan:
        """When a stage of `epochs` does what; before epoch `validate_from` nothing is scored."""
        return Plan(
            stage=stage,
            total=epochs * steps_per_epoch,
            steps_per_epoch=steps_per_epoch,
            log_every=self.config.log_every_steps,
            checkpoint_every=self.config.checkpoint_every_steps,
            validate_every=self.config.validation.every_epochs * steps_per_epoch,
            validate_from=validate_from * steps_per_epoch,
            observe_every=steps_per_epoch if observe else 0,
            seed=self.config.seed,
        )

    def validate(self, predict: Callable, pack: Callable[[State], Any]) -> Callable | None:
        if not len(self.validation):
            return None
        evaluator = self.evaluator(predict)
        attack = catalogue.pgd(self.config.validation.steps, CURVE_ATTACK.step)
        epsilon = attacks.radius(self.config.adversarial.epsilon)
        return lambda state: evaluator.score(pack(state), self.validation, epsilon, attack)
