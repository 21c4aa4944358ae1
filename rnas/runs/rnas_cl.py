"""RNAS-CL (arXiv 2301.08092): widths of a channel-masked supernet, each layer with a tutor of its own choice."""

from collections.abc import Callable, Sequence
import functools
from pathlib import Path
import zlib

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from rnas import steps
from rnas.artifacts.architecture import WidthArchitecture
from rnas.data.sampler import permutation
from rnas.models.width_network import FBNet, slice_variables
from rnas.objectives import Alternation, Sampling, SearchCost
from rnas.runs.components import check_allowed
from rnas.runs.system import BASELINES, System
from rnas.spaces import width_space
from rnas.steps.optimizer import make_optimizer
from rnas.steps.state import State
from rnas.teachers import Teacher
from rnas.training.loaders import alternating_rows
from rnas.training.loop import fit
from rnas.training.metrics_log import MetricsLog

ALLOWED = {
    "shortcut": ("aligned", "equal_only"),
    "split": ("shared", "disjoint"),
    "cost.kind": ("macs", "params", "released"),
    "budget.mode": ("none", "soft", "hard"),
    "budget.kind": ("macs", "params"),
    "derive.init": ("fresh", "supernet"),
}


class RnasCl(System):
    """The search over widths and tutors, and what is read off it.

    Raises (on construction):
      ValueError: naming the key at fault, what it holds and what it may hold.
    """

    def __init__(self, config: ConfigDict, workdir: Path):
        self.space = width_space.get_space(config.space)
        check_allowed(config, ALLOWED)
        super().__init__(config, workdir)
        if unknown := set(config.baselines) - set(BASELINES):
            raise ValueError(f"unknown baselines {sorted(unknown)}; known: {', '.join(BASELINES)}.")
        if config.budget.mode != "none":
            if config.budget.target is None:
                raise ValueError(f"budget.mode={config.budget.mode!r} needs a budget.target, in {config.budget.kind}.")
            width_space.check_target(self.space, config.budget.target, self.cost_of(config.budget.kind))
        if config.split == "disjoint" and config.data.streaming:
            raise ValueError("split='disjoint' needs the images in memory; use split='shared' with data.streaming.")
        Alternation(5, config.arch_fraction)  # refuses a fraction that cannot be
        self.check_models()
        self.check_teaching()

    @property
    def supernet(self) -> FBNet:
        return self.at_widths(None)

    def described(self) -> dict[str, tuple]:
        return {"supernet": (self.supernet, ()), "smallest": (self.at_widths(self.space.smallest), ())}

    def network(self, architecture: WidthArchitecture) -> FBNet:
        return self.at_widths(architecture.widths).clone(space=architecture.space, num_classes=architecture.num_classes)

    def at_widths(self, widths: Sequence[int] | None) -> FBNet:
        """The narrow network at `widths`; the supernet where they are None."""
        config = self.config
        return FBNet(
            self.space,
            num_classes=config.data.num_classes,
            mean=tuple(config.data.mean),
            std=tuple(config.data.std),
            widths=widths,
            conv_bias=config.conv_bias,
            mask_expansion=config.mask_expansion,
            shortcut=config.shortcut,
            momentum=config.bn_momentum,
            dtype=self.dtype,
            axis_name=steps.AXIS,
        )

    def cost_of(self, kind: str) -> Callable:
        """Widths → cost of their network."""
        config = self.config
        height, _, channels = config.data.image_shape
        return functools.partial(
            width_space.cost, self.space, image_size=height, channels=channels, num_classes=config.data.num_classes,
            kind=kind, conv_bias=config.conv_bias, mask_expansion=config.mask_expansion,
        )  # fmt: skip

    def search(self) -> None:
        """Trains the supernet and its architecture in turn."""
        config = self.config
        stage = config.search
        objective = self.objective(stage)
        teacher = self.searching_teacher()
        per_epoch = self.steps_per_epoch(stage.batch_size)
        alternation = Alternation(per_epoch, config.arch_fraction, config.arch_warmup_epochs)
        rows_at = None
        if config.split == "disjoint":
            images = len(self.dataset.train)
            rows = permutation(images, config.seed, zlib.crc32(b"search/split"))
            cut = int(config.arch_fraction * images)
            rows_at = alternating_rows(
                alternation,
                self.sampler("search", rows[cut:], stage.batch_size),
                self.sampler("search", rows[:cut], stage.batch_size),
            )
        teaching = self.teaching(
            teacher, stage, self.loader("search", stage.batch_size, "search.batch_size", rows_at), per_epoch
        )
        loader = teaching.loader
        recipe = dict(epochs=stage.epochs, steps_per_epoch=per_epoch)
        optimizer = make_optimizer(stage.optimizer, **recipe)
        arch_optimizer = make_optimizer(stage.arch_optimizer, **recipe)
        soft = config.budget.mode == "soft"
        search_cost = SearchCost(
            self.cost_of(config.cost.kind),
            config.cost.alpha,
            config.cost.beta,
            budget=self.cost_of(config.budget.kind) if soft else None,
            target=config.budget.target or 0.0,
            weight=config.budget.weight,
        )
        sampling = Sampling(config.tau.start, config.tau.decay, config.tau.min, config.selector.hard, per_epoch)
        supernet = self.supernet
        step = steps.WidthSearchStep(
            supernet, objective, teaching.augmentation, optimizer, arch_optimizer, sampling, alternation,
            search_cost, teacher=teaching.apply, teacher_taps=teacher.tap_names if teacher else (),
        )  # fmt: skip

        def predict(variables, images):
            network = {name: variables[name] for name in ("params", "batch_stats")}
            return supernet.apply(network, images, variables["masks"], train=False)[0]

        def derived(state):
            """The supernet at the widths it would be cut to now."""
            widths = width_space.derive_widths(self.space, jax.device_get(state.architecture["widths"]))
            masks = width_space.channel_masks(self.space, width_space.one_hot_widths(self.space, widths))
            return {**state.variables, "masks": masks}

        with self.checkpoints("search") as checkpoints, MetricsLog(self.workdir, "search") as log:
            fit(
                self.plan("search", stage.epochs, per_epoch),
                self._initial_state(teacher),
                steps.run_steps(
                    step,
                    steps.WidthSearchStep.metrics,
                    streaming=loader.streaming,
                    cached_teacher=teaching.cached_teacher,
                ),
                loader,
                checkpoints=checkpoints,
                log=log,
                teacher_variables=teaching.variables,
                validate=self.validate(predict, derived),
            )

    def _initial_state(self, teacher: Teacher | None) -> State:
        stage = self.config.search
        architecture = {
            "widths": width_space.initial_width_logits(self.space),
            "tutors": jnp.zeros((len(self.space.taps), len(teacher.taps) if teacher else 1)),
        }
        weights = make_optimizer(stage.optimizer, epochs=1, steps_per_epoch=1)
        arch = make_optimizer(stage.arch_optimizer, epochs=1, steps_per_epoch=1)
        return State.create(self.initial_variables(self.supernet, "search"), weights, architecture, arch)

    def _searched(self) -> State:
        """The last state of the search: temperature and architecture have annealed together."""
        teacher = self.searching_teacher()
        return self.searched_state(jax.eval_shape(lambda: self._initial_state(teacher)))

    def derive(self) -> None:
        """Reads widths and tutors off the searched logits."""
        config = self.config
        architecture = self._searched().architecture
        logits = architecture["widths"]
        widths = width_space.derive_widths(self.space, logits)
        if config.budget.mode == "hard":
            widths = width_space.narrow_to_budget(
                self.space, logits, config.budget.target, self.cost_of(config.budget.kind)
            )
        found = WidthArchitecture(
            space=self.space,
            widths=widths,
            image_shape=tuple(config.data.image_shape),
            num_classes=config.data.num_classes,
            probabilities=[jax.nn.softmax(theta) for theta in logits],
            tutelage=self.tutelage(architecture["tutors"]),
        )
        self.save_architecture(found)

    def initial_student(self, architecture: WidthArchitecture):
        """Fresh weights, or those of the supernet cut to the widths (derive.init)."""
        if self.config.derive.init == "supernet":
            return slice_variables(
                self.space,
                self._searched().variables,
                architecture.widths,
                mask_expansion=self.config.mask_expansion,
            )
        return super().initial_student(architecture)
