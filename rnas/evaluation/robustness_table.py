"""The tables of a report: which attacks they hold, and the figures of one model.

Models run in inference mode on pixels in [0, 1]. An attack counts every iterate, start included; examples that it has
fooled drop out, between restarts and after every few steps. A curve over ε carries what was broken at a
smaller radius over to the larger ones, whose balls contain it.
"""

from collections.abc import Callable, Mapping, Sequence
import itertools
from types import MappingProxyType
from typing import Any

import jax
import numpy as np

from rnas.artifacts.evaluation import ModelScores
from rnas.artifacts.outcomes import Outcomes, measurement
from rnas.artifacts.scores import AttackScore, Curve, Score
from rnas.attacks import catalogue, radius
from rnas.attacks.batching import batch_sizes, concurrent_batches
from rnas.attacks.catalogue import CLEAN, Attack
from rnas.attacks.logits import predictions
from rnas.attacks.programs import ascend_further, first_iterates, run_settings
from rnas.evaluation.evaluated_model import EvaluatedModel
from rnas.evaluation.runner import Runner, pixels

CURVE_ATTACK = catalogue.pgd(20, step=1 / 10)  # also of validation
HEADLINE_ATTACK = catalogue.PGD_100
BLOCKS = (2, 3, 5, 10, 20)  # steps after which fooled examples drop out; most fall early, the last number goes on


