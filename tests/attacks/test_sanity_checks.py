"""Sanity checks: every control is caught, a healthy model passes, and thresholds lie where they should."""

import copy
from functools import cached_property, partial

from controls import (
    CLASSES,
    MASKED,
    SHAPE,
    batch_normalised,
    examples,
    healthy,
    noisy,
    probabilities,
    quantised,
    shattered,
)
import jax
import jax.numpy as jnp
import numpy as np
from problems import KEY, RADII, linear, linear_problems
import pytest

from rnas.attacks import fgsm, pgd
from rnas.attacks import sanity_checks as checks
from rnas.attacks.measurements import gradient_health, loss_stability, random_noise
from rnas.attacks.projections import distance
from rnas.attacks.random_start import per_example_keys

N = 40
EPSILON = 4 / 255
CURVE = np.array([0, 1, 2, 4, 8, 16, 32, 64, 128, 255]) / 255
IMAGES, LABELS = examples(N)


class EvaluatedModel:
    """What attacks and measurements find out about a model, each compiled once and when it is asked for."""

    def __init__(self, model):
        self.model = model
        self.logits = jax.jit(model)

    @cached_property
    def attack(self):
        def run(epsilon, steps, restarts):
            return pgd(self.model, IMAGES, LABELS, epsilon=epsilon, key=KEY, steps=steps, restarts=restarts)

        return jax.jit(run)

    def pgd(self, epsilon=EPSILON, steps=100, restarts=1):
        return jax.device_get(self.attack(epsilon, steps, restarts))

    def measured(self, what, **settings):
        return jax.device_get(jax.jit(partial(what, self.model, key=KEY, **settings))(IMAGES, LABELS))

    def inputs(self):
        """Half a batch, and the same half beside other images."""
        strangers, half = IMAGES.copy(), slice(N // 2)
        strangers[N // 2 :] = 1 - strangers[N // 2 :] ** 2
        passes = np.stack([self.logits(IMAGES) for _ in range(5)])
        return checks.check_outputs(passes[:, half], np.asarray(self.logits(strangers))[half], LABELS[half])

    def gradients(self):
        return checks.check_gradients(*self.measured(gradient_health, epsilon=EPSILON))

    def silence(self):
        result = self.pgd()
        return checks.check_silent(result.success, np.asarray(self.logits(result.images)).argmax(1) != LABELS)

    def verdicts(self):
        """Letter → Check."""
        runs = {steps: self.pgd(steps=steps) for steps in (0, 90, 100, 200)}
        single = self.measured(fgsm, epsilon=EPSILON).success
        restarts = self.pgd(restarts=5).success
        white_box = single | restarts | runs[200].success
        fooled = {"fgsm": single, "pgd": runs[100].success, "pgd_twice_steps": runs[200].success}
        fooled |= {"pgd_restarts": restarts, "white_box": white_box, "square": None}
        curve = [1 - np.mean(self.pgd(epsilon).success) for epsilon in CURVE]
        clean = np.mean(np.asarray(self.logits(IMAGES)).argmax(1) == LABELS)
        stored = np.flatnonzero(runs[100].success)
        images = runs[100].images[stored]
        found = [
            self.inputs(),
            self.gradients(),
            checks.check_noise(self.measured(random_noise, epsilon=EPSILON).success, white_box),
            checks.check_order(fooled),
            checks.check_monotone(CURVE, curve, clean, CLASSES, "linf"),
            checks.check_finished(*(runs[steps].loss for steps in (0, 90, 100))),
            self.silence(),
            checks.check_stability(*self.measured(loss_stability)),
            checks.check_stored(
                IMAGES[stored],
                images,
                np.asarray(self.logits(images)).argmax(1),
                LABELS[stored],
                epsilon="4/255",
                norm="linf",
            ),
        ]
        return {check.letter: check for check in found}


def test_a_healthy_model_passes():
    verdicts = EvaluatedModel(healthy).verdicts()
    assert "".join(verdicts) == "ABCDEFGHI"
    assert {check.letter: check for check in verdicts.values() if check.status != "passed"} == {}
    assert not any(check.advice for check in verdicts.values())
    assert 0.2 < float(verdicts["I"].figure.split()[1]) / N < 0.8


def test_a_quantised_model_is_caught_everywhere():
    """By its zero gradients, by noise, by accuracy at large radii and by changes no gradient announces."""
    verdicts = EvaluatedModel(quantised(healthy)).verdicts()
    assert {letter for letter, check in verdicts.items() if check.status == "warning"} >= set("BCEH")
    assert verdicts["B"].figure.startswith(f"{4 * N} of {4 * N} gradients are zero")
    assert all(check.advice for check in verdicts.values() if check.status != "passed")


@pytest.mark.parametrize("control", ["blocked", "saturated"])
def test_masked_gradients_are_caught(control):
    health = EvaluatedModel(MASKED[control](healthy)).measured(gradient_health, epsilon=EPSILON)
    check = checks.check_gradients(*health)
    assert check.status == "warning"
    zero = np.mean(health.zero, axis=0)
    if control == "saturated":  # only cross-entropy suffers
        assert min(zero[0], zero[2]) > 0.1 and zero[1] == zero[3] == 0
        assert health.vanished.mean() > 0.1 and "is below 1e-07" in check.figure
    else:
        np.testing.assert_array_equal(zero, 1)
        assert not health.vanished.any()


def test_nan_gradients_are_caught():
    health = EvaluatedModel(shattered(healthy)).measured(gradient_health, epsilon=EPSILON)
    assert health.broken.all() and not health.zero.any()
    assert checks.check_gradients(*health).status == "failed"


def test_probabilities_are_caught():
    check = EvaluatedModel(probabilities(healthy)).inputs()
    assert (check.letter, check.status) == ("A", "warning")
    assert "look like probabilities" in check.advice and "random" not in check.advice


def test_noise_in_the_model_is_caught():
    subject = EvaluatedModel(noisy(healthy, spread=0.5))
    check = subject.inputs()
    assert check.status == "warning" and "neighbours" not in check.figure
    assert "version 'rand'" in check.advice and "deterministic" in check.advice
    assert subject.silence().status == "failed"


def test_batch_statistics_are_caught():
    check = EvaluatedModel(batch_normalised(healthy)).inputs()
    assert check.status == "failed" and "training mode" in check.advice


# Measurements against closed forms.

WEIGHTS, POINTS = (array[0] for array in linear_problems(classes=2, count=1, examples=12)[:2])
NORMAL = WEIGHTS.astype(np.float64) @ [1, -1]  # where the first class leads


def line(images):
    """A linear model whose boundary runs through the grey image."""
    return linear(WEIGHTS, images - 0.5)


CLASSIFIED = np.asarray(line(POINTS)).argmax(1)
LEAD = abs((POINTS.reshape(len(POINTS), -1) - 0.5) @ NORMAL)
DRAW = {norm: jax.jit(partial(random_noise, line, norm=norm)) for norm in ("linf", "l2", "l1")}


@pytest.mark.parametrize(("norm", "length"), [("linf", 1), ("l2", NORMAL.size**0.5), ("l1", NORMAL.size)])
def test_noise_is_signs_in_the_ball(norm, length):
    """Every pixel moves as far; what is returned fools, and is found by some of the draws for some images only."""
    pixel = 0.03
    result = jax.device_get(DRAW[norm](POINTS, CLASSIFIED, epsilon=pixel * length, key=KEY, draws=64))
    move, fooled = result.images - POINTS, result.success
    assert 0 < fooled.sum() < len(fooled)
    assert np.all(distance(move, norm) <= pixel * length + 1e-6)
    np.testing.assert_allclose(abs(move[fooled]), pixel, atol=1e-6)
    np.testing.assert_array_equal(move[~fooled], 0)
    np.testing.assert_array_equal(np.asarray(line(result.images)).argmax(1) != CLASSIFIED, fooled)
    # No draw reaches the corner that lies furthest, whose lead is known.
    assert np.all(result.loss <= pixel * abs(NORMAL).sum() - LEAD + 1e-5)
    np.testing.assert_array_equal(fooled, result.loss > 0)
    np.testing.assert_array_equal(result.queries, 64)


def test_noise_is_clipped():
    corner = np.zeros_like(POINTS)
    wrong = 1 - np.asarray(line(corner)).argmax(1)
    images = np.asarray(DRAW["linf"](corner, wrong, epsilon=0.1, key=KEY, draws=3).images)
    np.testing.assert_array_equal(np.unique(images), np.float32([0, 0.1]))


def test_draws_belong_to_examples():
    """The same bits whatever the rest of the batch holds."""
    settings = {"epsilon": 0.2, "draws": 2}
    keys = per_example_keys(KEY, len(POINTS))
    whole, turned = DRAW["linf"](POINTS, CLASSIFIED, key=KEY, **settings), np.roll(np.arange(len(POINTS)), 5)
    again = DRAW["linf"](POINTS[turned], CLASSIFIED[turned], key=keys[turned], **settings)
    np.testing.assert_array_equal(np.asarray(whole.images)[turned], again.images)


def test_noise_needs_images_and_a_norm():
    result = random_noise(line, POINTS[:0], CLASSIFIED[:0], epsilon="0.1", key=KEY)
    assert result.images.shape == (0, *POINTS.shape[1:])
    with pytest.raises(ValueError, match="unknown norm 'l0'; expected one of linf, l2, l1"):
        random_noise(line, POINTS, CLASSIFIED, epsilon=0.1, key=KEY, norm="l0")


def test_stability_of_a_linear_model():
    """The gradient is that of the weights, and uniform noise moves the lead by its mean absolute deviation."""
    found = jax.jit(partial(loss_stability, line, key=KEY, radius="0.05"))(POINTS, CLASSIFIED, draws=2000)
    found = jax.device_get(found)
    np.testing.assert_allclose(found.slope, 0.05 * abs(NORMAL).sum() / LEAD, rtol=1e-3)
    noise = np.random.default_rng(0).uniform(-0.05, 0.05, (100_000, NORMAL.size))
    np.testing.assert_allclose(found.change, np.mean(abs(noise @ NORMAL)) / LEAD, rtol=0.1)
    assert checks.check_stability(*found).status == "passed"


@pytest.mark.parametrize("norm", ["linf", "l1"])
def test_health_looks_at_the_image_and_at_a_start_in_the_ball(norm):
    """Gradients exist on one side only, and the images lie on the other."""
    seen = []

    def one_sided(images):
        jax.debug.callback(lambda points: seen.append(np.asarray(points)), images)
        total = images.sum((1, 2, 3))
        flat = jnp.where(jnp.all(images == 0.5, axis=(1, 2, 3)), 0.0, total)
        return jnp.stack([1e-3 * flat, 20 + jnp.zeros_like(total)], axis=1)

    grey = jnp.full((3, *SHAPE), 0.5)
    run = jax.jit(partial(gradient_health, one_sided, key=KEY, norm=norm))
    health = run(grey, jnp.ones(3, jnp.int32), epsilon=RADII[norm])
    jax.effects_barrier()
    np.testing.assert_array_equal(health.zero, [[True, True, False, False]] * 3)
    np.testing.assert_array_equal(health.vanished, [[True, True]] * 3)
    assert not np.any(health.broken)
    image, start = sorted(seen, key=lambda points: abs(points - 0.5).max())
    np.testing.assert_array_equal(image, 0.5)
    assert np.all(np.asarray(distance(start - 0.5, norm)) <= RADII[norm] + 1e-6)


# Verdicts at their thresholds, with arrays made by hand.


def flags(count, up):
    return np.arange(count) < up


LOGITS = np.array([[3.0, 4.0], [0.0, 2.0], [5.0, 0.0]])
FIRST = np.array([1, 1, 0])


def outputs(passes=(), company=LOGITS, labels=FIRST, logits=LOGITS):
    return checks.check_outputs(np.stack([logits, *passes]), company, labels)


@pytest.mark.parametrize(
    ("check", "status", "words"),
    [
        (outputs(), "passed", "0 (normalised logits) and find between 3 and 3 of 3 correct"),
        # Turning (3, 4) by an angle of a moves the unit vector by a.
        (outputs(passes=[LOGITS + [[-0.8e-4 * 4, 0.8e-4 * 3], [0, 0], [0, 0]]]), "passed", "8e-05"),
        (outputs(passes=[LOGITS + [[-1.2e-4 * 4, 1.2e-4 * 3], [0, 0], [0, 0]]]), "warning", "0.00012"),
        (outputs(company=LOGITS + [[0, 0], [0.8e-4 * 2, 0], [0, 0]]), "passed", "8e-05"),
        (outputs(company=LOGITS + [[0, 0], [1.2e-4 * 2, 0], [0, 0]]), "failed", "0.00012"),
        (outputs(passes=[7 * LOGITS], company=2 * LOGITS), "passed", "up to 0"),
        # A decision that flips counts however close the logits are.
        (outputs(logits=LOGITS + [[1, 0], [0, 0], [0, 0]], passes=[LOGITS + [[1 + 1e-6, 0], [0, 0], [0, 0]]],
                 company=LOGITS + [[1, 0], [0, 0], [0, 0]], labels=np.array([0, 1, 0])), "passed", "3 and 3"),
        (outputs(logits=LOGITS + [[1, 0], [0, 0], [0, 0]], passes=[LOGITS + [[1 - 1e-6, 0], [0, 0], [0, 0]]],
                 company=LOGITS + [[1, 0], [0, 0], [0, 0]], labels=np.array([0, 1, 0])), "warning", "2 and 3"),
        (outputs(company=LOGITS * [[1], [np.nan], [1]]), "failed", "logits of 1 of 3 images are NaN"),
        (outputs(passes=[LOGITS + [[0], [0], [np.inf]]]), "failed", "logits of 1 of 3"),
        (checks.check_outputs(np.zeros((5, 0, 2)), np.zeros((0, 2)), np.zeros(0, int)), "skipped", "no examples"),
    ],
)  # fmt: skip
def test_outputs(check, status, words):
    assert (check.letter, check.status) == ("A", status)
    assert words in check.figure


@pytest.mark.parametrize(
    ("rows", "status"),
    [
        ([[1.0, 0.0], [0.5, 0.5]], "warning"),
        ([[1.0 + 0.9e-5, -0.9e-5], [0.5, 0.5]], "warning"),
        ([[1.0 + 2e-5, -2e-5], [0.5, 0.5]], "passed"),
        ([[0.9, 0.1], [0.5, 0.5 + 2e-5]], "passed"),
    ],
)
def test_what_counts_as_probabilities(rows, status):
    rows = np.array(rows)
    assert checks.check_outputs(np.stack([rows] * 2), rows, np.array([0, 0])).status == status


@pytest.mark.parametrize(
    ("zero", "broken", "vanished", "status"),
    [
        (0, 0, 0, "passed"),
        (1, 0, 0, "warning"),
        (0, 1, 0, "failed"),
        (1, 1, 5, "failed"),
        (0, 0, 2, "passed"),
        (0, 0, 3, "warning"),
    ],
)
def test_gradients(zero, broken, vanished, status):
    """The share of vanished losses may be 10 %, at the image and at the start each."""
    columns = [np.stack([flags(20, up)] + [flags(20, 0)] * 3, axis=1) for up in (zero, broken)]
    check = checks.check_gradients(*columns, np.stack([flags(20, 0), flags(20, vanished)], axis=1))
    assert check.status == status
    assert f"{zero} of 80 gradients are zero" in check.figure
    assert ("(cross-entropy at the image 1)" in check.figure) == (zero + broken > 0)


def test_noise():
    assert checks.check_noise(flags(9, 3), flags(9, 3)).status == "passed"
    check = checks.check_noise(flags(9, 4), flags(9, 3))
    assert check.status == "warning"
    assert check.figure == "noise fools 4 of 9 examples, 1 of them not fooled by gradient attacks"


@pytest.mark.parametrize(
    ("new", "old", "allowed", "words"),
    [
        ("fgsm", "pgd", 2, ("FGSM", "PGD")),
        ("pgd_twice_steps", "pgd", 5, ("PGD of twice the steps", "PGD")),
        ("pgd_restarts", "pgd", 10, ("PGD with restarts", "PGD")),
        ("square", "white_box", 2, ("Square", "a white-box attack")),
        ("transfer", "white_box", 2, ("transfer from another model", "a white-box attack")),
    ],
)
def test_order(new, old, allowed, words):
    """Out of 1000 examples. What else the other attack finds does not make up for what it misses."""
    found = flags(1000, 500)
    for more, status in ((allowed, "passed"), (allowed + 1, "warning")):
        check = checks.check_order({old: found, new: flags(1000, 500 + more) & (np.arange(1000) > 99)})
        assert check.status == status
        assert check.figure == f"of 1000 examples, {words[0]} fools {more} that {words[1]} does not"
        assert bool(check.advice) == (status == "warning")


def test_order_judges_what_is_there():
    assert checks.check_order({"pgd": flags(5, 2), "square": flags(5, 5), "fgsm": None}).status == "skipped"
    assert checks.check_order({}).status == checks.check_order({"fgsm": flags(0, 0), "pgd": flags(0, 0)}).status
    with pytest.raises(ValueError, match="unknown attacks apgd; expected some of fgsm"):
        checks.check_order({"apgd": flags(5, 2)})
    with pytest.raises(ValueError, match="lengths differ: fgsm 5, pgd 6"):
        checks.check_order({"fgsm": flags(5, 2), "pgd": flags(6, 2)})


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({}, "passed"),
        ({"order": [3, 1, 4, 0, 2]}, "passed"),
        ({"accuracies": [0.9, 0.7, 0.705, 0.11, 0.0]}, "passed"),
        ({"accuracies": [0.9, 0.7, 0.706, 0.11, 0.0]}, "warning"),
        ({"accuracies": [0.9, 0.7, 0.704, 0.708, 0.0]}, "warning"),  # in two small steps
        ({"accuracies": [0.9, 0.7, 0.5, 0.12, 0.0]}, "warning"),
        ({"accuracies": [0.9, 0.7, 0.5, 0.12, 0.0], "norm": "l2"}, "passed"),
        ({"accuracies": [0.9, 0.7, 0.5, 0.12, 0.0], "num_classes": 9}, "passed"),
        ({"clean_accuracy": 0.901}, "failed"),
        ({"accuracies": [np.nan] * 5}, "skipped"),
    ],
)
def test_monotone(change, status):
    settings = {"accuracies": [0.9, 0.7, 0.5, 0.11, 0.0], "clean_accuracy": 0.9, "num_classes": 10, "norm": "linf"}
    settings |= change
    order = settings.pop("order", range(5))
    epsilons, accuracies = np.array([0, 8, 32, 64, 255]) / 255, np.array(settings.pop("accuracies"))
    assert checks.check_monotone(epsilons[order], accuracies[order], **settings).status == status


