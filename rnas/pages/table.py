"""Tables of a page: plain data that is printed as HTML, as CSV and as LaTeX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import csv
from dataclasses import dataclass
import io
from typing import Any

from rnas.artifacts.scores import Score
from rnas.pages.quantity import compact, decimals, exact, percent

DASH = "\u2013"
UNIT, INTERVAL = "accuracy in %", "95\u202f% Wilson interval"

_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        **{character: f"\\{character}" for character in "&%$#_{}"},
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "\u2013": "--",
        "\u2026": r"\dots{}",
        "\u202f": r"\,",
        "\u2019": "'",
        "\u00b7": r"$\cdot$",
        "\u00d7": r"$\times$",
        "\u00b1": r"$\pm$",
        "\u00b2": r"$^2$",
        "\u2212": "$-$",
        "\u221a": r"$\sqrt{}$",
        "\u221e": r"$_\infty$",
        "\u03b2": r"$\beta$",
        "\u03b3": r"$\gamma$",
        "\u03b5": r"$\varepsilon$",
        "\u03bb": r"$\lambda$",
        "\u03c1": r"$\rho$",
        "\u03c4": r"$\tau$",
        "\u2096": r"$_k$",
        "\u208b": r"$_-$",
        "\u2081": r"$_1$",
        "\u2082": r"$_2$",
        "\u1d40": r"$^\top$",
        "\u207b": r"$^-$",
        "\u00b9": r"$^1$",
    }
)


@dataclass(frozen=True)
class Cell:
    """What stands in one cell of a table, or beside a term of a list.

    Attributes:
        text: what is printed; a dash where it is empty.
        below: printed small under it.
        value: the number behind a rounded or shortened `text`; CSV files hold this one.
        hint: shown where the pointer rests.
        kind: a class of style.css: `code`, `strong`, `passed`, `warning`, `failed` or `skipped`.
    """

    text: str = ""
    below: str = ""
    value: float | None = None
    hint: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """A table of a page. Its first column names the rows.

    Attributes:
        name: of its files, without suffix; one page has no two tables of one name.
        columns: headings.
        rows: as many cells a row as there are columns. Text is a cell without more.
        caption: what the table holds.
        unit: of its figures.
        below: what is printed under the figures.
        kind: classes of style.css: `accuracy` keeps the first column in view; `first` or `last` names the row to mark.
    """

    name: str
    columns: Sequence[Any]
    rows: Sequence[Sequence[Any]]
    caption: str = ""
    unit: str = ""
    below: str = ""
    kind: str = ""

    def __post_init__(self):
        columns, rows = _cells(self.columns), tuple(map(_cells, self.rows))
        assert all(len(row) == len(columns) for row in rows), (self.name, [len(row) for row in rows], len(columns))
        object.__setattr__(self, "columns", columns)
        object.__setattr__(self, "rows", rows)

    @property
    def note(self) -> str:
        """The unit of the figures, and what stands below them."""
        below = f"below it the {self.below}" if self.below and self._has_below() else ""
        return ", ".join(filter(None, (self.unit, below)))

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Which columns hold numbers alone."""
        columns = [[row[place] for row in self.rows] for place in range(len(self.columns))]
        return tuple(
            place > 0
            and any(cell.text for cell in cells)
            and all(cell.value is not None or not cell.text for cell in cells)
            for place, cells in enumerate(columns)
        )

    def records(self) -> list[dict[str, str]]:
        """The rows as printed: column -> text. Columns are named as in the CSV file."""
        names = [_heading(column) for column in self.columns]
        return [dict(zip(names, (cell.text for cell in row), strict=True)) for row in self.rows]

    def csv(self) -> str:
        """The table as CSV; what is printed below a figure has a column of its own."""
        paired = [any(row[place].below for row in self.rows) for place in range(len(self.columns))]
        heads = []
        for column, pair in zip(self.columns, paired, strict=True):
            name = _heading(column)
            heads += [name, f"{name}: {self.below or 'note'}"] if pair else [name]
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(heads)
        for row in self.rows:
            line: list[Any] = []
            for cell, pair in zip(row, paired, strict=True):
                line += [cell.text if cell.value is None else f"{cell.value:.10g}", *([cell.below] if pair else [])]
            writer.writerow(line)
        return stream.getvalue()

    def latex(self) -> str:
        """The table as a `tabular` of LaTeX's package booktabs."""
        columns = "".join("r" if number else "l" for number in self.numeric)
        lines = [
            "% \\usepackage{booktabs}",
            *(f"% {line}" for line in filter(None, (self.caption, self.note))),
            f"\\begin{{tabular}}{{{columns}}}",
            "\\toprule",
            _latex_row(self.columns),
            "\\midrule",
            *map(_latex_row, self.rows),
            "\\bottomrule",
            "\\end{tabular}",
        ]
        return "\n".join(lines) + "\n"

    def _has_below(self) -> bool:
        return any(cell.below for row in self.rows for cell in row)


def _cells(row: Sequence[str | Cell]) -> tuple[Cell, ...]:
    return tuple(cell if isinstance(cell, Cell) else Cell(str(cell)) for cell in row)


def _heading(column: Cell) -> str:
    return f"{column.text}, {column.below}" if column.below else column.text


def _latex_row(cells: Sequence[Cell]) -> str:
    return " & ".join(map(_latex, cells)) + r" \\"


def _latex(cell: Cell) -> str:
    text = (cell.text or DASH).translate(_LATEX)
    text = rf"\textbf{{{text}}}" if cell.kind == "strong" else text
    return rf"{text} {{\scriptsize {cell.below.translate(_LATEX)}}}" if cell.below else text


# -- cells of a kind -----------------------------------------------------------------------------------------


def share(value: float | None, places: int = 1, below: str = "", kind: str = "") -> Cell:
    """A share in [0, 1] as a percentage without its sign; a dash where it is None."""
    if value is None:
        return Cell()
    return Cell(percent(value, places, unit=False), below, value=round(100 * value, 6), kind=kind)


def accuracy(score: Score | None, images: int | None = None) -> Cell:
    """An accuracy in %, below it its interval, and its number of images where that is not `images`; a dash for None."""
    if score is None:
        return Cell()
    places = decimals(score.count)
    below = DASH.join(percent(end, places, unit=False) for end in score.interval)
    if images is not None and score.count != images:
        below += f", of {exact(score.count)}"
    return share(score.accuracy, places, below, "strong")


def whole(number: float | None) -> Cell:
    """A count in full; a dash where it is None."""
    return Cell() if number is None else Cell(exact(number), value=number)


def short(number: float | None) -> Cell:
    """A count in three figures, in full where the pointer rests; a dash where it is None."""
    return Cell() if number is None else Cell(compact(number), value=number, hint=exact(number))


def text(value: Any) -> Cell:
    """Any value as text; a dash where it is None."""
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else None
    return Cell() if value is None else Cell(str(value), value=number)


def settings_table(name: str, settings: Mapping[str, Any]) -> Table:
    """A nested mapping as dotted keys and their values."""
    return Table(name, ("Key", "Value"), [(key, Cell(value, kind="code")) for key, value in flat(settings).items()])


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Dotted keys and values, as text."""
    found: dict[str, str] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = str(value)
    return found
