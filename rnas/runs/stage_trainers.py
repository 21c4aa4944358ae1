"""From a recipe to a trainer, and from its checkpoints to the trained network."""

from collections.abc import Callable
import functools
from typing import Any
import zlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rnas.data.datasets import Split
from rnas.data.sampler import MixedSampler, Sampler
from rnas.objectives import FixedTutors, IndexedTutors, SampledTutors
from rnas.runs.recipes import TEACHERS, Recipe
from rnas.runs.run import Run, predict
from rnas.runs.teacher_sources import TeacherSource, teacher_source
from rnas.steps import DropPathSchedule, TrainStep, WeightAverage, WeightPerturbation, run_steps
from rnas.steps.optimizer import make_optimizer
from rnas.steps.state import State
from rnas.training.checkpoints import Checkpoints, Restored
from rnas.training.collapse import CollapseRule
from rnas.training.loaders import Loader, ResidentLoader, StreamLoader
from rnas.training.metrics_log import MetricsLog
from rnas.training.trainer import Plan, Trainer


def checkpoints(run: Run, stage: str) -> Checkpoints:
    return Checkpoints(run.workdir / "checkpoints" / stage, best="score")


def sampler(run: Run, randomness: str, rows: np.ndarray, batch_size: int, seed: int | None = None) -> Sampler:
    """The order of `rows`: a function of the seed, the run's unless it is given, and a name, mostly a stage's."""
    seed = run.config.seed if seed is None else seed
    return Sampler(rows, batch_size, (seed << 32) + zlib.crc32(randomness.encode()))


def recipe_rows(run: Run, recipe: Recipe, seed: int | None = None) -> Callable[[int, int], np.ndarray]:
    """(first step, count) → rows [count, batch size] of `recipe_loader`, in the order of a seed, else of the run's."""
    own, extra = len(run.dataset.train), recipe.extra_images
    first = sampler(run, recipe.randomness, np.arange(own), recipe.batch_size - extra, seed)
    if not extra:
        return first.rows_at
    rows = own + np.arange(len(run.extra.images))  # behind those of the set
    return MixedSampler(first, sampler(run, f"{recipe.randomness}/extra", rows, extra, seed)).rows_at


def recipe_loader(run: Run, recipe: Recipe, rows_at: Callable | None = None) -> Loader:
    """The training images of a recipe; `rows_at` in place of those of `recipe_rows`."""
    named = recipe.randomness, recipe.batch_size, recipe.batch_size_key
    if run.config.data.streaming:
        return make_loader(run, *named)
    images = run.dataset.train
    if recipe.extra_images:
        both = images, run.extra.images
        images = Split(
            *(np.concatenate([getattr(each, name) for each in both]) for name in ("images", "labels", "ids"))
        )
    return make_loader(run, *named, rows_at or recipe_rows(run, recipe), images)


def make_loader(
    run: Run, randomness: str, batch_size: int, key: str, rows_at: Callable | None = None, images: Split | None = None
) -> Loader:
    """Training images of a stage.

    Args:
      randomness: names their order.
      key: of the configuration, for messages about `batch_size`.
      rows_at: (first step, count) → rows, in place of one shuffled order of all images.
      images: that rows are of, in place of those of the run's set.
    """
    if run.config.data.streaming:
        open_at = functools.partial(run.stream("train", batch_size).batches, workers=run.config.data.workers)
        return StreamLoader(open_at, batch_size=batch_size, what=key)
    train = images or run.dataset.train
    rows_at = rows_at or sampler(run, randomness, np.arange(len(train)), batch_size).rows_at
    most = run.config.log_every_steps
    return ResidentLoader(train.images, train.labels, rows_at, batch_size=batch_size, most=most, what=key)


def training_images(run: Run) -> int:
    return run.dataset.fingerprint["counts"]["train"]


