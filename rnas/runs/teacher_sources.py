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
from rnas.runs.run import Run
from rnas.steps import Augmentation, CachedTeacher, Views, run_teacher_on_views
from rnas.teachers import Teacher
from rnas.teachers.cache import TeacherCache, teacher_outputs
from rnas.training.loaders import CachedTeacherLoader, Loader, ResidentLoader
from rnas.training.messages import say

GIB = 2**30
AUGMENTED = Augmentation(0, False)  # of views: they are augmented already


class TeacherSource(NamedTuple):
    """The teacher's part in a step and in the loop around it."""

    apply: TeacherApply | None  # the step's teacher; None for none
    variables: Any  # what the loop hands to it
    augmentation: Augmentation  # of the step
    loader: Loader
    cached_teacher: CachedTeacher | None = None  # how the step finds the cached outputs, where there are some
    natural: TeacherApply | None = None  # the step's second teacher, given the same variables


def teacher_source(
    run: Run, teacher: Teacher | None, augmentation: Augmentation, loader: Loader, steps_per_epoch: int, *,
    student: bool, natural: Teacher | None = None,
) -> TeacherSource:  # fmt: skip
    """The source that the configuration asks for; a cache is finished first.

    Args:
      student: whether the stage trains the student or a baseline. With a cache those see its views even without a
        teacher: they differ in how they learn, not in the images.
      natural: a second teacher. Methods of two teachers run both in every step: neither is cached.
    """
    settings = run.config.teacher.cache
    if natural is not None:
        assert not settings.views, "checked before the run"
        variables = {"robust": teacher.variables if teacher else None, "natural": natural.variables}
        robust = lambda variables, images: teacher.apply(variables["robust"], images)  # noqa: E731
        other = lambda variables, images: natural.apply(variables["natural"], images)  # noqa: E731
        return TeacherSource(robust, variables, augmentation, loader, natural=other)
    if not settings.views or (teacher is None and not student):
        apply, variables = (teacher.apply, teacher.variables) if teacher else (None, None)
        return TeacherSource(apply, variables, augmentation, loader)
    assert isinstance(loader, ResidentLoader), "checked before the run: a cache needs images in memory"
    if teacher is None:
        views = CachedTeacher(views_of(run), steps_per_epoch, ())
        return TeacherSource(None, None, AUGMENTED, CachedTeacherLoader(loader), views)
    cache, gib = finished_cache(run), settings.resident_gib
    return cached(cache, views_of(run), loader, steps_per_epoch=steps_per_epoch, resident_gib=gib)


def cached(
    cache: TeacherCache, views: Views, loader: ResidentLoader, *, steps_per_epoch: int, resident_gib: float
) -> TeacherSource:
    """A finished cache: on the device if it is no larger than `resident_gib`, else on disk."""
    teacher = CachedTeacher(views, steps_per_epoch, cache.taps)
    resident = cache.bytes <= resident_gib * GIB

    def read(step, rows):
        return cache.read(int(views.at(step, steps_per_epoch)), rows)

    variables = cache.everything() if resident else None
    outputs = CachedTeacherLoader(loader, None if resident else read)
    return TeacherSource(teacher.apply, variables, AUGMENTED, outputs, teacher)


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

    Raises ValueError where its folder holds outputs of another teacher, or of other views.
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
