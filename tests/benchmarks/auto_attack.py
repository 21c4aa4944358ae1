"""Times AutoAttack (standard; Linf or L2) against the same four attacks of torchattacks, in PyTorch.

Run it on a machine that does nothing else; it takes minutes to tens of minutes:

    python tests/benchmarks/auto_attack.py                            # 1,000 images of Fashion-MNIST, all cores
    python tests/benchmarks/auto_attack.py --norm=l2 --epsilon=0.5
    python tests/benchmarks/auto_attack.py --threads=1 --repeats=3
    python tests/benchmarks/auto_attack.py --dataset=digits --images=4  # does it work?

It prints one JSON line on standard output, and progress on standard error unless `--json` is given. Both sides
attack the same images, in batches of the same size, on a small network with the same weights, trained against
PGD-7 (in Linf at the same radius; for L2 at 8/255) and kept for the next run; in processes of their own, one
after the other, on the same cores. Ours packs the examples that still stand into batches anew after every part;
compiled programs need batches of fixed sizes. The other side is a loop over APGD (cross-entropy), APGD-T, FAB-T
and Square, each on the examples of a batch that still stand, verdicts recounted, as `torchattacks.AutoAttack`
does it, with the settings that AutoAttack has and its classes do not have by default: 100 steps instead of 10,
and Square's schedule for 5,000 queries not stretched to 10,000. Its gradients are for the images alone; it runs
Square in inference mode and the network in the faster of two memory layouts.

What is not equal: the random numbers; Square draws one square for all images of a batch there and one for each
image here; and a step of FAB finds the same hyperplane projection by bisection there.

The fields: `ours`, which includes compilation into an empty cache, `ours_compiled` and `theirs` are seconds for
all images, medians over the repetitions in `seconds`; `ratio` is theirs / ours, to be compared with `target`, and
`ratio_compiled` theirs / ours_compiled; `parts` are seconds of each attack, `standing` the examples left before
it, in the last repetition; `robust_accuracy` should be equal to a fraction of a percent; `compilations` counts
programs given to XLA in a first and in a second run, `compile_seconds` the time that took; `cpu_seconds` is
processor time, all threads together; `peak_memory` is the resident memory of each process at its worst, libraries
included, in MiB; `load` is the machine's load average before the start.
"""

import argparse
import contextlib
from functools import partial
import importlib
import importlib.util
import json
import os
from pathlib import Path
import platform
import statistics
import sys
import tempfile
import time
from typing import NamedTuple
from unittest import mock

import numpy as np
import turns

sys.path.append(str(Path(__file__).resolve().parents[1] / "attacks"))  # of small_cnn

TARGET = 3.0
SEED = 0
TRAINING = {  # images and epochs; at Linf 8/255: 84 % clean, 75 % under PGD-20 on Fashion-MNIST
    "fashion_mnist": (20_000, 2),
    "digits": (1_400, 8),
}
SIDES = ("ours", "theirs")
NORMS = {"linf": "Linf", "l2": "L2"}  # of which torchattacks has all four attacks


class Problem(NamedTuple):
    """What both sides are given.

    Attributes:
      params: parameters of the network, a dict of dicts of NumPy arrays.
      images: float32 [N, H, W, 1] in [0, 1].
      labels: int32 [N].
      epsilon: radius.
      norm: of the radius, linf or l2.
      batch: images attacked together.
    """

    params: dict[str, dict[str, np.ndarray]]
    images: np.ndarray
    labels: np.ndarray
    epsilon: float
    norm: str
    batch: int

    @property
    def batches(self) -> list[slice]:
        return [slice(first, first + self.batch) for first in range(0, len(self.images), self.batch)]


def make_problem(arguments: argparse.Namespace) -> Problem:
    """Reads the images and trains the network, or finds it trained.

    Raises:
      ValueError: the dataset is not prepared, or has fewer test images.
    """
    from small_cnn import train_small_cnn

    from rnas.attacks import radius
    from rnas.data.datasets import cache_folder, load_dataset

    data = load_dataset(arguments.dataset, data_dir=arguments.data_dir, held_out=0, seed=SEED)
    if arguments.images > len(data.test):
        raise ValueError(f"--images={arguments.images}, but {arguments.dataset} has {len(data.test)} test images.")
    count, epochs = TRAINING[arguments.dataset]
    train = data.train.take(np.arange(min(count, len(data.train))))
    params = train_small_cnn(
        train.images,
        train.labels,
        epsilon=arguments.epsilon if arguments.norm == "linf" else "8/255",
        seed=SEED,
        epochs=epochs,
        cache=cache_folder() / "benchmarks",
    )
    test = data.test.take(np.arange(arguments.images))
    images = test.images.astype(np.float32) / 255
    batch = min(arguments.batch, arguments.images)
    return Problem(params, images, test.labels, radius(arguments.epsilon), arguments.norm, batch)


