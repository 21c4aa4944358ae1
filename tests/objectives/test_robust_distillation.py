"""Every adversarial method against formulas in NumPy and, gradients included, in PyTorch; and what reduces to what."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnas import objectives
from rnas.objectives import METHODS, Logits, TrainProgress, kl_divergence, softened_divergence
from rnas.objectives.methods import reliability

N, K, PIXELS = 6, 7, 12
ROWS = np.arange(N)
LABELS = np.array([0, 6, 3, 3, 1, 2])
TRUTH = np.eye(K)[LABELS]
FIELDS = Logits._fields
LOSS_STATE = {"natural_weight": 0.3, "first_adversarial": 2.0, "first_natural": 0.5}


def case(seed=0):
    """Images, adversarial images, weights of a linear student, and the logits of every teacher."""
    random = np.random.default_rng(seed)
    images = random.uniform(size=(N, PIXELS))
    adversarial = np.clip(images + random.uniform(-0.3, 0.3, images.shape), 0, 1)
    weights = random.normal(size=(PIXELS, K))
    teachers = {name: 2 * random.normal(size=(N, K)) for name in FIELDS[2:]}
    return images, adversarial, weights, teachers


def softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def kl(target, z, temperature=1.0):
    p, q = softmax(target / temperature), softmax(z / temperature)
    return temperature**2 * np.sum(p * (np.log(p) - np.log(q)), 1)


def entropy(z):
    return -np.log(softmax(z)[ROWS, LABELS])


def boosted(z):
    q = softmax(z)
    return -np.log(q[ROWS, LABELS]) - np.log(1.0001 - np.where(TRUTH == 1, 0, q).max(1))


def smooth(share):
    return np.where(TRUTH == 1, 1 - share, share / (K - 1))


def squares(one, other):
    return np.sum((one - other) ** 2, 1)


def trusted(epoch, first, z, beta=0.1):
    return softmax(z)[ROWS, LABELS] ** beta if epoch >= first else 1.0


# Clean and adversarial logits s and a; t, ta, n, na of the teachers; e the epoch. All as published.
NUMPY = {
    "none": lambda s, a, t, ta, n, na, e: entropy(s),
    "pgd_at": lambda s, a, t, ta, n, na, e: entropy(a),
    "trades": lambda s, a, t, ta, n, na, e: entropy(s) + 6 * kl(s, a),
    "mart": lambda s, a, t, ta, n, na, e: boosted(a) + 6 * kl(s, a) * (1 - softmax(s)[ROWS, LABELS]),
    "score": lambda s, a, t, ta, n, na, e: squares(softmax(s), smooth(0.1)) + 5 * squares(softmax(a), softmax(s)),
    "ard": lambda s, a, t, ta, n, na, e: 0.1 * kl(t, a, 30.0),
    "rslad": lambda s, a, t, ta, n, na, e: 0.1 * (5 / 6 * kl(t, a) + 1 / 6 * kl(t, s)),
    "akd2": lambda s, a, t, ta, n, na, e: 0.25 * entropy(a) + 0.5 * kl(ta, a) + 0.25 * kl(na, a),
    "iad_1": lambda s, a, t, ta, n, na, e: kl(t, a) + (1 - trusted(e, 60, ta)) * kl(s, a),
    "iad_2": lambda s, a, t, ta, n, na, e: (
        0.25 * entropy(a) + 0.25 * kl(na, a)
        + 0.5 * (trusted(e, 40, ta) * kl(ta, a) + (1 - trusted(e, 40, ta)) * kl(s, a))
    ),
    "mtard": lambda s, a, t, ta, n, na, e: 0.1 * (0.7 * kl(ta, a) + 0.3 * kl(n, s)),
}  # fmt: skip


def seen(name, images, adversarial, weights, teachers):
    """What a method may look at: only what it needs for, so that it cannot work with anything else."""
    method = METHODS[name]
    own = [images @ weights if method.clean else None, adversarial @ weights if method.attacks else None]
    return Logits(*own, **{field: teachers[field] for field in method.needs})


@pytest.mark.parametrize(("name", "epoch"), [*itertools.product(NUMPY, (0,)), ("iad_1", 60), ("iad_2", 40)])
def test_methods_minimise_what_was_published(name, epoch):
    assert NUMPY.keys() == METHODS.keys()
    images, adversarial, weights, teachers = case()
    expected = NUMPY[name](images @ weights, adversarial @ weights, *teachers.values(), epoch)
    found = METHODS[name]().loss(
        jax.tree.map(jnp.float32, seen(name, images, adversarial, weights, teachers)), jnp.asarray(LABELS),
        TrainProgress(epoch), LOSS_STATE,
    )  # fmt: skip
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def torch_losses(torch):
    """The same with other coefficients, in PyTorch's own functions."""
    F = torch.nn.functional
    labels, rows = torch.tensor(LABELS), torch.arange(N)

    def entropy(z):
        return F.cross_entropy(z, labels, reduction="none")

    def kl(target, z, temperature=1.0):
        inputs, targets = F.log_softmax(z / temperature, 1), F.log_softmax(target / temperature, 1)
        return temperature**2 * F.kl_div(inputs, targets, reduction="none", log_target=True).sum(1)

    def score(s, a):
        truth = torch.full((N, K), 0.3 / (K - 1), dtype=torch.float64)
        truth[rows, labels] = 0.7
        p = F.softmax(s, 1)
        return ((p - truth) ** 2).sum(1) + 3 * ((F.softmax(a, 1) - p) ** 2).sum(1)

    def trust(z):
        return F.softmax(z, 1)[rows, labels].pow(0.4).detach()

    return {
        "score": lambda s, a, t, ta, n, na: score(s, a),
        "ard": lambda s, a, t, ta, n, na: 0.6 * 0.2 * kl(t, a, 5.0) + 0.4 * entropy(s),
        "ard_cold": lambda s, a, t, ta, n, na: 0.6 * kl(t, a, 0.5) + 0.4 * entropy(s),
        "rslad": lambda s, a, t, ta, n, na: 5 / 6 * kl(t, a) + 1 / 6 * kl(t, s),
        "akd2": lambda s, a, t, ta, n, na: 0.3 * entropy(a) + 0.3 * kl(ta, a) + 0.4 * kl(na, a),
        "iad_1": lambda s, a, t, ta, n, na: 0.8 * (kl(t, a, 3.0) + (1 - trust(ta)) * kl(s, a)) + 0.2 * entropy(s),
        "iad_2": lambda s, a, t, ta, n, na: (
            0.3 * entropy(a) + 0.3 * (trust(ta) * kl(ta, a) + (1 - trust(ta)) * kl(s, a)) + 0.4 * kl(na, a)
        ),
        "mtard": lambda s, a, t, ta, n, na: 0.7 * kl(ta, a) + 0.3 * kl(n, s),
    }


