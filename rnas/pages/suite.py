"""The attack suite on the page: the worst case, what each attack did, and how far its figures can be trusted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from rnas.pages import tables
from rnas.pages.attacks import Check, Suite
from rnas.pages.canvas import Picture
from rnas.pages.markup import Markup, element
from rnas.pages.naming import model_label
from rnas.pages.parts import example_figure, fact_list, figure, folded, note
from rnas.pages.pictures import Example, adversarial_examples, magnification
from rnas.pages.plots import plot_radii
from rnas.pages.quantity import compact, decimals, duration, exact, norm_label, percent
from rnas.pages.scores import attack_label

_SHOWN = 6  # images of one evaluation
_MARKS = {  # mark, class of the style sheet: told apart without colour too
    "passed": ("\u2713", "held"),
    "warning": ("!", "warned"),
    "failed": ("\u2717", "fooled"),
    "skipped": ("\u2013", "none"),
}
_ALL_STAND = (
    "Every attack goes on with what the attacks before it left; an example counts as lost when any of them "
    "fooled the network. The last row is the worst case, the one number."
)
_NO_PROOF = (
    "They recognise the known ways in which an attack fails. A defence of a new kind needs an adaptive attack, "
    "made for it (Tram\u00e8r et al., 2020, On Adaptive Attacks to Adversarial Example Defenses)."
)
_RAW = (
    "Each radius attacked on its own, nothing carried over: where accuracy rises with the radius, or stays above "
    "chance in the largest balls, the attack fails and the figures above deserve no trust."
)


class Illustrated(NamedTuple):
    """An evaluation with its pictures: the curve over the radius (None without one) and adversarial images."""

    suite: Suite
    curve: Picture | None
    examples: list[Example]
    factor: float

    @property
    def pictures(self) -> list[Picture]:
        return [*([self.curve] if self.curve else []), *(example.strip for example in self.examples)]


def illustrate(suite: Suite) -> Illustrated:
    """Draws what there is to show of an evaluation."""
    examples, factor = [], 1.0
    rows = _moved(suite)
    if len(rows):
        at = suite.adversarial["row"][rows[:_SHOWN]]
        shown = {
            "images": suite.adversarial["clean"][rows[:_SHOWN]],
            "adversarial": suite.adversarial["images"][rows[:_SHOWN]],
            "labels": suite.examples["label"][at],
            "clean_predictions": suite.examples["clean_prediction"][at],
            "adversarial_predictions": suite.examples["adversarial_prediction"][at],
        }
        contrast = suite.epsilon if suite.norm == "linf" else None  # other norms bound no single pixel
        factor = magnification(shown, contrast)
        examples = adversarial_examples(shown, contrast, f"attack_{suite.folder}")
    return Illustrated(suite, plot_radii(suite), examples, factor)


def _moved(suite: Suite) -> np.ndarray:
    """Places in `adversarial` of the images an attack changed; the others were wrong as they were."""
    if not suite.adversarial or not suite.examples:
        return np.zeros(0, int)
    return np.flatnonzero(suite.examples["distance_linf"][suite.adversarial["row"]] > 0)


def section(evaluations: Sequence[Illustrated], unfinished: Sequence[str]) -> list[Any]:
    """All evaluations of a run: one as it is, several behind an overview, the first of them open."""
    content: list[Any] = []
    if unfinished:
        names = [[", " if place else None, element("code", name)] for place, name in enumerate(unfinished)]
        content.append(element("p", "Unfinished evaluations: ", names, ". The same command again continues them."))
    if len(evaluations) == 1:
        return content + _parts(evaluations[0])
    if evaluations:
        content.append(_overview([one.suite for one in evaluations]))
    for place, one in enumerate(evaluations):
        title = f"{one.suite.label}, {one.suite.under}, {one.suite.threat}"
        content.append(folded(title, _parts(one), unfolded=place == 0))
    return content


def _parts(one: Illustrated) -> list[Any]:
    opening, *rest = parts(one)
    return [opening[2], [[element("h3", title), content] for _, title, content in rest]]


def parts(one: Illustrated) -> list[tuple[str, str, Any]]:
    """(anchor, title, content) of everything said of one evaluation; what there is nothing to say of is absent."""
    suite = one.suite
    said = [
        ("attacks", "Attacks", _attacks(suite)),
        ("checks", "Checks of the evaluation", _checks(suite.checks)),
        ("radii", "Accuracy over the radius", figure(one.curve, _curve_words(suite)) if one.curve else None),
        ("transfer", "Transfer from other models", _transfer(suite)),
        ("images", "Adversarial images", _images(one)),
        ("measured", "How it was measured", _facts(suite)),
    ]
    return [part for part in said if part[2]]


def title(suite: Suite) -> str:
    """The result as a title."""
    kept = percent(suite.robust.accuracy)
    return f"{suite.label} keeps {kept} accuracy under {attack_label(suite.attack)}, {suite.threat}"


def _overview(suites: Sequence[Suite]) -> Markup:
    rows = [
        [
            suite.label,
            suite.under,
            suite.threat,
            tables.accuracy(suite.clean),
            tables.accuracy(suite.robust),
            _counted(suite.checks),
        ]
        for suite in suites
    ]
    head = ["Model", "Attack", "Threat", "Clean", "Worst case", "Checks"]
    return tables.table(head, rows, ["Evaluations", element("small", tables.UNITS)], "accuracy")


def _counted(checks: Sequence[Check]) -> Markup | list[Any]:
    counts = Counter(check.status for check in checks)
    said = [[_status(status, f"{counts[status]} {status}"), " "] for status in reversed(_MARKS) if counts[status]]
    return said or tables.NONE


def _status(status: str, words: str) -> Markup:
    mark, kind = _MARKS[status]
    return element("span", element("span", mark, aria_hidden="true"), f" {words}", class_=kind)


def _attacks(suite: Suite) -> list[Any]:
    places = decimals(suite.robust.count)
    interval = ""
    if suite.robust.interval:
        ends = "\u2013".join(percent(end, places, unit=False) for end in suite.robust.interval)
        interval = f" (95\u202f% Wilson interval {ends})"
    count = "" if suite.robust.count is None else f" of {exact(suite.robust.count)} images"
    sentence = [
        f"{suite.label}: in the worst case ",
        element("b", percent(suite.robust.accuracy, places)),
        f"{interval}{count} are still classified correctly under {suite.under}, {suite.threat}; "
        f"{percent(suite.clean.accuracy, places)} without attack.",
    ]
    return [
        element("p", sentence, class_="worst"),
        _attack_table(suite) if suite.stages else None,
        element("p", _ALL_STAND) if suite.stages else None,
        _distances(suite),
        element("p", rounded) if (rounded := _rounded(suite)) else None,
    ]


def _attack_table(suite: Suite) -> Markup:
    alone = any(stage.alone for stage in suite.stages)
    rows = [["no attack", tables.NONE, tables.NONE, tables.accuracy(suite.clean), *[tables.NONE] * (2 + alone)]]
    for stage in suite.stages:
        seconds, queries = stage.entry.get("seconds"), stage.entry.get("queries")
        rows.append(
            [
                attack_label(stage.name),
                exact(stage.attacked),
                exact(stage.fooled),
                tables.accuracy(stage.cumulative),
                *([tables.accuracy(stage.alone)] if alone else []),
                tables.NONE if queries is None else element("span", compact(queries), title=exact(queries)),
                tables.NONE if seconds is None else duration(seconds),
            ]
        )
    head = ["Attack", "Attacked", "Fooled", "Still right", *(["Alone"] if alone else []), "Queries", "Time"]
    return tables.table(head, rows, ["Attacks in their order", element("small", tables.UNITS)], "accuracy stages")


def _distances(suite: Suite) -> Markup | None:
    """How far the fooling images are from the clean ones, in all norms."""
    rows = _moved(suite)
    if not len(rows):
        return None
    at = suite.adversarial["row"][rows]
    figures = [
        [
            norm_label(norm),
            *(f"{value:.4g}" for value in np.quantile(suite.examples[f"distance_{norm}"][at], (0, 0.5, 1))),
        ]
        for norm in ("linf", "l2", "l1")
    ]
    small = element("small", f"of {exact(len(rows))} fooling images to the clean ones")
    return tables.table(["Norm", "Smallest", "Median", "Largest"], figures, ["Distances", small])


def _rounded(suite: Suite) -> str | None:
    uint8 = suite.summary.get("uint8") or {}
    fooled, still, outside = (uint8.get(key) for key in ("fooled", "still_fooling", "outside_ball"))
    if not fooled or still is None:
        return None
    words = f"Rounded to 8 bits, {exact(still)} of {exact(fooled)} fooling images still fool"
    return words + (f"; rounding takes {exact(outside)} of them out of the ball." if outside else ".")


def _checks(checks: Sequence[Check]) -> list[Any] | None:
    if not checks:
        return None
    rows = [
        [f"{check.letter} \u00b7 {check.name}", _status(check.status, check.status), check.figure, check.advice]
        for check in checks
    ]
    return [
        element("p", _counted(checks)),
        tables.table(["Check", "Status", "Figure", "Advice"], rows, kind="checks"),
        note("Passing checks are no proof.", _NO_PROOF),
    ]


def _curve_words(suite: Suite) -> str:
    bands = any(score.interval for _, score in suite.curve)
    return _RAW + (" The band and the bar are 95\u202f% Wilson intervals." if bands else "")


def _transfer(suite: Suite) -> list[Any] | None:
    if not suite.transfer:
        return None
    rows = [
        [element("code", source), model_label(model) or tables.NONE, tables.accuracy(score), _count(score.count)]
        for source, model, score in suite.transfer
    ]
    text = "Images that fooled another model, shown to this one: a white-box attack should find more than they do."
    return [element("p", text), tables.table(["Source", "Made for", "Still right", "Images"], rows)]


def _count(number: int | None) -> Markup | str:
    return tables.NONE if number is None else exact(number)


def _images(one: Illustrated) -> list[Any] | None:
    if not one.examples:
        return None
    dataset = one.suite.summary.get("dataset") or {}
    text = f"The first fooled images: clean, attacked, and their difference \u00d7\u202f{one.factor:.3g} around grey."
    figures = [example_figure(example, dataset.get("class_names")) for example in one.examples]
    return [element("p", text), element("div", figures, class_="examples")]


def _facts(suite: Suite) -> list[Any]:
    summary = suite.summary
    model, dataset = summary["model"], summary.get("dataset") or {}
    device, devices, seconds = (summary.get(key) for key in ("device", "devices", "seconds"))
    described = [
        model.get("architecture"),
        _of(model.get("params"), "parameters"),
        _of(model.get("num_classes"), "classes"),
    ]
    known = {
        "Model": _joined([model.get("source") and element("code", model["source"]), *described]),
        "Hash": model.get("hash") and element("code", model["hash"]),
        "Images": _joined([*_selection(dataset), dataset.get("sha256") and element("code", dataset["sha256"])]),
        "Threat": f"{suite.threat}, pixels in [0, 1]; the attacker knows the network and its gradient",
        "Seed": None if summary.get("seed") is None else str(summary["seed"]),
        "Cost": _cost(summary.get("cost") or {}),
        "Wall time": None if seconds is None else duration(seconds),
        "Device": _joined([f"{devices} \u00d7 {device}" if device and devices else device, summary.get("precision")]),
        "Versions": ", ".join(f"{name} {version}" for name, version in (summary.get("versions") or {}).items()),
    }
    settings = {stage.name: stage.entry["settings"] for stage in suite.stages if stage.entry.get("settings")}
    return [
        fact_list(known),
        folded("Settings of the attacks", tables.setting_table(settings)) if settings else None,
    ]


def _of(number: int | None, unit: str) -> str | None:
    return None if number is None else f"{exact(number)} {unit}"


def _joined(items: Sequence[Any]) -> list[Any]:
    """What is known of `items`, separated by commas."""
    known = [item for item in items if item]
    return [[", " if place else None, item] for place, item in enumerate(known)]


def _selection(dataset: Mapping[str, Any]) -> list[str | None]:
    name = " ".join(str(dataset[key]) for key in ("name", "version", "split") if dataset.get(key))
    count, first = dataset.get("count"), dataset.get("first")
    if count is None:
        return [name]
    return [name, f"{exact(count)} images" + ("" if first is None else f" from number {exact(first)} on")]


def _cost(cost: Mapping[str, Any]) -> str | None:
    """The work in forward passes of one image, a backward pass counting as two of them."""
    spent, expected, each, compiled = (
        cost.get(key) for key in ("forwards", "estimated_forwards", "forward_seconds", "compilations")
    )
    if spent is None:
        return None
    words = f"{compact(spent)} forward passes of one image"
    if expected is not None:
        words += f", estimated {compact(expected)}"
    if each is not None:
        words += f"; one takes {1e3 * each:.3g}\u202fms"
    return words + ("" if compiled is None else f"; {exact(compiled)} compilations")
