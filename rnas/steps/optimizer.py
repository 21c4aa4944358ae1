"""Optimisers and learning-rate schedules, driven by the step of the state.

The rate is applied by `Optimizer.update` from the global step, not from a counter inside the transformation:
during search both schedules advance on every step, whichever of the two optimisers it feeds.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
import optax


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """A direction (optax transformation without a rate, told the step) and the rate as a function of the step."""

    direction: optax.GradientTransformation
    schedule: optax.Schedule

    def init(self, params):
        return self.direction.init(params)

    def momentum(self, opt_state):
        """The running sum of gradients that SGD keeps, in the structure of the parameters; None where there is none."""
        return optax.tree.get(opt_state, "trace")

    def update(self, gradients, opt_state, params, step, moving: Any = None):
        """Returns (new params, new optimiser state) after one step at rate `schedule(step)`.

        Args:
          moving: booleans in the structure of the parameters, each of a shape that broadcasts; where one is false
            neither the parameter nor what the optimiser keeps of it changes, decay included. None: all move.
        """
        direction = optax.with_extra_args_support(self.direction)
        updates, new_state = direction.update(gradients, opt_state, params, step=step)
        rate = -self.schedule(step)
        new_params = optax.apply_updates(params, optax.tree.scale(rate, updates))
        if moving is None:
            return new_params, new_state
        kept = optax.tree.map_params(
            self.direction, lambda _, moves: moves, opt_state, moving, transform_non_params=lambda _: True
        )
        return jax.tree.map(jnp.where, moving, new_params, params), jax.tree.map(jnp.where, kept, new_state, opt_state)


def one_cycle(first: float, peak: float, last: float, total: int, rise: float) -> optax.Schedule:
    """Half a cosine from `first` to `peak`, then half a cosine from there to `last` (Smith & Topin 2018, 1708.07120).

    The peak is at `rise * total - 1`, the end at `total - 1`, both in steps: what PyTorch's OneCycleLR does.
    """
    top, end = max(rise * total - 1, 1e-9), total - 1

    def schedule(step):
        rising = step <= top
        start, goal = jnp.where(rising, first, peak), jnp.where(rising, peak, last)
        share = jnp.where(rising, step / top, (step - top) / max(end - top, 1e-9))
        return goal + (start - goal) * (1 + jnp.cos(jnp.pi * jnp.minimum(share, 1.0))) / 2

    return schedule


def cycled_trace(momentum: optax.Schedule) -> optax.GradientTransformationExtraArgs:
    """`optax.trace` with a decay that depends on the step it is told."""

    def update(updates, state, params=None, *, step, **_):
        return optax.trace(momentum(step)).update(updates, state, params)

    return optax.GradientTransformationExtraArgs(optax.trace(0.0).init, update)


def make_optimizer(config: ConfigDict, *, epochs: int, steps_per_epoch: int) -> Optimizer:
    """Builds the optimiser an `optimizer` section describes.

    Raises:
      ValueError: for an unknown optimiser or schedule.
    """
    scalers = {"adam": lambda: optax.scale_by_adam(*config.betas), "sgd": lambda: optax.trace(config.momentum)}
    if config.name not in scalers:
        raise ValueError(f"unknown optimizer.name {config.name!r}; expected {' or '.join(scalers)}.")
    total = max(epochs * steps_per_epoch, 1)
    if config.schedule == "cosine":
        schedule = optax.cosine_decay_schedule(config.learning_rate, total, alpha=config.final_factor)
    elif config.schedule == "epoch_cosine":
        by_epoch = optax.cosine_decay_schedule(config.learning_rate, max(epochs, 1), alpha=config.final_factor)
        schedule = lambda step: by_epoch(step // steps_per_epoch)  # noqa: E731
    elif config.schedule == "step":
        boundaries = {int(epoch * steps_per_epoch): 0.1 for epoch in config.milestones}
        schedule = optax.piecewise_constant_schedule(config.learning_rate, boundaries)
    elif config.schedule == "constant":
        schedule = optax.constant_schedule(config.learning_rate)
    elif config.schedule == "one_cycle" and "cycle" in config:
        cycle, last = config.cycle, config.learning_rate * config.final_factor
        schedule = one_cycle(config.learning_rate, cycle.peak, last, total, cycle.rise)
        momentum = one_cycle(config.momentum, cycle.momentum, config.momentum, total, cycle.rise)
        scalers["sgd"] = lambda: cycled_trace(momentum)
    else:
        raise ValueError(
            f"unknown optimizer.schedule {config.schedule!r}; expected cosine, epoch_cosine, step or constant, or "
            "one_cycle where the section has a cycle."
        )
    clip = [optax.clip_by_global_norm(config.clip_norm)] if config.clip_norm else []
    # Coupled decay: the L2 term passes through Adam's scaling like any gradient. It is not part of what is clipped.
    return Optimizer(optax.chain(*clip, optax.add_decayed_weights(config.l2), scalers[config.name]()), schedule)
