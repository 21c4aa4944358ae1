"""What the documentation takes from the code as it is built: configuration keys, layers, names of the public API.

A page marks the place by a line of its own: `<!-- configuration -->`, `<!-- layers -->`, `<!-- api: rnas.attacks -->`.
"""

import ast
import contextlib
import importlib
from pathlib import Path
import pkgutil
import re
import sys
import tokenize
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
    import rnas.config.defaults as defaults

    parts = []
    names = [module.name for module in pkgutil.iter_modules(defaults.__path__)]
    for name in sorted(names, key=[*TITLES, *names].index):
        system = importlib.import_module(f"{defaults.__name__}.{name}")
        if hasattr(system, "get_config"):
            title = TITLES.get(name, name)
            parts.append(f'## {title}\n\n`system = "{name}"`. {_first_line(system.get_config)}')
            parts += _tables(system.get_config)
    return "\n\n".join(parts)


def keys(get_config) -> list[tuple[str, object, str]]:
    """(dotted key, default, comment in the source) of every key, in the order in which `get_config` sets them."""
    with _assignments() as places:
        config = get_config()
    return list(_walk(config, "", places))


def _tables(get_config) -> list[str]:
    sections: dict[str, list[str]] = {}
    for key, default, comment in keys(get_config):
        section, _, name = key.rpartition(".")
        cells = (f"`{name}`", f"`{default!r}`" if default is not None else "", comment.replace("|", "&#124;"))
        sections.setdefault(section, []).append(f"| {' | '.join(cells)} |")
    head = "| key | default | meaning |\n|---|---|---|\n"
    return [
        (f"### `{section}`\n\n" if section else "") + head + "\n".join(rows)
        for section, rows in sorted(sections.items(), key=lambda item: item[0] != "")
    ]


def _first_line(function) -> str:
    return (function.__doc__ or "").strip().splitlines()[0]


@contextlib.contextmanager
def _assignments():
    """Notes where each key of each section is first set: {(id of section, key): (file, line)}."""
    from ml_collections import ConfigDict

    places, kept, original = {}, [], ConfigDict.__setitem__

    def noted(self, key, value):
        frame = sys._getframe(1)
        while "ml_collections" in frame.f_code.co_filename:
            frame = frame.f_back
        kept.append(self)  # so that no other section gets its id
        places.setdefault((id(self), key), (frame.f_code.co_filename, frame.f_lineno))
        return original(self, key, value)

    ConfigDict.__setitem__ = noted
    try:
        yield places
    finally:
        ConfigDict.__setitem__ = original


def _walk(config, prefix: str, places: dict):
    from ml_collections import ConfigDict

    order = [key for section, key in places if section == id(config)]
    for key in sorted(config, key=lambda key: order.index(key) if key in order else len(order)):
        value = config[key]
        if isinstance(value, ConfigDict):
            yield from _walk(value, f"{prefix}{key}.", places)
        else:
            place = places.get((id(config), key))
            yield f"{prefix}{key}", value, _comment(*place, f"{prefix}{key}") if place else ""


def _comment(file: str, line: int, key: str) -> str:
    """The comment behind the statement that sets a key, or the lines of comment above it."""
    lines = Path(file).read_text(encoding="utf-8").splitlines()
    with tokenize.open(file) as source:
        comments = {
            token.start[0]: token.string.lstrip("# ")
            for token in tokenize.generate_tokens(source.readline)
            if token.type == tokenize.COMMENT
        }
    first = last = line
    for node in ast.walk(ast.parse("\n".join(lines))):
        if isinstance(node, ast.stmt) and not hasattr(node, "body") and node.lineno <= line <= node.end_lineno:
            first, last = node.lineno, node.end_lineno
    # Entries of a dictionary have lines of their own, below the name of their section.
    for name in key.split(".")[-2:]:
        found = [number for number in range(first, last + 1) if f'"{name}":' in lines[number - 1]]
        if found and name == key.rpartition(".")[2]:
            first = last = found[0]
        elif found:
            first = found[0]
    if last in comments:
        return comments[last]
    above = []
    while (first := first - 1) in comments and lines[first - 1].lstrip().startswith("#"):
        above.insert(0, comments[first])
    return " ".join(above)


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
