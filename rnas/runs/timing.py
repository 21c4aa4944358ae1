"""How long a network takes on this machine: single calls, their median and quartiles."""

from collections.abc import Callable, Iterable
import contextlib
from pathlib import Path
import platform
import time
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from rnas.artifacts.latency import Timing
from rnas.attacks.batching import cores

WARM_UP, FEWEST, MOST = 3, 10, 2000  # calls before and in a measurement


def timed(call: Callable[[], Any], seconds: float = 0.5) -> Timing:
    """Times a call that ends when its result is there, again and again for about so many seconds, after a warm-up."""
    for _ in range(WARM_UP):
        call()
    found: list[float] = []
    end = time.perf_counter() + seconds
    while len(found) < FEWEST or (time.perf_counter() < end and len(found) < MOST):
        began = time.perf_counter()
        call()
        found.append(1e3 * (time.perf_counter() - began))
    low, median, high = np.quantile(found, (0.25, 0.5, 0.75)).tolist()
    return Timing(median, low, high, len(found))


def example_variables(module: nn.Module, shape: Iterable[int], *inputs: Any, **options: Any) -> Any:
    """Variables of a module that takes an array of `shape`: kernels keep the size of what passes, all else is neutral.

    Latency does not depend on values, unless they leave the range of normal numbers.
    """
    image = jax.ShapeDtypeStruct(tuple(shape), np.float32)
    shapes = jax.eval_shape(lambda x: dict(module.init(jax.random.key(0), x, *inputs, **options)), image)
    random = np.random.default_rng(0)

    def fill(path: Any, leaf: Any) -> np.ndarray:
        name = path[-1].key
        if name == "kernel":
            return (random.standard_normal(leaf.shape) * np.sqrt(2 / np.prod(leaf.shape[:-1]))).astype(np.float32)
        return np.full(leaf.shape, float(name in ("var", "scale")), np.float32)

    return jax.tree_util.tree_map_with_path(fill, shapes)


def time_network(network: nn.Module, image_shape: tuple[int, int, int], batch: int = 1, seconds: float = 2.0) -> Timing:
    """Times the logits of `batch` images, without dispatching more than one device; compiled before."""
    shape = (batch, *image_shape)
    variables = jax.device_put(example_variables(network, shape))
    images = jax.device_put(np.random.default_rng(0).random(shape, np.float32))
    logits = jax.jit(lambda variables, images: network.apply(variables, images, train=False)[0])
    return timed(lambda: jax.block_until_ready(logits(variables, images)), seconds)


def machine() -> dict[str, Any]:
    """Device, processor and threads of a measurement, as records state them."""
    return {
        "device": jax.devices()[0].device_kind,
        "processor": _processor(),
        "threads": cores(),  # which both runtimes take
    }


def _processor() -> str:
    """Its name, where the system tells it; else its architecture."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
