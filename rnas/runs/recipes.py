"""What a configuration means for the stages that train: pure functions of the configuration, nothing is loaded.

A stage is named as in `run.json` and `checkpoints/`: teacher, natural_teacher, train, finetune, baseline_<name>; the
search has recipes of its own in `rnas.runs.searches`.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from rnas import attacks
from rnas.objectives import METHODS, Objective
from rnas.runs.baselines import ALONE, Baseline, parse
from rnas.steps import AXIS, Augmentation
from rnas.training.trainer import stage_key

BASELINE = "baseline_"  # prefix of the stages and models of baselines
# What `evaluation.auto_attack` and `evaluation.corruptions` may name whether there is one or not.
GROUPS = ("baselines", "strongest_baseline", "teacher")
TEACHERS = ("teacher", "natural_teacher")
# Keys of a stage's section that are fields of its objective, as those of `attention` are.
OF_STAGE = ("gamma", "kl_weight", "step_size", "start", "attack_bn", "bn_update", "clean_pass")


def baseline(stage: str) -> Baseline:
    """What the stage of a baseline does otherwise than the student's."""
    return parse(stage.removeprefix(BASELINE))


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a stage trains a fixed network."""

    stage: str
    randomness: str  # names the order of images and the keys of steps; all that learn share the student's
    objective: Objective
    optimizer: ConfigDict  # section of the configuration
    epochs: int
    batch_size: int  # images a step, over all devices
    batch_size_key: str  # where the configuration has it
    augmentation: Augmentation
    perturbation: tuple[float, int]  # γ of adversarially perturbed weights, 0 for none, and the first epoch with them
    weight_average: float  # decay per step of a moving average of the weights, 0 for none
    drop_path: float  # probability of dropping a path at the last epoch
    cutmix: float  # probability that an image is mixed with another one
    extra_images: int  # of a batch, that are further ones (data.extra)


def recipe(config: ConfigDict, stage: str) -> Recipe:
    """The recipe of a stage that trains a fixed network."""
    name, tuned = ("teacher" if stage in TEACHERS else "train"), stage == "finetune"
    section, trained = config[name], config.finetune if tuned else config[name]
    perturbation = section.perturbation
    if stage.startswith(BASELINE) and (method := baseline(stage).perturbed):
        perturbation = config.baseline_perturbation[method]
    gamma = 0.0 if stage == "natural_teacher" else perturbation.gamma
    return Recipe(
        stage=stage,
        randomness="train" if stage.startswith(BASELINE) else stage,
        objective=_objective(config, stage),
        optimizer=trained.optimizer,
        epochs=trained.epochs,
        batch_size=section.batch_size,
        batch_size_key=f"{name}.batch_size",
        augmentation=augmentation(config, name),
        # Fine-tuning goes on from a trained network: there is nothing to wait for.
        perturbation=(gamma, 0 if tuned else perturbation.first_epoch),
        weight_average=section.weight_average,
        drop_path=section.drop_path if name == "train" else 0.0,
        cutmix=section.cutmix if name == "train" else 0.0,
        extra_images=extra_images(config) if name == "train" else 0,
    )


def extra_images(config: ConfigDict) -> int:
    """How many images of a batch of student and baselines are of data.extra; 0 without such a set.

    Raises ValueError where data.extra_share leaves nothing of the one set or of the other.
    """
    if not config.data.extra:
        return 0
    size, share = config.train.batch_size, config.data.extra_share
    if not 0 < (found := round(share * size)) < size:
        raise ValueError(
            f"data.extra_share={share} of train.batch_size={size} images is {found}: both sets need one or more."
        )
    return found


def _objective(config: ConfigDict, stage: str) -> Objective:
    """What a stage that trains a fixed network minimises."""
    if stage in TEACHERS:
        method = config.teacher.objective if stage == "teacher" else "none"
        attack = {key: config.teacher[key] for key in ("epsilon", "step_size", "steps")}
        return joint_objective(
            config, "train", **ALONE, **attack, adversarial=method, start="own", auxiliary=0.0, clean_pass=False
        )
    if stage == "finetune":
        objective = joint_objective(config, "train", adversarial=config.finetune.objective)
        method = objective.adversarial
        # A method in fine-tuning needs no first epochs of another kind.
        tuned = dataclasses.replace(method, first_epoch=0) if method.first_epoch else method
        return dataclasses.replace(objective, adversarial=tuned)
    if not stage.startswith(BASELINE):
        return joint_objective(config, "train")
    own = baseline(stage)
    objective = joint_objective(config, "train", **own.objective)
    if own.terms == "no_distillation" and own.method is None and objective.needs_teacher:
        # A method of distillation without a teacher is nothing; trades is the closest kin of most.
        return joint_objective(config, "train", **own.objective, adversarial="trades")
    return objective


def augmentation(config: ConfigDict, section: str) -> Augmentation:
    """How the images of `teacher`, `search` or `train` are varied."""
    cutout = config.train.cutout if section == "train" else 0
    return Augmentation(config.data.crop_padding, config.data.flip, cutout)


def joint_objective(config: ConfigDict, section: str, **changes: Any) -> Objective:
    """The joint objective of `search` or `train`, with `changes` of its fields; ValueError for an unknown value."""
    stage, adversarial = config[section], config.adversarial
    fields = {
        "adversarial": stage.objective,
        "epsilon": adversarial.epsilon,
        "steps": adversarial.steps,
        "auxiliary": stage.auxiliary if section == "train" else 0.0,
        **config.attention,
        **{key: stage[key] for key in OF_STAGE},
        **changes,
    }
    if (method := METHODS.get(fields["adversarial"])) is not None:  # an unknown name is refused below
        fields["adversarial"] = method(**(config.adversarial[method.name] if dataclasses.fields(method) else {}))
    return Objective(**fields | {field: attacks.radius(fields[field]) for field in ("epsilon", "step_size")})


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


def trained_teachers(config: ConfigDict) -> tuple[str, ...]:
    """The teachers, of `TEACHERS`, that some stage learns from and that are not given."""
    used = {"teacher": uses_teacher(config), "natural_teacher": uses_natural_teacher(config)}
    given = {"teacher": config.teacher.path, "natural_teacher": config.teacher.natural_path}
    return tuple(name for name in TEACHERS if used[name] and not given[name])


def model_names(config: ConfigDict) -> tuple[str, ...]:
    """Models that can be evaluated once the run is through its training."""
    last = ("student_last",) if config.evaluation.last else ()
    baselines = tuple(f"{BASELINE}{name}" for name in config.baselines)
    return ("student", *last, *baselines, *(("teacher",) if uses_teacher(config) else ()))


def evaluated_names(config: ConfigDict) -> tuple[str, ...]:
    """Those of `model_names` that the run judges, as `evaluation.models` has it."""
    wanted = {*config.evaluation.models, "student_last"}
    return tuple(
        name for name in model_names(config) if name in wanted or (name.startswith(BASELINE) and "baselines" in wanted)
    )


def dtype(config: ConfigDict):
    """Compute type of student and teacher; None is float32."""
    return {"float32": None, "bfloat16": jnp.bfloat16}[config.dtype]


def initial_variables(model: nn.Module, config: ConfigDict, stage: str, *inputs: Any) -> dict[str, Any]:
    """Fresh variables of `model(images, *inputs)`, by the key of seed and stage."""
    images = jnp.zeros((1, *config.data.image_shape))
    return dict(jax.jit(model.init)(stage_key(config.seed, f"{stage}/init"), images, *inputs))


def image_fields(config: ConfigDict) -> dict[str, Any]:
    """What all architectures of a run record of its images."""
    return dict(image_shape=tuple(config.data.image_shape), num_classes=config.data.num_classes)


def network_fields(config: ConfigDict) -> dict[str, Any]:
    """What all networks of a run are built with, but for the momentum of BatchNorm."""
    data = config.data
    return dict(
        num_classes=data.num_classes, mean=tuple(data.mean), std=tuple(data.std), dtype=dtype(config), axis_name=AXIS
    )
