"""Curves: accuracy under attack against the radius, and what training recorded step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from rnas.pages import quantity
from rnas.pages.attacks import Suite
from rnas.pages.canvas import ACCENT, BLUE, BOUNDARY, FAINT, INK, Picture, draw
from rnas.pages.naming import is_random
from rnas.pages.quantity import percent
from rnas.pages.scores import Results, attack_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MODELS = {  # colour, dashes, marker: told apart without colour too
    "student": (BLUE, "-", "o"),
    "teacher": (INK, (0, (5, 2)), "s"),
    "baseline_no_distillation": ("#c46f00", "-", "^"),
    "baseline_plain": ("#a84a8c", (0, (2, 1.5)), "v"),
}
_PUBLISHED = tuple((colour, (0, (1, 1)), marker) for colour, marker in (("#009e73", "D"), ("#8a6d00", "P"), (INK, "X")))
_RANDOM = ("#8a9199", "-", "")

# Title, then (metric, name in the legend, colour); shown where any of the metrics was recorded.
_PANELS = (
    ("Loss", (("loss", "loss", INK),)),
    ("Accuracy, %", (("accuracy", "clean", BLUE), ("adversarial_accuracy", "adversarial", ACCENT))),
    (
        "Classification and KL",
        (("classification", "classification", BLUE), ("kl", "KL to teacher", "#009e73")),
    ),
    ("Attention distance", (("attention", "attention", "#a84a8c"),)),
    ("Losses that move the cells", (("natural_loss", "natural", BLUE), ("adversarial_loss", "adversarial", ACCENT))),
    ("Weight \u03b3* of the natural gradient", (("gamma", "\u03b3*", INK),)),
    ("Cosine of the two gradients", (("cosine", "cosine", INK),)),
    ("Expected cost, millions", (("cost", "cost", "#b07500"), ("macs", "MACs", BLUE))),
    ("Cost factor", (("cost_factor", "cost factor", "#b07500"),)),
    ("Temperature", (("temperature", "temperature", INK),)),
    ("Learning rate", (("learning_rate", "learning rate", INK),)),
)
_UNITS = {"accuracy": 100.0, "adversarial_accuracy": 100.0, "cost": 1e-6, "macs": 1e-6}
_BOUNDS = {"gamma": (0, 1), "cosine": (-1, 1)}
_OPTIONAL = ("kl", "attention", "accuracy")  # a stage without a teacher, or without clean images, records zeros
_CHANCE_SHOWN = 50  # classes; with more of them chance cannot be told from the axis
_LEGEND = 4  # entries a line
_POINTS = 200  # means over this many equal runs of steps are all a small panel can show


def plot_robustness(results: Results) -> Picture | None:
    """Accuracy under attack against the radius, one curve a model; None where no model has a curve."""
    shown = [model for model in results.models.values() if model.curve]
    if not shown:
        return None
    epsilon = results.epsilon
    scale = 255 if results.norm.lower() == "linf" else 1
    looks = _model_looks([model.name for model in shown])
    drawn = [model.name for model in shown if is_random(model.name)]
    lines = -(-(len(shown) - max(0, len(drawn) - 1)) // _LEGEND)  # of the legend
    height = 364 + 36 * lines

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        figure.subplots_adjust(left=0.085, right=0.985, bottom=52 / height, top=1 - (4 + 36 * lines) / height)
        if epsilon is not None:
            axes.axvline(epsilon * scale, color=FAINT, linewidth=0.8, linestyle=(0, (1, 2)))
            last = epsilon > 0.8 * max(model.curve[-1][0] for model in shown)  # no room to the right of it
            axes.annotate(
                f"\u03b5 = {results.radius(epsilon)}",
                (epsilon * scale, 1),
                (-4 if last else 4, -2),
                ha="right" if last else "left",
                color="#6b7177",
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                va="top",
                fontsize=8,
            )
        for model in reversed(shown):  # the student last, on top
            (colour, dashes, marker), random = looks[model.name], model.name in drawn
            x = [point * scale for point, _ in model.curve]
            y = [100 * score.accuracy for _, score in model.curve]
            if not random and all(score.interval for _, score in model.curve):
                bounds = np.array([score.interval for _, score in model.curve]) * 100
                axes.fill_between(x, bounds[:, 0], bounds[:, 1], color=colour, alpha=0.13, linewidth=0)
            axes.plot(
                x,
                y,
                color=colour,
                linestyle=dashes,
                marker=marker,
                markersize=4.5,
                label=model.label if len(drawn) == 1 or not random else _shared_label(model.name, drawn),
                linewidth=2.2 if model.name == "student" else 1.0 if random else 1.5,
                markeredgecolor="white",
                markeredgewidth=0.6,
                clip_on=False,
                zorder=3,
            )
        axes.set_ylim(0, 100)
        axes.set_xlim(left=0)
        axes.set_xlabel("Radius \u03b5 in 255ths of the pixel range" if scale == 255 else "Radius \u03b5")
        axes.set_ylabel("Accuracy, %")
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(
            handles[::-1],
            labels[::-1],
            loc="upper left",
            bbox_to_anchor=(0.07, 1.0),
            ncols=_LEGEND,
            columnspacing=1.6,
            handlelength=2.6,
        )

    said = "; ".join(
        f"{model.label} from {percent(model.curve[0][1].accuracy)} at {results.radius(model.curve[0][0])} "
        f"to {percent(model.curve[-1][1].accuracy)} at {results.radius(model.curve[-1][0])}"
        for model in shown
    )
    return draw("robustness", f"Accuracy under attack against the radius: {said}.", (740, height), paint)


def _model_looks(names: Sequence[str]) -> dict[str, tuple]:
    """Colour, dashes and marker of each model; published cells take turns, random ones look alike."""
    published = cycle(_PUBLISHED)
    return {
        name: _MODELS[name] if name in _MODELS else _RANDOM if is_random(name) else next(published) for name in names
    }


def _shared_label(name: str, drawn: Sequence[str]) -> str | None:
    """One entry of the legend for all random networks."""
    return f"Random networks ({len(drawn)})" if name == drawn[0] else None


def plot_radii(suite: Suite) -> Picture | None:
    """Accuracy over the radius, each attacked on its own, with chance and the suite's figure; None without a curve."""
    if not suite.curve:
        return None
    radii = np.array([epsilon for epsilon, _ in suite.curve])
    curve_attack = attack_label(str(suite.summary["curve"].get("attack", "attack")))
    classes = suite.summary["model"].get("num_classes")

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        figure.subplots_adjust(left=0.085, right=0.975, bottom=0.14, top=0.9)
        x, y = radii, [100 * score.accuracy for _, score in suite.curve]
        if all(score.interval for _, score in suite.curve):
            bounds = np.array([score.interval for _, score in suite.curve]) * 100
            axes.fill_between(x, bounds[:, 0], bounds[:, 1], color=BLUE, alpha=0.13, linewidth=0)
        axes.plot(
            x,
            y,
            color=BLUE,
            marker="o",
            markersize=4.5,
            markeredgecolor="white",
            markeredgewidth=0.6,
            label=curve_attack,
            clip_on=False,
            zorder=3,
        )
        ends = np.abs(np.array(suite.robust.interval or [suite.robust.accuracy] * 2) - suite.robust.accuracy)
        axes.errorbar(
            [suite.epsilon],
            [100 * suite.robust.accuracy],
            yerr=100 * ends[:, None],
            color=ACCENT,
            marker="D",
            markersize=6,
            markeredgecolor="white",
            markeredgewidth=0.6,
            capsize=3,
            linewidth=1.2,
            linestyle="none",
            label=f"{attack_label(suite.attack)}, {suite.threat}",
            clip_on=False,
            zorder=4,
        )
        if classes and classes <= _CHANCE_SHOWN:
            axes.axhline(100 / classes, color="#6b7177", linewidth=1, linestyle=(0, (4, 3)), label="chance")
        positive = x[x > 0]
        if len(positive) and positive[-1] > 16 * positive[0]:  # doubling radii: equal steps, 0 in front of them
            axes.set_xscale("symlog", base=2, linthresh=positive[0], linscale=0.5)
        # The threat's own radius has a mark of its own; its label gives way to that of a close neighbour.
        near = [any(r != own and r > 0 and 1 / 1.4 < own / r < 1.4 for r in radii) for own in radii]
        shown = ~(np.isclose(radii, suite.epsilon) & near)
        axes.set_xticks(x[shown], [quantity.radius(value, suite.norm) for value in radii[shown]])
        axes.minorticks_off()
        axes.set(xlim=(0, max(x[-1], suite.epsilon)), ylim=(0, 100), ylabel="Accuracy, %")
        axes.set_xlabel("Radius \u03b5")
        figure.legend(loc="upper left", bbox_to_anchor=(0.07, 1.0), ncols=3, columnspacing=1.6, handlelength=2.6)

    said = ", ".join(
        f"{percent(score.accuracy)} at {quantity.radius(epsilon, suite.norm)}" for epsilon, score in suite.curve
    )
    alt = f"Accuracy of {suite.label} under {curve_attack} against the radius: {said}."
    return draw(f"attack_{suite.folder}_radii", alt, (740, 360), paint)


