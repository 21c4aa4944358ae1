"""Curves: accuracy under attack against the radius, what training recorded, and how a cell search decided."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
import math
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from rnas.artifacts.attack import AttackSummary
from rnas.artifacts.metrics import MetricsRow
from rnas.artifacts.scores import Score
from rnas.artifacts.study_results import StudyResults
from rnas.attacks.catalogue import label_of
from rnas.pages.canvas import ACCENT, BLUE, BOUNDARY, DOTS, FAINT, GREEN, INK, OLIVE, PURPLE, QUIET, Picture, draw
from rnas.pages.cells import Graph, empty_graph, look
from rnas.pages.quantity import number_of, radius
from rnas.pages.results import Results, radius_key, short_label, threat
from rnas.pages.site import say
from rnas.spaces.cell_space import EdgeSpace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SYMBOL = {"markersize": 4.5, "markeredgecolor": "white", "markeredgewidth": 0.6, "clip_on": False, "zorder": 3}


_KINDS = {  # of models -> colour, dashes, marker: told apart without colour too
    "student": (BLUE, "-", "o"),
    "student_last": (BLUE, (0, (1, 1)), "o"),
    "teacher": (INK, (0, (5, 2)), "s"),
    "no_distillation": ("#c46f00", "-", "^"),
    "plain": (PURPLE, (0, (2, 1.5)), "v"),
    "random": ("#8a9199", "-", ""),
}
_OTHERS = tuple(  # take turns
    (colour, dashes, marker)
    for dashes in ((0, (1, 1)), (0, (4, 1.2)), (0, (6, 1, 1, 1)))
    for colour, marker in ((GREEN, "D"), (OLIVE, "P"), (INK, "X"))
)
_COLUMNS = 4  # entries a line of the legend, half of them where one is not short
_SHORT = 28  # letters
_LANDMARKS = ("student", "teacher", "no_distillation", "plain")  # kinds
_TOLD_APART = 8  # curves
_CHANCE_SHOWN = 50  # classes; with more of them chance cannot be told from the axis


def plot_robustness(results: Results) -> Picture | None:
    """Accuracy under attack against the radius, one curve a model; None where no model has a curve."""
    shown = {name: model for name, model in results.models.items() if model.curve}
    if not shown:
        return None
    looks = _looks({name: model.kind for name, model in shown.items()})
    random = [name for name, model in shown.items() if model.kind == "random"]
    names = {name: short_label(model.label) for name, model in shown.items()}
    columns = _columns(names.values())
    lines = -(-(len(shown) - max(0, len(random) - 1)) // columns)  # of the legend
    epsilon = results.epsilon
    marks = {} if epsilon is None else {epsilon: f"\u03b5 = {results.radius(epsilon)}"}
    scale = 255 if results.radius(epsilon).endswith("/255") else 1

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        for name, model in reversed(shown.items()):  # the student last, on top
            label = names[name]
            if len(random) > 1 and name in random:  # one entry of the legend for all
                label = f"Random networks ({len(random)})" if name == random[0] else None
            width = 2.2 if name == "student" else 1.0 if name in random else 1.5
            line = {**looks[name], "linewidth": width, "label": label}
            _curve(axes, _scores(model.curve.points), scale, band=name not in random, **line)
        _against_radius(figure, axes, scale, marks, columns)

    return draw("robustness", say("robustness", results, shown), (740, 360 + 18 * lines), paint)


def plot_arms(results: StudyResults, names: Mapping[str, str]) -> Picture | None:
    """Mean accuracy of every arm against the radius, with the range of its seeds; None where no arm has a curve.

    Eight curves can be told apart. Of more arms those are coloured that others are compared with: student, teacher and
    the two plainest baselines, then the arms of most comparisons. The others are thin and grey.

    Args:
        names: arm -> what it is called on the page.
    """
    arms = {arm.name: arm for arm in results.arms if arm.curve}
    if not arms:
        return None
    compared = Counter(name for row in results.comparisons for name in (row.arm, row.reference))
    first = sorted(arms, key=lambda name: (arms[name].kind not in _LANDMARKS, -compared[name]))[:_TOLD_APART]
    looks = _looks({name: arm.kind if arm.kind in _LANDMARKS else "" for name, arm in arms.items() if name in first})
    others = [name for name in arms if name not in looks]
    points = {
        name: sorted((number_of(at), fmean(shares), min(shares), max(shares)) for at, shares in arm.curve.items())
        for name, arm in arms.items()
    }
    marks = {radius_key(results.epsilons[0]): f"\u03b5 = {results.epsilons[0]}"}
    marks.setdefault(radius_key(results.training_epsilon), f"trained at {radius(results.training_epsilon)}")
    scale = 255 if results.epsilons[0].endswith("/255") else 1
    columns = _columns([names[name] for name in looks])
    lines = -(-(len(looks) + bool(others)) // columns)  # of the legend

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        for name in others:
            label = f"{len(others)} other arms" if name == others[0] else None
            _curve(axes, points[name], scale, band=False, color=FAINT, linewidth=0.7, label=label)
        for name in reversed(looks):  # the student last, on top
            line = {**looks[name], "linewidth": 2.2 if name == "student" else 1.5, "label": names[name]}
            _curve(axes, points[name], scale, **line)
        _against_radius(figure, axes, scale, marks, columns)

    return draw("robustness", say("arms", points, names), (740, 360 + 18 * lines), paint)


def _columns(names: Iterable[str]) -> int:
    """Entries a line of the legend of these names."""
    return _COLUMNS if max(map(len, names)) <= _SHORT else _COLUMNS // 2


def _looks(kinds: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Model -> colour, dashes and marker of its curve."""
    others = cycle(_OTHERS)
    found = {name: _KINDS.get(kind) or next(others) for name, kind in kinds.items()}
    return {name: dict(zip(("color", "linestyle", "marker"), look, strict=True)) for name, look in found.items()}


