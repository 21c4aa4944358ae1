"""The tables of the page, as HTML."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rnas.pages.cells import Edge, layout
from rnas.pages.drawing import maximum
from rnas.pages.markup import Markup, element, markup
from rnas.pages.quantity import compact, decimals, duration, exact, percent
from rnas.pages.record import STAGES, Record
from rnas.pages.scores import Results, Score, Spread, accuracy_of, attack_label, spread

UNITS = "accuracy in %, below it the 95\u202f% Wilson interval"
NONE = Markup('<span class="none">\u2013</span>')


def table(head: Sequence[Any], rows: Iterable[Sequence[Any]], caption: Any = None, kind: str = "") -> Markup:
    """A table whose first column names its rows; it scrolls by itself where the page is too narrow."""
    body = [
        element("tr", element("th", first, scope="row"), [element("td", cell) for cell in rest])
        for first, *rest in rows
    ]
    return element(
        "div",
        element(
            "table",
            element("caption", caption) if caption else None,
            element("thead", element("tr", [element("th", cell, scope="col") for cell in head])),
            element("tbody", body),
            class_=kind or None,
        ),
        class_="scroll",
    )


def accuracy_tables(results: Results) -> list[Markup]:
    """One table per radius evaluated, a row per model; without any attack one table of clean accuracy."""
    radii = list(dict.fromkeys(epsilon for model in results.models.values() for epsilon in model.attacks))
    return [_accuracy_table(results, epsilon) for epsilon in radii or [None]]


def _accuracy_table(results: Results, epsilon: float | None) -> Markup:
    models = results.models.values()
    attacks = list(dict.fromkeys(name for model in models for name in model.attacks.get(epsilon, {})))
    head = [
        "Model",
        "Parameters",
        "MACs",
        "Clean",
        *(_attack_head(results, epsilon, name) for name in attacks),
    ]
    rows = [
        [
            model.label,
            count(model.params),
            count(model.macs),
            accuracy(model.clean),
            *(accuracy(model.at(epsilon, name), model.clean and model.clean.count) for name in attacks),
        ]
        for model in models
    ]
    if len(results.random) > 1:
        beside_own = 1 if "student" in results.models else 0
        rows.insert(beside_own, _mean_row(results, epsilon, attacks))
    title = "Clean" if epsilon is None else f"\u03b5 = {results.radius(epsilon)}"
    return table(head, rows, [title, element("small", UNITS)], "accuracy")


def _mean_row(results: Results, epsilon: float | None, attacks: Iterable[str]) -> list[Any]:
    """Mean of the random networks, its standard deviation below."""
    models = results.random
    shares = [
        [accuracy_of(model.clean) for model in models],
        *([accuracy_of(model.at(epsilon, name)) for model in models] for name in attacks),
    ]
    sizes = [spread(size) for size in ([model.params for model in models], [model.macs for model in models])]
    return [
        [f"Random networks, mean of {len(models)}", element("small", "\u00b1 standard deviation")],
        *(NONE if size is None else _mean(size, compact) for size in sizes),
        *(
            NONE if share is None else _mean(share, lambda value: percent(value, unit=False))
            for share in map(spread, shares)
        ),
    ]


def _mean(values: Spread, words: Callable[[float], str]) -> Markup:
    return markup([element("b", words(values.mean)), element("small", f"\u00b1 {words(values.deviation)}")])


def _attack_head(results: Results, epsilon: float, name: str) -> list[Markup | str | None]:
    settings = next(score.settings for model in results.models.values() if (score := model.at(epsilon, name)))
    step = settings.get("step_size")
    return [_attack_name(name, settings), None if step is None else element("small", f"step {results.radius(step)}")]


def _attack_name(name: str, settings: Mapping[str, Any]) -> Markup:
    version = settings.get("version")
    return markup([attack_label(name), element("small", version) if version else None])


def accuracy(score: Score | None, images: int | None = None) -> Markup:
    """An accuracy in %, its interval below, its count where that is not `images`; a dash where there is none."""
    if score is None:
        return NONE
    places = decimals(score.count)
    cell = [element("b", percent(score.accuracy, places, unit=False))]
    if score.interval:
        cell.append(element("small", "\u2013".join(percent(end, places, unit=False) for end in score.interval)))
    if None not in (images, score.count) and score.count != images:
        cell.append(element("small", f"of {exact(score.count)}"))
    return Markup("".join(cell))


def count(number: int | None) -> Markup:
    """A count in three figures, in full where the pointer rests; a dash where there is none."""
    return NONE if number is None else element("span", compact(number), title=exact(number))


def attack_table(results: Results) -> Markup:
    """How each accuracy of the student was measured: every attack at every radius."""
    rows = []
    for epsilon, attacks in results.models["student"].attacks.items():
        for name, score in attacks.items():
            step, *rest = (score.settings.get(key) for key in ("step_size", "steps", "restarts", "start", "loss"))
            images = None if score.count is None else exact(score.count)
            cells = [None if step is None else results.radius(step), *rest, images]
            rows.append([_attack_name(name, score.settings), results.radius(epsilon), *map(_text_or_none, cells)])
    return table(["Attack", "\u03b5", "Step", "Steps", "Restarts", "Start", "Loss", "Images"], rows)


def _text_or_none(value: Any) -> Markup | str:
    return NONE if value is None else str(value)


def block_table(architecture: Mapping[str, Any]) -> Markup:
    """Every block with what it kept and how sure the search was of each option."""
    blocks = architecture["blocks"]
    odds = architecture.get("width_probabilities") or [[]] * len(blocks)
    rows = [
        [
            block.get("name", f"block{i}"),
            *(_text_or_none(block.get(key)) for key in ("stage", "resolution", "stride", "expansion")),
            f"{block['width']} of {maximum(block)}",
            ", ".join(f"{width}: {p:.2f}" for width, p in zip(block.get("options", []), odds[i], strict=False)) or NONE,
        ]
        for i, block in enumerate(blocks)
    ]
    head = [
        "Block",
        "Stage",
        "Resolution",
        "Stride",
        "Expansion",
        "Channels kept",
        "Probability of each width",
    ]
    return table(head, rows)


def cell_table(cells: Mapping[str, Sequence[Edge]]) -> Markup:
    """What leads into every node: operation and where it comes from, of two a node the stronger first."""
    (nodes,) = {layout(kind).nodes for kind in cells}
    rows = [
        [
            kind,
            *(
                [
                    [element("br") if place else None, edge.short, " from ", state(edge.source, edge.inputs)]
                    for place, edge in pairs
                ]
                for pairs in (list(enumerate(edge for edge in edges if edge.node == node)) for node in nodes)
            ),
        ]
        for kind, edges in cells.items()
    ]
    return table(["Cell", *(f"Node {node}" for node in nodes)], rows)


def state(number: int, inputs: int = 2) -> Markup:
    """A state of a cell: two inputs by the cell they come from, all else by its number."""
    return markup([element("i", "c"), element("sub", f"k\u2212{2 - number}")] if number < inputs == 2 else number)


def tutor_table(architecture: Mapping[str, Any]) -> Markup:
    """The tutor of every student layer and its probability."""
    teacher = architecture["teacher_taps"]
    odds = architecture.get("tutor_probabilities")
    rows = [
        [layer, tutor, f"{odds[i][teacher.index(tutor)]:.3f}" if odds else NONE]
        for i, (layer, tutor) in enumerate(zip(architecture["student_taps"], architecture["tutors"], strict=True))
    ]
    return table(["Student layer", "Tutor", "Probability"], rows)


def stage_table(record: Record) -> Markup:
    """Every stage with its status, steps and wall time."""
    stages = record.run.get("stages", {})
    rows = []
    for name in dict.fromkeys((*STAGES, *stages)):
        steps, seconds = (stages.get(name, {}).get(key) for key in ("steps", "seconds"))
        rows.append(
            [
                name,
                record.status(name),
                NONE if steps is None else exact(steps),
                NONE if seconds is None else duration(seconds),
            ]
        )
    spent = sum(stage.get("seconds") or 0 for stage in stages.values())
    return table(["Stage", "Status", "Steps", "Wall time"], [*rows, ["total", "", "", duration(spent)]])


def setting_table(settings: Mapping[str, Any], head: tuple[str, str] = ("Key", "Value")) -> Markup:
    """A nested mapping as dotted keys and their values."""
    return table(head, [[key, element("code", value)] for key, value in flat(settings)])


def flat(settings: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    """Dotted keys and values, as text."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)
