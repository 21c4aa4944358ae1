"""The page of a study: what its arms keep over the seeds, and which differences between them are shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnas.artifacts import architecture, evaluation
from rnas.artifacts.architecture import Architecture, load_architecture
from rnas.artifacts.evaluation import Evaluation
from rnas.artifacts.search_history import read_history
from rnas.artifacts.study_results import FILE, StudyArm, StudyComparison, StudyResults, seed_folder
from rnas.attacks.catalogue import AUTO_ATTACK, label_of
from rnas.pages.canvas import ACCENT, BLUE, COLUMN, INK, QUIET, Picture, draw
from rnas.pages.curves import plot_arms
from rnas.pages.decisions import decisions
from rnas.pages.findings import arm_name, at_headline, chance, ends, findings, is_shown, measured
from rnas.pages.quantity import compact, decimals, exact, norm_label, p_value, percent, points
from rnas.pages.results import HEADLINE_ATTACK, radius_key, spread
from rnas.pages.site import Fold, dotted, publish, say, sections
from rnas.pages.table import DASH, INTERVAL, UNIT, Cell, Table, settings_table, share

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_INTERVAL = INTERVAL.replace(" Wilson", "")
_ROW = 40  # CSS pixels of a comparison in the forest plot, its name above its interval

Names = Mapping[str, str]  # arm -> what it is called on the page


def write_study_page(workdir: str | Path) -> Path:
    """Writes `study.html`, and its tables and figures under `study/`, into the work directory of a study.

    Returns the path of the page. The same files give the same bytes.

    Raises:
        ValueError: a file of the study or of one of its seeds is missing or cannot be read.
        OSError: a file could not be written.
    """
    return publish(Path(workdir) / "study.html", "study.html", study_context(Path(workdir)))


def study_context(workdir: Path) -> dict[str, Any]:
    """The data of the page; see `rnas.pages.site`. Errors as of `write_study_page`."""
    results = StudyResults.read(workdir / FILE)
    folders = {f"seed {seed}": workdir / seed_folder(seed) for seed in results.seeds}
    found = {
        seed: load_architecture(folder / architecture.FILE) if (folder / architecture.FILE).exists() else None
        for seed, folder in folders.items()
    }
    of_first = next(iter(folders.values())) / evaluation.FILE
    protocol = Evaluation.read(of_first) if of_first.exists() else None
    names = {arm.name: arm_name(arm) for arm in results.arms}
    seeds = f"over {len(results.seeds)} seeds" if len(results.seeds) > 1 else "of one seed"
    searched = {
        "decisions": decisions({seed: read_history(folder) for seed, folder in folders.items()}, found),
        "tutors": _tutors(found),
    }
    return {
        "title": f"What {len(results.arms)} arms keep under {measured(results.headline)}, {seeds}",
        "eyebrow": dotted("rnas", "study", results.dataset.get("name")),
        "results": results,
        "lead": " ".join(findings(results)),
        "sections": sections(
            arms=("Accuracy of the arms", _arm_table(results, names)),
            differences=("Differences", _differences(results, names)),
            robustness=("Against the radius", plot_arms(results, names)),
            search=("The search, epoch by epoch", searched if any(searched.values()) else None),
            setting=("Setting", _setting(results, protocol, folders)),
        ),
    }


def _arm_table(results: StudyResults, names: Names) -> Table:
    """A row an arm, the teacher last: size and accuracies, means over the seeds with their range."""
    radii = sorted(results.epsilons, key=radius_key)
    attacks = {f"{attack}@{radius}": (attack, radius) for attack in (HEADLINE_ATTACK, AUTO_ATTACK) for radius in radii}
    measurements = [name for name in attacks if any(name in arm.accuracies for arm in results.arms)]
    places = decimals(results.images)

    def over_seeds(accuracies: Iterable[float]) -> Cell:
        found = spread(accuracies)
        if found is None:
            return Cell()
        span = DASH.join(percent(end, places, unit=False) for end in (found.low, found.high))
        return share(found.mean, places, span if found.size > 1 else "", "strong")

    def accuracy(name: str) -> Callable[[StudyArm], Cell]:
        return lambda arm: over_seeds(arm.accuracies.get(name, ()))

    def params(arm: StudyArm) -> Cell:
        found = spread(arm.params)
        if found is None:
            return Cell()
        span = DASH.join(map(compact, (found.low, found.high))) if found.low < found.high else ""
        return Cell(compact(found.mean), span, found.mean)

    columns: dict[Any, Callable[[StudyArm], Any]] = {
        "Arm": lambda arm: names[arm.name],
        "Parameters": params,
        "Clean": accuracy("clean"),
    }
    counted = {row.measurement: row.images for row in results.comparisons}  # AutoAttack may judge fewer images
    for name in measurements:
        attack, radius = attacks[name]
        images = counted.get(name, results.images)
        of = "" if images == results.images else f", {exact(images)} images"
        columns[Cell(label_of(attack), f"\u03b5 = {radius}{of}")] = accuracy(name)
    if any(arm.corruptions for arm in results.arms):
        columns[Cell("Corruptions", "mean")] = lambda arm: over_seeds(arm.corruptions or ())
    rows = sorted(results.arms, key=lambda arm: arm.kind == "teacher")
    caption, below = "Arms, mean over seeds" if len(results.seeds) > 1 else "Arms", "lowest and the highest seed"
    return Table.of("arms", rows, columns, caption, UNIT, below, "accuracy first")


def _differences(results: StudyResults, names: Names) -> dict[str, Any] | None:
    """All comparisons, those of the headline as a plot too."""
    rows = at_headline(results)
    groups: dict[str, list[StudyComparison]] = {results.headline: rows} if rows else {}
    for row in results.comparisons:
        if row.measurement != results.headline:
            groups.setdefault(row.measurement, []).append(row)
    if not groups:
        return None
    tables = {name: _comparison_table(name, of, names) for name, of in groups.items()}
    return {
        "forest": _plot_forest(results, names) if rows else None,
        "tables": [Fold(measured(name), table, name == results.headline) for name, table in tables.items()],
        "corrected": max(map(len, groups.values())),
    }


def _comparison_table(measurement: str, rows: Sequence[StudyComparison], names: Names) -> Table:
    """A row a comparison; bold where the difference is shown."""
    methods = dict.fromkeys(row.method for row in rows)
    columns: dict[str, Callable[[StudyComparison], Any]] = {
        "Arm": lambda row: names[row.arm],
        "Reference": lambda row: names[row.reference],
        "Difference": lambda row: Cell(
            points(row.difference), ends(row.interval), 100 * row.difference, kind="strong" if is_shown(row) else ""
        ),
        "Bootstrap": lambda row: ends(row.bootstrap).replace(" ", "\u202f"),
        "p": lambda row: Cell(p_value(row.p_value), value=row.p_value),
        "p, Holm": lambda row: Cell(p_value(row.p_adjusted), value=row.p_adjusted),
        "Same sign": lambda row: "" if row.seeds == 1 else "yes" if row.same_sign else "no",
        "Right alone": lambda row: share(row.first_only),
        "Reference right alone": lambda row: share(row.second_only),
        **({"Method": lambda row: row.method} if len(methods) > 1 else {}),
    }
    name = f"comparisons_{measurement.replace('@', '_').replace('/', '_')}"
    unit = dotted(
        f"{exact(rows[0].images)} images",
        "difference in points",
        "images in %",
        "" if len(methods) > 1 else next(iter(methods)),
    )
    return Table.of(name, rows, columns, "", unit, _INTERVAL)


def _plot_forest(results: StudyResults, names: Names) -> Picture:
    """Differences at the headline with their intervals, a row a comparison; those that are not shown are grey."""
    rows = at_headline(results)
    labels = [f"{names[row.arm]} \u2212 {names[row.reference]}" for row in rows]
    words = [f"{'shown' if is_shown(row) else 'open'}, {chance(row.p_adjusted)}" for row in rows]
    where = measured(results.headline)

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        axes.axvline(0, color=INK, linewidth=0.8, zorder=1)
        for place, (row, label, word) in enumerate(zip(rows, labels, words, strict=True)):
            colour = (BLUE if row.difference > 0 else ACCENT) if is_shown(row) else QUIET
            figures = [100 * figure for figure in (row.difference, *row.interval)]
            axes.plot(figures[1:], [place, place], color=colour, linewidth=1.6)
            axes.plot(figures[:1], [place], color=colour, marker="o", markersize=5)
            at: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "fontsize": 8}
            # On white, so that the grid and the line at 0 do not run through the words.
            behind = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
            axes.annotate(label, (0, place), xytext=(0, 8), color=INK if is_shown(row) else QUIET, bbox=behind, **at)
            axes.annotate(word, (1, place), xytext=(8, 0), va="center", color=colour, **at)
        axes.set_ylim(len(rows) - 0.5, -0.75)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(f"Difference in points under {where}, with its 95 % interval")

    figures = [(points(row.difference), ends(row.interval)) for row in rows]
    lines = [(label, *figure, word) for label, figure, word in zip(labels, figures, words, strict=True)]
    width = min(max(560.0, 130 + 5.8 * max(map(len, labels))), COLUMN)
    # A wide one is not shrunk: its names would become too small to read.
    return draw("differences", say("forest", where, lines), (width, 60 + _ROW * len(rows)), paint, width > 600)


def _tutors(found: Mapping[str, Architecture | None]) -> dict[str, Any] | None:
    """How many student layers have the same tutor in all seeds; None where there is nothing to compare."""
    known = {seed: one for seed, one in found.items() if one and one.tutor_assignment.tutors}
    taps = {one.taps for one in known.values()}
    if len(known) < 2 or len(taps) > 1:
        return None
    rows = list(zip(*taps, *(one.tutor_assignment.tutors for one in known.values()), strict=True))
    table = Table("tutors_of_seeds", ["Student layer", *known], rows)
    same = sum(len(set(tutors)) == 1 for _, *tutors in rows)
    return {"same": same, "layers": len(rows), "seeds": len(known), "table": Fold("Tutors in every seed", table)}


def _setting(results: StudyResults, protocol: Evaluation | None, folders: Mapping[str, Path]) -> dict[str, Any]:
    """What was measured and how; `protocol` is the evaluation of the first seed."""
    student = protocol and protocol.student
    attack = student.attacks.get(HEADLINE_ATTACK) if student else None
    reports = {seed: f"{folder.name}/report.html" for seed, folder in folders.items()}
    return {
        "norm": norm_label(protocol.threat_model) if protocol else "",
        "restarts": attack.settings.get("restarts") if attack else None,
        "radii": ", ".join(sorted(results.epsilons, key=radius_key)),
        "curve_attack": label_of(student.curve.attack) if student and student.curve else "",
        "methods": list(dict.fromkeys(row.method for row in results.comparisons)),
        "reports": {seed: at if (folders[seed] / "report.html").exists() else "" for seed, at in reports.items()},
        "dataset": Fold("Data", settings_table("data", results.dataset)),
    }
