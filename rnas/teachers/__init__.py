"""Frozen robust teachers: kept in a directory of their own, named by path and content hash."""

from rnas.teachers.teacher import Tap, Teacher, content_hash, describe_taps, load_teacher, save_teacher

__all__ = ["Tap", "Teacher", "content_hash", "describe_taps", "load_teacher", "save_teacher"]
