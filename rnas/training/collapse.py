"""Catastrophic overfitting, noticed while it happens.

A network that trains on attacks of one or few steps may learn to defeat these alone: within an epoch its accuracy under
a longer attack falls to zero, while it classifies the images of its own attack better than before (Wong et al. 2020,
"Fast is better than free", arXiv 2001.03994, section 5.4).
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

import numpy as np

NAME = "adversarial_accuracy"  # of held-out images under PGD, and of training images under the attack in training
BEST = f"best_{NAME}"  # its name in the figures of a checkpoint
MARGIN = 0.1  # above chance: what the best held-out accuracy must have reached before a fall from it means anything


class CollapsedError(ValueError):
    """Held-out accuracy under attack fell far below its best, training accuracy under attack did not."""


def has_collapsed(robust: float, best: float, trained: float, *, share: float, chance: float) -> bool:
    """Whether a network defeats nothing but the attack of its training any more.

    That is so where held-out accuracy under PGD lies below `share` both of its best so far and of the accuracy of
    training images under the attack in training. The second condition leaves out what harms both alike, such as too
    high a learning rate. Before held-out accuracy was `MARGIN` above chance, nothing counts as a collapse.

    Args:
      robust, best: held-out accuracy under PGD now and at its best before, in [0, 1].
      trained: accuracy of the latest training images under the attack in training, in [0, 1].
      share: in [0, 1); 0 for never.
      chance: accuracy of a guess, one over the number of classes.
    """
    return best >= chance + MARGIN and robust < share * min(best, trained)


@dataclasses.dataclass(frozen=True)
class CollapseRule:
    """When a stage stops, see `has_collapsed`.

    Its only memory is the best held-out accuracy so far. That lies in every checkpoint, so a resumed run reaches the
    same verdict.
    """

    share: float
    chance: float

    def check(
        self, stages: Sequence[str], step: int, scores: Mapping[str, Any], trained: Any, figures: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Judges the held-out `scores` of a step, and returns the figures of its checkpoint.

        Args:
          stages: names of the networks that train side by side, of which scores, `trained` and figures then have an
            entry each; or of one.
          trained: as in `has_collapsed`.
          figures: of the checkpoint before.

        Raises CollapsedError, with advice, for a collapse.
        """
        before = figures.get(BEST, 0.0)
        each = (np.broadcast_to(value, np.shape(scores[NAME])).ravel() for value in (scores[NAME], before, trained))
        for stage, robust, best, own in zip(stages, *each, strict=True):
            if not has_collapsed(robust, best, own, share=self.share, chance=self.chance):
                continue
            raise CollapsedError(
                f"stage {stage!r} collapsed before step {step}: PGD leaves {robust:.1%} of the held-out images, after "
                f"{best:.1%} at its best, while training images under their own attack have {own:.1%}. The network "
                "has learnt to defeat this attack alone (catastrophic overfitting). The best checkpoint is left. Train "
                "with more attack steps, smaller ones or perturbed weights (AWP), in a new work directory; with "
                "validation.collapse=0 the stage goes on regardless."
            )
        return {BEST: np.maximum(before, scores[NAME])}
