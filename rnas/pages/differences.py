"""Differences between models that were judged on the same images, tested image by image.

Separate intervals of two accuracies do not tell whether the difference is more than chance: they forget that most
images have the same outcome for both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
import functools
import statistics
from typing import TYPE_CHECKING, Any

import numpy as np

from rnas.attacks.catalogue import AUTO_ATTACK, CLEAN, label_of
from rnas.pages.quantity import decimals, p_value, points
from rnas.pages.results import HEADLINE_ATTACK, Results, by_radius, radius_key
from rnas.pages.site import Fold
from rnas.pages.table import Cell, Table, share

if TYPE_CHECKING:
    from rnas.evaluation.paired_statistics import Comparison

Arms = Mapping[str, Sequence[tuple[Results, str]]]  # arm -> of each seed the results of a run and the model in them
_NO_BASELINES = ("student", "student_last", "teacher")  # kinds
ATTACKS = (AUTO_ATTACK, HEADLINE_ATTACK)  # to compare by: the first that all were put to
ALPHA = 0.05


@dataclass(frozen=True)
class Family:
    """Arms beside their references under one attack at one radius, with Holm's correction over them.

    Attributes:
        epsilon: radius; None without attack.
        compared: arm -> its difference to the reference, of those whose outcomes are known; where there are several
            references 'arm : reference' -> difference.
        left_out: arm -> why it is not among them.
    """

    attack: str
    epsilon: float | None
    compared: Mapping[str, Comparison]
    left_out: Mapping[str, str]


def family(arms: Arms, reference: str, attack: str, epsilon: float | None) -> Family:
    """Compares all arms, of as many seeds, with the reference under an attack."""
    from rnas.evaluation.paired_statistics import compare  # seconds that only outcomes need

    right, left_out = {}, {}
    for arm, seeds in ({reference: arms[reference]} | dict(arms)).items():
        try:
            of_seeds = [_right(results, name, attack, epsilon) for results, name in seeds]
            for (results, name), (other, its_name) in zip(seeds, arms[reference], strict=True):
                other.outcomes[its_name].check_same_images(results.outcomes[name], "it and the reference")
            right[arm] = np.stack(of_seeds)
        except ValueError as error:
            left_out[arm] = str(error).rstrip(".")
            if arm == reference:
                return Family(attack, epsilon, {}, left_out)
    found = compare(right, [(arm, reference) for arm in right if arm != reference])
    return Family(attack, epsilon, {one.arm: one for one in found}, left_out)


def families(arms: Arms, reference: str, radii: Sequence[float]) -> list[Family]:
    """At each radius under AutoAttack, if all arms were put to it on the same images, else PGD-100; last clean."""
    return _at_each(radii, functools.partial(family, arms, reference))


def _at_each(radii: Iterable[float], compared: Callable[[str, float | None], Family]) -> list[Family]:
    """`compared(attack, radius)` at each radius, under AutoAttack if it has as many as PGD-100 has; last clean."""
    found = []
    for epsilon in radii:
        auto, headline = (compared(attack, epsilon) for attack in ATTACKS)
        found.append(auto if auto.compared and len(auto.compared) >= len(headline.compared) else headline)
    return [*found, compared(CLEAN.name, None)]


def baselines(results: Results) -> list[str]:
    """The models that the student of a run is compared with."""
    return [name for name, model in results.models.items() if model.kind not in _NO_BASELINES]


def families_of_pairs(results: Results, pairs: Mapping[str, tuple[str, str]]) -> list[Family]:
    """Pairs of models, 'arm : reference' -> names, at each radius of the student and clean, attacked as `families`."""
    from rnas.evaluation.paired_statistics import compare

    def compared(attack: str, epsilon: float | None) -> Family:
        right, left_out = {}, {}
        for name in {name: None for pair in pairs.values() for name in pair}:
            try:
                right[name] = _right(results, name, attack, epsilon)
            except ValueError as error:
                left_out[name] = str(error).rstrip(".")
        known = {key: pair for key, pair in pairs.items() if not left_out.keys() & set(pair)}
        return Family(attack, epsilon, dict(zip(known, compare(right, list(known.values())), strict=True)), left_out)

    return _at_each(by_radius(results.student), compared) if results.student else []


def baseline_families(results: Results) -> list[Family]:
    """The baselines of a run beside its student, at the headline's radius, the others and clean; empty without any."""
    if not baselines(results):
        return []
    arms = {name: [(results, name)] for name in ("student", *baselines(results))}
    return families(arms, "student", list(by_radius(results.student)))


