"""The configuration of a run: read from a file, changed by the command line, recorded in its directory."""

from collections.abc import Sequence
import difflib
import importlib.util
import inspect
import json
import os
from pathlib import Path
import re
import shutil
from typing import TYPE_CHECKING, Any, cast

from absl import flags
from ml_collections import ConfigDict, config_flags

from rnas.artifacts.files import read_object, write_json
from rnas.config import shipped
from rnas.config.defaults import system
from rnas.config.defaults.ranges import RANGES
from rnas.config.ranges import check_ranges

if TYPE_CHECKING:
    from rnas.artifacts.image_set import ImageSet

FILE = "config.json"
# Keys that may change from start to start: what is repeated and compared, and where and how fast it is done. Of the
# latency table the run keeps a copy, and takes no other one wherever it lies.
FREE = (
    "study.", "comparisons", "cost.table", "data.dir", "data.extra_dir", "data.workers", "evaluation.batch_size",
    "teacher.cache.dir", "teacher.cache.resident_gib", "trackers",
)  # fmt: skip
_OVERRIDE = re.compile(r"--config\.([^=]+)=(.*)", re.DOTALL)


def load_config(specification: str | ConfigDict, overrides: list[str]) -> ConfigDict:
    """Reads a configuration file, applies what the command line changes, and locks it: no key can be added.

    Args:
      specification: `FILE` or `FILE:argument`; the file defines `get_config()` or `get_config(argument)`. In place of a
        file the name of one that comes with rnas: `rnas_cl/cifar10:s7`. Where `get_config` has a parameter `image_set`,
        it gets what is known of the set that data.dir of the command line names. Or a configuration that was made in
        Python, which stays as it is.
      overrides: `--config.key=value`, keys of sections joined by dots. Of several for one key the last wins,
        but for a tuple each adds an element.

    Raises ValueError for no such file, an error in it, an unknown key, a value of another type than the default, or a
    number outside the range of its key.
    """
    if isinstance(specification, ConfigDict):
        return _changed(specification.copy_and_resolve_references(), overrides, "the configuration")
    return _changed(_read(specification, overrides), overrides, specification)


def _changed(config: ConfigDict, overrides: Sequence[str], specification: str) -> ConfigDict:
    """A configuration with what the command line changes, locked; raises ValueError as `load_config`."""
    defaults = _flatten(config)
    for override in overrides:
        match = _OVERRIDE.fullmatch(override)
        if match is None:
            raise ValueError(f"cannot read {override!r}; expected --config.key=value")
        _check_key(match[1], defaults, specification)
    values = flags.FlagValues()
    try:
        config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=["rnas", *overrides])
        values(["rnas", *overrides])
    except (flags.Error, TypeError, ValueError) as error:
        raise ValueError(_refusal(overrides, config, defaults, error)) from error
    config = cast(ConfigDict, values["config"].value)
    for key, value in _flatten(config).items():
        _check_elements(key, value, defaults[key])
    check_ranges(config, RANGES)
    return config.lock()


def record_config(workdir: str | os.PathLike, config: ConfigDict) -> None:
    """Writes `config.json` into a work directory, or raises ValueError where the one there is another one's.

    Keys in `FREE` may differ; the new ones are then recorded. So may a key that an earlier version did not have, if it
    has its default, which keeps what was done before there was the key. So may all, while nothing is there that a run
    could go on from; the log of what was begun is then removed.
    """
    path = Path(workdir) / FILE
    if not path.exists():
        write_json(path, config.to_dict())
        return
    given, recorded = _stored(config), _flatten(read_object(path))
    defaults = _stored(system(config.system).get_config()) if "system" in config else {}
    new = {key for key in given.keys() - recorded.keys() if key in defaults and given[key] == defaults[key]}
    keys = [key for key in (given.keys() | recorded.keys()) - new if not key.startswith(FREE)]
    differences = [
        f"  {key}: {_shown(key, recorded)} recorded, {_shown(key, given)} given"
        for key in sorted(keys)
        if _shown(key, given) != _shown(key, recorded)
    ]
    if differences and not _is_begun(path.parent):
        _remove_log(path.parent)
    elif differences:
        raise ValueError(
            f"{workdir} holds a run with another configuration:\n" + "\n".join(differences) + "\n"
            "Use another --workdir for this one, or give the recorded values to go on with that run."
        )
    if given != recorded:
        write_json(path, config.to_dict())


