"""What the comparisons of a study show and what they leave open, in sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from rnas.artifacts.study_results import StudyArm, StudyComparison, StudyResults
from rnas.attacks.catalogue import label_of
from rnas.pages.differences import ALPHA
from rnas.pages.quantity import exact, percent, points
from rnas.pages.results import short_label

_FEW = 6  # comparisons; so many have a sentence each
_NAMED = 2  # of more, so many that show the arm above its reference, and so many that show it below


def is_shown(row: StudyComparison) -> bool:
    """Whether a comparison shows a difference."""
    return row.p_adjusted < ALPHA


def chance(p_value: float) -> str:
    """A p-value, as far as it matters."""
    known = f"= {p_value:.2f}".replace(" 0.", " .")
    words = "< .01" if p_value < 0.01 else "< .05" if p_value < ALPHA else known
    return f"p {words}".replace(" ", "\u202f")


def measured(name: str) -> str:
    """A measurement in words: 'PGD-100 at ε = 8/255'."""
    attack, _, epsilon = name.partition("@")
    attack = "PGD-20 of the curve" if attack == "curve" else label_of(attack)
    return f"{attack} at \u03b5 = {epsilon}" if epsilon else "Without attack"


def arm_name(arm: StudyArm) -> str:
    """What an arm is called on the page: its short label, as the beginning of a sentence."""
    name = short_label(arm.label)
    return name[:1].upper() + name[1:]


def ends(interval: tuple[float, float]) -> str:
    """An interval of a difference, in points."""
    return " to ".join(map(points, interval))


def at_headline(results: StudyResults) -> list[StudyComparison]:
    """The comparisons that the conclusions rest on."""
    return [row for row in results.comparisons if row.measurement == results.headline]


def findings(results: StudyResults) -> list[str]:
    """Sentences on the comparisons at the headline; none without comparisons.

    What speaks against the student or leaves it open comes first, then what is shown, then what else is open. Each
    comparison of the student has a sentence. Of many others the largest that are shown have one, the rest is counted.
    """
    rows, seeds = at_headline(results), len(results.seeds)
    if not rows:
        return []
    of_student = [row for row in rows if "student" in (row.arm, row.reference)]
    against = [row for row in of_student if not (is_shown(row) and _favours_student(row))]
    others = sorted((row for row in rows if row not in of_student), key=lambda row: -abs(row.difference))
    sentences = ["There is one seed: what follows holds for these trained models alone."] if seeds == 1 else []
    sentences += [_sentence(results, row) for row in sorted(against, key=is_shown, reverse=True)]
    sentences += [_sentence(results, row) for row in of_student if row not in against]
    for kind in (
        [row for row in others if is_shown(row) and row.difference > 0],
        [row for row in others if is_shown(row) and row.difference <= 0],
        [row for row in others if not is_shown(row)],
    ):
        named = len(kind) if len(rows) <= _FEW else _NAMED if kind and is_shown(kind[0]) else 0
        sentences += [*(_sentence(results, row) for row in kind[:named]), *_rest(kind[named:])]
    mean = f", as means over {seeds} seeds" if seeds > 1 else ""
    return [
        *sentences,
        f"All figures are accuracy under {measured(results.headline)} on {exact(rows[0].images)} test images{mean}, in "
        "points, with 95\u202f% intervals and p-values after Holm\u2019s correction.",
    ]


def _favours_student(row: StudyComparison) -> bool:
    return (row.difference > 0) is (row.arm == "student")


def _size(share: float) -> str:
    return percent(share, unit=False)


def _sentence(results: StudyResults, row: StudyComparison) -> str:
    arm, reference = (f"\u201c{arm_name(results.arm(name))}\u201d" for name in (row.arm, row.reference))
    figures = f"{ends(row.interval)}, {chance(row.p_adjusted)}"
    if not is_shown(row):
        if row.p_value < ALPHA:
            figures += f", before correction {chance(row.p_value)}"
        return (
            f"Whether {arm} keeps more than {reference} could not be told: {points(row.difference)} points ({figures}),"
            f" where less than {_size(_visible(row))} could not have been shown."
        )
    if len(results.seeds) > 1:
        figures += ", in every seed" if row.same_sign else ", but not in every seed"
    size = f"{_size(abs(row.difference))} points {'more' if row.difference > 0 else 'less'}"
    return f"{arm} keeps {size} than {reference} ({figures})."


def _visible(row: StudyComparison) -> float:
    """Half the width of the interval: that of a smaller difference holds 0, before any correction."""
    return (row.interval[1] - row.interval[0]) / 2


def _rest(rows: Sequence[StudyComparison]) -> list[str]:
    """One sentence for all that have none of their own."""
    if not rows:
        return []
    count, verb = ("1 other comparison", "shows") if len(rows) == 1 else (f"{len(rows)} other comparisons", "show")
    if is_shown(rows[0]):
        side, sizes = "above" if rows[0].difference > 0 else "below", _span(abs(row.difference) for row in rows)
        return [f"{count} {verb} the arm {side} its reference, by {sizes} points."]
    sizes, visible = _span((row.difference for row in rows), points), _span(map(_visible, rows))
    return [f"{count} could not be told ({sizes} points, where less than {visible} could not have been shown)."]


def _span(values: Iterable[float], words: Callable[[float], str] = _size) -> str:
    known = sorted(values)
    return " to ".join(dict.fromkeys((words(known[0]), words(known[-1]))))