def plot_learning(
    stage: str,
    train: Sequence[Mapping[str, Any]],
    validation: Sequence[Mapping[str, Any]],
    mark: float | None = None,
) -> Picture | None:
    """Small panels of one stage's metrics; None where neither split recorded a metric that is shown here.

    Args:
        stage: names the file.
        train, validation: rows in order of step, either may be empty.
        mark: an epoch to mark; left out where epochs were not recorded.
    """
    panels = [
        (title, kept)
        for title, series in _PANELS
        if (kept := [line for line in series if any(_recorded(row, line[0]) for row in (*train, *validation))])
    ]
    if not panels:
        return None
    columns = 2 if len(panels) in (2, 4) else min(3, len(panels))
    rows = -(-len(panels) // columns)
    axis = "epoch" if all("epoch" in row for row in (*train, *validation)) else "step"

    def paint(figure: Figure) -> None:
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True)
        width, height = figure.get_size_inches()
        figure.subplots_adjust(
            left=0.42 / width,
            right=1 - 0.12 / width,
            bottom=0.42 / height,
            top=1 - 0.26 / height,
            wspace=0.24,
            hspace=0.42,
        )
        for place, (axes, (title, series)) in enumerate(zip(grid.flat, panels, strict=False)):
            for metric, label, colour in series:
                both = any(_recorded(row, metric) for row in train)  # then their colour is named once
                _line(axes, train, metric, axis, color=colour, label=label, linewidth=1.1, alpha=0.75)
                _line(
                    axes,
                    validation,
                    metric,
                    axis,
                    color=colour,
                    label=None if both else f"{label}, held out",
                    linewidth=1.4,
                    marker="o",
                    markersize=2.6,
                    linestyle=(0, (3, 1.2)),
                )
            if bounds := next((_BOUNDS[metric] for metric, *_ in series if metric in _BOUNDS), None):
                low, high = bounds
                axes.set_ylim(low - 0.04 * (high - low), high + 0.04 * (high - low))
            else:
                _level(axes)
            if mark is not None and axis == "epoch":
                axes.axvline(mark, **BOUNDARY)
            axes.set_title(title)
            axes.margins(x=0.02)
            if place + columns >= len(panels):  # nothing below it
                axes.set_xlabel(axis)
            if len(series) > 1:
                axes.legend(fontsize=7, handlelength=1.8, borderaxespad=0.1, labelspacing=0.25)
            axes.tick_params(labelbottom=True, labelsize=7.5)
        for axes in grid.flat[len(panels) :]:
            axes.set_axis_off()

    alt = f"Learning curves of stage {stage}: {', '.join(title.split(',')[0].lower() for title, _ in panels)}."
    return draw(f"learning_{stage}", alt, (740, 40 + 180 * rows), paint)


def _recorded(row: Mapping[str, Any], metric: str) -> bool:
    value = row.get(metric)
    return isinstance(value, int | float) and not (metric in _OPTIONAL and value == 0)


def _line(axes: Axes, rows: Sequence[Mapping[str, Any]], metric: str, axis: str, **looks: Any) -> None:
    points = np.array([(row[axis], row[metric]) for row in rows if _recorded(row, metric)], float).reshape(-1, 2)
    if len(points) == 0:
        return
    points[:, 1] *= _UNITS.get(metric, 1.0)
    if len(points) > _POINTS:
        points = np.array([run.mean(axis=0) for run in np.array_split(points, _POINTS)])
    axes.plot(points[:, 0], points[:, 1], **looks)


def _level(axes: Axes) -> None:
    """Draws what never changes at half the height, above zero: else the axis would show how it was rounded."""
    values = np.concatenate([line.get_ydata() for line in axes.lines])
    if values.min() > 0 and np.ptp(values) < 1e-3 * values.max():
        axes.set_ylim(0, 2 * values.max())
