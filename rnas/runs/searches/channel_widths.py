"""RNAS-CL (arXiv 2301.08092): widths of a channel-masked supernet, and a tutor for each of its layers."""

from collections.abc import Callable, Iterable, Mapping
import dataclasses
import functools
from pathlib import Path
from typing import Any
import zlib

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np

from rnas.artifacts.architecture import TutorAssignment, WidthArchitecture
from rnas.artifacts.latency_table import FILE as LATENCY_TABLE
from rnas.artifacts.latency_table import LatencyTable
from rnas.data.sampler import named_generator, permutation
from rnas.models.width_network import FBNet, slice_variables
from rnas.objectives import Alternation, SearchCost, TeacherApply
from rnas.runs import recipes
from rnas.runs.baselines import RANDOM
from rnas.runs.block_timing import table_options
from rnas.runs.searches.search import Search, first_search_state, sampling, search_optimizers
from rnas.spaces import width_space
from rnas.spaces.interpolated_latency import NetworkLatency
from rnas.steps import Augmentation, TutorSearchStep, WidthSearchStep
from rnas.steps.state import State
from rnas.training.loaders import alternating_rows

UNITS = {"latency": " ms"}  # of a cost, in messages


class WidthSearch(Search):
    """The search over channel widths."""

    searches_tutors_alone = True
    baselines = ("uniform", "smallest", "largest")
    step_type = WidthSearchStep

    def __init__(self, config: ConfigDict):
        super().__init__(config)
        self.space = width_space.get_space(config.space)

    def check(self) -> None:
        super().check()
        config = self.config
        for key in ("auxiliary", "drop_path"):
            if config.train[key]:
                raise ValueError(f"train.{key} = {config.train[key]}: networks of this space have none, use 0.")
        if config.budget.mode != "none":
            kind = config.budget.kind
            width_space.check_target(self.space, config.budget.target, self.cost_of(kind), UNITS.get(kind, ""))
        if config.cost.table:
            self.cost_of("latency")  # refuses a table that does not fit
        self._alternation(5)  # refuses a fraction that cannot be

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
        options = {key: config[key] for key in ("conv_bias", "mask_expansion", "shortcut")}
        fields = recipes.network_fields(config)
        return FBNet(space=self.space, widths=widths, momentum=config.bn_momentum, **options, **fields)

    def baseline(self, name: str, found: WidthArchitecture) -> WidthArchitecture:
        """Widths that no search chose: random or uniform ones at the MACs of `found`, the smallest, the largest."""
        macs = self.cost_of("macs")
        if name == "uniform":
            widths = width_space.uniform_widths(self.space, macs(found.widths), macs)
        elif RANDOM.fullmatch(name):
            draw = named_generator(self.config.seed, name)
            widths = width_space.random_widths(self.space, found.widths, macs, draw)
        else:
            widths = getattr(self.space, name)
        return dataclasses.replace(found, widths=widths, width_probabilities=(), tutor_assignment=TutorAssignment())

    def over_tutors(self, architecture: WidthArchitecture) -> "TutorSearch":
        return TutorSearch(self.config, architecture.widths)

    @functools.cached_property
    def latency(self) -> NetworkLatency:
        """Widths → milliseconds, by the table of the configuration; raises ValueError for one of another network."""
        path = Path(self.config.cost.table)
        if not path.is_file():
            raise ValueError(
                f"cost.table: there is no file {path}; rnas describe --config=FILE --latency-table={path} measures "
                f"one. A run that has begun keeps its own: --config.cost.table=WORKDIR/{LATENCY_TABLE}."
            )
        table, config = LatencyTable.read(path), self.config
        own = {
            "space": self.space.name, "image_shape": tuple(config.data.image_shape),
            "num_classes": config.data.num_classes, **table_options(self.supernet),
        }  # fmt: skip
        theirs = {"space": table.space, "image_shape": table.image_shape, "num_classes": table.num_classes}
        theirs |= table.options
        if other := [name for name, value in own.items() if theirs.get(name) != value]:
            raise ValueError(
                f"cost.table={path} was measured at {_named(theirs, other)}, but this run has {_named(own, other)}: "
                "measure one for it, rnas describe --latency-table=FILE."
            )
        return table.network_latency(self.space)

    def cost_of(self, kind: str) -> Callable:
        """Widths → cost of their network; of latency in milliseconds."""
        if kind == "latency":
            return self.latency
        config = self.config
        return functools.partial(
            width_space.cost, self.space, image_shape=config.data.image_shape, num_classes=config.data.num_classes,
            kind=kind, conv_bias=config.conv_bias, mask_expansion=config.mask_expansion,
        )  # fmt: skip

    # -- search -------------------------------------------------------------------------------------------

    def _alternation(self, steps_per_epoch: int) -> Alternation:
        return Alternation(steps_per_epoch, self.config.arch_fraction, self.config.arch_warmup_epochs)

    def steps_per_epoch(self, images: int) -> int:
        return self._alternation(super().steps_per_epoch(images)).steps_per_epoch  # refuses too few

    def rows_at(self, images: int, sampler: Callable) -> Callable | None:
        config = self.config
        if config.split != "disjoint":
            return None
        rows, cut = permutation(images, config.seed, zlib.crc32(b"search/split")), int(config.arch_fraction * images)
        orders = [sampler("search", part, config.search.batch_size) for part in (rows[cut:], rows[:cut])]
        return alternating_rows(self._alternation(self.steps_per_epoch(images)), *orders)

    def initial_state(self, teacher_taps: int) -> State:
        tutors = jnp.zeros((len(self.space.taps), teacher_taps or 1))
        return first_search_state(self, {"widths": width_space.initial_width_logits(self.space), "tutors": tutors})

    def make_step(
        self,
        steps_per_epoch: int,
        augmentation: Augmentation,
        teacher: TeacherApply | None,
        taps: tuple[str, ...],
        tutor_penalty: tuple[float, ...] = (),
    ) -> WidthSearchStep:
        config, factor, budget = self.config, self.config.cost, self.config.budget
        limited, counted = self.cost_of(budget.kind) if budget.mode == "soft" else None, self.cost_of(factor.kind)
        if factor.kind == "latency":
            counted = lambda widths, milliseconds=counted: 1000 * milliseconds(widths)  # noqa: E731 its logarithm is > 0
        cost = SearchCost(counted, factor.alpha, factor.beta, limited, budget.target or 0.0, budget.weight)
        return self.step_type(
            self.supernet, recipes.joint_objective(config, "search"), augmentation,
            *search_optimizers(config, steps_per_epoch), sampling(config, steps_per_epoch),
            self._alternation(steps_per_epoch),
            cost, teacher=teacher, teacher_taps=taps, tutor_penalty=tutor_penalty,
        )  # fmt: skip

    def choice(self, state: State) -> Any:
        """Masks of the widths that the supernet would be cut to now."""
        widths = width_space.derive_widths(self.space, jax.device_get(state.architecture["widths"]))
        return width_space.channel_masks(self.space, width_space.one_hot_widths(self.space, widths))

    def probabilities(self, state: State) -> dict[str, np.ndarray]:
        widths = enumerate(jax.device_get(state.architecture["widths"]))
        return {
            **super().probabilities(state),
            **{f"width_{block}": np.asarray(jax.nn.softmax(logits)) for block, logits in widths},
        }

    # -- what was found -----------------------------------------------------------------------------------

    def derive(self, state: State) -> tuple[WidthArchitecture, Any, Iterable[str]]:
        """Widths and tutors at the end of the search: temperature and architecture have annealed together."""
        budget, logits = self.config.budget, state.architecture["widths"]
        widths = width_space.derive_widths(self.space, logits)
        if budget.mode == "hard":
            widths = width_space.narrow_to_budget(self.space, logits, budget.target, self.cost_of(budget.kind))
        probabilities = [jax.nn.softmax(theta) for theta in logits]
        found = WidthArchitecture(
            space=self.space, widths=widths, width_probabilities=probabilities, **recipes.image_fields(self.config)
        )
        return found, state.architecture["tutors"], ()

    def initial_student(self, architecture: WidthArchitecture, searched: Callable[[], State]) -> Any | None:
        """None, or the variables of the supernet cut to the widths (derive.init)."""
        if self.config.derive.init != "supernet":
            return None
        mask_expansion = self.config.mask_expansion
        return slice_variables(self.space, searched().variables, architecture.widths, mask_expansion=mask_expansion)


def _named(values: Mapping[str, Any], names: Iterable[str]) -> str:
    return ", ".join(f"{name} {values.get(name)}" for name in names)


class TutorSearch(WidthSearch):
    """The same search where the widths are given: only the tutors are searched."""

    step_type = TutorSearchStep

    def __init__(self, config: ConfigDict, widths: tuple[int, ...]):
        super().__init__(config)
        self.widths = widths

    @property
    def supernet(self) -> FBNet:
        return self.at_widths(self.widths)

    def initial_state(self, teacher_taps: int) -> State:
        return first_search_state(self, {"widths": (), "tutors": jnp.zeros((len(self.space.taps), teacher_taps))})

    def choice(self, state: State) -> None:
        """The network is the narrow one already."""
