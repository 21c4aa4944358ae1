"""The tables of the page, as HTML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rnas.report.drawing import maximum
from rnas.report.markup import Markup, element, markup
from rnas.report.quantity import compact, decimals, duration, exact, percent
from rnas.report.record import STAGES, Record
from rnas.report.scores import Results, Score, attack_label

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
            _count(model.params),
            _count(model.macs),
            accuracy(model.clean),
            *(accuracy(model.at(epsilon, name)) for name in attacks),
        ]
        for model in models
    ]
    title = "Clean" if epsilon is None else f"\u03b5 = {results.radius(epsilon)}"
    return table(head, rows, [title, element("small", UNITS)], "accuracy")


def _attack_head(results: Results, epsilon: float, name: str) -> list[Markup | str | None]:
    settings = next(score.settings for model in results.models.values() if (score := model.at(epsilon, name)))
    step = settings.get("step_size")
    return [_attack_name(name, settings), None if step is None else element("small", f"step {results.radius(step)}")]


def _attack_name(name: str, settings: Mapping[str, Any]) -> Markup:
    version = settings.get("version")
    return markup([attack_label(name), element("small", version) if version else None])


def accuracy(score: Score | None) -> Markup:
    """An accuracy in %, its interval below; a dash where there is none."""
    if score is None:
        return NONE
    places = decimals(score.count)
    cell = [element("b", percent(score.accuracy, places, unit=False))]
    if score.interval:
        cell.append(element("small", "\u2013".join(percent(end, places, unit=False) for end in score.interval)))
    return Markup("".join(cell))


def _count(number: int | None) -> Markup:
    return NONE if number is None else element("span", compact(number), title=exact(number))


def attack_table(results: Results) -> Markup:
    """How each accuracy of the student was measured: every attack at every radius."""
    rows = []
    for epsilon, attacks in results.models["student"].attacks.items():
        for name, score in attacks.items():
            step, *rest = (score.settings.get(key) for key in ("step_size", "steps", "restarts", "start", "loss"))
            count = None if score.count is None else exact(score.count)
            cells = [None if step is None else results.radius(step), *rest, count]
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
    return table(head, [[key, element("code", value)] for key, value in _flat(settings)])


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)
