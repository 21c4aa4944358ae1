"""Optimisers and learning-rate schedules, driven by the step of the state.

The rate is applied by `Optimizer.update` from the global step, not from a counter inside the transformation:
during search both schedules advance on every step, whichever of the two optimisers it feeds.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """A direction, which may depend on the step, and the rate as a function of the step.

    Attributes:
      direction: optax transformation without a rate; its `update` gets the step by the keyword `step`.
      schedule: global step -> learning rate.
    """

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
    """`optax.trace` with a decay that depends on the global step, the keyword `step` of its `update`."""

    def update(updates, state, params=None, *, step, **_):
        return optax.trace(momentum(step)).update(updates, state, params)

    return optax.GradientTransformationExtraArgs(optax.trace(0.0).init, update)


def make_optimizer(section: Any, *, epochs: int, steps_per_epoch: int, cycle: Any = None) -> Optimizer:
    """Builds the optimiser that a section of a configuration describes.

    Args:
      section: any object with the attributes of an `optimizer` section, see the configuration keys.
      epochs, steps_per_epoch: of the stage.
      cycle: for the schedule 'one_cycle', which moves rate and momentum: any object with `peak` (the highest rate),
        `momentum` (there) and `rise` (share of the steps until the peak).

    Raises:
      ValueError: for an unknown optimiser or schedule.
    """
    if len(section.betas) != 2:
        raise ValueError(f"optimizer.betas = {tuple(section.betas)}: expected two.")
    scalers = {"adam": lambda: optax.scale_by_adam(*section.betas), "sgd": lambda: optax.trace(section.momentum)}
    if section.name not in scalers:
        raise ValueError(f"unknown optimizer.name {section.name!r}; expected {' or '.join(scalers)}.")
    total = max(epochs * steps_per_epoch, 1)
    if section.schedule == "cosine":
        schedule = optax.cosine_decay_schedule(section.learning_rate, total, alpha=section.final_factor)
    elif section.schedule == "epoch_cosine":
        by_epoch = optax.cosine_decay_schedule(section.learning_rate, max(epochs, 1), alpha=section.final_factor)
        schedule = lambda step: by_epoch(step // steps_per_epoch)  # noqa: E731
    elif section.schedule == "step":
        boundaries = {int(epoch * steps_per_epoch): 0.1 for epoch in section.milestones}
        schedule = optax.piecewise_constant_schedule(section.learning_rate, boundaries)
    elif section.schedule == "constant":
        schedule = optax.constant_schedule(section.learning_rate)
    elif section.schedule == "one_cycle" and cycle is not None:
        last = section.learning_rate * section.final_factor
        schedule = one_cycle(section.learning_rate, cycle.peak, last, total, cycle.rise)
        momentum = one_cycle(section.momentum, cycle.momentum, section.momentum, total, cycle.rise)
        scalers["sgd"] = lambda: cycled_trace(momentum)
    else:
        raise ValueError(
            f"unknown optimizer.schedule {section.schedule!r}; expected cosine, epoch_cosine, step or constant, or "
            "one_cycle where the section has a cycle."
        )
    clip = [optax.clip_by_global_norm(section.clip_norm)] if section.clip_norm else []
    # Coupled decay: the L2 term passes through Adam's scaling like any gradient. It is not part of what is clipped.
    return Optimizer(optax.chain(*clip, optax.add_decayed_weights(section.l2), scalers[section.name]()), schedule)
