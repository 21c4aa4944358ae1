"""The page of a study: how far scores before training agree with a table, against the strength of the attack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rnas.artifacts.files import read_json
from rnas.pages import tables
from rnas.pages.document import care, document, dotted, save
from rnas.pages.kernel_plot import LABELS, plot_correlations, plot_strength
from rnas.pages.markup import Markup, element, markup
from rnas.pages.parts import fact_list, figure, folded, image, tile
from rnas.pages.quantity import duration, exact, number_of

FILE = "ntk.json"

_STRENGTH = (
    "Spearman\u2019s coefficient with {column} as the images of the kernel are attacked harder; bars are 95\u202f% "
    "bootstrap intervals over cells. Dotted: the number of parameters, which asks no kernel."
)
_ALL = "Every score with every column; kernels under the two attacks beside the clean one, and scores without a kernel."
_GAINS = (
    "By how much |\u03c1| grows with {column} from one kernel to another on the same cells. An interval that leaves 0 "
    "is printed bold; of so many some would by chance."
)


def write_study_page(workdir: str | Path) -> Path:
    """Writes `report.html` and its pictures into the folder of a study, from its `ntk.json`; returns the path.

    Raises:
      ValueError: the file cannot be read.
    """
    workdir = Path(workdir)
    answer = read_json(workdir / FILE)
    cells, settings = answer["architectures"], answer["settings"]
    compared = "correlations" in answer
    column = _headline(answer["columns"]) if compared else None
    epsilons = sorted(settings["epsilons"], key=number_of)
    pictures = {}
    if compared:
        drawn = [plot_strength(answer["correlations"], epsilons, name) for name in answer["columns"]]
        drawn.append(plot_correlations(answer["correlations"], answer["shown"], answer["columns"]))
        pictures = {picture.name: picture for picture in drawn}
    text = document(
        title=_title(answer, column),
        eyebrow=dotted("rnas", "tangent kernels", answer["dataset"]["name"], "NAS-Bench-201"),
        opening=[_care(answer), _tiles(answer, column)],
        parts=[
            ("strength", "Against attack strength", _strength(answer, column, pictures) if compared else []),
            ("scores", "All scores", [figure(pictures["ntk"], _ALL), _coefficients(answer)] if compared else []),
            ("gains", "What an attack adds to a kernel", _gains(answer, column) if compared else []),
            ("best", "Among the best cells", _best(answer) if compared else []),
            ("cells", "Cells", [folded(f"Scores of {exact(len(cells))} cells", _cells(answer))]),
            ("protocol", "Protocol", [_protocol(answer)]),
        ],
    )
    return save(workdir / "report.html", text, pictures.values())


def _headline(columns: Sequence[str]) -> str:
    """The most robust accuracy that means are taken of: PGD-20 at 8/255 where it is a column, else the last one."""
    return next((name for name in columns if name.endswith("/pgd_8")), columns[-1])


def _of_column(rows: Sequence[Mapping[str, Any]], column: str) -> dict[str, Mapping[str, Any]]:
    return {row["score"]: row for row in rows if row["column"] == column and row["spearman"] is not None}


def _title(answer: Mapping[str, Any], column: str | None) -> str:
    count = exact(len(answer["architectures"]))
    found = _of_column(answer["correlations"], column) if column else {}
    kernels = [row for row in found.values() if "/" in row["score"]]
    if not kernels:
        return f"Scores of {count} cells before training"
    best = max(kernels, key=lambda row: abs(row["spearman"]))
    kernel, _, score = best["score"].rpartition("/")
    return (
        f"Of {count} cells the {LABELS[score]} of the {_kernel(kernel)} kernel ranks {column} best of all kernel scores"
    )


def _kernel(name: str) -> str:
    """'robust@8/255' → 'robust (8/255)'."""
    family, _, radius = name.replace("_", " ").partition("@")
    return f"{family} ({radius})" if radius else family


def _care(answer: Mapping[str, Any]) -> Markup | None:
    dead = [cell["code"] for cell in answer["architectures"] if cell["degenerate"]]
    words = f"Kernels of rank 1 or 0, of networks whose output does not depend on the image: {', '.join(dead)}."
    return care([words] if dead else [])


def _tiles(answer: Mapping[str, Any], column: str | None) -> Markup:
    seconds = answer["seconds"]
    shown = [
        tile("Cells", exact(len(answer["architectures"])), {"images": exact(answer["settings"]["images"])}),
        tile("Time of a cell, median", duration(seconds["median"]), {"in all": duration(seconds["total"])}),
    ]
    if column:
        found = _of_column(answer["correlations"], column)
        for title, wanted in (("Best kernel score", True), ("Best other score", False)):
            rows = [row for name, row in found.items() if ("/" in name) is wanted]
            if rows:
                best = max(rows, key=lambda row: abs(row["spearman"]))
                kernel, _, score = best["score"].rpartition("/")
                beside = {" ".join(filter(None, (LABELS[score], kernel and _kernel(kernel)))): ""}
                shown.append(tile(f"{title}, |\u03c1| with {column}", f"{abs(best['spearman']):.2f}", beside))
    return element("dl", shown, class_="tiles")


def _strength(answer: Mapping[str, Any], column: str, pictures: Mapping[str, Any]) -> list[Any]:
    others = [name for name in answer["columns"] if name != column]

    def picture(name: str):
        return pictures[f"strength_{name.replace('/', '_')}"]

    return [
        figure(picture(column), _STRENGTH.format(column=column)),
        [folded(name, element("div", image(picture(name)), class_="plot fit")) for name in others],
    ]


def _coefficient(row: Mapping[str, Any], name: str = "spearman", form: str = ".2f") -> Markup:
    if row[name] is None or row["low"] is None:
        return tables.NONE
    clear = name == "gain" and (row["low"] > 0 or row["high"] < 0)
    words = element("b", f"{row[name]:{form}}") if name != "gain" or clear else f"{row[name]:{form}}"
    return markup([words, element("small", f"{row['low']:{form}} to {row['high']:{form}}")])


def _rows(answer: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    at = {(row["score"], row["column"]): row for row in found}
    rows = []
    for name in dict.fromkeys(row["score"] for row in found):
        kernel, _, score = name.rpartition("/")
        cells = [_coefficient(at[name, column]) for column in answer["columns"]]
        rows.append([LABELS[score], _kernel(kernel) if kernel else tables.NONE, *cells])
    order = list(LABELS.values())
    return sorted(rows, key=lambda row: order.index(row[0]))  # the kernels of a score one below the other


def _coefficients(answer: Mapping[str, Any]) -> Markup:
    head = ["Score", "Kernel", *answer["columns"]]
    return folded("In figures", tables.table(head, _rows(answer, answer["correlations"]), kind="accuracy"))


def _gains(answer: Mapping[str, Any], column: str) -> list[Any]:
    rows = [row for row in answer["gains"] if row["column"] == column]
    pairs = dict.fromkeys((row["kernel"], row["over"]) for row in rows)
    at = {(row["score"], row["kernel"], row["over"]): row for row in rows}
    body = [
        [LABELS[score], *(_coefficient(at[score, *pair], "gain", "+.3f") for pair in pairs)]
        for score in dict.fromkeys(row["score"] for row in rows)
    ]
    head = ["Score", *([_kernel(one), element("small", f"over {_kernel(other)}")] for one, other in pairs)]
    return [element("p", _GAINS.format(column=column)), tables.table(head, body, kind="accuracy")]


def _best(answer: Mapping[str, Any]) -> list[Any]:
    best = answer.get("best")
    if not best:
        return []
    words = f"Spearman\u2019s \u03c1 among the {best['count']} cells in the best {best['share']:.0%} by {best['by']}."
    head = ["Score", "Kernel", *answer["columns"]]
    table = tables.table(head, _rows(answer, best["correlations"]), kind="accuracy")
    return [element("p", words), folded("In figures", table)]


def _cells(answer: Mapping[str, Any]) -> Markup:
    names = ["clean/lambda_min", "clean/condition", "clean/fit", "synflow", "naswot", "params"]
    rows = [
        [cell["code"], exact(cell["id"]), *(f"{cell['scores'][name]:.4g}" for name in names)]
        for cell in answer["architectures"]
    ]
    return tables.table(["Cell", "Id", *(LABELS[name.rpartition("/")[2]] for name in names)], rows)


def _protocol(answer: Mapping[str, Any]) -> Markup | None:
    settings = answer["settings"]
    table = answer.get("table")
    return fact_list(
        {
            "Images": f"{settings['images']} training images of {answer['dataset']['name']}, balanced over classes: "
            f"{answer['dataset']['description']}",
            "Initialisations": f"{settings['initialisations']}, seed {settings['seed']}",
            "Network": f"{settings['channels']} channels, cells in each of the three stages: {settings['cells']}",
            "Kernel": f"{settings['output']} of the logits, {settings['parameters']} parameters; "
            f"\u03b2 = {settings['beta']:g} in the mixed ones",
            "Attack": f"PGD-{settings['steps']}, L\u221e, radii {', '.join(settings['epsilons'])}",
            "Table": table and f"{table['source']}, SHA-256 {table['sha256'][:12]}\u2026",
            "Processor time": f"{duration(answer['cpu_seconds']['total'])} in all, one compilation included",
            "Device": answer["device"],
            "Versions": ", ".join(f"{name} {version}" for name, version in answer["versions"].items()),
        }
    )