class Ours:
    """`rnas.attacks.auto_attack`, its parts timed from outside."""

    def __init__(self, problem: Problem):
        import jax
        from small_cnn import logits_fn

        from rnas.attacks.random_start import per_example_keys

        # The package exports the function under the same name.
        self.module = importlib.import_module("rnas.attacks.auto_attack")
        self.problem = problem
        self.logits_fn = partial(logits_fn, problem.params)
        self.keys = per_example_keys(jax.random.key(SEED), len(problem.images))
        self.versions = {name: importlib.import_module(name).__version__ for name in ("jax", "jaxlib")}
        self.compiled: list[float] = []

        def listen(event, seconds, **_):
            if event.endswith("backend_compile_duration"):
                self.compiled.append(seconds)

        jax.monitoring.register_event_duration_secs_listener(listen)

    def __call__(self) -> dict:
        """Attacks all images; returns seconds and survivors of each attack, and what was compiled."""
        self.compiled.clear()
        clock, untimed = Clock(), self.module.in_turn

        def in_turn(runs, attack, fooled):
            def timed(run, rows, carry):
                with clock.during(run.name, standing=len(rows) if run.number == 0 else 0):
                    return attack(run, rows, carry)

            return untimed(runs, timed, fooled)

        with mock.patch.object(self.module, "in_turn", in_turn):
            result = self.module.auto_attack(
                self.logits_fn, self.problem.images, self.problem.labels, epsilon=self.problem.epsilon, key=self.keys,
                norm=self.problem.norm, batch_size=self.problem.batch,
            )  # fmt: skip
        robust = int(np.sum(~np.asarray(result.success)))
        return {
            **clock.report(),
            "robust_accuracy": robust / len(self.problem.images),
            "compilations": len(self.compiled),
            "compile_seconds": round(sum(self.compiled), 3),
        }


class Theirs:
    """The four attacks of torchattacks, one after another on what is left of a batch."""

    def __init__(self, problem: Problem, threads: int):
        import torch
        import torchattacks

        torch.set_num_threads(threads)
        self.torch, self.problem = torch, problem
        self.images = torch.tensor(np.moveaxis(problem.images, -1, 1))
        self.labels = torch.tensor(problem.labels).long()
        self.versions = {"torch": torch.__version__, "torchattacks": torchattacks.__version__}
        self.model, self.layout = self.quickest_layout()
        classes = self.model.classifier.out_features
        common = dict(model=self.model, norm=NORMS[problem.norm], eps=problem.epsilon, n_restarts=1, seed=SEED)
        self.attacks = {
            "apgd_ce": torchattacks.APGD(steps=100, loss="ce", **common),
            "apgd_t": torchattacks.APGDT(steps=100, n_classes=classes, **common),
            "fab_t": torchattacks.FAB(steps=100, multi_targeted=True, n_classes=classes, **common),
            "square": torchattacks.Square(n_queries=5000, resc_schedule=False, **common),
        }

    def quickest_layout(self):
        """The network in the memory layout, and its name, in which gradients for a batch take less time."""
        from small_cnn import torch_baseline

        torch = self.torch
        images, labels = self.images[: self.problem.batch], self.labels[: self.problem.batch]

        def seconds(model):
            points = images.clone().requires_grad_()
            start = time.perf_counter()
            torch.autograd.grad(torch.nn.functional.cross_entropy(model(points), labels), points)
            return time.perf_counter() - start

        found = {}
        for name in ("channels_last", "contiguous_format"):
            model = torch_baseline(self.problem.params).to(memory_format=getattr(torch, name))
            found[name] = min(seconds(model) for _ in range(10)), model
        layout = min(found, key=lambda name: found[name][0])
        return found[layout][1], layout

    def __call__(self) -> dict:
        torch, clock, robust = self.torch, Clock(), 0
        for rows in self.problem.batches:
            images, labels = self.images[rows], self.labels[rows]
            standing = self.correct(images, labels)
            for name, attack in self.attacks.items():
                if not standing.any():
                    break
                left = standing.nonzero().flatten()
                # The others take gradients.
                mode = torch.inference_mode() if name == "square" else contextlib.nullcontext()
                with clock.during(name, standing=len(left)), mode:
                    standing[left] = self.correct(attack(images[left], labels[left]), labels[left])
            robust += int(standing.sum())
        return {**clock.report(), "robust_accuracy": robust / len(self.images), "layout": self.layout}

    def correct(self, images, labels):
        with self.torch.inference_mode():
            found = self.model(images).argmax(1) == labels
        return found.clone()


class Clock:
    """Adds up what each attack takes, and how many examples it was given."""

    def __init__(self):
        self.seconds, self.standing = {}, {}

    @contextlib.contextmanager
    def during(self, name: str, *, standing: int):
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
        self.standing[name] = self.standing.get(name, 0) + standing

    def report(self) -> dict:
        return {"parts": {name: round(value, 4) for name, value in self.seconds.items()}, "standing": self.standing}