COEFFICIENTS = {
    "score": dict(beta=3.0, smoothing=0.3),
    "ard": dict(alpha=0.6, temperature=5.0, kl_scale=0.2),
    "ard_cold": dict(alpha=0.6, temperature=0.5, kl_scale=1.0),
    "rslad": dict(kl_scale=1.0),
    "akd2": dict(robust=0.3, natural=0.4),
    "iad_1": dict(alpha=0.8, beta=0.4, temperature=3.0, first_epoch=0),
    "iad_2": dict(robust=0.3, natural=0.4, beta=0.4, first_epoch=0),
    "mtard": dict(kl_scale=1.0),
}


def loss_of(name, *logits, **coefficients):
    """The loss of a method in epoch 0, from the logits s, a, t, ta, n, na."""
    method = METHODS[name.removesuffix("_cold")](**coefficients)
    return method.loss(Logits(*logits), jnp.asarray(LABELS), TrainProgress(), LOSS_STATE)


@pytest.mark.parametrize("name", COEFFICIENTS)
def test_values_and_gradients_equal_those_of_torch(name, float64):
    """Gradients in images, adversarial images and weights; none reaches a teacher."""
    torch = pytest.importorskip("torch")
    images, adversarial, weights, teachers = case(1)
    given = [torch.tensor(each, requires_grad=True) for each in (images, adversarial, weights)]
    outputs = [torch.tensor(each) for each in teachers.values()]
    expected = torch_losses(torch)[name](given[0] @ given[2], given[1] @ given[2], *outputs)
    to_student = torch.autograd.grad(expected.sum(), given, allow_unused=True)

    def total(images, adversarial, weights, teachers):
        losses = loss_of(name, images @ weights, adversarial @ weights, *teachers, **COEFFICIENTS[name])
        return losses.sum(), losses

    gradients, found = jax.grad(total, (0, 1, 2, 3), has_aux=True)(
        images, adversarial, weights, list(teachers.values())
    )
    np.testing.assert_allclose(found, expected.detach(), rtol=1e-10)
    for mine, theirs in zip(gradients[:3], to_student, strict=True):
        np.testing.assert_allclose(mine, np.zeros(mine.shape) if theirs is None else theirs, rtol=1e-9, atol=1e-12)
    assert all(np.all(gradient == 0) for gradient in gradients[3])


