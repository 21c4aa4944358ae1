"""Named variants of a configuration: the names after the colon of --config=FILE:name,name.

A configuration file declares them in a table, `VARIANTS`, from a name to a change: a mapping of dotted keys to values,
or a function of the configuration where a value depends on others. Its docstring describes each of them.

  VARIANTS = {"short": {"search.epochs": 1, "train.epochs": 2}}

  def get_config(argument=""):
      config = rnas_cl.get_config()
      config.space = "s5"
      return with_variants(config, VARIANTS, argument)
"""

from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict

from rnas.config.checks import value_of

Change = Mapping[str, Any] | Callable[[ConfigDict], None]


def with_variants(config: ConfigDict, variants: Mapping[str, Change], argument: str) -> ConfigDict:
    """Changes `config` by the variants that `argument`, names joined by commas, asks for, and returns it.

    Changes are made in the order of the table `variants`, so the order of the names is of no account. Raises ValueError
    for an unknown name, and KeyError for a change of a key that the configuration does not have.
    """
    names = [name for name in argument.split(",") if name]
    if unknown := [name for name in names if name not in variants]:
        known = f"expected any of {', '.join(variants)}" if variants else "this configuration has none"
        raise ValueError(f"unknown variant {unknown[0]!r}; {known}.")
    for name, change in variants.items():
        if name in names:
            if callable(change):
                change(config)
            else:
                change_keys(config, change)
    return config


def change_keys(config: ConfigDict, changes: Mapping[str, Any]) -> None:
    """Sets dotted keys; raises KeyError for one that is not there."""
    for key, value in changes.items():
        section, _, name = key.rpartition(".")
        section = value_of(config, section) if section else config
        if name not in section:
            raise KeyError(f"there is no key {key!r} to change.")
        section[name] = value


def without_keys(variants: Mapping[str, Change], *keys: str) -> dict[str, Change]:
    """The same variants, but for changes of `keys`: a file uses this for values that it sets for all its variants."""
    return {
        name: change if callable(change) else {key: value for key, value in change.items() if key not in keys}
        for name, change in variants.items()
    }
