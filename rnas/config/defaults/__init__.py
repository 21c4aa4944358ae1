"""Every configuration key, its default and its unit: one module a system, and `common`, what they share.

Experiment files under `configs/` start from a system's `get_config()` and change what they need.
"""

from ml_collections import ConfigDict

from rnas.config.defaults import dsara, rnas_cl

SYSTEMS = {"rnas_cl": rnas_cl.get_config, "dsara": dsara.get_config}


def get_config(system: str) -> ConfigDict:
    """Returns the defaults of `system`; raises ValueError naming the known ones."""
    if system not in SYSTEMS:
        raise ValueError(f"unknown system {system!r}; known: {', '.join(SYSTEMS)}.")
    return SYSTEMS[system]()
