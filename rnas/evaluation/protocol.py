"""The attacks of a report, their settings, and the figures they give.

Models run in inference mode on pixels in [0, 1]. Examples that an attack has fooled are not attacked by its
further restarts; an attack counts every iterate, start included. A curve over ε carries what was broken at a
smaller radius over to the larger ones, whose balls contain it.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
from typing import Any

import jax
import numpy as np

from rnas import attacks
from rnas.artifacts.wilson import interval
from rnas.attacks.parts import PartSettings, ascend
from rnas.evaluation.runner import Runner, pixels

REFERENCE = 8 / 255  # radius at which step sizes are quoted; they scale with ε


def _ascent(start, logits_fn, images, labels, keys, settings, carry):
    return ascend(start, "linf", logits_fn, images, labels, keys, settings)


PROGRAMS = {start: functools.partial(_ascent, start) for start in ("uniform", "none")}


@dataclasses.dataclass(frozen=True)
class Attack:
    """One row of a robustness table; `step_at_8` is the step size in pixels/255 at ε = 8/255."""

    name: str
    steps: int
    step_at_8: float
    start: str = "uniform"
    losses: tuple[str, ...] = ("ce",)
    restarts: int = 1
    decay: float = 0.0

    def step_size(self, epsilon: float) -> float:
        return self.step_at_8 / 255 * epsilon / REFERENCE

    def settings(self, epsilon: float, loss: str) -> PartSettings:
        return PartSettings(
            epsilon=np.float32(epsilon),
            number=np.int32(0),
            steps=np.int32(self.steps),
            step_size=np.float32(self.step_size(epsilon)),
            momentum=np.float32(self.decay),
            use_margin=np.bool_(loss == "margin"),
        )


CLEAN = Attack("clean", steps=0, step_at_8=0.0, start="none")
PGD_20 = Attack("pgd_20", steps=20, step_at_8=0.8)


def suite(pgd_100_restarts: int) -> tuple[Attack, ...]:
    """The attacks of every table, weakest first (arXiv 2301.08092; PGD-100 with restarts is ours)."""
    return (
        Attack("fgsm", steps=1, step_at_8=8.0, start="none"),
        Attack("mim_20", steps=20, step_at_8=0.8, start="none", decay=1.0),
        PGD_20,
        Attack("pgd_20_2", steps=20, step_at_8=2.0),
        Attack("cw_20", steps=20, step_at_8=0.003 * 255, losses=("margin",)),
        Attack("pgd_100", steps=100, step_at_8=2.0, losses=("ce", "margin"), restarts=pgd_100_restarts),
    )


class Evaluator:
    """Attacks frozen models of one architecture, in batches of one size.

    Args:
      predict: (variables, images) -> logits, in inference mode.
      batch_size: over all devices.
      seed: of the random starts; they depend on it, the attack, the restart and the example's id alone.
    """

    def __init__(self, predict: Callable, *, batch_size: int, seed: int):
        self._runner = Runner(predict, [batch_size], what="evaluation.batch_size")
        self._logits = jax.jit(predict)
        self._seed = seed

    def attack(self, variables: Any, split, attack: Attack, epsilon: float, rows: np.ndarray):
        """Attacks the examples `rows` of `split` (images uint8 [N,H,W,C], labels [N], ids [N]).

        Returns:
          (fooled bool [len(rows)], images float32 [len(rows),H,W,C]): the fooling image, or the clean one.
        """
        images = pixels(split.images[rows])
        fooled = np.zeros(len(rows), bool)
        if attack.steps and epsilon == 0.0:
            attack = dataclasses.replace(attack, steps=0, start="none", losses=("ce",), restarts=1)
        runs = [(loss, restart) for loss in attack.losses for restart in range(attack.restarts)]
        for number, (loss, _) in enumerate(runs):
            key = jax.random.fold_in(jax.random.key(self._seed), number)
            standing = np.flatnonzero(~fooled)
            if len(standing):
                result = self._runner.run(
                    variables, split, PROGRAMS[attack.start], rows[standing], key, attack.settings(epsilon, loss)
                )
                fooled[standing], images[standing] = result.success, result.images
        return fooled, images

    def predictions(self, variables: Any, images: np.ndarray) -> np.ndarray:
        """Predicted classes [N] of float32 images [N,H,W,C], in a pass of its own."""
        return np.argmax(jax.device_get(self._logits(variables, images)), axis=-1)

    def score(self, variables: Any, split, epsilon: float, attack: Attack = PGD_20) -> dict[str, float]:
        """Accuracies for model choice: clean, under `attack`, and their mean, the `score`."""
        wrong, _ = self.attack(variables, split, CLEAN, 0.0, np.arange(len(split)))
        right = np.flatnonzero(~wrong)
        fooled, _ = self.attack(variables, split, attack, epsilon, right)
        accuracy, robust = len(right) / len(split), float(np.sum(~fooled)) / len(split)
        return {"accuracy": accuracy, "adversarial_accuracy": robust, "score": (accuracy + robust) / 2}


def evaluate(
    evaluator: Evaluator,
    variables: Any,
    split,
    *,
    epsilons: Sequence[str],
    curve: Sequence[str],
    pgd_100_restarts: int,
    tick: Callable[[str], None] = lambda attack: None,
) -> tuple[dict, np.ndarray]:
    """Everything a report says of one model.

    Args:
      split: test images.
      epsilons: radii of the table; the first is the headline.
      curve: radii of the PGD-20 curve.
      tick: called with a name before each part, for progress.

    Returns:
      (figures: 'clean', one entry an attack at the headline radius, 'epsilons' with the others, 'curve';
      PGD-100 images float32 [N,H,W,C] at the headline radius, clean where nothing fooled the model).
    """
    count = len(split)
    tick("clean")
    wrong, _ = evaluator.attack(variables, split, CLEAN, 0.0, np.arange(count))
    right = np.flatnonzero(~wrong)

    def figures(standing: int) -> dict:
        return {"accuracy": standing / max(count, 1), "count": count, "interval": interval(standing, count)}

    result = {"clean": figures(len(right)), "curve": [], "epsilons": {}}
    strongest = pixels(split.images)
    for number, text in enumerate(epsilons):
        epsilon = attacks.radius(text)
        rows = {}
        for attack in suite(pgd_100_restarts):
            tick(f"{attack.name} at {text}")
            fooled, images = evaluator.attack(variables, split, attack, epsilon, right)
            rows[attack.name] = {
                "epsilon": epsilon,
                "step_size": attack.step_size(epsilon),
                "steps": attack.steps,
                "restarts": attack.restarts,
                "start": attack.start,
                "loss": " then ".join(attack.losses),
                **figures(int(np.sum(~fooled))),
            }
            if number == 0 and attack.name == "pgd_100":
                strongest[right] = images
        if number == 0:
            result.update(rows)
        else:
            result["epsilons"][text] = rows
    standing = right
    for text in sorted(curve, key=attacks.radius):
        tick(f"curve at {text}")
        fooled, _ = evaluator.attack(variables, split, PGD_20, attacks.radius(text), standing)
        standing = standing[~fooled]
        result["curve"].append({"epsilon": attacks.radius(text), **figures(len(standing))})
    return result, strongest
