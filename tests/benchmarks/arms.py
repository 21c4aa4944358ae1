"""Times a training step of several arms of one network side by side against the same arms one after another.

    python tests/benchmarks/arms.py                      # four arms, sizes of configs/rnas_cl/digits.py, no attack
    python tests/benchmarks/arms.py --live --attack=4    # with the teacher in every step, under attack (TRADES)
    python tests/benchmarks/arms.py --space=s3 --side=32 --channels=3 --batch=32 --repeats=3

It prints one JSON line. A step is image bytes in, new weights of all arms out: augmentation, teacher outputs, student,
loss, gradients, Adam. The arms differ in their terms, in turn none, KL, attention, both, and each draws tutors of its
own. Teacher outputs come from a cache on the device unless the teacher is `--live`. Weights and images are random. Both
sides run in this process, on one device, in turns.

The fields: `theirs` is one after another, a program for each arm, with no term that the arm does not need; `ours` is
one program by `jax.vmap`; seconds a step of all arms, medians over the repetitions in `seconds`. `ratio` is theirs /
ours; above the `target` of 1, `train.side_by_side` pays. `cpu_seconds` are medians of processor time, all threads
together, and `cpu_ratio` is theirs / ours of them: on a machine that others use too, it is the one to look at.
`warm_up` is seconds until each side has run its first steps, most of which compile. `loss` is the mean of the first
steps, arm by arm. `load` is the machine's load average before the start.
"""

import argparse
import dataclasses
import functools
from importlib import metadata
import json
import os
import platform
import statistics
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
from turns import positive

from rnas import steps
from rnas.config.defaults import rnas_cl
from rnas.models import build_model
from rnas.models.width_network import FBNet
from rnas.objectives import ArmTerms, FixedTutors, Objective, index_tutors
from rnas.spaces import width_space
from rnas.steps.optimizer import make_optimizer
from rnas.steps.state import State
from rnas.teachers.cache import teacher_outputs
from rnas.training.loaders import CachedTeacherLoader, ResidentLoader, replicate

CLASSES, FOREVER = 10, 10**6  # steps, all of the first epoch
SIDES = ("theirs", "ours")
TERMS = ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0))  # gamma, weight of KL
EPSILON, STEP_SIZE = 0.15, 0.06