def shown(
    found: Sequence[Family], labels: Mapping[str, str], reference: str, results: Results, name: str = "differences"
) -> dict[str, Any] | None:
    """What a page shows of families of one reference: the first as a table, the others folded; None without any.

    Args:
        labels: of the arms.
        reference: what people read.
        results: that have the radii in words.
        name: of the tables' files, before the radius.
    """
    if not found:
        return None
    from rnas.evaluation.paired_statistics import detectable_difference

    tested = [one for one in found if one.compared]
    tables = [_table(one, labels, reference, results, name) for one in tested]
    rows = list(tested[0].compared.values()) if tested else []
    reasons = {labels[arm]: why for one in reversed(found) for arm, why in one.left_out.items()}
    discordant = statistics.median([row.first_only + row.second_only for row in rows] or [0.0])
    return {
        "reference": reference,
        "headline": tables[0] if tables else None,
        "others": [Fold(table.caption, table) for table in tables[1:]],
        "left_out": reasons,
        "one_seed": all(row.seeds == 1 for row in rows),
        "images": rows[0].images if rows else 0,
        "discordant": discordant,
        "detectable": detectable_difference(rows[0].images, discordant) if rows else 0.0,
    }


def established(difference: Comparison | None) -> bool:
    """Whether the arm is worse than the reference by more than chance, after Holm's correction."""
    return difference is not None and difference.difference < 0 and difference.p_adjusted < ALPHA


def _right(results: Results, name: str, attack: str, epsilon: float | None) -> np.ndarray:
    """Outcomes bool [N] of a model under an attack. Raises ValueError where they are not known, with the reason."""
    if name not in results.outcomes:
        raise ValueError("the outcomes of single images were not kept; an earlier version evaluated it")
    model = results.models[name]
    score = model.clean if epsilon is None else results.at(name, epsilon).get(attack)
    if score is None:
        raise ValueError(f"not put to {label_of(attack)} at \u03b5 = {results.radius(epsilon)}")
    for key, right in results.outcomes[name].right.items():
        of, _, at = key.partition("@")
        same = of == attack and (radius_key(at) if at else None) == epsilon
        if same and len(right) == score.count and abs(right.sum() - score.accuracy * score.count) < 0.6:
            return right
    raise ValueError(f"the outcomes that were kept are not those of its accuracy under {label_of(attack)}")


def _table(one: Family, labels: Mapping[str, str], reference: str, results: Results, name: str) -> Table:
    """A row per arm: its difference to the reference, on which images it rests, and how likely that is by chance."""
    rows: list[list[Any]] = []
    several = any(row.seeds > 1 for row in one.compared.values())
    for arm, row in one.compared.items():
        places = decimals(row.images)
        ends = " to ".join(points(end, places) for end in row.interval)
        cells: list[Any] = [
            labels[arm],
            Cell(points(row.difference, places), ends, 100 * row.difference, kind="strong"),
        ]
        if several:
            cells.append(" to ".join(points(end, places) for end in row.bootstrap))
            cells.append("yes" if row.same_sign else "no")
        cells += [share(alone, places) for alone in (row.first_only, row.second_only)]
        cells += [Cell(p_value(p), value=p) for p in (row.p_value, row.p_adjusted)]
        rows.append(cells)
    radius = results.radius(one.epsilon)
    caption = f"{label_of(one.attack)}, \u03b5 = {radius}" if radius else "Without attack"
    name = f"{name}_{radius.replace('/', '_') or 'clean'}"
    columns = ["Model", "Difference", *(["Bootstrap", "Same sign"] if several else [])]
    columns += ["Right alone", f"{reference} right alone", "p" if several else "p, McNemar", "p, Holm"]
    method = "95\u202f% interval" if several else "95\u202f% Newcombe interval"
    return Table(name, columns, rows, caption, "difference in points, images in %", method)
