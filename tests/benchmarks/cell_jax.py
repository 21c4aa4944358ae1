"""The bilevel step of a search over cells as `rnas` runs it."""

from importlib import metadata

import cell_problem as given
import jax
import numpy as np
import optax

from rnas import steps
from rnas.models.cell_network import CellSupernet
from rnas.objectives import Curvature, LookAhead, Objective, ProbabilityPerturbation, Sampling, SearchMethod
from rnas.spaces import cell_space
from rnas.steps.optimizer import Optimizer
from rnas.steps.state import State

SGD = Optimizer(
    optax.chain(
        optax.clip_by_global_norm(given.CLIP), optax.add_decayed_weights(given.DECAY), optax.trace(given.MOMENTUM)
    ),
    optax.constant_schedule(given.RATE),
)
ADAM = Optimizer(
    optax.chain(optax.add_decayed_weights(given.ARCH_L2), optax.scale_by_adam(*given.BETAS)),
    optax.constant_schedule(given.ARCH_RATE),
)
VERSIONS = {name: metadata.version(name) for name in ("rnas", "jax", "jaxlib", "flax", "optax", "numpy")}
FOREVER = 10**6  # steps of an epoch


class Search:
    """State and dispatch of the search; calling it runs steps.

    Attributes:
      state: of training.
    """

    def __init__(
        self, problem: given.Problem, most: int, optimizer: Optimizer = SGD, arch_optimizer: Optimizer = ADAM,
        *, start: str = "uniform",
    ):  # fmt: skip
        """`most` is the number of steps of the longest call; `start` that of the attack."""
        space = cell_space.get_space(problem.space)
        supernet = CellSupernet(
            space=space, cells=problem.cells, channels=problem.channels, num_classes=given.CLASSES, mean=(0.0,) * 3,
            std=(1.0,) * 3, momentum=given.BN_MOMENTUM, axis_name=steps.AXIS,
        )  # fmt: skip
        step = steps.CellSearchStep(
            supernet,
            Objective("pgd_at", given.EPSILON, given.STEP_SIZE, given.STEPS, start=start, attack_bn="train_frozen"),
            steps.Augmentation(0, False),
            optimizer,
            arch_optimizer,
            Sampling(5.0, 0.0, 0.0, False, FOREVER),
            SearchMethod("arnas", FOREVER, adversarial_weight=given.ADVERSARIAL_WEIGHT),
            LookAhead("exact", momentum=given.MOMENTUM, decay=given.DECAY),
            Curvature(0.0, 0, FOREVER),
            ProbabilityPerturbation(1, FOREVER),
            teacher=None,
            teacher_taps=(),
        )
        logits = cell_space.initial_logits(space, jax.random.key(1))
        images = np.zeros((1, given.SIDE, given.SIDE, 3), np.float32)
        variables = jax.jit(supernet.init)(jax.random.key(0), images, cell_space.probabilities(logits))
        architecture = {"cells": logits, "tutors": np.zeros((0, 0), np.float32)}
        # Placed as a dispatch returns it, so that the second call runs the program of the first.
        place = jax.sharding.NamedSharding(
            jax.sharding.Mesh(np.array(jax.local_devices()[:1]), (steps.AXIS,)), jax.sharding.PartitionSpec()
        )
        self.state = jax.device_put(State.create(dict(variables), optimizer, architecture, arch_optimizer), place)
        self._images, self._labels = jax.device_put((problem.images, problem.labels))
        self._rows = problem.rows(most)[None]  # of the one replica
        self._dispatch = steps.run_steps(step, step.metrics)

    def __call__(self, count: int) -> float:
        """Runs `count` steps in one dispatch and returns their mean loss."""
        self.state, sums = self._dispatch(
            self.state, self._images, self._labels, self._rows, np.int32(count), None, jax.random.key(1)
        )
        return float(sums["loss"]) / float(sums["count"])
