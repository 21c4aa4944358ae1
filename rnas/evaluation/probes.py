"""What the self-checks measure, as programs for `Runner`: (logits_fn, images, labels, keys, settings, carry)."""

from collections.abc import Callable
import functools

from rnas.attacks import measurements
from rnas.attacks.apgd import ascend

COSTS = {"gradients": 10, "rise": 303, "stability": 103, "noise": 100}  # forward passes of an example, see `Part`
# Attacks that check D compares, by their role there; not in L1.
ORDER = {"fgsm": "fgsm", "pgd": "pgd_20", "pgd_twice_steps": "pgd_40", "pgd_restarts": "pgd_20*5"}


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
    """How much noise moves the loss, and how much the gradient says it can."""
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
