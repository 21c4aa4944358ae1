"""The training step of a network of a table as data: what both sides of its benchmark get, equal in every number."""

import dataclasses

import numpy as np

CLASSES = 10
MEAN, STD = (0.4914, 0.4824, 0.4467), (0.2471, 0.2435, 0.2616)
EPSILON, STEP_SIZE, STEPS = 8 / 255, 2 / 255, 7
BN_MOMENTUM, BN_EPSILON = 0.9, 1e-5
RATE, MOMENTUM, DECAY = 0.05, 0.9, 5e-4  # SGD, the decay coupled


@dataclasses.dataclass(frozen=True)
class Problem:
    """Images in memory.

    Attributes:
      arch: code of the cell.
      channels, cells: of the first stage, and in each of the three stages.
      batch: images a step.
      images, labels: uint8 [4·batch,side,side,3] and int32 [4·batch].
    """

    arch: str
    channels: int
    cells: int
    batch: int
    images: np.ndarray
    labels: np.ndarray

    @property
    def sizes(self) -> dict:
        return {
            "arch": self.arch, "channels": self.channels, "cells": self.cells, "batch": self.batch,
            "image": list(self.images.shape[1:]), "attack_steps": STEPS,
        }  # fmt: skip

    def rows(self, count: int) -> np.ndarray:
        """Rows of `images` in each of `count` steps, [count, batch]."""
        starts = np.arange(count) % 4 * self.batch
        return (starts[:, None] + np.arange(self.batch)).astype(np.int32)


def make_problem(arch: str, batch: int, channels: int, cells: int, side: int = 32, seed: int = 0) -> Problem:
    random = np.random.default_rng(seed)
    return Problem(
        arch, channels, cells, batch,
        images=random.integers(0, 256, (4 * batch, side, side, 3), np.uint8),
        labels=random.integers(0, CLASSES, 4 * batch, np.int32),
    )  # fmt: skip
