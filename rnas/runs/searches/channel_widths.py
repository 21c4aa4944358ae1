"""RNAS-CL (arXiv 2301.08092): widths of a channel-masked supernet, and a tutor for each of its layers."""

from collections.abc import Callable, Iterable, Mapping
import functools
from typing import Any
import zlib

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from rnas.artifacts.architecture import WidthArchitecture
from rnas.data.sampler import permutation
from rnas.models.width_network import FBNet, slice_variables
from rnas.objectives import Alternation, Sampling, SearchCost
from rnas.runs import recipes
from rnas.runs.searches.protocol import SearchProgram, TeacherOfStep
from rnas.spaces import width_space
from rnas.steps import Augmentation, WidthSearchStep
from rnas.steps.optimizer import make_optimizer
from rnas.steps.state import State
from rnas.training.initial import initial_variables
from rnas.training.loaders import alternating_rows


class WidthSearch:
    """The search over channel widths; see `rnas.runs.searches.protocol.Search` for what its methods promise."""

    searches = True
    student_label = "Student"
    published: Mapping[str, str] = {}

    def __init__(self, config: ConfigDict):
        self.config = config
        self.space = width_space.get_space(config.space)

    def check(self) -> None:
        config = self.config
        if unknown := set(config.baselines) - set(recipes.baselines()):
            raise ValueError(f"unknown baselines {sorted(unknown)}; known: {', '.join(recipes.baselines())}.")
        for key in ("auxiliary", "drop_path"):
            if config.train[key]:
                raise ValueError(f"train.{key} = {config.train[key]}: networks of this space have none, use 0.")
        if config.budget.mode != "none":
            width_space.check_target(self.space, config.budget.target, self.cost_of(config.budget.kind))
        Alternation(5, config.arch_fraction)  # refuses a fraction that cannot be

    # -- networks -----------------------------------------------------------------------------------------

    @property
    def supernet(self) -> FBNet:
        return self.at_widths(None)

    def described(self) -> dict[str, tuple]:
        return {"supernet": (self.supernet, ()), "smallest": (self.at_widths(self.space.smallest), ())}

    def network(self, architecture: WidthArchitecture) -> FBNet:
        return self.at_widths(architecture.widths).clone(space=architecture.space, num_classes=architecture.num_classes)

    def at_widths(self, widths: tuple[int, ...] | None) -> FBNet:
        """The narrow network at `widths`; the supernet where they are None."""
        config = self.config
        return FBNet(
            space=self.space,
            widths=widths,
            conv_bias=config.conv_bias,
            mask_expansion=config.mask_expansion,
            shortcut=config.shortcut,
            momentum=config.bn_momentum,
            **recipes.network_fields(config),
        )

    def cost_of(self, kind: str) -> Callable:
        """Widths → cost of their network."""
        config = self.config
        height, _, channels = config.data.image_shape
        return functools.partial(
            width_space.cost, self.space, image_size=height, channels=channels, num_classes=config.data.num_classes,
            kind=kind, conv_bias=config.conv_bias, mask_expansion=config.mask_expansion,
        )  # fmt: skip

    def given(self) -> None:
        return None

    def baseline(self, name: str) -> WidthArchitecture:
        raise ValueError(f"unknown baseline {name!r}; known: {', '.join(recipes.baselines())}.")

    # -- search -------------------------------------------------------------------------------------------

    def images_per_step(self) -> tuple[int, str]:
        return self.config.search.batch_size, "search.batch_size"

    def steps_per_epoch(self, images: int) -> int:
        return images // self.config.search.batch_size

    def _alternation(self, steps_per_epoch: int) -> Alternation:
        return Alternation(steps_per_epoch, self.config.arch_fraction, self.config.arch_warmup_epochs)

    def rows_at(self, images: int, sampler: Callable) -> Callable | None:
        config = self.config
        if config.split != "disjoint":
            return None
        rows = permutation(images, config.seed, zlib.crc32(b"search/split"))
        cut = int(config.arch_fraction * images)
        batch_size = config.search.batch_size
        return alternating_rows(
            self._alternation(self.steps_per_epoch(images)),
            sampler("search", rows[cut:], batch_size),
            sampler("search", rows[:cut], batch_size),
        )

    def initial_state(self, teacher_taps: int) -> State:
        stage = self.config.search
        architecture = {
            "widths": width_space.initial_width_logits(self.space),
            "tutors": jnp.zeros((len(self.space.taps), teacher_taps or 1)),
        }
        optimizers = [
            make_optimizer(section, epochs=1, steps_per_epoch=1) for section in (stage.optimizer, stage.arch_optimizer)
        ]
        variables = initial_variables(self.supernet, self.config, "search")
        return State.create(variables, optimizers[0], architecture, optimizers[1])

    def program(self, steps_per_epoch: int, augmentation: Augmentation, teacher: TeacherOfStep) -> SearchProgram:
        config, stage, supernet = self.config, self.config.search, self.supernet
        length = dict(epochs=stage.epochs, steps_per_epoch=steps_per_epoch)
        soft = config.budget.mode == "soft"
        search_cost = SearchCost(
            self.cost_of(config.cost.kind),
            config.cost.alpha,
            config.cost.beta,
            budget=self.cost_of(config.budget.kind) if soft else None,
            target=config.budget.target or 0.0,
            weight=config.budget.weight,
        )
        tau = config.tau
        step = WidthSearchStep(
            supernet, recipes.joint_objective(config, "search"), augmentation,
            make_optimizer(stage.optimizer, **length), make_optimizer(stage.arch_optimizer, **length),
            Sampling(tau.start, tau.decay, tau.min, config.selector.hard, steps_per_epoch),
            self._alternation(steps_per_epoch), search_cost, teacher=teacher.apply, teacher_taps=teacher.taps,
        )  # fmt: skip

        def predict(variables, images):
            network = {name: variables[name] for name in ("params", "batch_stats")}
            return supernet.apply(network, images, variables["masks"], train=False)[0]

        def pack(state):
            """The supernet at the widths it would be cut to now."""
            widths = width_space.derive_widths(self.space, jax.device_get(state.architecture["widths"]))
            masks = width_space.channel_masks(self.space, width_space.one_hot_widths(self.space, widths))
            return {**state.variables, "masks": masks}

        return SearchProgram(step, step.metrics, predict, pack)

    # -- what was found -----------------------------------------------------------------------------------

    def derive(self, state: State) -> tuple[WidthArchitecture, Any, Iterable[str]]:
        """Widths and tutors at the end of the search: temperature and architecture have annealed together."""
        config = self.config
        logits = state.architecture["widths"]
        widths = width_space.derive_widths(self.space, logits)
        if config.budget.mode == "hard":
            cost = self.cost_of(config.budget.kind)
            widths = width_space.narrow_to_budget(self.space, logits, config.budget.target, cost)
        found = WidthArchitecture(
            space=self.space,
            widths=widths,
            image_shape=tuple(config.data.image_shape),
            num_classes=config.data.num_classes,
            probabilities=[jax.nn.softmax(theta) for theta in logits],
        )
        return found, state.architecture["tutors"], ()

    def initial_student(self, architecture: WidthArchitecture, searched: Callable[[], State]) -> Any | None:
        """None, or the variables of the supernet cut to the widths (derive.init)."""
        if self.config.derive.init != "supernet":
            return None
        mask_expansion = self.config.mask_expansion
        return slice_variables(self.space, searched().variables, architecture.widths, mask_expansion=mask_expansion)
