"""The host loop: it sends steps to the devices, records what they report, and keeps checkpoints.

It does no model mathematics.
"""

from collections.abc import Callable
import dataclasses
from typing import Any
import zlib

import jax
import jax.numpy as jnp
import numpy as np

from rnas.steps import NEVER
from rnas.steps.state import State
from rnas.training.checkpoints import Checkpoints
from rnas.training.collapse import NAME as ADVERSARIAL_ACCURACY
from rnas.training.collapse import CollapseRule
from rnas.training.hosts import gathered
from rnas.training.interruption import Interrupted, Interruption
from rnas.training.loaders import Loader, replicate
from rnas.training.metrics_log import MetricsLog
from rnas.training.progress import Progress
from rnas.training.stacked_records import StackedCheckpoints, StackedLog


class DivergedError(ValueError):
    """The loss became NaN or infinite."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """How long a stage runs and how often it looks up.

    All numbers are steps; where `validate_every` is 0 or the end comes before `validate_from`, the end is validated.
    """

    stage: str
    total: int
    steps_per_epoch: int
    log_every: int
    checkpoint_every: int
    validate_every: int
    seed: int | tuple[int, ...]  # several: see `rnas.steps.over_seeds`
    validate_from: int = 0
    observe_every: int = 0
    randomness: str | None = None  # names the root key of the steps; None: the stage
    networks: tuple[str, ...] = ()  # names, where several train side by side: each metric has an entry for each

    def next_stop(self, step: int, most: int) -> int:
        """The step after which the host acts next; a dispatch never runs past it."""
        marks = [self.log_every, self.checkpoint_every, self.validate_every, self.observe_every]
        return min([step + most, self.total] + [(step // every + 1) * every for every in marks if every])

    def is_due(self, step: int, every: int) -> bool:
        return step == self.total or bool(every and step % every == 0)

    def is_validated(self, step: int) -> bool:
        return step >= min(self.validate_from, self.total) and self.is_due(step, self.validate_every)


def stage_key(seed: int | tuple[int, ...], stage: str) -> jax.Array:
    """Root key of a stage, or one of each seed; every key of a step is folded from it and the step."""
    if isinstance(seed, tuple):
        return jnp.stack([stage_key(each, stage) for each in seed])
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(stage.encode()))


@dataclasses.dataclass(frozen=True)
class Trainer:
    """One stage that trains: what runs, on which images, and where it is recorded."""

    plan: Plan
    run: Callable  # many steps as one program, from `rnas.steps.run_steps`
    loader: Loader
    checkpoints: Checkpoints | StackedCheckpoints  # they hold everything that a resumed run needs
    log: MetricsLog | StackedLog
    teacher_variables: Any = None  # frozen; never part of a checkpoint
    # state → metrics on held-out images; 'score' chooses the best checkpoint
    validate: Callable[[State], dict[str, Any]] | None = None
    # state → figures of the architecture, recorded at the start of every epoch and at the end
    observe: Callable[[State], dict[str, float]] | None = None
    collapse: CollapseRule | None = None  # for stages that train under attack; None: never

    def fit(self, state: State) -> State:
        """Runs the stage from its latest checkpoint, or from `state`, to its last step, and returns the state there.

        `state` is also the template that checkpoints must fit.

        Raises:
          DivergedError: the loss is not finite; the message names the step and the checkpoint that is left.
          CollapsedError: held-out accuracy fell as `collapse` describes; this step is not saved, the best one is left.
          Interrupted: after a checkpoint, where SIGINT or SIGTERM asked for an end.
        """
        plan, loader = self.plan, self.loader
        with self.checkpoints as checkpoints, self.log as log:
            restored = checkpoints.restore(state)
            state, figures = (restored.state, restored.figures) if restored else (state, {})
            step = int(state.step)
            if len(steps := set(gathered(step).tolist())) > 1:
                raise ValueError(f"stage {plan.stage!r}: the processes read checkpoints of steps {sorted(steps)}.")
            log.rewind(step if restored else -1)
            state, teacher_variables = replicate((state, self.teacher_variables))
            root = stage_key(plan.seed, plan.randomness or plan.stage)
            reports = Reports(plan, checkpoints, log)
            if restored is None:
                self._observe(state, step)
            with Progress(plan.stage, plan.total, step) as progress, Interruption() as interruption:
                while step < plan.total:
                    stop = plan.next_stop(step, loader.most)
                    block = loader.dispatch(step, stop - step)
                    state, sums = self.run(state, *block, np.int32(stop - step), teacher_variables, root)
                    # The dispatch above runs while the metrics before it are read.
                    if plan.is_due(step, plan.log_every):
                        reports.settle()
                        progress.update(step, **reports.shown)
                    reports.add(stop, sums)
                    step = stop
                    if plan.is_due(step, plan.observe_every):
                        reports.settle()
                        self._observe(state, step)
                    validate = self.validate if plan.is_validated(step) else None
                    # All hosts leave the loop at the same step; where metrics are due they wait anyway.
                    stopping = interruption.requested(meeting=plan.is_due(step, plan.log_every))
                    if validate or plan.is_due(step, plan.checkpoint_every) or stopping:
                        reports.settle()
                        scores = validate(state) if validate else None
                        if scores:
                            log.write(step, step / plan.steps_per_epoch, "validation", scores)
                        if scores and self.collapse:
                            trained = reports.means.get(ADVERSARIAL_ACCURACY, 0.0)
                            figures = self.collapse.check(
                                plan.networks or (plan.stage,), step, scores, trained, figures
                            )
                        checkpoints.save(step, jax.device_get(state), scores, figures)
                        progress.update(step, **reports.shown)
                        if stopping:
                            checkpoints.wait()
                            text = f"stage {plan.stage!r} was interrupted and saved at step {step}."
                            raise Interrupted(text, stopping)
            checkpoints.wait()
        return jax.device_get(state)

    def _observe(self, state: State, step: int) -> None:
        if self.observe is not None and (figures := self.observe(state)):
            self.log.write(step, step / self.plan.steps_per_epoch, "architecture", figures)


class Reports:
    """Metric sums that the host has not read yet. Reading them is where the host waits for the devices."""

    def __init__(self, plan: Plan, checkpoints: Checkpoints | StackedCheckpoints, log: MetricsLog | StackedLog):
        self._plan, self._checkpoints, self._log = plan, checkpoints, log
        self._pending: list[tuple[int, Any]] = []
        self.means: dict[str, float] = {}  # the latest that were logged
        self.shown: dict[str, Any] = {}  # those worth showing

    def add(self, step: int, sums: Any) -> None:
        """Notes the sums of a dispatch that ends at `step`."""
        self._pending.append((step, sums))

    def settle(self) -> None:
        """Reads and logs the mean over all dispatches so far; raises `DivergedError` where one was not finite."""
        if not self._pending:
            return
        sums = jax.device_get([sums for _, sums in self._pending])
        reached = self._pending[-1][0]
        self._pending.clear()
        nonfinite = np.min([np.ravel(each["nonfinite_step"]) for each in sums], axis=0)  # of each network
        if (bad := nonfinite.min()) != NEVER:
            name = (self._plan.networks or [self._plan.stage])[nonfinite.argmin()]
            left = self._checkpoints.steps()
            keep = f"the checkpoint of step {left[-1]} is left" if left else "no checkpoint was written yet"
            raise DivergedError(
                f"stage {name!r} diverged: the loss of step {bad}, or its gradient, is not finite; {keep}. "
                "Lower the learning rate of this stage, or the beta of its method, in a new work directory."
            )
        names = [name for name in sums[0] if name != "nonfinite_step"]
        total: dict[str, Any] = {name: sum(np.float64(each[name]) for each in sums) for name in names}
        count = total.pop("count")
        self.means = means = {name: value / count for name, value in total.items()}
        over_all = {name: np.mean(means.get(name, 0.0)) for name in ("loss", "accuracy", "adversarial_accuracy")}
        self.shown = {name: mean for name, mean in over_all.items() if mean}
        self._log.write(reached, reached / self._plan.steps_per_epoch, "train", means)