def test_chance_is_not_asked_for_below_its_radius():
    check = checks.check_monotone([4 / 255, 63 / 255], [0.8, 0.8], 0.9, 10, "linf")
    assert check.status == "passed" and "chance" not in check.figure


@pytest.mark.parametrize(
    ("late", "unfinished", "status"),
    [(2.94, 20, "warning"), (2.96, 20, "passed"), (2.94, 3, "warning"), (2.94, 2, "passed")],
)
def test_finished(late, unfinished, status):
    """Losses rise from 2 to 3: the last tenth may gain 5 % of that, for all but 10 % of examples."""
    curve = np.where(flags(20, unfinished), late, 3.0)
    assert checks.check_finished(np.full(20, 2.0), curve, np.full(20, 3.0)).status == status


def test_a_loss_that_cannot_rise_is_finished():
    flat = np.array([1.0, 0.0, -np.inf, np.nan])
    assert checks.check_finished(flat, flat, flat + [2e-7, 0, 0, 0]).status == "passed"


def test_silent():
    assert checks.check_silent(flags(6, 3), flags(6, 4)).status == "passed"
    check = checks.check_silent(flags(6, 3), flags(6, 2))
    assert (check.status, check.figure) == (
        "failed",
        "1 of 3 images that were claimed to fool do not when counted again",
    )


