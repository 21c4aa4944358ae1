"""The tables of a report on a linear model, for which the strongest L∞ attack is known in closed form."""

import dataclasses
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from scipy import stats

from rnas import attacks
from rnas.artifacts.scores import interval
from rnas.attacks.catalogue import CLEAN, parse, pgd
from rnas.attacks.programs import ascend_further, run_settings
from rnas.config.choices import ATTACKS
from rnas.data.datasets import Split
from rnas.evaluation import EvaluatedModel, Evaluator, evaluate
from rnas.evaluation.robustness_table import BLOCKS, CURVE_ATTACK, HEADLINE_ATTACK

RADII = ("0", "1/255", "2/255", "8/255", "16/255", "32/255")
WHOLE = {"curve": RADII, "attacks": parse(f"{ATTACKS}*2")}
MAIN = 8 / 255


def number(text: str) -> float:
    over, _, under = text.partition("/")
    return float(over) / float(under or 1)


class Linear:
    """Two classes told apart by a hyperplane; some images are on the wrong side from the start.

    The sign of the gradient is the same everywhere, so every iterated attack ends in the corner of ball and box
    that the closed form names, provided that its steps add up to the diameter of the ball.
    """

    def __init__(self, count=13):
        random = np.random.default_rng(3)
        self.variables = {"weights": random.normal(size=(16, 2)).astype(np.float32)}
        images = random.integers(0, 256, (300, 4, 4, 1), np.uint8)
        centre = images.reshape(300, -1).mean(axis=0) / 255
        self.variables["bias"] = (-centre @ self.variables["weights"]).astype(np.float32)
        labels = random.integers(0, 2, 300, np.int32)
        self.split = Split(images, labels, random.permutation(1000)[:300])
        # Where rounding decides, no expectation can be stated.
        clear = np.all([np.abs(self.worst(number(text))) > 1e-3 for text in RADII], axis=0)
        lead = self.worst(0.0)
        wrong, right = np.flatnonzero(clear & (lead < 0)), np.flatnonzero(clear & (lead > 0))
        # Near the boundary and far from it, so that every radius breaks some.
        right = right[np.argsort(lead[right])][np.linspace(0, len(right) // 2, count - 3).astype(int)]
        # The first one is wrong: padding repeats it, so that a padded row that counted would show.
        self.split = self.split.take(np.concatenate([wrong[:3], random.permutation(right)]))

    @staticmethod
    def predict(variables, images):
        return images.reshape(len(images), -1) @ variables["weights"] + variables["bias"][None]

    def worst(self, epsilon: float) -> np.ndarray:
        """Lowest lead of the true class over the other within the ball and [0, 1], [N], in float64."""
        split, own = self.split, self.split.labels
        weights, bias = (self.variables[name].astype(np.float64).T for name in ("weights", "bias"))
        direction = weights[own] - weights[1 - own]
        pixels = split.images.reshape(len(split), -1) / 255
        low, high = np.clip(pixels - epsilon, 0, 1), np.clip(pixels + epsilon, 0, 1)
        return np.sum(np.where(direction > 0, low, high) * direction, axis=1) + bias[own] - bias[1 - own]

    @property
    def model(self) -> EvaluatedModel:
        return EvaluatedModel("student", "f00d", 2, "student", "Linear", predict=self.predict, variables=self.variables)

    def broken(self, epsilon: float) -> np.ndarray:
        return self.worst(epsilon) < 0

    def accuracy(self, epsilon: float) -> float:
        return float(np.mean(self.worst(epsilon) > 0))


@pytest.fixture(scope="module")
def linear() -> Linear:
    return Linear()


@pytest.fixture(scope="module")
def evaluator(linear) -> Evaluator:
    return Evaluator(linear.predict, batch_size=8, seed=0)


@pytest.fixture
def batches(evaluator, monkeypatch) -> list:
    """(rows, key, settings) of each batch that the evaluator attacks from now on, once for every block of steps."""
    seen, run_batch = [], evaluator._runner.run_batch

    def watch(variables, split, program, rows, key, settings, carry):
        if program is ascend_further:
            seen.append((rows, key, settings))
        return run_batch(variables, split, program, rows, key, settings, carry)

    monkeypatch.setattr(evaluator._runner, "run_batch", watch)
    return seen


@pytest.fixture(scope="module")
def results(linear, evaluator):
    """What the whole protocol measures at two radii."""
    radii = ("8/255", "2/255")
    scores, outcomes = evaluate(evaluator, linear.model, linear.split, epsilons=radii, **WHOLE)
    return SimpleNamespace(scores=scores, outcomes=outcomes)


def test_the_setting_tells_right_from_wrong(linear):
    shares = [linear.accuracy(number(text)) for text in RADII]
    assert shares[0] == 10 / 13 and len(set(linear.split.ids)) == 13
    assert len(set(shares)) >= 4 and 0 < linear.accuracy(MAIN) < linear.accuracy(2 / 255) <= shares[0]


# -- the interval ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("hits, count", [(0, 1), (1, 1), (0, 10), (8, 10), (10, 10), (5, 16), (4321, 10_000)])
def test_interval_is_wilsons(hits, count):
    expected = stats.binomtest(hits, count).proportion_ci(0.95, method="wilson")
    assert interval(hits, count) == pytest.approx([expected.low, expected.high], abs=1e-12)


@pytest.mark.parametrize("hits, count", [(3, 7), (50, 360)])
def test_interval_ends_where_the_score_test_does(hits, count):
    """Both ends p solve (hits/count − p)² = z²·p·(1 − p)/count."""
    for p in interval(hits, count):
        assert abs(hits / count - p) == pytest.approx(1.959964 * np.sqrt(p * (1 - p) / count), rel=1e-6)


def test_interval_without_examples_says_nothing():
    assert interval(0, 0) == (0.0, 1.0)


# -- settings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_step_sizes_scale_with_the_radius(scale):
    expected = {
        "fgsm": (1, 8 / 255, "none", 0.0, ("ce",), 1),
        "mim_20_step_0.8": (20, 0.8 / 255, "none", 1.0, ("ce",), 1),
        "pgd_20_step_0.8": (20, 0.8 / 255, "uniform", 0.0, ("ce",), 1),
        "pgd_20": (20, 2 / 255, "uniform", 0.0, ("ce",), 1),
        "cw_20": (20, 0.003, "uniform", 0.0, ("margin",), 1),
        "pgd_100": (100, 2 / 255, "uniform", 0.0, ("ce", "margin"), 5),
    }
    found = {attack.name: attack for attack in parse(f"{ATTACKS}*5")}
    assert found.keys() == expected.keys()
    for name, (steps, step_size, start, decay, losses, restarts) in expected.items():
        attack = found[name]
        settings = run_settings(attack, scale * MAIN, losses[-1])
        assert settings.epsilon == np.float32(scale * MAIN)
        assert settings.step_size == pytest.approx(scale * step_size, rel=1e-6), name
        assert attack.step_size(scale * MAIN) == pytest.approx(scale * step_size, rel=1e-12), name
        assert (settings.steps, settings.momentum) == (steps, decay), name
        assert settings.use_margin == (losses[-1] == "margin"), name
        assert (attack.start, attack.losses, attack.restarts) == (start, losses, restarts), name


# -- attacks ---------------------------------------------------------------------------------------------


def test_clean_errors_are_those_of_the_model(linear, evaluator):
    rows = np.arange(len(linear.split))
    wrong, images = evaluator.attack(linear.variables, linear.split, CLEAN, 0.0, rows)
    np.testing.assert_array_equal(wrong, linear.broken(0.0))
    np.testing.assert_array_equal(images, linear.split.images.astype(np.float32) / np.float32(255))
    predictions = evaluator.predictions(linear.variables, images)
    np.testing.assert_array_equal(predictions != linear.split.labels, wrong)


@pytest.mark.parametrize("name", ["fgsm", "mim_20_step_0.8", "pgd_20_step_0.8", "pgd_20", "pgd_100"])
@pytest.mark.parametrize("epsilon", [MAIN, 32 / 255])
def test_attacks_fool_exactly_what_can_be_fooled(linear, evaluator, name, epsilon):
    attack = next(attack for attack in parse(ATTACKS) if attack.name == name)
    fooled, images = evaluator.attack(linear.variables, linear.split, attack, epsilon, np.arange(len(linear.split)))
    np.testing.assert_array_equal(fooled, linear.broken(epsilon))
    clean = linear.split.images.astype(np.float32) / np.float32(255)
    assert images.min() >= 0 and images.max() <= 1
    assert np.abs(images - clean).max() <= epsilon + 1e-6
    np.testing.assert_array_equal(images[~fooled], clean[~fooled])
    predictions = evaluator.predictions(linear.variables, images)
    np.testing.assert_array_equal(predictions != linear.split.labels, fooled)


def test_a_radius_of_zero_fools_nothing_that_was_right(linear, evaluator, batches):
    right = np.flatnonzero(~linear.broken(0.0))
    for attack in parse(f"{ATTACKS}*2"):
        batches.clear()
        fooled, images = evaluator.attack(linear.variables, linear.split, attack, 0.0, right)
        assert not fooled.any(), attack.name
        assert [int(settings.steps) for _, _, settings in batches] == [0, 0], "two batches, and no step in vain"
        np.testing.assert_array_equal(images, linear.split.images[right].astype(np.float32) / np.float32(255))


@pytest.mark.parametrize("batch_size", [4, 16])
def test_results_do_not_depend_on_the_batch(linear, evaluator, batch_size):
    # One step from a random start: what is found is all in the starts.
    attack = pgd(1, CURVE_ATTACK.step).repeated(3)
    rows = np.arange(len(linear.split))
    other = Evaluator(linear.predict, batch_size=batch_size, seed=0)
    expected, found = (each.attack(linear.variables, linear.split, attack, MAIN, rows) for each in (evaluator, other))
    assert expected[0].any() and not expected[0].all()
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


def test_results_do_not_depend_on_the_neighbours(linear, evaluator):
    attack = pgd(1, CURVE_ATTACK.step).repeated(3)
    rows = np.arange(len(linear.split))
    fooled, images = evaluator.attack(linear.variables, linear.split, attack, MAIN, rows)
    some = np.array([11, 2, 7, 5])
    alone, found = evaluator.attack(linear.variables, linear.split, attack, MAIN, some)
    np.testing.assert_array_equal(alone, fooled[some])
    np.testing.assert_array_equal(found, images[some])


def test_the_seed_moves_the_starts(linear, evaluator):
    attack = dataclasses.replace(CURVE_ATTACK, steps=0)
    rows = np.arange(3)  # fooled from the start: the first iterate is what comes back
    images = [
        each.attack(linear.variables, linear.split, attack, MAIN, rows)[1]
        for each in (evaluator, Evaluator(linear.predict, batch_size=8, seed=1))
    ]
    assert not np.array_equal(*images)


def test_restarts_attack_only_what_still_stands(linear, evaluator, batches):
    rows, broken = np.arange(8), linear.broken(MAIN)[:8].sum()
    evaluator.attack(linear.variables, linear.split, CURVE_ATTACK.repeated(3), MAIN, rows)
    first_blocks = [len(rows) for rows, _, settings in batches if settings.steps == BLOCKS[0]]
    assert first_blocks == [8, 8 - broken, 8 - broken] and 0 < broken < 8
    assert len({bytes(jax.random.key_data(key)) for _, key, _ in batches}) == 3, "every restart starts elsewhere"


def test_blocks_of_steps_find_what_one_ascent_finds(linear, evaluator, batches):
    """With short steps some images are fooled in every block, and drop out after it."""
    attack = pgd(44, 1 / 44)
    rows, epsilon = np.arange(len(linear.split)), MAIN
    fooled, _ = evaluator.attack(linear.variables, linear.split, attack, epsilon, rows)
    ids = linear.split.ids.astype(np.int32)
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(jax.random.fold_in(jax.random.key(0), 0), ids)
    whole = attacks.pgd(
        lambda images: linear.predict(linear.variables, images),
        linear.split.images.astype(np.float32) / np.float32(255), linear.split.labels,
        epsilon=epsilon, key=keys, steps=44, step_size=epsilon / 44,
    )  # fmt: skip
    np.testing.assert_array_equal(fooled, whole.success)
    assert whole.success.any() and not whole.success.all()
    attacked = [(int(settings.steps), len(rows)) for rows, _, settings in batches]
    counts = {steps: sum(count for other, count in attacked if other == steps) for steps, _ in attacked}
    assert list(counts) == [*BLOCKS, 44 - sum(BLOCKS)]
    assert list(counts.values()) == sorted(counts.values(), reverse=True)
    assert np.sum(~whole.success) <= counts[4] < len(rows)


def test_the_last_iterate_is_judged_apart_from_any(linear):
    """On a loss with many peaks the last step leaves some of those that an earlier one had found."""

    def predict(variables, images):
        return 5 * jax.numpy.sin(20 * linear.predict(variables, images))

    evaluator, rows, attack = Evaluator(predict, batch_size=8, seed=0), np.arange(len(linear.split)), pgd(20, 1 / 4)
    fooled, last = evaluator.any_and_last(linear.variables, linear.split, attack, 16 / 255, rows)
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(
        jax.random.fold_in(jax.random.key(0), 0), linear.split.ids.astype(np.int32)
    )
    whole = attacks.pgd(
        lambda images: predict(linear.variables, images),
        linear.split.images.astype(np.float32) / np.float32(255), linear.split.labels,
        epsilon=16 / 255, key=keys, steps=20,
    )  # fmt: skip
    np.testing.assert_array_equal(fooled, whole.success)
    np.testing.assert_array_equal(last, whole.last_success)
    np.testing.assert_array_equal(fooled, evaluator.attack(linear.variables, linear.split, attack, 16 / 255, rows)[0])
    assert not np.array_equal(fooled, last) and np.all(fooled | ~last)


def test_predictions_of_nan_are_no_class(linear):
    evaluator = Evaluator(lambda variables, images: linear.predict(variables, images) * np.nan, batch_size=8, seed=0)
    images = linear.split.images[:3].astype(np.float32)
    np.testing.assert_array_equal(evaluator.predictions(linear.variables, images), -1)


def test_score_is_the_mean_of_clean_and_attacked_accuracy(linear, evaluator):
    score = evaluator.score(linear.variables, linear.split, MAIN)
    clean, attacked = linear.accuracy(0.0), linear.accuracy(MAIN)
    assert score == pytest.approx(
        {"accuracy": clean, "adversarial_accuracy": attacked, "score": (clean + attacked) / 2}
    )


# -- the figures -----------------------------------------------------------------------------------------


def test_every_example_counts_once(linear, results):
    scores = results.scores
    rows = [scores.clean, *scores.attacks.values(), *scores.epsilons["2/255"].values()]
    assert len(rows) == 1 + 6 + 6
    for row in [*rows, *(score for _, score in scores.curve.points)]:
        assert row.count == 13  # no multiple of the batch: three of its rows were padding
        hits = row.accuracy * 13
        assert hits == pytest.approx(round(hits))
        expected = stats.binomtest(round(hits), 13).proportion_ci(0.95, method="wilson")
        assert row.interval == pytest.approx([expected.low, expected.high])


def test_figures_are_those_of_the_closed_form(linear, results):
    scores = results.scores
    assert (scores.kind, scores.label) == ("student", "Linear")
    assert scores.clean.accuracy == pytest.approx(linear.accuracy(0.0))
    for table, scale in ((scores.attacks, 1.0), (scores.epsilons["2/255"], 0.25)):
        for attack in parse(f"{ATTACKS}*2"):
            row = table[attack.name]
            assert row.epsilon == pytest.approx(scale * MAIN)
            assert row.settings == {
                "step_size": pytest.approx(scale * attack.step * MAIN), "steps": attack.steps,
                "restarts": attack.restarts, "start": attack.start, "loss": attack.loss,
            }  # fmt: skip
            exact = linear.accuracy(scale * MAIN)
            if attack.name == "cw_20":  # 20 steps of 0.003 do not cross the whole ball
                assert exact <= row.accuracy <= linear.accuracy(0.0)
            else:
                assert row.accuracy == pytest.approx(exact), attack.name
    assert scores.attacks["pgd_20_step_0.8"].settings["step_size"] == pytest.approx(0.8 / 255)
    assert scores.epsilons["2/255"]["pgd_20"].settings["step_size"] == pytest.approx(0.5 / 255)
    assert scores.attacks["pgd_100"].settings["loss"] == "ce then margin"


def test_curve_starts_at_clean_and_never_rises(linear, results):
    scores = results.scores
    curve = [score.accuracy for _, score in scores.curve.points]
    assert [epsilon for epsilon, _ in scores.curve.points] == pytest.approx([number(text) for text in RADII])
    assert scores.curve.attack == "pgd_20_step_0.8"
    assert curve[0] == scores.clean.accuracy
    assert curve == sorted(curve, reverse=True)
    assert curve == pytest.approx([linear.accuracy(number(text)) for text in RADII])


def test_curve_is_sorted_and_carries_the_broken_over(linear):
    """An attack may fail in a larger ball where it succeeded in a smaller one; the example is broken in both."""
    seen = []

    class Lucky:
        def attack(self, variables, split, attack, epsilon, rows):
            seen.append((attack.name, round(epsilon * 255), rows.tolist()))
            return (rows == round(epsilon * 255)) & (epsilon > 0), None

    curve = ("3/255", "0", "1/255")
    scores, outcomes = evaluate(
        Lucky(), linear.model, linear.split, epsilons=(), curve=curve, attacks=parse(ATTACKS)
    )  # fmt: skip
    all_rows = list(range(13))
    without_1 = [0, *all_rows[2:]]
    curve = [(0, all_rows), (1, all_rows), (3, without_1)]
    assert seen == [("clean", 0, all_rows), *(("pgd_20_step_0.8", *point) for point in curve)]
    assert [epsilon for epsilon, _ in scores.curve.points] == pytest.approx([0.0, 1 / 255, 3 / 255])
    assert [score.accuracy for _, score in scores.curve.points] == pytest.approx([1.0, 12 / 13, 11 / 13])
    assert [row for row in all_rows if not outcomes.right["curve@3/255"][row]] == [1, 3]


def test_outcomes_are_those_that_the_figures_count(linear, results):
    scores, outcomes = results.scores, results.outcomes
    np.testing.assert_array_equal(outcomes.ids, linear.split.ids)
    np.testing.assert_array_equal(outcomes.labels, linear.split.labels)
    expected = {"clean": scores.clean}
    expected |= {f"{name}@8/255": score for name, score in scores.attacks.items()}
    expected |= {f"{name}@2/255": score for name, score in scores.epsilons["2/255"].items()}
    expected |= {f"curve@{text}": point for text, (_, point) in zip(RADII, scores.curve.points, strict=True)}
    assert list(outcomes.right) == list(expected)
    for name, score in expected.items():
        assert outcomes.right[name].mean() == pytest.approx(score.accuracy), name
    for name, epsilon in (("clean", 0), ("pgd_100@8/255", MAIN), ("pgd_20@2/255", 2 / 255), ("curve@16/255", 16 / 255)):
        np.testing.assert_array_equal(outcomes.right[name], ~linear.broken(epsilon))


def test_strongest_images_fool_or_are_clean(linear, evaluator):
    clean = linear.split.images.astype(np.float32) / np.float32(255)
    images, right = clean.copy(), np.flatnonzero(~linear.broken(0.0))
    fooled, images[right] = evaluator.attack(linear.variables, linear.split, HEADLINE_ATTACK, MAIN, right)
    attacked = linear.broken(MAIN) & ~linear.broken(0.0)
    assert attacked.any()
    np.testing.assert_array_equal(fooled, attacked[right])
    np.testing.assert_array_equal(np.any(images != clean, axis=(1, 2, 3)), attacked)
    predictions = evaluator.predictions(linear.variables, images)
    np.testing.assert_array_equal(predictions != linear.split.labels, linear.broken(MAIN))
    assert np.abs(images - clean).max() <= MAIN + 1e-6 and images.min() >= 0 and images.max() <= 1


@pytest.mark.parametrize("finished", [1, 4, 9])
def test_an_evaluation_that_was_stopped_goes_on_after_its_last_attack(linear, evaluator, results, finished):
    asked, kept = [], []

    class Counting:
        def __init__(self, most):
            self.most = most

        def attack(self, *arguments):
            if len(asked) == self.most:
                raise KeyboardInterrupt
            asked.append(arguments[2].name)
            return evaluator.attack(*arguments)

    radii, names = ("8/255", "2/255"), list(results.outcomes.right)
    with pytest.raises(KeyboardInterrupt):
        evaluate(Counting(finished), linear.model, linear.split, epsilons=radii, keep=kept.append, **WHOLE)
    assert [list(each.right) for each in kept] == [names[: number + 1] for number in range(finished)]
    asked.clear()
    former = kept[-1].right
    scores, outcomes = evaluate(Counting(99), linear.model, linear.split, epsilons=radii, former=former, **WHOLE)
    assert len(asked) == len(names) - finished
    assert scores == results.scores
    for name in names:
        np.testing.assert_array_equal(outcomes.right[name], results.outcomes.right[name])
