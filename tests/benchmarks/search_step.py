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
import shutil
import sys

import turns
from turns import cores, positive

from rnas.spaces.cell_space import SPACES

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


def serve(arguments: argparse.Namespace) -> None:
    """The process of one side."""
    turns.limit_threads(arguments.threads)
    problem = make_problem(arguments)
    if arguments.side == "ours":
        from rnas.cli import platform as setup

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

    compiler = shutil.which(os.environ.get("CXX", "c++"))
    sides = SIDES if compiler and not arguments.no_compile and arguments.files == "search" else SIDES[:2]
    command = [sys.executable, str(Path(__file__).resolve())]
    for name in ("space", "batch", "channels", "cells", "steps", "threads"):
        command.append(f"--{name}={getattr(arguments, name)}")
    measured = turns.contest(
        {side: [*command, f"--side={side}"] for side in sides},
        repeats=arguments.repeats, steps=arguments.steps, threads=arguments.threads, tell=tell,
    )  # fmt: skip
    medians = turns.medians(measured)
    theirs = min(medians[side] for side in sides[1:])
    return {
        "name": "search_step",
        "ratio": round(theirs / medians["ours"], 3),
        "target": 1.5 if arguments.files == "search" and "compiled" not in medians else 1.0,
        "ours": medians["ours"],
        "theirs": theirs,
        "eager": medians["eager"],
        "compiled": medians.get("compiled"),
        "ratio_eager": round(medians["eager"] / medians["ours"], 3),
        "sizes": make_problem(arguments).sizes,
        **measured,
    }


def main(argv=None) -> None:
    arguments = parse(argv)
    if arguments.side:
        serve(arguments)
    else:
        print(json.dumps(measure(arguments)))


if __name__ == "__main__":
    main()
