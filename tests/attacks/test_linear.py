"""On a thousand and more random linear cases every attack agrees with the exact answer, in Linf and L2.

Values of losses and distances on such models, L1, and untargeted FAB are tested beside each attack.
"""

from functools import partial

import jax
import numpy as np
from problems import RADII, attack_all, largest_margins, linear_problems
import pytest

from rnas.attacks import square
from rnas.attacks.programs import folded, runs_of
from rnas.attacks.random_start import per_example_keys

NORMS = ("linf", "l2")
EXAMPLES = 3
MODELS = 350
CLEAR = 1e-4  # leads closer to a tie are left to rounding


def run_attack(name, weights, images, labels, radii, norm):
    """Results of all runs of an attack, [models, runs, examples, ...], in the programs that evaluations run."""
    found = runs_of(name, norm, weights.shape[-1])
    assert len({run.program for run in found}) == 1
    settings = jax.tree.map(lambda *numbers: np.stack(numbers), *[run.at(0.0) for run in found])

    def attack(logits_fn, images, labels, *, epsilon, key, norm):
        keys = folded(per_example_keys(key, len(images)), found[0].key_number)

        def one(settings):
            step_size = found[0].attack.step_size(epsilon)
            now = settings._replace(epsilon=epsilon, step_size=step_size)  # as `AttackRun.at` has them
            return found[0].program(logits_fn, images, labels, keys, now, None)[0]

        return jax.vmap(one)(settings)

    return jax.device_get(attack_all(attack, weights, images, labels, radii, norm))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ["fgsm", "pgd_40", "mim_10", "cw_100", "apgd_ce"])
def test_two_classes(name, norm):
    """One boundary: fooled exactly where it lies within the ball."""
    weights, images, labels, share = linear_problems(classes=2, count=MODELS, examples=EXAMPLES)
    radii = RADII[norm] * share
    lead = largest_margins(weights, images, labels, radii, norm)
    clear = abs(lead) > CLEAR
    assert clear.sum() >= 1000 and 0.1 < np.mean(lead > 0) < 0.9
    success = run_attack(name, weights, images, labels, radii, norm).success[:, 0]
    np.testing.assert_array_equal(success[clear], lead[clear] > 0)


@pytest.mark.parametrize("norm", NORMS)
def test_distance_of_the_boundary(norm):
    """FAB-T, two classes: at most 1 % further than it is, and never nearer."""
    weights, images, labels, share = linear_problems(classes=2, count=MODELS, examples=EXAMPLES)
    radii = RADII[norm] * share
    found = run_attack("fab_t", weights, images, labels, radii, norm)
    behind, ahead = (largest_margins(weights, images, labels, np.full(MODELS, r), norm) for r in (0.0, 1.0))
    true = behind / (behind - ahead)  # the lead is linear in the radius
    inside = true < RADII[norm]  # the box is further away
    ratio = (-found.loss[:, 0] / true)[inside]
    assert ratio.min() > 1 - 1e-4 and ratio.max() < 1.01 and len(ratio) > 300
    reach = radii[:, None] / true
    success = found.success[:, 0]
    assert success[reach > 1.01].all() and not success[reach < 1 - 1e-4].any()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("classes", [3, pytest.param(4, marks=pytest.mark.slow), 5])
def test_several_classes(classes, norm):
    """What can be fooled is found by the targeted attacks in 99 of 100 cases; what cannot is found by none."""
    weights, images, labels, share = linear_problems(classes, count=MODELS, examples=EXAMPLES)
    radii = 0.5 * RADII[norm] * share
    lead = largest_margins(weights, images, labels, radii, norm)
    robust, weak = lead < -CLEAR, lead > CLEAR
    assert np.sum(robust | weak) >= 1000 and 0.1 < np.mean(weak) < 0.9
    together = np.zeros_like(weak)
    for name in ("apgd_dlr" if classes == 3 else "apgd_t", "fab_t"):
        success = run_attack(name, weights, images, labels, radii, norm).success.any(1)
        assert not success[robust].any()
        assert success[weak].mean() > 0.9
        together |= success
    assert together[weak].mean() >= 0.99


def test_other_attacks():
    """Never beyond the closed form either, the random search included."""
    weights, images, labels, share = linear_problems(5, count=MODELS, examples=EXAMPLES)
    radii = 0.5 * RADII["linf"] * share
    lead = largest_margins(weights, images, labels, radii, "linf")
    searched = jax.device_get(attack_all(partial(square, queries=60), weights, images, labels, radii, "linf"))
    assert not searched.success[lead < -CLEAR].any() and searched.success.any()
    assert np.max(searched.loss - lead) < 2e-5
    for name in ("fgsm", "pgd_40", "mim_10", "cw_100", "apgd_ce"):
        success = run_attack(name, weights, images, labels, radii, "linf").success[:, 0]
        assert not success[lead < -CLEAR].any() and success[lead > CLEAR].mean() > 0.5
