"""The outcome of a run as a small table for a terminal."""

from typing import Any

from rnas.artifacts.evaluation import Evaluation
from rnas.training.text_table import text_table


def headline(evaluation: Evaluation, width: int | None = None) -> str:
    """One line a model: accuracy in %, clean and under the attacks at the headline radius; '-' for none.

    The mean under common corruptions comes last, if it was measured. A figure of fewer images than the clean one is
    followed by their number. A table that is wider than `width` has parts below each other.
    """
    attacks = list(dict.fromkeys(name for scores in evaluation.models.values() for name in scores.attacks))
    corrupted = any(scores.corruptions for scores in evaluation.models.values())
    rows = []
    for model, scores in evaluation.models.items():
        found: list[Any] = [scores.clean, *map(scores.attacks.get, attacks), *[scores.corruptions] * corrupted]
        cells = [f"{100 * score.accuracy:.2f}" if score else "-" for score in found]
        few = [f" of {score.count}" if score and score.count < scores.clean.count else "" for score in found]
        rows.append([model, *(cell + count for cell, count in zip(cells, few, strict=True))])
    return "\n".join(text_table(["accuracy, %", "clean", *attacks, *["corruptions"] * corrupted], rows, width))
