"""Outputs of a teacher on views of the training images, on disk: made once, in parts, and read by any number of runs.

A cache is a folder: `cache.json` names everything its content depends on, and each shard is one array_record file with
one record an image, of one view and of consecutive rows. A record holds the identity of the cache, its view and its
row. A shard is complete or absent, and its content does not depend on the host that makes it: many hosts can share the
work, and a killed one continues. A cache grows by further views; what is there stays.
"""

from collections.abc import Callable
import contextlib
import functools
import itertools
import json
from pathlib import Path
import time
from typing import Any

from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter
from flax.traverse_util import flatten_dict
import jax
import numpy as np

from rnas.artifacts.files import create_json, read_json, replaced
from rnas.steps import CachedOutputs
from rnas.steps.meeting import meet
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
CHUNK = 64  # images a device computes at once; the last bits of the outputs depend on it


class TeacherCache:
    """The folder of one teacher, one set of images and one augmentation.

    Args:
      folder: made if need be.
      identity: everything that the content depends on, JSON-able; 'maps' is None where logits alone are kept. A folder
        with a cache of another identity is refused by ValueError, with what differs.
      images: training images, n.
      views: augmentations of each.
      num_classes: K.
    """

    def __init__(self, folder: str | Path, identity: dict[str, Any], *, images: int, views: int, num_classes: int):
        self.folder = Path(folder)
        create_json(self.folder / CARD, {"format": FORMAT, **identity})
        identity = matching_identity(identity, self.folder)  # another process may have been quicker
        self.images, self.views = images, views
        maps = identity["maps"] or {"taps": (), "size": 0}
        self.taps, self.size, n = tuple(maps["taps"]), maps["size"], len(maps["taps"])
        self._outputs = np.dtype(
            [("logits", "<f4", (num_classes,)), ("norms", "<f4", (n,)), ("maps", "<f2", (n, self.size**2))]
        )
        self._record = np.dtype([("identity", "<u8"), ("view", "<u4"), ("row", "<u4"), ("outputs", self._outputs)])
        self._identity = int(identity_hash(identity)[:16], 16)  # as it stands in records
        self._reader = functools.lru_cache(READERS)(self._open)  # closed when it is dropped

    @property
    def bytes(self) -> int:
        """Size of all views on a device; on disk each image takes a few bytes more."""
        return self.views * self.images * self._outputs.itemsize

    def shards(self) -> list[tuple[int, int]]:
        """View and number of each file."""
        return list(itertools.product(range(self.views), range(-(-self.images // SHARD))))

    def missing(self) -> list[tuple[int, int]]:
        """Shards that are not there yet."""
        return [shard for shard in self.shards() if not self._path(*shard).exists()]

    def _path(self, view: int, number: int) -> Path:
        return self.folder / f"view_{view:04d}-rows_{number * SHARD:08d}.array_record"

    def _rows(self, number: int) -> np.ndarray:
        return np.arange(number * SHARD, min((number + 1) * SHARD, self.images))

    def build(self, compute: Callable[[int, np.ndarray], CachedOutputs]) -> None:
        """Makes the missing shards, shared by all hosts; every host must call it, and returns when all are done.

        Raises `Interrupted` on all hosts after a whole shard, if one of them got SIGINT or SIGTERM.

        Args:
          compute: (view, rows [m]) → the teacher's outputs, with a leading axis [m]; see `teacher_outputs`.
        """
        for path in self.folder.glob(".*.tmp"):  # what kills left half written, and nothing that another run is writing
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > STALE:
                    path.unlink()
        self.make_share(compute, jax.process_index(), jax.process_count())
        meet("teacher cache")
        if missing := self.missing():
            raise ValueError(
                f"{self.folder} lacks {len(missing)} shards, {self._path(*missing[0]).name} among them, though every "
                "host has made its own: give all hosts one shared folder as teacher.cache.dir."
            )

    def make_share(self, compute: Callable[[int, np.ndarray], CachedOutputs], host: int, hosts: int) -> None:
        """Makes the missing shards of host number `host`, one of `hosts`; see `build`."""
        # By their number, so that hosts agree on the shares whatever each of them sees of the others' work.
        own = self.shards()[host::hosts]
        left = [shard for shard in own if not self._path(*shard).exists()]
        # All hosts take as many turns as the one with most to do, so that an interrupted host can stop them all.
        turns = int(gathered(len(left)).max())
        if not turns:
            return
        # In any order: another run that makes the same cache meanwhile is at other shards.
        np.random.default_rng().shuffle(left)
        before = len(own) - len(left)
        with Progress("teacher cache", len(own), before, "shard") as progress, Interruption() as interruption:
            for done in range(1, turns + 1):
                for view, number in left[done - 1 : done]:  # none, where another host has more to do
                    if not self._path(view, number).exists():
                        self._write(view, number, compute(view, self._rows(number)))
                    progress.update(before + done)
                if stopping := interruption.requested():
                    text = f"the teacher cache in {self.folder} was interrupted; whole shards are kept."
                    raise Interrupted(text, stopping)

    def read(self, view: int, rows: np.ndarray) -> CachedOutputs:
        """The teacher's outputs on view `view` of the images at `rows`, of any shape; host arrays.

        Raises ValueError where a shard is damaged or of something else, OSError where it is missing or stays closed.
        """
        flat = rows.reshape(-1)
        found: Any = np.empty(len(flat), self._outputs)
        for number in np.unique(flat // SHARD):
            places = np.flatnonzero(flat // SHARD == number)
            found[places] = self._records(view, int(number), flat[places])
        return CachedOutputs(
            *(found[name].reshape(*rows.shape, *found[name].shape[1:]) for name in CachedOutputs._fields)
        )

    def everything(self) -> CachedOutputs:
        """All of it, [views, images, ...]."""
        rows = np.arange(self.images)
        each = [self.read(view, rows) for view in range(self.views)]
        return jax.tree.map(lambda *leaves: np.stack(leaves), *each)

    def _records(self, view: int, number: int, rows: np.ndarray) -> np.ndarray:
        path = self._path(view, number)
        try:
            content = b"".join(self._reader(view, number).read((rows - number * SHARD).tolist()))
        except (RuntimeError, IndexError, ValueError) as error:
            raise ValueError(f"{path} cannot be read ({error}); remove it to have it made anew.") from error
        if len(content) == len(rows) * self._record.itemsize:
            records = np.frombuffer(content, self._record)
            own = (records["identity"] == self._identity) & (records["view"] == view) & (records["row"] == rows)
            if own.all():
                return records["outputs"]
        raise ValueError(f"{path} holds outputs of another teacher or on other images; remove it to have it made anew.")

    def _open(self, view: int, number: int) -> ArrayRecordReader:
        path = self._path(view, number)
        with open(path, "rb"):  # its error has the reason, which the reader's lacks
            pass
        reader = ArrayRecordReader(str(path), "readahead_buffer_size:0")
        if (found := reader.num_records()) != (expected := len(self._rows(number))):
            raise ValueError(f"it holds {found} records, not {expected}")
        return reader

    def _write(self, view: int, number: int, outputs: CachedOutputs) -> None:
        rows = self._rows(number)
        records = np.empty(len(rows), self._record)
        records["identity"], records["view"], records["row"] = self._identity, view, rows
        for name, values in outputs._asdict().items():
            records["outputs"][name] = values
        with replaced(self._path(view, number)) as temporary:
            writer = ArrayRecordWriter(str(temporary), "group_size:1,uncompressed")
            for record in records:
                writer.write(record.tobytes())
            writer.close()


def matching_identity(identity: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The identity of the cache in `folder`, where `identity` is wanted; the folder need not exist yet.

    Raises ValueError, with every key that differs, where the folder holds a cache of something else.
    """
    identity = json.loads(json.dumps({"format": FORMAT, **identity}))
    if not (folder / CARD).exists():
        return identity
    kept = read_json(folder / CARD)
    if identity["maps"] is None and isinstance(kept, dict):  # a cache with maps serves runs without maps
        identity["maps"] = kept.get("maps")
    kept, given = (flatten_dict(tree if isinstance(tree, dict) else {CARD: tree}, sep=".") for tree in (kept, identity))
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
    return identity


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:60]}… ({len(text)} characters)"


def teacher_outputs(
    program: Callable, variables: Any, images: np.ndarray
) -> Callable[[int, np.ndarray], CachedOutputs]:
    """(view, rows [m]) → `CachedOutputs` on the host, by a program of `rnas.steps.run_teacher_on_views`.

    Every device gets `CHUNK` consecutive rows at a time, whatever the number of devices, and the last chunk is filled
    up: the outputs of an image do not depend on the device that computes them.
    """
    devices = len(jax.local_devices())
    placed = functools.cache(lambda: replicate(variables))  # once, and only if a shard is missing

    def compute(view: int, rows: np.ndarray) -> CachedOutputs:
        whole = -(-len(rows) // (devices * CHUNK)) * devices * CHUNK
        blocks = np.resize(rows, whole).astype(np.int32).reshape(-1, devices, CHUNK)
        # All blocks are dispatched before the outputs of the first are read.
        dispatched = [program(placed(), images[block], block, np.int32(view)) for block in blocks]
        outputs = jax.device_get(dispatched)
        return jax.tree.map(
            lambda *leaves: np.concatenate([leaf.reshape(-1, *leaf.shape[2:]) for leaf in leaves])[: len(rows)],
            *outputs,
        )

    return compute