class Evaluator:
    """Attacks frozen models of one architecture, in batches of one size.

    Args:
      predict: (variables, images) -> logits, in inference mode.
      batch_size: over all devices.
      seed: of the random starts; they depend on it, the restart and the example's id alone.
    """

    def __init__(self, predict: Callable, *, batch_size: int, seed: int):
        # Where several batches run at a time, small ones keep all workers busy although examples drop out.
        sizes = batch_sizes(batch_size, jax.device_count())[1:] if concurrent_batches() > 1 else [batch_size]
        self._runner = Runner(predict, sizes)
        self._predictions = jax.jit(lambda variables, images: predictions(predict(variables, images)))
        self._seed = seed

    def attack(self, variables: Any, split, attack: Attack, epsilon: float, rows: np.ndarray):
        """Attacks the examples `rows` of `split` (images uint8 [N,H,W,C], labels [N], ids [N]) by projected ascent.

        Returns (fooled bool [len(rows)], images float32 [len(rows),H,W,C]): the fooling image, or the clean one.
        """
        images = pixels(split.images[rows])
        fooled = np.zeros(len(rows), bool)
        if attack.steps and epsilon == 0.0:
            attack = CLEAN
        blocks = _blocks(attack)
        losses = [loss for loss in attack.losses for _ in range(attack.restarts)]
        for number, loss in enumerate(losses):
            run, settings = self._run(variables, split, rows, number), run_settings(attack, epsilon, loss)
            standing = np.flatnonzero(~fooled)
            if not len(standing):
                break
            points = run(first_iterates, standing, settings, None) if attack.start == "uniform" else images[standing]
            for steps in blocks:
                result, points = run(ascend_further, standing, settings._replace(steps=np.int32(steps)), points)
                fooled[standing] = result.success
                images[standing] = result.images
                standing, points = standing[~result.success], points[~result.success]
                if not len(standing):
                    break
        return fooled, images

    def any_and_last(
        self, variables: Any, split, attack: Attack, epsilon: float, rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Attacks the examples `rows`, at least one, to the end: an attack of one loss and one restart.

        Returns whether any iterate fooled the model, as `attack` counts with the same draws, and whether the last one
        did, as many papers count; bool [len(rows)] each.
        """
        (loss,) = attack.losses
        assert attack.restarts == 1, attack
        run, settings = self._run(variables, split, rows, 0), run_settings(attack, epsilon, loss)
        places, points = np.arange(len(rows)), pixels(split.images[rows])
        if attack.start == "uniform":
            points = run(first_iterates, places, settings, None)
        result, _ = run(ascend_further, places, settings, points)
        return result.success, result.last_success

    def _run(self, variables: Any, split, rows: np.ndarray, number: int) -> Callable:
        """(program, places in `rows`, settings, carry) → what the program gives; `number` is that of the restart."""
        key = jax.random.fold_in(jax.random.key(self._seed), number)

        def run(program, places, settings, carry):
            return self._runner.run(variables, split, program, rows[places], key, settings, carry)

        return run

    def predictions(self, variables: Any, images: np.ndarray) -> np.ndarray:
        """Predicted classes [N] of float32 images [N,H,W,C], in a pass of its own; -1 where a logit is NaN."""
        return jax.device_get(self._predictions(variables, images))

    def score(self, variables: Any, split, epsilon: float, attack: Attack = CURVE_ATTACK) -> dict[str, float]:
        """Accuracies for model choice: clean, under `attack`, and their mean, the `score`."""
        wrong, _ = self.attack(variables, split, CLEAN, 0.0, np.arange(len(split)))
        right = np.flatnonzero(~wrong)
        fooled, _ = self.attack(variables, split, attack, epsilon, right)
        accuracy, robust = len(right) / len(split), float(np.sum(~fooled)) / len(split)
        return {"accuracy": accuracy, "adversarial_accuracy": robust, "score": (accuracy + robust) / 2}


def _blocks(attack: Attack) -> list[int]:
    """The steps of an attack, cut where fooled examples drop out."""
    if attack.momentum or not attack.steps:  # momentum is lost between blocks
        return [attack.steps]
    ends = itertools.accumulate(itertools.chain(BLOCKS, itertools.repeat(BLOCKS[-1])))
    inner = list(itertools.takewhile(lambda end: end < attack.steps, ends))
    return [last - first for first, last in itertools.pairwise([0, *inner, attack.steps])]


def evaluate(
    evaluator: Evaluator,
    model: EvaluatedModel,
    split,
    *,
    epsilons: Sequence[str],
    curve: Sequence[str],
    attacks: Sequence[Attack],
    former: Mapping[str, np.ndarray] = MappingProxyType({}),
    tick: Callable[[str], None] = lambda attack: None,
    keep: Callable[[Outcomes], None] = lambda outcomes: None,
) -> tuple[ModelScores, Outcomes]:
    """Measures all that a report shows of one model, but for AutoAttack: figures, and outcomes image by image.

    Args:
      epsilons: radii of the tables, whose rows are `attacks`; the first is the headline.
      curve: radii of the curve.
      former: measurements of the same model that are taken as they are, as `Outcomes.right` has them.
      tick: called with a name before each measurement, for progress.
      keep: called after each one with all outcomes so far.
    """
    count, variables = len(split), model.variables
    everyone = np.arange(count)
    kept = dict(former)

    def standing(name: str, attack: Attack, epsilon: float, rows: np.ndarray) -> np.ndarray:
        """Which of `rows` an attack leaves."""
        tick(name)
        if name not in kept:
            fooled, _ = evaluator.attack(variables, split, attack, epsilon, rows)
            kept[name] = np.isin(everyone, rows[~fooled])
            keep(Outcomes(split.ids, split.labels, dict(kept)))
        return np.flatnonzero(kept[name])

    right = standing(CLEAN.name, CLEAN, 0.0, everyone)
    tables: list[dict[str, AttackScore]] = []
    for text in epsilons:
        epsilon, table = radius(text), {}
        for attack in attacks:
            left = standing(measurement(attack.name, text), attack, epsilon, right)
            settings = {name: getattr(attack, name) for name in ("steps", "restarts", "start", "loss")}
            settings = {"step_size": attack.step_size(epsilon), **settings}
            table[attack.name] = AttackScore.of(len(left), count, epsilon=epsilon, settings=settings)
        tables.append(table)
    left, points = right, []
    for text in sorted(curve, key=radius):
        left = standing(measurement("curve", text), CURVE_ATTACK, radius(text), left)
        points.append((radius(text), Score.of(len(left), count)))
    scores = ModelScores(
        **{name: getattr(model, name) for name in ("kind", "label", "params", "macs")},
        clean=Score.of(len(right), count),
        attacks=tables[0] if tables else {},
        epsilons=dict(zip(epsilons[1:], tables[1:], strict=True)),
        curve=Curve(CURVE_ATTACK.name, tuple(points)),
    )
    return scores, Outcomes(split.ids, split.labels, kept)
