"""The top of the page: the result in one sentence, beside what it has to be compared with."""

from __future__ import annotations

from collections.abc import Callable

from rnas.pages.markup import Markup, element
from rnas.pages.parts import tile
from rnas.pages.quantity import compact, exact, percent
from rnas.pages.record import Record
from rnas.pages.scores import HEADLINE_ATTACK, Results, Score, Scores, Spread, accuracy_of, attack_label, spread

_BESIDE = {"baseline_plain": "plain baseline", "teacher": "teacher"}


def headline(record: Record, results: Results) -> str:
    """The title: as much of the result as there is."""
    params = record.architecture.get("params")
    subject = f"The {record.noun}" if params is None else f"A {record.noun} of {exact(params)} parameters"
    attacked, student = results.headline("student", results.attack), results.models.get("student")
    if attacked:
        at = f"{attack_label(results.attack)} at \u03b5 = {results.radius(results.epsilon)}"
        return f"{subject} keeps {percent(attacked.accuracy)} accuracy under {at}"
    if student and student.clean:
        return f"{subject} reaches {percent(student.clean.accuracy)} clean accuracy"
    return f"No {record.noun} yet" if params is None else f"{subject}, not yet evaluated"


def lead(record: Record, results: Results) -> Markup | None:
    """The same in prose: clean accuracy, the others under one attack, and whether distillation or search shows."""
    student = results.models.get("student")
    if student is None or student.clean is None:
        return None
    sentences = [f"Without attack the {record.noun} is right on {percent(student.clean.accuracy)} of the test images."]
    named = {
        "baseline_plain": "the same network trained plainly",
        "baseline_no_distillation": "the same network trained without its teacher",
        "teacher": "the teacher",
    }
    random = [model.name for model in results.random]
    attack = results.comparable([*named, *random])
    kept = [
        f"{words} keeps {percent(score.accuracy)}"
        for name, words in named.items()
        if (score := results.headline(name, attack))
    ]
    own = results.headline("student", attack)
    drawn = spread(accuracy_of(results.headline(name, attack)) for name in random)
    if drawn:
        kept.append(_by_chance(drawn))
    if kept and own and attack != results.attack:
        kept.insert(0, f"it keeps {percent(own.accuracy)}")
    if kept:
        under = "the same attack" if attack == results.attack else attack_label(attack)
        *most, last = kept
        sentences.append(f"Under {under} {' and '.join([', '.join(most), last] if most else [last])}.")
    if drawn and own:
        sentences.append(_against_chance([results.headline(name, attack) for name in random], own))
    if _overlap(own, results.headline("baseline_no_distillation", attack)):
        sentences.append(
            f"The intervals of the {record.noun} and of its baseline without distillation overlap: on these images the "
            "help of the teacher is not established."
        )
    return element("p", " ".join(sentences), class_="lead")


def _by_chance(drawn: Spread) -> str:
    if drawn.count == 1:
        return f"a network with random cells keeps {percent(drawn.mean)}"
    return (
        f"{drawn.count} networks with random cells keep {percent(drawn.mean)} on average "
        f"({percent(drawn.low)} to {percent(drawn.high)})"
    )


def _against_chance(drawn: list[Score], own: Score) -> str:
    """Whether the cells are worth more than ones that nobody searched for."""
    as_good, several = sum(score.accuracy >= own.accuracy for score in drawn), len(drawn) > 1
    if as_good:
        who = f"{as_good} of the random ones {'does' if as_good == 1 else 'do'}" if several else "The random one does"
        said = f"{who} at least as well"
    else:
        said = f"{'None of the random ones does' if several else 'The random one does not do'} as well"
        if not _overlap(own, max(drawn, key=lambda score: score.accuracy)):
            return f"{said}."
        said += ", but the intervals overlap"
    return f"{said}: on these images it is not established that the cells are better than chance."


def _overlap(one: Score | None, other: Score | None) -> bool:
    if one is None or other is None or one.interval is None or other.interval is None:
        return False
    return one.interval[0] <= other.interval[1] and other.interval[0] <= one.interval[1]


def tiles(record: Record, results: Results) -> Markup | None:
    """Parameters, MACs, clean and attacked accuracy of the student, large; what it is compared with below."""
    at = "" if results.epsilon is None else f", \u03b5 = {results.radius(results.epsilon)}"
    shown = [
        _tile("Parameters", results, lambda model: model.params, compact, record.architecture.get("params")),
        _tile("MACs per image", results, lambda model: model.macs, compact, record.architecture.get("macs")),
        _tile("Clean accuracy", results, lambda model: accuracy_of(model.clean), percent),
        *(
            _tile(
                f"{attack_label(attack)}{at}",
                results,
                lambda model, attack=attack: accuracy_of(model.at(results.epsilon, attack)),
                percent,
            )
            for attack in dict.fromkeys((results.attack, HEADLINE_ATTACK))
        ),
    ]
    return element("dl", shown, class_="tiles") if any(shown) else None


def _tile(
    title: str,
    results: Results,
    value: Callable[[Scores], float | None],
    words: Callable[[float], str],
    otherwise: float | None = None,
) -> Markup | None:
    """One figure of the student (or `otherwise`, where it was not evaluated) above those it is compared with."""

    def of(name: str) -> float | None:
        return value(results.models[name]) if name in results.models else None

    own = of("student")
    own = otherwise if own is None else own
    if own is None:
        return None
    drawn = spread(map(value, results.random))
    beside = {f"{drawn.count} random" if drawn and drawn.count > 1 else "random": drawn and drawn.mean}
    beside |= {label: of(name) for name, label in _BESIDE.items()}
    return tile(title, words(own), {label: None if other is None else words(other) for label, other in beside.items()})
