"""Double precision for one test at a time: derivatives against finite differences need it."""

import jax
import pytest


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield
