"""The weight step of a search as data: what both sides of its benchmark are given, equal in every number."""

import dataclasses

import numpy as np

from rnas.spaces import width_space
from rnas.spaces.width_space import WidthSpace

CLASSES, SIDE, TEACHER_TAPS, MAP_SIZE = 10, 32, 31, 14
MEAN, STD = (0.491, 0.482, 0.447), (0.247, 0.243, 0.262)
CONV_BIAS, BN_MOMENTUM, BN_EPSILON = True, 0.997, 1e-5
GAMMA, KL_WEIGHT, ALPHA, BETA = 1.0, 1.0, 0.2, 0.5
TEMPERATURE = 5.0  # of the first epoch
RATE, L2, BETAS = 0.004, 2e-4, (0.9, 0.999)


@dataclasses.dataclass(frozen=True)
class Problem:
    """Images in memory, and a frozen teacher's outputs for every batch of them.

    Attributes:
      space: of the supernet, at its largest.
      images, labels: uint8 [4·batch,32,32,3] and int32 [4·batch].
      teacher_logits: [batch,K].
      teacher_taps: [batch,n_t,14,14], activations of one channel: their squares are the maps.
    """

    space: WidthSpace
    images: np.ndarray
    labels: np.ndarray
    teacher_logits: np.ndarray
    teacher_taps: np.ndarray

    @property
    def batch(self) -> int:
        return len(self.teacher_logits)

    @property
    def sizes(self) -> dict:
        return {"space": self.space.name, "batch": self.batch, "image": [SIDE, SIDE, 3], "teacher_taps": TEACHER_TAPS}

    def rows(self, count: int) -> np.ndarray:
        """Rows of `images` in each of `count` steps, [count, batch]."""
        starts = np.arange(count) % 4 * self.batch
        return (starts[:, None] + np.arange(self.batch)).astype(np.int32)


def make_problem(space: str, batch: int, seed: int = 0) -> Problem:
    random = np.random.default_rng(seed)
    return Problem(
        space=width_space.get_space(space),
        images=random.integers(0, 256, (4 * batch, SIDE, SIDE, 3), np.uint8),
        labels=random.integers(0, CLASSES, 4 * batch, np.int32),
        teacher_logits=2 * random.normal(size=(batch, CLASSES)).astype(np.float32),
        teacher_taps=random.normal(size=(batch, TEACHER_TAPS, MAP_SIZE, MAP_SIZE)).astype(np.float32),
    )


def cost(space: WidthSpace, widths):
    """Multiply-accumulates of the network with (effective) `widths`, one image."""
    return width_space.cost(space, widths, image_shape=(SIDE, SIDE, 3), num_classes=CLASSES, conv_bias=CONV_BIAS)
