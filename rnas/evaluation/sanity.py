"""Sanity checks of a benchmark: what they measure of the model, and their verdicts.

Programs have the form that `Runner` takes: (logits_fn, images, labels, keys, settings, carry).
"""

from collections.abc import Callable, Sequence
import functools

import numpy as np

from rnas.artifacts.scores import Curve
from rnas.attacks import measurements, sanity_checks
from rnas.attacks.apgd import ascend
from rnas.attacks.programs import AttackRun, runs_of
from rnas.attacks.sanity_checks import Check
from rnas.evaluation.examples import Examples
from rnas.evaluation.measuring import Claims, Measuring

EXAMPLES = 1000  # that the checks attack, at most: the first ones that are right
PASSES = 5  # of the first batch, which must agree
COSTS = {"gradients": 10, "rise": 303, "stability": 103, "noise": 100}  # forward passes of an example
# Attacks that check D compares, by their role there; not in L1.
ORDER = {"fgsm": "fgsm", "pgd": "pgd_20", "pgd_twice_steps": "pgd_40", "pgd_restarts": "pgd_20*5"}


def cost(norm: str) -> float:
    """Forward passes of one example that all checks together need."""
    order = (run for name in _order(norm).values() for run in runs_of(name, norm, num_classes=2))
    return sum(COSTS.values()) + sum(run.cost for run in order)


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
    claims: Claims,
    transferred: Sequence[np.ndarray],
    curve: Curve,
) -> list[Check]:
    """B to H.

    Args:
      right: rows of the examples that are classified correctly without attack.
      examples: after all attacks.
      transferred: bool [N] for each other model, whether its images fool this one.
      curve: accuracy over the radius.
    """
    task = measuring.task
    norm, count = task.threat.norm, len(task.split)
    settings = task.plan.runs[0].at(task.threat.epsilon)
    some = right[:EXAMPLES]

    def measure(name, program, rows):
        return measuring.run(name, program, rows, settings, cost=COSTS[name], still=True)

    health = measure("gradients", gradients(norm), some)
    loss_rise = measure("rise", rise(norm), some)
    stable = measure("stability", stability, some)
    compared = np.setdiff1d(np.arange(count), np.setdiff1d(right, some))  # wrong from the start counts as fooled
    fooled = {role: _fooled_by(measuring, name, some)[compared] for role, name in _order(norm).items()}
    gradient = examples.fooled_by_gradient | examples.clean_wrong | _gradients_after_square(measuring, examples)
    gradient[compared] |= np.any([np.zeros(len(compared), bool), *fooled.values()], axis=0)
    gradient[some] |= loss_rise["success"].astype(bool)
    fooled["white_box"] = gradient[compared]
    # Of a random model one draw proves nothing: noise would be lucky, claims are recounted over many.
    standing = np.flatnonzero(~gradient)[: 0 if task.is_random else EXAMPLES]
    claimed = claims.made[:0] if task.is_random else claims.made
    noisy = measure("noise", noise(norm), standing)["success"].astype(bool)
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
        sanity_checks.check_silent(claimed, claims.held[: len(claimed)]),
        sanity_checks.check_stability(stable["change"], stable["slope"]),
    ]


def extra_attack(
    measuring: Measuring, name: str, run: AttackRun, rows: np.ndarray, epsilon: float | None = None
) -> np.ndarray:
    """Whether an attack that is not in the plan fools each of `rows`, bool; None: at the radius of the threat."""
    settings = run.at(measuring.task.threat.epsilon if epsilon is None else epsilon)
    program = success_of(run.program)
    found = measuring.run(name, program, rows, settings, key_number=run.key_number, cost=run.cost, still=True)
    return found["success"].astype(bool)


def _order(norm: str) -> dict[str, str]:
    return {} if norm == "l1" else ORDER


def _gradients_after_square(measuring: Measuring, examples: Examples) -> np.ndarray:
    """Whether the gradient attacks of the plan fool what Square had fooled before any of them was tried, bool [N].

    Only so can Square be said to find what they miss.
    """
    fooled = np.zeros(len(measuring.task.split), bool)
    untried = examples.success.get("square", fooled) & ~examples.met_gradient
    for run in measuring.task.plan.runs:
        standing = np.flatnonzero(untried & ~fooled)
        if run.name != "square" and len(standing):
            name = f"after square {measuring.name_of(run)}"
            fooled[standing] = extra_attack(measuring, name, run, standing)
    return fooled


def _fooled_by(measuring: Measuring, name: str, rows: np.ndarray) -> np.ndarray:
    """Fooled bool [N] by any run of attack `name`, made on `rows`; the others were wrong anyway."""
    task = measuring.task
    fooled = np.ones(len(task.split), bool)
    fooled[rows] = False
    for run in runs_of(name, task.threat.norm, task.model.num_classes):
        standing = rows[~fooled[rows]]
        fooled[standing] = extra_attack(measuring, f"order {name} {run.number}", run, standing)
    return fooled


# -- programs -----------------------------------------------------------------------------------------


def logits_of(logits_fn, images, labels, keys, settings, carry):
    """The logits [N, K]."""
    return {"logits": logits_fn(images)}


def _gradients(norm, logits_fn, images, labels, keys, settings, carry):
    run = dict(epsilon=settings.epsilon, key=keys, norm=norm)
    return measurements.gradient_health(logits_fn, images, labels, **run)._asdict()


def _noise(norm, logits_fn, images, labels, keys, settings, carry):
    run = dict(epsilon=settings.epsilon, key=keys, norm=norm)
    return {"success": measurements.random_noise(logits_fn, images, labels, **run).success}


def _rise(norm, logits_fn, images, labels, keys, settings, carry):
    """Best loss of APGD on cross-entropy at the start, after nine tenths of its steps, and at the end; its success."""
    found, best = ascend(logits_fn, images, labels, epsilon=settings.epsilon, key=keys, norm=norm)
    steps = len(best) - 1
    return {"start": best[0], "late": best[steps * 9 // 10], "last": best[-1], "success": found.success}


def stability(logits_fn, images, labels, keys, settings, carry):
    """How much noise moves the loss, and how much the gradient allows."""
    return measurements.loss_stability(logits_fn, images, labels, key=keys)._asdict()


@functools.cache
def gradients(norm: str) -> Callable:
    return functools.partial(_gradients, norm)


@functools.cache
def noise(norm: str) -> Callable:
    return functools.partial(_noise, norm)


@functools.cache
def rise(norm: str) -> Callable:
    return functools.partial(_rise, norm)


@functools.cache
def success_of(program: Callable) -> Callable:
    """An attack of which only the success matters."""

    def run(*arguments):
        result, _ = program(*arguments)
        return {"success": result.success}

    return run
