"""Evaluations of the attack suite: the page of one, and their part in the page of a run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from rnas.artifacts.attack import NORMS, AttackSummary
from rnas.artifacts.evaluation import ExampleImages
from rnas.attacks.catalogue import label_of
from rnas.pages.canvas import Gallery, gallery
from rnas.pages.curves import plot_radii
from rnas.pages.quantity import decimals, exact, norm_label, percent
from rnas.pages.results import suite_cautions, threat
from rnas.pages.site import dotted, publish, sections
from rnas.pages.table import INTERVAL, UNIT, Cell, Table, accuracy, interval, seconds, settings_table, short, whole
from rnas.pages.workdir import AttackFolder, Workdir, read_attack

_SHOWN = 6  # images of one evaluation
_STATUSES = ("skipped", "failed", "warning", "passed")


def write_attack_page(folder: str | Path) -> Path:
    """Writes `report.html` and `report/` of one evaluation of the attack suite into its own folder; returns the path.

    It needs no run beside it. The same files give the same bytes.

    Raises:
        ValueError: the evaluation is not finished, or a file cannot be read or contradicts itself; it is named.
    """
    found = read_attack(Path(folder))
    if found is None:
        raise ValueError(f"{folder} holds no finished evaluation: attack.json is missing. Finish it first")
    return publish(Path(folder) / "report.html", "attack.html", attack_context(found))


def attack_context(folder: AttackFolder) -> dict[str, Any]:
    """The context of the page of one evaluation."""
    summary, parts = folder.summary, _parts(folder)
    return {
        "title": f"{summary.model.label} keeps {percent(summary.robust.accuracy)} accuracy under "
        f"{label_of(summary.attack)}, {threat(summary)}",
        "eyebrow": dotted("rnas", "attack suite", summary.dataset.name, summary.model.architecture),
        "warnings": suite_cautions([folder]),
        "sections": sections(
            attacks=("Attacks", parts),
            checks=("Checks of the evaluation", parts["checks"] and parts),
            radii=("Accuracy over the radius", parts["radii"] and parts),
            transfer=("Transfer from other models", parts["transfer"] and parts),
            images=("Adversarial images", parts["gallery"] and parts),
            measured=("How it was measured", parts),
        ),
    }


def attack_suite(files: Workdir) -> dict[str, Any] | None:
    """The evaluations of a run: all in one table where there are several, and the parts of each."""
    if not files.attacks and not files.unfinished:
        return None
    columns = {
        "Model": lambda summary: summary.model.label,
        "Attack": _under,
        "Threat": threat,
        "Clean": lambda summary: accuracy(summary.clean),
        "Worst case": lambda summary: accuracy(summary.robust),
        "Checks": lambda summary: ", ".join(cell.text for cell in _counted(summary)),
    }
    summaries = [folder.summary for folder in files.attacks]
    table = Table.of("attack_suite", summaries, columns, "Evaluations", UNIT, INTERVAL, "accuracy")
    return {
        "unfinished": files.unfinished,
        "overview": table if len(summaries) > 1 else None,
        "evaluations": [_parts(folder) for folder in files.attacks],
    }


def _parts(folder: AttackFolder) -> dict[str, Any]:
    """What a page shows of one evaluation."""
    summary, name = folder.summary, f"attack_{folder.name}"
    transfer = {
        "Source": lambda row: Cell(row.source, kind="code"),
        "Made for": lambda row: row.model,
        "Still correct": lambda row: accuracy(row.score),
        "Images": lambda row: whole(row.score.count),
    }
    checks = {
        "Check": lambda check: f"{check.letter} \u00b7 {check.name}",
        "Status": lambda check: Cell(check.status, kind=check.status),
        "Figure": lambda check: check.figure,
        "Advice": lambda check: check.advice,
    }
    return {
        "title": f"{summary.model.label}, {_under(summary)}, {threat(summary)}",
        "summary": summary,
        "under": _under(summary),
        "threat": threat(summary),
        "places": decimals(summary.robust.count),
        "interval": interval(summary.robust),
        "attacks": _attack_table(f"{name}_attacks", summary) if summary.attacks else None,
        "distances": _distance_table(f"{name}_distances", folder),
        "counted": _counted(summary),
        "checks": summary.checks and Table.of(f"{name}_checks", summary.checks, checks, kind="checks"),
        "radii": plot_radii(f"{name}_radii", summary),
        "transfer": summary.transfer and Table.of(f"{name}_transfer", summary.transfer, transfer, "", UNIT, INTERVAL),
        "gallery": _gallery(name, folder),
        "settings": settings_table(f"{name}_settings", {row.name: row.settings for row in summary.attacks}),
    }


def _counted(summary: AttackSummary) -> list[Cell]:
    """How many checks passed, and how many did not: 9 passed, 1 warning."""
    counts = Counter(check.status for check in summary.checks)
    return [Cell(f"{counts[status]} {status}", kind=status) for status in _STATUSES if counts[status]]


def _under(summary: AttackSummary) -> str:
    """The attack and its version in words."""
    return f"{label_of(summary.attack)} {summary.version}".rstrip()


def _attack_table(name: str, summary: AttackSummary) -> Table:
    alone = any(row.alone for row in summary.attacks)
    columns = {
        "Attack": lambda row: label_of(row.name),
        "Attacked": lambda row: whole(row.attacked),
        "Fooled": lambda row: whole(row.fooled),
        "Still correct": lambda row: accuracy(row.cumulative),
        **({"Alone": lambda row: accuracy(row.alone)} if alone else {}),
        "Queries": lambda row: short(row.queries),
        "Time": lambda row: seconds(row.seconds),
    }
    rows = [[cell(row) for cell in columns.values()] for row in summary.attacks]
    rows.insert(0, ["no attack", "", "", accuracy(summary.clean), *[""] * (2 + alone)])
    return Table(name, [*columns], rows, "Attacks in their order", UNIT, INTERVAL, "accuracy last")


def _moved(folder: AttackFolder) -> np.ndarray:
    """Places in the fooling images of those that an attack changed; the others were wrong without it."""
    if folder.images is None or not folder.examples:
        return np.zeros(0, int)
    return np.flatnonzero(folder.examples["distance_linf"][folder.images.row] > 0)


def _distance_table(name: str, folder: AttackFolder) -> Table | None:
    """How far the fooling images are from the clean ones, in all norms."""
    moved = _moved(folder)
    if not len(moved):
        return None
    rows = []
    for norm in NORMS:
        ends = np.quantile(folder.examples[f"distance_{norm}"][folder.images.row[moved]], (0, 0.5, 1)).tolist()
        rows.append([norm_label(norm), *(Cell(f"{value:.4g}", value=value) for value in ends)])
    unit = f"of {exact(len(moved))} fooling images from the clean ones"
    return Table(name, ["Norm", "Smallest", "Median", "Largest"], rows, "Distances", unit)


def _gallery(name: str, folder: AttackFolder) -> Gallery | None:
    summary, moved = folder.summary, _moved(folder)[:_SHOWN]
    if not len(moved):
        return None
    columns = ("label", "clean_prediction", "adversarial_prediction")
    classes = (folder.examples[column][folder.images.row[moved]] for column in columns)
    shown = ExampleImages(folder.images.clean[moved], folder.images.images[moved], *classes)
    contrast = summary.threat.epsilon if summary.threat.norm == "linf" else None  # other norms bound no single pixel
    return gallery(shown, contrast, summary.dataset.class_names, _SHOWN, name)
