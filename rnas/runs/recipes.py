"""What a configuration means for the stages that train: pure functions of the configuration, nothing is loaded.

A stage is named as in `run.json` and `checkpoints/`: teacher, natural_teacher, train, finetune, baseline_<name>; the
search has recipes of its own in `rnas.runs.searches`.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
from ml_collections import ConfigDict

from rnas import attacks
from rnas.objectives import METHODS, Method, Objective
from rnas.steps import AXIS, Augmentation

ALONE = dict(gamma=0.0, kl_weight=0.0, view="clean")
BASELINE = "baseline_"  # prefix of the stages and models of baselines
TEACHERS = ("teacher", "natural_teacher")
# Keys of a stage's section that are fields of its objective.
OF_STAGE = ("gamma", "kl_weight", "step_size", "start", "attack_bn", "bn_update", "clean_pass")


def baselines() -> dict[str, dict[str, Any]]:
    """Baselines with the student's architecture: name → fields of the objective that differ from the student's.

    They train without parts of the joint objective, or by one method alone; every registered method is one.
    """
    return {
        "no_distillation": ALONE,
        "plain": dict(ALONE, adversarial="none"),
        **{name: dict(ALONE, adversarial=name) for name in METHODS if name != "none"},
        "pgd_at_awp": dict(ALONE, adversarial="pgd_at"),
        "trades_awp": dict(ALONE, adversarial="trades"),
    }


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a stage trains a fixed network.

    Attributes:
      stage: its name.
      objective: what it minimises.
      optimizer: section of the configuration.
      epochs: passes over the training images.
      batch_size: images a step, over all devices; `batch_size_key` is where the configuration has it.
      augmentation: of the training images.
      perturbation: γ of adversarially perturbed weights, 0 for none, and the first epoch that has them.
      weight_average: decay per step of a moving average of the weights, 0 for none.
      drop_path: probability of dropping a path at the last epoch.
    """

    stage: str
    objective: Objective
    optimizer: ConfigDict
    epochs: int
    batch_size: int
    batch_size_key: str
    augmentation: Augmentation
    perturbation: tuple[float, int] = (0.0, 0)
    weight_average: float = 0.0
    drop_path: float = 0.0


def recipe(config: ConfigDict, stage: str) -> Recipe:
    """The recipe of a stage that trains a fixed network."""
    if stage in TEACHERS:
        section = config.teacher
        perturbation = (
            (section.perturbation.gamma, section.perturbation.first_epoch) if stage == "teacher" else (0.0, 0)
        )
        return Recipe(
            stage=stage,
            objective=_teacher_objective(config, stage),
            optimizer=section.optimizer,
            epochs=section.epochs,
            batch_size=section.batch_size,
            batch_size_key="teacher.batch_size",
            augmentation=Augmentation(config.data.crop_padding, config.data.flip),
            perturbation=perturbation,
            weight_average=section.weight_average,
        )
    tuned, section = stage == "finetune", config.train
    perturbation = section.perturbation
    if stage.endswith("_awp"):
        perturbation = config.baseline_perturbation[stage.removeprefix(BASELINE).removesuffix("_awp")]
    return Recipe(
        stage=stage,
        objective=_tuning_objective(config) if tuned else _student_objective(config, stage),
        optimizer=config.finetune.optimizer if tuned else section.optimizer,
        epochs=config.finetune.epochs if tuned else section.epochs,
        batch_size=section.batch_size,
        batch_size_key="train.batch_size",
        augmentation=augmentation(config, "train"),
        # Fine-tuning goes on from a trained network: there is nothing to wait for.
        perturbation=(perturbation.gamma, 0 if tuned else perturbation.first_epoch),
        weight_average=section.weight_average,
        drop_path=section.drop_path,
    )


def augmentation(config: ConfigDict, section: str) -> Augmentation:
    """How the images of `search` or `train` are varied."""
    cutout = config.train.cutout if section == "train" else 0
    return Augmentation(config.data.crop_padding, config.data.flip, cutout)


