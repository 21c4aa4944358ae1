"""Tables in the published forms, with figures of the tests' own."""

import json

import numpy as np
import pytest

from rnas.spaces.nasbench201 import SIZE, representatives
from rnas.tabular import RobBench

NAMES = [
    f"{dataset}#{metric}"
    for dataset in ("cifar10", "cifar100", "imagenet")
    for metric in ("val_acc", "val_fgsm_3_acc", "val_pgd_3_acc", "val_fgsm_8_acc", "val_pgd_8_acc", "autoattack")
]
STANDARD_NAMES = [
    f"{dataset}#{metric}"
    for dataset in ("cifar10", "cifar100", "ImageNet16-120")
    for metric in ("clean", "aa_apgd-ce", "aa_square", "fgsm", "pgd", "corr")
][:-1]


def _table_of_means(names=NAMES, seed=0, alias=str):
    """The content of a file of means: random rows, and an alias for every other member of a class."""
    rows = np.random.default_rng(seed).random((SIZE, len(names))).round(4)
    content = {
        str(number): rows[number].tolist() if number == first else alias(first)
        for number, first in enumerate(representatives().tolist())
    }
    return {**content, "": list(names)}


def _write(path, content, prefix="acc="):
    path.write_text(prefix + json.dumps(content))
    return path


@pytest.fixture(scope="session")
def table_of_means():
    return _table_of_means


@pytest.fixture(scope="session")
def standard_names():
    return STANDARD_NAMES


@pytest.fixture(scope="session")
def write():
    return _write


@pytest.fixture(scope="session")
def means():
    """Content of a complete file of means; not to be changed."""
    return _table_of_means()


@pytest.fixture(scope="session")
def file(tmp_path_factory, means):
    return _write(tmp_path_factory.mktemp("table") / "NAS-RobBench-201_html.json", means)


@pytest.fixture
def small():
    """Five classes with ties, and a hole."""
    return RobBench(
        source="small",
        sha256="",
        ids=(0, 1, 2, 3, 10),
        values={
            "cifar10/clean": np.array([0.5, 0.7, 0.7, 0.1, 0.6]),
            "cifar10/pgd_8": np.array([0.3, 0.4, np.nan, 0.1, 0.2]),
            "cifar10/autoattack": np.full(5, 0.1),
        },
    )
