"""What a run will compute, before it does: a count of passes of networks, and about how long they take here."""

from collections.abc import Mapping
import contextlib
import dataclasses
import time
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnas.artifacts.corruptions import SEVERITIES
from rnas.attacks import catalogue
from rnas.attacks.programs import runs_of
from rnas.evaluation import Settings
from rnas.evaluation.robustness_table import CURVE_ATTACK
from rnas.layers.counting import count
from rnas.models import build_model
from rnas.objectives import Objective
from rnas.runs import recipes
from rnas.runs.baselines import SEARCHED_TUTORS, parse
from rnas.runs.recipes import joint_objective, learners, recipe
from rnas.runs.run import Run

FORWARD, TO_IMAGES, TO_WEIGHTS = 1, 2, 3  # passes forward; forward and back to the images; to the weights too
MOST = 64  # images of one measured call, which take less memory than a step of training
CORRUPTIONS = 1 + len(SEVERITIES) * 19  # passes of an image under common corruptions, and without
ONCE = 4e9  # multiply-accumulates of one measured call on a CPU, which fills with little


@dataclasses.dataclass(frozen=True)
class StageCost:
    """What a stage takes at most: caches of a teacher and images that drop out of an attack spare some of it.

    Attributes:
      epochs: of training, over all networks that the stage trains.
      steps: the same in steps.
      images: that it sees, one as often as it is seen.
      passes: network, 'student' or 'teacher' -> what the work on it is worth, in forward passes of one image.
      macs: the same in multiply-accumulates.
    """

    epochs: int = 0
    steps: int = 0
    images: int = 0
    passes: Mapping[str, float] = dataclasses.field(default_factory=dict)
    macs: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def __add__(self, other: "StageCost") -> "StageCost":
        passes, macs = (
            {name: one.get(name, 0) + two.get(name, 0) for name in {**one, **two}}
            for one, two in ((self.passes, other.passes), (self.macs, other.macs))
        )
        return StageCost(self.epochs + other.epochs, self.steps + other.steps, self.images + other.images, passes, macs)

    def seconds(self, speeds: Mapping[str, float]) -> float | None:
        """About how long it takes at so many multiply-accumulates a second of each network, compiling aside.

        None where a speed is not known.
        """
        if not self.macs.keys() <= speeds.keys():
            return None
        return sum(macs / speeds[name] for name, macs in self.macs.items())


def passes(objective: Objective) -> float:
    """Passes that one image costs in a training step, in units of a pass forward."""
    trained = objective.needs_clean + objective.attacks
    return TO_WEIGHTS * trained + TO_IMAGES * objective.steps * objective.attacks


