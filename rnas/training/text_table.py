"""Tables as text."""

from collections.abc import Sequence


def text_table(head: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None) -> list[str]:
    """Returns the lines of a table for a terminal: the first column on the left, all others on the right.

    A table that is wider than `width` is cut into tables below each other, each with the first column.
    """
    widths = _widths(head, rows)
    lines: list[str] = []
    for columns in _groups(widths, width):
        lines += [
            "  ".join(row[c].rjust(widths[c]) if c else row[c].ljust(widths[c]) for c in columns).rstrip()
            for row in (head, *rows)
        ]
    return lines


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Returns the lines of a table in Markdown, aligned so that a terminal shows it as well."""
    widths = _widths(head, rows)
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in (head, *rows)
    ]
    return [lines[0], rule, *lines[1:]]


def _groups(widths: Sequence[int], most: int | None) -> list[list[int]]:
    """Cuts the columns of a table into groups that are at most so wide, each of them after the first column."""
    groups = [[0]]
    for column in range(1, len(widths)):
        taken = sum(widths[c] + 2 for c in groups[-1])
        if most is not None and len(groups[-1]) > 1 and taken + widths[column] > most:
            groups.append([0])
        groups[-1].append(column)
    return groups


def _widths(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(head, *rows, strict=True)]
