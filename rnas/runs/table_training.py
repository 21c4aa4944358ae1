"""Trains the networks of a table adversarially and attacks them: the protocol of NAS-RobBench-201 (arXiv 2403.13134).

Every network is the same traced module, so one program trains, and one attacks, every cell. A network that was stopped
goes on from its checkpoint; one whose result is written is never touched again. Shards share nothing but the work
directory, and what a network reaches depends on its cell and seed alone. With shared weights the cells of a seed are
one supernet, trained one uniformly drawn cell a step (Guo et al. 2020, "Single Path One-Shot Neural Architecture Search
with Uniform Sampling", arXiv 1904.00420), and each is judged with its weights; a shard is then some of the seeds.

Not here: model choice, of which the protocol has none; the last epoch counts.
"""

from collections.abc import Sequence
import functools
from pathlib import Path
import shutil
import zlib

import filelock
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np

from rnas import attacks, steps
from rnas.artifacts.attack import AttackSummary
from rnas.artifacts.run_record import versions
from rnas.artifacts.table_results import Network, NetworkResult, planned_networks, result_file
from rnas.attacks import catalogue
from rnas.attacks.catalogue import CLEAN
from rnas.config.load import record_config
from rnas.data.datasets import Dataset, load_dataset
from rnas.data.sampler import Sampler
from rnas.evaluation import EvaluatedModel, Evaluator, Settings, Threat, assess_dataset
from rnas.evaluation.runner import pixels
from rnas.models.nasbench201 import NASBench201, used_parameters
from rnas.objectives.joint import Objective
from rnas.pages import write_attack_page
from rnas.runs.system import say
from rnas.spaces import nasbench201
from rnas.steps.optimizer import Optimizer, make_optimizer
from rnas.steps.state import State
from rnas.tabular.table import ALL_TASKS, Task
from rnas.teachers import content_hash
from rnas.training.checkpoints import Checkpoints
from rnas.training.loaders import ResidentLoader, per_device
from rnas.training.loop import DivergedError, Plan, fit, stage_key
from rnas.training.metrics_log import MetricsLog

STAGE = "train"
PGD_20 = catalogue.pgd(20, step=1 / 8)
COLUMNS = {  # metric of the table: attack, radius in 255ths
    "clean": (CLEAN, 0),
    "fgsm_3": (catalogue.FGSM, 3),
    "pgd_3": (PGD_20, 3),
    "fgsm_8": (catalogue.FGSM, 8),
    "pgd_8": (PGD_20, 8),
}
AUTO_ATTACK = "8/255"

Group = tuple[Network, ...]


def plan_groups(archs: Sequence[str], seeds: Sequence[int], size: int | None) -> list[Group]:
    """Cuts the networks of a table into what is trained at a time: up to `size` cells, one seed.

    Args:
      archs: cells in any form of `rnas.spaces.nasbench201`; each stands for its class. Empty: all classes.
      seeds: different integers from 0.
      size: 1 or larger; None for all cells together.

    Raises:
      ValueError: no such cell, a seed twice or out of range, a size below 1.
    """
    if size is not None and size < 1:
        raise ValueError(f"train.side_by_side={size}: expected at least 1.")
    networks = planned_networks(archs, seeds)
    cells = len(networks) // len(seeds)
    size = size or cells
    return [
        tuple(networks[first : min(first + size, start + cells)])
        for start in range(0, len(networks), cells)
        for first in range(start, start + cells, size)
    ]


def train_table(config: ConfigDict, workdir: Path, index: int = 0, count: int = 1) -> None:
    """Trains and attacks the share `index` of `count` of the networks of a table, those that are finished apart.

    Args:
      config: of `rnas.config.defaults.robbench`.
      workdir: may be shared by all shards; results go to `results/`.

    Raises:
      ValueError: a configuration that cannot work, or is not the directory's; networks that diverged, once the others
        are finished.
      Interrupted: where a signal asked for an end; what was under way is saved.
    """
    if not 0 <= index < count:
        raise ValueError(f"shard {index}/{count}: expected i/n, with i from 0 to n - 1.")
    training = TableTraining(config, workdir)
    groups = plan_groups(config.archs, config.seeds, None if training.shared else config.train.side_by_side)
    mine = groups[index::count]
    waiting = [group for group in mine if not all(result_file(workdir, network).exists() for network in group)]
    training.check_surroundings()
    record_config(workdir, config)
    say(
        f"shard {index}/{count}: {sum(map(len, mine))} of {sum(map(len, groups))} networks; to train "
        f"{sum(map(len, waiting))}, about {training.work(waiting):.3g} multiply-accumulates."
    )
    diverged = []
    for number, group in enumerate(waiting, start=1):
        more = f" and {len(group) - 1} more" if len(group) > 1 else ""
        say(f"[{number}/{len(waiting)}] {nasbench201.to_code(group[0].id)} ({group[0].name}){more}")
        try:
            training.finish(group)
        except DivergedError as error:
            say(f"rnas: {error}")
            diverged += [network.name for network in group]
    done = [result_file(workdir, network).exists() for group in groups for network in group]
    say(f"{sum(done)} of {len(done)} networks are finished. Table: rnas tabular merge {workdir} --output=FILE")
    if diverged:
        raise ValueError(f"diverged: {', '.join(diverged)}. All others of this shard are finished.")


