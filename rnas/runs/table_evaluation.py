"""Judges the networks of a table by the attacks of NAS-RobBench-201 (arXiv 2403.13134) and writes their results."""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
import numpy as np

from rnas.artifacts.attack import AttackSummary
from rnas.artifacts.run_record import versions
from rnas.artifacts.table_results import Network, NetworkResult, result_file
from rnas.attacks.catalogue import CLEAN
from rnas.data.datasets import Split
from rnas.evaluation import EvaluatedModel, Evaluator, Settings, Threat, assess_dataset
from rnas.evaluation.runner import pixels
from rnas.runs.table_run import TableRun
from rnas.spaces import nasbench201
from rnas.tabular.column_attacks import AUTO_ATTACK_RADIUS, COLUMN_ATTACKS, LAST
from rnas.teachers import content_hash
from rnas.training.messages import say

AUTO_ATTACK = f"{AUTO_ATTACK_RADIUS}/255"


@dataclasses.dataclass(frozen=True)
class TableJudge:
    """Attacks networks of a table, and writes a result for each."""

    run: TableRun
    report: Callable[[Path], object]  # draws the page of a folder of AutoAttack

    @functools.cached_property
    def predict(self) -> Callable:
        """(variables with the encoding among them, images) → logits, in inference mode."""

        def predict(variables, images):
            network = {name: variables[name] for name in ("params", "batch_stats")}
            return self.run.network.apply(network, images, variables["encoding"], train=False)[0]

        return predict

    @functools.cached_property
    def _evaluator(self) -> Evaluator:
        return Evaluator(self.predict, batch_size=self.run.config.evaluation.batch_size, seed=0)

    @functools.cached_property
    def _calibrate(self) -> Callable:
        network = self.run.network.clone(momentum=0.0, axis_name=None)  # nothing is kept of what was there

        def calibrate(variables, images, encoding):
            _, changed = network.apply(variables, images, encoding, train=True, mutable=["batch_stats"])
            return {**variables, **changed}

        return jax.jit(calibrate)

    def calibrated(self, variables: Any, arch: nasbench201.Arch) -> Any:
        """The supernet's variables with BatchNorm statistics of one cell, from training images as they are."""
        images = pixels(self.run.dataset.train.images[: self.run.config.train.calibration])
        return jax.device_get(self._calibrate(variables, images, np.asarray(nasbench201.encode(arch), np.int32)))

    def judge(self, network: Network, variables: Any) -> None:
        """Attacks a network and writes its result."""
        run, more = self.run, {}
        variables = {**variables, "encoding": nasbench201.encodings()[network.id]}
        accuracy = accuracies(self._evaluator, variables, run.test)
        if network.seed in run.config.evaluation.auto_attack_seeds:
            summary = self._auto_attack(network, variables)
            accuracy["autoattack"] = summary.robust.accuracy
            more["failed_checks"] = summary.failed
        result = NetworkResult.of(
            network, dataset=run.config.data.name, accuracy=accuracy, protocol=run.protocol, count=len(run.test),
            **more, versions=versions(), device=jax.devices()[0].device_kind,
        )  # fmt: skip
        result.write(result_file(run.workdir, network))
        say(f"{network.name}: " + ", ".join(f"{name} {value:.4f}" for name, value in accuracy.items()))

    def _auto_attack(self, network: Network, variables: Any) -> AttackSummary:
        run, config = self.run, self.run.config.evaluation
        code, task = nasbench201.to_code(network.id), run.task._asdict()
        cost = functools.partial(nasbench201.cost, variables["encoding"], **task)
        size: dict[str, Any] = {kind: int(cost(kind=kind)) for kind in ("params", "macs")}
        model = EvaluatedModel(
            predict=self.predict, variables=variables, num_classes=run.task.num_classes, name=network.name,
            hash=content_hash(variables), kind="cell", label=f"Cell {code}", source=str(run.workdir),
            architecture=code, checkpoint=None, **size,
        )  # fmt: skip
        folder = run.workdir / "attacks" / network.name
        summary = assess_dataset(
            model, run.dataset, Threat.of(AUTO_ATTACK), Settings(batch_size=config.batch_size), folder.parent,
            split=run.judging, count=config.count or None, output=folder, report=self.report,
        )  # fmt: skip
        (folder / "adversarial.npz").unlink(missing_ok=True)  # of thousands of networks they would fill any disk
        return summary


def accuracies(evaluator: Evaluator, variables: Any, test: Split) -> dict[str, float]:
    """Share of the images of `test` that stand each attack of the table, by metric; AutoAttack is not among them.

    An image that is wrong without attack stands none.
    """
    everyone = np.arange(len(test))
    wrong, _ = evaluator.attack(variables, test, CLEAN, 0.0, everyone)
    right = everyone[~wrong]
    found = {}
    for metric, (attack, radius) in COLUMN_ATTACKS.items():
        fooled = last = np.zeros(0, bool)
        if attack is not CLEAN and len(right):
            fooled, last = evaluator.any_and_last(variables, test, attack, radius / 255, right)
        found[metric] = (len(right) - int(fooled.sum())) / len(test)
        if metric in LAST:
            found[LAST[metric]] = (len(right) - int(last.sum())) / len(test)
    return found
