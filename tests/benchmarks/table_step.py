"""Times one adversarial training step of a NAS-Bench-201 network against the same step in PyTorch.

Run it on a machine that does nothing else:

    python tests/benchmarks/table_step.py                           # 333133, C = 16, N = 5, batch 64, all cores
    python tests/benchmarks/table_step.py --arch=222222 --threads=1
    python tests/benchmarks/table_step.py --channels=2 --cells=1 --batch=4 --repeats=1 --no-compile  # does it work?

It prints one JSON line on standard output, and progress on standard error unless `--json` is given. The sides take
turns in processes of their own, on the same cores. A step is image bytes in, new weights out, without augmentation:
PGD-7 with running statistics (seven passes forward and back to the images), then cross-entropy of the last iterate
with batch statistics, its gradient, SGD with momentum and decay.

Ours is the traced network, of which one program trains all 15,625 cells; PyTorch's has this one cell and nothing else.
PyTorch is timed eager and compiled. The fields are those of `search_step.py`.
"""

import argparse
import importlib.util
import json
import os
from pathlib import Path
import shutil
import sys

import table_problem
import turns

from rnas.spaces import nasbench201

WARM_UP = 2
SIDES = ("ours", "eager", "compiled")


def parse(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--arch", default="333133", help="id, code or string of the cell (default %(default)s)")
    parser.add_argument("--batch", type=turns.positive, default=64, help="images a step (default %(default)s)")
    parser.add_argument("--channels", type=turns.positive, default=16, help="of the first stage (default %(default)s)")
    parser.add_argument("--cells", type=turns.positive, default=5, help="in each stage (default %(default)s)")
    parser.add_argument("--repeats", type=turns.positive, default=7, help="turns of each side (default %(default)s)")
    parser.add_argument("--steps", type=turns.positive, default=2, help="steps a turn (default %(default)s)")
    parser.add_argument(
        "--threads", type=turns.positive, default=turns.cores(), help="cores used (default: all, %(default)s)"
    )
    parser.add_argument("--no-compile", action="store_true", help="leave out torch.compile, whose C++ takes minutes")
    parser.add_argument("--json", action="store_true", help="no progress on standard error")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.threads > turns.cores():
        parser.error(f"--threads={arguments.threads}, but this process may use {turns.cores()} cores.")
    try:
        arguments.arch = nasbench201.to_code(arguments.arch)
    except ValueError as error:
        parser.error(f"--arch: {error}")
    if importlib.util.find_spec("torch") is None:
        parser.error("PyTorch, the other side, is not installed; pip install 'rnas[torch]'.")
    return arguments


def make_problem(arguments: argparse.Namespace) -> table_problem.Problem:
    return table_problem.make_problem(arguments.arch, arguments.batch, arguments.channels, arguments.cells)


def serve(arguments: argparse.Namespace) -> None:
    """The process of one side."""
    turns.limit_threads(arguments.threads)
    problem = make_problem(arguments)
    if arguments.side == "ours":
        import table_jax as side

        from rnas.cli import platform

        platform.prepare()
        run = side.Training(problem, max(arguments.steps, WARM_UP))
    else:
        import table_torch as side

        side.torch.set_num_threads(arguments.threads)
        run = side.Training(problem, compiled=arguments.side == "compiled")
    turns.serve(run, side.VERSIONS, warm_up=WARM_UP)


def measure(arguments: argparse.Namespace) -> dict:
    """Lets all sides take turns, and returns the result."""

    def tell(words):
        if not arguments.json:
            print(words, file=sys.stderr)

    compiler = shutil.which(os.environ.get("CXX", "c++"))
    sides = SIDES if compiler and not arguments.no_compile else SIDES[:2]
    command = [sys.executable, str(Path(__file__).resolve())]
    for name in ("arch", "batch", "channels", "cells", "steps", "threads"):
        command.append(f"--{name}={getattr(arguments, name)}")
    measured = turns.contest(
        {side: [*command, f"--side={side}"] for side in sides},
        repeats=arguments.repeats, steps=arguments.steps, threads=arguments.threads, tell=tell,
    )  # fmt: skip
    medians = turns.medians(measured)
    theirs = min(medians[side] for side in sides[1:])
    return {
        "name": "table_step",
        "ratio": round(theirs / medians["ours"], 3),
        "target": 1.0,
        "ours": medians["ours"],
        "theirs": theirs,
        "eager": medians["eager"],
        "compiled": medians.get("compiled"),
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