def _against_radius(figure: Figure, axes: Axes, scale: float, marks: Mapping[float, str], columns: int) -> None:
    """Axes of accuracy against the radius, with radii marked in words, and a legend in the order of importance."""
    axes.set(ylim=(0, 100), ylabel="Accuracy, %")
    axes.set_xlim(left=0)
    axes.set_xlabel("Radius \u03b5" + (" in 255ths of the pixel range" if scale == 255 else ", pixels in [0, 1]"))
    for epsilon, words in marks.items():
        x = epsilon * scale
        axes.set_xlim(right=max(x, axes.get_xlim()[1]))  # wherever the curves end
        axes.axvline(x, color=FAINT, linewidth=0.8, linestyle=DOTS)
        end = x > 0.8 * axes.get_xlim()[1]
        place: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "va": "top"}
        place |= {"xytext": (-4 if end else 4, -2), "ha": "right" if end else "left"}
        axes.annotate(words, (x, 1), color=QUIET, fontsize=8, **place)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], ncols=columns, loc="outside upper left")


def plot_radii(name: str, summary: AttackSummary) -> Picture | None:
    """Accuracy over the radius, each attacked on its own, with chance and the worst case; None without a curve."""
    points = summary.curve.points
    if not points:
        return None
    radii = np.array([epsilon for epsilon, _ in points])
    classes, robust = summary.model.num_classes, summary.robust

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        _curve(axes, _scores(points), 1, color=BLUE, marker="o", label=label_of(summary.curve.attack))
        ends = np.abs(np.array(robust.interval) - robust.accuracy)
        diamond = {**_SYMBOL, "color": ACCENT, "marker": "D", "markersize": 6, "capsize": 3, "zorder": 4}
        diamond |= {"linewidth": 1.2, "linestyle": "none", "label": f"{label_of(summary.attack)}, {threat(summary)}"}
        axes.errorbar([summary.threat.epsilon], [100 * robust.accuracy], yerr=100 * ends[:, None], **diamond)
        if classes <= _CHANCE_SHOWN:
            axes.axhline(100 / classes, color=QUIET, linewidth=1, linestyle=(0, (4, 3)), label="chance")
        positive = radii[radii > 0]
        if len(positive) and positive[-1] > 16 * positive[0]:  # doubling radii: equal steps, 0 in front of them
            axes.set_xscale("symlog", base=2, linthresh=positive[0], linscale=0.5)
        # The threat's own radius has a mark of its own; its label gives way to that of a close neighbour.
        near = [any(r != own and r > 0 and 1 / 1.4 < own / r < 1.4 for r in radii) for own in radii]
        shown = ~(np.isclose(radii, summary.threat.epsilon) & near)
        axes.set_xticks(radii[shown], [radius(value, summary.threat.norm) for value in radii[shown]])
        axes.minorticks_off()
        span, top = (0, max(radii[-1], summary.threat.epsilon)), (0, 100)
        axes.set(xlim=span, ylim=top, ylabel="Accuracy, %", xlabel="Radius \u03b5")
        figure.legend(ncols=3, loc="outside upper left")

    return draw(name, say("radii", summary), (740, 360), paint)