def joint_objective(config: ConfigDict, section: str, **changes: Any) -> Objective:
    """The joint objective of `search` or `train`; `changes` override its fields.

    Raises:
      ValueError: for a value that it does not have.
    """
    stage, adversarial, attention = config[section], config.adversarial, config.attention
    fields = dict(
        adversarial=stage.objective,
        epsilon=adversarial.epsilon,
        steps=adversarial.steps,
        auxiliary=stage.auxiliary if section == "train" else 0.0,
        size=attention.size,
        normalise=attention.normalise,
        reduction=attention.reduction,
        view=attention.view,
        **{key: stage[key] for key in OF_STAGE},
    )
    fields |= changes
    lengths = {field: attacks.radius(fields[field]) for field in ("epsilon", "step_size")}
    return Objective(**{**fields, **lengths, "adversarial": _method(config, fields["adversarial"])})


def _method(config: ConfigDict, name: str) -> Method | str:
    """The adversarial method of this name with its coefficients; the name alone where there is no such method."""
    if name not in METHODS:
        return name
    coefficients = {field.name for field in dataclasses.fields(METHODS[name])}
    return METHODS[name](**config.adversarial[name]) if coefficients else METHODS[name]()


def _teacher_objective(config: ConfigDict, stage: str) -> Objective:
    return joint_objective(
        config, "train", **ALONE, adversarial=config.teacher.objective if stage == "teacher" else "none",
        steps=config.teacher.steps, start="own", step_size=config.adversarial.step_size, auxiliary=0.0,
        clean_pass=False,
    )  # fmt: skip


def _tuning_objective(config: ConfigDict) -> Objective:
    """A method in fine-tuning needs no first epochs of another kind."""
    objective = joint_objective(config, "train", adversarial=config.finetune.objective)
    if not objective.adversarial.first_epoch:
        return objective
    return dataclasses.replace(objective, adversarial=dataclasses.replace(objective.adversarial, first_epoch=0))


def _student_objective(config: ConfigDict, stage: str) -> Objective:
    name = stage.removeprefix(BASELINE)
    objective = joint_objective(config, "train", **baselines().get(name, {}))
    if name == "no_distillation" and objective.needs_teacher:
        # A method of distillation without a teacher is nothing; trades is the closest kin of most.
        return joint_objective(config, "train", **ALONE, adversarial="trades")
    return objective


# -- what a run needs ------------------------------------------------------------------------------------


def learners(config: ConfigDict) -> tuple[str, ...]:
    """Stages that train the student or a baseline."""
    finetune = ("finetune",) if config.finetune.epochs else ()
    return ("train", *finetune, *(f"{BASELINE}{name}" for name in config.baselines))


def objectives_of(config: ConfigDict) -> list[Objective]:
    """Of the search, and of every stage that trains the student or a baseline."""
    return [joint_objective(config, "search"), *(recipe(config, stage).objective for stage in learners(config))]


def uses_teacher(config: ConfigDict) -> bool:
    """Whether any stage learns from a teacher."""
    return any(objective.needs_teacher for objective in objectives_of(config))


def uses_natural_teacher(config: ConfigDict) -> bool:
    """Whether any stage learns from a second, naturally trained teacher."""
    return any(objective.needs_natural_teacher for objective in objectives_of(config))


def model_names(config: ConfigDict) -> tuple[str, ...]:
    """Models that can be evaluated once the run is through its training."""
    last = ("student_last",) if config.evaluation.last else ()
    baselines = tuple(f"{BASELINE}{name}" for name in config.baselines)
    return ("student", *last, *baselines, *(("teacher",) if uses_teacher(config) else ()))


def dtype(config: ConfigDict):
    """Compute type of student and teacher; None is float32."""
    return {"float32": None, "bfloat16": jnp.bfloat16}[config.dtype]


def network_fields(config: ConfigDict) -> dict[str, Any]:
    """What all networks of a run are built with, but for the momentum of BatchNorm."""
    data = config.data
    return dict(
        num_classes=data.num_classes, mean=tuple(data.mean), std=tuple(data.std), dtype=dtype(config), axis_name=AXIS
    )
