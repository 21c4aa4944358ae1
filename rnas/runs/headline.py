"""The outcome of a run as a small table for a terminal."""

from rnas.artifacts.evaluation import Evaluation


def headline(evaluation: Evaluation) -> str:
    """One line a model: accuracy in %, clean and under the attacks at the headline radius; '-' for none.

    A figure of fewer images than the clean one is followed by their number.
    """
    attacks = list(dict.fromkeys(name for scores in evaluation.models.values() for name in scores.attacks))
    rows = [("accuracy, %", ["clean", *attacks])]
    for model, scores in evaluation.models.items():
        found = [scores.clean, *map(scores.attacks.get, attacks)]
        cells = [f"{100 * score.accuracy:.2f}" if score else "-" for score in found]
        few = [f" of {score.count}" if score and score.count < scores.clean.count else "" for score in found]
        rows.append((model, [cell + count for cell, count in zip(cells, few, strict=True)]))
    width = max(len(model) for model, _ in rows[1:]) + 2
    return "\n".join(
        title.ljust(width)
        + "".join(cell.rjust(max(10, len(name) + 5)) for name, cell in zip(rows[0][1], cells, strict=True))
        for title, cells in rows
    )
