"""Sanity checks of a benchmark: what they measure of the model, and their verdicts.

Programs have the form that `Runner` takes: (logits_fn, images, labels, keys, settings, carry).
"""

from collections.abc import Callable, Iterable, Sequence
import dataclasses
import functools
from typing import Any

import numpy as np

from rnas.artifacts.scores import Curve
from rnas.attacks import measurements, sanity_checks
from rnas.attacks.apgd import ascend
from rnas.attacks.logits import run_model
from rnas.attacks.programs import AttackRun, runs_of
from rnas.attacks.sanity_checks import Check
from rnas.evaluation.examples import Examples
from rnas.evaluation.measuring import Measuring

EXAMPLES = 1000  # that the checks attack, at most: the first ones that are right
PASSES = 5  # of the first batch, which must agree
COSTS = {"gradients": 10, "rise": 303, "stability": 103, "noise": 100}  # forward passes of an example
# Attacks that check D compares, by their role there; not in L1.
ORDER = {"fgsm": "fgsm", "pgd": "pgd_20", "pgd_twice_steps": "pgd_40", "pgd_restarts": "pgd_20*5"}


def cost(norm: str) -> float:
    """Forward passes of one example that all checks together need."""
    order = () if norm == "l1" else ORDER.values()
    return sum(COSTS.values()) + sum(run.cost for name in order for run in runs_of(name, norm, num_classes=2))


def check_model_outputs(measuring: Measuring) -> Check:
    """A, on the first batch: repeated, and among other neighbours."""
    task = measuring.task
    first = task.first_batch
    if not len(first):
        none = np.zeros((0, task.model.num_classes))
        return sanity_checks.check_outputs(np.zeros((PASSES, *none.shape)), none, np.zeros(0, int))

    def logits(rows):
        return measuring.run_once(logits_of, rows, still=True)["logits"]

    passes = np.stack([logits(first) for _ in range(PASSES)])
    # Every other image: halves in order would meet, on each of several devices, whom they met before. What a
    # random model draws for an image depends on its place in the batch, so there is nothing to compare.
    company = passes[0].copy()
    for some in () if task.is_random else (slice(0, None, 2), slice(1, None, 2)):
        if len(first[some]):
            company[some] = logits(first[some])
    return sanity_checks.check_outputs(passes, company, task.split.labels[first])


def run_checks(
    measuring: Measuring,
    right: np.ndarray,
    examples: Examples,
    transferred: Sequence[np.ndarray],
    curve: Curve,
) -> list[Check]:
    """B to H, after all attacks; without gradients G alone.

    Args:
      right: rows of the examples that are classified correctly without attack.
      transferred: bool [N] for each other model, whether its images fool this one.
    """
    task = measuring.task
    norm, count = task.threat.norm, len(task.split)
    if not task.model.differentiable:
        return _checks_without_gradients(task.model.num_classes, norm, examples)
    settings = task.plan.runs[0].at(task.threat.epsilon)
    some = right[:EXAMPLES]

    def measure(name, program, rows):
        return measuring.run(name, program, rows, settings, cost=COSTS[name], still=True)

    health = measure("gradients", bound(_gradients, norm), some)
    loss_rise = measure("rise", bound(_rise, norm), some)
    stable = measure("stability", stability, some)
    compared = np.setdiff1d(np.arange(count), np.setdiff1d(right, some))  # wrong from the start counts as fooled
    elsewhere, fooled = ~np.isin(np.arange(count), some), {}
    for role, name in () if norm == "l1" else ORDER.items():
        runs = [(f"order {name} {run.number}", run) for run in runs_of(name, norm, task.model.num_classes)]
        fooled[role] = (elsewhere | _fooled_in_turn(measuring, runs, some))[compared]
    # The gradient attacks of the plan on what Square had fooled before any of them was tried: only so can Square be
    # said to find what they miss.
    square = examples.success.get("square", np.zeros(count, bool))
    untried = np.flatnonzero(square & ~examples.with_gradients(examples.queries_of))
    runs = [(f"after square {measuring.name_of(run)}", run) for run in task.plan.runs if run.name != "square"]
    gradient = examples.with_gradients(examples.success) | examples.clean_wrong
    gradient |= _fooled_in_turn(measuring, runs, untried)
    gradient[compared] |= np.any([np.zeros(len(compared), bool), *fooled.values()], axis=0)
    gradient[some] |= loss_rise["success"].astype(bool)
    fooled["white_box"] = gradient[compared]
    # Of a random model one draw proves nothing: noise would be lucky, claims are recounted over many.
    standing = np.flatnonzero(~gradient)[: 0 if task.is_random else EXAMPLES]
    claimed = examples.claimed[:0] if task.is_random else examples.claimed
    noisy = measure("noise", bound(_noise, norm), standing)["success"].astype(bool)
    if np.any(examples.queries_of.get("square", 0)):
        fooled["square"] = (examples.success["square"] | examples.clean_wrong)[compared]
    if transferred:
        fooled["transfer"] = np.any(transferred, axis=0)[compared]
    radii, accuracies = zip(*((radius, score.accuracy) for radius, score in curve.points), strict=True)
    clean = accuracies[0] if task.is_random else len(right) / max(count, 1)
    return [
        sanity_checks.check_gradients(*(health[name] for name in ("zero", "broken", "vanished"))),
        sanity_checks.check_noise(noisy, np.zeros(len(noisy), bool)),
        sanity_checks.check_order(fooled),
        sanity_checks.check_monotone(radii, accuracies, clean, task.model.num_classes, norm),
        sanity_checks.check_finished(*(loss_rise[name] for name in ("start", "late", "last"))),
        sanity_checks.check_silent(claimed, examples.held[: len(claimed)]),
        sanity_checks.check_stability(stable["change"], stable["slope"]),
    ]


