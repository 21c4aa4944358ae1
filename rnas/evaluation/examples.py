"""The table of an evaluation: one row per example, and the images that fooled the model."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from rnas.artifacts.attack import IMAGES, FoolingImages, write_examples
from rnas.attacks.catalogue import WITHOUT_GRADIENT
from rnas.attacks.result import AttackResult
from rnas.data.datasets import Split
from rnas.evaluation.runner import pixels


class Examples:
    """All of a set of N examples, first without attack, then under each of the `attacks`.

    Attributes:
      clean: verdict on them without attack, see `rnas.attacks.verdict.judge`.
      clean_wrong, wrong: bool [N], before and after the attacks.
      fooled_by: [N], the first attack that fooled it; '' for none.
      success, loss, queries_of: attack -> [N], of every attack planned; the best loss is NaN where it was not run.
      claimed, held: bool [N], an attack claimed to fool it; every claim was true.
    """

    def __init__(self, split: Split, clean: dict[str, np.ndarray], attacks: Iterable[str]):
        count, attacks = len(split), tuple(attacks)
        self.split, self.clean = split, clean
        self.clean_wrong = clean["wrong"].astype(bool)
        self.wrong = self.clean_wrong.copy()
        self.fooled_by = np.full(count, "", dtype=f"<U{max([16, *map(len, attacks)])}")
        self.success = {attack: np.zeros(count, bool) for attack in attacks}
        self.loss = {attack: np.full(count, np.nan, np.float32) for attack in attacks}
        self.queries_of = {attack: np.zeros(count, np.int64) for attack in attacks}
        self.claimed, self.held = np.zeros(count, bool), np.ones(count, bool)

    def add(self, attack: str, rows: np.ndarray, result: AttackResult, new: np.ndarray) -> None:
        """Adds one run of an attack on `rows`; `new` are those that nothing fooled before."""
        self.success[attack][rows] |= result.success
        self.loss[attack][rows] = np.fmax(self.loss[attack][rows], result.loss)
        self.queries_of[attack][rows] += result.queries
        self.fooled_by[new] = attack

    def with_gradients(self, column: dict[str, np.ndarray]) -> np.ndarray:
        """bool [N], whether `column`, such as `success`, is above zero for any attack that uses gradients."""
        found = [values > 0 for attack, values in column.items() if attack not in WITHOUT_GRADIENT]
        return np.any([np.zeros(len(self.split), bool), *found], axis=0)

    @staticmethod
    def lengths(images: np.ndarray, clean: np.ndarray) -> dict[str, np.ndarray]:
        """Distances [N] between images [N,H,W,C], in every norm, in float64."""
        orders = {"linf": np.inf, "l2": 2, "l1": 1}
        if not len(images):
            return {norm: np.zeros(0) for norm in orders}
        move = (images.astype(np.float64) - clean.astype(np.float64)).reshape(len(images), -1)
        return {norm: np.linalg.norm(move, order, axis=1) for norm, order in orders.items()}

    def write(self, folder: Path, images: np.ndarray, judged: dict[str, np.ndarray]) -> None:
        """Writes the table, and of the stored `images` [N,H,W,C], which a last pass `judged`, those that fool."""
        clean, count = pixels(self.split.images), len(self.split)
        columns = {
            "index": np.arange(count),
            "id": self.split.ids,
            "label": self.split.labels,
            "clean_prediction": self.clean["prediction"].astype(np.int32),
            "clean_correct": ~self.clean_wrong,
            "clean_margin": self.clean["margin"].astype(np.float32),
            "fooled_by": self.fooled_by,
            "adversarial_prediction": judged["prediction"].astype(np.int32),
            "margin": judged["margin"].astype(np.float32),
            **{f"distance_{norm}": length.astype(np.float32) for norm, length in self.lengths(images, clean).items()},
            "queries": sum(self.queries_of.values(), np.zeros(count, np.int64)),
            **{f"success_{attack}": fooled for attack, fooled in self.success.items()},
            **{f"loss_{attack}": loss for attack, loss in self.loss.items()},
        }
        write_examples(folder, columns)
        rows = np.flatnonzero(self.fooled_by != "")
        FoolingImages(rows, images[rows], clean[rows]).write(folder / IMAGES)
