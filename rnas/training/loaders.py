"""Where the images of a step come from: a set that lives on the device, or a stream decoded on the host.

`dispatch(first_step, count)` returns the arguments that `run_steps` takes: images, labels and rows. They are a
function of (seed, step), so a checkpoint holds no position.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from rnas.data.sampler import Sampler
from rnas.objectives import Alternation
from rnas.steps.cached_teacher import CachedBatch, CachedOutputs
from rnas.steps.replicas import AXIS


class Block(NamedTuple):
    """Images and labels of one dispatch."""

    images: Any  # [n,H,W,C] uint8 on every device, or [local devices, n, H, W, C] of a stream
    labels: Any
    rows: Any  # [local devices, most, per device] rows of `images`, or a `CachedBatch` of such rows


class Loader(Protocol):
    """Where the images of a stage come from; see the classes below."""

    streaming: bool
    most: int  # steps of one dispatch, at most

    def dispatch(self, first: int, count: int) -> Block:
        """The images of steps `first` … `first + count - 1`."""


def replicate(tree: Any) -> Any:
    """Places a pytree on every local device, once, as pmapped functions with `in_axes=None` want it."""
    mesh = jax.sharding.Mesh(np.array(jax.local_devices()), (AXIS,))
    return jax.device_put(tree, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()))


def per_device(batch_size: int, what: str) -> int:
    """Examples per device; raises ValueError where `batch_size` does not divide."""
    devices = jax.device_count()
    if batch_size % devices:
        lower = batch_size // devices * devices
        raise ValueError(
            f"{what} = {batch_size} cannot be divided among {devices} devices; use {lower or devices} or "
            f"{lower + devices}."
        )
    return batch_size // devices


def alternating_rows(
    alternation: Alternation, weights: Sampler, architecture: Sampler
) -> Callable[[int, int], np.ndarray]:
    """Rows of a search whose weight and architecture steps draw from disjoint sets (arXiv 1812.03443)."""

    def rows_at(first: int, count: int) -> np.ndarray:
        found = []
        for step in range(first, first + count):
            epoch, within = divmod(step, alternation.steps_per_epoch)
            warm = min(epoch, alternation.warmup_epochs) * alternation.arch_steps
            if alternation.is_weight_step(step):
                found.append(weights.rows_at(epoch * alternation.weight_steps + warm + within, 1)[0])
            else:
                done = (epoch - alternation.warmup_epochs) * alternation.arch_steps
                found.append(architecture.rows_at(done + within - alternation.weight_steps, 1)[0])
        return np.stack(found)

    return rows_at


def paired_rows(weights: Sampler, architecture: Sampler) -> Callable[[int, int], np.ndarray]:
    """Rows [count, 2·batch] of a search whose every step takes a batch of each order.

    Each device's share holds its part of the first batch, then its part of the second.
    """
    assert weights.batch_size == architecture.batch_size

    def rows_at(first: int, count: int) -> np.ndarray:
        both = [order.rows_at(first, count).reshape(count, jax.device_count(), -1) for order in (weights, architecture)]
        return np.concatenate(both, axis=2).reshape(count, -1)

    return rows_at


class ResidentLoader:
    """A whole set as uint8 on every device; only row numbers travel per step."""

    streaming = False

    def __init__(
        self, images: np.ndarray, labels: np.ndarray, rows_at: Callable, *, batch_size: int, most: int, what: str
    ):
        """`rows_at(first, count)` gives rows [count, batch_size] of `images`; `most` is the steps of a dispatch.

        Rows of several batches a step, [count, S, batch_size], reach each device as [most, S, per device].
        """
        self._images, self._labels = replicate((images, labels))
        self._rows_at = rows_at
        self._per_device = per_device(batch_size, what)
        self.most = most

    def dispatch(self, first: int, count: int) -> Block:
        rows = self._rows_at(first, count)
        rows = np.moveaxis(rows.reshape(*rows.shape[:-1], jax.device_count(), self._per_device), -2, 0)
        local = len(jax.local_devices())
        start = jax.process_index() * local
        padded = np.zeros((local, self.most, *rows.shape[2:]), np.int32)
        padded[:, :count] = rows[start : start + local]
        return Block(self._images, self._labels, padded)


class CachedTeacherLoader:
    """The rows of another loader, with cached teacher outputs where the device does not hold them."""

    streaming = False

    def __init__(self, loader: ResidentLoader, read: Callable[[int, np.ndarray], CachedOutputs] | None = None):
        """`read(step, rows)` returns the cached outputs of rows of any shape; None where the device holds all."""
        self._loader, self._read, self.most = loader, read, loader.most

    def dispatch(self, first: int, count: int) -> Block:
        images, labels, rows = self._loader.dispatch(first, count)
        if self._read is None:
            return Block(images, labels, CachedBatch(rows))
        outputs = [self._read(first + index, rows[:, index]) for index in range(count)]

        def together(*leaves: np.ndarray) -> np.ndarray:
            padded = np.zeros((len(rows), self.most, *leaves[0].shape[1:]), leaves[0].dtype)
            np.stack(leaves, axis=1, out=padded[:, :count])
            return padded

        return Block(images, labels, CachedBatch(rows, jax.tree.map(together, *outputs)))


class StreamLoader:
    """One decoded batch a dispatch, from a stream that is opened where the state is."""

    streaming = True
    most = 1

    def __init__(self, open_at: Callable[[int], Iterator[dict[str, np.ndarray]]], *, batch_size: int, what: str):
        """`open_at(step)` iterates from a step on over this host's shares of batches of `batch_size`."""
        self._open_at = open_at
        self._per_device = per_device(batch_size, what)
        self._batches: Iterator[dict[str, np.ndarray]] = iter(())
        self._next = -1  # the step that `_batches` stands at

    def dispatch(self, first: int, count: int) -> Block:
        assert count == 1, count
        if first != self._next:
            self._batches = self._open_at(first)
        batch, self._next = next(self._batches), first + 1
        local = len(jax.local_devices())
        images, labels = (
            batch[name].reshape(local, self._per_device, *batch[name].shape[1:]) for name in ("image", "label")
        )
        rows = np.broadcast_to(np.arange(self._per_device, dtype=np.int32), (local, 1, self._per_device))
        return Block(images, labels, rows)
