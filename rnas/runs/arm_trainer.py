"""Arms of a study: one network trained with different terms, tutors and seeds, side by side or one after another.

Arms of one seed see the same images, augmentation and attack starts. Side by side they are one program (`jax.vmap`),
where weights of terms, tutors and seeds are arrays; it computes the teacher's outputs once a batch. An arm leaves what
it leaves alone, up to rounding: checkpoints and metrics of its own, under the name of its stage.
"""

from collections.abc import Callable, Sequence
import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rnas.objectives import ArmTerms, FixedTutors, IndexedTutors, Objective, SampledTutors, index_tutors
from rnas.runs.recipes import Recipe
from rnas.runs.run import Run, predict
from rnas.runs.stage_trainers import checkpoints, make_trainer, network_step, recipe_loader, recipe_rows
from rnas.steps import forget_programs, over_seeds, run_steps, side_by_side, stacked, unstacked
from rnas.steps.state import State
from rnas.training.metrics_log import MetricsLog
from rnas.training.stacked_records import StackedCheckpoints, StackedLog
from rnas.training.trainer import Trainer


@dataclasses.dataclass(frozen=True)
class Arm:
    """A network to be trained.

    Attributes:
      recipe: its stage names the checkpoints and the rows of metrics.
      tutors: needed if gamma is not 0.
      state: before the first step.
      seed: of the order of images and the random keys.
    """

    recipe: Recipe
    tutors: FixedTutors | SampledTutors | None
    state: State
    seed: int


def train_arms(run: Run, model: nn.Module, arms: Sequence[Arm]) -> None:
    """Trains arms of one network, `train.side_by_side` of them in one program where they are alike; resumable."""
    for group in arm_groups(arms, run.config.train.side_by_side):
        trainer, state = arm_trainer(run, model, group)
        trainer.fit(state)
        forget_programs()


def arm_groups(arms: Sequence[Arm], size: int) -> list[list[Arm]]:
    """Cuts arms into groups for `arm_trainer`: up to `size` that differ in stage, weights, fixed tutors and seed alone.

    Several seeds share a group where all of them have as many arms and these fit.
    """
    kinds: list[list[Arm]] = []
    for arm in arms:
        if alike := [kind for kind in kinds if _alike(kind[0], arm)]:
            alike[0].append(arm)
        else:
            kinds.append([arm])
    groups = []
    for kind in kinds:
        parts = [[arm for arm in kind if arm.seed == seed] for seed in dict.fromkeys(arm.seed for arm in kind)]
        each, width = len(parts[0]), size
        if each <= size and all(len(part) == each for part in parts):
            parts, width = [[arm for part in parts for arm in part]], size // each * each
        groups += [part[first : first + width] for part in parts for first in range(0, len(part), width)]
    return groups


def _alike(one: Arm, other: Arm) -> bool:
    """Whether one program can train both."""

    def shared(arm: Arm) -> tuple[Any, ...]:
        objective = dataclasses.replace(arm.recipe.objective, gamma=0.0, kl_weight=0.0)
        # A pass on clean images that one of them alone would make moves its running statistics.
        return dataclasses.replace(arm.recipe, stage="", objective=objective), arm.recipe.objective.needs_clean

    return SampledTutors not in (type(one.tutors), type(other.tutors)) and shared(one) == shared(other)


