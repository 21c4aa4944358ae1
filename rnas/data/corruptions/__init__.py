"""Common corruptions of images, as Hendrycks and Dietterich defined them for CIFAR-10-C (arXiv 1903.12261).

`corrupt` makes the images of a type and a severity: 14 of the 15 types of the benchmark, and its 4 extra ones. The
fifteenth, frost, lays photographs over an image, which are not shipped: `frost_procedural` is ours in its place.
`PreparedCorruptions` reads the published images themselves, frost included.
"""

from rnas.data.corruptions.corrupted_sets import ComputedCorruptions, CorruptedSet, PreparedCorruptions
from rnas.data.corruptions.corruption import CORRUPTIONS, Corruption, corrupt, types_for

__all__ = [
    "CORRUPTIONS",
    "ComputedCorruptions",
    "CorruptedSet",
    "Corruption",
    "PreparedCorruptions",
    "corrupt",
    "types_for",
]
