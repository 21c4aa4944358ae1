"""What a stage that trains takes of its teacher: outputs of every step, cached outputs, or nothing."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from rnas.objectives import TeacherApply
from rnas.runs import recipes
from rnas.runs.run import Run, say
from rnas.steps import Augmentation, CachedTeacher, Views, run_teacher_on_views
from rnas.teachers import Teacher
from rnas.teachers.cache import TeacherCache, teacher_outputs
from rnas.training.loaders import CachedTeacherLoader, Loader, ResidentLoader

GIB = 2**30
AUGMENTED = Augmentation(0, False)  # of views: they are augmented already


class TeacherSource(NamedTuple):
    """The teacher's part in a step and in the loop around it.

    Attributes:
      apply: the step's teacher; None for none.
      variables: what the loop hands to it.
      augmentation: of the step.
      loader: of images.
      cached_teacher: how the step finds the cached outputs, where there are some.
      natural: the step's second teacher, given the same variables.
    """

    apply: TeacherApply | None
    variables: Any
    augmentation: Augmentation
    loader: Loader
    cached_teacher: CachedTeacher | None = None
    natural: TeacherApply | None = None

    def beside(self, natural: Teacher) -> TeacherSource:
        """With a second teacher. Methods of two teachers run both in every step: neither is cached."""
        assert self.cached_teacher is None
        return self._replace(
            apply=lambda variables, images: self.apply(variables["robust"], images),
            natural=lambda variables, images: natural.apply(variables["natural"], images),
            variables={"robust": self.variables, "natural": natural.variables},
        )


def live(teacher: Teacher | None, augmentation: Augmentation, loader: Loader) -> TeacherSource:
    """The teacher itself, if there is one."""
    if teacher is None:
        return TeacherSource(None, None, augmentation, loader)
    return TeacherSource(teacher.apply, teacher.variables, augmentation, loader)


def views_alone(views: Views, loader: ResidentLoader, *, steps_per_epoch: int) -> TeacherSource:
    """No teacher, on the images that a stage with cached outputs sees."""
    return TeacherSource(None, None, AUGMENTED, CachedTeacherLoader(loader), CachedTeacher(views, steps_per_epoch, ()))


def cached(
    cache: TeacherCache, views: Views, loader: ResidentLoader, *, steps_per_epoch: int, resident_gib: float
) -> TeacherSource:
    """A finished cache: on the device if it is no larger than `resident_gib`, else on disk."""
    cached_teacher = CachedTeacher(views, steps_per_epoch, cache.taps)
    resident = cache.bytes <= resident_gib * GIB

    def read(step, rows):
        return cache.read(int(views.at(step, steps_per_epoch)), rows)

    return TeacherSource(
        cached_teacher.apply,
        cache.everything() if resident else None,
        AUGMENTED,
        CachedTeacherLoader(loader, None if resident else read),
        cached_teacher,
    )


def teacher_source(
    run: Run,
    teacher: Teacher | None,
    augmentation: Augmentation,
    loader: Loader,
    steps_per_epoch: int,
    *,
    student: bool,
) -> TeacherSource:
    """The source that the configuration asks for; a cache is finished first.

    Args:
      student: whether the stage trains the student or a baseline. With a cache those see its views even without a
        teacher: they differ in how they learn, not in the images.
    """
    settings = run.config.teacher.cache
    if not settings.views or (teacher is None and not student):
        return live(teacher, augmentation, loader)
    assert isinstance(loader, ResidentLoader), "checked before the run: a cache needs images in memory"
    if teacher is None:
        return views_alone(views_of(run), loader, steps_per_epoch=steps_per_epoch)
    return cached(
        finished_cache(run), views_of(run), loader, steps_per_epoch=steps_per_epoch, resident_gib=settings.resident_gib
    )


# -- the cache of a run ----------------------------------------------------------------------------------


def views_of(run: Run) -> Views:
    """The augmentations of the training images whose outputs are cached."""
    return Views(recipes.augmentation(run.config, "train"), run.config.seed, run.config.teacher.cache.views)


def cache_folder(run: Run) -> Path:
    return Path(run.config.teacher.cache.dir or run.workdir / "teacher_cache")


@functools.lru_cache(1)  # a stage with a cache needs it more than once
def cache_identity(run: Run) -> dict:
    """All that the content of the teacher cache depends on."""
    config, teacher, views = run.config, run.teacher, views_of(run)
    taps = teacher.tap_names if any(objective.gamma for objective in recipes.objectives_of(config)) else ()
    # How random numbers come of a seed depends on JAX, its version and settings; a few views show it.
    shape = (16, *run.dataset.image_shape)
    sample = jax.jit(views.show)(np.arange(np.prod(shape)).astype(np.uint8).reshape(shape), 0, np.arange(16))
    return {
        "teacher": teacher.identity,
        "data": {key: value for key, value in run.dataset.fingerprint.items() if key != "description"},
        "augmentation": dataclasses.asdict(views.augmentation),
        "seed": config.seed,
        "sample_of_views": hashlib.sha256(np.asarray(sample).data).hexdigest(),
        "dtype": config.dtype,
        "maps": {"taps": list(taps), "size": config.attention.size} if taps else None,
    }


def finished_cache(run: Run) -> TeacherCache:
    """The teacher cache, after making what is missing of it.

    Raises:
      ValueError: its folder holds outputs of another teacher, or of other views.
    """
    teacher, views = run.teacher, views_of(run)
    cache = TeacherCache(
        cache_folder(run), cache_identity(run),
        images=len(run.dataset.train), views=views.count, num_classes=teacher.num_classes,
    )  # fmt: skip
    missing = len(cache.missing())
    state = f"{missing} shards to be made" if missing else "complete"
    size = f"{views.count} views of {cache.images} images, {cache.bytes / GIB:.3g} GiB"
    say(f"teacher cache in {cache.folder}: {size}, {state}.")
    program = run_teacher_on_views(teacher.apply, views, cache.taps, cache.size)
    cache.build(teacher_outputs(program, teacher.variables, run.dataset.train.images))
    return cache
