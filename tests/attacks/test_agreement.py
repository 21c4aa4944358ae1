"""Agreement with foolbox and torchattacks, image by image, on networks trained here.

Steps in Linf follow signs, so where a gradient is of rounding size two programs may part, in that pixel by up to
two steps and in what follows by more. Tests say how many images may do so; all others are equal to rounding.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_cnn import logits_fn, torch_baseline, train_small_cnn

from rnas.attacks import (
    apgd,
    auto_attack,
    cross_entropy,
    cw,
    fab,
    fgsm,
    initial_images,
    mim,
    pgd,
    projected_ascent,
    square,
)
from rnas.attacks.random_start import per_example_keys
from rnas.data.datasets import load_dataset

NOT_INSTALLED = "torchattacks is what is compared with; pip install '.[agreement]'"
KEY = jax.random.key(3)
EPSILON = {"linf": 0.1, "l2": 1.0}
SAME = {"linf": 1e-6, "l2": 5e-6}  # two ways of dividing by a length, ten times over
ROUNDING = 1e-4  # of the margins of equal images
APART = 0.05  # how far margins of images that parted may be, and 0 lie between them


class Problem:
    """Images [N, H, W, 1], labels, and a trained network with the programs that are compared."""

    def __init__(self, params, images, labels):
        self.params = params
        self.images = jnp.asarray(images, jnp.float32) / 255
        self.labels = jnp.asarray(labels)
        self.logits_fn = jax.jit(partial(logits_fn, params))

    def start(self, norm):
        """Where `pgd` begins its first run from a random start."""
        keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(per_example_keys(KEY, len(self.images)), 0)
        return initial_images(keys, self.images, EPSILON[norm], "uniform", norm)

    def margins(self, points):
        logits = np.array(self.logits_fn(jnp.asarray(points)))
        own = np.take_along_axis(logits, np.asarray(self.labels)[:, None], 1)[:, 0]
        np.put_along_axis(logits, np.asarray(self.labels)[:, None], -np.inf, 1)
        return own - logits.max(1)

    def ours(self, start, norm, steps, step_size):
        """The last iterate, and whether `pgd` says that it fools."""
        settings = dict(epsilon=EPSILON[norm], norm=norm, step_size=step_size, steps=steps)

        @jax.jit
        def run(first):
            def loss(points):
                return cross_entropy(self.logits_fn(points), self.labels)

            name = "none" if start == "none" else "uniform"
            result = pgd(self.logits_fn, self.images, self.labels, key=KEY, start=name, **settings)
            return projected_ascent(loss, first, self.images, **settings), result

        last, result = run(self.images if start == "none" else self.start(norm))
        last_success, margins = np.asarray(result.last_success), self.margins(last)
        assert np.all(abs(margins[last_success != (margins < 0)]) < 1e-5)
        assert np.all(result.success >= last_success)
        return np.asarray(last), last_success

    def foolbox(self, start, norm, steps, step_size):
        foolbox = pytest.importorskip("foolbox", reason="foolbox is what is compared with")
        ep = pytest.importorskip("eagerpy")
        first = self.images if start == "none" else self.start(norm)
        attack = {"linf": foolbox.attacks.LinfPGD, "l2": foolbox.attacks.L2PGD}[norm]

        class FromHere(attack):
            def get_random_start(self, x0, epsilon):
                return ep.astensor(first)

        model = foolbox.JAXModel(self.logits_fn, bounds=(0, 1))
        if steps == 1 and start == "none" and norm == "linf":
            run = foolbox.attacks.LinfFastGradientAttack()
        else:
            run = FromHere(abs_stepsize=step_size, steps=steps, random_start=start == "ours")
        _, points, fooled = run(model, self.images, self.labels, epsilons=EPSILON[norm])
        return np.asarray(points), np.asarray(fooled)

    def torchattacks(self, steps, step_size):
        torch = pytest.importorskip("torch", reason=NOT_INSTALLED)
        library = pytest.importorskip("torchattacks", reason=NOT_INSTALLED)
        baseline = torch_baseline(self.params)
        images = torch.tensor(np.moveaxis(np.asarray(self.images), -1, 1))
        labels = torch.tensor(np.asarray(self.labels)).long()
        np.testing.assert_allclose(baseline(images), self.logits_fn(self.images), atol=1e-4)
        if steps == 1:
            attack = library.FGSM(baseline, eps=EPSILON["linf"])
        else:
            attack = library.PGD(baseline, eps=EPSILON["linf"], alpha=step_size, steps=steps, random_start=False)
        points = attack(images, labels)
        return np.moveaxis(points.numpy(), 1, -1), (baseline(points).argmax(1) != labels).numpy()

    def compare(self, ours, theirs, norm, parted):
        """Asserts equal images but for a share of `parted`, and flags that differ at most where margins are slight."""
        (points, fooled), (their_points, their_fooled) = ours, theirs
        gap = abs(points - their_points).reshape(len(points), -1).max(1)
        same = gap <= SAME[norm]
        assert np.mean(~same) <= parted, np.sort(gap)[::-1][:20]
        margins, differ = self.margins(points), fooled != their_fooled
        np.testing.assert_allclose(margins[same], self.margins(their_points)[same], atol=ROUNDING)
        assert np.all(abs(margins[differ]) < np.where(same, ROUNDING, APART)[differ])
        assert differ.sum() <= 1
        assert 0.05 < fooled.mean() < 0.95  # or nothing has been compared


SETTINGS = {"fgsm": (1, 1.0), "pgd": (10, 0.25)}  # steps, step as a share of the radius


def run_foolbox(problem, norm, name, start, parted):
    steps, share = SETTINGS[name]
    settings = (start, norm, steps, share * EPSILON[norm])
    problem.compare(problem.ours(*settings), problem.foolbox(*settings), norm, parted)


def run_torchattacks(problem, name, parted):
    steps, share = SETTINGS[name]
    size = share * EPSILON["linf"]
    problem.compare(problem.ours("none", "linf", steps, size), problem.torchattacks(steps, size), "linf", parted)


FOOLBOX = [
    ("linf", "fgsm", "none"),
    ("linf", "pgd", "none"),
    ("linf", "pgd", "ours"),
    ("l2", "pgd", "none"),
    ("l2", "pgd", "ours"),
]


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A network that reads digits of 8×8 pixels, and 64 of those that it has not seen."""
    data = load_dataset("digits", held_out=0, seed=0)
    folder = tmp_path_factory.mktemp("digits")
    train = partial(
        train_small_cnn, data.train.images, data.train.labels, epsilon="0.1", epochs=4, batch=64, cache=folder
    )
    problem = Problem(train(), data.test.images[:64], data.test.labels[:64])
    again = train()  # from the file
    jax.tree.map(np.testing.assert_array_equal, again, problem.params)
    assert len(list(folder.iterdir())) == 1
    assert np.mean(problem.margins(problem.images) > 0) > 0.85
    return problem


