"""A teacher whose outputs for fixed views of the training images were computed beforehand.

View v of image i is one augmentation of it, always the same, so a student sees exactly the image that the teacher saw.
An epoch shows one view of every image; the next epoch shows the next view, and after the last the first again (for
logits alone: Shen & Xing 2021, arXiv 2112.01528).
"""

import dataclasses
import math
from typing import NamedTuple
import zlib

import jax
import jax.numpy as jnp

from rnas import objectives
from rnas.objectives import TeacherApply
from rnas.steps.augmentation import Augmentation, augment, to_float


class CachedOutputs(NamedTuple):
    """Outputs of a teacher for images, with any leading axes."""

    logits: jax.Array  # [..., K] float32
    norms: jax.Array  # [..., n_t] float32, lengths of the attention maps
    maps: jax.Array  # [..., n_t, size²] float16, the maps divided by their lengths


class CachedBatch(NamedTuple):
    """What a dispatch takes in place of rows."""

    rows: jax.Array  # [...] of the training images
    outputs: CachedOutputs | None = None  # of the teacher for their views, where these are not on the device already


@dataclasses.dataclass(frozen=True)
class Views:
    """`count` augmentations of every training image, a function of (seed, view, row) alone."""

    augmentation: Augmentation
    seed: int
    count: int

    def at(self, step: jax.Array, steps_per_epoch: int) -> jax.Array:
        """Returns the index of the view that `step` shows."""
        return step // steps_per_epoch % self.count

    def show(self, images: jax.Array, view: jax.Array, rows: jax.Array) -> jax.Array:
        """Returns view `view`, as bytes, of the images [N,H,W,C] uint8 whose rows are `rows` [N]."""
        root = jax.random.fold_in(jax.random.key(self.seed), zlib.crc32(b"teacher/views"))
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(jax.random.fold_in(root, view), rows)
        return augment(self.augmentation, keys, images)


@dataclasses.dataclass(frozen=True)
class CachedTeacher:
    """Finds the views of a step and the teacher's outputs for them.

    Attributes:
      views: of which outputs are kept.
      steps_per_epoch: of the stage.
      taps: whose maps are kept, in their order.
    """

    views: Views
    steps_per_epoch: int
    taps: tuple[str, ...]

    def look_up(self, images: jax.Array, batch: CachedBatch, kept: CachedOutputs | None, step: jax.Array):
        """Returns the views [...,N,H,W,C], as bytes, of the batch's rows [...,N], and the teacher's outputs for them.

        Args:
          images: all training images, uint8.
          batch: rows, and the outputs where `kept` does not hold them.
          kept: outputs of all views, [views, images, ...]; None where the batch brings its own, or without a teacher.
          step: the global step, which decides the view.
        """
        view = self.views.at(step, self.steps_per_epoch)
        outputs = batch.outputs
        if outputs is None:
            outputs = jax.tree.map(lambda leaf: leaf[view, batch.rows], kept)
        show = self.views.show
        for _ in batch.rows.shape[:-1]:
            show = jax.vmap(show, in_axes=(0, None, 0))
        return show(images[batch.rows], view, batch.rows), outputs

    def apply(self, outputs: CachedOutputs, images: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Stands in for the teacher's `apply`: (logits, taps), each tap of one channel, whose map is the kept one.

        It takes the outputs of the teacher for the images in place of its variables.
        """
        del images
        side = math.isqrt(outputs.maps.shape[-1])
        maps = outputs.maps.astype(jnp.float32) * outputs.norms[..., None]
        taps = jnp.sqrt(maps).reshape(*maps.shape[:2], side, side, 1)
        return outputs.logits, {name: taps[:, index] for index, name in enumerate(self.taps)}


def teacher_outputs_of_views(
    teacher: TeacherApply, views: Views, taps: tuple[str, ...], size: int, variables, images, rows, view
) -> CachedOutputs:
    """Returns the outputs of a teacher, with maps of `taps` of side `size` pixels, for what `Views.show` shows."""
    logits, out = teacher(variables, to_float(views.show(images, view, rows)))
    logits = logits.astype(jnp.float32)
    if not taps:
        nothing = jnp.zeros((len(rows), 0))
        return CachedOutputs(logits, nothing, nothing[..., None].astype(jnp.float16))
    energies = objectives.attention_energies(out, taps, size)
    norms = jnp.linalg.norm(energies, axis=-1)
    units = energies / jnp.where(norms > 0, norms, 1.0)[..., None]
    return CachedOutputs(logits, norms, units.astype(jnp.float16))
