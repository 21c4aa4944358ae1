"""Is one model better than another? Statistics of two arms that were judged on the same images.

Outcomes are arrays of bool: whether an image is classified correctly, clean or under an attack. Arms share the images,
so that their separate intervals do not answer the question: the images on which they disagree do. One seed of each arm
says nothing about the next one. Over several seeds, images and seeds are two crossed samples: every seed is judged on
the same images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import math

import numpy as np

from rnas.artifacts.scores import interval as wilson_interval

LEVEL = 0.95  # of all intervals
ONE_SEED = "exact McNemar test, Newcombe interval"
CROSSED = "crossed effects of seeds and images"
_SMALLEST = 1e-12  # standard error
_DRAWN = 2**22  # weights of images drawn at once by the bootstrap: 32 MiB


@dataclass(frozen=True)
class McNemar:
    """Two models on the same images: who is right where the other is wrong, and how likely that is by chance."""

    first_only: int  # images that only the first classifies correctly
    second_only: int
    p_value: float  # exact, two-sided, of equal accuracies


@dataclass(frozen=True)
class Difference:
    """Accuracy of a first arm minus that of a second, over the seeds of both.

    Attributes:
      difference: of the mean accuracies, in [-1, 1].
      interval: 95 % interval of the difference.
      p_value: two-sided, of no difference.
      bootstrap: 95 % percentile interval of resampled seeds and images; a check, which may be too wide, or too
        narrow: see `over_seeds`.
      same_sign: every seed has a difference, and all of one sign.
      images: N.
      seeds: S.
      first_only: share of images that only the first arm classifies correctly, mean over seeds.
      second_only: share of images that only the second one does.
      method: of interval and p-value, `ONE_SEED` or `CROSSED`.
    """

    difference: float
    interval: tuple[float, float]
    p_value: float
    bootstrap: tuple[float, float]
    same_sign: bool
    images: int
    seeds: int
    first_only: float
    second_only: float
    method: str


@dataclass(frozen=True)
class Comparison(Difference):
    """An arm (the first) beside its reference (the second), as one of several comparisons."""

    arm: str
    reference: str
    p_adjusted: float  # p-value with Holm's correction for all comparisons made together


def mcnemar(first: np.ndarray, second: np.ndarray) -> McNemar:
    """Exact McNemar test of outcomes bool [N] of two models on the same images.

    Where the models disagree, each is the better one with probability 1/2 (McNemar, Psychometrika 12:153, 1947).

    Raises:
      ValueError: the arrays are not bool, not [N] of the same images, or empty.
    """
    from scipy.stats import binomtest  # half a second that only statistics need

    first, second = _outcomes(first, second, 1)
    first_only, second_only = int(np.sum(first & ~second)), int(np.sum(second & ~first))
    discordant = first_only + second_only
    p_value = float(binomtest(first_only, discordant).pvalue) if discordant else 1.0
    return McNemar(first_only, second_only, p_value)


def paired_interval(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """95 % interval of the difference of two accuracies, from outcomes bool [N] on the same images.

    Method 10 of Newcombe (Statistics in Medicine 17:2635, 1998): the Wilson limits of both accuracies, joined by the
    correlation phi of the outcomes with a continuity correction. It has a width even where no outcome differs.

    Raises:
      ValueError: as `mcnemar`.
    """
    first, second = _outcomes(first, second, 1)
    count = len(first)
    ones = int(first.sum()), int(second.sum())
    both = int(np.sum(first & second))
    margins = math.prod(ones) * math.prod(count - one for one in ones)
    excess = both * (count - sum(ones) + both) - (ones[0] - both) * (ones[1] - both)  # of agreement
    phi = (min(excess, 0) + max(excess - count / 2, 0)) / math.sqrt(margins) if margins else 0.0
    (down, up), (second_down, second_up) = (np.abs(np.array(wilson_interval(one, count)) - one / count) for one in ones)
    difference = (ones[0] - ones[1]) / count
    low = difference - math.sqrt(max(0.0, down**2 - 2 * phi * down * second_up + second_up**2))
    high = difference + math.sqrt(max(0.0, up**2 - 2 * phi * up * second_down + second_down**2))
    return max(-1.0, low), min(1.0, high)


def over_seeds(first: np.ndarray, second: np.ndarray, *, resamples: int = 10_000, seed: int = 0) -> Difference:
    """Compares two arms from their outcomes, bool [S, N] (or [N]): S paired seeds judged on the same N images.

    Several seeds: what new seeds on new images would show. As in studies of readers and cases, seeds and images have
    crossed effects (Dorfman, Berbaum & Metz, Investigative Radiology 27:723, 1992): with the mean squares of seeds,
    images and their interaction, the variance of the mean difference is estimated by MS_seeds / (S N), with S - 1
    degrees of freedom, plus max(MS_images - MS_interaction, 0) / (S N), which many images make certain. Interval and
    p-value are those of a sum of t and normal distribution with these variances (generalised p-value of Tsui &
    Weerahandi, Journal of the American Statistical Association 84:602, 1989), and never more certain than the images
    alone allow. They keep their level for any number of seeds, at the price of wide intervals for two or three. In
    simulations of 3 seeds without a difference, with a spread of 2 points between seeds and 2,000 images, this test
    rejects at 5 % in 4 to 5 % of cases; the percentile bootstrap, which is too wide on few images, in 9 to 10 %, and
    Satterthwaite's degrees of freedom for the sum of variances in up to 8 %. All need some ten images on which the
    arms disagree.

    One seed: the exact McNemar test and Newcombe's interval, which hold for these two trained models alone. The same
    for seeds whose differences are one and the same number on every image.

    Raises:
      ValueError: as `mcnemar`.
    """
    first, second = _outcomes(np.atleast_2d(first), np.atleast_2d(second), 2)
    differences = first.astype(np.int8) - second.astype(np.int8)
    seeds, images = differences.shape
    mean = float(differences.mean())
    errors = _standard_errors(differences)
    if errors is None:
        method, p_value = ONE_SEED, mcnemar(first[0], second[0]).p_value
        interval = paired_interval(first[0], second[0])
    else:
        method, (p_value, margin) = CROSSED, _test_of_sum(abs(mean), *errors, seeds - 1)
        interval = max(-1.0, mean - margin), min(1.0, mean + margin)
    of_seeds = differences.mean(1)
    return Difference(
        mean,
        interval,
        p_value,
        _bootstrap_interval(differences, resamples, seed),
        bool(np.all(of_seeds > 0) or np.all(of_seeds < 0)),
        images,
        seeds,
        float(np.mean(differences > 0)),
        float(np.mean(differences < 0)),
        method,
    )


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Adjusts p-values [M] for M tests made together (Holm, Scandinavian Journal of Statistics 6:65, 1979), in order.

    The smallest is multiplied by M, the next by M - 1, and so on; none becomes smaller than one before it.
    """
    values = np.asarray(p_values, float)
    if values.ndim != 1 or not np.all((values >= 0) & (values <= 1)):
        raise ValueError(f"p-values {values.tolist()}: expected a row of numbers from 0 to 1.")
    order = np.argsort(values)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)))
    return adjusted


