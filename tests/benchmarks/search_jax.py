"""The weight step of a search as `rnas` runs it, with a teacher that costs nothing."""

import functools
from importlib import metadata

import jax
import numpy as np
import optax
import search_problem as given

from rnas import steps
from rnas.models.width_network import FBNet
from rnas.objectives import Alternation, Objective, Sampling, SearchCost
from rnas.spaces import width_space
from rnas.steps.optimizer import Optimizer
from rnas.steps.state import State

ADAM = Optimizer(
    optax.chain(optax.add_decayed_weights(given.L2), optax.scale_by_adam(*given.BETAS)),
    optax.constant_schedule(given.RATE),
)
VERSIONS = {name: metadata.version(name) for name in ("rnas", "jax", "jaxlib", "flax", "optax", "numpy")}
FOREVER = 10**6  # steps, all of them weight steps of the first epoch


def cached_teacher(variables, images):
    """A teacher whose outputs stand in its variables."""
    del images
    return variables["logits"], variables["taps"]


class Search:
    """State and dispatch of the search; calling it runs steps.

    Attributes:
      state: of training.
      root: key of the run.
      sampling: of architectures.
    """

    sampling = Sampling(given.TEMPERATURE, decay=0.045, minimum=0.0, hard=False, steps_per_epoch=FOREVER)
    root = jax.random.key(1)

    def __init__(self, problem: given.Problem, most: int, optimizer: Optimizer = ADAM):
        """`most` is the number of steps of the longest call."""
        space = problem.space
        names = tuple(f"tap{i}" for i in range(given.TEACHER_TAPS))
        supernet = FBNet(
            space=space, num_classes=given.CLASSES, mean=given.MEAN, std=given.STD, conv_bias=given.CONV_BIAS,
            momentum=given.BN_MOMENTUM, axis_name=steps.AXIS,
        )  # fmt: skip
        step = steps.WidthSearchStep(
            supernet,
            Objective("none", 0.0, 0.0, 0, gamma=given.GAMMA, kl_weight=given.KL_WEIGHT, size=given.MAP_SIZE),
            steps.Augmentation(0, False),
            optimizer,
            optimizer,
            self.sampling,
            Alternation(FOREVER, warmup_epochs=1),
            SearchCost(functools.partial(given.cost, space), given.ALPHA, given.BETA),
            teacher=cached_teacher,
            teacher_taps=names,
        )
        variables = jax.jit(supernet.init)(jax.random.key(0), np.zeros((1, given.SIDE, given.SIDE, 3), np.float32))
        architecture = {
            "widths": width_space.initial_width_logits(space),
            "tutors": np.zeros((len(space.taps), len(names)), np.float32),
        }
        # Placed as a dispatch returns it, so that the second call runs the program of the first.
        place = jax.sharding.NamedSharding(
            jax.sharding.Mesh(np.array(jax.local_devices()[:1]), (steps.AXIS,)), jax.sharding.PartitionSpec()
        )
        self.state = jax.device_put(State.create(variables, optimizer, architecture, optimizer), place)
        taps = np.moveaxis(problem.teacher_taps, 1, 0)[..., None]
        teacher = {"logits": problem.teacher_logits, "taps": dict(zip(names, taps, strict=True))}
        self._images, self._labels, self._teacher = jax.device_put((problem.images, problem.labels, teacher))
        self._rows = problem.rows(most)[None]  # of the one replica
        self._dispatch = steps.run_steps(step, steps.WidthSearchStep.metrics)

    def __call__(self, count: int) -> float:
        """Runs `count` steps in one dispatch and returns their mean loss."""
        self.state, sums = self._dispatch(
            self.state, self._images, self._labels, self._rows, np.int32(count), self._teacher, self.root
        )
        return float(sums["loss"]) / float(sums["count"])
