"""The table of an evaluation: one row per example, and the images that fooled the model."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rnas.artifacts.attack import IMAGES, FoolingImages, write_examples
from rnas.attacks.result import AttackResult
from rnas.data.datasets import Split
from rnas.evaluation.runner import pixels


@dataclass(eq=False)
class Examples:
    """Labels, predictions and attacks of each of N examples.

    Attributes:
      ids, labels, clean_prediction, clean_margin: [N]; a margin is the label's lead over the best other class.
      clean_wrong, wrong: bool [N], before and after the attacks.
      fooled_by: [N], the first attack that fooled it; '' for none.
      success, loss, queries_of: attack -> [N], of every attack planned; the best loss is NaN where it was not run.
      prediction, margin: [N], of the stored image.
      distances: norm -> [N], of the stored image to the clean one.
    """

    ids: np.ndarray
    labels: np.ndarray
    clean_prediction: np.ndarray
    clean_margin: np.ndarray
    clean_wrong: np.ndarray
    wrong: np.ndarray
    fooled_by: np.ndarray
    images: np.ndarray
    success: dict[str, np.ndarray]
    loss: dict[str, np.ndarray]
    queries_of: dict[str, np.ndarray]
    prediction: Any = None  # until the images are judged
    margin: Any = None
    distances: dict[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def of(cls, split: Split, clean: dict[str, np.ndarray], attacks: Iterable[str]) -> "Examples":
        """All of a set, before any of the `attacks`; `clean` is its verdict, see `rnas.attacks.verdict.judge`."""
        count, attacks = len(split), tuple(attacks)
        wrong = clean["wrong"].astype(bool)
        return cls(
            ids=split.ids,
            labels=split.labels,
            clean_prediction=clean["prediction"].astype(np.int32),
            clean_margin=clean["margin"].astype(np.float32),
            clean_wrong=wrong.copy(),
            wrong=wrong.copy(),
            fooled_by=np.full(len(wrong), "", dtype=f"<U{max([16, *map(len, attacks)])}"),
            images=split.images,
            success={attack: np.zeros(count, bool) for attack in attacks},
            loss={attack: np.full(count, np.nan, np.float32) for attack in attacks},
            queries_of={attack: np.zeros(count, np.int64) for attack in attacks},
        )

    def add(self, attack: str, rows: np.ndarray, result: AttackResult, new: np.ndarray) -> None:
        """Adds one run of an attack on `rows`; `new` are those that nothing fooled before."""
        self.success[attack][rows] |= result.success
        self.loss[attack][rows] = np.fmax(self.loss[attack][rows], result.loss)
        self.queries_of[attack][rows] += result.queries
        self.fooled_by[new] = attack

    @property
    def fooled_by_gradient(self) -> np.ndarray:
        """bool [N], fooled by any attack that uses gradients."""
        return self._any_gradient_attack(self.success)

    @property
    def met_gradient(self) -> np.ndarray:
        """bool [N], attacked by any attack that uses gradients."""
        return self._any_gradient_attack(self.queries_of)

    def _any_gradient_attack(self, column: dict[str, np.ndarray]) -> np.ndarray:
        found = [values > 0 for attack, values in column.items() if attack != "square"]
        return np.any([np.zeros(len(self.labels), bool), *found], axis=0)

    def finish(self, images: np.ndarray, judged: dict[str, np.ndarray]) -> None:
        """Adds the verdict of a last pass over the stored images [N,H,W,C]."""
        self.prediction = judged["prediction"].astype(np.int32)
        self.margin = judged["margin"].astype(np.float32)
        self.distances = self.lengths(images, pixels(self.images))

    @staticmethod
    def lengths(images: np.ndarray, clean: np.ndarray) -> dict[str, np.ndarray]:
        """Distances [N] between images [N,H,W,C], in every norm, in float64."""
        orders = {"linf": np.inf, "l2": 2, "l1": 1}
        if not len(images):
            return {norm: np.zeros(0) for norm in orders}
        move = (images.astype(np.float64) - clean.astype(np.float64)).reshape(len(images), -1)
        return {norm: np.linalg.norm(move, order, axis=1) for norm, order in orders.items()}

    def columns(self) -> dict[str, np.ndarray]:
        """The table, by column, once `finish` was called."""
        assert self.prediction is not None and self.margin is not None
        queries = sum(self.queries_of.values(), np.zeros(len(self.labels), np.int64))
        return {
            "index": np.arange(len(self.labels)),
            "id": self.ids,
            "label": self.labels,
            "clean_prediction": self.clean_prediction,
            "clean_correct": ~self.clean_wrong,
            "clean_margin": self.clean_margin,
            "fooled_by": self.fooled_by,
            "adversarial_prediction": self.prediction,
            "margin": self.margin,
            **{f"distance_{norm}": length.astype(np.float32) for norm, length in self.distances.items()},
            "queries": queries,
            **{f"success_{attack}": fooled for attack, fooled in self.success.items()},
            **{f"loss_{attack}": loss for attack, loss in self.loss.items()},
        }

    def write(self, folder: Path, images: np.ndarray, clean: np.ndarray) -> None:
        """Writes the table, and of the stored `images` [N,H,W,C] those that fool."""
        write_examples(folder, self.columns())
        rows = np.flatnonzero(self.fooled_by != "")
        FoolingImages(rows, images[rows], clean[rows]).write(folder / IMAGES)