def detectable_difference(images: int, discordant: float = 0.15, power: float = 0.8, alpha: float = 0.05) -> float:
    """The smallest difference of two accuracies that `images` show with a given power, between two trained models.

    Normal approximation of McNemar's test, (z_{1 - alpha/2} + z_power) sqrt(discordant / images); `discordant` is the
    share of images that only one of the two classifies correctly. The spread over seeds comes on top.
    """
    from scipy.stats import norm

    if images < 1 or not 0 <= discordant <= 1 or not 0 < power < 1 or not 0 < alpha < 1:
        raise ValueError(
            f"{images} images, {discordant} discordant, power {power}, alpha {alpha}: expected an image or more and"
            " shares of 0 to 1, of power and alpha without the ends."
        )
    return float(norm.ppf(1 - alpha / 2) + norm.ppf(power)) * math.sqrt(discordant / images)


def compare(
    outcomes: Mapping[str, np.ndarray], pairs: Sequence[tuple[str, str]], *, resamples: int = 10_000, seed: int = 0
) -> tuple[Comparison, ...]:
    """Compares arms with their references, with Holm's correction over all of them.

    Args:
      outcomes: arm -> bool [S, N] (or [N]), the same images and as many seeds in both arms of a pair.
      pairs: (arm, reference), the first compared with the second.

    Raises:
      ValueError: a pair names an arm that is not there, or the outcomes of its arms do not belong together.
    """
    if unknown := sorted({arm for pair in pairs for arm in pair} - set(outcomes)):
        raise ValueError(f"no outcomes of {', '.join(unknown)}; there are {', '.join(outcomes) or 'none'}.")
    found = [over_seeds(outcomes[arm], outcomes[other], resamples=resamples, seed=seed) for arm, other in pairs]
    adjusted = holm([one.p_value for one in found]).tolist()
    return tuple(
        Comparison(**vars(one), arm=arm, reference=reference, p_adjusted=p_adjusted)
        for one, (arm, reference), p_adjusted in zip(found, pairs, adjusted, strict=True)
    )


