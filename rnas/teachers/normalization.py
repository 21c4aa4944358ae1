"""Normalisations inside published models: means and standard deviations of pixels in [0, 1]."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Normalization(NamedTuple):
    """What is subtracted from each channel, and what the difference is divided by."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def near(self, other: "Normalization") -> bool:
        """Whether two are the same but for rounding; the closest published ones differ by 5e-5."""
        return len(self.mean) == len(other.mean) and np.allclose(self, other, rtol=1e-5, atol=1e-5)


# By name. None but the first two are for other than three channels.
NAMED = {
    "none": Normalization((0.0,), (1.0,)),
    "half": Normalization((0.5,), (0.5,)),  # 2 x - 1
    "cifar10": Normalization((0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)),
    "cifar10_madry": Normalization((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar10_augustin": Normalization(
        (0.4913997551666284, 0.48215855929893703, 0.4465309133731618),
        (0.24703225141799082, 0.24348516474564, 0.26158783926049628),
    ),
    "cifar10_rony": Normalization((0.491, 0.482, 0.447), (0.247, 0.243, 0.262)),
    "cifar100": Normalization((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "cifar100_rice": Normalization(
        (0.5070751592371323, 0.48654887331495095, 0.4409178433670343),
        (0.2673342858792401, 0.2564384629170883, 0.27615047132568404),
    ),
    "cifar100_chen": Normalization((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    "imagenet": Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


def expand(name: str, channels: int) -> Normalization:
    """The normalisation of that name; what is the same for all channels is repeated for each."""
    mean, std = NAMED[name]
    return Normalization(mean * channels, std * channels) if len(mean) == 1 else Normalization(mean, std)


def name_of(normalization: Normalization) -> str | None:
    """Its name in `NAMED`, if it has one."""
    channels = len(normalization.mean)
    return next((name for name in NAMED if normalization.near(expand(name, channels))), None)


def read_normalization(given: str | tuple[Sequence[float], Sequence[float]], channels: int) -> Normalization:
    """Reads a normalisation that a user gives.

    It is a name of `NAMED`; or means and standard deviations, as a pair or as a text such as
    `0.49,0.48,0.45/0.2,0.2,0.2`. Raises ValueError if the name is unknown, the numbers are not one per channel, or
    cannot be of pixels in [0, 1].
    """
    if isinstance(given, str) and "/" not in given:
        if given not in NAMED:
            raise ValueError(
                f"no normalisation is named {given!r}; the names are {', '.join(NAMED)}, or write means and standard "
                "deviations: 0.49,0.48,0.45/0.2,0.2,0.2."
            )
        mean, std = expand(given, channels)
    else:
        pair = given.split("/", 1) if isinstance(given, str) else given
        try:
            mean, std = (tuple(map(float, part.split(",") if isinstance(part, str) else part)) for part in pair)
        except ValueError as error:
            raise ValueError(f"{given!r}: expected numbers separated by commas.") from error
    if not (len(mean) == len(std) == channels and np.isfinite([mean, std]).all() and min(std) > 0):
        raise ValueError(
            f"normalization={given!r}: expected {channels} means and {channels} positive standard deviations, finite "
            "numbers, one for each channel."
        )
    if min(mean) < 0 or max(mean) > 1 or max(std) > 1:
        hint = ""
        if max(mean) > 1:
            scaled = "/".join(",".join(f"{number / 255:.4f}" for number in part) for part in (mean, std))
            hint = f" Those of pixels from 0 to 255 must be divided by 255: {scaled}."
        raise ValueError(
            f"normalization={given!r}: expected means from 0 to 1 and standard deviations of at most 1, because pixels "
            f"lie in [0, 1].{hint}"
        )
    return Normalization(mean, std)