@pytest.mark.parametrize("temperature", [0.5, 4.0])
def test_softened_divergence_in_closed_form(temperature, float64):
    """∂/∂z of τ²·KL(softmax(t/τ)‖softmax(z/τ)) is τ·(softmax(z/τ) - softmax(t/τ))."""
    student, teacher = np.random.default_rng(2).normal(size=(2, N, K))
    found = jax.grad(lambda z: softened_divergence(teacher, z, temperature).sum())(student)
    np.testing.assert_allclose(
        found, temperature * (softmax(student / temperature) - softmax(teacher / temperature)), atol=1e-12
    )


def test_softened_gradients_tend_to_differences_of_centred_logits(float64):
    student, teacher = np.random.default_rng(3).normal(size=(2, N, K))
    found = jax.grad(lambda z: softened_divergence(teacher, z, 1e4).sum())(student)
    gap = student - teacher
    np.testing.assert_allclose(found, (gap - gap.mean(1, keepdims=True)) / K, atol=1e-3)


# -- what reduces to what -------------------------------------------------------------------------------

IMAGES, ADVERSARIAL, WEIGHTS, TEACHERS = case(4)
S, A = (jnp.float32(each @ WEIGHTS) for each in (IMAGES, ADVERSARIAL))
T, TA, NAT, NA = map(jnp.float32, TEACHERS.values())
LOGITS = (S, A, T, TA, NAT, NA)
ARD = dict(kl_scale=1.0)
UNTRUSTED = dict(beta=1e9, first_epoch=0)  # a label's probability to that power is 0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda: loss_of("ard", *LOGITS, **ARD, alpha=0.0), lambda: objectives.cross_entropy(S, LABELS)),
        (lambda: loss_of("ard", *LOGITS, **ARD, temperature=1.0), lambda: kl_divergence(T, A)),
        (
            lambda: loss_of("iad_1", *LOGITS, alpha=0.7, temperature=3.0),
            lambda: 0.7 * softened_divergence(T, A, 3.0) + 0.3 * objectives.cross_entropy(S, LABELS),
        ),
        (
            lambda: loss_of("iad_1", *LOGITS, temperature=4.0),
            lambda: loss_of("ard", *LOGITS, **ARD, temperature=4.0),
        ),
        (lambda: loss_of("iad_2", *LOGITS), lambda: loss_of("akd2", *LOGITS)),
        (lambda: loss_of("akd2", *LOGITS, robust=0.0, natural=0.0), lambda: loss_of("pgd_at", *LOGITS)),
        # A teacher that is the student on clean images, and a label it trusts not at all: TRADES without its entropy.
        (
            lambda: loss_of("iad_2", *LOGITS, **UNTRUSTED, robust=1.0, natural=0.0),
            lambda: loss_of("trades", *LOGITS, beta=1.0) - objectives.cross_entropy(S, LABELS),
        ),
        (lambda: loss_of("rslad", S, S, T, kl_scale=1.0), lambda: loss_of("mtard", S, S, None, T, T, kl_scale=1.0)),
    ],
)
def test_reductions(one, other):
    np.testing.assert_allclose(one(), other(), rtol=2e-5, atol=2e-6)


