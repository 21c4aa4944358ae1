"""Times one step of a search against the same step in PyTorch: of RNAS-CL the weight step, of DSARA the whole one.

Run it on a machine that does nothing else:

    python tests/benchmarks/search_step.py                        # RNAS-CL, space s3, batch 128, all cores
    python tests/benchmarks/search_step.py --space=dsara          # DSARA, 16 channels, 8 cells, batch 32 and 32
    python tests/benchmarks/search_step.py --threads=1 --repeats=9
    python tests/benchmarks/search_step.py --space=s1 --batch=4 --repeats=1 --no-compile  # does it work?

It prints one JSON line on standard output, and progress on standard error unless `--json` is given. The sides take
turns in processes of their own, on the same cores. A step is image bytes in, new weights out, without augmentation.

RNAS-CL: samples of widths and tutors, forward pass of the supernet, cross-entropy + KL + distances of all student
and teacher maps, times the cost factor; gradients; Adam. The teacher's logits and 31 maps are given; no attack.
PyTorch is timed eager and compiled.

DSARA (or a search of the same kind in the space of DARTS): PGD-7 on both halves, exact second-order gradients of
the natural and of the adversarial validation loss, their min-norm direction, Adam; then a step of SGD. PyTorch
is timed eager: its compiler does not differentiate twice.

The fields: `ours`, `theirs`, `eager`, `compiled` are seconds per step, medians over the repetitions in
`seconds`; `theirs` is the faster of the last two (`compiled` is null if left out or without a C++ compiler);
`ratio` is theirs / ours, to be compared with `target`; `cpu_seconds` is processor time per step, all threads
together; `peak_memory` is the resident memory of each process at its worst after compilation, in MiB, libraries
included; `warm_up` is seconds until a side was ready to be timed (compilation, from a cache if it is there);
`load` is the machine's load average before the start. On a machine that is busy, time one thread and look at
`cpu_seconds`: PyTorch's threads wait for each other after every operation, so that one which does not get its
core holds up all.
"""

import argparse
import importlib
import importlib.util
import json
import os
from pathlib import Path
import platform
import shutil
import statistics
import sys

import turns

from rnas.spaces.cells import SPACES

WARM_UP = 2
SIDES = ("ours", "eager", "compiled")
BATCHES = {"search": 128, "cell": 32}  # by which files have the problem and its sides


def parse(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--space", default="s3", help="search space (default %(default)s)")
    parser.add_argument("--batch", type=positive, help="images a step; of each half, for cells (default: 128; 32)")
    parser.add_argument("--channels", type=positive, default=16, help="of cells: C of the first (default %(default)s)")
    parser.add_argument("--cells", type=positive, default=8, help="of cells: how many (default %(default)s)")
    parser.add_argument("--repeats", type=positive, default=7, help="turns of each side (default %(default)s)")
    parser.add_argument("--steps", type=positive, default=5, help="steps a turn (default %(default)s)")
    parser.add_argument("--threads", type=positive, default=cores(), help="cores used (default: all, %(default)s)")
    parser.add_argument("--no-compile", action="store_true", help="leave out torch.compile, whose C++ takes minutes")
    parser.add_argument("--json", action="store_true", help="no progress on standard error")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    arguments.files = "cell" if arguments.space in SPACES else "search"
    arguments.batch = arguments.batch or BATCHES[arguments.files]
    if arguments.threads > cores():
        parser.error(f"--threads={arguments.threads}, but this process may use {cores()} cores.")
    if importlib.util.find_spec("torch") is None:
        parser.error("PyTorch, the other side, is not installed; pip install 'rnas[torch]'.")
    return arguments


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} must be at least 1.")
    return value


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def serve(arguments: argparse.Namespace) -> None:
    """The process of one side."""
    turns.limit_threads(arguments.threads)
    problem = make_problem(arguments)
    if arguments.side == "ours":
        from rnas import platform as setup

        setup.prepare()
        side = importlib.import_module(f"{arguments.files}_jax")
        run = side.Search(problem, max(arguments.steps, WARM_UP))
    else:
        side = importlib.import_module(f"{arguments.files}_torch")
        side.torch.set_num_threads(arguments.threads)
        run = side.Search(problem, **({"compiled": True} if arguments.side == "compiled" else {}))
    turns.serve(run, side.VERSIONS, warm_up=WARM_UP)


def make_problem(arguments: argparse.Namespace):
    sizes = (arguments.channels, arguments.cells) if arguments.files == "cell" else ()
    return importlib.import_module(f"{arguments.files}_problem").make_problem(arguments.space, arguments.batch, *sizes)


def measure(arguments: argparse.Namespace) -> dict:
    """Starts all sides, lets them take turns, and returns the result."""

    def tell(*words):
        if not arguments.json:
            print(*words, file=sys.stderr)

    load = os.getloadavg()
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    sides = SIDES if compiler and not arguments.no_compile and arguments.files == "search" else SIDES[:2]
    command = [sys.executable, str(Path(__file__).resolve())]
    for name in ("space", "batch", "channels", "cells", "steps", "threads"):
        command.append(f"--{name}={getattr(arguments, name)}")
    # OpenMP and MKL read theirs when they are loaded.
    environment = {"JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": str(arguments.threads)}
    rivals = {}
    try:
        for side in sides:
            rivals[side] = turns.Rival([*command, f"--side={side}"], environment)
            tell(f"{side}: warm after {rivals[side].warm_up:.1f} s")
        for repeat in range(arguments.repeats):
            # Nobody always runs right after the same rival's cache is cold.
            for side in sides[repeat % len(sides) :] + sides[: repeat % len(sides)]:
                tell(f"{side}: {rivals[side].take(arguments.steps)['seconds']:.4f} s a step")
    finally:
        for rival in rivals.values():
            rival.close()

    seconds = {side: [turn["seconds"] for turn in rival.turns] for side, rival in rivals.items()}
    medians = {side: statistics.median(values) for side, values in seconds.items()}
    theirs = min(medians[side] for side in sides[1:])
    versions = {"python": platform.python_version()}
    for rival in rivals.values():
        versions |= rival.versions
    return {
        "name": "search_step",
        "ratio": round(theirs / medians["ours"], 3),
        "target": 1.5 if arguments.files == "search" and "compiled" not in medians else 1.0,
        "ours": medians["ours"],
        "theirs": theirs,
        "eager": medians["eager"],
        "compiled": medians.get("compiled"),
        "ratio_eager": round(medians["eager"] / medians["ours"], 3),
        "seconds": seconds,
        "cpu_seconds": {
            side: statistics.median(turn["cpu_seconds"] for turn in rival.turns) for side, rival in rivals.items()
        },
        "loss": {side: rival.turns[-1]["loss"] for side, rival in rivals.items()},
        "warm_up": {side: round(rival.warm_up, 1) for side, rival in rivals.items()},
        "peak_memory": {side: mebibytes(rival.turns) for side, rival in rivals.items()},
        "sizes": make_problem(arguments).sizes,
        "repeats": arguments.repeats,
        "steps": arguments.steps,
        "threads": arguments.threads,
        "load": load,
        "machine": platform.machine(),
        "versions": versions,
    }


def mebibytes(taken: list[dict]) -> int | None:
    peaks = [turn["peak_memory"] for turn in taken if turn["peak_memory"]]
    return max(peaks) >> 20 if peaks else None


def main(argv=None) -> None:
    arguments = parse(argv)
    if arguments.side:
        serve(arguments)
    else:
        print(json.dumps(measure(arguments)))


if __name__ == "__main__":
    main()
