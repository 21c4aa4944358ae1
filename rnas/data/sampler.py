"""The order in which a run visits its images: a pure function of the seed and the step.

Nothing here has a state, so a run resumed at any step sees what the uninterrupted one would have seen.
"""

import zlib

import numpy as np


def named_generator(seed: int, name: str) -> np.random.Generator:
    """Draws that depend on (seed, name) alone: of random cells, widths and tutors."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, zlib.crc32(name.encode())], np.uint64)))


def permutation(size: int, seed: int, word: int) -> np.ndarray:
    """A permutation of `range(size)` that depends on `(seed, word)` alone.

    The raw 64-bit stream of Philox is sorted, because NumPy promises that stream for all its releases but
    not what its generators make of it. Returns [size] int64.
    """
    key = np.array([seed, word], dtype=np.uint64)
    return np.argsort(np.random.Philox(key=key).random_raw(size), kind="stable")


def check_seed(seed: int) -> None:
    """Raises ValueError unless `seed` is an integer that fits an unsigned 64-bit word."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**64:
        raise ValueError(f"seed={seed!r}: expected an integer from 0 to 2**64 - 1")


class Sampler:
    """Batches of dataset rows, a new permutation each epoch.

    The rest of an epoch that fills no batch is dropped, or with `keep_last` is a batch filled up with -1.

    Step s belongs to epoch s // steps_per_epoch. The permutation of an epoch is keyed by (seed, epoch).

    Raises ValueError unless `rows` are [N] integers, the dataset rows to visit, `batch_size` (of all devices and hosts
    together) at most N and `seed` 0 to 2**64 - 1.
    """

    def __init__(self, rows: np.ndarray, batch_size: int, seed: int, *, keep_last: bool = False):
        rows = np.asarray(rows)
        if rows.ndim != 1 or not np.issubdtype(rows.dtype, np.integer):
            raise ValueError(f"rows of shape {rows.shape} and type {rows.dtype}: expected [N] integers")
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: expected at least 1")
        if len(rows) < batch_size:
            raise ValueError(
                f"batch_size={batch_size} but there are only {len(rows)} images: "
                f"lower the batch size to at most {len(rows)} or hold out fewer images"
            )
        check_seed(seed)
        self.rows = rows.astype(np.int32)
        self.batch_size = batch_size
        self.seed = seed
        self.steps_per_epoch = -(-len(rows) // batch_size) if keep_last else len(rows) // batch_size
        self._epochs: dict[int, np.ndarray] = {}

    def epoch_rows(self, epoch: int) -> np.ndarray:
        """The batches of one epoch: [steps_per_epoch, batch_size] int32."""
        epochs = self._epochs
        if epoch not in epochs:
            batches = np.full((self.steps_per_epoch, self.batch_size), -1, np.int32)
            kept = permutation(len(self.rows), self.seed, epoch)[: batches.size]
            batches.flat[: len(kept)] = self.rows[kept]
            # Two epochs are kept, for readers on either side of a boundary; replacing the whole dict lets
            # threads share a sampler without a lock.
            self._epochs = epochs = {**dict(list(epochs.items())[-1:]), epoch: batches}
        return epochs[epoch]

    def rows_at(self, first_step: int, count: int) -> np.ndarray:
        """The batches of steps first_step … first_step + count - 1, [count, batch_size] int32.

        Raises ValueError if `first_step` or `count` is negative.
        """
        if first_step < 0 or count < 0:
            raise ValueError(f"first_step={first_step}, count={count}: expected neither to be negative")
        batches = np.empty((count, self.batch_size), np.int32)
        done = 0
        while done < count:
            epoch, position = divmod(first_step + done, self.steps_per_epoch)
            taken = self.epoch_rows(epoch)[position : position + count - done]
            batches[done : done + len(taken)] = taken
            done += len(taken)
        return batches


class MixedSampler:
    """Batches of the rows of two samplers, of each always as many, spread evenly over the batch.

    Step s takes the batch of step s of both, so each goes through its rows in epochs of its own.
    """

    def __init__(self, first: Sampler, second: Sampler):
        self.batch_size = first.batch_size + second.batch_size
        ends = np.arange(self.batch_size + 1) * second.batch_size // self.batch_size
        self._is_second = np.diff(ends) > 0
        self._first, self._second = first, second

    def rows_at(self, first_step: int, count: int) -> np.ndarray:
        """The batches of steps first_step … first_step + count - 1, [count, batch_size] int32; raises as `Sampler`."""
        batches = np.empty((count, self.batch_size), np.int32)
        batches[:, ~self._is_second] = self._first.rows_at(first_step, count)
        batches[:, self._is_second] = self._second.rows_at(first_step, count)
        return batches