def parse(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = functools.partial(parser.add_argument, help="default %(default)s")
    add("--arms", type=positive, default=4)
    add("--space", default="tiny")
    add("--teacher", default="wide_resnet_10_2")
    add("--live", action="store_true", help="run the teacher in every step that needs it")
    add("--side", type=positive, default=8, help="of an image, pixels; default %(default)s")
    add("--channels", type=positive, default=1)
    add("--size", type=positive, default=8, help="side of an attention map; default %(default)s")
    add("--batch", type=positive, default=64)
    add("--attack", type=int, default=0, metavar="STEPS", help="of TRADES; 0: no attack; default %(default)s")
    add("--steps", type=positive, default=10, help="steps a turn; default %(default)s")
    add("--repeats", type=positive, default=7, help="turns of each side; default %(default)s")
    return parser.parse_args(argv)


class Arms:
    """The arms of a benchmark, and what they share."""

    def __init__(self, arguments: argparse.Namespace):
        random, shape = np.random.default_rng(0), (arguments.side, arguments.side, arguments.channels)
        number = 4 * arguments.batch
        images, labels = random.integers(0, 256, (number, *shape), np.uint8), random.integers(0, CLASSES, number)
        constants = dict(num_classes=CLASSES, mean=(0.5,) * shape[-1], std=(0.25,) * shape[-1])
        space = width_space.get_space(arguments.space)
        self.model = FBNet(space=space, widths=space.largest, momentum=0.9, axis_name=steps.AXIS, **constants)
        teacher = build_model(arguments.teacher, **constants)
        self.variables, variables = (
            jax.device_get(dict(jax.jit(each.init)(jax.random.key(seed), jnp.zeros((1, *shape)))))
            for seed, each in enumerate((self.model, teacher))
        )
        self.optimizer = make_optimizer(rnas_cl.get_config().train.optimizer, epochs=1, steps_per_epoch=FOREVER)
        self.terms = [TERMS[arm % len(TERMS)] for arm in range(arguments.arms)]
        chosen = random.choice(teacher.taps, (arguments.arms, len(space.taps)))
        self.tutors = [FixedTutors(space.taps, tuple(row), len(teacher.taps)) for row in chosen]
        self.method, self.attack_steps = "trades" if arguments.attack else "none", arguments.attack
        self.size, self.taps = arguments.size, len(teacher.taps)

        def rows_at(first, count):
            starts = np.arange(first, first + count) % 4 * arguments.batch
            return (starts[:, None] + np.arange(arguments.batch)).astype(np.int32)

        self.loader = ResidentLoader(
            images, labels.astype(np.int32), rows_at, batch_size=arguments.batch, most=arguments.steps, what="--batch"
        )
        self.augmentation = steps.Augmentation(max(1, arguments.side // 8), False)
        self.teacher, self.cached = functools.partial(teacher.apply, train=False), None
        if not arguments.live:
            views = steps.Views(self.augmentation, 0, 1)
            compute = steps.run_teacher_on_views(self.teacher, views, teacher.taps, arguments.size)
            kept = teacher_outputs(compute, variables, images)(0, np.arange(number))
            self.cached = steps.CachedTeacher(views, FOREVER, teacher.taps)
            self.teacher, self.augmentation = self.cached.apply, steps.Augmentation(0, False)
            self.loader, variables = CachedTeacherLoader(self.loader), jax.tree.map(lambda leaf: leaf[None], kept)
        self.teacher_variables = replicate(variables)

    def step(self, gamma: float, kl_weight: float, tutors) -> steps.TrainStep:
        objective = Objective(
            self.method, EPSILON, STEP_SIZE, self.attack_steps, gamma=gamma, kl_weight=kl_weight, size=self.size
        )
        teacher = self.teacher if objective.needs_teacher else None
        parts = self.model, objective, self.augmentation, self.optimizer
        return steps.TrainStep(*parts, teacher=teacher, tutors=tutors if gamma else None)

    def initial_state(self) -> State:
        return jax.device_get(State.create(self.variables, self.optimizer))


class Program:
    """One program: calling it runs steps and returns the mean loss of each of its arms."""

    root = jax.random.key(1)

    def __init__(self, arms: Arms, step, state: State, networks: tuple[int, ...] = ()):
        self._arms, self._state, self._done = arms, replicate(state), 0
        self._run = steps.run_steps(step, steps.TRAIN_METRICS, cached_teacher=arms.cached, networks=networks)

    def __call__(self, count: int) -> list[float]:
        block, variables = self._arms.loader.dispatch(self._done, count), self._arms.teacher_variables
        self._state, sums = self._run(self._state, *block, np.int32(count), variables, self.root)
        self._done += count
        return np.ravel(np.asarray(sums["loss"]) / np.asarray(sums["count"])).tolist()


def one_after_another(arms: Arms):
    programs = [
        Program(arms, arms.step(*terms, tutors), arms.initial_state())
        for terms, tutors in zip(arms.terms, arms.tutors, strict=True)
    ]
    return lambda count: [loss for program in programs for loss in program(count)]


def side_by_side(arms: Arms):
    weights, shape = np.array(arms.terms, np.float32), (len(arms.terms),)
    tutors, rows = index_tutors(arms.tutors)
    step = arms.step(*map(float, weights.max(0)), tutors)
    own = ArmTerms(weights[:, 0], weights[:, 1], rows if step.objective.gamma else None)
    state = dataclasses.replace(steps.stacked([arms.initial_state()] * len(arms.terms), shape), arm=own)
    return Program(arms, steps.side_by_side(step, apart=True), state, shape)


def measure(arguments: argparse.Namespace) -> dict:
    load, arms = os.getloadavg(), Arms(arguments)
    sides = {"theirs": one_after_another(arms), "ours": side_by_side(arms)}
    warm_up, loss = {}, {}
    for name, side in sides.items():
        start = time.perf_counter()
        loss[name] = side(2)
        warm_up[name] = round(time.perf_counter() - start, 1)
    seconds, cpu_seconds = {name: [] for name in SIDES}, {name: [] for name in SIDES}
    for repeat in range(arguments.repeats):
        for name in SIDES[:: 1 if repeat % 2 else -1]:
            start, start_cpu = time.perf_counter(), time.process_time()
            sides[name](arguments.steps)
            seconds[name].append((time.perf_counter() - start) / arguments.steps)
            cpu_seconds[name].append((time.process_time() - start_cpu) / arguments.steps)
    medians, cpu_medians = (
        {name: statistics.median(values) for name, values in each.items()} for each in (seconds, cpu_seconds)
    )
    return {
        "name": "arms",
        "ratio": round(medians["theirs"] / medians["ours"], 3),
        "target": 1.0,
        **medians,
        "seconds": seconds,
        "cpu_ratio": round(cpu_medians["theirs"] / cpu_medians["ours"], 3),
        "cpu_seconds": cpu_medians,
        "warm_up": warm_up,
        "loss": loss,
        "sizes": {
            "arms": arguments.arms, "space": arguments.space, "batch": arguments.batch, "teacher": arguments.teacher,
            "live": arguments.live, "image": [arguments.side, arguments.side, arguments.channels],
            "map": arguments.size, "teacher_taps": arms.taps, "attack_steps": arguments.attack,
        },
        "repeats": arguments.repeats,
        "steps": arguments.steps,
        "device": jax.devices()[0].device_kind,
        "load": load,
        "machine": platform.machine(),
        "versions": {name: metadata.version(name) for name in ("rnas", "jax", "jaxlib", "numpy")},
    }  # fmt: skip


def main(argv=None) -> None:
    print(json.dumps(measure(parse(argv))))


if __name__ == "__main__":
    sys.exit(main())
