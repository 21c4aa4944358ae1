"""What the configuration of a table stands for: its data, its one traced network, and how that is trained.

Every network of a table is the same traced module, so one program trains, and one attacks, every cell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
import dataclasses
import functools
import json
from pathlib import Path
from typing import Any
import zlib

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np

from rnas import attacks, steps
from rnas.artifacts.table_results import Network
from rnas.config import check
from rnas.data.datasets import Dataset, Split, load_dataset
from rnas.data.sampler import Sampler
from rnas.models.nasbench201_network import NASBench201, used_parameters
from rnas.objectives import Objective
from rnas.spaces import nasbench201
from rnas.steps.optimizer import Optimizer, make_optimizer
from rnas.steps.state import State
from rnas.tabular.table import ALL_TASKS, Task
from rnas.training.loaders import per_device
from rnas.training.trackers import check_trackers
from rnas.training.trainer import stage_key

SYSTEM = "robbench"  # of configurations of tables
STAGE = "train"

Group = tuple[Network, ...]  # trained at a time: cells of one seed


@dataclasses.dataclass(frozen=True)
class TableRun:
    """One configuration over one work directory."""

    config: ConfigDict
    workdir: Path

    def check(self) -> None:
        """Raises ValueError naming the key at fault, its value, and what it may be."""
        config = self.config
        if (kind := config.get("system")) != SYSTEM:
            raise ValueError(
                f"system={kind!r}: `rnas tabular train` takes the configuration of a table, such as "
                "configs/robbench/digits.py; `rnas run` takes this one."
            )
        check(config)
        trainable = [name for name in ALL_TASKS if name != "imagenet16"]  # which no public collection offers
        if config.data.name not in trainable:
            raise ValueError(f"data.name={config.data.name!r}: expected one of {', '.join(trainable)}.")
        if {len(config.data.mean), len(config.data.std)} != {self.task.inputs}:
            raise ValueError(f"data.mean, data.std: {config.data.name} has images of {self.task.inputs} channels.")
        _ = self.objective
        make_optimizer(config.train.optimizer, epochs=1, steps_per_epoch=1, cycle=config.train.optimizer.cycle)

    def check_surroundings(self) -> None:
        """Raises ValueError where the data are missing or the devices do not fit the batch sizes."""
        check_trackers(self.config.trackers)
        per_device(self.config.train.batch_size, "train.batch_size")
        _ = self.sampler(0)

    @property
    def shared(self) -> bool:
        """Whether the cells of a seed share the weights of one supernet."""
        return self.config.train.weights == "shared"

    @property
    def task(self) -> Task:
        return ALL_TASKS[self.config.data.name]

    @functools.cached_property
    def dataset(self) -> Dataset:
        data, task = self.config.data, self.task
        dataset = load_dataset(
            data.name, data_dir=data.dir or None, held_out=data.held_out, seed=0, train_count=data.train_count
        )
        expected = task.num_classes, (task.image_size, task.image_size, task.inputs)
        assert (dataset.num_classes, dataset.image_shape) == expected, (dataset.num_classes, dataset.image_shape)
        return dataset

    @property
    def judging(self) -> str:
        """The part of the data set that networks are judged on."""
        return "validation" if self.config.data.held_out else "test"

    @property
    def test(self) -> Split:
        """The images that networks are judged on."""
        images = getattr(self.dataset, self.judging)
        count = self.config.evaluation.count
        return images.take(np.arange(min(count, len(images)))) if count else images

    @functools.cached_property
    def network(self) -> NASBench201:
        data, task = self.config.data, self.task
        sizes: dict[str, Any] = {key: getattr(task, key) for key in ("num_classes", "channels", "cells")}
        return NASBench201(**sizes, mean=tuple(data.mean), std=tuple(data.std), axis_name=steps.AXIS)

    @functools.cached_property
    def protocol(self) -> dict:
        """What every figure of a data set depends on besides cell and seed, as JSON has it."""
        config = self.config.to_dict()
        sections = {name: config[name] for name in ("data", "adversarial", "train")}
        del sections["data"]["dir"], sections["train"]["side_by_side"], sections["train"]["keep_weights"]
        if not sections["data"]["train_count"]:
            del sections["data"]["train_count"]  # which tables of earlier versions do not have
        images = self.dataset.fingerprint["data_sha256"]
        count = config["evaluation"]["count"]
        return json.loads(json.dumps({"images": images, "last_batch": "trained", **sections, "count": count}))

    def cost(self, groups: Sequence[Group]) -> float:
        """Multiply-accumulates of training: a pass forward and back is three passes forward."""
        passes = 3 * (self.config.adversarial.steps + 1) * self.config.train.epochs * len(self.dataset.train)
        encodings = nasbench201.encodings()[[network.id for group in groups for network in group]]
        costs = nasbench201.cost(nasbench201.encodings() if self.shared else encodings, **self.task._asdict())
        return float(passes * (costs.mean() * len(groups) if self.shared else costs.sum()))

    # -- training -----------------------------------------------------------------------------------------

    @property
    def objective(self) -> Objective:
        adversarial = self.config.adversarial
        epsilon, step_size = map(attacks.radius, (adversarial.epsilon, adversarial.step_size))
        return Objective("pgd_at", epsilon, step_size, adversarial.steps)

    def sampler(self, seed: int) -> Sampler:
        rows = np.arange(len(self.dataset.train))
        return Sampler(rows, self.config.train.batch_size, (seed << 32) + zlib.crc32(STAGE.encode()), keep_last=True)

    @property
    def steps_per_epoch(self) -> int:
        return self.sampler(0).steps_per_epoch

    @functools.cached_property
    def optimizer(self) -> Optimizer:
        epochs, section = self.config.train.epochs, self.config.train.optimizer
        return make_optimizer(section, epochs=epochs, steps_per_epoch=self.steps_per_epoch, cycle=section.cycle)

    @functools.cached_property
    def step(self) -> steps.Step:
        """The training step of one network, of the cell in its state, or of the supernet."""
        augmentation = steps.Augmentation(self.config.data.crop_padding, self.config.data.flip)
        draw = draw_cell if self.shared else None
        parts = self.network, self.objective, augmentation, self.optimizer
        return steps.TrainStep(*parts, moving=used_parameters, draw=draw, filled=True)

    @functools.cached_property
    def run_one(self) -> Callable:
        """Many steps of one network as one program."""
        return steps.run_steps(self.step, steps.TRAIN_METRICS)

    @functools.cached_property
    def run_side_by_side(self) -> Callable:
        """The same of the networks of a group."""
        return steps.run_steps(steps.side_by_side(self.step), steps.TRAIN_METRICS)

    @functools.cached_property
    def init(self) -> Callable:
        """key → fresh variables, the same for every cell."""
        images = jnp.zeros((1, self.task.image_size, self.task.image_size, self.task.inputs))
        return jax.jit(lambda key: self.network.init(key, images, jnp.zeros(len(nasbench201.EDGES), jnp.int32)))

    def initial_state(self, group: Group) -> State:
        """Fresh weights, the same for every cell of a seed; of several cells along a leading axis, unless shared."""
        variables: Any = jax.device_get(dict(self.init(stage_key(group[0].seed, f"{STAGE}/init"))))
        if self.shared:
            return State.create(variables, self.optimizer)
        encodings = nasbench201.encodings()[[network.id for network in group]]
        if len(group) == 1:
            return State.create(variables, self.optimizer, encodings[0])
        variables = jax.tree.map(lambda leaf: np.broadcast_to(leaf, (len(group), *leaf.shape)), variables)
        return State.create(variables, self.optimizer, encodings)

    def folder(self, group: Group) -> Path:
        """Where the training of a group is recorded."""
        name = f"shared_seed{group[0].seed}" if self.shared else group[0].name
        return self.workdir / "training" / name


def draw_cell(key: jax.Array) -> jax.Array:
    """Draws operation indices [6] of a cell, each of the 15,625 alike."""
    return jax.random.randint(key, (len(nasbench201.EDGES),), 0, len(nasbench201.OPERATIONS))