# The names of these files come with modules that load JAX, which a configuration file does without.


def _is_begun(workdir: Path) -> bool:
    """Whether a work directory holds more than records and logs: a checkpoint, a teacher, a result."""
    from rnas.artifacts import folder_lock, latency, metrics, run_record

    logs = FILE, run_record.FILE, metrics.FILE, folder_lock.LOCK, folder_lock.OWNER, latency.FILE
    files = (file for file in workdir.rglob("*") if file.is_file() and metrics.EVENTS not in file.parts)
    return any(file.name not in logs for file in files)


def _remove_log(workdir: Path) -> None:
    from rnas.artifacts import metrics

    (workdir / metrics.FILE).unlink(missing_ok=True)
    shutil.rmtree(workdir / metrics.EVENTS, ignore_errors=True)


def recorded_config(workdir: str | os.PathLike, overrides: Sequence[str] = ()) -> ConfigDict:
    """Reads the configuration that a work directory was made with, and applies `overrides` as `load_config`.

    A key that is new since then has its default. Raises ValueError for no such file, keys that this version lacks, or
    values of another type than theirs.
    """
    path = Path(workdir) / FILE
    if not path.is_file():
        raise ValueError(f"{workdir} holds no {FILE}: it is no work directory of a run.")
    recorded = read_object(path)
    try:
        config = system(str(recorded.get("system"))).get_config()
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    defaults, given = _stored(config), _flatten(recorded)
    if strange := sorted(given.keys() - defaults.keys()):
        raise ValueError(f"{path} was written by another version: this one has no {', '.join(strange)}.")
    for key, value in given.items():
        if not _is_like(value, defaults[key]):
            kind = "a list" if isinstance(defaults[key], list) else type(defaults[key]).__name__
            raise ValueError(f"{path}: {key} is {json.dumps(value)}, expected {kind}; it may have been edited.")
    try:
        config.update_from_flattened_dict(_with_tuples(given))
        check_ranges(config, RANGES)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error} It may have been edited.") from error
    return _changed(config, overrides, str(path))


def _stored(config: ConfigDict) -> dict[str, Any]:
    """Leaves by their dotted keys, as `config.json` has them: a tuple is a list there."""
    return _flatten(json.loads(json.dumps(config.to_dict())))


def _is_like(value: Any, default: Any) -> bool:
    """Whether JSON can have made this value of one of the kind of a default."""
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, int | float):
        return isinstance(value, int if isinstance(default, int) else int | float)
    if isinstance(default, list):
        kinds = {type(each) for each in default}
        kinds = kinds | {int} if float in kinds else kinds or {int, float, str}
        return isinstance(value, list) and all(type(each) in kinds for each in value)
    return isinstance(value, str) if isinstance(default, str) else not isinstance(value, dict | list)


def _with_tuples(value: Any) -> Any:
    """JSON has lists only; the configuration has tuples only."""
    if isinstance(value, dict):
        return {key: _with_tuples(entry) for key, entry in value.items()}
    return tuple(map(_with_tuples, value)) if isinstance(value, list) else value


