"""The configurations that come with rnas: found by name from anywhere, and described."""

from pathlib import Path

import pytest

from rnas.config import shipped
from rnas.config.load import load_config

ROOT = Path(__file__).resolve().parents[2]


def test_every_file_has_a_name():
    files = {path.relative_to(ROOT / "configs") for path in (ROOT / "configs").rglob("*.py")}
    assert {Path(f"{name}.py") for name in shipped.names()} == files and len(files) > 10


@pytest.mark.parametrize("written", ["rnas_cl/digits", "rnas_cl/digits.py", "configs/rnas_cl/digits.py"])
def test_a_name_is_known_in_every_folder(tmp_path, monkeypatch, written):
    expected = load_config(str(ROOT / "configs" / "rnas_cl" / "digits.py") + ":smoke", [])
    monkeypatch.chdir(tmp_path)
    assert load_config(f"{written}:smoke", []) == expected


def test_a_file_of_that_name_comes_first(tmp_path, monkeypatch):
    (tmp_path / "rnas_cl").mkdir()
    own = tmp_path / "rnas_cl" / "digits.py"
    own.write_text((ROOT / "configs" / "rnas_cl" / "digits.py").read_text().replace('"tiny"', '"s3"'))
    monkeypatch.chdir(tmp_path)
    assert (load_config("rnas_cl/digits.py", []).space, load_config("rnas_cl/digits", []).space) == ("s3", "tiny")


@pytest.mark.parametrize("name", ["rnas_cl/digit", "../setup", "rnas_cl/../../setup"])
def test_an_unknown_name_is_refused_with_the_known_ones(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=f"no configuration file {name}; there is .*rnas configs lists all"):
        load_config(name, [])


@pytest.mark.parametrize("name", shipped.names())
def test_what_a_file_says_of_itself(name):
    found = shipped.describe(name)
    words = " ".join(shipped.documentation(shipped.folder() / f"{name}.py").split())
    assert found.purpose and words.startswith(found.purpose)
    assert found.cost in words and found.expectation in words and "Expect" not in found.cost
    assert ("Cost" in words, "Expect" in words) == (bool(found.cost), bool(found.expectation))
