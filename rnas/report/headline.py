"""The top of the page: the result in one sentence, beside what it has to be compared with."""

from __future__ import annotations

from collections.abc import Iterable

from rnas.report.markup import Markup, element
from rnas.report.quantity import compact, exact, percent
from rnas.report.record import Record
from rnas.report.scores import HEADLINE_ATTACK, Results, Score, attack_label

_BESIDE = {"twin_plain": "plain twin", "teacher": "teacher"}


def headline(record: Record, results: Results) -> str:
    """The title: as much of the result as there is."""
    params = record.architecture.get("params")
    subject = "The student" if params is None else f"A student of {exact(params)} parameters"
    attacked, student = results.headline("student", results.attack), results.models.get("student")
    if attacked:
        at = f"{attack_label(results.attack)} at \u03b5 = {results.radius(results.epsilon)}"
        return f"{subject} keeps {percent(attacked.accuracy)} accuracy under {at}"
    if student and student.clean:
        return f"{subject} reaches {percent(student.clean.accuracy)} clean accuracy"
    return "No student yet" if params is None else f"{subject}, not yet evaluated"


def lead(results: Results) -> Markup | None:
    """The same in prose: clean accuracy, the others under one attack, and whether distillation shows."""
    student = results.models.get("student")
    if student is None or student.clean is None:
        return None
    sentences = [f"Without attack the student is right on {percent(student.clean.accuracy)} of the test images."]
    named = {
        "twin_plain": "the same network trained plainly",
        "twin_no_distillation": "the same network trained without its teacher",
        "teacher": "the teacher",
    }
    attack = _shared_attack(results, named)
    kept = [
        f"{words} keeps {percent(score.accuracy)}"
        for name, words in named.items()
        if (score := results.headline(name, attack))
    ]
    own = results.headline("student", attack)
    if kept and own and attack != results.attack:
        kept.insert(0, f"it keeps {percent(own.accuracy)}")
    if kept:
        under = "the same attack" if attack == results.attack else attack_label(attack)
        *most, last = kept
        sentences.append(f"Under {under} {' and '.join([', '.join(most), last] if most else [last])}.")
    if _overlap(own, results.headline("twin_no_distillation", attack)):
        sentences.append(
            "The intervals of the student and of its twin without distillation overlap: on these images the "
            "help of the teacher is not established."
        )
    return element("p", " ".join(sentences), class_="lead")


def _shared_attack(results: Results, others: Iterable[str]) -> str:
    """The attack to compare by: the headline's where all `others` were put to it, else PGD-100."""
    there = [name for name in others if results.headline(name, HEADLINE_ATTACK)]
    return results.attack if all(results.headline(name, results.attack) for name in there) else HEADLINE_ATTACK


def _overlap(one: Score | None, other: Score | None) -> bool:
    if one is None or other is None or one.interval is None or other.interval is None:
        return False
    return one.interval[0] <= other.interval[1] and other.interval[0] <= one.interval[1]


def tiles(record: Record, results: Results) -> Markup | None:
    """Parameters, MACs, clean and attacked accuracy of the student, large; plain twin and teacher below."""
    names = ("student", *_BESIDE)
    models = {name: results.models.get(name) for name in names}
    at = "" if results.epsilon is None else f", \u03b5 = {results.radius(results.epsilon)}"
    values = {
        "Parameters": {name: model and _size(model.params) for name, model in models.items()},
        "MACs per image": {name: model and _size(model.macs) for name, model in models.items()},
        "Clean accuracy": {name: model and _share(model.clean) for name, model in models.items()},
        **{
            f"{attack_label(attack)}{at}": {name: _share(results.headline(name, attack)) for name in names}
            for attack in dict.fromkeys((results.attack, HEADLINE_ATTACK))
        },
    }
    for title, key in (("Parameters", "params"), ("MACs per image", "macs")):
        values[title]["student"] = values[title]["student"] or _size(record.architecture.get(key))
    shown = [
        element(
            "div",
            element("dt", title),
            element("dd", by_model["student"], class_="student"),
            [
                element("dd", element("span", label), element("span", by_model[name]))
                for name, label in _BESIDE.items()
                if by_model[name]
            ],
            class_="tile",
        )
        for title, by_model in values.items()
        if by_model["student"]
    ]
    return element("dl", shown, class_="tiles") if shown else None


def _size(number: int | None) -> str | None:
    return None if number is None else compact(number)


def _share(score: Score | None) -> str | None:
    return None if score is None else percent(score.accuracy)