def _scores(points: Sequence[tuple[float, Score]]) -> list[tuple[float, ...]]:
    """Radius, accuracy, and the ends of its interval."""
    return [(epsilon, score.accuracy, *score.interval) for epsilon, score in points]


def _curve(axes: Axes, points: Sequence[tuple[float, ...]], scale: float, band: bool = True, **line: Any) -> None:
    """A line with markers through (radius, accuracy, low, high), and from low to high a band behind it."""
    x, *shares = np.array(points).T
    y, low, high = 100 * np.array(shares)
    if band:
        axes.fill_between(scale * x, low, high, color=line["color"], alpha=0.13, linewidth=0)
    axes.plot(scale * x, y, **{**_SYMBOL, **line})


# Title, then (metric, name in the legend, colour); shown where any of the metrics was recorded.
_PANELS = (
    ("Loss", (("loss", "loss", INK),)),
    ("Accuracy, %", (("accuracy", "clean", BLUE), ("adversarial_accuracy", "adversarial", ACCENT))),
    ("Classification and KL", (("classification", "classification", BLUE), ("kl", "KL to teacher", GREEN))),
    ("Attention distance", (("attention", "attention", PURPLE),)),
    ("Losses that move the cells", (("natural_loss", "natural", BLUE), ("adversarial_loss", "adversarial", ACCENT))),
    ("Weight \u03b3* of the natural gradient", (("gamma", "\u03b3*", INK),)),
    ("Cosine of the two gradients", (("cosine", "cosine", INK),)),
    ("Expected cost, millions", (("cost", "cost", "#b07500"), ("macs", "MACs", BLUE))),
    ("Cost factor", (("cost_factor", "cost factor", "#b07500"),)),
    ("Temperature", (("temperature", "temperature", INK),)),
    ("Learning rate", (("learning_rate", "learning rate", INK),)),
)
_UNITS = {"accuracy": 100.0, "adversarial_accuracy": 100.0, "cost": 1e-6, "macs": 1e-6}
_BOUNDS = {"gamma": (-0.04, 1.04), "cosine": (-1.08, 1.08)}
_OPTIONAL = ("kl", "attention", "accuracy")  # a stage without a teacher, or without clean images, records zeros
_POINTS = 200  # means over this many equal runs of steps are all a small panel can show

Rows = Sequence[MetricsRow]


