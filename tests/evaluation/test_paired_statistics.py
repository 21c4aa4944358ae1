"""Statistics of two arms on the same images: against closed forms, SciPy, published examples and planted effects."""

import math

import numpy as np
import pytest
from scipy import stats

from rnas.evaluation.paired_statistics import (
    CROSSED,
    ONE_SEED,
    compare,
    detectable_difference,
    holm,
    mcnemar,
    over_seeds,
    paired_interval,
)


def outcomes(both: int, first_only: int, second_only: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """Outcomes of two models with these counts of images."""
    counts = (both, first_only, second_only, neither)
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


def planted(rng, *, seeds: int, images: int, effect: float, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Outcomes bool [S, N] of two arms of about 45 %, the first better by `effect` on the mean of seeds and images.

    `spread` is the standard deviation between seeds of their difference. Images are of different difficulty, for both
    arms together and for each alone; every seed has its own noise.
    """
    scale = math.hypot(2.0, 0.5, 0.8)
    centre = scale * stats.norm.ppf(0.45)
    slope = stats.norm.pdf(centre / scale) / scale  # of accuracy over a shift of the logits
    difficulty = 2.0 * rng.standard_normal(images)
    arms = []
    for gain in (effect, 0.0):
        shift = (gain + spread / math.sqrt(2) * rng.standard_normal((seeds, 1))) / slope
        own = difficulty + 0.5 * rng.standard_normal(images)
        arms.append(own[None, :] + 0.8 * rng.standard_normal((seeds, images)) + shift + centre > 0)
    return arms[0], arms[1]


def test_mcnemar_is_the_binomial_test_of_the_discordant_images():
    # The attention maps' share of the effect on digits: 72 images to 20.
    found = mcnemar(*outcomes(100, 72, 20, 168))
    tail = sum(math.comb(92, k) for k in range(21)) / 2**92
    assert (found.first_only, found.second_only) == (72, 20)
    assert found.p_value == pytest.approx(2 * tail)
    assert mcnemar(*outcomes(0, 0, 6, 3)).p_value == pytest.approx(2 / 2**6)


def test_where_no_outcome_differs_nothing_is_found():
    first, second = outcomes(30, 0, 0, 10)
    assert mcnemar(first, second).p_value == 1.0
    low, high = paired_interval(first, second)
    assert low == pytest.approx(-high) and 0 < high < 0.1


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [
        ((14, 5, 0, 22), 0.0115, 0.2265),  # Altman et al., Statistics with Confidence, 2nd edition, table 6.2
        ((59, 6, 16, 80), -0.1186, -0.0046),  # Fagerland, Lydersen & Laake, Statistics in Medicine 33:2850, 2014
        ((1, 1, 7, 12), -0.5069, -0.0256),  # the same
    ],
)
def test_newcombe_of_published_tables(counts, low, high):
    assert paired_interval(*outcomes(*counts)) == pytest.approx((low, high), abs=6e-5)


def test_newcombe_contains_the_difference_and_turns_with_the_arms():
    rng = np.random.default_rng(0)
    for _ in range(200):
        first, second = outcomes(*rng.integers(0, 12, 4) + (rng.integers(4) == np.arange(4)))
        low, high = paired_interval(first, second)
        assert -1 <= low <= first.mean() - second.mean() <= high <= 1
        assert paired_interval(second, first) == pytest.approx((-high, -low))


def test_newcombe_covers_the_difference():
    rng = np.random.default_rng(1)
    shares = (0.4, 0.1, 0.05, 0.45)
    intervals = [paired_interval(*outcomes(*rng.multinomial(360, shares))) for _ in range(1000)]
    assert np.mean([low <= 0.05 <= high for low, high in intervals]) == pytest.approx(0.95, abs=0.025)


def test_outcomes_that_do_not_belong_together_are_refused():
    one = np.ones(3, bool)
    for first, second in ((one, np.ones(4, bool)), (one, np.ones(3)), (one[:0], one[:0]), (one[None], one[None])):
        for call in (mcnemar, paired_interval):
            with pytest.raises(ValueError, match=r"expected bool \[images\] of the same images"):
                call(first, second)
    with pytest.raises(ValueError, match=r"bool \[2, 3\] and bool \[3, 3\]: expected bool \[seeds, images\]"):
        over_seeds(np.ones((2, 3), bool), np.ones((3, 3), bool))


def test_over_seeds_is_the_analysis_of_variance():
    first, second = planted(np.random.default_rng(2), seeds=3, images=50, effect=0.1, spread=0.1)
    found = over_seeds(first, second)
    differences = first.astype(float) - second
    # Sums of squares as a two-way table without replication has them.
    total = np.sum((differences - differences.mean()) ** 2)
    seeds = 50 * np.sum((differences.mean(1) - differences.mean()) ** 2)
    images = 3 * np.sum((differences.mean(0) - differences.mean()) ** 2)
    by_seed, by_image, noise = seeds / 2, images / 49, (total - seeds - images) / 98
    assert by_seed > noise and by_image > noise  # the case without a floor
    # The sum of a t and a normal variable, drawn.
    rng = np.random.default_rng(0)
    drawn = math.sqrt(by_seed / 150) * rng.standard_t(2, 10**6)
    drawn += math.sqrt((by_image - noise) / 150) * rng.standard_normal(10**6)
    mean = differences.mean()
    assert found.difference == pytest.approx(mean)
    assert found.p_value == pytest.approx(np.mean(np.abs(drawn) > abs(mean)), abs=2e-3)
    margin = np.quantile(np.abs(drawn), 0.95)
    assert found.interval == pytest.approx((mean - margin, mean + margin), rel=0.01)
    assert (found.seeds, found.images, found.method) == (3, 50, CROSSED)
    assert found.first_only - found.second_only == pytest.approx(found.difference)


def test_images_that_add_no_spread_leave_the_t_test_of_the_seeds():
    first = np.zeros((4, 4000), bool)
    for seed, right in enumerate((3000, 3100, 3150, 3300)):  # which images is chance: only their number differs
        first[seed, np.random.default_rng(seed).permutation(4000)[:right]] = True
    found = over_seeds(first, np.zeros_like(first), resamples=10)
    expected = stats.ttest_1samp(first.mean(1), 0)
    assert found.p_value == pytest.approx(expected.pvalue, rel=0.02)
    assert found.interval == pytest.approx(expected.confidence_interval(), rel=0.002)


def test_seeds_that_agree_leave_the_normal_test_of_the_images():
    first, second = (one[None].repeat(3, 0) for one in outcomes(590, 60, 160, 800))
    found = over_seeds(first, second, resamples=10)
    error = math.sqrt(np.var(first[0].astype(int) - second[0].astype(int), ddof=1) / 1610)
    assert found.method == CROSSED
    assert found.p_value == pytest.approx(2 * stats.norm.sf(100 / 1610 / error))
    assert found.interval == pytest.approx((-100 / 1610 - 1.96 * error, -100 / 1610 + 1.96 * error), abs=1e-5)


def test_equal_figures_on_other_images_are_no_more_certain_than_the_images():
    right = np.random.default_rng(3).integers(0, 2, 400).astype(bool)
    first = np.stack([right, right, np.roll(right, 7), np.roll(right, 50)])  # no spread between seeds: chance
    found = over_seeds(first, np.zeros_like(first), resamples=10)
    error = math.sqrt(np.var(first.mean(0), ddof=1) / 400)
    assert found.interval[1] - found.difference == pytest.approx(1.96 * error, rel=1e-4)
    assert over_seeds(first, first[::-1]).p_value == 1.0


def test_one_seed_falls_back_to_the_images():
    first, second = outcomes(59, 6, 16, 80)
    found = over_seeds(first, second)
    assert found.method == ONE_SEED and found.seeds == 1 and found.same_sign
    assert found.p_value == mcnemar(first, second).p_value
    assert found.interval == paired_interval(first, second)
    # The bootstrap of the images alone has the standard error of the difference.
    error = math.sqrt(np.var(first.astype(int) - second.astype(int)) / 161)
    assert found.bootstrap == pytest.approx(
        (found.difference - 1.96 * error, found.difference + 1.96 * error), abs=0.01
    )


def test_seeds_without_any_spread_are_one_seed():
    first = np.ones((3, 40), bool)
    found = over_seeds(first, first)
    assert (found.difference, found.p_value, found.method) == (0, 1, ONE_SEED)
    assert found.interval[0] < 0 < found.interval[1] and not found.same_sign
    assert over_seeds(first, ~first).p_value == pytest.approx(2 / 2**40)
    assert over_seeds(first[:, :1], ~first[:, :1]).method == ONE_SEED  # no variance of a single image


def test_the_bootstrap_is_that_of_drawn_indices():
    first, second = planted(np.random.default_rng(4), seeds=4, images=60, effect=0.05, spread=0.03)
    differences = first.astype(float) - second
    rng = np.random.default_rng(5)
    drawn = [differences[rng.integers(4, size=4)][:, rng.integers(60, size=60)].mean() for _ in range(20_000)]
    found = over_seeds(first, second, resamples=20_000)
    assert found.bootstrap == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.004)
    assert found == over_seeds(first, second, resamples=20_000)


def test_same_sign_needs_a_difference_in_every_seed():
    first = np.array([[1, 1, 0], [1, 0, 0]], bool)
    assert over_seeds(first, np.zeros_like(first)).same_sign
    assert over_seeds(~first & False, first).same_sign
    assert not over_seeds(first, np.array([[0, 0, 0], [0, 0, 1]], bool)).same_sign


def test_holm():
    # Worked by hand: 4 * .01, 3 * .013 is below it, 2 * .03, 1 * .4.
    assert holm([0.03, 0.01, 0.4, 0.013]) == pytest.approx([0.06, 0.04, 0.4, 0.04])
    assert holm([0.6, 0.7]) == pytest.approx([1, 1])
    assert len(holm([])) == 0
    for broken in ([1.1], [-0.1, 0.5], [math.nan], [[0.1]]):
        with pytest.raises(ValueError, match="numbers from 0 to 1"):
            holm(broken)


def test_detectable_difference():
    assert detectable_difference(360) == pytest.approx(0.0572, abs=1e-4)
    assert detectable_difference(3000) == pytest.approx(0.0198, abs=1e-4)
    assert detectable_difference(100, discordant=0.0) == 0
    for images, power in ((0, 0.8), (10, 1.0)):
        with pytest.raises(ValueError, match="an image or more"):
            detectable_difference(images, power=power)


def test_compare_corrects_over_all_pairs():
    rng = np.random.default_rng(6)
    base = rng.random((3, 200)) < 0.5
    arms = {"kl": base, "both": base | (rng.random((3, 200)) < 0.2), "noise": base ^ (rng.random((3, 200)) < 0.1)}
    found = compare(arms, [("both", "kl"), ("noise", "kl")], resamples=100)
    assert [(one.arm, one.reference) for one in found] == [("both", "kl"), ("noise", "kl")]
    assert [one.p_adjusted for one in found] == pytest.approx(holm([one.p_value for one in found]))
    assert found[0].p_adjusted < 0.05 < found[1].p_adjusted
    assert found[0].same_sign and found[0].second_only == 0
    assert compare(arms, []) == ()
    with pytest.raises(ValueError, match="no outcomes of plain; there are kl, both, noise"):
        compare(arms, [("kl", "plain")])


SIMULATIONS = 200
CHANCE = 3 * math.sqrt(0.05 * 0.95 / SIMULATIONS)  # three standard errors of a share of 5 %


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5])
def test_a_planted_effect_is_found_and_a_planted_null_is_not(seeds):
    effect = {3: 0.12, 5: 0.05}[seeds]
    rng = np.random.default_rng(seeds)
    shares = {}
    for planted_effect in (effect, 0.0):
        found = [
            over_seeds(*planted(rng, seeds=seeds, images=1000, effect=planted_effect, spread=0.0175), resamples=200)
            for _ in range(SIMULATIONS)
        ]
        shares[planted_effect] = np.mean([one.p_value < 0.05 for one in found])
        # The shift of the logits is not quite the shift of the accuracy.
        covered = [one.interval[0] - 0.002 <= planted_effect <= one.interval[1] + 0.002 for one in found]
        assert np.mean(covered) >= 0.95 - CHANCE
    assert shares[effect] >= 0.8
    assert shares[0.0] <= 0.05 + CHANCE


@pytest.mark.slow
def test_one_seed_finds_the_detectable_difference_with_its_power():
    images, discordant, rng = 1000, 0.15, np.random.default_rng(7)
    effect = detectable_difference(images, discordant)
    shares = {}
    for planted_effect in (effect, 0.0):
        one, other = (discordant + planted_effect) / 2, (discordant - planted_effect) / 2
        draws = rng.multinomial(images, (0.4, one, other, 0.6 - one - other), size=SIMULATIONS)
        shares[planted_effect] = np.mean([mcnemar(*outcomes(*draw)).p_value < 0.05 for draw in draws])
    assert 0.7 <= shares[effect] <= 0.9
    assert shares[0.0] <= 0.05 + CHANCE


def test_p_values_are_probabilities_whatever_the_outcomes():
    draw = np.random.default_rng(0)
    for _ in range(50):
        found = over_seeds(draw.random((3, 10)) < 0.5, draw.random((3, 10)) < 0.5, resamples=10)
        assert 0 <= found.p_value <= 1
