"""The resumable benchmark of one model: clean accuracy, attacks, curve, transfer, sanity checks, stored images."""

from collections.abc import Iterator, Sequence
import dataclasses
import datetime
from typing import Any

import jax
import numpy as np

from rnas.artifacts.attack import IMAGES, AttackRow, AttackSummary, Cost, FoolingImages, Rounded, TransferRow
from rnas.artifacts.run_record import precision, versions
from rnas.artifacts.scores import Curve, Score
from rnas.attacks.batching import concurrent_batches
from rnas.attacks.input_checks import SLACK
from rnas.attacks.programs import AttackRun, in_turn, runs_of
from rnas.attacks.sanity_checks import CAVEAT, Check, check_stored
from rnas.evaluation import sanity
from rnas.evaluation.evaluated_model import shorter_floats
from rnas.evaluation.examples import Examples
from rnas.evaluation.ledger import Ledger
from rnas.evaluation.measuring import Measuring
from rnas.evaluation.runner import Runner, pixels
from rnas.evaluation.task import Task
from rnas.evaluation.transfer import Transfer
from rnas.steps.meeting import meet
from rnas.training.messages import write
from rnas.training.progress import Progress

CURVE = (0, 1, 2, 4, 8, 16, 32, 64, 128, 255)  # radii / 255, in Linf
CURVE_OF_OTHERS = (0, 0.25, 0.5, 1, 2, 4)  # times the radius of the threat, in L2 and L1


def run_benchmark(task: Task, ledger: Ledger, transfers: Sequence[Transfer]) -> AttackSummary:
    """Runs a benchmark, or the rest of one that was interrupted, whose finished batches are in the ledger."""
    count, version = len(task.split), task.plan.version
    everyone = np.arange(count)
    progress = Progress(f"attack {task.model.name}", count, unit="forward")
    measuring = Measuring(task, ledger, progress)
    with progress:
        forward_seconds = measuring.seconds_of_a_pass()
        clean = measuring.run("clean", measuring.judge, everyone)
        right = np.flatnonzero(~clean["wrong"].astype(bool))
        examples = Examples(task.split, clean, task.attack_names)
        estimate = _estimate(task, len(right))
        measuring.expected = count + estimate
        minutes = estimate * forward_seconds / concurrent_batches() / 60
        _log(
            task,
            f"{count} images, {len(right)} classified correctly. At most {estimate:,.0f} forward passes of one image, "
            f"{minutes:,.1f} min at {1e3 * forward_seconds:.3g} ms each; fooled images drop out.",
        )
        checks = [sanity.check_model_outputs(measuring)]
        attacks, images = _run_attacks(measuring, examples)
        curve = _measure_curve(measuring, right)
        others = [dataclasses.replace(task.split, images=transfer.images) for transfer in transfers]
        transferred = [
            measuring.run(f"transfer {number}", measuring.judge, everyone, split=split)["wrong"].astype(bool)
            for number, split in enumerate(others)
        ]
        checks += sanity.run_checks(measuring, right, examples, transferred, curve)
        stored, rounded = _store_images(measuring, examples, images)
        progress.update(round(measuring.forwards), round(measuring.forwards))
    compilations = sum(runner.compilations for runner in {measuring.runner, measuring.still})
    draw = [jax.random.key(task.settings.seed)] if task.is_random else []
    shorter = shorter_floats(task.model, task.split.images.shape[1:], *draw)
    return AttackSummary(
        identity=task.identity,
        model=task.model.facts(),
        dataset=task.dataset,
        threat=task.threat,
        **{name: getattr(task.settings, name) for name in ("attack", "seed", "batch_size")},
        version=version,
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
        warnings=tuple(_warnings(version, shorter)),
        seconds=round(measuring.seconds, 1),
        cost=Cost(forward_seconds, round(estimate), round(measuring.forwards), compilations),
        caveat=CAVEAT,
        versions=versions(),
        device=jax.devices()[0].device_kind,
        devices=jax.device_count(),
        precision=precision(shorter),
    )


