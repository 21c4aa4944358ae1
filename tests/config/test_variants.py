"""Named variants: what they change, in which order, and what is refused."""

from ml_collections import ConfigDict
import pytest

from rnas.config import change_keys, with_variants, without_keys


def _double(config):
    config.search.rate = 2 * config.search.rate


VARIANTS = {
    "fast": {"search.rate": 0.5, "size": 2},
    "double": _double,
    "long": {"search.epochs": 9},
}


@pytest.fixture
def config():
    config = ConfigDict({"size": 1, "search": {"rate": 0.1, "epochs": 3}})
    config.train = ConfigDict({"epochs": config.search.get_oneway_ref("epochs")})
    return config


@pytest.mark.parametrize("argument", ["", ",", ",,"])
def test_no_name_changes_nothing(config, argument):
    before = config.to_dict()
    assert with_variants(config, VARIANTS, argument) is config and config.to_dict() == before


def test_changes_are_made_in_the_order_of_the_table(config):
    with_variants(config, VARIANTS, "double,fast")
    assert (config.search.rate, config.size, config.search.epochs) == (1.0, 2, 3)


def test_keys_that_follow_another_one_still_do(config):
    with_variants(config, VARIANTS, "long")
    assert config.train.epochs == 9


def test_an_unknown_name_is_refused_with_the_known_ones(config):
    with pytest.raises(ValueError, match="unknown variant 'slow'; expected any of fast, double, long"):
        with_variants(config, VARIANTS, "fast,slow")
    with pytest.raises(ValueError, match="unknown variant 'slow'; this configuration has none"):
        with_variants(config, {}, "slow")
    assert config.size == 1, "nothing was changed"


@pytest.mark.parametrize("key", ["sise", "search.epoch", "serch.epochs", "size.epochs"])
def test_a_change_of_a_key_that_is_not_there_is_refused(config, key):
    with pytest.raises((KeyError, TypeError)):
        change_keys(config, {key: 1})


def test_a_file_keeps_values_of_its_own(config):
    kept = without_keys(VARIANTS, "search.rate")
    assert kept == {"fast": {"size": 2}, "double": _double, "long": {"search.epochs": 9}}
    assert VARIANTS["fast"] == {"search.rate": 0.5, "size": 2}