class TableTraining:
    """What one configuration stands for: data, the traced network, its step, its attacks.

    Raises (on construction):
      ValueError: naming the key at fault, what it holds and what it may hold.
    """

    def __init__(self, config: ConfigDict, workdir: Path):
        self.config, self.workdir = config, workdir
        trainable = [name for name in ALL_TASKS if name != "imagenet16"]  # which no public collection offers
        if config.data.name not in trainable:
            raise ValueError(f"data.name={config.data.name!r}: expected one of {', '.join(trainable)}.")
        self.task: Task = ALL_TASKS[config.data.name]
        if config.train.weights not in ("own", "shared"):
            raise ValueError(f"train.weights={config.train.weights!r}: expected own or shared.")
        self.shared = config.train.weights == "shared"
        if self.shared and config.train.side_by_side != 1:
            raise ValueError(f"train.side_by_side={config.train.side_by_side}: a supernet is trained by itself, use 1.")
        for section, key in (("train", "epochs"), ("train", "calibration"), ("adversarial", "steps")):
            if config[section][key] < 1:
                raise ValueError(f"{section}.{key}={config[section][key]}: expected at least 1.")
        if unknown := set(config.evaluation.auto_attack_seeds) - set(config.seeds):
            raise ValueError(f"evaluation.auto_attack_seeds: {sorted(unknown)} are not among seeds={config.seeds}.")
        if {len(config.data.mean), len(config.data.std)} != {self.task.inputs}:
            raise ValueError(f"data.mean, data.std: {config.data.name} has images of {self.task.inputs} channels.")
        self.objective = Objective(
            "pgd_at",
            epsilon=attacks.radius(config.adversarial.epsilon),
            step_size=attacks.radius(config.adversarial.step_size),
            steps=config.adversarial.steps,
        )
        make_optimizer(config.train.optimizer, epochs=1, steps_per_epoch=1)

    def check_surroundings(self) -> None:
        """Raises ValueError where the data are missing or the devices do not fit the batch sizes."""
        for stage in ("train", "evaluation"):
            per_device(self.config[stage].batch_size, f"{stage}.batch_size")
        _ = self.sampler(0)

    @functools.cached_property
    def dataset(self) -> Dataset:
        data, task = self.config.data, self.task
        dataset = load_dataset(data.name, data_dir=data.dir or None, held_out=data.held_out, seed=0)
        expected = task.num_classes, (task.image_size, task.image_size, task.inputs)
        assert (dataset.num_classes, dataset.image_shape) == expected, (dataset.num_classes, dataset.image_shape)
        return dataset

    @functools.cached_property
    def network(self) -> NASBench201:
        data, task = self.config.data, self.task
        return NASBench201(
            num_classes=task.num_classes,
            mean=tuple(data.mean),
            std=tuple(data.std),
            channels=task.channels,
            cells=task.cells,
            axis_name=steps.AXIS,
        )

    @functools.cached_property
    def protocol(self) -> dict:
        """What every figure of a data set depends on besides cell and seed."""
        config = self.config.to_dict()
        data = {key: value for key, value in config["data"].items() if key != "dir"}
        train = {key: value for key, value in config["train"].items() if key != "side_by_side"}
        return {
            "images": self.dataset.fingerprint["data_sha256"],
            "data": data,
            "adversarial": config["adversarial"],
            "train": train,
            "count": config["evaluation"]["count"],
        }

    def work(self, groups: Sequence[Group]) -> float:
        """Multiply-accumulates of training: a pass forward and back is three passes forward."""
        passes = 3 * (self.config.adversarial.steps + 1) * self.config.train.epochs * len(self.dataset.train)
        encodings = nasbench201.encodings()[[network.id for group in groups for network in group]]
        costs = nasbench201.cost(nasbench201.encodings() if self.shared else encodings, **self.task._asdict())
        return float(passes * (costs.mean() * len(groups) if self.shared else costs.sum()))

    # -- training -----------------------------------------------------------------------------------------

    def sampler(self, seed: int) -> Sampler:
        train = self.config.train
        rows = np.arange(len(self.dataset.train))
        return Sampler(rows, train.batch_size, (seed << 32) + zlib.crc32(STAGE.encode()))

    @functools.cached_property
    def steps_per_epoch(self) -> int:
        return len(self.dataset.train) // self.config.train.batch_size

    @functools.cached_property
    def optimizer(self) -> Optimizer:
        train = self.config.train
        return make_optimizer(train.optimizer, epochs=train.epochs, steps_per_epoch=self.steps_per_epoch)

    @functools.cached_property
    def step(self) -> steps.Step:
        """The training step of one network, of the cell that its state names, or of the supernet."""
        data = self.config.data
        augmentation = steps.Augmentation(data.crop_padding, data.flip)
        return steps.make_train_step(
            self.network, self.objective, augmentation, self.optimizer, moving=used_parameters,
            draw=draw_cell if self.shared else None,
        )  # fmt: skip

    @functools.cached_property
    def _run_one(self):
        return steps.run_steps(self.step, steps.TRAIN_METRICS)

    @functools.cached_property
    def _run_many(self):
        return steps.run_steps(steps.side_by_side(self.step), steps.TRAIN_METRICS)

    @functools.cached_property
    def _init(self):
        task = self.task
        images = jnp.zeros((1, task.image_size, task.image_size, task.inputs))
        return jax.jit(lambda key: self.network.init(key, images, jnp.zeros(len(nasbench201.EDGES), jnp.int32)))

    def initial_state(self, group: Group) -> State:
        """Fresh weights, the same for every cell of a seed; of several cells along a leading axis, unless shared."""
        variables = jax.device_get(dict(self._init(stage_key(group[0].seed, f"{STAGE}/init"))))
        if self.shared:
            return State.create(variables, self.optimizer)
        encodings = nasbench201.encodings()[[network.id for network in group]]
        if len(group) == 1:
            return State.create(variables, self.optimizer, encodings[0])
        variables = jax.tree.map(lambda leaf: np.broadcast_to(leaf, (len(group), *leaf.shape)), variables)
        return State.create(variables, self.optimizer, encodings)

    def train(self, group: Group) -> State:
        """Trains a group to its last step, from its latest checkpoint where there is one."""
        config, seed = self.config, group[0].seed
        train, most = self.dataset.train, config.log_every_steps
        loader = ResidentLoader(
            train.images, train.labels, self.sampler(seed).rows_at, batch_size=config.train.batch_size, most=most,
            what="train.batch_size",
        )  # fmt: skip
        plan = Plan(
            stage=STAGE,
            total=config.train.epochs * self.steps_per_epoch,
            steps_per_epoch=self.steps_per_epoch,
            log_every=config.log_every_steps,
            checkpoint_every=config.checkpoint_every_steps,
            validate_every=0,
            seed=seed,
        )
        folder = self.folder(group)
        with Checkpoints(folder / "checkpoints") as checkpoints, MetricsLog(folder, STAGE) as log:
            run = self._run_one if self.shared or len(group) == 1 else self._run_many
            return fit(plan, self.initial_state(group), run, loader, checkpoints=checkpoints, log=log)

    def folder(self, group: Group) -> Path:
        """Where the training of a group is recorded."""
        name = f"shared_seed{group[0].seed}" if self.shared else group[0].name
        return self.workdir / "training" / name

    def finish(self, group: Group) -> None:
        """Trains a group and writes the results of those of its networks that have none yet.

        Raises:
          ValueError: another process is at it.
          DivergedError: a loss that is not finite.
        """
        folder = self.folder(group)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with filelock.FileLock(folder / ".lock", timeout=0):
                state = self.train(group)
                for row, network in enumerate(group):
                    if not result_file(self.workdir, network).exists():
                        variables = state.variables
                        if self.shared:
                            variables = self.calibrated(variables, network.id)
                        elif len(group) > 1:
                            variables = jax.tree.map(lambda leaf, row=row: leaf[row], variables)
                        self._record(network, variables)
                shutil.rmtree(folder / "checkpoints")
        except filelock.Timeout as error:
            raise ValueError(f"another process is training in {folder}; was this shard started twice?") from error

    @functools.cached_property
    def _calibrate(self):
        network = self.network.clone(momentum=0.0, axis_name=None)  # nothing is kept of what was there

        def calibrate(variables, images, encoding):
            _, changed = network.apply(variables, images, encoding, train=True, mutable=["batch_stats"])
            return {**variables, **changed}

        return jax.jit(calibrate)

    def calibrated(self, variables, arch: nasbench201.Arch):
        """The supernet's variables with BatchNorm statistics of one cell, from training images as they are."""
        images = pixels(self.dataset.train.images[: self.config.train.calibration])
        return jax.device_get(self._calibrate(variables, images, np.asarray(nasbench201.encode(arch), np.int32)))

    # -- evaluation ---------------------------------------------------------------------------------------

    @property
    def judging(self) -> str:
        """The part of the data set that networks are judged on."""
        return "validation" if self.config.data.held_out else "test"

    @functools.cached_property
    def predict(self):
        """(variables with the encoding among them, images) → logits, in inference mode."""

        def predict(variables, images):
            network = {name: variables[name] for name in ("params", "batch_stats")}
            return self.network.apply(network, images, variables["encoding"], train=False)[0]

        return predict

    @functools.cached_property
    def evaluator(self) -> Evaluator:
        return Evaluator(self.predict, batch_size=self.config.evaluation.batch_size, seed=0)

    def _record(self, network: Network, variables) -> None:
        config = self.config.evaluation
        variables = {**variables, "encoding": nasbench201.encodings()[network.id]}
        test = getattr(self.dataset, self.judging)
        if config.count:
            test = test.take(np.arange(min(config.count, len(test))))
        more = {}
        accuracy = accuracies(self.evaluator, variables, test)
        if network.seed in config.auto_attack_seeds:
            summary = self._auto_attack(network, variables)
            accuracy["autoattack"] = summary.robust.accuracy
            more["failed_checks"] = summary.failed
        result = NetworkResult.of(
            network, dataset=self.config.data.name, accuracy=accuracy, protocol=self.protocol, count=len(test), **more,
            versions=versions(), device=jax.devices()[0].device_kind,
        )  # fmt: skip
        result.write(self.workdir)
        say(f"{network.name}: " + ", ".join(f"{name} {value:.4f}" for name, value in accuracy.items()))

    def _auto_attack(self, network: Network, variables) -> AttackSummary:
        config = self.config.evaluation
        cost = {
            kind: int(nasbench201.cost(variables["encoding"], kind=kind, **self.task._asdict()))
            for kind in ("params", "macs")
        }
        model = EvaluatedModel(
            predict=self.predict,
            variables=variables,
            num_classes=self.task.num_classes,
            name=network.name,
            kind="cell",
            label=f"Cell {nasbench201.to_code(network.id)}",
            hash=content_hash(variables),
            source=str(self.workdir),
            architecture=nasbench201.to_code(network.id),
            **cost,
        )
        folder = self.workdir / "attacks" / network.name
        summary = assess_dataset(
            model, self.dataset, Threat.of(AUTO_ATTACK), Settings(batch_size=config.batch_size), folder.parent,
            split=self.judging, count=config.count or None, output=folder, report=write_attack_page,
        )  # fmt: skip
        (folder / "adversarial.npz").unlink(missing_ok=True)  # of thousands of networks they would fill any disk
        return summary


def draw_cell(key: jax.Array) -> jax.Array:
    """Draws operation indices [6] of a cell, each of the 15,625 alike."""
    return jax.random.randint(key, (len(nasbench201.EDGES),), 0, len(nasbench201.OPERATIONS))


def accuracies(evaluator: Evaluator, variables, test) -> dict[str, float]:
    """Share of the images of `test` that stand each attack of the table, by metric; AutoAttack is not among them."""
    everyone = np.arange(len(test))
    wrong, _ = evaluator.attack(variables, test, CLEAN, 0.0, everyone)
    right = everyone[~wrong]
    found = {}
    for metric, (attack, radius) in COLUMNS.items():
        fooled = np.zeros(0, bool)
        if attack is not CLEAN and len(right):
            fooled, _ = evaluator.attack(variables, test, attack, radius / 255, right)
        found[metric] = (len(right) - int(fooled.sum())) / len(test)
    return found