@pytest.mark.parametrize(("norm", "name", "start"), FOOLBOX)
def test_foolbox(digits, norm, name, start):
    run_foolbox(digits, norm, name, start, parted=1 / 64)


@pytest.mark.parametrize("name", SETTINGS)
def test_torchattacks(digits, name):
    run_torchattacks(digits, name, parted=1 / 64)


@pytest.fixture(scope="module")
def fashion(shared, tmp_path_factory):
    """A network for Fashion-MNIST, trained for an Linf radius of 0.1, and the first 1,000 test images."""
    data = load_dataset("fashion_mnist", data_dir=shared / "data" / "tfds", held_out=0, seed=0)
    params = train_small_cnn(data.train.images[:12_800], data.train.labels[:12_800], epsilon=0.1, epochs=2)
    problem = Problem(params, data.test.images[:1000], data.test.labels[:1000])
    assert np.mean(problem.margins(problem.images) > 0) > 0.72
    return problem


@pytest.mark.slow
@pytest.mark.parametrize(("norm", "name", "start"), FOOLBOX)
def test_foolbox_on_fashion_mnist(fashion, norm, name, start):
    run_foolbox(fashion, norm, name, start, parted=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_torchattacks_on_fashion_mnist(fashion, name):
    run_torchattacks(fashion, name, parted=0.02)


@pytest.mark.slow
def test_autoattack_leaves_no_more_than_any_single_attack(fashion):
    images, labels = fashion.images, fashion.labels

    def run(attack, **settings):
        result = attack(fashion.logits_fn, images, labels, epsilon=0.1, key=jax.random.key(8), **settings)
        again = np.asarray(fashion.logits_fn(result.images)).argmax(1) != np.asarray(labels)
        np.testing.assert_array_equal(result.success, again)
        assert np.max(abs(result.images - images)) <= 0.1 + 1e-6
        return np.asarray(result.success)

    runner_up = np.argsort(fashion.logits_fn(images), axis=1)[:, -2]
    singles = {
        "fgsm": run(fgsm),
        "pgd": run(pgd, steps=40, step_size=0.01, restarts=3),
        "mim": run(mim),
        "cw": run(cw),
        "apgd_ce": run(apgd, loss="ce", steps=100),
        "apgd_dlr": run(apgd, loss="dlr", steps=100),
        "fab": run(fab, targets=jnp.asarray(runner_up)),
        "square": run(square, queries=1000),
    }
    ensemble = run(auto_attack, version="standard")
    for name, fooled in singles.items():
        assert ensemble.sum() >= fooled.sum(), name
        assert np.sum(fooled & ~ensemble) <= 1, name
