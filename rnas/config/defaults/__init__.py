"""Every configuration key, its default and its unit: one module a system, and `sections`, what they share.

Each system's module has `get_config()`, `check(config)` and, where its files share them, `VARIANTS`.
"""

from types import ModuleType

from ml_collections import ConfigDict

from rnas.config.defaults import dsara, rnas_cl, robbench
from rnas.config.defaults.ranges import RANGES
from rnas.config.ranges import check_ranges

SYSTEMS = {"rnas_cl": rnas_cl, "dsara": dsara, "robbench": robbench}


def system(name: str) -> ModuleType:
    """Returns the module of a system; raises ValueError naming the known ones."""
    if name not in SYSTEMS:
        raise ValueError(f"unknown system {name!r}; known: {', '.join(SYSTEMS)}.")
    return SYSTEMS[name]


def check(config: ConfigDict) -> None:
    """Raises ValueError for what breaks a rule that needs the configuration alone: a range, or a system's own rules.

    Names of registered things (methods, spaces, baselines, data sets) are checked by what registers them.
    """
    check_ranges(config, RANGES)
    system(config.system).check(config)
