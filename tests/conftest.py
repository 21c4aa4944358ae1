"""Settings that every test shares: four CPU devices, a compilation cache, the slow marker."""

from html.parser import HTMLParser
import logging
import os
from pathlib import Path
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Of processes that tests start as well: a writer that knows no limit leaves entries that the others trip over.
os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(4 * 2**30))
# Tests compile much and compute little: a third of the time is saved by code that is not optimised. Slow ones compute.
os.environ.setdefault("XLA_FLAGS", "" if "--slow" in sys.argv else "--xla_backend_optimization_level=0")

import jax
import pytest

pytest_plugins = [
    "browser",
    "own_images",
    "processes",
    "brief_attacks",
    "quick_attacks",
    "slurm_cluster",
    "small_kernel",
    "small_study",
    "small_table",
]  # of tests/fixtures

ROOT = Path(__file__).resolve().parents[1]

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")  # a broadcast between ranks is written out
jax.config.update("jax_compilation_cache_dir", str(ROOT / ".jax_cache"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
# Workers that run side by side share the cache. Only a cache with a limit takes a lock around each
# read and write; without one a worker could read what another has half written.
jax.config.update("jax_compilation_cache_max_size", int(os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"]))

for _noisy in ("absl", "jax", "orbax", "tensorboardX"):
    logging.getLogger(_noisy).setLevel(logging.ERROR)


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes more than a few seconds; runs with --slow")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--slow"):
        return
    skip = pytest.mark.skip(reason="slow; run with --slow")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference data beside the project, or a skip where there is none."""
    folder = Path(os.environ.get("RNAS_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no reference data at {folder} (environment variable RNAS_SHARED)")
    return folder


_VOID = {"meta", "img", "br", "link"}


class _Page(HTMLParser):
    """The elements of a page, its visible text, and the cells of its tables row by row."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.text, self.rows, self._open, self._cell = [], [], [], [], None
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert not self._open, "unclosed elements"

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in _VOID:
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if "style" not in self._open:
            self.text.append(data)
            if {"td", "th"} & set(self._open):
                self.rows[-1][-1] += data + " "

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    def said(self):
        return " ".join("".join(self.text).replace("\u202f", " ").split())


@pytest.fixture(scope="session")
def read_page():
    """`read_page(path)`: a page of a report taken apart."""
    return _Page
