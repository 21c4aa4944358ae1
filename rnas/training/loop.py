"""The host loop: feeds steps to the devices, records what they report, keeps checkpoints.

`fit` runs one stage to its last step, from wherever its checkpoints stand. It does no model mathematics.
"""

from collections.abc import Callable
import dataclasses
from typing import Any
import zlib

import jax
import numpy as np

from rnas.steps import NEVER
from rnas.steps.state import State
from rnas.training.checkpoints import Checkpoints
from rnas.training.hosts import gathered
from rnas.training.interruption import Interrupted, Interruption
from rnas.training.loaders import ResidentLoader, StreamLoader, replicate
from rnas.training.metrics_log import MetricsLog
from rnas.training.progress import Progress


class DivergedError(ValueError):
    """The loss became NaN or infinite."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """How long a stage runs and how often it looks up.

    All numbers are steps; `validate_every` is 0 to validate only at the end, which also happens where the end comes
    before `validate_from`.
    """

    stage: str
    total: int
    steps_per_epoch: int
    log_every: int
    checkpoint_every: int
    validate_every: int
    seed: int
    validate_from: int = 0
    observe_every: int = 0

    def next_stop(self, step: int, most: int) -> int:
        """The step after which the host acts next; a dispatch never runs past it."""
        marks = [self.log_every, self.checkpoint_every, self.validate_every, self.observe_every]
        return min([step + most, self.total] + [(step // every + 1) * every for every in marks if every])

    def is_due(self, step: int, every: int) -> bool:
        return step == self.total or bool(every and step % every == 0)


def stage_key(seed: int, stage: str) -> jax.Array:
    """Root key of a stage; every key of a step is folded from it and the step."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(stage.encode()))


def fit(
    plan: Plan,
    state: State,
    run: Callable,
    loader: ResidentLoader | StreamLoader,
    *,
    checkpoints: Checkpoints,
    log: MetricsLog,
    teacher_variables: Any = None,
    validate: Callable[[State], dict[str, float]] | None = None,
    observe: Callable[[State], dict[str, float]] | None = None,
) -> State:
    """Runs a stage from its latest checkpoint, or from `state`, to its last step.

    Args:
      state: where a fresh stage starts; also the template that checkpoints must fit.
      run: from `rnas.steps.run_steps`.
      teacher_variables: frozen; never part of a checkpoint.
      validate: state → metrics on held-out images; 'score' chooses the best checkpoint.
      observe: state → figures of the architecture, recorded at the start of every epoch and at the end.

    Returns:
      The state after the last step.

    Raises:
      DivergedError: where the loss is not finite; names the step and the checkpoint that is left.
      Interrupted: after a checkpoint, where SIGINT or SIGTERM asked for an end.
    """
    restored = checkpoints.restore(state)
    if restored is not None:
        state = restored.state
        loader.seek(restored.metadata["loader"])
    step = int(state.step)
    log.rewind(step if restored is not None else -1)
    state, teacher_variables = replicate((state, teacher_variables))
    root = stage_key(plan.seed, plan.stage)
    pending: list[tuple[int, Any]] = []
    last: dict[str, float] = {}

    def settle():
        """Reads the metrics of the dispatches so far; this is where the host waits for the devices."""
        nonlocal last
        if not pending:
            return
        sums = jax.device_get([sums for _, sums in pending])
        reached = pending[-1][0]
        pending.clear()
        if (bad := min(int(each["nonfinite_step"]) for each in sums)) != NEVER:
            left = checkpoints.steps()
            keep = f"the checkpoint of step {left[-1]} is left" if left else "no checkpoint was written yet"
            raise DivergedError(
                f"stage {plan.stage!r} diverged: the loss of step {bad}, or its gradient, is not finite; {keep}. "
                "Lower the learning rate of this stage, or the beta of its method, in a new work directory."
            )
        total = {name: sum(float(each[name]) for each in sums) for name in sums[0] if name != "nonfinite_step"}
        count = total.pop("count")
        last = {name: value / count for name, value in total.items()}
        log.write(reached, reached / plan.steps_per_epoch, "train", last)

    def shown():
        return {name: last[name] for name in ("loss", "accuracy", "adversarial_accuracy") if last.get(name)}

    def look():
        if observe is not None:
            log.write(step, step / plan.steps_per_epoch, "architecture", observe(state))

    if restored is None:
        look()
    with Progress(plan.stage, plan.total, step) as progress, Interruption() as interruption:
        while step < plan.total:
            stop = plan.next_stop(step, loader.most)
            block = loader.dispatch(step, stop - step)
            state, sums = run(state, *block, np.int32(stop - step), teacher_variables, root)
            # The dispatch above runs while the metrics before it are read.
            if plan.is_due(step, plan.log_every):
                settle()
                progress.update(step, **shown())
            pending.append((stop, sums))
            step = stop
            if plan.is_due(step, plan.observe_every):
                settle()
                look()
            scored = step >= min(plan.validate_from, plan.total)
            validating = validate is not None and scored and plan.is_due(step, plan.validate_every)
            stopping = gathered(interruption.requested).any()  # all leave the loop at the same step
            if validating or plan.is_due(step, plan.checkpoint_every) or stopping:
                settle()
                scores = None
                if validate is not None and validating:
                    scores = validate(state)
                    log.write(step, step / plan.steps_per_epoch, "validation", scores)
                checkpoints.save(step, jax.device_get(state), {"loader": loader.position()}, scores)
                progress.update(step, **shown())
                if stopping and step < plan.total:
                    checkpoints.wait()
                    raise Interrupted(f"stage {plan.stage!r} was interrupted and saved at step {step}.")
    checkpoints.wait()
    return jax.device_get(state)
