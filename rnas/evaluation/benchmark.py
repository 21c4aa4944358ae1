"""The resumable benchmark of one model: clean accuracy, attacks, curve, transfer, sanity checks, stored images."""

from collections.abc import Sequence
import dataclasses
from dataclasses import dataclass
import datetime
from pathlib import Path
import sys

import jax
import numpy as np

from rnas.artifacts.attack import AttackRow, Cost, FoolingImages, Rounded, TransferRow
from rnas.artifacts.scores import Curve, Score
from rnas.attacks.batching import concurrent_batches
from rnas.attacks.input_checks import SLACK
from rnas.attacks.programs import AttackRun, in_turn, runs_of
from rnas.attacks.sanity_checks import Check, check_stored
from rnas.evaluation import sanity
from rnas.evaluation.examples import Examples
from rnas.evaluation.ledger import Ledger, wait_for_all
from rnas.evaluation.measuring import Claims, Measuring, Meter, Task
from rnas.evaluation.runner import Runner, pixels
from rnas.evaluation.transfer import Transfer
from rnas.training.progress import Progress

CURVE = (0, 1, 2, 4, 8, 16, 32, 64, 128, 255)  # radii / 255, in Linf
CURVE_OF_OTHERS = (0, 0.25, 0.5, 1, 2, 4)  # times the radius of the threat, in L2 and L1


@dataclass(frozen=True)
class BenchmarkResult:
    """What a benchmark measured; see `rnas.artifacts.attack.AttackSummary` for the fields."""

    clean: Score
    attacks: tuple[AttackRow, ...]
    robust: Score
    rounded: Rounded
    curve: Curve
    transfer: tuple[TransferRow, ...]
    checks: tuple[Check, ...]
    seconds: float
    cost: Cost


def run_benchmark(task: Task, ledger: Ledger, transfers: Sequence[Transfer]) -> BenchmarkResult:
    """Runs a benchmark, or the rest of one that was interrupted.

    Args:
      ledger: where finished batches are kept.
      transfers: images of other models, to be tried on this one.
    """
    count = len(task.split)
    everyone = np.arange(count)
    progress = Progress(f"attack {task.model.name}", count, unit="forward")
    meter = Meter(progress, expected=float(count))
    measuring = Measuring(task, ledger, meter)
    forward_seconds = measuring.seconds_of_a_pass()
    with progress:
        clean = measuring.run("clean", measuring.judge, everyone)
        right = np.flatnonzero(~clean["wrong"].astype(bool))
        examples = Examples.of(task.split, clean, task.attack_names)
        estimate = _estimate(task, len(right))
        meter.expected = count + estimate
        _announce(task, len(right), estimate, forward_seconds)
        checks = [sanity.check_model_outputs(measuring)]
        claims = Claims.none(count)
        attacks, images = _run_attacks(measuring, examples, claims)
        curve = _measure_curve(measuring, right)
        transferred = [_try_images(measuring, *numbered) for numbered in enumerate(transfers)]
        checks += sanity.run_checks(measuring, right, examples, claims, transferred, curve)
        stored, rounded = _store_images(measuring, examples, images)
        meter.progress.update(round(meter.forwards), round(meter.forwards))
    return BenchmarkResult(
        clean=Score.of(len(right), count),
        attacks=attacks,
        robust=Score.of(int(np.sum(~examples.wrong)), count),
        rounded=rounded,
        curve=curve,
        transfer=tuple(
            TransferRow(transfer.source, transfer.model, Score.of(int(np.sum(~wrong)), count))
            for transfer, wrong in zip(transfers, transferred, strict=True)
        ),
        checks=tuple(sorted((*checks, stored), key=lambda check: check.letter)),
        seconds=round(meter.seconds, 1),
        cost=Cost(forward_seconds, round(estimate), round(meter.forwards), measuring.compilations),
    )