def _warnings(version: str, shorter: Sequence[str]) -> Iterator[str]:
    """What a reader must know beside the checks: of the version of AutoAttack, and of the model's types."""
    if "(K=" in version:
        yield f"AutoAttack {version}: with so few classes a loss of the original is not defined."
    if shorter:
        yield (
            f"The model computes in {' and '.join(shorter)}: rounding distorts the gradients that attacks follow, so "
            "that it can look more robust than it is. Evaluate it in float32."
        )


def _run_attacks(measuring: Measuring, examples: Examples) -> tuple[tuple[AttackRow, ...], np.ndarray]:
    """Runs the plan; returns a row for each attack and the stored images, clean where nothing fooled."""
    task = measuring.task
    count, images = len(task.split), pixels(task.split.images).copy()
    individually = task.settings.individually
    table: list[AttackRow] = []
    wrong = examples.wrong

    def attack(run: AttackRun, rows: np.ndarray, carry: Any):
        return measuring.attack(run, rows, carry, examples)

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
            measuring.robust = float(np.mean(~wrong))
            fooled = f"fooled {int(np.sum(result.success))} of {len(rows)}"
            _log(task, f"{run.label}: {fooled}, {np.sum(~wrong)} are not fooled")
        is_alone = individually or not table
        table.append(
            AttackRow(
                name=name,
                settings=runs[0].settings,
                attacked=int(np.sum(~before)),
                fooled=int(np.sum(alone & ~before)),
                cumulative=Score.of(int(np.sum(~wrong)), count),
                alone=Score.of(int(np.sum(~alone)), count) if is_alone else None,
                seconds=round(measuring.attack_seconds[name], 1),
                queries=int(np.sum(examples.queries_of[name])),
            )
        )
    return tuple(table), images


def _curve_run(norm: str) -> AttackRun:
    return runs_of("apgd_ce" if norm == "l1" else "pgd_20", norm, num_classes=2)[0]


def _measure_curve(measuring: Measuring, right: np.ndarray) -> Curve:
    """Accuracy at each radius, each measured on all correctly classified examples; none without gradients."""
    threat, count = measuring.task.threat, len(measuring.task.split)
    run = _curve_run(threat.norm)
    if not measuring.task.model.differentiable:
        return Curve(run.name, ())
    radii = {share * threat.epsilon for share in CURVE_OF_OTHERS}
    if threat.norm == "linf":
        radii = {*(number / 255 for number in CURVE), threat.epsilon}
    points = []
    for radius in sorted(radii):
        fooled = sanity.extra_attack(measuring, f"curve {radius:.6f}", run, right, radius)
        points.append((radius, Score.of(len(right) - int(np.sum(fooled)), count)))
    return Curve(run.name, tuple(points))


def _store_images(measuring: Measuring, examples: Examples, images: np.ndarray) -> tuple[Check, Rounded]:
    """Writes images and examples, reads the images back, and judges them in a fresh program of another size."""
    task = measuring.task
    judged = measuring.recount(np.arange(len(images)), images)
    if jax.process_index() == 0:
        examples.write(task.folder, images, judged)
    meet("images")
    stored = FoolingImages.read(task.folder / IMAGES)
    devices = jax.device_count()
    other_size = max(1, task.settings.batch_size * 3 // 4 // devices) * devices
    again = measuring.recount(stored.row, stored.images, Runner(task.model.predict, [other_size]))
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
    if not task.model.differentiable:
        return right * attacks
    radii = len(CURVE) + 1 if norm == "linf" else len(CURVE_OF_OTHERS)
    return right * (attacks + radii * _curve_run(norm).cost) + min(right, sanity.EXAMPLES) * sanity.cost(norm)


def _log(task: Task, line: str) -> None:
    if jax.process_index():
        return
    write(line)
    task.folder.mkdir(parents=True, exist_ok=True)
    with open(task.folder / "attack.log", "a", encoding="utf-8") as log:
        log.write(f"{datetime.datetime.now().isoformat(timespec='seconds')} {line}\n")
