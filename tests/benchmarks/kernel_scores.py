"""Times the tangent-kernel scores of many cells by one program against a program for each cell.

    python tests/benchmarks/kernel_scores.py                       # 100 cells, 16 images, 3 radii
    python tests/benchmarks/kernel_scores.py --cells=2 --images=2  # does it work?

It prints one JSON line. Both sides measure the same: kernels of clean and perturbed images, activations, synflow,
gradients. Ours passes the cell as an array, so that one compilation serves all; the other side compiles a program in
which the cell is fixed and only its own operations are left. `ours` is seconds for all cells, compilation included;
`theirs` is the mean of `--sample` cells times their number. Random networks and images; all in this process.
"""

import argparse
import functools
from importlib import metadata
import json
import os
import platform
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
import turns

from rnas.models import NASBench201
from rnas.ntk.measurement import make_measurement
from rnas.spaces import nasbench201


def parse(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = functools.partial(parser.add_argument, type=turns.positive, help="default %(default)s")
    add("--cells", default=100)
    add("--sample", default=3)
    add("--images", default=16)
    add("--side", default=16)
    add("--channels", default=4)
    return parser.parse_args(argv)


def measure(arguments: argparse.Namespace) -> dict:
    """Times both sides, and returns the result."""
    load, random = os.getloadavg(), np.random.default_rng(0)
    ids = random.choice(nasbench201.classes(), arguments.cells, replace=False)
    images = jnp.asarray(random.random((arguments.images, arguments.side, arguments.side, 1)), jnp.float32)
    labels = jnp.asarray(random.integers(0, 10, arguments.images), jnp.int32)
    radii = jnp.asarray([2 / 255, 4 / 255, 8 / 255], jnp.float32)
    model = NASBench201(num_classes=10, mean=(0.5,), std=(0.25,), channels=arguments.channels, cells=1)
    program, key = make_measurement(model), jax.random.key(0)
    encodings = jnp.asarray(nasbench201.encodings()[ids])
    variables = jax.jit(model.init)(key, images[:1], encodings[0])
    compiled: list[float] = []

    def listen(event, seconds, **_):
        if event.endswith("backend_compile_duration"):
            compiled.append(seconds)

    def seconds(measured) -> tuple[float, jax.Array]:
        start = time.perf_counter()
        found = jax.block_until_ready(measured())
        return time.perf_counter() - start, found.kernel

    jax.monitoring.register_event_duration_secs_listener(listen)
    together = jax.jit(program)
    ours = [seconds(lambda one=one: together(variables, one, images, labels, radii, key)) for one in encodings]
    programs, compile_seconds = len(compiled), sum(compiled)
    alone = []
    for one in np.asarray(encodings)[: arguments.sample]:
        fixed = jax.jit(lambda variables, *given, one=one: program(variables, one, *given))
        alone.append(seconds(lambda fixed=fixed: fixed(variables, images, labels, radii, key)))
    for (_, kernel), (_, expected) in zip(ours, alone, strict=False):
        np.testing.assert_allclose(kernel, expected, rtol=1e-3, atol=1e-3 * float(jnp.abs(expected).max()))
    whole = sum(each for each, _ in ours)
    theirs = statistics.mean(each for each, _ in alone) * arguments.cells
    return {
        "name": "kernel_scores",
        "ratio": round(theirs / whole, 3),
        "target": 10.0,
        "ours": whole,
        "theirs": theirs,
        "compilations": programs,
        "compile_seconds": round(compile_seconds, 1),
        "seconds": {"ours": [each for each, _ in ours], "theirs": [each for each, _ in alone]},
        "sizes": vars(arguments),
        "threads": turns.cores(),
        "load": load,
        "machine": platform.machine(),
        "versions": {name: metadata.version(name) for name in ("jax", "jaxlib", "numpy")},
    }


if __name__ == "__main__":
    print(json.dumps(measure(parse())))