def _run_attacks(measuring: Measuring, examples: Examples, claims: Claims) -> tuple[tuple[AttackRow, ...], np.ndarray]:
    """Runs the plan; returns a row for each attack and the stored images, clean where nothing fooled."""
    task, meter = measuring.task, measuring.meter
    count, images = len(task.split), pixels(task.split.images).copy()
    individually = task.settings.individually
    table: list[AttackRow] = []
    wrong = examples.wrong

    def attack(run, rows, carry):
        return measuring.attack(run, rows, carry, claims)

    for name in task.attack_names:
        runs = [run for run in task.plan.runs if run.name == name]
        alone = examples.clean_wrong.copy() if individually else wrong.copy()
        before = alone.copy()
        for run, rows, result in in_turn(runs, attack, alone):
            if result is None:
                continue
            new = rows[result.success & ~wrong[rows]]
            images[new] = result.images[result.success & ~wrong[rows]]
            examples.add(name, rows, result, new)
            wrong[new] = True
            meter.robust = float(np.mean(~wrong))
            fooled = f"fooled {int(np.sum(result.success))} of {len(rows)}"
            _log(task.folder, f"{run.label}: {fooled}, {np.sum(~wrong)} are not fooled")
        is_alone = individually or not table
        table.append(
            AttackRow(
                name=name,
                settings=runs[0].settings,
                attacked=int(np.sum(~before)),
                fooled=int(np.sum(alone & ~before)),
                cumulative=Score.of(int(np.sum(~wrong)), count),
                alone=Score.of(int(np.sum(~alone)), count) if is_alone else None,
                seconds=round(meter.attack_seconds[name], 1),
                queries=int(np.sum(examples.queries_of[name])),
            )
        )
    examples.finish(images, measuring.recount(np.arange(count), images))
    return tuple(table), images


def _curve_run(norm: str) -> AttackRun:
    return runs_of("apgd_ce" if norm == "l1" else "pgd_20", norm, num_classes=2)[0]


def _measure_curve(measuring: Measuring, right: np.ndarray) -> Curve:
    """Accuracy at each radius, each measured on all correctly classified examples."""
    threat, count = measuring.task.threat, len(measuring.task.split)
    run = _curve_run(threat.norm)
    if threat.norm == "linf":
        radii = sorted({*(number / 255 for number in CURVE), threat.epsilon})
    else:
        radii = sorted({share * threat.epsilon for share in CURVE_OF_OTHERS})
    points = []
    for radius in radii:
        fooled = sanity.extra_attack(measuring, f"curve {radius:.6f}", run, right, radius)
        points.append((radius, Score.of(len(right) - int(np.sum(fooled)), count)))
    return Curve(run.name, tuple(points))


def _try_images(measuring: Measuring, number: int, transfer: Transfer) -> np.ndarray:
    """Whether the images of another model fool this one, bool [N]."""
    split = dataclasses.replace(measuring.task.split, images=transfer.images)
    everyone = np.arange(len(split))
    return measuring.run(f"transfer {number}", measuring.judge, everyone, split=split)["wrong"].astype(bool)


def _store_images(measuring: Measuring, examples: Examples, images: np.ndarray) -> tuple[Check, Rounded]:
    """Writes images and examples, reads the images back, and judges them in a fresh program of another size."""
    task = measuring.task
    if jax.process_index() == 0:
        examples.write(task.folder, images, pixels(task.split.images))
    wait_for_all()
    stored = FoolingImages.read(task.folder)
    devices = jax.device_count()
    other_size = max(1, task.settings.batch_size * 3 // 4 // devices) * devices
    again = measuring.recount(stored.row, stored.images, Runner(task.model.predict, [other_size], what=""))
    labels = task.split.labels[stored.row]
    # Of a random model the verdict is that of many draws.
    predictions = np.where(again["wrong"], -1, labels) if task.is_random else again["prediction"]
    epsilon, norm = task.threat.epsilon, task.threat.norm
    check = check_stored(stored.clean, stored.images, predictions, labels, epsilon=epsilon, norm=norm)
    bytes_again = np.round(stored.images * 255).astype(np.float32) / np.float32(255)
    fooling = measuring.recount(stored.row, bytes_again)["wrong"]
    outside = examples.lengths(bytes_again, stored.clean)[norm] > epsilon + SLACK * max(1.0, epsilon)
    return check, Rounded(len(stored.row), int(np.sum(fooling)), int(np.sum(outside)))


def _estimate(task: Task, right: int) -> float:
    """Forward passes of one image, should nothing be fooled."""
    norm = task.threat.norm
    attacks = sum(run.cost for run in task.plan.runs)
    radii = len(CURVE) + 1 if norm == "linf" else len(CURVE_OF_OTHERS)
    return right * (attacks + radii * _curve_run(norm).cost) + min(right, sanity.EXAMPLES) * sanity.cost(norm)


def _announce(task: Task, right: int, estimate: float, forward_seconds: float) -> None:
    minutes = estimate * forward_seconds / concurrent_batches() / 60
    _log(
        task.folder,
        f"{len(task.split)} images, {right} classified correctly. At most {estimate:,.0f} forward passes of one image, "
        f"{minutes:,.1f} min at {1e3 * forward_seconds:.3g} ms each; fooled images drop out.",
    )


def _log(folder: Path, line: str) -> None:
    if jax.process_index():
        return
    print(line, file=sys.stderr, flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "attack.log", "a", encoding="utf-8") as log:
        log.write(f"{datetime.datetime.now().isoformat(timespec='seconds')} {line}\n")