def _checks_without_gradients(num_classes: int, norm: str, examples: Examples) -> list[Check]:
    """G; nothing is known of what the others judge, which is how attacks by gradient did."""
    none = np.zeros(0)
    unknown = [
        sanity_checks.check_gradients(none, none, none),
        sanity_checks.check_noise(none, none),
        sanity_checks.check_order({}),
        sanity_checks.check_monotone((), (), 0.0, num_classes, norm),
        sanity_checks.check_finished(none, none, none),
        sanity_checks.check_stability(none, none),
    ]
    skipped = [dataclasses.replace(check, figure="the model has no gradient") for check in unknown]
    return [*skipped, sanity_checks.check_silent(examples.claimed, examples.held)]


def extra_attack(
    measuring: Measuring, name: str, run: AttackRun, rows: np.ndarray, epsilon: float | None = None
) -> np.ndarray:
    """Whether an attack that is not in the plan fools each of `rows`, bool; None: at the radius of the threat."""
    settings = run.at(measuring.task.threat.epsilon if epsilon is None else epsilon)
    program = bound(_success, run.program)
    found = measuring.run(name, program, rows, settings, key_number=run.key_number, cost=run.cost, still=True)
    return found["success"].astype(bool)


def _fooled_in_turn(measuring: Measuring, runs: Iterable[tuple[str, AttackRun]], rows: np.ndarray) -> np.ndarray:
    """Fooled bool [N] by any of the runs, named as measurements; each is made on those of `rows` still standing."""
    fooled = np.zeros(len(measuring.task.split), bool)
    for name, run in runs:
        if len(standing := rows[~fooled[rows]]):
            fooled[standing] = extra_attack(measuring, name, run, standing)
    return fooled


# -- programs -----------------------------------------------------------------------------------------


def logits_of(logits_fn, images, labels, keys, settings, carry):
    """The logits [N, K]."""
    return {"logits": run_model(logits_fn, images)}


def _gradients(norm, logits_fn, images, labels, keys, settings, carry):
    threat = dict(epsilon=settings.epsilon, norm=norm)
    return measurements.gradient_health(logits_fn, images, labels, key=keys, **threat)._asdict()


def _noise(norm, logits_fn, images, labels, keys, settings, carry):
    threat = dict(epsilon=settings.epsilon, norm=norm)
    return {"success": measurements.random_noise(logits_fn, images, labels, key=keys, **threat).success}


def _rise(norm, logits_fn, images, labels, keys, settings, carry):
    """Best loss of APGD on cross-entropy at the start, after nine tenths of its steps, and at the end; its success."""
    found, best = ascend(logits_fn, images, labels, epsilon=settings.epsilon, key=keys, norm=norm)
    steps = len(best) - 1
    return {"start": best[0], "late": best[steps * 9 // 10], "last": best[-1], "success": found.success}


def stability(logits_fn, images, labels, keys, settings, carry):
    """How much noise moves the loss, and how much the gradient allows."""
    return measurements.loss_stability(logits_fn, images, labels, key=keys)._asdict()


def _success(attack, *arguments):
    result, _ = attack(*arguments)
    return {"success": result.success}


@functools.cache
def bound(program: Callable, first: Any) -> Callable:
    """A program with its first argument; the same object every time, so that it is compiled once."""
    return functools.partial(program, first)
