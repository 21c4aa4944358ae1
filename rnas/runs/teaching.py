"""Who teaches a stage: a teacher, in every step or by what it said of views of the images beforehand; or nobody."""

from typing import Any, NamedTuple

from rnas import steps
from rnas.objectives import TeacherApply
from rnas.teachers import Teacher
from rnas.teachers.cache import TeacherCache
from rnas.training.loaders import CachedTeacherLoader, ResidentLoader, StreamLoader

GIB = 2**30
AUGMENTED = steps.Augmentation(0, False)  # of views: they are augmented already


class Teaching(NamedTuple):
    """What a stage passes on to its step and its loop.

    Attributes:
      apply: the step's teacher.
      variables: that the loop hands to it.
      augmentation: of the step.
      loader: of images.
      cached_teacher: how the step finds what was said beforehand, where it was.
      natural: the step's second teacher, given the same variables.
    """

    apply: TeacherApply | None
    variables: Any
    augmentation: steps.Augmentation
    loader: ResidentLoader | StreamLoader | CachedTeacherLoader
    cached_teacher: steps.CachedTeacher | None = None
    natural: TeacherApply | None = None

    def beside(self, natural: Teacher) -> "Teaching":
        """With a second teacher; the first one must be asked in every step, as methods of two teachers do."""
        assert self.cached_teacher is None
        return self._replace(
            apply=lambda variables, images: self.apply(variables["robust"], images),
            natural=lambda variables, images: natural.apply(variables["natural"], images),
            variables={"robust": self.variables, "natural": natural.variables},
        )


def live(teacher: Teacher | None, augmentation: steps.Augmentation, loader: ResidentLoader | StreamLoader) -> Teaching:
    """By the teacher itself, if there is one."""
    return Teaching(teacher and teacher.apply, teacher and teacher.variables, augmentation, loader)


def untaught(views: steps.Views, loader: ResidentLoader, *, steps_per_epoch: int) -> Teaching:
    """By nobody, on the images that a taught stage sees."""
    return Teaching(None, None, AUGMENTED, CachedTeacherLoader(loader), steps.CachedTeacher(views, steps_per_epoch, ()))


def recalled(
    cache: TeacherCache, views: steps.Views, loader: ResidentLoader, *, steps_per_epoch: int, resident_gib: float
) -> Teaching:
    """From a finished cache: from the device's memory if it is no larger than `resident_gib`, else from disk."""
    cached_teacher = steps.CachedTeacher(views, steps_per_epoch, cache.taps)
    resident = cache.bytes <= resident_gib * GIB

    def read(step, rows):
        return cache.read(int(views.at(step, steps_per_epoch)), rows)

    return Teaching(
        cached_teacher.apply,
        cache.everything() if resident else None,
        AUGMENTED,
        CachedTeacherLoader(loader, None if resident else read),
        cached_teacher,
    )
