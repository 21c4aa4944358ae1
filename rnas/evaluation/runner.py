"""Programs on the examples of a set, in batches of a few fixed sizes, so that nothing is compiled twice."""

from collections.abc import Callable, Sequence
import functools
from typing import Any

import jax
import numpy as np

from rnas.attacks.batching import Compilation, concatenated, cut_batches, run_concurrently, take
from rnas.attacks.direct import hashable
from rnas.steps import run_frozen
from rnas.training.heartbeat import beat
from rnas.training.interruption import stop_together
from rnas.training.loaders import replicate


def pixels(images: np.ndarray) -> np.ndarray:
    """Turns bytes into float32 in [0, 1]; floats are returned as they are."""
    return images.astype(np.float32) / np.float32(255.0) if images.dtype == np.uint8 else images


class Runner:
    """Runs per-example programs of one architecture on chosen rows of a set.

    Args:
      predict: (variables, images, ...) -> logits, in inference mode.
      sizes: allowed batch sizes over all devices, each raised to a multiple of them; padded rows repeat the first and
        are cut off again.
    """

    def __init__(self, predict: Callable, sizes: Sequence[int]):
        devices = jax.device_count()
        self._sizes = sorted({-(-size // devices) * devices for size in sizes})
        self._predict = hashable(predict)
        self._programs: dict[Callable, Callable] = {}
        self._variables: tuple[Any, Any] | None = None
        self._compilation = Compilation()

    @property
    def compilations(self) -> int:
        """How many programs were needed, one for each measurement and batch size."""
        return len(self._compilation.done)

    def cut_batches(self, rows: np.ndarray, total: int | None = None) -> list[np.ndarray]:
        """Cuts `rows` into batches; `total` is how many there were before an interruption."""
        return list(cut_batches(rows, self._sizes, total))

    def run_batch(
        self,
        variables: Any,
        split,
        program: Callable,
        rows: np.ndarray,
        key: jax.Array,
        settings: Any,
        carry: Any = None,
    ) -> Any:
        """Runs `program` (see `run_frozen`) on one batch; returns a pytree of NumPy arrays [len(rows), ...].

        Where memory does not suffice, the batch is halved, and so are those that follow.

        Args:
          variables: of the model; kept on the devices until others come.
          split: images uint8 or float32 [N,H,W,C], labels [N], ids [N].
          rows: of `split`, at most as many as the largest size.
          settings: numbers that do not make another program.
          carry: pytree of arrays [len(rows), ...].
        """
        run = functools.partial(self._run_batch, variables, split, program, key=key, settings=settings)
        most = self._sizes[-1]
        if len(rows) <= most:
            try:
                return run(rows, carry=carry)
            except jax.errors.JaxRuntimeError as error:
                devices = jax.device_count()
                smaller = sorted({size // 2 // devices * devices for size in self._sizes} - {0})
                if "RESOURCE_EXHAUSTED" not in str(error) or not smaller:
                    raise
                self._sizes, most = smaller, smaller[-1]
        cuts = [slice(first, first + most) for first in range(0, len(rows), most)]
        again = functools.partial(self.run_batch, variables, split, program, key=key, settings=settings)
        return concatenated([again(rows[cut], carry=take(carry, cut)) for cut in cuts])

    def _run_batch(self, variables, split, program, rows, *, key, settings, carry):
        stop_together()
        beat()
        size = next(size for size in self._sizes if size >= len(rows))
        if program not in self._programs:
            # Of two threads that meet here the first one's stays.
            self._programs.setdefault(program, run_frozen(self._predict, program))
        if self._variables is None or self._variables[0] is not variables:
            self._variables = (variables, replicate(variables))

        def share(array: np.ndarray) -> np.ndarray:
            padded = np.concatenate([array, np.repeat(array[:1], size - len(rows), axis=0)])
            each = size // jax.device_count()
            local = len(jax.local_devices()) * each
            mine = padded[jax.process_index() * local :][:local]
            return mine.reshape(-1, each, *array.shape[1:])

        with self._compilation.of((program, size)):
            found = self._programs[program](
                self._variables[1],
                share(pixels(split.images[rows])),
                share(split.labels[rows]),
                share(split.ids[rows].astype(np.int32)),
                key,
                settings,
                jax.tree.map(share, carry),
            )
            return take(jax.device_get(found), slice(len(rows)))

    def run(
        self,
        variables: Any,
        split,
        program: Callable,
        rows: np.ndarray,
        key: jax.Array,
        settings: Any,
        carry: Any = None,
    ) -> Any:
        """Runs `program` on all of `rows`, at least one; arguments are those of `run_batch`."""

        def one(places):
            return self.run_batch(variables, split, program, rows[places], key, settings, take(carry, places))

        return concatenated([found for _, found in run_concurrently(one, self.cut_batches(np.arange(len(rows))))])
