"""What tests of benchmarks share: scripts that import each other by bare names, as a script's neighbours do."""

import importlib
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def script():
    """Name of a file in this folder → the module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).resolve().parent)
        yield importlib.import_module
