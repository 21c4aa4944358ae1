"""Optimisers and learning-rate schedules, driven by the step of the state.

The rate is applied by `Optimizer.update` from the global step, not from a counter inside the transformation:
during search both schedules advance on every step, whichever of the two optimisers it feeds.
"""

import dataclasses

from ml_collections import ConfigDict
import optax


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """A direction (optax transformation without a rate) and the rate as a function of the step."""

    direction: optax.GradientTransformation
    schedule: optax.Schedule

    def init(self, params):
        return self.direction.init(params)

    def momentum(self, opt_state):
        """The running sum of gradients that SGD keeps, in the structure of the parameters; None where there is none."""
        return optax.tree.get(opt_state, "trace")

    def update(self, gradients, opt_state, params, step):
        """Returns (new params, new optimiser state) after one step at rate `schedule(step)`."""
        updates, opt_state = self.direction.update(gradients, opt_state, params)
        rate = -self.schedule(step)
        return optax.apply_updates(params, optax.tree.scale(rate, updates)), opt_state


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
    else:
        raise ValueError(
            f"unknown optimizer.schedule {config.schedule!r}; expected cosine, epoch_cosine, step or constant."
        )
    clip = [optax.clip_by_global_norm(config.clip_norm)] if config.clip_norm else []
    # Coupled decay: the L2 term passes through Adam's scaling like any gradient. It is not part of what is clipped.
    return Optimizer(optax.chain(*clip, optax.add_decayed_weights(config.l2), scalers[config.name]()), schedule)
