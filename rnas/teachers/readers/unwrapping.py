"""The state of a network found in what a checkpoint holds: which entry, without prefixes, duplicates and counters."""

import collections
from collections.abc import Collection, Iterable, Mapping
import re
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from rnas.teachers.readers.trusted import Placeholder

# Where published files keep their state, in order of preference: RobustBench, AWP and IAD; the averaged weights of
# those who keep two sets; ARD; MadryLab; the last and the best epoch.
ENTRIES = ("state_dict", "model_state_dict", "net", "model", "last", "best")
PREFIXES = ("module", "model", "backbone", "net", "0", "1")
_COMPILED = re.compile(r"(?:(?<=\.)|^)_orig_mod\.")  # what torch.compile puts before a module's names, anywhere in them
_CHAIN = re.compile(rf"^(?:(?:{'|'.join(PREFIXES)})\.)*")
_MEAN = re.compile(r"mu|mean|(?:normalize|normalizer)\.(?:new_)?mean")
_STD = re.compile(r"sigma|std|(?:normalize|normalizer)\.(?:new_)?std")
# What is no part of a network, by what it is.
_IGNORED = {
    "counters of BatchNorm": re.compile(r"(?:.*\.)?num_batches_tracked"),
    "sub_block1, a copy of the first stage that TRADES' code keeps and never uses": re.compile(r"sub_block1\..*"),
    "counters of averaged weights, of AveragedModel": re.compile(r"n_averaged"),
    "attacker, the copy that MadryLab's library attacks": re.compile(r"attacker\..*"),
    "model_preact_hl1, a head that Andriushchenko's code left": re.compile(r"model_preact_hl1\..*"),
}


class Unwrapped(NamedTuple):
    """The state of a network."""

    tensors: dict[str, np.ndarray]  # by name, without the common prefix
    normaliser: tuple[np.ndarray, np.ndarray] | None  # mean and std that the file brings, [C] in its precision
    origin: dict[str, Any]  # for the card: the entry taken and others, the prefix removed, numbers of tensors left out


def unwrap(content: Any, entry: str | None = None) -> Unwrapped:
    """Finds the state of a network in the content of a file, at `entry` or where published files have it.

    Raises ValueError if no state is there, or it holds something other than tensors.
    """
    state, entry, others = _choose(content, entry)
    if odd := [f"{name} ({type(value).__name__})" for name, value in state.items() if not _is_tensor(name, value)]:
        raise ValueError(f"the state holds what is no tensor: {', '.join(odd)}. Save a plain state_dict.")
    tensors, means, stds = {}, {}, {}
    ignored: collections.Counter[str] = collections.Counter()
    for name, tensor in state.items():
        name = _COMPILED.sub("", name)
        core = _CHAIN.sub("", name, count=1)
        if reason := next((reason for reason, pattern in _IGNORED.items() if pattern.fullmatch(core)), None):
            ignored[reason] += 1
        else:
            kind = means if _MEAN.fullmatch(core) else stds if _STD.fullmatch(core) else tensors
            kind[name] = tensor
    if bool(means) != bool(stds):
        lacking = "std" if means else "mean"
        raise ValueError(f"the file has {', '.join(means or stds)} but no {lacking} to go with it.")
    prefix = _common_prefix(tensors)
    return Unwrapped(
        {name.removeprefix(prefix): tensor for name, tensor in tensors.items()},
        (_one(means), _one(stds)) if means else None,
        {"entry": entry, "other_entries": others, "prefix": prefix, "ignored": dict(ignored)},
    )


def _choose(content: Any, entry: str | None) -> tuple[Mapping, str, list[str]]:
    if isinstance(content, Placeholder):
        raise ValueError("the file holds a whole model, an object of a foreign class; save its state_dict instead.")
    if not isinstance(content, Mapping) or not content:
        raise ValueError(f"the file holds a {type(content).__name__}; expected a mapping of names to tensors.")
    # Keys as one types them: that of an entry may be a number.
    states = {str(key): value for key, value in content.items() if _holds_tensors(value)}
    places = ENTRIES if entry is None else (entry,)
    if known := [key for key in places if key in states]:
        return states[known[0]], known[0], [key for key in states if key != known[0]]
    if entry is None and _holds_tensors(content):
        return content, "", []
    inner = {
        f"{key}.{name}": value
        for key, outer in content.items()
        if isinstance(outer, Mapping)
        for name, value in outer.items()
        if _holds_tensors(value)
    }
    if entry in inner:
        return inner[entry], entry, list(states)
    found = [*states, *inner]
    hint = f"name one with --entry: {_list(found)}" if found else f"it has {_list(content)}"
    raise ValueError(f"the file has no state at {', '.join(places)}; {hint}.")


def _is_tensor(name: Any, value: Any) -> bool:
    return isinstance(name, str) and isinstance(value, np.ndarray)


def _holds_tensors(value: Any) -> bool:
    return isinstance(value, Mapping) and any(_is_tensor(*item) for item in value.items())


def _list(keys: Iterable) -> str:
    return ", ".join(f"{key!r:.60}" for key in keys)


def _common_prefix(names: Collection[str]) -> str:
    """What every name begins with, made of whole `PREFIXES`; raises ValueError if most names do, but not all."""
    prefix = ""
    while True:
        longer = [f"{prefix}{head}." for head in PREFIXES]
        common = [each for each in longer if 2 * sum(name.startswith(each) for name in names) > len(names)]
        if not common:
            return prefix
        (prefix,) = common
        if strays := [name for name in names if not name.startswith(prefix)]:
            raise ValueError(
                f"most of its tensors begin with '{prefix}', as those of one network do, but {len(strays)} "
                f"that it does not use: {_list(strays[:5])}. Save a state without them."
            )


def _one(found: dict[str, np.ndarray]) -> np.ndarray:
    """The one mean or standard deviation of all that the file has, flat."""
    for name, tensor in found.items():
        if tensor.size > 16 or not jnp.issubdtype(tensor.dtype, jnp.floating):
            raise ValueError(f"{name} is {tensor.dtype} {tensor.shape}; expected one number per channel.")
    first, *rest = (tensor.reshape(-1) for tensor in found.values())
    if any(not np.array_equal(first, other) for other in rest):
        raise ValueError(f"the file has several that differ: {', '.join(found)}; it is unclear which one applies.")
    return first
