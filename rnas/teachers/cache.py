"""What a teacher says of views of the training images, on disk: made once, in parts, and read by any number of runs.

A cache is a folder: `cache.json` names everything its content depends on, and each shard is one array_record file with
one record an image, of one view and of consecutive rows. A record says itself what it is of. A shard is there whole or
not at all, and what it holds does not depend on which host made it, so a cache can be made in parts, by many hosts, and
gone on with after a kill. A cache grows by further views without being made anew.
"""

from collections.abc import Callable, Iterator
import contextlib
import dataclasses
import functools
import json
import os
from pathlib import Path
import time
from typing import Any
import uuid

from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter
import jax
from jax.experimental import multihost_utils
import numpy as np

from rnas.artifacts.files import read_json, write_json
from rnas.steps import CachedOutputs
from rnas.teachers.teacher import identity_hash
from rnas.training.hosts import gathered
from rnas.training.interruption import Interrupted, Interruption
from rnas.training.loaders import replicate
from rnas.training.progress import Progress

CARD = "cache.json"
FORMAT = 2
SHARD = 1024  # images a file
READERS = 128  # shards open at once
STALE = 3600  # seconds; nobody takes so long to write a file
CHUNK = 64  # images a device is asked about at once; part of what fixes the last bits of the answers


@dataclasses.dataclass(frozen=True)
class Shard:
    """One file: rows first … last - 1 of a view."""

    view: int
    first: int
    last: int

    @property
    def name(self) -> str:
        return f"view_{self.view:04d}-rows_{self.first:08d}.array_record"


