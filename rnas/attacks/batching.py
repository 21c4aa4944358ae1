"""Examples in batches of a few fixed sizes, several batches at a time where one leaves cores idle."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
import contextlib
import os
import threading
from typing import Any

import jax
import numpy as np

SHARES = (1, 4, 16)  # batch sizes are the largest over these


def batch_sizes(largest: int, devices: int = 1) -> list[int]:
    """Returns the sizes for batches of at most `largest` over all devices, ascending, each divisible by `devices`."""
    return sorted({max(1, -(-largest // share // devices)) * devices for share in SHARES})


def cut_batches(rows: np.ndarray, sizes: Sequence[int], total: int | None = None) -> Iterator[np.ndarray]:
    """Cuts `rows` into batches of one size, the last of which may be smaller.

    Where one batch runs at a time, it is as large as there are rows for; else of a size that keeps all workers
    busy. Both depend on how many rows there are in all: `total`, if `rows` are what an interruption left.
    """
    count, workers = len(rows) if total is None else total, concurrent_batches()
    if workers == 1:
        size = min((size for size in sizes if size >= count), default=max(sizes))
    else:
        size = max((size for size in sizes if count >= 2 * workers * size), default=min(sizes))
    for first in range(0, len(rows), size):
        yield rows[first : first + size]


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def concurrent_batches() -> int:
    """How many batches to run at a time.

    On a CPU a program that loops over small convolutions keeps one core busy, whatever the batch.
    """
    if jax.default_backend() != "cpu" or jax.process_count() > 1:
        return 1
    return max(1, cores() // jax.local_device_count())


def run_concurrently(
    run: Callable[[np.ndarray], Any], batches: Sequence[np.ndarray]
) -> Iterator[tuple[np.ndarray, Any]]:
    """Yields (batch, run(batch)) for every batch, in order."""
    workers = min(concurrent_batches(), len(batches))
    if workers <= 1:
        yield from ((batch, run(batch)) for batch in batches)
        return
    # Settings made with a `with` statement hold for the thread they were made in.
    config: Any = jax.config
    precision, device = config.jax_default_matmul_precision, config.jax_default_device

    def settled(batch):
        with jax.default_matmul_precision(precision), jax.default_device(device):
            return run(batch)

    pool = ThreadPoolExecutor(workers)
    try:
        for batch, future in [(batch, pool.submit(settled, batch)) for batch in batches]:
            yield batch, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def take(tree: Any, rows: Any) -> Any:
    """Returns `rows` of every array of a pytree."""
    return jax.tree.map(lambda leaf: leaf[rows], tree)


def concatenated(batches: Sequence[Any]) -> Any:
    """Joins pytrees of arrays, one for each of at least one batch, along the first axis."""
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *batches)


class Compilation:
    """Lets one thread go first with a program, so that it is compiled once."""

    def __init__(self):
        self._lock = threading.Lock()
        self.done: set[Any] = set()

    @contextlib.contextmanager
    def of(self, program: Any) -> Iterator[None]:
        """Holds back all but the first until that one is through."""
        if program not in self.done:
            with self._lock:
                first = program not in self.done
                if first:
                    yield
                    self.done.add(program)
            if first:
                return
        yield