@pytest.mark.parametrize(
    ("change", "slope", "status"),
    [(0.11, 0.009, "warning"), (0.09, 0.0, "passed"), (5.0, 0.011, "passed"), (np.nan, 0.0, "passed")],
)
def test_stability(change, slope, status):
    assert checks.check_stability(np.array([0.0, change]), np.array([1.0, slope])).status == status


def stored(norm="linf", epsilon="8/255", pixel=0.0, prediction=1, move=0.0):
    clean = np.full((3, 2, 2, 1), 0.5)
    adversarial = clean + 0.01
    adversarial[1, 0, 0, 0] += pixel
    adversarial[2] = clean[2] + move
    return checks.check_stored(
        clean, adversarial, np.array([1, prediction, 1]), np.zeros(3, int), epsilon=epsilon, norm=norm
    )


@pytest.mark.parametrize(
    ("settings", "status", "words"),
    [
        ({}, "passed", "of 3 images, 0 hold NaN or Inf; 0 leave [0, 1]; 0 leave the ball"),
        ({"pixel": np.nan}, "failed", "1 hold NaN or Inf; 0 leave [0, 1]; 0 leave the ball"),
        ({"pixel": 0.49 + 2e-6, "epsilon": 0.6}, "failed", "1 leave [0, 1]; 0 leave the ball"),
        ({"pixel": 0.49 + 5e-7, "epsilon": 0.6}, "passed", "0 leave [0, 1]"),
        ({"move": 8 / 255 + 5e-7}, "passed", "largest linf distance 0.03137305, epsilon 0.03137255"),
        ({"move": 8 / 255 + 2e-6}, "failed", "1 leave the ball"),
        ({"move": 0.1 + 1e-7, "epsilon": 0.2, "norm": "l2"}, "passed", "0 leave the ball"),
        ({"move": 0.1 + 1e-6, "epsilon": 0.2, "norm": "l2"}, "failed", "1 leave the ball"),
        ({"move": 0.1 + 1e-7, "epsilon": 0.4, "norm": "l1"}, "passed", "0 leave the ball"),
        ({"move": 0.1 + 1e-6, "epsilon": 0.4, "norm": "l1"}, "failed", "1 leave the ball"),
        ({"prediction": 0}, "failed", "1 are classified correctly"),
    ],
)
def test_stored(settings, status, words):
    check = stored(**settings)
    assert check.status == status
    assert words in check.figure


