"""A teacher that answers from memory: what it said of views of the training images, in place of its forward pass.

View v of image i is one augmentation of it, the same whenever it is asked for, so a student sees exactly the image that
the teacher saw. An epoch shows one view of every image; the next epoch shows the next view, and after the last the
first again (for logits alone: Shen & Xing 2021, arXiv 2112.01528).
"""

import dataclasses
import math
from typing import NamedTuple
import zlib

import jax
import jax.numpy as jnp

from rnas import objectives
from rnas.objectives.joint import TeacherApply
from rnas.steps import augment
from rnas.steps.parts import Augmentation, varied


class CachedOutputs(NamedTuple):
    """What a teacher says of images, with any leading axes.

    Attributes:
      logits: [..., K] float32.
      norms: [..., n_t] float32, lengths of the attention maps.
      maps: [..., n_t, size²] float16, the maps divided by their lengths.
    """

    logits: jax.Array
    norms: jax.Array
    maps: jax.Array


class CachedBatch(NamedTuple):
    """What a step takes.

    Attributes:
      rows: [...] of the training images.
      told: what the teacher said of their views, where that is not on the device already.
    """

    rows: jax.Array
    told: CachedOutputs | None = None


@dataclasses.dataclass(frozen=True)
class Views:
    """`count` augmentations of every training image, a function of (seed, view, row) alone."""

    augmentation: Augmentation
    seed: int
    count: int

    def at(self, step: jax.Array, steps_per_epoch: int) -> jax.Array:
        """The view that `step` shows."""
        return step // steps_per_epoch % self.count

    def show(self, images: jax.Array, view: jax.Array, rows: jax.Array) -> jax.Array:
        """View `view` of the images [N,H,W,C] uint8 that stand at `rows` [N], as bytes."""
        root = jax.random.fold_in(jax.random.key(self.seed), zlib.crc32(b"teacher/views"))
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(jax.random.fold_in(root, view), rows)
        return varied(self.augmentation, keys, images)


@dataclasses.dataclass(frozen=True)
class CachedTeacher:
    """Looks up views and what the teacher said of them.

    Attributes:
      views: that were kept.
      steps_per_epoch: of the stage.
      taps: whose maps were kept, in their order.
    """

    views: Views
    steps_per_epoch: int
    taps: tuple[str, ...]

    def look_up(self, images: jax.Array, lesson: CachedBatch, memory: CachedOutputs | None, step: jax.Array):
        """Returns (views [N,H,W,C] as bytes, what the teacher said of them) of the lesson's rows.

        Args:
          images: all training images, uint8.
          memory: all that the teacher said, [views, images, ...], where the lesson itself does not bring it; None
            where no teacher was asked, of whom nothing is found.
        """
        view = self.views.at(step, self.steps_per_epoch)
        told = lesson.told
        if told is None:
            told = jax.tree.map(lambda leaf: leaf[view, lesson.rows], memory)
        return self.views.show(images[lesson.rows], view, lesson.rows), told

    def answer(self, told: CachedOutputs, images: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Stands in for the teacher's `apply`: (logits, taps), each tap of one channel, whose map is the kept one."""
        del images  # those that the teacher was asked about
        side = math.isqrt(told.maps.shape[-1])
        maps = told.maps.astype(jnp.float32) * told.norms[..., None]
        taps = jnp.sqrt(maps).reshape(*maps.shape[:2], side, side, 1)
        return told.logits, {name: taps[:, index] for index, name in enumerate(self.taps)}


def run_teacher_on_views(teacher: TeacherApply, views: Views, taps: tuple[str, ...], size: int):
    """Wraps a teacher so that every device of this host asks it about views.

    Returns:
      (variables, images [D,n,H,W,C] uint8, rows [D,n], view) → `CachedOutputs` with leading axes [D,n]; hosts need not agree.
    """

    def told(variables, images, rows, view):
        logits, out = teacher(variables, augment.to_float(views.show(images, view, rows)))
        logits = logits.astype(jnp.float32)
        if not taps:
            nothing = jnp.zeros((len(rows), 0))
            return CachedOutputs(logits, nothing, nothing[..., None].astype(jnp.float16))
        energies = objectives.attention_energies(out, taps, size)
        norms = jnp.linalg.norm(energies, axis=-1)
        units = energies / jnp.where(norms > 0, norms, 1.0)[..., None]
        return CachedOutputs(logits, norms, units.astype(jnp.float16))

    return jax.pmap(told, in_axes=(None, 0, 0, None), devices=jax.local_devices())
