"""The attacks of a report, their settings, and the figures they give.

Models run in inference mode on pixels in [0, 1]. Examples that an attack has fooled are not attacked by its
further restarts; an attack counts every iterate, start included. A curve over ε carries what was broken at a
smaller radius over to the larger ones, whose balls contain it.
"""

from collections.abc import Callable, Sequence
import dataclasses
import math
from typing import Any

import jax
import numpy as np

from rnas import attacks
from rnas.training.feeds import per_device, replicate
from rnas.training.steps import AttackSettings, run_attack

REFERENCE = 8 / 255  # radius at which step sizes are quoted; they scale with ε


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

    def settings(self, epsilon: float, loss: str) -> AttackSettings:
        return AttackSettings(
            np.float32(epsilon),
            np.float32(self.step_size(epsilon)),
            np.int32(self.steps),
            np.float32(self.decay),
            np.bool_(loss == "margin"),
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


def interval(hits: int, count: int) -> list[float]:
    """95 % Wilson score interval of hits / count; [0, 1] without any example."""
    if count == 0:
        return [0.0, 1.0]
    z = 1.959963984540054
    centre = hits / count + z * z / (2 * count)
    spread = z * math.sqrt(hits / count * (1 - hits / count) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return [max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)]


class Evaluator:
    """Attacks frozen models of one architecture, in batches of one size.

    Args:
      predict: (variables, images) -> logits, in inference mode.
      batch_size: over all devices.
      seed: of the random starts; they depend on it, the attack, the restart and the example's id alone.
    """

    def __init__(self, predict: Callable, *, batch_size: int, seed: int):
        self._runs = {start: run_attack(predict, start) for start in ("uniform", "none")}
        self._logits = jax.jit(predict)
        self._per_device = per_device(batch_size, "evaluation.batch_size")
        self._batch_size = batch_size
        self._seed = seed

    def attack(self, variables: Any, split, attack: Attack, epsilon: float, rows: np.ndarray):
        """Attacks the examples `rows` of `split` (images uint8 [N,H,W,C], labels [N], ids [N]).

        Returns:
          (fooled bool [len(rows)], images float32 [len(rows),H,W,C]): the fooling image, or the clean one.
        """
        images = split.images[rows].astype(np.float32) / np.float32(255.0)
        fooled = np.zeros(len(rows), bool)
        if attack.steps and epsilon == 0.0:
            attack = dataclasses.replace(attack, steps=0, start="none", losses=("ce",), restarts=1)
        runs = [(loss, restart) for loss in attack.losses for restart in range(attack.restarts)]
        for number, (loss, _) in enumerate(runs):
            key = jax.random.fold_in(jax.random.key(self._seed), number)
            settings = attack.settings(epsilon, loss)
            standing = np.flatnonzero(~fooled)
            for first in range(0, len(standing), self._batch_size):
                batch = standing[first : first + self._batch_size]
                success, found = self._run_batch(variables, split, rows[batch], attack.start, key, settings)
                fooled[batch] = success
                images[batch] = found
        return fooled, images

    def _run_batch(self, variables, split, rows, start, key, settings):
        """Pads to the one batch size; padded rows repeat the first and are cut off again."""
        padded = np.concatenate([rows, np.repeat(rows[:1], self._batch_size - len(rows))])
        local = len(jax.local_devices()) * self._per_device
        mine = padded[jax.process_index() * local :][:local].reshape(-1, self._per_device)
        result = self._runs[start](
            variables,
            split.images[mine].astype(np.float32) / np.float32(255.0),
            split.labels[mine],
            split.ids[mine].astype(np.int32),
            key,
            settings,
        )
        success, images = jax.device_get((result.success, result.images))
        return success[: len(rows)], images[: len(rows)]

    def predictions(self, variables: Any, images: np.ndarray) -> np.ndarray:
        """Predicted classes [N] of float32 images [N,H,W,C], in a pass of its own."""
        return np.argmax(jax.device_get(self._logits(variables, images)), axis=-1)

    def score(self, variables: Any, split, epsilon: float, attack: Attack = PGD_20) -> dict[str, float]:
        """Accuracies for model choice: clean, under `attack`, and their mean, the `score`."""
        variables = replicate(variables)
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
    variables = replicate(variables)
    count = len(split)
    tick("clean")
    wrong, _ = evaluator.attack(variables, split, CLEAN, 0.0, np.arange(count))
    right = np.flatnonzero(~wrong)

    def figures(standing: int) -> dict:
        return {"accuracy": standing / max(count, 1), "count": count, "interval": interval(standing, count)}

    result = {"clean": figures(len(right)), "curve": [], "epsilons": {}}
    strongest = split.images.astype(np.float32) / np.float32(255.0)
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
