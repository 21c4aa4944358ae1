"""Tables of a page: plain data that is printed as HTML, as CSV and as LaTeX."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
import csv
from dataclasses import dataclass
import io
from typing import Any

from rnas.artifacts.scores import Score
from rnas.pages.quantity import compact, decimals, duration, exact, percent

DASH = "\u2013"
LONG = 300  # characters of a setting, such as the names of a thousand classes
UNIT, INTERVAL = "accuracy in %", "95\u202f% Wilson interval"

_MATHS = r"\cdot \times \pm ^2 - \sqrt{} _\infty \beta \gamma \varepsilon \lambda \rho \tau _k _- _1 _2 ^\top ^- ^1"
_LATEX = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {character: rf"\text{name}{{}}" for character, name in zip("<>", ("less", "greater"), strict=True)}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {DASH: "--", "…": r"\dots{}", "\u202f": r"\,", "\u2019": "'"}
    | {character: f"${code}$" for character, code in zip("·×±²−√∞βγελρτₖ₋₁₂ᵀ⁻¹", _MATHS.split(), strict=True)}
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

    @property
    def line(self) -> str:
        """Both parts, on one line."""
        return f"{self.text}, {self.below}" if self.below else self.text


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
        columns, *rows = (
            tuple(cell if isinstance(cell, Cell) else Cell(str(cell)) for cell in row)
            for row in (self.columns, *self.rows)
        )
        assert all(len(row) == len(columns) for row in rows), (self.name, [len(row) for row in rows], len(columns))
        object.__setattr__(self, "columns", columns)
        object.__setattr__(self, "rows", tuple(rows))

    @classmethod
    def of(cls, name: str, items: Iterable[Any], columns: Mapping[Any, Any], *more: str, **named: str) -> Table:
        """A row an item; `columns`: heading -> function that makes the cell of an item."""
        return cls(name, tuple(columns), [[cell(item) for cell in columns.values()] for item in items], *more, **named)

    @property
    def note(self) -> str:
        """The unit of the figures, and what stands below them."""
        has_below = any(cell.below for row in self.rows for cell in row)
        return ", ".join(filter(None, (self.unit, self.below and has_below and f"below it the {self.below}")))

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Which columns hold numbers alone; the first never does."""
        filled = [[cell for cell in cells if cell.text] for cells in self._by_column]
        return tuple(
            place > 0 and bool(cells) and all(cell.value is not None for cell in cells)
            for place, cells in enumerate(filled)
        )

    @property
    def _by_column(self) -> list[list[Cell]]:
        return [[row[place] for row in self.rows] for place in range(len(self.columns))]

    def records(self) -> list[dict[str, str]]:
        """The rows as printed: column -> text. Columns are named as in the CSV file."""
        names = [column.line for column in self.columns]
        return [dict(zip(names, (cell.text for cell in row), strict=True)) for row in self.rows]

    @property
    def files(self) -> dict[str, bytes]:
        """Its files by their names."""
        return {f"tables/{self.name}.csv": self.csv().encode(), f"tables/{self.name}.tex": self.latex().encode()}

    def csv(self) -> str:
        """The table as CSV; what is printed below a figure has a column of its own."""
        columns: list[list[Any]] = []
        for head, cells in zip(self.columns, self._by_column, strict=True):
            values = [cell.text if cell.value is None else f"{cell.value:.10g}" for cell in cells]
            columns.append([head.line, *values])
            if any(cell.below for cell in cells):
                columns.append([f"{head.line}: {self.below or 'note'}", *(cell.below for cell in cells)])
        stream = io.StringIO()
        csv.writer(stream, lineterminator="\n").writerows(zip(*columns, strict=True))
        return stream.getvalue()

    def latex(self) -> str:
        """The table as a `tabular` of LaTeX's package booktabs."""
        lines = [
            r"% \usepackage{booktabs}",
            *(f"% {line}" for line in filter(None, (self.caption, self.note))),
            rf"\begin{{tabular}}{{{''.join('r' if number else 'l' for number in self.numeric)}}}",
            r"\toprule",
            _latex_row(self.columns),
            r"\midrule",
            *map(_latex_row, self.rows),
            r"\bottomrule",
            r"\end{tabular}",
        ]
        return "\n".join(lines) + "\n"


def _latex_row(cells: Sequence[Cell]) -> str:
    return " & ".join(map(_latex, cells)) + r" \\"


def _latex(cell: Cell) -> str:
    text = (cell.text or DASH).translate(_LATEX)
    text = rf"\textbf{{{text}}}" if cell.kind == "strong" else text
    return rf"{text} {{\scriptsize {cell.below.translate(_LATEX)}}}" if cell.below else text


def share(value: float | None, places: int = 1, below: str = "", kind: str = "") -> Cell:
    """A share in [0, 1] as a percentage without its sign."""
    if value is None:
        return Cell()
    return Cell(percent(value, places, unit=False), below, value=round(100 * value, 6), kind=kind)


def interval(score: Score) -> str:
    """The ends of a score's interval in %."""
    return DASH.join(percent(end, decimals(score.count), unit=False) for end in score.interval)


def accuracy(score: Score | None, images: int | None = None) -> Cell:
    """An accuracy in %, below it its interval, and its number of images where that is not `images`."""
    if score is None:
        return Cell()
    of = "" if images in (None, score.count) else f", of {exact(score.count)}"
    return share(score.accuracy, decimals(score.count), interval(score) + of, "strong")


def whole(number: float | None) -> Cell:
    """A count in full."""
    return Cell() if number is None else Cell(exact(number), value=number)


def identity(number: int) -> Cell:
    """A number that names something, as it is typed: without separators."""
    return Cell(str(number), value=number)


def short(number: float | None) -> Cell:
    """A count in three figures, in full where the pointer rests."""
    return Cell() if number is None else Cell(compact(number), value=number, hint=exact(number))


def seconds(number: float | None, below: str = "") -> Cell:
    """A wall time."""
    return Cell() if number is None else Cell(duration(number), below, number)


def text(value: Any) -> Cell:
    """Any value as text."""
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else None
    return Cell() if value is None else Cell(str(value), value=number)


def settings_table(name: str, settings: Mapping[str, Any]) -> Table | None:
    """A nested mapping as dotted keys and their values, the beginning of very long ones; None where it is empty."""
    found = {key: value if len(value) <= LONG else f"{value[:LONG]}…" for key, value in flat(settings).items()}
    rows = [(key, Cell(value, kind="code")) for key, value in found.items()]
    return Table(name, ("Key", "Value"), rows) if rows else None


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Dotted keys and values, as text."""
    found: dict[str, str] = {}
    for key, value in settings.items():
        inner = isinstance(value, Mapping)
        found |= flat(value, f"{prefix}{key}.") if inner else {f"{prefix}{key}": str(value)}
    return found