class TeacherCache:
    """The folder of one teacher, one set of images and one augmentation.

    Args:
      folder: made if need be.
      identity: everything that what is kept depends on, JSON-able, see `rnas.runs.system`; 'maps' is None where
        logits alone are kept.
      images: training images, n.
      views: augmentations of each.
      num_classes: K.

    Raises:
      ValueError: if the folder holds a cache of another identity, with what differs.
    """

    def __init__(self, folder: str | Path, identity: dict[str, Any], *, images: int, views: int, num_classes: int):
        self.folder = Path(folder)
        _claim(self.folder / CARD, {"format": FORMAT, **identity})
        identity = fitted(identity, self.folder)  # to the card that stands: somebody may have been quicker
        self.images, self.views = images, views
        self.taps: tuple[str, ...] = tuple(identity["maps"]["taps"]) if identity["maps"] else ()
        self.size: int = identity["maps"]["size"] if identity["maps"] else 0
        n = len(self.taps)
        self._told = np.dtype(
            [("logits", "<f4", (num_classes,)), ("norms", "<f4", (n,)), ("maps", "<f2", (n, self.size**2))]
        )
        self._record = np.dtype([("identity", "<u8"), ("view", "<u4"), ("row", "<u4"), ("told", self._told)])
        self._identity = int(identity_hash(identity)[:16], 16)  # as records name it
        self._reader = functools.lru_cache(READERS)(self._open)  # one that is dropped is closed

    @property
    def bytes(self) -> int:
        """Size of all views on a device; on disk each image takes a few bytes more."""
        return self.views * self.images * self._told.itemsize

    def shards(self) -> Iterator[Shard]:
        for view in range(self.views):
            for first in range(0, self.images, SHARD):
                yield Shard(view, first, min(first + SHARD, self.images))

    def missing(self) -> list[Shard]:
        """What is still to be made."""
        return [shard for shard in self.shards() if not self._has(shard)]

    def build(self, ask: Callable[[int, np.ndarray], CachedOutputs]) -> None:
        """Makes what is missing, shared by all hosts; every host must call it, and returns when all are done.

        Args:
          ask: (view, rows [m]) → what the teacher says, with a leading axis [m].

        Raises:
          Interrupted: after a whole shard, on all hosts, where SIGINT or SIGTERM asked one of them for an end.
          ValueError: if something is missing although all hosts are done: they do not see one folder.
        """
        self._sweep()
        self.make_share(ask, jax.process_index(), jax.process_count())
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("teacher cache")
        if missing := self.missing():
            raise ValueError(
                f"{self.folder} lacks {len(missing)} shards, {missing[0].name} among them, though every host has made "
                "its own: give all hosts one shared folder as teacher.cache.dir."
            )

    def make_share(self, ask: Callable[[int, np.ndarray], CachedOutputs], host: int, hosts: int) -> None:
        """Makes what is missing of the share of host number `host`, one of `hosts`; see `build`."""
        # By its number, so that hosts agree on who makes what whatever each of them sees of the others' work.
        own = [shard for number, shard in enumerate(self.shards()) if number % hosts == host]
        left = [shard for shard in own if not self._has(shard)]
        # Hosts go through as many turns as the one with most to do, so that an end asked of one ends them all.
        turns = int(gathered(len(left)).max())
        if not turns:
            return
        # In any order: another run that makes the same cache meanwhile is at other shards.
        np.random.default_rng().shuffle(left)
        before = len(own) - len(left)
        with Progress("teacher cache", len(own), before, "shard") as progress, Interruption() as interruption:
            for done in range(1, turns + 1):
                for shard in left[done - 1 : done]:  # none, where another host has more to do
                    if not self._has(shard):
                        self._write(shard, ask(shard.view, np.arange(shard.first, shard.last)))
                    progress.update(before + done)
                if gathered(interruption.requested).any() and done < turns:
                    raise Interrupted(f"the teacher cache in {self.folder} was interrupted; whole shards are kept.")

    def read(self, view: int, rows: np.ndarray) -> CachedOutputs:
        """What the teacher said of view `view` of the images at `rows`, of any shape; host arrays.

        Raises:
          ValueError: if a shard is damaged, or of something else.
          OSError: if it is missing, or cannot be opened.
        """
        flat = rows.reshape(-1)
        found = np.empty(len(flat), self._told)
        numbers = flat // SHARD
        for number in np.unique(numbers):
            places = np.flatnonzero(numbers == number)
            found[places] = self._records(view, int(number), flat[places])
        return CachedOutputs(
            *(found[name].reshape(*rows.shape, *found[name].shape[1:]) for name in CachedOutputs._fields)
        )

    def everything(self) -> CachedOutputs:
        """All of it, [views, images, ...]."""
        rows = np.arange(self.images)
        each = [self.read(view, rows) for view in range(self.views)]
        return jax.tree.map(lambda *leaves: np.stack(leaves), *each)

    def _has(self, shard: Shard) -> bool:
        return (self.folder / shard.name).exists()

    def _sweep(self) -> None:
        """Removes what kills left half written, and nothing that another run is writing."""
        for path in self.folder.glob(".*.tmp"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > STALE:
                    path.unlink()

    def _records(self, view: int, number: int, rows: np.ndarray) -> np.ndarray:
        shard = Shard(view, number * SHARD, min((number + 1) * SHARD, self.images))
        path = self.folder / shard.name
        try:
            content = b"".join(self._reader(shard).read((rows - shard.first).tolist()))
        except (RuntimeError, IndexError, ValueError) as error:
            raise ValueError(f"{path} cannot be read ({error}); remove it to have it made anew.") from error
        if len(content) != len(rows) * self._record.itemsize:
            raise ValueError(f"{path} holds records of another size; remove it to have it made anew.")
        records = np.frombuffer(content, self._record)
        own = (records["identity"] == self._identity) & (records["view"] == view) & (records["row"] == rows)
        if not own.all():
            raise ValueError(
                f"{path} holds what another teacher said, or what was said of other images; remove it to have it made "
                "anew."
            )
        return records["told"]

    def _open(self, shard: Shard) -> ArrayRecordReader:
        path = self.folder / shard.name
        with open(path, "rb"):  # says why it cannot be opened, which the reader does not
            pass
        reader = ArrayRecordReader(str(path), "readahead_buffer_size:0")
        if (found := reader.num_records()) != shard.last - shard.first:
            raise ValueError(f"it holds {found} records, not {shard.last - shard.first}")
        return reader

    def _write(self, shard: Shard, told: CachedOutputs) -> None:
        records = np.empty(shard.last - shard.first, self._record)
        records["identity"], records["view"] = self._identity, shard.view
        records["row"] = np.arange(shard.first, shard.last)
        for name, values in told._asdict().items():
            records["told"][name] = values
        path = self.folder / shard.name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
        try:
            writer = ArrayRecordWriter(str(temporary), "group_size:1,uncompressed")
            for record in records:
                writer.write(record.tobytes())
            writer.close()
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def fitted(identity: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The identity of the cache in `folder`, which need not exist yet, for one who asks for `identity`.

    Raises:
      ValueError: if the folder holds a cache of something else, with every key that differs.
    """
    identity = json.loads(json.dumps({"format": FORMAT, **identity}))
    if not (folder / CARD).exists():
        return identity
    kept = read_json(folder / CARD)
    if identity["maps"] is None and isinstance(kept, dict):  # a cache with maps serves those who need none
        identity["maps"] = kept.get("maps")
    _check_same(kept, identity, folder)
    return identity


def _claim(card: Path, identity: dict[str, Any]) -> None:
    """Writes a card, whole, unless there is one."""
    if card.exists():
        return
    temporary = card.with_name(f".{card.name}.{uuid.uuid4().hex}.tmp")
    try:
        write_json(temporary, identity)
        try:
            os.link(temporary, card)
        except FileExistsError:  # somebody else was quicker
            pass
        except OSError:  # no hard links here, as in mounted object stores
            temporary.replace(card)
    finally:
        temporary.unlink(missing_ok=True)


def _check_same(kept: Any, given: dict[str, Any], folder: Path) -> None:
    kept, given = (dict(_leaves(tree)) for tree in (kept, given))
    differing = sorted(key for key in kept.keys() | given.keys() if kept.get(key) != given.get(key))
    if differing:
        rows = "\n".join(
            f"  {key}: {_shown(kept.get(key))} is what it was made of, {_shown(given.get(key))} is given"
            for key in differing
        )
        raise ValueError(
            f"{folder} holds a teacher cache that does not fit:\n{rows}\n"
            "Give what it was made of, name another folder as teacher.cache.dir, or remove this one to make it anew."
        )


def _leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(tree, dict):
        yield prefix or CARD, tree
        return
    for key, value in tree.items():
        yield from _leaves(value, f"{prefix}.{key}" if prefix else key)


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:60]}… ({len(text)} characters)"


def asker(program: Callable, variables: Any, images: np.ndarray) -> Callable[[int, np.ndarray], CachedOutputs]:
    """(view, rows [m]) → `CachedOutputs` on the host, by a program of `rnas.steps.run_teacher_on_views`.

    Every device is given `CHUNK` consecutive rows at a time, whatever the number of devices, and the last chunk is
    filled up: an answer does not depend on who computed it.
    """
    devices = len(jax.local_devices())
    placed = functools.cache(lambda: replicate(variables))  # once, where anything is asked at all

    def ask(view: int, rows: np.ndarray) -> CachedOutputs:
        whole = -(-len(rows) // (devices * CHUNK)) * devices * CHUNK
        blocks = np.resize(rows, whole).astype(np.int32).reshape(-1, devices, CHUNK)
        # Each block is on its way before the answer to the one before is read.
        asked = [program(placed(), images[block], block, np.int32(view)) for block in blocks]
        said = jax.device_get(asked)
        return jax.tree.map(
            lambda *leaves: np.concatenate([leaf.reshape(-1, *leaf.shape[2:]) for leaf in leaves])[: len(rows)], *said
        )

    return ask
