"""Files that are either the old one or the new one, never half of each."""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import json
import os
from pathlib import Path
from typing import Any
import uuid

import numpy as np

KINDS = {"integers": "iu", "numbers": "fiu", "shares": "f", "text": "U", "truth values": "b"}  # of arrays, for NumPy
DEEPEST = 100  # levels of lists and objects
LARGEST = 2**63  # the magnitude of numbers stays below
REMEDY = "It may have been edited or cut short: mend it, or remove it to have it written anew."


def write_text(path: str | os.PathLike, text: str) -> None:
    """Replaces a file by `text` in UTF-8; see `replaced`."""
    write_bytes(path, text.encode())


def write_bytes(path: str | os.PathLike, content: bytes) -> None:
    """Replaces a file by `content`; see `replaced`."""
    with replaced(path) as temporary:
        temporary.write_bytes(content)


def write_arrays(path: str | os.PathLike, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays as one compressed .npz file; see `replaced`. Types that it has not, as bfloat16, become float32."""
    named: dict[str, Any] = {name: _widened(np.asarray(array)) for name, array in arrays.items()}
    with replaced(path) as temporary, open(temporary, "xb") as stream:
        np.savez_compressed(stream, **named)


@contextlib.contextmanager
def replaced(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary path; the file written there takes the place of `path` at the end, in one step.

    A reader or a crash sees the old or the new content. The folder is made if need be. Raises OSError where the file
    cannot be written (a full disk, no permission); the former content stands.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "rb") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(
            error.errno,
            f"could not write: {error.strerror or error}; what the file held before is untouched",
            str(path),
        ) from error
    finally:
        temporary.unlink(missing_ok=True)  # gone already, unless something stopped this halfway


def read_arrays(path: str | os.PathLike, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Reads the named arrays of an .npz file, or all. Raises ValueError where one cannot be read."""
    try:
        # Of a damaged file that it opens itself, np.load forgets the handle.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            found = {name: archive[name] for name in (archive.files if names is None else names)}
            if nameless := [name for name, array in found.items() if array.dtype.kind == "V"]:
                raise ValueError(f"{', '.join(nameless)} of a type that NumPy does not know")
            return found
    except Exception as error:  # errors of zipfile, of the system, of headers and of missing arrays share no base class
        expected = "" if names is None else f"; expected arrays {', '.join(names)}"
        raise ValueError(f"{path} cannot be read ({error}){expected}.") from error


def check_kinds(path: str | os.PathLike, arrays: Mapping[str, np.ndarray], kinds: Mapping[str, str]) -> None:
    """Raises ValueError where `arrays`, which were read from `path`, lack one of `kinds`, or have it of another kind.

    A kind is one of `KINDS`; the numbers of 'shares' are in [0, 1]. Arrays that `kinds` does not name may be any.
    """
    if missing := [name for name in kinds if name not in arrays]:
        raise ValueError(f"{path} lacks {', '.join(missing)}.")
    for name, kind in kinds.items():
        letters, array = KINDS[kind], arrays[name]
        fits = array.dtype.kind in letters and array.ndim > 0
        if not fits or kind == "shares" and array.size and not (array.min() >= 0 and array.max() <= 1):
            limits = " from 0 to 1" if kind == "shares" else ""
            raise ValueError(
                f"{path}: {name} is {array.dtype} {list(array.shape)}, expected {kind}{limits}. It may have been "
                "edited: restore the file, or remove it to have it made anew."
            )


def _widened(array: np.ndarray) -> np.ndarray:
    """Types of other packages, such as bfloat16, would be written as bytes without a meaning."""
    return array.astype(np.float32) if array.dtype.kind == "V" else array


def write_json(path: str | os.PathLike, content: Any) -> None:
    """Writes `content` as JSON; NumPy and JAX arrays become lists, paths strings; see `replaced`.

    Raises ValueError where `content` holds NaN or an infinity, which JSON cannot express.
    """
    try:
        text = json.dumps(content, indent=2, allow_nan=False, default=plain)
    except ValueError as error:
        raise ValueError(f"{path} cannot hold what was given: {error}") from error
    write_text(path, text + "\n")


def create_json(path: str | os.PathLike, content: Any) -> None:
    """Writes `content` as JSON, whole, unless there is such a file: of several processes at once one succeeds."""
    path = Path(path)
    if path.exists():
        return
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        write_json(temporary, content)
        try:
            os.link(temporary, path)
        except FileExistsError:  # another process was quicker
            pass
        except OSError:  # no hard links here, as in mounted object stores
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_json(path: str | os.PathLike) -> Any:
    """Reads a JSON file.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: as `parse_json`.
    """
    return parse_json(Path(path).read_bytes(), path)


def parse_json(text: str | bytes, path: str | os.PathLike, remedy: str = REMEDY) -> Any:
    """The value of JSON that was read from `path`; numbers are finite and have at most 64 bits.

    Raises ValueError where the text is not JSON, with line and column, or holds what no writer of rnas can have
    written: deeper nesting than `DEEPEST`, larger numbers, text that is no Unicode.
    """
    try:
        content = json.loads(text)
        _check_values(content)
        return content
    except json.JSONDecodeError as error:
        wrong = f"{error.msg} at line {error.lineno}, column {error.colno}"
    except UnicodeDecodeError as error:
        wrong = f"no UTF-8 text at byte {error.start}"
    except RecursionError:
        wrong = f"more than {DEEPEST} levels"
    except ValueError as error:
        wrong = str(error)
    raise ValueError(f"{path} is not readable as JSON: {wrong}. {remedy}")


def _check_values(content: Any) -> None:
    """Raises ValueError for the first value that `parse_json` refuses, level by level, whatever the depth."""
    level, depth = [content], 0
    while level:
        if depth > DEEPEST:
            raise ValueError(f"more than {DEEPEST} levels")
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below += value
                below += value.values()
            elif isinstance(value, list):
                below += value
            elif isinstance(value, str):
                if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
                    raise ValueError(f"{value!r:.40} is no text")
            elif isinstance(value, int | float) and not -LARGEST < value < LARGEST:
                shown = f"{value:.3g}" if isinstance(value, float) else "a number of more than 64 bits"
                raise ValueError(f"{shown} is no number that belongs there")
        level, depth = below, depth + 1


def read_object(path: str | os.PathLike) -> dict[str, Any]:
    """Reads a JSON file that holds an object; raises as `read_json`, and ValueError where it holds something else."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds {content!r:.60}, no JSON object: mend it, or remove it to have it made anew.")
    return content


def plain(value: Any) -> Any:
    """An array as lists, a path as a string: what JSON can express of a value that is not of its own types."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "__array__"):
        return np.asarray(value).tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
