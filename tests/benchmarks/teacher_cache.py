"""Times a step of the RNAS-CL search with the teacher in it against the same step from the teacher cache.

    python tests/benchmarks/teacher_cache.py                                  # sizes of configs/rnas_cl/digits.py
    python tests/benchmarks/teacher_cache.py --space=s3 --teacher=wide_resnet_34_10 --batch=32 --repeats=3

It prints one JSON line. A step is image bytes in, new weights out: augmentation, teacher, samples of widths and
tutors, forward pass of the supernet, cross-entropy + KL + distances of all maps, gradients, Adam; without attack unless
`--attack` asks for one, which makes the student's share larger. Weights and images are random. All sides run in this
process, on one device, in turns.

The fields: `theirs` is the step with the live teacher, `ours` from a cache on the device, `from_disk` from one that is
read for every dispatch; seconds a step, medians over the repetitions in `seconds`. `ratio` is theirs / ours, `target`
what is hoped for with a WideResNet-34-10. `cpu_seconds` are medians of processor time a step, all threads together, and
`cpu_ratio` is theirs / ours of them: on a machine that others use too, it is the one to look at. `build` is seconds a
view of one image takes to be kept, `view_bytes` what it takes on disk, `pays_after` the epochs after which a cache of
one view has cost less than the live teacher. `load` is the machine's load average before the start.
"""

import argparse
import functools
from importlib import metadata
import json
import os
from pathlib import Path
import platform
import statistics
import sys
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np
from turns import positive

from rnas import steps
from rnas.config.defaults import rnas_cl
from rnas.models import build_model
from rnas.models.width_network import FBNet
from rnas.objectives import Alternation, Objective, Sampling, SearchCost
from rnas.runs.teacher_sources import TeacherSource, cached
from rnas.spaces import width_space
from rnas.steps.optimizer import make_optimizer
from rnas.steps.state import State
from rnas.teachers.cache import TeacherCache, teacher_outputs
from rnas.teachers.teacher import Teacher
from rnas.training.loaders import ResidentLoader, replicate

CLASSES, FOREVER = 10, 10**6  # steps, all of them weight steps of the first epoch
SIDES = ("theirs", "ours", "from_disk")
TARGET = 5.0
EPSILON, STEP_SIZE = 8 / 255, 2 / 255


