"""Limits that keep the package easy to read; which folder may import which is checked by import-linter."""

import ast
from pathlib import Path
import re

import pytest

from rnas.steps import AXIS

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "rnas"
HOST = ("artifacts", "cli", "config", "data", "evaluation", "pages", "runs", "tabular", "teachers", "training")


def parsed(folder: Path) -> dict[str, ast.Module]:
    """Syntax trees of all modules below a folder, by path."""
    return {str(path.relative_to(ROOT)): ast.parse(path.read_text(encoding="utf-8")) for path in folder.rglob("*.py")}


@pytest.mark.parametrize("folder", HOST)
def test_classes_of_the_host_have_at_most_20_methods(folder):
    for path, module in parsed(PACKAGE / folder).items():
        for node in ast.walk(module):
            if isinstance(node, ast.ClassDef):
                methods = [member.name for member in node.body if isinstance(member, ast.FunctionDef)]
                methods = [name for name in methods if not name.startswith("__")]
                assert len(methods) <= 20, f"{path}: {node.name} has {len(methods)} methods"


def test_the_name_of_the_device_axis_stands_in_steps_alone():
    for path, module in parsed(PACKAGE).items():
        if not path.startswith("rnas/steps/"):
            names = [node.value for node in ast.walk(module) if isinstance(node, ast.Constant)]
            assert AXIS not in names, f"{path} writes {AXIS!r}; import rnas.steps.AXIS"


@pytest.mark.parametrize(("file", "limit"), [("rnas/main.py", 95), ("README.md", 130)])
def test_files_that_everybody_reads_are_short(file, limit):
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    assert len(lines) <= limit


def test_every_dependency_has_its_reason():
    (call,) = (node for node in ast.walk(ast.parse((ROOT / "setup.py").read_text())) if _is_setup(node))
    needed = next(word.value for word in call.keywords if word.arg == "install_requires")
    names = {re.match(r"[\w.-]+", element.value)[0] for element in needed.elts}
    table = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").split("## Dependencies")[1]
    assert set(re.findall(r"`([\w.-]+)`", "".join(re.findall(r"^\|([^|]*)\|", table, re.MULTILINE)))) == names


def _is_setup(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "setup"