def stage_costs(run: Run) -> dict[str, StageCost]:
    """The cost of every stage that computes something, by its name in `run.json`.

    The student counts as the supernet, or where that is far larger as random cells.
    """
    config, images = run.config, run.dataset.fingerprint["counts"]["train"]
    sizes = {name: macs for name, (_, _, macs) in networks(run).items()}

    def cost(own: Mapping[str, float], seen: int, epochs: int = 0, steps: int = 0) -> StageCost:
        own = {name: number for name, number in own.items() if number}
        return StageCost(epochs, steps, seen, own, {name: number * sizes[name] for name, number in own.items()})

    def trained(objective: Objective, epochs: int, per_epoch: int, network: str = "student") -> StageCost:
        seen = epochs * images
        taught = seen * (objective.needs_teacher + objective.needs_natural_teacher)
        own = {"teacher": taught} if network != "teacher" else {}
        return cost({network: passes(objective) * seen, **own}, seen, epochs, epochs * per_epoch)

    def of_recipe(stage: str, network: str = "student") -> StageCost:
        how = recipe(config, stage)
        return trained(how.objective, how.epochs, images // how.batch_size, network)

    found: dict[str, StageCost] = {}
    for stage in recipes.trained_teachers(config):
        found["teacher"] = found.get("teacher", StageCost()) + of_recipe(stage, "teacher")
    if run.search.searches:
        objective, per_epoch = joint_objective(config, "search"), run.search.steps_per_epoch(images)
        found["search"] = trained(
            objective, config.search.epochs, per_epoch, "supernet" if "supernet" in sizes else "student"
        )
        tutors = [parse(name) for name in config.baselines]
        for _ in {(own.architecture, own.tutors) for own in tutors if own.tutors in SEARCHED_TUTORS}:
            found["baselines"] = found.get("baselines", StageCost()) + found["search"]
    for stage in learners(config):
        name = "baselines" if stage.startswith(recipes.BASELINE) else stage
        found[name] = found.get(name, StageCost()) + of_recipe(stage)
    found["evaluate"] = _evaluation(run, cost)
    order = ("teacher", "search", "train", "finetune", "baselines", "evaluate")
    return {name: found[name] for name in order if name in found}


def _evaluation(run: Run, cost: Any) -> StageCost:
    """What the evaluation takes where nothing is fooled; sanity checks of AutoAttack are left out."""
    config, classes = run.config.evaluation, run.config.data.num_classes

    def of_image(attack: catalogue.Attack) -> int:
        return sum(each.cost for each in runs_of(attack, "linf", classes))

    table = sum(of_image(attack) for attack in catalogue.parse(config.attacks)) * len(config.epsilons)
    table += 1 + of_image(CURVE_ATTACK) * len(config.curve)
    strongest = sum(each.cost for each in Settings().plan("linf", classes).runs)
    test = run.dataset.fingerprint["counts"]["test"]
    tested = min(config.count or test, test)
    attacked = min(config.auto_attack_count or tested, tested)
    own: dict[str, float] = {"student": 0.0, "teacher": 0.0}
    names = recipes.evaluated_names(run.config)
    for name in names:
        group = {name, "baselines"} if name.startswith(recipes.BASELINE) else {name}
        network = "teacher" if name == "teacher" else "student"
        own[network] += tested * table + attacked * strongest * bool(group & {*config.auto_attack})
        own[network] += tested * CORRUPTIONS * bool(group & {*config.corruptions})
    own["student"] += attacked * strongest * ("strongest_baseline" in config.auto_attack and bool(run.config.baselines))
    return cost(own, tested * len(names))


# -- on this device --------------------------------------------------------------------------------------


def networks(run: Run) -> dict[str, tuple[nn.Module, tuple, int]]:
    """What runs and what it takes beside images, and its multiply-accumulates, by name.

    These are 'student', 'teacher' if there is one, and 'supernet' where that is no student itself.
    """
    config, shape = run.config, tuple(run.config.data.image_shape)
    student, inputs = run.search.described()["supernet"]
    found = {"student": (student, inputs, count(student, shape, *inputs).macs)}
    if (example := run.search.example()) is not None:
        student = run.search.network(example)
        found = {"supernet": found["student"], "student": (student, (), count(student, shape).macs)}
    if recipes.uses_teacher(config):
        name = run.teacher.architecture if config.teacher.path else config.teacher.architecture
        teacher = build_model(name, **recipes.network_fields(config))
        found["teacher"] = (teacher, (), count(teacher, shape).macs)
    return found


def speeds(run: Run, seconds: float = 2.0) -> dict[str, float]:
    """About how many multiply-accumulates a second every network of `networks` does here, on all devices.

    Measures passes forward, which compile fast, for `seconds` in all; a supernet counts as its student. A network that
    the device has no room for is left out.
    """
    measured, found = networks(run), {}
    both = "supernet" in measured
    for name, (model, inputs, macs) in measured.items():
        if name != "supernet":
            with contextlib.suppress(jax.errors.JaxRuntimeError):
                found[name] = _speed(model, inputs, macs, run, seconds / (len(measured) - both))
    return {**found, "supernet": found["student"]} if both and "student" in found else found


def _speed(model: nn.Module, inputs: tuple, macs: int, run: Run, seconds: float) -> float:
    batch = max(1, min(MOST, run.config.train.batch_size // jax.device_count()))
    if jax.default_backend() == "cpu":
        batch = max(1, min(batch, int(ONCE / macs)))
    images = jnp.full((batch, *run.config.data.image_shape), 0.5)
    shapes = jax.eval_shape(lambda: dict(model.init(jax.random.key(0), images, *inputs)))
    variables = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.1, leaf.dtype), shapes)
    forward = jax.jit(lambda variables: model.apply(variables, images, *inputs, train=False)[0])
    jax.block_until_ready(forward(variables))
    calls, began = 0, time.perf_counter()
    while (spent := time.perf_counter() - began) < seconds:
        jax.block_until_ready(forward(variables))
        calls += 1
    return calls * batch * macs * jax.device_count() / max(spent, 1e-9)
