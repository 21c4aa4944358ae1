"""The step that searches widths and tutors: weights and architecture in turn (RNAS-CL)."""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any, ClassVar

import jax
from jax import lax
import jax.numpy as jnp

from rnas import objectives
from rnas.models.width_network import FBNet
from rnas.spaces import width_space
from rnas.steps.augmentation import Augmentation, augment_to_float
from rnas.steps.metrics import TRAIN_METRICS, metric_sums
from rnas.steps.optimizer import Optimizer
from rnas.steps.replicas import PyTree, mean_over_replicas
from rnas.steps.state import State
from rnas.steps.step_keys import Keys, step_keys

Loss = Callable[[PyTree, PyTree], tuple[jax.Array, Any]]  # (params, architecture) -> (mean, (terms, statistics))


@dataclasses.dataclass(frozen=True, eq=False)
class WidthSearchStep:
    """A step of the search over widths, which minimises (A + kl_weight·KL + gamma·L_attn)·n_f + budget penalty (eq. 2).

    A weight step leaves the architecture and its optimiser untouched, an architecture step leaves parameters,
    running statistics and the weight optimiser untouched; the global step alone decides which it is. Attack and
    loss see the same architecture sample.

    Attributes:
      supernet: of the space.
      objective: A, attack, and weights of the terms.
      augmentation: of the images.
      optimizer: of the weights.
      arch_optimizer: of the architecture.
      sampling: of widths and tutors.
      alternation: which steps update which of the two.
      search_cost: factor and penalty of the sampled network's size.
      teacher: (variables, images) -> (logits, out), frozen; None where the objective needs none.
      teacher_taps: that tutors are chosen from.
    """

    supernet: FBNet
    objective: objectives.Objective
    augmentation: Augmentation
    optimizer: Optimizer
    arch_optimizer: Optimizer
    sampling: objectives.Sampling
    alternation: objectives.Alternation
    search_cost: objectives.SearchCost
    _: dataclasses.KW_ONLY
    teacher: objectives.TeacherApply | None = None
    teacher_taps: tuple[str, ...] = ()

    metrics: ClassVar[tuple[str, ...]] = (*TRAIN_METRICS, "cost_factor", "cost", "temperature")

    def __call__(
        self, state: State, images: jax.Array, labels: jax.Array, teacher_variables: PyTree, root: jax.Array
    ) -> tuple[State, dict[str, jax.Array]]:
        """Returns (new state, sums of the metrics over all replicas); arguments as of `TrainStep`."""
        keys = step_keys(root, state.step, len(labels))
        images = augment_to_float(self.augmentation, keys.augment, images)
        teacher_outputs = objectives.run_teacher(
            self.teacher, teacher_variables, images, self.objective, self.teacher_taps
        )
        adversarial, stats = images, state.batch_stats
        if self.objective.attacks:
            masks, _ = sampled_masks(self, keys, state.architecture, state.step)
            network = objectives.Network(self.supernet, state.params, stats, masks)
            adversarial, stats = objectives.adversarial_images(
                network, self.objective, images, labels, keys.attack, teacher_outputs
            )
        batch = objectives.Batch(images, adversarial, labels, teacher_outputs)
        loss = functools.partial(search_loss, self, batch, keys, state.step, stats)
        new, terms = lax.cond(
            self.alternation.is_weight_step(state.step),
            functools.partial(update_weights, self.optimizer, loss),
            functools.partial(update_architecture, self.arch_optimizer, loss),
            state,
        )
        terms.update(
            temperature=self.sampling.temperature(state.step), learning_rate=self.optimizer.schedule(state.step)
        )
        return dataclasses.replace(new, step=state.step + 1), metric_sums(
            terms, state.step, (new.params, new.architecture)
        )


def sampled_masks(
    search: WidthSearchStep, keys: Keys, architecture: PyTree, step: jax.Array
) -> tuple[tuple[jax.Array, ...], tuple[jax.Array, ...]]:
    """Returns the channel masks [C_b] and the expected width of each block, from a sample of the architecture."""
    samples = search.sampling.widths(keys.architecture, architecture["widths"], step)
    space = search.supernet.space
    return width_space.channel_masks(space, samples), width_space.effective_widths(space, samples)


def search_loss(
    search: WidthSearchStep,
    batch: objectives.Batch,
    keys: Keys,
    step: jax.Array,
    batch_stats: PyTree,
    params: PyTree,
    architecture: PyTree,
) -> tuple[jax.Array, Any]:
    """Returns (the mean of eq. 2 over the batch, (terms [N], running statistics)) at weights and architecture."""
    objective = search.objective
    masks, widths = sampled_masks(search, keys, architecture, step)

    def attention_loss(out):
        return objectives.soft_tutor_loss(
            out, search.supernet.taps, batch.teacher_outputs.maps, objective,
            lambda: search.sampling.tutors(keys.tutors, architecture["tutors"], step),
        )  # fmt: skip

    network = objectives.Network(search.supernet, params, batch_stats, masks)
    terms, new_stats, _ = objectives.joint_terms(network, objective, batch, attention_loss)
    factor, penalty, cost = search.search_cost(widths)
    terms["loss"] = terms["loss"] * factor + penalty
    terms.update(cost_factor=factor, cost=cost)
    return jnp.mean(terms["loss"]), (terms, new_stats)


def update_weights(optimizer: Optimizer, loss: Loss, state: State) -> tuple[State, dict[str, jax.Array]]:
    """Returns (state, terms) after a step of the weights; the architecture stays."""
    gradients, (terms, new_stats) = jax.grad(loss, has_aux=True)(state.params, state.architecture)
    gradients = mean_over_replicas(gradients)
    params, opt_state = optimizer.update(gradients, state.opt_state, state.params, state.step)
    return dataclasses.replace(state, params=params, batch_stats=new_stats, opt_state=opt_state), terms


def update_architecture(optimizer: Optimizer, loss: Loss, state: State) -> tuple[State, dict[str, jax.Array]]:
    """Returns (state, terms) after a step of the architecture; weights and running statistics stay."""
    gradients, (terms, _) = jax.grad(loss, argnums=1, has_aux=True)(state.params, state.architecture)
    gradients = mean_over_replicas(gradients)
    architecture, opt_state = optimizer.update(gradients, state.architecture_opt_state, state.architecture, state.step)
    return dataclasses.replace(state, architecture=architecture, architecture_opt_state=opt_state), terms