def test_a_large_l1_ball_leaves_room_for_rounding():
    """Moves of length 12, as exact as float32 pixels can hold them; the sum of all roundings exceeds 1e-6."""
    rng = np.random.default_rng(1)
    clean, move = rng.uniform(0.1, 0.9, (50, 12288)).astype(np.float32), rng.normal(size=(50, 12288))
    adversarial = (clean + 12 * move / abs(move).sum(1, keepdims=True)).astype(np.float32)
    lengths = abs(adversarial.astype(float) - clean).sum(1)
    assert lengths.max() > 12 + 1e-6
    ones, zeros = np.ones(50, int), np.zeros(50, int)
    assert checks.check_stored(clean, adversarial, ones, zeros, epsilon=12, norm="l1").status == "passed"
    assert checks.check_stored(clean, adversarial, ones, zeros, epsilon=11.9999, norm="l1").status == "failed"


def summary():
    attack = {"name": "apgd-ce", "settings": {}, "attacked": 9, "fooled": 0}
    attack["cumulative"] = {"accuracy": 0.5, "interval": [0.2, 0.8]}
    scored = {"accuracy": 0.9, "count": 9, "interval": [0.6, 1.0]}
    return {
        "model": {"name": "m", "hash": "h"},
        "dataset": {"name": "d", "split": "test", "count": 10, "sha256": "s"},
        "threat": {"norm": "linf", "epsilon": 0.03},
        "version": "standard",
        "seed": 0,
        "clean": scored,
        "robust": dict(scored),
        "attacks": [attack, copy.deepcopy(attack)],
        "uint8": {"fooled": 4, "still_fooling": 4, "outside_ball": 0},
        "curve": [],
        "checks": [],
        "versions": {},
        "device": "cpu",
        "precision": "highest",
        "seconds": 1.0,
    }


