"""Checkpoints and metrics of networks that train side by side: each network has its own, as if it trained alone."""

from collections.abc import Mapping, Sequence
import contextlib
import dataclasses
from typing import Any

import numpy as np

from rnas.steps import stacked, unstacked
from rnas.steps.state import State
from rnas.training.checkpoints import Checkpoints, Restored
from rnas.training.metrics_log import MetricsLog


class StackedCheckpoints(contextlib.AbstractContextManager):
    """Takes the place of the `Checkpoints` of one network; each keeps its own latest steps and its own best one.

    Args:
      each: of every network, in the order of `rnas.steps.stacked`.
      shape: leading axes of the state's leaves.
    """

    def __init__(self, each: Sequence[Checkpoints], shape: tuple[int, ...]):
        self._each, self._shape = each, shape

    def save(
        self,
        step: int,
        state: State,
        metrics: Mapping[str, Any] | None = None,
        figures: Mapping[str, Any] | None = None,
    ) -> None:
        """Saves a step of every network; `metrics` and `figures` have an entry for each, in the axes `shape`."""
        self.wait()  # so that, whenever the process is killed, no network is more than one step behind
        count = len(self._each)
        for checkpoints, own, scores, kept in zip(
            self._each, unstacked(state, self._shape), _apart(metrics, count), _apart(figures, count), strict=True
        ):
            # A process killed amid these has left some networks ahead: a state is a function of its step.
            if max(checkpoints.steps(), default=-1) < step:
                checkpoints.save(step, own, scores, kept)

    def restore(self, template: State) -> Restored | None:
        """Reads the latest step that every network has undamaged; None where there is none."""
        own, at_most = unstacked(template, self._shape), None
        while True:
            found: list[Any] = [
                checkpoints.restore(state, at_most=at_most) for checkpoints, state in zip(self._each, own, strict=True)
            ]
            if any(each is None for each in found):
                return None
            at_most = min(each.step for each in found)
            if all(each.step == at_most for each in found):
                state = stacked([each.state for each in found], self._shape)
                figures = {
                    name: np.reshape([each.figures[name] for each in found], self._shape) for name in found[0].figures
                }
                return Restored(at_most, dataclasses.replace(state, arm=template.arm), figures)

    def steps(self) -> list[int]:
        """The steps that every network has saved, in ascending order."""
        return sorted(set.intersection(*(set(each.steps()) for each in self._each)))

    def wait(self) -> None:
        for each in self._each:
            each.wait()

    def __exit__(self, *exception) -> None:
        with contextlib.ExitStack() as stack:
            for each in self._each:
                stack.callback(each.close)


class StackedLog(contextlib.AbstractContextManager):
    """Takes the place of the `MetricsLog` of one network; `each` is those of all, in the order of the metrics."""

    def __init__(self, each: Sequence[MetricsLog]):
        self._each = each

    def write(self, step: int, epoch: float, split: str, metrics: Mapping[str, Any]) -> None:
        """Appends a row for every network; `metrics` have an entry for each."""
        for log, own in zip(self._each, _apart(metrics, len(self._each)), strict=True):
            log.write(step, epoch, split, own)

    def rewind(self, step: int) -> None:
        for log in self._each:
            log.rewind(step)

    def __exit__(self, *exception) -> None:
        for log in self._each:
            log.close()


def _apart(metrics: Mapping[str, Any] | None, count: int) -> list[Any]:
    """Metrics of each of `count` networks, or None of each."""
    if metrics is None:
        return [None] * count
    return [{name: float(np.ravel(value)[row]) for name, value in metrics.items()} for row in range(count)]
