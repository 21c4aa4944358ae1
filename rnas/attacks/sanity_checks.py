"""Automatic sanity checks of an evaluation: what was measured, judged.

Every check takes NumPy arrays, one row per example, or plain numbers, and returns a `Check`. Padded rows must be
removed before. Leave out examples that the clean model gets wrong, except where accuracies are judged: no attack is
needed to fool them. Thresholds without a source named here are our own. The letters leave out J, models known to be
broken, on which these checks are tested.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
import functools
from typing import Any, NamedTuple, ParamSpec

import numpy as np

from rnas.attacks.epsilon_parsing import radius
from rnas.attacks.input_checks import SLACK
from rnas.attacks.measurements import PLACES, VANISHED

CAVEAT = (
    "Passing every check proves nothing by itself: a defence of a new kind still needs an attack made for it. Whether "
    "the forward pass contains an optimisation loop, which RobustBench does not admit, cannot be seen from outside the "
    "model."
)
STATUSES = ("skipped", "passed", "warning", "failed")  # from best to worst

SAME = 1e-4  # distance of L2-normalised logits below which two passes agree, as in AutoAttack's code
SUMS = 1e-5  # how far rows of probabilities may be from summing to 1
VANISHED_SHARE = 0.10  # of examples
FGSM_GAIN = 0.002  # of examples, as the following
STEPS_GAIN = 0.005
RESTARTS_GAIN = 0.01
SQUARE_GAIN = 0.002  # as in AutoAttack's code
RISE = 0.005  # of accuracy, when epsilon grows
LARGE = 64 / 255  # Linf radius from which accuracy must be that of chance
OVER_CHANCE = 0.01
ROUNDING = 1e-9  # of a difference of two shares
LATE = 0.05  # of the rise of the loss (Pintor et al. 2022, arXiv 2106.09947), as the next two
LATE_SHARE = 0.10
CHANGE = 0.10
FLAT = 0.01  # a gradient that allows less than this is "near 0"

REQUIRED = (
    *("model.name", "model.hash"),
    *("dataset.name", "dataset.split", "dataset.count", "dataset.sha256"),
    *("threat.norm", "threat.epsilon", "version", "seed"),
    *("clean.accuracy", "clean.count", "clean.interval"),
    *("robust.accuracy", "robust.count", "robust.interval"),
    "attacks",
    *("uint8.fooled", "uint8.still_fooling", "uint8.outside_ball"),
    *("curve", "checks", "versions", "device", "precision", "seconds"),
)
REQUIRED_OF_EACH_ATTACK = ("name", "settings", "attacked", "fooled", "cumulative.accuracy", "cumulative.interval")

P = ParamSpec("P")


@dataclass(frozen=True)
class Check:
    """The verdict of one check."""

    letter: str  # 'A' to 'K'
    name: str  # in a word or two
    status: str  # one of `STATUSES`
    figure: str  # what the verdict rests on, in words with numbers
    advice: str = ""  # what it means and what to do next; empty unless 'warning' or 'failed'

    def __post_init__(self):
        if self.status not in STATUSES:
            raise ValueError(f"status is {self.status!r}, expected one of {', '.join(STATUSES)}")


class Rule(NamedTuple):
    """One thing a check looks at."""

    broken: Any  # as a truth value
    figure: str  # always reported
    advice: str  # where the rule is broken
    severity: str = "warning"


failure = functools.partial(Rule, severity="failed")


class Skipped(Exception):
    """There is nothing to judge, for the reason in its message."""


def sanity_check(letter: str, name: str) -> Callable[[Callable[P, Iterator[Rule]]], Callable[P, Check]]:
    """Makes a check of a function that yields its rules, of which at least one is there."""

    def decorate(rules_of: Callable[P, Iterator[Rule]]) -> Callable[P, Check]:
        @functools.wraps(rules_of)
        def check(*arguments: P.args, **settings: P.kwargs) -> Check:
            try:
                rules = list(rules_of(*arguments, **settings))
            except Skipped as reason:
                return Check(letter, name, "skipped", str(reason))
            broken = [rule for rule in rules if rule.broken]
            status = max((rule.severity for rule in broken), key=STATUSES.index, default="passed")
            figure, advice = "; ".join(rule.figure for rule in rules), " ".join(rule.advice for rule in broken)
            return Check(letter, name, status, figure, advice)

        return check

    return decorate


@sanity_check("A", "inputs")
def check_outputs(passes: np.ndarray, company: np.ndarray, labels: np.ndarray) -> Iterator[Rule]:
    """A: are the outputs finite logits, the same every time, whatever else is in the batch?

    Values of images and labels, for which nothing can run at all, are left to `check_inputs`.

    Args:
      passes: logits [P, N, K] of the same batch, P times.
      company: logits [N, K] of the same images among other neighbours. A batch in another order is not enough: its
        statistics are the same.
      labels: integers [N].
    """
    passes, company = np.asarray(passes, np.float64), np.asarray(company, np.float64)
    count = rows(logits=passes[0], company=company, labels=labels)
    strange = np.sum(~(np.isfinite(passes).all(axis=(0, 2)) & np.isfinite(company).all(axis=1)))
    if strange:
        yield failure(
            True,
            f"the logits of {strange} of {count} images are NaN or infinite",
            "Nothing can be concluded from such outputs. Look for an overflow, a division by 0, or weights that were "
            "not loaded.",
        )
        return
    sums = abs(passes[0].sum(axis=1) - 1).max()
    low, high = passes[0].min(), passes[0].max()
    yield Rule(
        high < 1 + SUMS and low > -SUMS and sums <= SUMS,
        f"outputs lie in [{low:.4g}, {high:.4g}], sums of rows differ from 1 by up to {sums:.2g}",
        "The outputs look like probabilities. Attacks need logits, because gradients vanish in a saturated softmax; "
        "return what goes into it.",
    )
    correct = np.sum(passes.argmax(axis=2) == labels, axis=1)
    spread = furthest(passes, passes[0])
    random = spread > SAME or correct.min() != correct.max()
    yield Rule(
        random,
        f"{len(passes)} passes of one batch differ by up to {spread:.2g} (normalised logits) and find between "
        f"{correct.min()} and {correct.max()} of {count} correct",
        "The forward pass is random. Switch to inference mode, without dropout or noise; if randomness is the defence, "
        "evaluate with version 'rand', which averages over draws. RobustBench admits deterministic forward passes "
        "only.",
    )
    if not random:  # otherwise a difference need not come from neighbours
        apart = furthest(company, passes[0])
        yield failure(
            apart > SAME,
            f"other neighbours in the batch change them by up to {apart:.2g}",
            "The output for an image depends on the rest of the batch. Is the model in training mode, so that "
            "BatchNorm uses statistics of the batch? Switch to its running statistics.",
        )


@sanity_check("B", "gradients")
def check_gradients(zero: np.ndarray, broken: np.ndarray, vanished: np.ndarray) -> Iterator[Rule]:
    """B: is there a gradient to follow? Takes the fields of `GradientHealth`: [N, 4], [N, 4], [N, 2]."""
    rows(zero=zero, broken=broken, vanished=vanished)
    yield Rule(
        np.any(zero),
        f"{np.sum(zero)} of {np.size(zero)} gradients are zero{where(zero)}",
        "Where a gradient is zero, attacks that follow it stand still, and the robustness they report may be an "
        "illusion. Look for rounding, saturation or stop_gradient in the model. If only cross-entropy is affected, run "
        "margin or DLR losses; otherwise rely on Square and on transferred images, and attack a differentiable "
        "stand-in (BPDA). RobustBench does not admit models whose gradients are zero in general.",
    )
    yield failure(
        np.any(broken),
        f"{np.sum(broken)} of {np.size(broken)} are NaN or infinite{where(broken)}",
        "Attacks cannot follow such gradients. Look for square roots or norms at 0, logarithms of 0 and overflows in "
        "the model, and repair them (`jax.config.update('jax_debug_nans', True)` finds the place).",
    )
    share = np.mean(vanished, axis=0).max()
    yield Rule(
        share > VANISHED_SHARE,
        f"cross-entropy is below {VANISHED:g} for {share:.1%} of examples",
        "Cross-entropy is saturated: attacks on it are weak here. Rely on margin and DLR losses, which do not depend "
        "on the scale of the logits, or divide the logits by a constant.",
    )


@sanity_check("C", "random noise")
def check_noise(noise: np.ndarray, gradient: np.ndarray) -> Iterator[Rule]:
    """C: did random noise fool an example, bool [N], that no gradient attack, bool [N], did?"""
    count, missed = rows(noise=noise, gradient=gradient), first_alone(noise, gradient)
    yield Rule(
        missed,
        f"noise fools {np.sum(noise)} of {count} examples, {missed} of them not fooled by gradient attacks",
        "A gradient attack that loses to noise is not working. Look at gradients, step size and loss; rely on Square "
        "and transferred images until it does.",
    )


_WORDS = {
    "fgsm": "FGSM",
    "pgd": "PGD",
    "pgd_twice_steps": "PGD of twice the steps",
    "pgd_restarts": "PGD with restarts",
    "white_box": "a white-box attack",
    "square": "Square",
    "transfer": "transfer from another model",
}
# Of the pairs (stronger or differently informed, what should have found as much): tolerance, and what it means.
_ORDER = (
    ("fgsm", "pgd", FGSM_GAIN, "PGD should find all that one step finds: lower its step size or add steps, and look "
     "for masked gradients."),
    ("pgd_twice_steps", "pgd", STEPS_GAIN, "PGD has not converged: add steps, or use APGD, which adapts its step "
     "size."),
    ("pgd_restarts", "pgd", RESTARTS_GAIN, "The outcome depends on the start: add restarts, and expect more to be "
     "found."),
    ("square", "white_box", SQUARE_GAIN, "An attack without gradients finds what those with gradients miss, a sign "
     "of masked gradients: run Square with more queries, an attack on a differentiable stand-in (BPDA), "
     "and one made for this defence."),
    ("transfer", "white_box", SQUARE_GAIN, "Images made for another model fool this one where attacks on itself "
     "fail, a sign of masked gradients: run Square with more queries, and an attack made for this "
     "defence."),
)  # fmt: skip


@sanity_check("D", "order of attacks")
def check_order(fooled: Mapping[str, np.ndarray | None]) -> Iterator[Rule]:
    """D: does a weaker attack find what a stronger one misses? Other names than the following raise ValueError.

    Args:
      fooled: per attack, bool [N] over the same examples, all those whose accuracy is reported. Names are 'fgsm', 'pgd'
        (k steps, any iterate), 'pgd_twice_steps' (2k), 'pgd_restarts', 'white_box' (any attack that uses gradients),
        'square' and 'transfer'. Those absent or None are not judged.
    """
    names = {name for new, old, *_ in _ORDER for name in (new, old)}
    if unknown := sorted(fooled.keys() - names):
        raise ValueError(f"unknown attacks {', '.join(unknown)}; expected some of {', '.join(sorted(names))}.")
    present = {name: found for name, found in fooled.items() if found is not None}
    count = rows(**present)
    pairs = [row for row in _ORDER if row[0] in present and row[1] in present]
    if not pairs:
        raise Skipped("no two attacks to compare")
    for place, (new, old, tolerance, advice) in enumerate(pairs):
        missed = first_alone(present[new], present[old])
        prefix = f"of {count} examples, " if place == 0 else ""
        figure = f"{prefix}{_WORDS[new]} fools {missed} that {_WORDS[old]} does not"
        yield Rule(missed / count > tolerance, figure, advice)


@sanity_check("E", "monotone in epsilon")
def check_monotone(
    epsilons: Sequence[float], accuracies: Sequence[float], clean_accuracy: float, num_classes: int, norm: str
) -> Iterator[Rule]:
    """E: does accuracy in [0, 1] fall with epsilon (in any order), from the clean one of the same examples to chance?

    Chance is judged in Linf only, from 64/255 on. In L2 and L1 the radius at which every image can be made grey depends
    on its size, and tables of such models never come near it.
    """
    rows("no accuracies", epsilons=epsilons, accuracies=accuracies)
    if np.isnan(accuracies).any():
        raise Skipped("no accuracies")
    order = np.argsort(epsilons, kind="stable")
    radii, curve = (np.asarray(values, np.float64)[order] for values in (epsilons, accuracies))
    rise = np.max(curve - np.minimum.accumulate(curve))
    yield Rule(
        rise > RISE + ROUNDING,
        f"accuracy rises by at most {100 * rise:.2f} pp as epsilon grows",
        "A larger ball contains the smaller one, so accuracy cannot rise: the attack is too weak at the larger radius. "
        "Scale the step size with epsilon and add steps.",
    )
    if radii[0] == 0:
        yield failure(
            abs(curve[0] - clean_accuracy) > 1e-6,
            f"at epsilon 0 it is {curve[0]:.2%}, clean {clean_accuracy:.2%}",
            "Attack and evaluation do not look at the same model, images or labels. Compare preprocessing, training "
            "mode and the order of the examples.",
        )
    large = radii >= LARGE - ROUNDING
    if norm == "linf" and large.any():
        chance, left = 1 / num_classes, curve[large].max()
        yield Rule(
            left > chance + OVER_CHANCE + ROUNDING,
            f"from epsilon 64/255 on it is at most {left:.2%}, chance {chance:.2%}",
            "At such radii images can be changed beyond recognition, and no model withstands an attack that works. "
            "Look for masked gradients.",
        )


@sanity_check("F", "finished")
def check_finished(start: np.ndarray, late: np.ndarray, last: np.ndarray) -> Iterator[Rule]:
    """F: had the attack stopped gaining? Takes best losses [N] at the start, after 90 % and 100 % of iterations."""
    count = rows(start=start, late=late, last=last)
    start, late, last = (np.asarray(loss, np.float64) for loss in (start, late, last))
    with np.errstate(invalid="ignore"):
        rise = last - start
        # A loss that never left its start, except for rounding, is not unfinished.
        moving = np.sum((rise > 1e-6 * abs(last)) & (last - late > LATE * rise))
    yield Rule(
        moving / count > LATE_SHARE,
        f"the best loss of {moving} of {count} examples rises by more than {LATE:.0%} of its range in the last tenth "
        "of the iterations",
        "The attack was stopped while it still gained. Add iterations or enlarge the step size.",
    )


@sanity_check("G", "silent success")
def check_silent(claimed: np.ndarray, recounted: np.ndarray) -> Iterator[Rule]:
    """G: does every image returned as fooling, bool [N], fool in a fresh forward pass, bool [N]?

    For deterministic models; a random one is judged over many draws.
    """
    rows(claimed=claimed, recounted=recounted)
    lost = first_alone(claimed, recounted)
    yield failure(
        lost,
        f"{lost} of {np.sum(claimed)} images that were claimed to fool do not when counted again",
        "Either the attack returns another image than the one that fooled, or the model does not give the same answer "
        "twice: look at checks A and G together, at matrix precision, and at batch statistics.",
    )


@sanity_check("H", "stable predictions")
def check_stability(change: np.ndarray, slope: np.ndarray) -> Iterator[Rule]:
    """H: do predictions move where gradients say they cannot? Takes the fields [N] of `Stability`."""
    count = rows(change=change, slope=slope)
    unstable = np.sum((np.asarray(change) > CHANGE) & (np.asarray(slope) < FLAT))
    yield Rule(
        unstable,
        f"noise changes the loss of {unstable} of {count} examples by more than {CHANGE:.0%} on average where the "
        f"gradient allows less than {FLAT:.0%}",
        "The gradient does not describe the model: look for rounding, noise or blocked gradients. Rely on Square and "
        "transferred images, and attack a differentiable stand-in (BPDA).",
    )


@sanity_check("I", "stored images")
def check_stored(
    clean: np.ndarray,
    adversarial: np.ndarray,
    predictions: np.ndarray,
    labels: np.ndarray,
    *,
    epsilon: str | float,
    norm: str,
) -> Iterator[Rule]:
    """I: do stored images fool, inside ball and box?

    Args:
      clean: images [M, ...] in [0, 1], as they were attacked.
      adversarial: [M, ...] as read from disk; each is claimed to fool.
      predictions, labels: integers [M], the former of a fresh model on `adversarial`.
      epsilon: radius in pixel units. Distances may exceed it by 1e-6, the rounding of float32, or by 1e-6 of itself
        where it is above 1, since in L1 the rounding of all pixels adds up.
    """
    epsilon = radius(epsilon)
    count = rows("no stored images", clean=clean, adversarial=adversarial, predictions=predictions, labels=labels)
    stored = np.asarray(adversarial, np.float64).reshape(count, -1)
    strange = np.any(~np.isfinite(stored), axis=1)
    stored[strange] = 0.0  # counted once, and kept out of the rest
    move = np.where(strange[:, None], 0.0, stored - np.asarray(clean, np.float64).reshape(count, -1))
    lengths = np.linalg.norm(move, {"linf": np.inf, "l2": 2, "l1": 1}[norm], axis=1)
    outside_box = np.sum(((stored < -SLACK) | (stored > 1 + SLACK)).any(axis=1))
    outside_ball = np.sum(lengths > epsilon + SLACK * max(1.0, epsilon))
    harmless = np.sum(np.asarray(predictions) == np.asarray(labels))
    yield failure(
        strange.any(), f"of {count} images, {strange.sum()} hold NaN or Inf", "Find out which attack wrote them."
    )
    yield failure(
        outside_box,
        f"{outside_box} leave [0, 1]",
        "They are no images. Was something normalised before the attack that should be inside the model?",
    )
    yield failure(
        outside_ball,
        f"{outside_ball} leave the ball (largest {norm} distance {lengths.max():.7g}, epsilon {epsilon:.7g})",
        "They are outside the threat model. Are they stored beside the right clean images, in float32?",
    )
    yield failure(
        harmless,
        f"{harmless} are classified correctly",
        "The number reported cannot be reproduced from the files. Is it the same model, in inference mode, at the same "
        "precision?",
    )


@sanity_check("K", "complete report")
def check_complete(summary: Mapping[str, Any]) -> Iterator[Rule]:
    """K: does a summary hold every field of `REQUIRED`, and each attack those of `REQUIRED_OF_EACH_ATTACK`?

    Names are dotted keys of nested mappings; `attacks` is a list, not empty. A value of None is missing too, unless
    `dataset.count` is 0, when there is nothing to report.
    """
    empty = held(summary, "dataset.count") == 0
    attacks = held(summary, "attacks")
    attacks = attacks if isinstance(attacks, list | tuple) else []
    values = {name: held(summary, name) for name in REQUIRED}
    for index, attack in enumerate(attacks):
        values |= {f"attacks[{index}].{name}": held(attack, name) for name in REQUIRED_OF_EACH_ATTACK}
    lacking = [name for name, value in values.items() if value is ABSENT or (value is None and not empty)]
    if not attacks and not empty and "attacks" not in lacking:
        lacking.append("attacks")
    yield failure(
        lacking,
        f"{len(lacking)} of {len(values)} fields are missing" + (f": {', '.join(lacking)}" if lacking else ""),
        "A figure without them cannot be reproduced or compared. Run the evaluation again with this version.",
    )


def rows(reason: str = "no examples", /, **arrays: Any) -> int:
    """Returns the common length of all arrays. Raises `Skipped` where it is 0, for that `reason`."""
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ValueError(f"a check compares the same examples, but lengths differ: {found}.")
    if not any(lengths.values()):
        raise Skipped(reason)
    return next(iter(lengths.values()))


def first_alone(one: np.ndarray, other: np.ndarray) -> int:
    """Returns for how many examples `one` is true and `other` is not, both [N]."""
    return int(np.sum(np.asarray(one, bool) & ~np.asarray(other, bool)))


def furthest(logits: np.ndarray, reference: np.ndarray) -> float:
    """Returns the largest distance between rows of `logits` [..., N, K] and `reference` [N, K], both normalised."""
    unit, other = (z / np.maximum(np.linalg.norm(z, axis=-1, keepdims=True), 1e-12) for z in (logits, reference))
    return float(np.linalg.norm(unit - other, axis=-1).max())


def where(flags: np.ndarray) -> str:
    """Counts in which of `PLACES` flags [N, 4] are up: ' (cross-entropy at the image 3)'."""
    counts = [f"{place} {count}" for place, count in zip(PLACES, np.sum(flags, axis=0), strict=True) if count]
    return f" ({', '.join(counts)})" if counts else ""


ABSENT = object()


def held(mapping: Any, name: str) -> Any:
    """Returns what the dotted `name` holds in nested mappings, `ABSENT` where a part is missing."""
    for part in name.split("."):
        if not isinstance(mapping, Mapping) or part not in mapping:
            return ABSENT
        mapping = mapping[part]
    return mapping
