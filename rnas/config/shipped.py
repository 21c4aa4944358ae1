"""The configurations that come with rnas, which every folder knows by name: `rnas_cl/cifar10`."""

import ast
from dataclasses import dataclass
from pathlib import Path
import re

PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Shipped:
    """What the file of a configuration says of itself.

    Attributes:
      purpose: the first sentence of its docstring.
      cost, expectation: its paragraphs of these names, without line breaks; '' where there is none.
    """

    name: str
    purpose: str
    cost: str = ""
    expectation: str = ""


def folder() -> Path:
    """Where they are: in the installed package, or beside it in a checkout."""
    return next((path for path in (PACKAGE / "configs", PACKAGE.parent / "configs") if path.is_dir()), PACKAGE)


def names() -> list[str]:
    """Their names, sorted: `rnas_cl/digits` is the file `configs/rnas_cl/digits.py`."""
    root = folder()
    return sorted(path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("[!_]*.py"))


def find(name: str) -> Path | None:
    """The file of a configuration by its name, also in the form `configs/rnas_cl/digits.py`; None for another name."""
    short = name.removeprefix("configs/").removesuffix(".py")
    return folder() / f"{short}.py" if short in names() else None


def describe(name: str) -> Shipped:
    """Reads what the file of a configuration, one of `names()`, says of itself."""
    text = documentation(folder() / f"{name}.py")
    paragraphs = [" ".join(paragraph.split()) for paragraph in re.split(r"\n\n|\n(?=Cost|Expect)| (?=Expect)", text)]
    named = {word: next((each for each in paragraphs if each.startswith(word)), "") for word in ("Cost", "Expect")}
    return Shipped(name, paragraphs[0], *(text.partition(": ")[2] for text in named.values()))


def documentation(path: Path) -> str:
    """The docstring of a configuration file, '' where it has none."""
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
