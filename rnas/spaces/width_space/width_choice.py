"""The widths that a search chose, as they are or narrowed to a budget."""

from collections.abc import Sequence

import jax
import numpy as np

from rnas.spaces.width_space.inverted_residuals import WidthSpace


def derive_widths(space: WidthSpace, logits: Sequence[np.ndarray]) -> tuple[int, ...]:
    """The most probable width of each block; the widest of equals."""
    return tuple(block.options[int(np.argmax(theta))] for block, theta in zip(space.blocks, logits, strict=True))


def check_target(space: WidthSpace, target: float, cost_of) -> None:
    """Raises ValueError, naming both bounds, where no network of the space costs about `target`."""
    low, high = cost_of(space.smallest), cost_of(space.largest)
    if not low <= target <= high:
        raise ValueError(
            f"budget.target = {target:,} lies outside space {space.name!r}: its smallest network costs {low:,}, "
            f"its largest {high:,}. Choose a target between them."
        )


def narrow_to_budget(space: WidthSpace, logits: Sequence[np.ndarray], target: float, cost_of) -> tuple[int, ...]:
    """Argmax widths, narrowed one option at a time until `cost_of(widths) <= target`.

    Each time the block is taken that loses least Σ_b log softmax(θ_b) per unit of cost saved; the earliest
    of equals.

    Raises:
      ValueError: where `target` lies outside the space.
    """
    check_target(space, target, cost_of)
    blocks = space.blocks
    log_probabilities = [np.asarray(jax.nn.log_softmax(np.asarray(theta, np.float64))) for theta in logits]
    choice = [int(np.argmax(theta)) for theta in logits]

    def widths(indices):
        return tuple(block.options[i] for block, i in zip(blocks, indices, strict=True))

    while (now := cost_of(widths(choice))) > target:
        prices = []
        for b, block in enumerate(blocks):
            if choice[b] + 1 < len(block.options):
                narrower = choice[:b] + [choice[b] + 1] + choice[b + 1 :]
                loss = log_probabilities[b][choice[b]] - log_probabilities[b][choice[b] + 1]
                prices.append((loss / (now - cost_of(widths(narrower))), b))
        choice[min(prices)[1]] += 1
    return widths(choice)
