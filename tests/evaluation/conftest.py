"""What makes evaluations short enough to be tested whole."""

import functools

import pytest

from rnas.attacks import batching, programs
from rnas.evaluation import runner
from rnas.steps import run_frozen

_run_frozen = functools.cache(run_frozen)  # one compilation for all evaluations of the same function


@pytest.fixture(scope="module")
def brief():
    """Square with few queries, three blocks of them; at most two batch sizes; programs shared by tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(programs, "QUERIES", 24)
        patch.setattr(programs, "BLOCK", 8)
        patch.setattr(batching, "SHARES", (1, 4))
        patch.setattr(runner, "run_frozen", _run_frozen)
        yield
