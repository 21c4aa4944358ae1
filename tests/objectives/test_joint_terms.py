"""The joint objective: its terms against NumPy, its attack, and which passes move running statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnas.objectives import (
    Batch,
    FixedTutors,
    Network,
    Objective,
    SampledTutors,
    TeacherOutputs,
    adversarial_images,
    joint_terms,
    run_teacher,
    soft_tutor_loss,
)
from rnas.objectives.methods import Mart, Trades

ADVERSARIAL = ("none", "pgd_at", "trades", "mart", "rslad")
N, K, SIDE = 6, 3, 4
EPSILON, STEP = 0.06, 0.025


def objective(adversarial, **changes):
    fields = dict(epsilon=EPSILON, step_size=STEP, steps=3, size=SIDE)
    weighed = {"trades": Trades(beta=4.0), "mart": Mart(beta=4.0)}
    return Objective(weighed.get(adversarial, adversarial), **{**fields, **changes})


class Linear:
    """Logits W'x; taps are the images and their squares; the running statistic follows the mean pixel.

    `passes` notes (train, moves statistics) of each pass, in order.
    """

    def __init__(self):
        self.passes = []

    def apply(self, variables, images, masks=None, *, train, mutable=()):
        self.passes.append((train, bool(mutable)))
        logits = images.reshape(len(images), -1) @ variables["params"]
        if masks is not None:
            logits = logits * masks[None]
        out = {"first": images, "second": images**2}
        if not mutable:
            return logits, out
        mean = 0.9 * variables["batch_stats"] + 0.1 * jnp.mean(images)
        return (logits, out), {"batch_stats": mean}


@pytest.fixture
def case():
    """Arrays of one batch: weights, images (with pixels at both ends of the box), labels, outputs of the teacher."""
    random = np.random.default_rng(0)
    images = random.uniform(size=(N, SIDE, SIDE, 1)).astype(np.float32)
    images[0, 0], images[0, 1] = 0.0, 1.0
    maps = random.uniform(size=(N, 2, SIDE * SIDE))
    return dict(
        params=random.normal(size=(SIDE * SIDE, K)).astype(np.float32),
        images=images,
        adversarial=np.clip(images + random.uniform(-0.1, 0.1, images.shape), 0, 1).astype(np.float32),
        labels=random.integers(0, K, N).astype(np.int32),
        logits=random.normal(size=(N, K)).astype(np.float32),
        maps=(maps / np.linalg.norm(maps, axis=-1, keepdims=True)).astype(np.float32),
    )


def softmax(logits):
    scores = np.exp(logits - logits.max(-1, keepdims=True))
    return scores / scores.sum(-1, keepdims=True)


def kl(target, logits):
    p = softmax(target)
    return np.sum(p * (np.log(p) - np.log(softmax(logits))), -1)


def student_maps(images):
    maps = [(images.reshape(len(images), -1) ** power) for power in (2, 4)]
    return np.stack([each / np.linalg.norm(each, axis=-1, keepdims=True) for each in maps], 1)


def terms_by_hand(name, case, *, gamma, kl_weight, view):
    """The terms in float64, from their definitions (arXiv 1706.06083, 1901.08573, MART, 2108.07969)."""
    rows, labels = np.arange(N), case["labels"]
    params = case["params"].astype(float)
    x, adversarial_x = (case[key].astype(float) for key in ("images", "adversarial"))
    clean, adversarial_logits = (each.reshape(N, -1) @ params for each in (x, adversarial_x))
    p, q = softmax(clean), softmax(adversarial_logits)
    teacher = case["logits"].astype(float)
    rival = np.where(np.eye(K, dtype=bool)[labels], 0, q).max(-1)
    entropy = -np.log(p[rows, labels])
    classification = {
        "none": entropy,
        "pgd_at": -np.log(q[rows, labels]),
        "trades": entropy + 4 * kl(clean, adversarial_logits),
        "mart": -np.log(q[rows, labels])
        - np.log(1.0001 - rival)
        + 4 * kl(clean, adversarial_logits) * (1 - p[rows, labels]),
        "rslad": 0.1
        * (5 / 6 * kl(teacher, adversarial_logits) + 1 / 6 * kl(teacher, clean)),  # the mean over ten classes
    }[name]
    views = {"clean": [x], "adversarial": [adversarial_x], "both": [x, adversarial_x]}[view]
    distances = [np.sum((student_maps(each) - case["maps"]) ** 2, (-1, -2)) for each in views]
    terms = {
        "classification": classification,
        "kl": kl(teacher, clean) if kl_weight else np.zeros(N),
        "attention": np.mean(distances, 0) if gamma else np.zeros(N),
        "accuracy": np.float64(clean.argmax(-1) == labels),
        "adversarial_accuracy": np.float64(adversarial_logits.argmax(-1) == labels) if name != "none" else np.zeros(N),
    }
    terms["loss"] = terms["classification"] + kl_weight * terms["kl"] + gamma * terms["attention"]
    return terms


PAIRED = FixedTutors(("first", "second"), ("one", "two"), 2)


def evaluate(settings, case, stats=0.25, masks=None):
    """Returns (terms, statistics, passes) of `joint_terms`."""
    model = Linear()
    teacher_outputs = TeacherOutputs(case["logits"], case["maps"])
    terms, stats, _ = joint_terms(
        Network(model, case["params"], jnp.float32(stats), masks), settings,
        Batch(case["images"], case["adversarial"], case["labels"], teacher_outputs),
        lambda out: PAIRED.loss(out, teacher_outputs.maps, None, settings),
    )  # fmt: skip
    return terms, stats, model.passes


@pytest.mark.parametrize("name", ADVERSARIAL)
@pytest.mark.parametrize(
    ("gamma", "kl_weight", "view"),
    [(0.0, 0.0, "clean"), (0.7, 0.3, "clean"), (0.7, 0.0, "adversarial"), (0.7, 0.3, "both")],
)
def test_terms(name, gamma, kl_weight, view, case):
    weights = dict(gamma=gamma, kl_weight=kl_weight, view=view)
    if name == "none" and view != "clean":
        with pytest.raises(ValueError, match=f"{view}.*needs adversarial images.*'clean'"):
            objective(name, **weights)
        return
    settings = objective(name, **weights)
    found, _, _ = evaluate(settings, case)
    expected = terms_by_hand(name, case, **weights)
    if not settings.needs_clean:
        expected["accuracy"] = np.zeros(N)  # no clean pass is made for the sake of a metric
    assert found.keys() == expected.keys()
    for term in expected:
        np.testing.assert_allclose(found[term], expected[term], rtol=2e-5, atol=2e-6, err_msg=term)


CLEAN, ATTACKED = "images", "adversarial"


@pytest.mark.parametrize(
    ("name", "options", "bn_update", "made", "moving"),
    [
        ("none", {}, "both", 1, [CLEAN]),
        ("none", {}, "adversarial", 1, [CLEAN]),
        ("pgd_at", {}, "both", 1, [ATTACKED]),
        ("pgd_at", {}, "clean", 1, [ATTACKED]),  # there is no other pass
        ("pgd_at", {"gamma": 1.0, "view": "adversarial"}, "both", 1, [ATTACKED]),
        ("pgd_at", {"gamma": 1.0}, "both", 2, [CLEAN, ATTACKED]),
        ("pgd_at", {"kl_weight": 1.0}, "both", 2, [CLEAN, ATTACKED]),
        ("pgd_at", {"kl_weight": 1.0}, "clean", 2, [CLEAN]),
        ("trades", {}, "both", 2, [CLEAN, ATTACKED]),
        ("trades", {}, "clean", 2, [CLEAN]),
        ("trades", {}, "adversarial", 2, [ATTACKED]),
        ("mart", {}, "both", 2, [CLEAN, ATTACKED]),
        ("rslad", {}, "both", 2, [CLEAN, ATTACKED]),
        ("rslad", {}, "adversarial", 2, [ATTACKED]),
    ],
)
def test_passes_and_what_they_move(name, options, bn_update, made, moving, case):
    settings = objective(name, bn_update=bn_update, **options)
    assert settings.needs_clean == (made == 2 or name == "none")
    _, stats, passes = evaluate(settings, case)
    assert len(passes) == made and all(train for train, _ in passes)
    assert sum(moves for _, moves in passes) == len(moving)
    expected = 0.25
    for view in moving:
        expected = 0.9 * expected + 0.1 * case[view].mean()
    np.testing.assert_allclose(stats, expected, rtol=1e-6)


def test_both_passes_see_the_masks(case):
    masks = jnp.array([1.0, 0.5, 0.0])
    found, _, _ = evaluate(objective("trades"), case, masks=masks)
    narrow = {**case, "params": case["params"] * np.array([1.0, 0.5, 0.0])}
    expected = terms_by_hand("trades", narrow, gamma=0.0, kl_weight=0.0, view="clean")
    np.testing.assert_allclose(found["classification"], expected["classification"], rtol=2e-5)


def test_trades_on_unchanged_images_is_cross_entropy(case):
    case["adversarial"] = case["images"]
    trades, none = (evaluate(objective(name), case)[0] for name in ("trades", "none"))
    np.testing.assert_allclose(trades["loss"], none["loss"], rtol=1e-6)


# -- the attack -----------------------------------------------------------------------------------------

KEYS = jax.random.split(jax.random.key(2), N)


def attack(settings, case, *, model=None, stats=0.25, params=None, images=None, masks=None):
    network = Network(model or Linear(), case["params"] if params is None else params, jnp.float32(stats), masks)
    images = case["images"] if images is None else images
    return adversarial_images(network, settings, images, case["labels"], KEYS, TeacherOutputs(case["logits"]))


@pytest.mark.parametrize("name", ADVERSARIAL[1:])
def test_attack_ascends_the_loss_of_its_objective_within_ball_and_box(name, case):
    start, _ = attack(objective(name, steps=0), case)
    shift = np.abs(start - case["images"])
    if name == "pgd_at":  # uniform in the ball
        assert 0.8 * EPSILON < shift.max() <= EPSILON + 1e-6
    else:  # 0.001 · N(0, 1)
        assert 0.001 < shift.max() < 0.006

    found, _ = attack(objective(name), case)
    assert found.min() >= 0 and found.max() <= 1
    assert np.abs(found - case["images"]).max() <= EPSILON + 1e-6
    assert np.any(found == 1) and np.any(found == 0)  # the box did hold some of them back

    # For a linear model ∂CE(x, target)/∂x = W(softmax − target), and so for the divergence.
    params, x = case["params"].astype(float), case["images"].astype(float)
    target = {
        "trades": softmax(x.reshape(N, -1) @ params),
        "rslad": softmax(case["logits"].astype(float)),
    }.get(name, np.eye(K)[case["labels"]])
    points = np.asarray(start, float)
    for _ in range(3):
        gradient = ((softmax(points.reshape(N, -1) @ params) - target) @ params.T).reshape(points.shape)
        points = np.clip(np.clip(points + STEP * np.sign(gradient), x - EPSILON, x + EPSILON), 0, 1)
    np.testing.assert_allclose(found, points, atol=1e-5)


@pytest.mark.parametrize("name", ADVERSARIAL[1:])
def test_no_gradient_passes_through_adversarial_images(name, case):
    def total(params, images):
        return jnp.sum(attack(objective(name), case, params=params, images=images)[0])

    gradients = jax.grad(total, argnums=(0, 1))(case["params"], case["images"])
    assert all(np.all(gradient == 0) for gradient in gradients)


def test_the_attack_sees_the_masks(case):
    masks = jnp.array([1.0, 0.5, 0.0])
    mcalls, _ = attack(objective("pgd_at"), case, masks=masks)
    narrow, _ = attack(objective("pgd_at"), case, params=case["params"] * np.array([1.0, 0.5, 0.0], np.float32))
    whole, _ = attack(objective("pgd_at"), case)
    np.testing.assert_allclose(mcalls, narrow, atol=1e-6)
    assert np.abs(mcalls - whole).max() > STEP


@pytest.mark.parametrize("name", ADVERSARIAL[1:])
@pytest.mark.parametrize(
    ("attack_bn", "expected"), [("eval", (False, False)), ("train_frozen", (True, False)), ("train", (True, True))]
)
def test_batch_norm_during_the_attack(name, attack_bn, expected, case):
    model = Linear()
    images, stats = attack(objective(name, attack_bn=attack_bn), case, model=model)
    target, iterations = (model.passes[:1], model.passes[1:]) if name == "trades" else ([], model.passes)
    assert iterations and set(iterations) == {expected}
    # The clean pass that trades aims away from never moves statistics.
    assert set(target) <= {(attack_bn != "eval", False)}
    if attack_bn == "train":
        # Three passes over images of about one mean.
        np.testing.assert_allclose(stats, 0.25 * 0.9**3 + (1 - 0.9**3) * case["images"].mean(), atol=0.02)
        assert abs(stats - 0.25) > 0.05
    else:
        assert stats == np.float32(0.25)


def test_the_attack_of_a_real_network_leaves_running_statistics_and_neighbours_alone(study):
    """In inference mode only: batch statistics do tie images together."""
    variables = study.initial(study.student, 0)
    statistics = variables["batch_stats"]["conv"]["bn"]
    statistics["mean"] = statistics["mean"] + 0.1
    images, labels = (leaf[0] for leaf in study.batch(0, 1))
    images = images / np.float32(255)
    neighbours = images.copy()
    neighbours[1:] = 1 - neighbours[1:]
    keys = jax.random.split(jax.random.key(0), len(images))
    found = {}
    for attack_bn in ("eval", "train_frozen"):
        settings = study.objective("pgd_at", attack_bn=attack_bn)

        @jax.jit
        def adversarial(images, settings=settings):
            network = Network(study.student, variables["params"], variables["batch_stats"])
            return adversarial_images(network, settings, images, labels, keys, TeacherOutputs())

        over = jax.vmap(adversarial, axis_name=study.axis)
        (first, stats), (second, _) = over(images[None]), over(neighbours[None])
        jax.tree.map(np.testing.assert_array_equal, jax.tree.map(lambda leaf: leaf[0], stats), variables["batch_stats"])
        found[attack_bn] = np.abs(first[0, 0] - second[0, 0]).max()
    assert found["eval"] == 0 and found["train_frozen"] > 0


# -- settings, teacher, tutors --------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["adversarial", "attack_bn", "bn_update", "normalise", "reduction", "view"])
def test_unknown_settings_are_refused(field):
    with pytest.raises(ValueError, match=f"unknown {field} 'nonsense'.*expected one of"):
        objective(**{"adversarial": "trades", field: "nonsense"})


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("none", {}, False),
        ("trades", {}, False),
        ("rslad", {}, True),
        ("none", {"gamma": 0.1}, True),
        ("pgd_at", {"kl_weight": 0.1}, True),
    ],
)
def test_which_objectives_need_a_teacher(name, options, expected, case):
    settings = objective(name, **options)
    assert settings.needs_teacher == expected
    calls = []

    def teacher(variables, images):
        calls.append(variables)
        return variables * case["logits"], {"one": images, "two": images**2}

    teacher_outputs = run_teacher(teacher, 2.0, case["images"], settings, ("two", "one"))
    assert calls == ([2.0] if expected else [])
    assert (teacher_outputs.logits is not None) == expected
    assert (teacher_outputs.maps is not None) == bool(settings.gamma)
    if settings.gamma:  # in the order of the names
        np.testing.assert_allclose(teacher_outputs.maps, student_maps(case["images"])[:, ::-1], rtol=1e-5, atol=1e-6)


def test_no_gradient_reaches_the_teacher(case):
    settings = objective("none", gamma=1.0, kl_weight=1.0)

    def total(scale):
        teacher_outputs = run_teacher(
            lambda variables, images: (variables * case["logits"], {"one": variables * images}),
            scale, case["images"], settings, ("one",),
        )  # fmt: skip
        return jnp.sum(teacher_outputs.logits) + jnp.sum(teacher_outputs.maps)

    assert jax.grad(total)(1.0) == 0


OUT = ("first", "second")


def distances(case):
    """‖s_i − t_j‖² [N, 2, 2] of the student's two taps and the teacher's two maps."""
    return np.sum((student_maps(case["images"].astype(float))[:, :, None] - case["maps"][:, None]) ** 2, -1)


@pytest.mark.parametrize(("reduction", "scale"), [("sum_layers", 1.0), ("paper", 1 / (2 * 5))])
def test_fixed_tutors(reduction, scale, case):
    """Both student taps match one teacher tap, of which only one map is computed."""
    tutors = FixedTutors(OUT, ("b", "b"), available=5)
    assert tutors.teacher_taps == ("b",)
    out = {"first": case["images"], "second": case["images"] ** 2}
    found = tutors.loss(out, case["maps"][:, 1:], None, objective("none", gamma=1.0, reduction=reduction))
    np.testing.assert_allclose(found, scale * distances(case)[:, :, 1].sum(-1), rtol=1e-5)


def test_fixed_tutors_keep_the_order_of_first_choice(case):
    tutors = FixedTutors(OUT, ("b", "a"), available=2)
    assert tutors.teacher_taps == ("b", "a")
    out = {"first": case["images"], "second": case["images"] ** 2}
    found = tutors.loss(out, case["maps"][:, ::-1], None, objective("none", gamma=1.0))
    every = distances(case)
    np.testing.assert_allclose(found, every[:, 0, 1] + every[:, 1, 0], rtol=1e-5)


def test_a_penalty_of_teacher_taps_moves_the_mixture_alone(case):
    """Added to the distances, so the loss grows by Σ_ij g_ij·p_j, and the gradient of the student stays."""
    out = {"first": case["images"], "second": case["images"] ** 2}
    weights, penalty = np.array([[0.7, 0.3], [0.2, 0.8]], np.float32), (0.5, 0.1)

    def loss(out, penalty):
        terms = soft_tutor_loss(out, OUT, case["maps"], objective("none", gamma=1.0), lambda: weights, penalty)
        return terms.sum(), terms

    plain, without = jax.grad(loss, has_aux=True)(out, ())
    moved, found = jax.grad(loss, has_aux=True)(out, penalty)
    np.testing.assert_allclose(found - without, np.sum(weights * np.array(penalty)), rtol=1e-5)
    for name, gradient in plain.items():
        np.testing.assert_array_equal(moved[name], gradient)


def test_sampled_tutors_draw_soft_weights(case):
    logits = ((0.3, 0.1), (-0.2, 0.5))
    tutors = SampledTutors(OUT, ("a", "b"), logits, temperature=2.0)
    out = {"first": case["images"], "second": case["images"] ** 2}
    key = jax.random.key(1)
    found = tutors.loss(out, case["maps"], key, objective("none", gamma=1.0))
    weights = softmax((np.array(logits) + np.asarray(jax.random.gumbel(key, (2, 2)))) / 2.0)
    np.testing.assert_allclose(found, np.sum(weights * distances(case), (1, 2)), rtol=1e-5)