def _outcomes(first: np.ndarray, second: np.ndarray, axes: int) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.asarray(first), np.asarray(second)
    right = first.dtype == second.dtype == bool and first.ndim == axes and first.size
    if not right or first.shape != second.shape:
        shapes = " and ".join(f"{one.dtype} {list(one.shape)}" for one in (first, second))
        expected = "[images]" if axes == 1 else "[seeds, images]"
        raise ValueError(f"outcomes {shapes}: expected bool {expected} of the same images for both arms.")
    return first, second


def _standard_errors(differences: np.ndarray) -> tuple[float, float, float] | None:
    """Of the mean of differences [S, N]: by seeds, by images beyond their noise, and by images with all seeds fixed.

    None where they cannot be estimated: a single seed or image, or no difference anywhere but the mean.
    """
    seeds, images = differences.shape
    if min(seeds, images) < 2 or np.ptp(differences) == 0:
        return None
    of_seeds, of_images = differences.mean(1), differences.mean(0)
    rest = differences - of_seeds[:, None] - of_images[None, :] + differences.mean()
    noise = float(np.sum(rest**2)) / ((seeds - 1) * (images - 1))
    by_seed, by_image = images * float(np.var(of_seeds, ddof=1)), seeds * float(np.var(of_images, ddof=1))
    squares = by_seed, max(by_image - noise, 0.0), by_image
    first, second, third = (math.sqrt(square / (seeds * images)) for square in squares)
    return first, second, third


def _test_of_sum(size: float, of_t: float, of_normal: float, least: float, freedom: int) -> tuple[float, float]:
    """Tests that a mean is 0. Its error is the sum of a t (`freedom`) and a normal variable with these scales.

    Returns (two-sided p-value of the absolute `size`, half width of the 95 % interval), neither below that of a normal
    variable with the scale `least`. The t variable is normal given a chi-squared one, over which it is integrated, by
    equal steps of its logarithm.
    """
    from scipy.optimize import brentq
    from scipy.stats import chi2, norm, t

    logs = np.linspace(-60.0, math.log(4 * freedom + 150), 4000)
    weights = np.exp(chi2.logpdf(np.exp(logs), freedom) + logs)
    weights /= weights.sum()
    scales = np.maximum(np.sqrt(of_t**2 * freedom * np.exp(-logs) + of_normal**2), _SMALLEST)
    least = max(least, _SMALLEST)

    def p_value(size: float) -> float:
        return min(1.0, float(2 * weights @ norm.sf(size / scales)))  # at 0 rounding leads past 1

    tail = (1 - LEVEL) / 2
    margin = float(norm.isf(tail)) * least
    if p_value(margin) > 1 - LEVEL:
        widest = 2 * float(t.isf(tail, freedom) * of_t + norm.isf(tail) * of_normal)
        margin = float(brentq(lambda half: p_value(half) - (1 - LEVEL), margin, widest))
    return max(p_value(size), float(2 * norm.sf(size / least))), margin


def _bootstrap_interval(differences: np.ndarray, resamples: int, seed: int) -> tuple[float, float]:
    """95 % percentile interval of the mean of differences int8 [S, N]: seeds and images are drawn with replacement.

    The same images are drawn for all seeds. Images with the same differences are one kind (at most 3^S of them), whose
    number is drawn.
    """
    seeds, images = differences.shape
    kinds, counts = np.unique(differences, axis=1, return_counts=True)
    kinds = kinds.astype(float)  # products of floats are faster
    rng = np.random.default_rng(seed)
    means, block = [], max(1, _DRAWN // len(counts))
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        of_seeds = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=size)
        of_images = rng.multinomial(images, counts / images, size=size)
        means.append(np.sum((of_seeds @ kinds) * of_images, axis=1) / (seeds * images))
    low, high = np.quantile(np.concatenate(means), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
