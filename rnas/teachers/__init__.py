"""Frozen robust teachers: kept in a directory of their own, named by path and content hash.

`import_torch` makes one of a published checkpoint, `save_teacher` writes its directory, `load_teacher` reads it.
"""

from rnas.teachers.importing import import_torch
from rnas.teachers.teacher import Tap, Teacher, content_hash, describe_taps, load_teacher, save_teacher

__all__ = [
    "Tap",
    "Teacher",
    "content_hash",
    "describe_taps",
    "import_torch",
    "load_teacher",
    "save_teacher",
]