def arm_trainer(run: Run, model: nn.Module, arms: Sequence[Arm]) -> tuple[Trainer, State]:
    """The trainer of a group of `arm_groups`, and the state that it starts from.

    A group of one trains by the step of its recipe alone. After `Trainer.fit`, as at any stop on the way, every arm has
    its own checkpoints: `rnas.runs.stage_trainers.trained` reads the best and the latest.
    """
    config, count = run.config, len(arms)
    seeds = tuple(dict.fromkeys(arm.seed for arm in arms))
    if config.data.streaming and seeds != (config.seed,):
        raise ValueError(f"arms of seeds {seeds}: a stream has the order of the run's seed, {config.seed}, alone.")
    arms = sorted(arms, key=lambda arm: seeds.index(arm.seed))
    shape = tuple(axis for axis in (len(seeds), count // len(seeds)) if axis > 1)
    stages = tuple(arm.recipe.stage for arm in arms)
    assert len(set(stages)) == count == np.prod(shape, dtype=int), (stages, seeds)
    # From the host: arms may start with the same arrays, and those on a device would be donated with the first.
    recipe, tutors, state = arms[0].recipe, arms[0].tutors, jax.device_get(arms[0].state)
    if shape:
        assert all(_alike(arms[0], arm) for arm in arms[1:]), stages
        recipe, tutors, state = _together(arms, shape)
    loader = recipe_loader(run, recipe, _rows_at(run, recipe, seeds))
    step, source = network_step(run, recipe, model, tutors, loader)
    trainer = make_trainer(
        run, stages[0], step, source, epochs=recipe.epochs, steps_per_epoch=step.steps_per_epoch,
        validate=_validate(run, model, shape), validate_from=config.validation.first_epoch,
        randomness=recipe.randomness,
    )  # fmt: skip
    plan = dataclasses.replace(trainer.plan, seed=seeds if len(seeds) > 1 else seeds[0], networks=stages)
    kept = [checkpoints(run, stage) for stage in stages]
    logs = [MetricsLog(run.workdir, stage, config.trackers) for stage in stages]
    if not shape:
        return dataclasses.replace(trainer, plan=plan, checkpoints=kept[0], log=logs[0]), state
    together = step if count == len(seeds) else side_by_side(step, apart=True)
    if len(seeds) > 1:
        together = over_seeds(together, cached_teacher=source.cached_teacher is not None)
    options: dict[str, Any] = dict(streaming=source.loader.streaming, cached_teacher=source.cached_teacher)
    program = run_steps(together, step.metrics, networks=shape, **options)
    records: dict[str, Any] = dict(checkpoints=StackedCheckpoints(kept, shape), log=StackedLog(logs))
    return dataclasses.replace(trainer, plan=plan, run=program, **records), state


def _together(arms: Sequence[Arm], shape: tuple[int, ...]) -> tuple[Recipe, IndexedTutors | None, State]:
    """The recipe and the tutors of all arms, and their states, stacked, with what each arm has of its own."""
    terms: list[Objective] = [arm.recipe.objective for arm in arms]
    gammas, kl_weights = [each.gamma for each in terms], [each.kl_weight for each in terms]
    objective = dataclasses.replace(terms[0], gamma=max(gammas), kl_weight=max(kl_weights))
    tutors, rows = None, None
    if objective.gamma:
        taught: list[Any] = [arm.tutors if gamma else None for arm, gamma in zip(arms, gammas, strict=True)]
        tutors, rows = index_tutors(taught)
        rows = rows.reshape(*shape, -1)
    own = ArmTerms(jnp.asarray(gammas, float).reshape(shape), jnp.asarray(kl_weights, float).reshape(shape), rows)
    state = dataclasses.replace(stacked([jax.device_get(arm.state) for arm in arms], shape), arm=own)
    return dataclasses.replace(arms[0].recipe, objective=objective), tutors, state


def _rows_at(run: Run, recipe: Recipe, seeds: Sequence[int]) -> Callable | None:
    """Rows of the training images, [count, batch_size] of one seed, [count, S, batch_size] of several."""
    if run.config.data.streaming:
        return None
    orders = [recipe_rows(run, recipe, seed) for seed in seeds]
    if len(orders) == 1:
        return orders[0]
    return lambda first, count: np.stack([rows_at(first, count) for rows_at in orders], axis=1)


def _validate(run: Run, model: nn.Module, shape: tuple[int, ...]) -> Callable[[State], dict[str, Any]] | None:
    """State → scores on held-out images, of every network in the state."""
    validate = run.validate(predict(model))
    if validate is None or not shape:
        return validate

    def each(state: State) -> dict[str, Any]:
        scores = [validate(own) for own in unstacked(jax.device_get(state), shape)]
        return {name: np.array([own[name] for own in scores]) for name in scores[0]}

    return each
