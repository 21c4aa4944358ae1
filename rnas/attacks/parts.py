"""Attacks by name, cut into parts: one restart, one target class, or one block of queries each.

After every part the examples it fooled can be left out, which is what makes an ensemble affordable. A part is a
program in the form (logits_fn, images, labels, keys [N], settings, carry) -> (AttackResult, carry): pure, and
the same object for all parts that differ in numbers only, so that they share one compilation.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
import functools
import re
from typing import Any, NamedTuple
import zlib

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from rnas.attacks import losses
from rnas.attacks.apgd import apgd
from rnas.attacks.draws import alone
from rnas.attacks.fab import fab
from rnas.attacks.hyperplane import NORMS
from rnas.attacks.packing import take
from rnas.attacks.pgd import pgd
from rnas.attacks.result import AttackResult
from rnas.attacks.square import check_height, continue_square, square_result, start_square
from rnas.attacks.starts import folded

TARGETS = 9  # classes that targeted attacks aim at, the likeliest first
TARGETS_APGD_L1 = 5
QUERIES = 5000
BLOCK = 500  # queries of Square between which solved examples are dropped
DRAWS = 20  # of a random model, to average over
GRADIENT = 3  # cost of a gradient in forward passes
NAMES = (
    "fgsm", "pgd_<steps>", "mim_<steps>", "cw_<steps>", "apgd_ce", "apgd_margin", "apgd_dlr", "apgd_t", "fab", "fab_t",
    "square",
)  # fmt: skip


class PartSettings(NamedTuple):
    """What may change without making another program, scalars.

    Attributes:
      epsilon: radius in pixel units.
      number: which restart, target or block.
      steps, step_size, momentum, use_margin: of projected ascent: how many, their length in pixel units, the decay of
        MI-FGSM (0: none), and whether the margin is maximised rather than cross-entropy.
    """

    epsilon: Any
    number: Any
    steps: Any
    step_size: Any
    momentum: Any
    use_margin: Any


@dataclass(frozen=True)
class Part:
    """One run of an attack.

    Attributes:
      attack: the attack it belongs to, a row of a table of results.
      number, of: which one it is, from 0.
      program: see above.
      cost: of one example, in forward passes.
      continues: whether it takes over the carry of the part before.
      settings: of the attack, in words and numbers, for a report.
      step, momentum, use_margin: of projected ascent, see `PartSettings`, the step in units of the radius.
    """

    attack: str
    number: int
    of: int
    program: Callable
    cost: int
    continues: bool
    settings: dict[str, Any]
    step: float = 0.0
    momentum: float = 0.0
    use_margin: bool = False

    def at(self, epsilon: float) -> PartSettings:
        """What its program needs to run at a radius."""
        return PartSettings(
            epsilon=np.float32(epsilon),
            number=np.int32(self.number),
            steps=np.int32(self.settings.get("steps", 0)),
            step_size=np.float32(self.step * epsilon),
            momentum=np.float32(self.momentum),
            use_margin=np.bool_(self.use_margin),
        )

    @property
    def label(self) -> str:
        return self.attack if self.of == 1 else f"{self.attack} {self.number + 1}/{self.of}"

    @property
    def code(self) -> int:
        """To be folded into the key of each example; programs fold in what tells parts of an attack apart."""
        return zlib.crc32(self.attack.encode())


def parts_of(name: str, norm: str, num_classes: int, *, eot: int = 1) -> list[Part]:
    """Returns the parts of one attack.

    Args:
      name: one of `NAMES`, followed by '*R' for R restarts where an attack starts at random.
      norm: 'linf', 'l2' or 'l1'.
      num_classes: K; targeted attacks aim at no more than K - 1 classes.
      eot: draws of a random model to average over (APGD only).

    Raises:
      ValueError: for an unknown name or norm, or an attack that K or the norm do not allow.
    """
    if norm not in NORMS:
        raise ValueError(f"unknown norm {norm!r}; expected one of {', '.join(NORMS)}.")
    if num_classes < 2:
        raise ValueError(f"a model with K={num_classes} class cannot be fooled.")
    match = re.fullmatch(r"([a-z]+(?:_(?:ce|margin|dlr|t))?)(?:_(\d+))?(?:\*(\d+))?", name)
    kind, count, restarts = match.groups() if match else ("", None, None)
    runs, steps = int(restarts or 1), int(count or 0)
    evaluations = 103 if norm == "l1" else 101  # of APGD: its steps, and a start for each radius
    if runs < 1:
        raise ValueError(f"{name!r}: an attack is run at least once; write '*R' with R of 1 or more, or leave it out.")
    if norm != "l1" and (kind == "fgsm" if not steps else kind in ("pgd", "mim", "cw")):
        steps, start = steps or 1, "none" if kind in ("fgsm", "mim") else "uniform"
        step, words = {
            "fgsm": (1.0, "epsilon"),
            "pgd": (1 / 4, "epsilon/4"),
            "mim": (1 / steps, "epsilon/steps"),
            "cw": (0.003 * 255 / 8, "0.003 at 8/255"),
        }[kind]
        settings = {"steps": steps, "start": start, "step_size": words}
        made = dict(program=_ascent(start, norm), cost=GRADIENT * steps + 1, settings=settings, step=step)
        made |= {"momentum": 1.0} if kind == "mim" else {"use_margin": kind == "cw"}
    elif kind in ("apgd_ce", "apgd_margin", "apgd_dlr") and not steps:
        loss = kind.removeprefix("apgd_")
        _require(kind, num_classes, {"dlr": 3}.get(loss, 2), "apgd_margin")
        settings = {"steps": 100, "loss": loss, "start": "random", "eot": eot}
        made = dict(program=_apgd(loss, norm, eot), cost=eot * GRADIENT * evaluations, settings=settings)
    elif kind == "apgd_t" and not steps and not restarts:
        _require(kind, num_classes, 4, "apgd_dlr with three classes, apgd_margin with two")
        runs = min(TARGETS_APGD_L1 if norm == "l1" else TARGETS, num_classes - 1)
        settings = {"steps": 100, "loss": "dlr_targeted", "start": "random", "targets": runs}
        made = dict(program=_apgd("dlr_targeted", norm, 1), cost=GRADIENT * evaluations + 1, settings=settings)
    elif kind == "fab" and not steps:
        # One part whatever the restarts: only the first starts at the image itself.
        passes = 100 * runs * (GRADIENT * (num_classes - 1) + 1)
        settings = {"steps": 100, "restarts": runs, "alpha_max": 0.1, "eta": 1.05, "beta": 0.9}
        made, runs = dict(program=_fab(norm, runs), cost=passes, settings=settings), 1
    elif kind == "fab_t" and not steps and not restarts:
        runs = min(TARGETS, num_classes - 1)
        settings = {"steps": 100, "targets": runs, "alpha_max": 0.1, "eta": 1.05, "beta": 0.9}
        made = dict(program=_fab_t(norm), cost=100 * (GRADIENT + 1) + 1, settings=settings)
    elif kind == "square" and not steps and not restarts:
        return _square_parts(norm)
    else:
        hint = "; in L1, where dense gradient steps are far too weak, use apgd" if norm == "l1" else ""
        raise ValueError(
            f"unknown attack {name!r} in {norm}; expected one of {', '.join(NAMES)}, "
            f"with '*R' for R restarts except of apgd_t, fab_t and square{hint}."
        )
    if runs > 1 and made["settings"].get("start") == "none":
        raise ValueError(f"{name!r}: {restarts} restarts from one start would repeat one run.")
    if restarts:
        made["settings"] = {**made["settings"], "restarts": int(restarts)}
    return [Part(kind if not count else f"{kind}_{count}", i, runs, continues=False, **made) for i in range(runs)]


def check_shape(parts: Sequence[Part], shape: tuple[int, ...], norm: str) -> None:
    """Raises ValueError if one of the parts cannot attack images of `shape` (H, W, C)."""
    if any(part.attack == "square" for part in parts):
        check_height(shape, norm)


def in_turn(parts: list[Part], run: Callable, fooled: np.ndarray) -> Iterator[tuple[Part, np.ndarray, Any]]:
    """Runs parts one after the other, each on the examples that still stand.

    Args:
      run: (part, rows, carry) -> (AttackResult of NumPy arrays, carry), over `rows` [n] of the set. Its `success`
        is what counts, so it must have been recounted.
      fooled: bool [N], updated in place.

    Yields:
      (part, rows, result); no result where nobody stands.
    """
    carry, before = None, None
    for part in parts:
        rows = np.flatnonzero(~fooled)
        if not len(rows):
            yield part, rows, None
            continue
        if part.continues:
            carry = take(carry, np.searchsorted(before, rows))  # rows only ever drop out, and stay sorted
        result, carry = run(part, rows, carry if part.continues else None)
        before = rows
        fooled[rows] = result.success
        yield part, rows, result


def judge(
    eot: int, logits_fn: Callable, images: jax.Array, labels: jax.Array, keys: jax.Array, settings: Any, carry: Any
) -> dict[str, jax.Array]:
    """What a fresh pass says of `images`: a program like that of a part.

    Args:
      eot: 1 for a model that is a function of its input; else the number of draws of a random one, which is then
        called with a key, and wrong where at least half of the draws are.

    Returns:
      wrong bool [N]; wrong_share [N], of the draws; margin [N], the label's lead over the best other class, mean
      over draws; prediction [N], of the last draw.
    """

    def one(*draw):
        logits = alone(logits_fn)(images, *draw) if draw else logits_fn(images)
        prediction = jnp.argmax(logits, axis=1)
        return {
            "wrong": (prediction != labels).astype(jnp.float32),
            "margin": -losses.margin(logits, labels),
            "prediction": prediction,
        }

    if eot == 1:
        found = jax.tree.map(lambda leaf: leaf[None], one())
    else:
        found = lax.map(lambda draw: one(folded(keys, draw)), jnp.arange(eot))
    share = jnp.mean(found["wrong"], axis=0)
    return {
        "wrong": share >= 0.5,
        "wrong_share": share,
        "margin": jnp.mean(found["margin"], axis=0),
        "prediction": found["prediction"][-1],
    }


judge_once = functools.partial(judge, 1)
judge_draws = functools.partial(judge, DRAWS)


def ascend(
    start: str,
    norm: str,
    logits_fn: Callable,
    images: jax.Array,
    labels: jax.Array,
    keys: jax.Array,
    settings: PartSettings,
) -> AttackResult:
    """One run of projected ascent from a 'uniform' start or from 'none': FGSM, PGD, MI-FGSM and CW in one program."""

    def loss(logits, labels):
        return jnp.where(settings.use_margin, losses.margin(logits, labels), losses.cross_entropy(logits, labels))

    return pgd(
        logits_fn,
        images,
        labels,
        epsilon=settings.epsilon,
        key=keys,
        norm=norm,
        steps=settings.steps,
        step_size=settings.step_size,
        start=start,
        loss=loss,
        momentum=settings.momentum,  # 0 leaves the direction of the gradient, hence plain PGD
    )


def ranked(logits: jax.Array, rank: int | jax.Array) -> jax.Array:
    """Returns the class [N] whose logit is the `rank`-th largest of each row; rank 1 is the prediction."""
    # Of classes that tie the first ranks first, as in argmax: else a label could become its own rival.
    return jnp.take(jnp.argsort(logits, axis=1, descending=True), rank - 1, axis=1)


def _require(kind: str, num_classes: int, least: int, instead: str) -> None:
    if num_classes < least:
        raise ValueError(f"{kind} needs at least {least} classes, and the model has K={num_classes}; use {instead}.")


@functools.cache
def _ascent(start: str, norm: str) -> Callable:
    def program(logits_fn, images, labels, keys, settings, carry):
        return ascend(start, norm, logits_fn, images, labels, folded(keys, settings.number), settings), None

    return program


@functools.cache
def _apgd(loss: str, norm: str, eot: int) -> Callable:
    def program(logits_fn, images, labels, keys, settings, carry):
        targets = ranked(logits_fn(images), settings.number + 2) if loss == "dlr_targeted" else None
        result = apgd(
            logits_fn, images, labels, epsilon=settings.epsilon, key=folded(keys, settings.number), norm=norm,
            loss=loss, targets=targets, eot=eot,
        )  # fmt: skip
        return result, None

    return program


@functools.cache
def _fab(norm: str, restarts: int) -> Callable:
    def program(logits_fn, images, labels, keys, settings, carry):
        return fab(logits_fn, images, labels, epsilon=settings.epsilon, key=keys, norm=norm, restarts=restarts), None

    return program


@functools.cache
def _fab_t(norm: str) -> Callable:
    def program(logits_fn, images, labels, keys, settings, carry):
        targets = ranked(logits_fn(images), settings.number + 2)
        return fab(logits_fn, images, labels, epsilon=settings.epsilon, key=keys, norm=norm, targets=targets), None

    return program


def _square_parts(norm: str) -> list[Part]:
    settings = {"queries": QUERIES, "p_init": 0.8, "rescaled_schedule": False, "draws": "per image"}
    blocks = QUERIES // BLOCK
    first = Part("square", 0, blocks, _square(norm, True), BLOCK + 1, False, settings)
    later = [Part("square", i, blocks, _square(norm, False), BLOCK, True, settings) for i in range(1, blocks)]
    return [first, *later]


@functools.cache
def _square(norm: str, first: bool) -> Callable:
    def program(logits_fn, images, labels, keys, settings, carry):
        run = dict(epsilon=settings.epsilon, key=keys, norm=norm)
        state = start_square(logits_fn, images, labels, **run) if first else carry
        asked = 0 if first else carry.queries
        state = continue_square(
            logits_fn, state, images, labels, **run, first=settings.number * BLOCK, count=BLOCK, queries=QUERIES
        )
        result: AttackResult = square_result(state, images)
        return result._replace(queries=state.queries - asked), state

    return program
