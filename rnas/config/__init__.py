"""Configurations: their keys and defaults, and how a file, named variants and the command line make one.

Files under `configs/` import nothing of this program but this package, which loads no JAX.
"""

from rnas.config.defaults import check
from rnas.config.load import load_config, record_config, recorded_config
from rnas.config.variants import change_keys, with_variants, without_keys

__all__ = ["change_keys", "check", "load_config", "record_config", "recorded_config", "with_variants", "without_keys"]
