"""The attacks of the catalogue as programs, in runs: one restart, one target class, or one block of queries each.

After every run the examples it fooled can be left out, which is what makes an ensemble affordable. A program has the
form (logits_fn, images, labels, keys [N], settings, carry) -> (AttackResult, carry). It is pure, and the same object
for all runs that differ in numbers only, so that they share one compilation.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
import functools
from typing import Any, NamedTuple
import zlib

import jax
import jax.numpy as jnp
import numpy as np

from rnas.attacks import catalogue, losses
from rnas.attacks.apgd import apgd
from rnas.attacks.batching import take
from rnas.attacks.catalogue import Attack
from rnas.attacks.epsilon_parsing import check_norm
from rnas.attacks.fab import fab
from rnas.attacks.logits import run_model
from rnas.attacks.pgd import pgd, watched_ascent
from rnas.attacks.random_start import folded, initial_images
from rnas.attacks.result import AttackResult, unseen
from rnas.attacks.square import check_height, continue_square, square_result, start_square

TARGETS = 9  # classes that targeted attacks aim at, the likeliest first
TARGETS_APGD_L1 = 5
QUERIES = 5000
BLOCK = 500  # queries of Square between which solved examples are dropped
GRADIENT = 3  # cost of a gradient in forward passes
# Of losses of APGD: the least number of classes, and what to use for fewer.
LEAST_CLASSES = {"dlr": (3, "apgd_margin"), "dlr_targeted": (4, "apgd_dlr with three classes, apgd_margin with two")}
FAB_SETTINGS = {"alpha_max": 0.1, "eta": 1.05, "beta": 0.9}


class RunSettings(NamedTuple):
    """What may change without making another program, scalars."""

    epsilon: Any  # radius in pixel units
    number: Any  # which restart, target or block
    steps: Any  # of projected ascent, as the following
    step_size: Any  # in pixel units
    momentum: Any  # decay of MI-FGSM, 0 for none
    use_margin: Any  # whether the margin is maximised rather than cross-entropy


@dataclass(frozen=True)
class AttackRun:
    """One run of an attack."""

    attack: Attack  # a row of a table of results
    number: int  # which run it is, from 0
    of: int  # how many there are
    program: Callable  # see above
    cost: int  # of one example, in forward passes
    continues: bool = False  # whether it takes over the carry of the run before
    settings: dict[str, Any] = field(default_factory=dict)  # hyperparameters of the attack, for reports
    loss: str = "ce"  # what projected ascent maximises

    def at(self, epsilon: float) -> RunSettings:
        """What its program needs to run at a radius."""
        return run_settings(self.attack, epsilon, self.loss, self.number)

    @property
    def name(self) -> str:
        return self.attack.name

    @property
    def label(self) -> str:
        """Which run of which attack: 'apgd_t 2/9'."""
        return self.name if self.of == 1 else f"{self.name} {self.number + 1}/{self.of}"

    @property
    def key_number(self) -> int:
        """To be folded into the key of each example; programs fold in what tells the runs of an attack apart."""
        return zlib.crc32(self.attack.key_name.encode())


def run_settings(attack: Attack, epsilon: float, loss: str, number: int = 0) -> RunSettings:
    """The settings of one run of `attack` at a radius."""
    return RunSettings(
        epsilon=np.float32(epsilon),
        number=np.int32(number),
        steps=np.int32(attack.steps),
        step_size=np.float32(attack.step_size(epsilon)),
        momentum=np.float32(attack.momentum),
        use_margin=np.bool_(loss == "margin"),
    )


def runs_of(attack: Attack | str, norm: str, num_classes: int, *, eot: int = 1) -> list[AttackRun]:
    """Returns the runs of one attack, in order.

    Args:
      attack: of the catalogue, or its name, followed by '*R' for R restarts where the attack starts at random.
      norm: 'linf', 'l2' or 'l1'.
      num_classes: K; targeted attacks aim at no more than K - 1 classes.
      eot: draws of a random model to average over (APGD only).

    Raises:
      ValueError: for an unknown name or norm, or an attack that K or the norm do not allow.
    """
    check_norm(norm)
    if num_classes < 2:
        raise ValueError(f"a model with K={num_classes} class cannot be fooled.")
    if isinstance(attack, str):
        (attack,) = catalogue.parse(attack)
    return PROGRAMS[attack.program](attack, norm, num_classes, eot)


def check_shape(runs: Sequence[AttackRun], shape: tuple[int, ...], norm: str) -> None:
    """Refuses runs of which one cannot attack images of `shape` (H, W, C)."""
    if any(run.attack.program == "square" for run in runs):
        check_height(shape, norm)


def in_turn(
    runs: Sequence[AttackRun], attack: Callable, fooled: np.ndarray
) -> Iterator[tuple[AttackRun, np.ndarray, Any]]:
    """Makes runs one after the other, each on the examples that no run has fooled yet.

    Args:
      attack: (run, rows, carry) -> (AttackResult of NumPy arrays, carry), over `rows` [n] of the set. Its `success` is
        what counts, so it must have been recounted.
      fooled: bool [N], updated in place.

    Yields:
      (run, rows, result); the result is None where all are fooled.
    """
    carry, before = None, np.zeros(0, int)
    for run in runs:
        rows = np.flatnonzero(~fooled)
        if not len(rows):
            yield run, rows, None
            continue
        if run.continues:
            carry = take(carry, np.searchsorted(before, rows))  # rows only ever drop out, and stay sorted
        result, carry = attack(run, rows, carry if run.continues else None)
        before = rows
        fooled[rows] = result.success
        yield run, rows, result


def ranked(logits: jax.Array, rank: int | jax.Array) -> jax.Array:
    """Returns the class [N] whose logit is the `rank`-th largest of each row; rank 1 is the prediction."""
    # Of classes that tie the first ranks first, as in argmax: else a label could become its own rival.
    return jnp.take(jnp.argsort(logits, axis=1, descending=True), rank - 1, axis=1)


# -- runs of each attack ------------------------------------------------------------------------------


@functools.cache
def _fixed(program: Callable, *settings: Any) -> Callable:
    """The program with its first arguments fixed, one object for the same ones."""
    return functools.partial(program, *settings)


def _ascent_runs(attack: Attack, norm: str, num_classes: int, eot: int) -> list[AttackRun]:
    """FGSM, PGD, MI-FGSM, CW: every restart with every loss."""
    if norm == "l1":
        raise ValueError(
            f"attack {attack.name!r} is not offered in l1, where dense gradient steps are far too weak; use apgd_ce."
        )
    settings = {"steps": attack.steps, "start": attack.start, "step_size": attack.step_words, "loss": attack.loss}
    if attack.repeatable:
        settings["restarts"] = attack.restarts
    losses_in_turn = [loss for loss in attack.losses for _ in range(attack.restarts)]
    program, cost = _fixed(_ascent, attack.start, norm), GRADIENT * attack.steps + 1
    return [
        AttackRun(attack, i, len(losses_in_turn), program, cost, settings=settings, loss=loss)
        for i, loss in enumerate(losses_in_turn)
    ]


def _apgd_runs(attack: Attack, norm: str, num_classes: int, eot: int) -> list[AttackRun]:
    """Every restart, or every target class."""
    (loss,) = attack.losses
    least, instead = LEAST_CLASSES.get(loss, (2, ""))
    if num_classes < least:
        raise ValueError(
            f"{attack.name} needs at least {least} classes, and the model has K={num_classes}; use {instead}."
        )
    settings = {"steps": 100, "loss": loss, "start": "random"}
    cost = GRADIENT * (103 if norm == "l1" else 101)  # its steps, and a start for each of its radii
    if loss == "dlr_targeted":
        count = settings["targets"] = min(TARGETS_APGD_L1 if norm == "l1" else TARGETS, num_classes - 1)
        eot, cost = 1, cost + 1
    else:
        settings |= {"eot": eot, "restarts": attack.restarts}
        count, cost = attack.restarts, eot * cost
    program = _fixed(_apgd, loss, norm, eot)
    return [AttackRun(attack, i, count, program, cost, settings=settings) for i in range(count)]


def _fab_runs(attack: Attack, norm: str, num_classes: int, eot: int) -> list[AttackRun]:
    """Every target class; untargeted, one run whatever the restarts: only the first starts at the image itself."""
    targeted = attack.program == "fab_t"
    count, rivals = (min(TARGETS, num_classes - 1), 1) if targeted else (1, num_classes - 1)
    settings = {"steps": 100, **({"targets": count} if targeted else {"restarts": attack.restarts}), **FAB_SETTINGS}
    program, cost = _fixed(_fab, norm, attack.restarts, targeted), 100 * attack.restarts * (GRADIENT * rivals + 1)
    return [AttackRun(attack, i, count, program, cost + targeted, settings=settings) for i in range(count)]


def _square_runs(attack: Attack, norm: str, num_classes: int, eot: int) -> list[AttackRun]:
    """Blocks of one search."""
    settings = {"queries": QUERIES, "p_init": 0.8, "rescaled_schedule": False, "draws": "per image"}
    blocks = QUERIES // BLOCK
    return [
        AttackRun(attack, i, blocks, _fixed(_square, norm, i == 0), BLOCK + (i == 0), i > 0, settings)
        for i in range(blocks)
    ]


# Program named in the catalogue -> (attack, norm, num_classes, eot) -> its runs.
PROGRAMS: dict[str, Callable[[Attack, str, int, int], list[AttackRun]]] = {
    "ascent": _ascent_runs,
    "apgd": _apgd_runs,
    "apgd_t": _apgd_runs,
    "fab": _fab_runs,
    "fab_t": _fab_runs,
    "square": _square_runs,
}


# -- programs -----------------------------------------------------------------------------------------


def ascend(start, norm, logits_fn, images, labels, keys, settings: RunSettings) -> AttackResult:
    """One run of projected ascent from a 'uniform' start or from 'none': FGSM, PGD, MI-FGSM and CW in one program."""
    return pgd(
        logits_fn, images, labels, key=keys, norm=norm, start=start, loss=_loss(settings), **_ascent_of(settings)
    )


def first_iterates(logits_fn, images, labels, keys, settings: RunSettings, carry) -> jax.Array:
    """Where an ascent in L∞ from a 'uniform' start begins, [N, ...]; `ascend_further` goes on from there."""
    return initial_images(folded(keys, 0), images, settings.epsilon)  # as the first restart of `pgd`


def ascend_further(logits_fn, images, labels, keys, settings: RunSettings, points) -> tuple[AttackResult, jax.Array]:
    """Some steps in L∞ from the iterates `points` [N, ...]: what they found, and the last iterates.

    Momentum starts at 0.
    """
    own = _ascent_of(settings)
    last, result = watched_ascent(
        logits_fn, _loss(settings), points, images, labels, unseen(images), norm="linf", **own
    )
    return result, last


def _loss(settings):
    def loss(logits, labels):
        return jnp.where(settings.use_margin, losses.margin(logits, labels), losses.cross_entropy(logits, labels))

    return loss


def _ascent_of(settings):
    return {
        "epsilon": settings.epsilon,
        "steps": settings.steps,
        "step_size": settings.step_size,
        "momentum": settings.momentum,  # 0 leaves the direction of the gradient, hence plain PGD
    }


def _ascent(start, norm, logits_fn, images, labels, keys, settings, carry):
    return ascend(start, norm, logits_fn, images, labels, folded(keys, settings.number), settings), None


def _apgd(loss, norm, eot, logits_fn, images, labels, keys, settings, carry):
    targets = ranked(run_model(logits_fn, images), settings.number + 2) if loss == "dlr_targeted" else None
    run = dict(epsilon=settings.epsilon, key=folded(keys, settings.number), norm=norm)
    return apgd(logits_fn, images, labels, **run, loss=loss, targets=targets, eot=eot), None


def _fab(norm, restarts, targeted, logits_fn, images, labels, keys, settings, carry):
    targets = ranked(run_model(logits_fn, images), settings.number + 2) if targeted else None
    run = dict(epsilon=settings.epsilon, key=keys, norm=norm)
    return fab(logits_fn, images, labels, **run, restarts=restarts, targets=targets), None


def _square(norm, first, logits_fn, images, labels, keys, settings, carry):
    run = dict(epsilon=settings.epsilon, key=keys, norm=norm)
    state = start_square(logits_fn, images, labels, **run) if first else carry
    before = 0 if first else carry.queries
    run |= dict(first=settings.number * BLOCK, count=BLOCK, queries=QUERIES)
    state = continue_square(logits_fn, state, images, labels, **run)
    return square_result(state, images)._replace(queries=state.queries - before), state
