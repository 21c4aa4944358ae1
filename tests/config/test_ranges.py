"""The range of every number of a configuration: all have one, defaults lie in it, and what lies outside is refused."""

import math

import pytest

from rnas.config import check, load_config
from rnas.config.defaults import SYSTEMS
from rnas.config.defaults.ranges import RANGES
from rnas.config.keys import keys
from rnas.config.ranges import LENGTH, at_least, more_than, range_of, within


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_number_has_a_range(system):
    numbers = {
        key.name: key.default
        for key in keys(system)
        if isinstance(key.default, int | float) and not isinstance(key.default, bool)
    }
    assert not [name for name in numbers if not range_of(name, RANGES)]


def test_every_range_is_of_a_key():
    names = [key.name for system in SYSTEMS for key in keys(system)]
    assert not [suffix for suffix in RANGES if not any(f".{name}".endswith(f".{suffix}") for name in names)]


@pytest.mark.parametrize(
    ("allowed", "inside", "outside", "text"),
    [
        (at_least(1), (1, 7, 1e9), (0, -1, 0.5, math.nan, math.inf), "at least 1"),
        (more_than(0), (1e-9, 4), (0, -1, math.inf), "more than 0"),
        (within(0, 1), (0, 1, 0.5), (-0.1, 1.1, math.nan), "from 0 to 1"),
        (within(0, 1, without=(1,)), (0, 0.99), (1, -0.1), "at least 0 and less than 1"),
        (within(0, 1, without=(0,)), (1, 0.1), (0, 2), "more than 0 and at most 1"),
        (within(0, 1, without=(0, 1)), (0.5,), (0, 1), "more than 0 and less than 1"),
        (LENGTH, ("0", "8/255", "1"), ("8", "2/1"), "from 0 to 1"),
    ],
)
def test_a_range_holds_its_numbers(allowed, inside, outside, text):
    assert all(number in allowed for number in inside)
    assert not any(number in allowed for number in outside)
    assert str(allowed) == text


@pytest.mark.parametrize(
    ("system", "key", "value", "message"),
    [
        ("rnas_cl", "adversarial.epsilon", "8", "adversarial.epsilon = '8': expected lengths in pixels scaled to"),
        ("rnas_cl", "adversarial.epsilon", "wide", "adversarial.epsilon = 'wide': cannot read 'wide' as a length"),
        ("rnas_cl", "train.step_size", "-1/255", "train.step_size = '-1/255': expected lengths"),
        ("rnas_cl", "train.step_size", "1/0", "train.step_size = '1/0': cannot read '1/0' as a length; write"),
        ("rnas_cl", "evaluation.epsilons", ("8/255", "8"), "evaluation.epsilons = ('8/255', '8'): expected"),
        ("rnas_cl", "evaluation.curve", ("0", "2"), "evaluation.curve = ('0', '2'): expected"),
        ("rnas_cl", "evaluation.count", -5, "evaluation.count = -5: expected at least 0."),
        ("rnas_cl", "evaluation.batch_size", -4, "evaluation.batch_size = -4: expected at least 1."),
        ("rnas_cl", "teacher.batch_size", 0, "teacher.batch_size = 0: expected at least 1."),
        ("rnas_cl", "train.epochs", 0, "train.epochs = 0: expected at least 1."),
        ("rnas_cl", "seed", -1, "seed = -1: expected from 0 to"),
        ("rnas_cl", "seed", 2**32, "seed = 4294967296: expected from 0 to"),
        ("rnas_cl", "train.optimizer.learning_rate", -0.1, "learning_rate = -0.1: expected at least 0."),
        ("rnas_cl", "train.optimizer.learning_rate", math.nan, "learning_rate = nan: expected at least 0."),
        ("rnas_cl", "search.optimizer.clip_norm", -1.0, "search.optimizer.clip_norm = -1.0: expected at least 0."),
        ("rnas_cl", "data.mean", (125.3, 0.5, 0.5), "data.mean = (125.3, 0.5, 0.5): expected from 0 to 1."),
        ("rnas_cl", "data.std", (0.0, 0.5, 0.5), "data.std = (0.0, 0.5, 0.5): expected more than 0"),
        ("rnas_cl", "validation.collapse", 1.0, "validation.collapse = 1.0: expected at least 0 and less than 1."),
        ("dsara", "train.weight_average", 1.0, "train.weight_average = 1.0: expected at least 0 and less than 1."),
        ("dsara", "search.cells", 0, "search.cells = 0: expected from 1 to 1000."),
        ("robbench", "adversarial.step_size", "3", "adversarial.step_size = '3': expected lengths"),
        ("robbench", "train.calibration", 0, "train.calibration = 0: expected at least 1."),
    ],
)  # fmt: skip
def test_a_number_outside_its_range_is_refused(system, key, value, message):
    config = SYSTEMS[system].get_config()
    config.update_from_flattened_dict({key: value})
    with pytest.raises(ValueError) as refused:
        check(config)
    assert message in str(refused.value)


def test_a_range_is_checked_when_a_configuration_is_read():
    with pytest.raises(ValueError, match=r"adversarial\.epsilon = '8': expected lengths in pixels scaled to \[0, 1\]"):
        load_config("configs/rnas_cl/digits.py", ["--config.adversarial.epsilon=8"])
