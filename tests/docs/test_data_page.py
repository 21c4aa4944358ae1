"""`docs/data.md`: its pictures are drawn, its commands make a set of them, and its code loads it."""

from pathlib import Path
import re
import shlex

import numpy as np
import pytest

from rnas.data.importing import SHARE, SIZE
from rnas.data.sources.cifar import LAYOUTS
from rnas.main import main

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    """The folder where its example was followed, up to the run, and the names that its code leaves behind."""
    folder, names = tmp_path_factory.mktemp("document"), {"__name__": "document"}
    drawing, loading = blocks("python")
    (imports,) = [
        line for block in blocks("sh") for line in block.splitlines() if line.startswith("rnas data import shapes")
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(compile(drawing, "data.md", "exec"), names)
        assert main(shlex.split(imports)[1:]) == 0
        exec(compile(loading, "data.md", "exec"), names)
    return folder, names


def test_its_pictures_become_a_set(document):
    folder, names = document
    assert len(list((folder / "shapes").rglob("*.png"))) == 300
    dataset = names["dataset"]
    assert dataset.class_names == ("circles", "squares", "stripes")
    assert len(dataset.train) + len(dataset.validation) == 240 and np.bincount(dataset.test.labels).tolist() == [20] * 3


def test_its_configuration_takes_the_set(document, monkeypatch):
    from rnas.config import load_config

    folder, _ = document
    monkeypatch.chdir(folder)
    (folder / "configs").symlink_to(ROOT / "configs")
    (run,) = [line for block in blocks("sh") for line in block.splitlines() if "own_data.py:smoke" in line]
    config, *overrides = [word for word in shlex.split(run) if word.startswith("--config")]
    assert load_config(config.partition("=")[2], overrides).data.name == "shapes"


def test_its_numbers_are_those_of_the_code():
    assert SHARE == 1 / 5 and "a fifth of each class" in TEXT
    assert f"at most {SIZE} pixels" in TEXT and f"become {SIZE}×{SIZE}" in TEXT
    assert len(LAYOUTS) == 4 and "`cifar-100-python.tar.gz` and the binary versions" in TEXT