def plot_learning(stage: str, train: Rows, validation: Rows, mark: float | None = None) -> Picture | None:
    """Small panels of one stage's metrics, `mark` an epoch in them; None where nothing was recorded that is shown."""
    series = {metric: (_points(train, metric), _points(validation, metric)) for _, of in _PANELS for metric, *_ in of}
    recorded = {metric for metric, splits in series.items() if any(map(len, splits))}
    panels = [(title, kept) for title, of in _PANELS if (kept := [line for line in of if line[0] in recorded])]
    if not panels:
        return None
    columns = 2 if len(panels) in (2, 4) else min(3, len(panels))
    rows = -(-len(panels) // columns)

    def paint(figure: Figure) -> None:
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
        held_out = {"linewidth": 1.4, "marker": "o", "markersize": 2.6, "linestyle": (0, (3, 1.2))}
        for place, (axes, (title, lines)) in enumerate(zip(grid, panels, strict=False)):
            for metric, label, colour in lines:
                trained, validated = series[metric]
                if len(trained):
                    axes.plot(*trained.T, color=colour, label=label, linewidth=1.1, alpha=0.75)
                if len(validated):
                    other = None if len(trained) else f"{label}, held out"  # the colour of both is named once
                    axes.plot(*validated.T, color=colour, label=other, **held_out)
            values = np.concatenate([line.get_ydata() for line in axes.lines])
            if bounds := _BOUNDS.get(lines[0][0]):
                axes.set_ylim(bounds)
            elif values.min() > 0 and np.ptp(values) < 1e-3 * values.max():
                axes.set_ylim(0, 2 * values.max())  # what never changes: else the axis would show how it was rounded
            if mark is not None:
                axes.axvline(mark, **BOUNDARY)
            axes.set_title(title)
            axes.margins(x=0.02)
            if place + columns >= len(panels):  # nothing below it
                axes.set_xlabel("epoch")
            if len(lines) > 1:
                axes.legend(fontsize=7, handlelength=1.8, borderaxespad=0.1, labelspacing=0.25)
            axes.tick_params(labelbottom=True, labelsize=7.5)
        for axes in grid[len(panels) :]:
            axes.set_axis_off()

    alt = f"Learning curves of stage {stage}: {', '.join(title.split(',')[0].lower() for title, _ in panels)}."
    return draw(f"learning_{stage}", alt, (740, 40 + 180 * rows), paint)


def _points(rows: Rows, metric: str) -> np.ndarray:
    """Epochs and values [n, 2] of the rows that recorded a metric, in the unit of its panel."""
    found = [(row.epoch, value) for row in rows if isinstance(value := row.values.get(metric), int | float)]
    points = np.array([pair for pair in found if pair[1] != 0 or metric not in _OPTIONAL], float).reshape(-1, 2)
    points[:, 1] *= _UNITS.get(metric, 1.0)
    if len(points) > _POINTS:
        points = np.array([run.mean(axis=0) for run in np.array_split(points, _POINTS)])
    return points


def uncertainty(probabilities: np.ndarray) -> np.ndarray:
    """Entropy over that of a uniform choice, mean over choices: 1 undecided, 0 decided. [T, choices, options] -> [T]"""
    safe = np.clip(probabilities, 1e-12, 1)
    entropy = -(safe * np.log(safe)).sum(axis=-1).mean(axis=-1)
    return entropy / math.log(max(2, probabilities.shape[-1]))


_SECOND = ("max_pool_3x3", "sep_conv_5x5", "dil_conv_5x5")  # of two of a colour: dashed


@dataclass(frozen=True)
class Choices:
    """The softmax over operations on the edges of one type of cell while the search ran.

    Attributes:
        graph: states of the type.
        epochs: [T].
        operations: names [O].
        probabilities: [T, E, O], of the E edges of the type, node by node, sources ascending.
    """

    graph: Graph
    epochs: np.ndarray
    operations: tuple[str, ...]
    probabilities: np.ndarray

    @property
    def uncertainty(self) -> np.ndarray:
        """Of `uncertainty`, the mean over edges. [T]."""
        return uncertainty(self.probabilities)


def read_choices(rows: Rows, space: EdgeSpace | None) -> dict[str, Choices]:
    """Type -> what rows of metrics.jsonl with keys `type/edge/operation` recorded of it; empty without rows.

    Raises:
        ValueError: a row lacks what the others have, or an edge or operation is not of the space of the search.
    """
    epochs = np.array([row.epoch for row in rows], float)
    recorded = dict.fromkeys(key for row in rows for key in row.values if key.count("/") == 2)
    found = {}
    for kind in space.types if space else ():
        # A space may offer `none`, which a search need not weigh.
        operations = tuple(name for name in space.operations if f"{kind}/0/{name}" in recorded)
        keys = [f"{kind}/{edge}/{name}" for edge in range(len(space.edges)) for name in operations]
        for row in rows:
            if absent := [key for key in keys if not isinstance(row.values.get(key), int | float)]:
                raise ValueError(f"metrics.jsonl: step {row.step} lacks the probabilities {', '.join(absent[:3])}")
        if keys:
            values = np.array([[row.values[key] for key in keys] for row in rows], float)
            shaped = values.reshape(len(rows), len(space.edges), len(operations))
            found[kind] = Choices(empty_graph(space, kind), epochs, operations, shaped)
        recorded = {key: None for key in recorded if key not in set(keys)}
    if recorded:
        where = f"space {space.name}" if space else "any known space of cells"
        first = next(iter(recorded))
        raise ValueError(f"metrics.jsonl: probability {first!r} is of no type, edge and operation of {where}")
    return found


def plot_choices(choices: Choices, kept: Graph | None, mark: float | None = None) -> Picture:
    """A panel an edge, nodes down and sources across; edges of the cell that was kept are tinted and named."""
    graph = choices.graph
    pairs = [(node, source) for node in graph.nodes for source in range(node)]
    columns, rows = max(graph.nodes), len(graph.nodes)
    chosen = {(edge.node, edge.source): edge.operation for edge in (kept.edges if kept else ())}
    top = float(np.nanmax(choices.probabilities)) * 100

    def paint(figure: Figure) -> None:
        grid, thin = figure.add_gridspec(rows, columns), {"linewidth": 1.0, "zorder": 2}

        def panel(place: Any, title: str, curves: Sequence[tuple[np.ndarray, Any]], left: bool, lowest: bool) -> Axes:
            axes = figure.add_subplot(place)
            axes.set_title(title, fontsize=7.5, pad=3, fontweight="normal")
            for values, looks in curves:
                axes.plot(choices.epochs, values, **looks)
            if mark is not None:
                axes.axvline(mark, **BOUNDARY)
            axes.set_xlim(choices.epochs[0], max(choices.epochs[-1], choices.epochs[0] + 1))
            axes.locator_params(nbins=4)
            axes.tick_params(labelsize=6.5, labelleft=left, labelbottom=lowest, length=2, pad=2)
            if lowest:
                axes.set_xlabel("epoch", fontsize=7, labelpad=1)
            return axes

        for number, (node, source) in enumerate(pairs):
            operation = chosen.get((node, source))
            widths = [{"linewidth": 2.4, "zorder": 3} if name == operation else thin for name in choices.operations]
            looks = [width | _line_look(name) for width, name in zip(widths, choices.operations, strict=True)]
            curves = list(zip(100 * choices.probabilities[:, number].T, looks, strict=True))
            way = f"{graph.formula(source)} \u2192 {node}" + (f": {look(operation)[0]}" if operation else "")
            axes = panel(grid[graph.nodes.index(node), source], way, curves, source == 0, node == graph.nodes[-1])
            axes.set_ylim(0, 1.06 * top)
            if operation:
                axes.set_facecolor("#fff3d6")
        corner = figure.add_subplot(grid[0, columns - 2 :])
        corner.set_axis_off()
        for name in choices.operations:
            corner.plot([], [], label=look(name)[0], **_line_look(name))
        corner.legend(loc="upper right", ncols=2, fontsize=7.5, borderaxespad=0).set_in_layout(False)
        undecided = [(choices.uncertainty, {"color": INK, "linewidth": 1.4})]
        axes = panel(grid[1, columns - 1], "undecided, 1 = uniform", undecided, True, True)
        axes.set(ylim=(0, 1.05), yticks=(0, 1))

    size = (56 + 138 * columns, 48 + 110 * rows)
    return draw(f"choices_{graph.kind}", say("choices", choices, kept, pairs), size, paint)


def _line_look(operation: str) -> dict[str, Any]:
    _, colour, dashes = look(operation)
    return {"color": colour, "linestyle": (0, (3.2, 1.4)) if operation in _SECOND else dashes}
