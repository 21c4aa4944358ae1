"""The finished batches of an evaluation, on disk, so that it can be killed anywhere and be continued.

Each measurement has a folder of its own under the ledger; each finished batch of it is one file, written whole or
not at all. Which batches come next follows from how many rows are left, so a resumed evaluation cuts the same ones.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
import re
import shutil
import time
from typing import Any, TypeVar

import jax
import numpy as np

from rnas.artifacts.files import check_kinds, read_arrays, read_object, write_arrays, write_json
from rnas.artifacts.folder_lock import locked
from rnas.artifacts.record import Record
from rnas.steps.meeting import meet
from rnas.training.hosts import on_first

FOLDER = "ledger"  # in that of an evaluation
IDENTITY = "identity.json"
CARRY, CARRY_FILE = "carry_", ".carry.npz"


def check_identity(former: Mapping[str, Any], identity: Mapping[str, Any], folder: Path) -> None:
    """Raises ValueError if `folder` holds another evaluation, with what differs."""
    differing = sorted(key for key in former.keys() | identity.keys() if former.get(key) != identity.get(key))
    if differing:
        rows = "; ".join(f"{key}: {former.get(key)!r} there, {identity.get(key)!r} now" for key in differing)
        raise ValueError(
            f"{folder} holds another evaluation ({rows}). Go on with its own settings, choose another --output, or "
            "remove the folder."
        )


Summary = TypeVar("Summary", bound=Record)


def finished(kind: type[Summary], file: Path, identity: Mapping[str, Any]) -> Summary | None:
    """The summary of an evaluation, if it was written; raises ValueError where its folder holds another evaluation."""
    if not file.exists():
        return None
    former: Any = kind.read(file)
    check_identity(former.identity, identity, file.parent)
    return former


def is_closed(file: Path) -> bool:
    """Whether nothing is left of the ledger beside a summary: it was not stopped between its last file and its end."""
    return not (file.parent / FOLDER).exists()


def completed(
    kind: type[Summary], file: Path, identity: dict[str, Any], measure: Callable[["Ledger"], Summary]
) -> Summary:
    """The summary of an evaluation that is finished, resumed or begun here, under the lock of its folder.

    Args:
      kind, file: of the summary, the last file to be written; a record with an `identity`.
      identity: what every figure depends on.
      measure: makes the summary, with what is finished in the ledger.

    Raises ValueError for a folder that holds another evaluation, or in which another process is at work.
    """
    folder = file.parent / FOLDER
    # The lock is in the ledger, which is gone at the end.
    with on_first(lambda: locked(folder, ", or choose another --output")):
        ledger = Ledger(folder, identity)
        summary = finished(kind, file, identity)  # perhaps by now; or it was stopped between its last file and its end
        if summary is None:
            summary = measure(ledger)
            if jax.process_index() == 0:
                summary.write(file)
        ledger.close()
    return summary


class Ledger:
    """The finished batches under one folder; the first process writes, all processes read.

    `identity` is what every figure depends on, JSON-able. Raises ValueError if the folder holds work of another one.
    """

    def __init__(self, folder: Path, identity: dict[str, Any]):
        self._folder = Path(folder)
        self._writes = jax.process_index() == 0
        path = self._folder / IDENTITY
        if path.exists():
            check_identity(read_object(path), identity, self._folder.parent)
        meet("ledger")
        if self._writes:
            write_json(path, identity)

    def measured(
        self,
        name: str,
        rows: np.ndarray,
        run: Callable[[np.ndarray], Iterable[tuple[np.ndarray, dict[str, np.ndarray]]]],
        finished: Callable[[int], None] = lambda examples: None,
    ) -> dict[str, np.ndarray]:
        """A measurement of `rows`: what is on disk is taken from there, the rest is run.

        Args:
          name: of the measurement, unique in the evaluation.
          rows: integers [n], in ascending order.
          run: cuts the rows that are left into batches, and gives each with its arrays, one entry a row. Those whose
            name begins with `CARRY` are for the measurement that follows and can be dropped alone.
          finished: called with the number of rows of each batch that was run.

        Returns {array name: [n, ...]} in the order of `rows`, and 'seconds', what each took; empty if there are none.
        """
        folder = self._folder / _slug(name)
        batches = []
        for path in sorted(folder.glob("?????.npz")):
            try:
                beside = path.with_suffix(CARRY_FILE)
                batch = read_arrays(path)
                check_kinds(path, batch, {"rows": "integers", "seconds": "numbers"})
                batch |= read_arrays(beside) if beside.exists() else {}
                if any(array.shape[:1] != batch["rows"].shape for array in batch.values()):
                    raise ValueError(f"{path} holds arrays of another length than its rows")
                batches.append(batch)
            except ValueError:
                path.unlink(missing_ok=True)  # done again below
        done = np.concatenate([batch["rows"] for batch in batches]) if batches else rows[:0]
        meet("ledger")
        if not np.isin(done, rows).all():
            raise ValueError(f"{folder} holds results of examples that were not to be measured; remove {self._folder}.")
        number = len(batches)
        before = time.perf_counter()
        for some, arrays in run(np.setdiff1d(rows, done)):
            before, seconds = time.perf_counter(), time.perf_counter() - before
            found = {"rows": some, **arrays, "seconds": np.full(len(some), seconds / len(some))}
            if self._writes:
                while (path := folder / f"{number:05d}.npz").exists():
                    number += 1
                carry = {key: value for key, value in found.items() if key.startswith(CARRY)}
                if carry:  # first: a batch counts as finished by its main file
                    write_arrays(path.with_suffix(CARRY_FILE), carry)
                write_arrays(path, {key: value for key, value in found.items() if key not in carry})
            number += 1
            batches.append(found)
            finished(len(some))
        if not batches:
            return {}
        # A carry that only some batches hold was being dropped when the evaluation stopped.
        kept = [key for key in batches[0] if not key.startswith(CARRY) or all(key in batch for batch in batches)]
        together = {key: np.concatenate([batch[key] for batch in batches]) for key in kept}
        # A row that is there twice, written by two processes at once, is the same row.
        _, order = np.unique(together.pop("rows"), return_index=True)
        return {key: value[order] for key, value in together.items()}

    def forget_carry(self, name: str) -> None:
        """Drops what a measurement held for the next one, once that is finished."""
        if self._writes:
            for path in (self._folder / _slug(name)).glob(f"*{CARRY_FILE}"):
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Drops everything: the evaluation is complete and its outcome written elsewhere."""
        meet("ledger")
        if self._writes:
            shutil.rmtree(self._folder, ignore_errors=True)


def _slug(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name)
