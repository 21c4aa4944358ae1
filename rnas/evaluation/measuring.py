"""Programs on the model of a benchmark: every finished batch is kept on disk, all work is counted."""

from collections import defaultdict
from collections.abc import Callable
import dataclasses
import time
from typing import Any

import jax
import numpy as np

from rnas.attacks.batching import batch_sizes, run_concurrently, take
from rnas.attacks.programs import AttackRun
from rnas.attacks.result import AttackResult
from rnas.attacks.square import SquareState
from rnas.attacks.verdict import judge_draws, judge_once
from rnas.data.datasets import Split
from rnas.evaluation.examples import Examples
from rnas.evaluation.ledger import CARRY, Ledger
from rnas.evaluation.runner import Runner
from rnas.evaluation.task import Task
from rnas.training.progress import Progress


class Measuring:
    """Runs programs on the model of a task. Work is counted in forward passes of one image.

    Attributes:
      still: runs the model with its randomness held still; the same runner for a model without randomness.
      judge: the program that decides whether images fool the model.
      expected, forwards: work in all, and what is done.
      seconds: wall time of all finished batches, those before an interruption included.
      attack_seconds: of each attack.
      robust: share of the examples that nothing fooled so far, for the progress line.
    """

    def __init__(self, task: Task, ledger: Ledger, progress: Progress):
        model, settings = task.model, task.settings
        self.task, self.progress = task, progress
        self.expected, self.forwards, self.seconds, self.robust = float(len(task.split)), 0.0, 0.0, 1.0
        self.attack_seconds: dict[str, float] = defaultdict(float)
        self._ledger = ledger
        self._root = key = jax.random.key(settings.seed)
        sizes = batch_sizes(settings.batch_size, jax.device_count())
        self.runner = self.still = Runner(model.predict, sizes)
        if task.is_random:
            still = lambda variables, images: model.predict(variables, images, key)  # noqa: E731
            self.still = Runner(still, sizes)
        self.judge = judge_draws if task.is_random else judge_once

    def run(
        self,
        name: str,
        program: Callable,
        rows: np.ndarray,
        settings: Any = None,
        *,
        key_number: int = 0,
        cost: float = 1.0,
        split: Split | None = None,
        still: bool = False,
    ) -> dict[str, np.ndarray]:
        """Runs a program that returns a dictionary: {array name: [len(rows), ...]}, empty arrays for no rows.

        Args:
          name: of the measurement, unique in the evaluation.
          settings: numbers that do not make another program.
          key_number: to be folded into the random key.
          cost: of one example, in forward passes.
          split: other images of the same examples.
          still: with the randomness of the model held still.
        """
        runner, split = self.still if still else self.runner, split or self.task.split
        key = jax.random.fold_in(self._root, key_number)

        def run(batch):
            return runner.run_batch(self.task.model.variables, split, program, batch, key, settings)

        return self._kept(name, rows, run, cost)

    def run_once(self, program: Callable, rows: np.ndarray, *, still: bool = False) -> dict[str, np.ndarray]:
        """Runs a program on one batch, with nothing kept."""
        runner = self.still if still else self.runner
        return runner.run_batch(self.task.model.variables, self.task.split, program, rows, self._root, None)

    def attack(self, run: AttackRun, rows: np.ndarray, carry: Any, examples: Examples) -> tuple[AttackResult, Any]:
        """One run of an attack, its successes recounted, its claims noted in `examples`.

        `carry` is the state of these rows after the run before; the one after this run is returned too.
        """
        task = self.task
        settings = run.at(task.threat.epsilon)
        key = jax.random.fold_in(self._root, run.key_number)

        def attacked(batch):
            if run.continues and carry is None:
                raise ValueError(
                    f"{task.folder} holds damaged work: {run.label} cannot go on, because the state that the run "
                    f"before it left is gone. Remove {task.folder / 'ledger'} to start from the beginning."
                )
            before = take(carry, np.searchsorted(rows, batch))
            result, after = self.runner.run_batch(
                task.model.variables, task.split, run.program, batch, key, settings, before
            )
            again = self.recount(batch[result.success], result.images[result.success])
            success = result.success.copy()
            success[result.success] = again["wrong"]
            found = {"claimed": result.success, "success": success, "loss": result.loss, "queries": result.queries}
            # Zeros where the clean image stands, because they take no space on disk.
            found["images"] = np.where(success[:, None, None, None], result.images, 0).astype(np.float32)
            return found | {f"{CARRY}{number}": leaf for number, leaf in enumerate(jax.tree.leaves(after))}

        found = self._kept(self.name_of(run), rows, attacked, run.cost)
        leaves: list[Any] = [found[name] for name in sorted(found) if name.startswith(CARRY)]
        if run.continues:
            self._ledger.forget_carry(self.name_of(dataclasses.replace(run, number=run.number - 1)))
        examples.claimed[rows] |= found["claimed"]
        examples.held[rows] &= found["success"] | ~found["claimed"]
        self.attack_seconds[run.name] += float(np.sum(found["seconds"]))
        result = AttackResult(found["images"], found["success"], found["loss"], found["queries"], found["success"])
        return result, SquareState(*leaves) if leaves else None

    def recount(self, rows: np.ndarray, images: np.ndarray, runner: Runner | None = None) -> dict[str, np.ndarray]:
        """Judges `images` [n,H,W,C] that belong to `rows`, in a pass of their own; see `rnas.attacks.verdict.judge`."""
        if not len(rows):
            return defaultdict(lambda: np.zeros(0, bool))
        split = Split(images, self.task.split.labels[rows], self.task.split.ids[rows])
        everyone = np.arange(len(rows))
        return (runner or self.runner).run(self.task.model.variables, split, self.judge, everyone, self._root, None)

    def name_of(self, run: AttackRun) -> str:
        """A name for a run that no other measurement has."""
        first = next(index for index, other in enumerate(self.task.plan.runs) if other.name == run.name)
        return f"{first:03d}_{run.name}_{run.number:03d}"

    def seconds_of_a_pass(self) -> float:
        """Seconds of a forward pass of one image, in a full batch, compiled."""
        first = self.task.first_batch
        if not len(first):
            return 0.0
        for _ in range(2):
            began = time.perf_counter()
            self.run_once(self.judge, first)
        return (time.perf_counter() - began) / len(first)

    def _kept(self, name: str, rows: np.ndarray, run: Callable, cost: float) -> dict[str, np.ndarray]:
        def batches(left):
            return run_concurrently(run, self.runner.cut_batches(left, total=len(rows)))

        def finished(examples):
            self.forwards += examples * cost
            self.progress.update(round(self.forwards), round(self.expected), robust=self.robust)

        before = self.forwards
        found = self._ledger.measured(name, rows, batches, finished)
        self.forwards = before + len(rows) * cost  # what was finished before a stop counts too
        self.seconds += float(np.sum(found.get("seconds", 0.0)))
        return defaultdict(lambda: np.zeros(0, bool), found)