def test_score_vanishes_only_at_the_smooth_labels():
    truth = jnp.log(jnp.float32(smooth(0.1)))
    np.testing.assert_allclose(loss_of("score", truth, truth), 0.0, atol=1e-12)
    assert np.all(loss_of("score", truth, A) > 1e-3) and np.all(loss_of("score", S, S) > 1e-3)


def test_a_teacher_is_trusted_by_its_probability_of_the_label():
    teacher = jnp.log(jnp.array([[0.5, 0.5], [1e-3, 1 - 1e-3], [1.0, 0.0]]))
    logits = Logits(teacher_adversarial=teacher)
    found = reliability(METHODS["iad_1"](first_epoch=0), logits, jnp.array([0, 0, 0]), TrainProgress())
    np.testing.assert_allclose(found, [0.5**0.1, 1e-3**0.1, 1.0], rtol=1e-5)


# -- MTARD's loss_state -------------------------------------------------------------------------------------


def test_mtard_weighs_the_teachers_by_how_far_their_losses_have_fallen():
    """Five steps by hand: both losses over their first values, the share, then a step of 0.025 towards it."""
    method, loss_state = METHODS["mtard"](), METHODS["mtard"]().initial_loss_state()
    weight, firsts, rates = 0.5, None, (1.0, 1.0, 0.1, 0.1, 0.01)
    for step, rate in enumerate(rates):
        images, adversarial, weights, teachers = case(10 + step)
        logits = jax.tree.map(jnp.float32, seen("mtard", images, adversarial, weights, teachers))
        robust, pure = teachers["teacher_adversarial"], teachers["natural"]
        losses = np.array([kl(robust, adversarial @ weights).mean(), kl(pure, images @ weights).mean()])
        firsts = losses if firsts is None else firsts
        adversarial, natural = losses / firsts
        weight -= 0.025 * rate * (weight - natural / (natural + adversarial))
        loss_state = method.update_loss_state(loss_state, logits, TrainProgress(step, rate), lambda means: means)
        np.testing.assert_allclose(loss_state["natural_weight"], weight, rtol=1e-5)
        np.testing.assert_allclose([loss_state["first_adversarial"], loss_state["first_natural"]], firsts, rtol=1e-5)
        # The new weights are used at once.
        expected = 0.1 * ((1 - weight) * losses[0] + weight * losses[1])
        np.testing.assert_allclose(
            method.loss(logits, LABELS, TrainProgress(step, rate), loss_state).mean(), expected, rtol=1e-5
        )
    assert abs(weight - 0.5) > 1e-3


def test_mtard_takes_no_gradient_through_its_weights(float64):
    images, adversarial, weights, teachers = case(5)
    method = METHODS["mtard"]()

    def total(weights, frozen):
        logits = Logits(
            images @ weights, adversarial @ weights, None, teachers["teacher_adversarial"], teachers["natural"]
        )
        loss_state = frozen or method.update_loss_state(
            method.initial_loss_state(), logits, TrainProgress(), lambda means: means
        )
        return method.loss(logits, LABELS, TrainProgress(), loss_state).sum(), loss_state

    gradient, loss_state = jax.grad(total, has_aux=True)(weights, None)
    np.testing.assert_allclose(gradient, jax.grad(total, has_aux=True)(weights, loss_state)[0], rtol=1e-12)


def test_mtard_of_a_student_that_is_both_its_teachers_stays_finite():
    method = METHODS["mtard"]()
    logits = Logits(T, T, None, T, T)
    loss_state = method.update_loss_state(method.initial_loss_state(), logits, TrainProgress(), lambda means: means)
    assert loss_state["natural_weight"] == 0.5
    np.testing.assert_array_equal(method.loss(logits, LABELS, TrainProgress(), loss_state), 0.0)
