"""Models that are restored, and compiled, once for all tests."""

import functools

import pytest
import small_networks as networks


@pytest.fixture(scope="session")
def model_named(tmp_path_factory):
    """`model_named(name)`: one of the small networks of `networks`."""
    return functools.cache(lambda name: networks.model(name, tmp_path_factory.mktemp("teacher")))
