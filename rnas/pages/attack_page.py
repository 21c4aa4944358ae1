"""Evaluations of the attack suite: the page of one, and their part in the page of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnas.artifacts.attack import NORMS, AttackSummary
from rnas.artifacts.evaluation import ExampleImages
from rnas.attacks.catalogue import label_of
from rnas.pages.curves import plot_radii
from rnas.pages.pictures import Gallery, gallery
from rnas.pages.quantity import decimals, duration, exact, norm_label, percent
from rnas.pages.results import suite_cautions, threat
from rnas.pages.site import dotted, publish, sections
from rnas.pages.table import DASH, INTERVAL, UNIT, Cell, Table, accuracy, settings_table, short, whole
from rnas.pages.workdir import AttackFolder, read_attack

_SHOWN = 6  # images of one evaluation
_STATUSES = ("skipped", "failed", "warning", "passed")


def write_attack_page(folder: str | Path) -> Path:
    """Writes `report.html` and `report/` of one evaluation of the attack suite into its own folder.

    Args:
        folder: of `attack.json` and arrays; it needs no run beside it.

    Returns:
        The path of the page. The same files give the same bytes.

    Raises:
        ValueError: `folder` holds no finished evaluation, or one of its files cannot be read or contradicts
            itself; the message names the file.
    """
    found = read_attack(Path(folder))
    if found is None:
        raise ValueError(f"{folder} holds no finished evaluation: attack.json is missing. Finish it first")
    return publish(Path(folder) / "report.html", "attack.html", attack_context(found))


def attack_context(folder: AttackFolder) -> dict[str, Any]:
    """The context of the page of one evaluation."""
    summary, parts = folder.summary, suite_parts(folder)
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


def suite_parts(folder: AttackFolder, prefix: str = "attack") -> dict[str, Any]:
    """What a page shows of one evaluation; `prefix`: of the names of its tables and pictures."""
    summary = folder.summary
    name = f"{prefix}_{folder.name}"
    places = decimals(summary.robust.count)
    settings = {row.name: row.settings for row in summary.attacks if row.settings}
    return {
        "title": f"{summary.model.label}, {_under(summary)}, {threat(summary)}",
        "summary": summary,
        "under": _under(summary),
        "threat": threat(summary),
        "places": places,
        "interval": DASH.join(percent(end, places, unit=False) for end in summary.robust.interval),
        "attacks": _attack_table(f"{name}_attacks", summary) if summary.attacks else None,
        "distances": _distance_table(f"{name}_distances", folder),
        "counted": counted(summary),
        "checks": _check_table(f"{name}_checks", summary) if summary.checks else None,
        "radii": plot_radii(f"{name}_radii", summary),
        "transfer": _transfer_table(f"{name}_transfer", summary) if summary.transfer else None,
        "gallery": _gallery(name, folder),
        "settings": settings_table(f"{name}_settings", settings) if settings else None,
    }


def overview(folders: Sequence[AttackFolder]) -> Table:
    """All evaluations of a run, a row each."""
    rows = [
        [
            folder.summary.model.label,
            _under(folder.summary),
            threat(folder.summary),
            accuracy(folder.summary.clean),
            accuracy(folder.summary.robust),
            ", ".join(cell.text for cell in counted(folder.summary)),
        ]
        for folder in folders
    ]
    columns = ["Model", "Attack", "Threat", "Clean", "Worst case", "Checks"]
    return Table("attack_suite", columns, rows, "Evaluations", UNIT, INTERVAL, "accuracy")


def counted(summary: AttackSummary) -> list[Cell]:
    """How many checks passed, and how many did not: 9 passed, 1 warning."""
    counts = Counter(check.status for check in summary.checks)
    return [Cell(f"{counts[status]} {status}", kind=status) for status in _STATUSES if counts[status]]


def _under(summary: AttackSummary) -> str:
    """The attack and its version in words."""
    return f"{label_of(summary.attack)} {summary.version}".rstrip()


def _attack_table(name: str, summary: AttackSummary) -> Table:
    alone = any(row.alone for row in summary.attacks)
    rows = [["no attack", "", "", accuracy(summary.clean), *[""] * (2 + alone)]]
    for row in summary.attacks:
        rows.append(
            [
                label_of(row.name),
                whole(row.attacked),
                whole(row.fooled),
                accuracy(row.cumulative),
                *([accuracy(row.alone)] if alone else []),
                short(row.queries),
                Cell(duration(row.seconds), value=row.seconds),
            ]
        )
    columns = ["Attack", "Attacked", "Fooled", "Still correct", *(["Alone"] if alone else []), "Queries", "Time"]
    return Table(name, columns, rows, "Attacks in their order", UNIT, INTERVAL, "accuracy last")


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
    at = folder.images.row[moved]
    rows = [
        [norm_label(norm), *(Cell(f"{value:.4g}", value=float(value)) for value in np.quantile(distances, (0, 0.5, 1)))]
        for norm in NORMS
        for distances in [folder.examples[f"distance_{norm}"][at]]
    ]
    unit = f"of {exact(len(moved))} fooling images from the clean ones"
    return Table(name, ["Norm", "Smallest", "Median", "Largest"], rows, "Distances", unit)


def _check_table(name: str, summary: AttackSummary) -> Table:
    rows = [
        [f"{check.letter} \u00b7 {check.name}", Cell(check.status, kind=check.status), check.figure, check.advice]
        for check in summary.checks
    ]
    return Table(name, ["Check", "Status", "Figure", "Advice"], rows, kind="checks")


def _transfer_table(name: str, summary: AttackSummary) -> Table:
    rows = [
        [Cell(row.source, kind="code"), row.model, accuracy(row.score), whole(row.score.count)]
        for row in summary.transfer
    ]
    return Table(name, ["Source", "Made for", "Still correct", "Images"], rows, unit=UNIT, below=INTERVAL)


def _gallery(name: str, folder: AttackFolder) -> Gallery | None:
    summary, moved = folder.summary, _moved(folder)[:_SHOWN]
    if not len(moved):
        return None
    at = folder.images.row[moved]
    columns = ("label", "clean_prediction", "adversarial_prediction")
    shown = ExampleImages(
        folder.images.clean[moved], folder.images.images[moved], *(folder.examples[column][at] for column in columns)
    )
    contrast = summary.threat.epsilon if summary.threat.norm == "linf" else None  # other norms bound no single pixel
    return gallery(shown, contrast, summary.dataset.class_names, _SHOWN, name)
