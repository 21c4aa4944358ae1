"""The step that searches widths and tutors: weights and architecture in turn (RNAS-CL)."""

import dataclasses
import functools
from typing import Any, ClassVar

import jax
from jax import lax
import jax.numpy as jnp

from rnas import objectives
from rnas.models.width_network import FBNet
from rnas.spaces import width_space
from rnas.steps.augmentation import augment_to_float
from rnas.steps.replicas import TRAIN_METRICS, Keys, PyTree, mean_over_replicas, metric_sums, step_keys
from rnas.steps.search import SearchStep
from rnas.steps.state import State


@dataclasses.dataclass(frozen=True, eq=False)
class WidthSearchStep(SearchStep):
    """A step of the search over widths, which minimises (A + kl_weight·KL + gamma·L_attn)·n_f + budget penalty (eq. 2).

    A weight step leaves the architecture and its optimiser untouched, an architecture step leaves parameters,
    running statistics and the weight optimiser untouched; the global step alone decides which it is. Attack and
    loss see the same architecture sample.

    Attributes:
      alternation: which steps update which of the two.
      search_cost: factor and penalty of the sampled network's size.
    """

    supernet: FBNet
    alternation: objectives.Alternation
    search_cost: objectives.SearchCost

    metrics: ClassVar[tuple[str, ...]] = (*TRAIN_METRICS, "cost_factor", "cost", "temperature")

    def __call__(
        self, state: State, images: jax.Array, labels: jax.Array, teacher_variables: PyTree, root: jax.Array
    ) -> tuple[State, dict[str, jax.Array]]:
        """Returns (new state, sums of the metrics over all replicas); arguments as of `TrainStep`."""
        keys = step_keys(root, state.step, len(labels))
        images = augment_to_float(self.augmentation, keys.augment, images)
        teacher_outputs = self.teacher_outputs(teacher_variables, images)
        adversarial, stats = images, state.batch_stats
        if self.objective.attacks:
            masks, _ = self.sampled_masks(keys, state.architecture, state.step)
            network = objectives.Network(self.supernet, state.params, stats, masks)
            adversarial, stats = objectives.adversarial_images(
                network, self.objective, images, labels, keys.attack, teacher_outputs
            )
        batch = objectives.Batch(images, adversarial, labels, teacher_outputs)
        loss = functools.partial(self.loss, batch, keys, state.step, stats)

        def update_weights(state: State):
            gradients, (terms, new_stats) = jax.grad(loss, has_aux=True)(state.params, state.architecture)
            gradients = mean_over_replicas(gradients)
            params, opt_state = self.optimizer.update(gradients, state.opt_state, state.params, state.step)
            return dataclasses.replace(state, params=params, batch_stats=new_stats, opt_state=opt_state), terms

        def update_architecture(state: State):
            gradients, (terms, _) = jax.grad(loss, argnums=1, has_aux=True)(state.params, state.architecture)
            gradients, before = mean_over_replicas(gradients), state.architecture
            architecture, opt_state = self.arch_optimizer.update(
                gradients, state.architecture_opt_state, before, state.step
            )
            return dataclasses.replace(state, architecture=architecture, architecture_opt_state=opt_state), terms

        new, terms = lax.cond(self.alternation.is_weight_step(state.step), update_weights, update_architecture, state)
        terms["temperature"] = self.sampling.temperature(state.step)
        terms["learning_rate"] = self.optimizer.schedule(state.step)
        updated = new.params, new.architecture
        return dataclasses.replace(new, step=state.step + 1), metric_sums(terms, state.step, updated)

    def sampled_masks(
        self, keys: Keys, architecture: PyTree, step: jax.Array
    ) -> tuple[tuple[jax.Array, ...] | None, tuple[jax.Array, ...]]:
        """Returns the channel masks [C_b] and the expected width of each block, from a sample of the architecture."""
        samples = self.sampling.widths(keys.architecture, architecture["widths"], step)
        space = self.supernet.space
        return width_space.channel_masks(space, samples), width_space.effective_widths(space, samples)

    def loss(
        self,
        batch: objectives.Batch,
        keys: Keys,
        step: jax.Array,
        batch_stats: PyTree,
        params: PyTree,
        architecture: PyTree,
    ) -> tuple[jax.Array, Any]:
        """Returns (the mean of eq. 2 over the batch, (terms [N], running statistics)) at weights and architecture."""
        masks, widths = self.sampled_masks(keys, architecture, step)
        network = objectives.Network(self.supernet, params, batch_stats, masks)
        terms, new_stats = self.joint_terms(network, self.objective, batch, architecture, keys.tutors, step)
        factor, penalty, cost = self.search_cost(widths)
        terms["loss"] = terms["loss"] * factor + penalty
        terms.update(cost_factor=factor, cost=cost)
        return jnp.mean(terms["loss"]), (terms, new_stats)


@dataclasses.dataclass(frozen=True, eq=False)
class TutorSearchStep(WidthSearchStep):
    """The same step where the network in `supernet` has its widths already: no masks, and a cost that is a constant."""

    def sampled_masks(self, keys: Keys, architecture: PyTree, step: jax.Array) -> tuple[None, tuple[jax.Array, ...]]:
        return None, tuple(jnp.float32(width) for width in self.supernet.widths)