def parse(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=positive, default=1000, help="test images (default %(default)s)")
    parser.add_argument("--batch", type=positive, default=250, help="images attacked together (default %(default)s)")
    parser.add_argument("--norm", choices=NORMS, default="linf", help="default %(default)s")
    parser.add_argument("--epsilon", default="8/255", help="radius (default %(default)s)")
    parser.add_argument("--dataset", choices=TRAINING, default="fashion_mnist", help="default %(default)s")
    parser.add_argument("--data-dir", help="folder of prepared TFDS sets (default: that of TFDS)")
    parser.add_argument("--repeats", type=positive, default=1, help="runs of each side (default %(default)s)")
    parser.add_argument("--threads", type=positive, default=cores(), help="cores used (default: all, %(default)s)")
    parser.add_argument("--json", action="store_true", help="no progress on standard error")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--problem", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.threads > cores():
        parser.error(f"--threads={arguments.threads}, but this process may use {cores()} cores.")
    for name in ("torch", "torchattacks"):
        if importlib.util.find_spec(name) is None:
            parser.error(f"{name}, the other side, is not installed; pip install '.[agreement]'.")
    return arguments


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} must be at least 1.")
    return value


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def save(problem: Problem, path: Path) -> None:
    arrays = {f"{layer}/{name}": leaf for layer, leaves in problem.params.items() for name, leaf in leaves.items()}
    np.savez(path, **arrays, **{name: getattr(problem, name) for name in Problem._fields[1:]})


def load(path: Path) -> Problem:
    with np.load(path) as file:
        arrays = dict(file)
    params = {}
    for name in [name for name in arrays if "/" in name]:
        layer, leaf = name.split("/")
        params.setdefault(layer, {})[leaf] = arrays.pop(name)
    return Problem(
        params,
        **arrays | {"epsilon": float(arrays["epsilon"]), "norm": str(arrays["norm"]), "batch": int(arrays["batch"])},
    )


def serve(arguments: argparse.Namespace) -> None:
    """The process of one side."""
    turns.limit_threads(arguments.threads)
    problem = load(arguments.problem)
    side = Ours(problem) if arguments.side == "ours" else Theirs(problem, arguments.threads)

    def run(count):
        if count:
            turns.forget_peak()
            return side()

    turns.serve(run, side.versions, warm_up=0)


def measure(arguments: argparse.Namespace) -> dict:
    """Lets each side run `repeats` times in a fresh process, ours twice in each, and returns the result."""

    def tell(*words):
        if not arguments.json:
            print(*words, file=sys.stderr)

    load_before = os.getloadavg()
    problem = make_problem(arguments)
    # No cache: a first run compiles. OpenMP and MKL read theirs when they are loaded.
    environment = {
        "JAX_PLATFORMS": "cpu",
        "JAX_ENABLE_COMPILATION_CACHE": "false",
        "OMP_NUM_THREADS": str(arguments.threads),
    }
    found = {"ours": [], "ours_compiled": [], "theirs": []}
    versions = {"python": platform.python_version(), "numpy": np.__version__}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "problem.npz"
        save(problem, path)
        command = [sys.executable, str(Path(__file__).resolve()), f"--threads={arguments.threads}", f"--problem={path}"]
        for repeat in range(arguments.repeats):
            for side in SIDES if repeat % 2 == 0 else SIDES[::-1]:
                rival = turns.Rival([*command, f"--side={side}"], environment)
                try:
                    for name in [name for name in found if name.startswith(side)]:
                        found[name].append(rival.take(1))
                        tell(f"{name}: {found[name][-1]['seconds']:.1f} s, {found[name][-1]['loss']}")
                finally:
                    rival.close()
                versions |= rival.versions

    seconds = {name: [turn["seconds"] for turn in taken] for name, taken in found.items()}
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    cpu_seconds = {name: statistics.median(turn["cpu_seconds"] for turn in taken) for name, taken in found.items()}
    last = {name: taken[-1]["loss"] for name, taken in found.items()}
    return {
        "name": "auto_attack",
        "ratio": round(medians["theirs"] / medians["ours"], 3),
        "target": TARGET,
        **medians,
        "ratio_compiled": round(medians["theirs"] / medians["ours_compiled"], 3),
        "parts": {name: result["parts"] for name, result in last.items()},
        "standing": {name: result["standing"] for name, result in last.items()},
        "robust_accuracy": {name: result["robust_accuracy"] for name, result in last.items()},
        "compilations": [last[name]["compilations"] for name in ("ours", "ours_compiled")],
        "compile_seconds": last["ours"]["compile_seconds"],
        "layout": last["theirs"]["layout"],
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "peak_memory": {name: mebibytes(taken) for name, taken in found.items()},
        "sizes": {
            "dataset": arguments.dataset,
            "images": len(problem.images),
            "batch": problem.batch,
            "image": list(problem.images.shape[1:]),
            "norm": arguments.norm,
            "epsilon": arguments.epsilon,
        },
        "repeats": arguments.repeats,
        "threads": arguments.threads,
        "load": load_before,
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
