"""Checkpoints of a training state: written in the background, verified when read.

A step of a run is saved as two items: `state`, the bytes of all leaves one after the other, and `record`, a JSON object
that names each leaf with its dtype and shape, and holds the sha256 of the bytes, the metric by which steps compare,
figures that a resumed run needs beside its state, and the sha256 of all these. One vector instead of one array per leaf
makes saving a network of several hundred small leaves about ten times faster.

Scope: one state per step, on one or several hosts (process 0 writes; all read, so the directory must be visible to
all). Not in scope: states that do not fit in the memory of one host.
"""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import errno
import hashlib
import json
import logging
import math
import os
from pathlib import Path
import shutil
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from rnas.artifacts.files import plain
from rnas.steps.meeting import meet

_log = logging.getLogger(__name__)
_RECORD = {"leaves", "sha256", "score"}


class Restored(NamedTuple):
    """A checkpoint read back."""

    step: int
    state: Any  # in the template's structure, of NumPy arrays
    figures: Mapping[str, Any]  # that were saved with it
    score: float | None = None  # by the metric that tells the best step; None where it was not measured


class Checkpoints(contextlib.AbstractContextManager):
    """The checkpoints of one stage of a run, in one directory.

    Reading changes nothing on disk. A step that is found damaged is set aside, as `<step>.damaged`, by the `save` of
    that step or one before it.

    Args:
      directory: where the steps lie; made by the first `save`.
      keep: how many of the latest steps to keep.
      best: name of the metric, higher is better, whose best step is kept as well.
    """

    def __init__(self, directory: str | os.PathLike, *, keep: int = 2, best: str | None = None):
        assert keep >= 1, keep
        self._directory, self._keep, self._best = Path(directory).absolute(), keep, best
        self._manager: Any = None  # of orbax, while one is open
        self._writing = False
        self._scores: dict[int, float] = {}
        self._damaged: set[int] = set()

    def save(
        self,
        step: int,
        state: Any,
        metrics: Mapping[str, float] | None = None,
        figures: Mapping[str, float] | None = None,
    ) -> None:
        """Saves a step; returns once the state is copied, while writing goes on in the background.

        A step that is there already is left as it is: a state is a function of its step.

        Args:
          state: tree of arrays or numbers, each whole on this host (unreplicate it first).
          metrics: scores of this step; only the one named `best` is used.
          figures: handed back by `restore`.

        Raises:
          ValueError: a later step is there already.
          OSError: this step or the one before could not be written; the steps before are intact.
        """
        manager = self._open(writing=True)
        for damaged in sorted(self._damaged):
            if damaged >= step:  # those before are not made again: they stay, so that none takes the place of the best
                self._set_aside(damaged)
        if step in manager.all_steps():
            return
        if (latest := manager.latest_step()) is not None and step < latest:
            raise ValueError(
                f"{self._directory} holds step {latest}, later than step {step} which is to be saved. "
                "Continue from the latest step, or use another work directory."
            )
        leaves, content = _pack(state)
        score = None if metrics is None or self._best is None else float(metrics[self._best])
        if score is not None and math.isfinite(score):
            self._scores[step] = score
        sha256, score = hashlib.sha256(content.data).hexdigest(), self._scores.get(step)
        record: dict[str, Any] = {"leaves": leaves, "sha256": sha256, "score": score, "metadata": dict(figures or {})}
        record["checksum"] = _checksum(record)
        items = {"state": ocp.args.StandardSave({"bytes": content}), "record": ocp.args.JsonSave(record)}
        with self._failures_named():
            saved = manager.save(step, args=ocp.args.Composite(**items))
        assert saved, step

    def restore(self, template: Any, which: str = "latest", *, at_most: int | None = None) -> Restored | None:
        """Reads the latest step that is undamaged, or the best one; None where no step is saved.

        Args:
          template: tree with the structure, shapes and dtypes expected (arrays or `ShapeDtypeStruct`).
          which: "latest", or "best" by the metric named to the constructor (the latest where no step has it).
          at_most: the last step that is of use; None: any is.

        Raises ValueError where the checkpoint is of another model, every checkpoint is damaged, or the best one is: no
        other takes its place, nor that of one whose score cannot be read.
        """
        if which not in ("latest", "best"):
            raise ValueError(f'which is {which!r}; expected "latest" or "best"')
        assert which == "latest" or self._best, "no metric was named to tell the best step"
        self.wait()
        candidates = [step for step in self._steps()[::-1] if at_most is None or step <= at_most]
        if which == "best":
            return self._best_of(candidates, template)
        problems = []
        for step in candidates:
            try:
                return self._read(step, template)
            except _Damaged as damage:
                self._damaged.add(step)
                problems.append(f"step {step}: {damage}")
                message = "CHECKPOINT DAMAGED: %s, step %d is not used: %s. Trying the one before."
                _log.warning(message, self._directory, step, damage)
        if problems:
            raise ValueError(
                f"every checkpoint in {self._directory} is damaged ({'; '.join(problems)}). "
                "Restore the directory from a copy, or remove it to start this stage anew."
            )
        return None

    def _best_of(self, candidates: Sequence[int], template: Any) -> Restored | None:
        """The best of some steps, the later of equals, or the latest where none has a score."""
        step = None
        try:
            for step in candidates:
                self._record(step)
            if not candidates:
                return None
            step = max(candidates, key=lambda step: (self._scores.get(step, -math.inf), step))
            return self._read(step, template)
        except _Damaged as damage:
            known = f"the best, of score {self._scores[step]:.6g}" if step in self._scores else "maybe the best one"
            raise ValueError(
                f"{self._directory}: step {step}, {known}, is damaged ({damage}). Any other step would be another "
                "network: restore this one from a copy, or make this stage anew."
            ) from damage

    def steps(self) -> list[int]:
        """The steps saved, in ascending order, without those that were found damaged."""
        return [step for step in self._steps() if step not in self._damaged]

    def _steps(self) -> list[int]:
        manager = self._open(writing=False)
        return sorted(manager.all_steps()) if manager else []

    def wait(self) -> None:
        """Returns when all that was saved is on disk; raises OSError where a step could not be written."""
        if self._manager is not None:
            with self._failures_named():
                self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits as `wait` does, then frees the threads."""
        try:
            self.wait()
        finally:
            manager, self._manager, self._writing = self._manager, None, False
            if manager is not None:
                with self._failures_named():
                    manager.close()

    def __exit__(self, *exception) -> None:
        self.close()

    def _open(self, *, writing: bool) -> Any:
        """The manager of orbax, or None where there is nothing to read."""
        if writing and not self._writing:
            self.close()
        if self._manager is None and (writing or self._directory.is_dir()):
            logging.getLogger("absl").addFilter(_not_from_orbax)
            options = ocp.CheckpointManagerOptions(
                preservation_policy=_LatestAndBest(self._keep, self._scores, self._damaged),
                create=writing,
                cleanup_tmp_directories=writing,  # what a killed run left half written
                save_root_metadata=False,
            )
            self._writing = writing
            self._manager = ocp.CheckpointManager(self._directory, options=options)
            for step in self._manager.all_steps():
                try:
                    if (score := self._record(step)["score"]) is not None:
                        self._scores[step] = score
                except _Damaged:  # which `restore` reports
                    self._damaged.add(step)
        return self._manager

    def _set_aside(self, step: int) -> None:
        if jax.process_index() == 0:
            aside = self._directory / f"{step}.damaged"
            shutil.rmtree(aside, ignore_errors=True)
            (self._directory / str(step)).rename(aside)
        meet("set aside")
        self._damaged.remove(step)
        self._scores.pop(step, None)
        self._manager.reload()

    def _record(self, step: int) -> dict:
        # Orbax, tensorstore and the file system each have their own exceptions for a file that is cut,
        # missing or scrambled; all of them mean that this step cannot be used.
        try:
            record = self._manager.restore(step, args=ocp.args.Composite(record=ocp.args.JsonRestore())).record
        except Exception as error:
            raise _Damaged(f"its record cannot be read ({_first_line(error)})") from error
        if not isinstance(record, dict) or not record.keys() >= _RECORD or not _is_readable(**record):
            raise _Damaged("its record is incomplete")
        # Records of earlier versions have no checksum.
        if record.pop("checksum", found := _checksum(record)) != found:
            raise _Damaged("its record is not as it was written: its checksum is another")
        return record

    def _read(self, step: int, template: Any) -> Restored:
        record = self._record(step)
        paths_and_leaves, structure = jax.tree_util.tree_flatten_with_path(template)
        expected = [_describe(path, leaf) for path, leaf in paths_and_leaves]
        if difference := _difference(record["leaves"], expected):
            raise ValueError(
                f"{self._directory / str(step)} is a checkpoint of another model: {difference}. "
                "Use the configuration it was written with, or another work directory."
            )
        size = sum(np.dtype(dtype).itemsize * math.prod(shape) for _, dtype, shape in expected)
        wanted = {"bytes": np.empty(size, np.uint8)}
        try:
            state = self._manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(wanted)))
            content = np.asarray(state.state["bytes"])
        except Exception as error:
            raise _Damaged(f"its state cannot be read ({_first_line(error)})") from error
        if hashlib.sha256(content.data).hexdigest() != record["sha256"]:
            raise _Damaged("its content does not have the sha256 that was recorded")
        state = jax.tree.unflatten(structure, _unpack(expected, content))
        return Restored(step, state, record.get("metadata", {}), record["score"])

    @contextlib.contextmanager
    def _failures_named(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            number, reason = getattr(error, "errno", None) or errno.EIO, _first_line(error)
            if "RESOURCE_EXHAUSTED" in str(error) or os.strerror(errno.ENOSPC) in str(error):
                number, reason = errno.ENOSPC, os.strerror(errno.ENOSPC)
            message = f"could not write a checkpoint ({reason}); the checkpoints before it are intact"
            raise OSError(number, message, str(self._directory)) from error


class _Damaged(Exception):
    """A step that cannot be read back as it was written."""


class _LatestAndBest(checkpoint_managers.PreservationPolicy):
    """Keeps the latest steps, the best one, the later of equals, and what is damaged: it may have been the best.

    Orbax has such a policy for metrics that it stores itself, but then cannot open a directory in which one
    file of metrics is damaged; the scores here come from the records, which may be missing.
    """

    def __init__(self, latest: int, scores: dict[int, float], damaged: set[int]):
        self._latest = latest
        self._scores = scores
        self._damaged = damaged

    def should_preserve(self, checkpoints: Sequence, *, context: Any) -> Sequence[bool]:
        """Whether each checkpoint stays; orbax calls this after every save."""
        steps = [checkpoint.step for checkpoint in checkpoints]
        scored = [(self._scores[step], step) for step in steps if step in self._scores]
        kept = {*sorted(steps)[-self._latest :], max(scored, default=(None, None))[1], *self._damaged}
        return [step in kept for step in steps]


def _describe(path: tuple, leaf: Any) -> list:
    """A leaf as the record names it: [path, dtype, shape]."""
    leaf = leaf if hasattr(leaf, "dtype") else np.asarray(leaf)
    return [jax.tree_util.keystr(path, simple=True, separator="/"), str(leaf.dtype), list(leaf.shape)]


def _pack(state: Any) -> tuple[list, np.ndarray]:
    paths_and_leaves, _ = jax.tree_util.tree_flatten_with_path(jax.device_get(state))
    content = b"".join(np.asarray(leaf).tobytes() for _, leaf in paths_and_leaves)
    return [_describe(*each) for each in paths_and_leaves], np.frombuffer(content, np.uint8)


def _is_readable(leaves: Any, score: Any, metadata: Any = None, **rest: Any) -> bool:
    """Whether the parts of a record are of the kinds that `_difference` and comparisons take."""
    described = isinstance(leaves, list) and all(isinstance(leaf, list) and len(leaf) == 3 for leaf in leaves)
    ranked = score is None or isinstance(score, int | float) and math.isfinite(score)
    return described and ranked and isinstance(metadata or {}, dict)


def _checksum(record: Mapping[str, Any]) -> str:
    """Sha256 of all of a record but its checksum."""
    content = {key: value for key, value in record.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=plain).encode()).hexdigest()


def _unpack(leaves: list, content: np.ndarray) -> list[np.ndarray]:
    arrays, offset = [], 0
    for _, dtype, shape in leaves:
        size = np.dtype(dtype).itemsize * math.prod(shape)
        # A copy: aligned, writeable, and not holding on to the whole state.
        arrays.append(np.frombuffer(content[offset : offset + size].tobytes(), dtype).reshape(shape).copy())
        offset += size
    return arrays


def _difference(found: list, expected: list) -> str:
    """The difference between two lists of leaves, in words; empty where they are the same."""
    if found == expected:
        return ""
    there, here = ({path: f"{dtype}{json.dumps(shape)}" for path, dtype, shape in each} for each in (found, expected))
    parts = [
        f"{path} is {there.get(path, 'absent')} in the checkpoint, {here.get(path, 'absent')} in this model"
        for path in dict.fromkeys([*there, *here])
        if there.get(path) != here.get(path)
    ]
    if not parts:
        return "its leaves stand in another order"
    return "; ".join(parts[:3]) + (f"; and {len(parts) - 3} more" if len(parts) > 3 else "")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _not_from_orbax(record: logging.LogRecord) -> bool:
    """Drops the messages of orbax about its progress; its failures arrive as exceptions."""
    return "orbax" not in record.pathname
