"""The training step of a network of a table as `rnas` runs it: of the traced network, which can be any cell."""

from importlib import metadata

import jax
import numpy as np
import optax
import table_problem as given

from rnas import steps
from rnas.models.nasbench201_network import NASBench201, used_parameters
from rnas.objectives import Objective
from rnas.spaces import nasbench201
from rnas.steps.optimizer import Optimizer
from rnas.steps.state import State

VERSIONS = {name: metadata.version(name) for name in ("rnas", "jax", "jaxlib", "flax", "optax", "numpy")}


def sgd() -> Optimizer:
    """SGD with momentum and coupled decay, which leaves alone what the cell does not use."""
    return Optimizer(
        optax.chain(optax.add_decayed_weights(given.DECAY), optax.trace(given.MOMENTUM)),
        optax.constant_schedule(given.RATE),
    )


class Training:
    """State and dispatch of the training; calling it runs steps.

    Attributes:
      state: of training.
    """

    def __init__(self, problem: given.Problem, most: int, optimizer: Optimizer | None = None, start: str = "uniform"):
        """`most` is the number of steps of the longest call; `start` that of the attack."""
        optimizer = optimizer or sgd()
        network = NASBench201(
            num_classes=given.CLASSES, mean=given.MEAN, std=given.STD, channels=problem.channels, cells=problem.cells,
            momentum=given.BN_MOMENTUM, axis_name=steps.AXIS,
        )  # fmt: skip
        step = steps.TrainStep(
            network,
            Objective("pgd_at", given.EPSILON, given.STEP_SIZE, given.STEPS, start=start),
            steps.Augmentation(0, False),
            optimizer,
            moving=used_parameters,
        )
        encoding = np.array(nasbench201.encode(problem.arch), np.int32)
        images = np.zeros((1, *problem.images.shape[1:]), np.float32)
        variables = jax.jit(network.init)(jax.random.key(0), images, encoding)
        # Placed as a dispatch returns it, so that the second call runs the program of the first.
        place = jax.sharding.NamedSharding(
            jax.sharding.Mesh(np.array(jax.local_devices()[:1]), (steps.AXIS,)), jax.sharding.PartitionSpec()
        )
        self.state = jax.device_put(State.create(dict(variables), optimizer, encoding), place)
        self._images, self._labels = jax.device_put((problem.images, problem.labels))
        self._rows = problem.rows(most)[None]  # of the one replica
        self._dispatch = steps.run_steps(step, steps.TRAIN_METRICS)

    def __call__(self, count: int) -> float:
        """Runs `count` steps in one dispatch and returns their mean loss."""
        self.state, sums = self._dispatch(
            self.state, self._images, self._labels, self._rows, np.int32(count), None, jax.random.key(1)
        )
        return float(sums["loss"]) / float(sums["count"])
