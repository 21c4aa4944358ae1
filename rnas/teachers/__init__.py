"""Frozen robust teachers: kept in a directory of their own, named by path and content hash."""

from rnas.teachers.teacher import Tap, Teacher, describe_taps, load_teacher, save_teacher

__all__ = ["Tap", "Teacher", "describe_taps", "load_teacher", "save_teacher"]