def parse(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = functools.partial(parser.add_argument, help="default %(default)s")
    add("--space", default="tiny")
    add("--teacher", default="wide_resnet_10_2")
    add("--side", type=positive, default=8, help="of an image, pixels; default %(default)s")
    add("--channels", type=positive, default=1)
    add("--size", type=positive, default=8, help="side of an attention map; default %(default)s")
    add("--batch", type=positive, default=64)
    add("--attack", type=int, default=0, metavar="STEPS", help="of the attack inside a step; default %(default)s")
    add("--steps", type=positive, default=5, help="steps a turn; default %(default)s")
    add("--repeats", type=positive, default=7, help="turns of each side; default %(default)s")
    return parser.parse_args(argv)


class Search:
    """One side: calling it runs steps and returns their mean loss."""

    root = jax.random.key(1)

    def __init__(self, arguments: argparse.Namespace, teacher, teaching):
        space = width_space.get_space(arguments.space)
        supernet = FBNet(
            space=space, num_classes=CLASSES, mean=teacher.mean, std=teacher.std, momentum=0.9, axis_name=steps.AXIS
        )
        recipe = rnas_cl.get_config().search.optimizer
        optimizer = make_optimizer(recipe, epochs=1, steps_per_epoch=FOREVER)
        objective = Objective(
            "trades" if arguments.attack else "none", EPSILON, STEP_SIZE, arguments.attack,
            gamma=1.0, kl_weight=1.0, size=arguments.size,
        )  # fmt: skip
        cost = functools.partial(
            width_space.cost,
            space,
            image_shape=(arguments.side, arguments.side, arguments.channels),
            num_classes=CLASSES,
        )
        step = steps.WidthSearchStep(
            supernet, objective, teaching.augmentation, optimizer, optimizer,
            Sampling(5.0, decay=0.045, minimum=0.0, hard=False, steps_per_epoch=FOREVER),
            Alternation(FOREVER, warmup_epochs=1), SearchCost(cost, 0.2, 0.5),
            teacher=teaching.apply, teacher_taps=teacher.tap_names,
        )  # fmt: skip
        images = jnp.zeros((1, arguments.side, arguments.side, arguments.channels))
        architecture = {
            "widths": width_space.initial_width_logits(space),
            "tutors": jnp.zeros((len(space.taps), len(teacher.taps))),
        }
        state = State.create(
            dict(jax.jit(supernet.init)(jax.random.key(0), images)), optimizer, architecture, optimizer
        )
        self._state, self._variables = replicate((state, teaching.variables))
        self._loader = teaching.loader
        self._run = steps.run_steps(step, step.metrics, cached_teacher=teaching.cached_teacher)
        self._done = 0

    def __call__(self, count: int) -> float:
        block = self._loader.dispatch(self._done, count)
        self._state, sums = self._run(self._state, *block, np.int32(count), self._variables, self.root)
        self._done += count
        return float(sums["loss"]) / float(sums["count"])


def measure(arguments: argparse.Namespace) -> dict:
    """Makes a cache of one view of four batches, lets the sides take turns, and returns the result."""
    load = os.getloadavg()
    random = np.random.default_rng(0)
    shape = (arguments.side, arguments.side, arguments.channels)
    number = 4 * arguments.batch
    images, labels = random.integers(0, 256, (number, *shape), np.uint8), random.integers(0, CLASSES, number, np.int32)
    constants = dict(mean=(0.5,) * arguments.channels, std=(0.25,) * arguments.channels)
    model = build_model(arguments.teacher, num_classes=CLASSES, **constants)
    variables = jax.device_get(dict(jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, *shape)))))
    teacher = Teacher(model, variables, architecture=arguments.teacher, image_shape=shape)
    augmentation = steps.Augmentation(max(1, arguments.side // 8), True)
    views = steps.Views(augmentation, 0, 1)

    def rows_at(first, count):
        starts = np.arange(first, first + count) % 4 * arguments.batch
        return (starts[:, None] + np.arange(arguments.batch)).astype(np.int32)

    def loader():
        return ResidentLoader(images, labels, rows_at, batch_size=arguments.batch, most=arguments.steps, what="--batch")

    with tempfile.TemporaryDirectory() as folder:
        identity = {"maps": {"taps": list(teacher.tap_names), "size": arguments.size}}
        cache = TeacherCache(Path(folder) / "cache", identity, images=number, views=1, num_classes=CLASSES)
        ask = teacher_outputs(
            steps.run_teacher_on_views(teacher.apply, views, cache.taps, cache.size), teacher.variables, images
        )
        ask(0, np.arange(number))  # compiles
        start = time.perf_counter()
        cache.build(ask)
        build = (time.perf_counter() - start) / number
        known = dict(steps_per_epoch=FOREVER)
        teachings = {
            "theirs": TeacherSource(teacher.apply, teacher.variables, augmentation, loader()),
            "ours": cached(cache, views, loader(), resident_gib=64.0, **known),
            "from_disk": cached(cache, views, loader(), resident_gib=0.0, **known),
        }
        sides = {name: Search(arguments, teacher, teachings[name]) for name in SIDES}
        loss = {name: side(1) for name, side in sides.items()}
        seconds, cpu_seconds = {name: [] for name in SIDES}, {name: [] for name in SIDES}
        for repeat in range(arguments.repeats):
            # Nobody always runs right after the same rival's cache is cold.
            for name in SIDES[repeat % len(SIDES) :] + SIDES[: repeat % len(SIDES)]:
                start, start_cpu = time.perf_counter(), time.process_time()
                sides[name](arguments.steps)
                seconds[name].append((time.perf_counter() - start) / arguments.steps)
                cpu_seconds[name].append((time.process_time() - start_cpu) / arguments.steps)
    medians, cpu_medians = (
        {name: statistics.median(values) for name, values in each.items()} for each in (seconds, cpu_seconds)
    )
    saved = (medians["theirs"] - medians["ours"]) / arguments.batch  # an image
    return {
        "name": "teacher_cache",
        "ratio": round(medians["theirs"] / medians["ours"], 3),
        "ratio_from_disk": round(medians["theirs"] / medians["from_disk"], 3),
        "target": TARGET,
        **medians,
        "seconds": seconds,
        "cpu_ratio": round(cpu_medians["theirs"] / cpu_medians["ours"], 3),
        "cpu_seconds": cpu_medians,
        "build": build,
        "pays_after": build / saved if saved > 0 else None,
        "view_bytes": cache.bytes // number,
        "loss": loss,
        "sizes": {
            "space": arguments.space, "teacher": arguments.teacher, "batch": arguments.batch, "image": list(shape),
            "map": arguments.size, "teacher_taps": len(teacher.taps), "attack_steps": arguments.attack,
        },
        "repeats": arguments.repeats,
        "steps": arguments.steps,
        "device": jax.devices()[0].device_kind,
        "load": load,
        "machine": platform.machine(),
        "versions": {name: metadata.version(name) for name in ("rnas", "jax", "jaxlib", "numpy", "array-record")},
    }  # fmt: skip


def main(argv=None) -> None:
    print(json.dumps(measure(parse(argv))))


if __name__ == "__main__":
    sys.exit(main())
