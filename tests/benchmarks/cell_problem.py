"""The bilevel step of a search over cells as data: what both sides of its benchmark get, equal in every number."""

import dataclasses

import numpy as np

CLASSES, SIDE = 10, 32
EPSILON, STEP_SIZE, STEPS = 8 / 255, 2 / 255, 7
BN_MOMENTUM, BN_EPSILON = 0.9, 1e-5
RATE, MOMENTUM, DECAY, CLIP = 0.025, 0.9, 3e-4, 5.0  # SGD of the weights
ARCH_RATE, ARCH_L2, BETAS = 3e-4, 1e-3, (0.5, 0.999)  # Adam of the architecture
ADVERSARIAL_WEIGHT = 0.1


@dataclasses.dataclass(frozen=True)
class Problem:
    """Images in memory.

    Attributes:
      space: name of the cell space.
      channels, cells: C of the supernet's first cell, and how many cells it has.
      batch: training images a step, and as many validation images.
      images, labels: uint8 [8·batch,32,32,3] and int32 [8·batch].
    """

    space: str
    channels: int
    cells: int
    batch: int
    images: np.ndarray
    labels: np.ndarray

    @property
    def sizes(self) -> dict:
        return {
            "space": self.space, "channels": self.channels, "cells": self.cells, "batch": self.batch,
            "image": [SIDE, SIDE, 3],
        }  # fmt: skip

    def rows(self, count: int) -> np.ndarray:
        """Rows of `images` in each of `count` steps, [count, 2·batch]: the training half, then the validation half."""
        starts = np.arange(count) % 4 * 2 * self.batch
        return (starts[:, None] + np.arange(2 * self.batch)).astype(np.int32)


def make_problem(space: str, batch: int, channels: int, cells: int, seed: int = 0) -> Problem:
    random = np.random.default_rng(seed)
    return Problem(
        space, channels, cells, batch,
        images=random.integers(0, 256, (8 * batch, SIDE, SIDE, 3), np.uint8),
        labels=random.integers(0, CLASSES, 8 * batch, np.int32),
    )  # fmt: skip
