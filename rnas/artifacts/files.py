"""Files that are either the old one or the new one, never half of each."""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import json
import os
from pathlib import Path
from typing import Any
import uuid

import numpy as np


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
      ValueError: the file is not JSON; the message has line and column.
    """
    text = Path(path).read_bytes()
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path} is not readable as JSON: {error.msg} at line {error.lineno}, column {error.colno}. "
            "It may have been edited or cut short: mend it, or remove it to have it written anew."
        ) from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not readable as JSON: no UTF-8 text at byte {error.start}") from error


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
