"""What the documentation takes from the code as it is built: configuration keys, layers, names of the public API.

A page marks the place by a line of its own: `<!-- configuration -->`, `<!-- layers -->`, `<!-- api: rnas.attacks -->`.
"""

import ast
from pathlib import Path
import pkgutil
import re
import sys
import tomllib

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # the package of this checkout, installed or not

TITLES = {"rnas_cl": "RNAS-CL", "dsara": "Cell search", "robbench": "Making a table"}
MARK = re.compile(r"^<!-- (configuration|layers|api: ([\w.]+)) -->$", re.MULTILINE)


def on_page_markdown(markdown: str, **_) -> str:
    """Called by MkDocs with the text of each page; returns what it shows instead."""
    made = {"configuration": configuration, "layers": picture_of_layers}
    return MARK.sub(lambda mark: public_api(mark[2]) if mark[2] else made[mark[1]](), markdown)


# -- Python API ------------------------------------------------------------------------------------------


def public_names(package: str) -> list[str]:
    """Where the public names of a package are defined: `rnas.attacks` → `rnas.attacks.apgd.apgd`, …

    They are the names that its `__init__.py` imports. A package that imports none, and a module, stand for themselves.
    """
    path = ROOT.joinpath(*package.split("."))
    if not path.is_dir():
        return [package]
    tree = ast.parse((path / "__init__.py").read_text(encoding="utf-8"))
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    names = [f"{node.module}.{alias.name}" for node in imports for alias in node.names]
    return names or [f"{package}.{module.name}" for module in pkgutil.iter_modules([str(path)])]


def public_api(package: str) -> str:
    return "\n\n".join(f"::: {name}" for name in public_names(package))


# -- configuration ---------------------------------------------------------------------------------------


def configuration() -> str:
    """The keys of every system with default and comment, a table for each section."""
    from rnas.config.defaults import SYSTEMS

    def part(name: str) -> str:
        purpose = (SYSTEMS[name].get_config.__doc__ or "").strip().splitlines()[0]
        return f'## {TITLES.get(name, name)}\n\n`system = "{name}"`. {purpose}\n\n{_tables(name)}'

    return "\n\n".join(map(part, sorted(SYSTEMS, key=[*TITLES, *SYSTEMS].index)))


def _tables(system: str) -> str:
    from rnas.config.keys import keys

    titles, sections = {"": ""}, {"": []}
    for key in keys(system):
        section, _, name = key.name.rpartition(".")
        comment = key.comment.replace("|", "&#124;")
        if key.is_section:
            titles[key.name] = f"### `{key.name}`\n\n" + (f"{comment}\n\n" if comment else "")
            sections[key.name] = []
        else:
            default = "" if key.default is None else f"`{key.default!r}`"
            sections[section].append(f"| `{name}` | {default} | {key.allowed} | {comment} |")
    head = "| key | default | range | meaning |\n|---|---|---|---|\n"
    return "\n\n".join(titles[name] + head + "\n".join(rows) for name, rows in sections.items() if rows)


# -- layers ----------------------------------------------------------------------------------------------


def layers() -> list[tuple[str, ...]]:
    """The folders of the package, the uppermost layer first, from the import contract in `pyproject.toml`."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = (each for each in settings["tool"]["importlinter"]["contracts"] if each["type"] == "layers")
    return [tuple(part.strip("() ") for part in re.split(r"[|:]", row)) for row in contract["layers"]]


def picture_of_layers() -> str:
    """The layers as SVG: an arrow means "imports"; colours are those of the page."""
    colours = {"host": "#4b7bb5", "steps": "#8a6fb0", "mathematics": "#4f9a74"}
    rows, height, parts = layers(), 44, []
    steps = rows.index(("steps",))
    for number, row in enumerate(rows):
        kind = "host" if number < steps else "steps" if number == steps else "mathematics"
        width = (560 - 10 * (len(row) - 1)) / len(row)
        for place, name in enumerate(row):
            x, y = 40 + place * (width + 10), 6 + number * height
            parts.append(
                f'<rect x="{x:.0f}" y="{y}" width="{width:.0f}" height="32" rx="6" fill="{colours[kind]}"/>'
                f'<text x="{x + width / 2:.0f}" y="{y + 21}" text-anchor="middle" fill="#fff">{name}</text>'
            )
    end = len(rows) * height - 10
    parts.append(f'<path d="M18 10 V{end} M12 {end - 8} L18 {end} L24 {end - 8}" fill="none" stroke="currentColor"/>')
    words = (
        (f'<rect x="620" y="{26 + 30 * place}" width="14" height="14" fill="{colour}"/>'
         f'<text x="642" y="{38 + 30 * place}" fill="currentColor">{name}</text>')
        for place, (name, colour) in enumerate(colours.items())
    )  # fmt: skip
    return (
        f'<svg viewBox="0 0 760 {end + 12}" role="img" aria-label="Layers of the package" font-family="monospace" '
        f'font-size="14" style="max-width:46rem">{"".join(parts)}{"".join(words)}</svg>'
    )