def make_trainer(
    run: Run, stage: str, step: Any, source: TeacherSource, *, epochs: int, steps_per_epoch: int,
    validate: Callable | None, validate_from: int = 0, observe: Callable | None = None, randomness: str | None = None,
) -> Trainer:  # fmt: skip
    """The trainer of a stage by one of the steps of `rnas.steps`; before epoch `validate_from` nothing is scored."""
    config = run.config
    plan = Plan(
        stage=stage,
        total=epochs * steps_per_epoch,
        steps_per_epoch=steps_per_epoch,
        log_every=config.log_every_steps,
        checkpoint_every=config.checkpoint_every_steps,
        validate_every=config.validation.every_epochs * steps_per_epoch,
        validate_from=validate_from * steps_per_epoch,
        observe_every=steps_per_epoch if observe else 0,
        seed=config.seed,
        randomness=randomness,
    )
    program = run_steps(step, step.metrics, streaming=source.loader.streaming, cached_teacher=source.cached_teacher)
    kept, log = checkpoints(run, stage), MetricsLog(run.workdir, stage, config.trackers)
    collapse = CollapseRule(config.validation.collapse, 1 / config.data.num_classes) if step.objective.attacks else None
    return Trainer(plan, program, source.loader, kept, log, source.variables, validate, observe, collapse)


def network_trainer(
    run: Run, recipe: Recipe, model: nn.Module, tutors: FixedTutors | SampledTutors | None = None
) -> Trainer:
    """The trainer of a stage that trains the fixed network `model`."""
    loader = recipe_loader(run, recipe)
    step, source = network_step(run, recipe, model, tutors, loader)
    return make_trainer(
        run, recipe.stage, step, source, epochs=recipe.epochs, steps_per_epoch=step.steps_per_epoch,
        validate=run.validate(predict(model)), validate_from=run.config.validation.first_epoch,
        randomness=recipe.randomness,
    )  # fmt: skip


def network_step(
    run: Run, recipe: Recipe, model: nn.Module, tutors: FixedTutors | IndexedTutors | SampledTutors | None,
    loader: Loader,
) -> tuple[TrainStep, TeacherSource]:  # fmt: skip
    """The step that trains `model` by a recipe on the images of a loader, and what it takes of the teacher."""
    objective, epochs = recipe.objective, recipe.epochs
    per_epoch = training_images(run) // recipe.batch_size
    teacher, natural = (
        run.teacher if objective.needs_teacher else None,
        run.natural_teacher if objective.needs_natural_teacher else None,
    )
    learns = recipe.stage not in TEACHERS
    source = teacher_source(run, teacher, recipe.augmentation, loader, per_epoch, student=learns, natural=natural)
    gamma, first_epoch = recipe.perturbation
    step = TrainStep(
        model, objective, source.augmentation,
        make_optimizer(recipe.optimizer, epochs=epochs, steps_per_epoch=per_epoch),
        tutors=tutors, teacher=source.apply, natural=source.natural,
        drop_path=DropPathSchedule(recipe.drop_path, epochs, per_epoch) if recipe.drop_path else None,
        perturbation=WeightPerturbation(gamma, first_epoch * per_epoch) if gamma else None,
        average=WeightAverage(recipe.weight_average) if recipe.weight_average else None,
        cutmix=recipe.cutmix,
        steps_per_epoch=per_epoch,
    )  # fmt: skip
    return step, source


def first_state(recipe: Recipe, variables: Any) -> State:
    """The state before the first step of a stage, from the variables of its network."""
    optimizer = make_optimizer(recipe.optimizer, epochs=1, steps_per_epoch=1)
    loss_state = recipe.objective.adversarial.initial_loss_state()
    return State.create(variables, optimizer, loss_state=loss_state, average=recipe.weight_average > 0)


def restore(run: Run, stage: str, template: Callable[[], State], which: str = "latest") -> Restored:
    """The latest or the best checkpoint of a stage, in the structure of what `template` would return.

    Raises ValueError where the stage has left none, or one that does not fit.
    """
    with checkpoints(run, stage) as stored:
        restored = stored.restore(jax.eval_shape(template), which)
    if restored is None:
        raise ValueError(f"{run.workdir} holds no checkpoint of stage {stage!r}; run that stage first.")
    return restored


def trained(run: Run, recipe: Recipe, model: nn.Module, which: str = "best") -> Restored:
    """The checkpoint of a stage that trained `model`: the best one by its score on held-out images, or the latest."""
    images = jnp.zeros((1, *run.config.data.image_shape))
    return restore(run, recipe.stage, lambda: first_state(recipe, dict(model.init(jax.random.key(0), images))), which)