def _read(specification: str, overrides: Sequence[str]) -> ConfigDict:
    name, colon, argument = specification.partition(":")
    path = Path(name)
    if not path.is_file():
        path = shipped.find(name) or path
    if not path.is_file():
        raise ValueError(f"no configuration file {name}{_near(path)}")
    source = importlib.util.spec_from_file_location(f"rnas_config_{path.stem}", path.resolve())
    if source is None or source.loader is None:
        raise ValueError(f"{name} is not a Python file; a configuration is a .py file with get_config()")
    module = importlib.util.module_from_spec(source)
    try:
        source.loader.exec_module(module)
        if not hasattr(module, "get_config"):
            raise ValueError("it defines no get_config()")
        fits = "image_set" in inspect.signature(module.get_config).parameters
        own = {"image_set": _image_set(overrides)} if fits else {}
        config = module.get_config(*([argument] if colon else []), **own)
    except (Exception, SystemExit) as error:
        raise ValueError(f"configuration {specification}: {type(error).__name__}: {error}") from error
    if not isinstance(config, ConfigDict):
        raise ValueError(
            f"configuration {specification}: get_config() returns {type(config).__name__}, not a ConfigDict"
        )
    return config


def _image_set(overrides: Sequence[str]) -> "ImageSet":
    """What is known of the set that the command line names by data.dir, for a file that fits itself to it."""
    from rnas.artifacts.image_set import FILE, ImageSet  # which a file without need of it does without

    given = [override.partition("=")[2] for override in overrides if override.startswith("--config.data.dir=")]
    if not given:
        raise ValueError("it fits itself to a set of images: give --config.data.dir=DIR, as rnas data import made it.")
    path = Path(given[-1]).expanduser() / FILE
    if not path.is_file():
        raise ValueError(f"there is no {path}: give --config.data.dir=DIR, a folder that rnas data import has made.")
    return ImageSet.read(path)


def _near(path: Path) -> str:
    """The configuration files a user may have meant, as the end of a message."""
    beside = {str(file) for file in path.parent.glob("*.py") if "def get_config" in file.read_text(errors="replace")}
    names = [*sorted(beside), *shipped.names()]
    close = difflib.get_close_matches(str(path), names, n=5, cutoff=0.5) or names[:10]
    return f"; there is {', '.join(close)}; rnas configs lists all that come with rnas"


def _flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Leaves by their dotted keys; an empty section is a leaf."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, ConfigDict | dict) and len(value):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _check_key(key: str, defaults: dict[str, Any], specification: str) -> None:
    if key in defaults:
        return
    if inside := [known for known in defaults if known.startswith(f"{key}.")]:
        raise ValueError(
            f"--config.{key} is a section of {specification}, not a value; set its keys: {', '.join(inside)}"
        )
    # The right name in another section comes before what is merely spelt alike.
    name = key.rpartition(".")[2]
    same = [known for known in defaults if known.rpartition(".")[2] == name]
    near = difflib.get_close_matches(key, same or defaults, n=3 if same else 1, cutoff=0.0)
    raise ValueError(f"{specification} has no key {key!r}; the nearest is {' or '.join(map(repr, near)) or 'none'}")


def _refusal(overrides: Sequence[str], config: ConfigDict, defaults: dict[str, Any], error: Exception) -> str:
    """Names the override that does not fit its default; where that is unclear, the parser's own message."""
    for override in overrides:
        key, _, text = override.removeprefix("--config.").partition("=")
        if not re.search(rf"\bconfig\.{re.escape(key)}(=| |$)", str(error)):
            continue
        if not isinstance(error, flags.IllegalFlagValueError):
            return f"--config.{key}: the default {defaults[key]!r} can be changed in the file only"
        section, _, name = key.rpartition(".")
        kind = (config[section] if section else config).get_type(name).__name__
        return f"--config.{key}={text}: expected {kind}, like the default {defaults[key]!r}"
    return str(error)


def _check_elements(key: str, value: Any, default: Any) -> None:
    """Refuses a tuple whose elements are of other types than the default's, which the flags let pass."""
    if not isinstance(default, tuple) or not default:
        return
    allowed = {type(element) for element in default}
    for element in value:
        if type(element) not in (allowed | {int} if float in allowed else allowed):
            raise ValueError(
                f"--config.{key}: {element!r} is of type {type(element).__name__}; "
                f"expected elements like those of the default {default!r}"
            )


def _shown(key: str, flat: dict[str, Any]) -> str:
    return json.dumps(flat[key]) if key in flat else "nothing"