def test_a_complete_report():
    check = checks.check_complete(summary())
    assert (check.letter, check.status, check.figure) == ("K", "passed", "0 of 38 fields are missing")


@pytest.mark.parametrize("name", [*checks.REQUIRED, *(f"attacks[1].{name}" for name in checks.REQUIRED_OF_EACH_ATTACK)])
def test_every_missing_field_is_named(name):
    for take in (dict.pop, lambda mapping, last: mapping.update({last: None})):
        incomplete = summary()
        within = incomplete["attacks"][1] if "[1]" in name else incomplete
        *sections, last = name.removeprefix("attacks[1].").split(".")
        for section in sections:
            within = within[section]
        take(within, last)
        check = checks.check_complete(incomplete)
        assert check.status == "failed"
        assert check.figure.startswith("1 of ") and check.figure.endswith(f"are missing: {name}")


def test_reports_of_nothing():
    assert checks.check_complete(summary() | {"attacks": []}).figure.endswith("missing: attacks")
    assert checks.check_complete({}).status == "failed"
    empty = summary() | {"attacks": [], "clean": {"accuracy": None, "count": 0, "interval": [0, 1]}}
    empty["dataset"]["count"] = 0
    assert checks.check_complete(empty).status == "passed"


def test_no_examples_are_no_verdict():
    none, no_images = np.zeros(0), np.zeros((0, *SHAPE))
    found = [
        checks.check_gradients(np.zeros((0, 4)), np.zeros((0, 4)), np.zeros((0, 2))),
        checks.check_noise(none, none),
        checks.check_monotone([], [], 0.5, 10, "linf"),
        checks.check_finished(none, none, none),
        checks.check_silent(none, none),
        checks.check_stability(none, none),
        checks.check_stored(no_images, no_images, none, none, epsilon=0.1, norm="l2"),
    ]
    assert {check.status for check in found} == {"skipped"}
    assert all(check.figure and not check.advice for check in found)
