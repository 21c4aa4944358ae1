"""The files under configs/: what they import, what they document, and that every variant makes a configuration."""

import ast
from pathlib import Path
import re
import subprocess
import sys

import pytest

from rnas.config import check, load_config

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "configs").rglob("*.py"))


def name_of(file: Path) -> str:
    return f"{file.parent.name}/{file.stem}"


def imported(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module)
    return found


def variants(file: Path, overrides: list[str]) -> list[str]:
    """Names that the file takes, as it lists them itself when it refuses one."""
    with pytest.raises(ValueError) as refused:
        load_config(f"{file}:no_such_variant", overrides)
    known = re.search(r"expected any of (.*)\.$", str(refused.value))
    return known[1].split(", ") if known else []


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_a_file_imports_the_package_of_configurations_alone(file):
    assert {name for name in imported(file) if not re.fullmatch(r"rnas\.config(\..*)?", name)} == set()


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_every_variant_is_described_and_makes_a_configuration(file, own_set):
    overrides = [f"--config.data.dir={own_set}"] if file.stem == "own_data" else []
    text = ast.get_docstring(ast.parse(file.read_text()))
    # A file whose variants are those of another one names it.
    others = [
        ROOT / name if "/" in name else file.parent / name for name in re.findall(r"`((?:configs/)?[\w/]+\.py)`", text)
    ]
    texts = [text, *(ast.get_docstring(ast.parse(other.read_text())) for other in others)]
    check(load_config(str(file), overrides))
    for name in variants(file, overrides):
        assert any(re.search(rf"\b{name}\b", text) for text in texts), name
        check(load_config(f"{file}:{name}", overrides))


def test_the_package_of_configurations_loads_neither_jax_nor_the_program():
    program = """
import sys
import rnas.config, rnas.config.keys
print(*(name for name in sys.modules if name.startswith("rnas") or name in ("jax", "flax", "tensorflow")))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    allowed = r"rnas|rnas\.config(\..*)?|rnas\.artifacts|rnas\.artifacts\.files"
    assert [name for name in done.stdout.split() if not re.fullmatch(allowed, name)] == []


def test_the_classes_of_imagenet_100_are_the_published_ones():
    classes = load_config(str(ROOT / "configs/rnas_cl/imagenet100.py"), []).data.class_ids
    assert len(set(classes)) == 100 and sum(classes) == 47997
    assert min(classes) >= 0 and max(classes) < 1000
