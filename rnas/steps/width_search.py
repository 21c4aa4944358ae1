"""The step that searches widths and tutors: weights and architecture in turn (RNAS-CL)."""

import flax.linen as nn
import jax
from jax import lax
import jax.numpy as jnp

from rnas import objectives
from rnas.objectives import (
    Alternation,
    Objective,
    Sampling,
    SearchCost,
    TeacherApply,
    adversarial_images,
    joint_terms,
    run_teacher,
)
from rnas.spaces import width_space
from rnas.steps.augmentation import Augmentation, augment_to_float
from rnas.steps.keys import step_keys
from rnas.steps.metrics import TRAIN_METRICS, metric_sums
from rnas.steps.optimizer import Optimizer
from rnas.steps.replicas import mean_over_replicas
from rnas.steps.state import State, Step

SEARCH_METRICS = (*TRAIN_METRICS, "cost_factor", "cost", "temperature")


def make_search_step(
    supernet: nn.Module,
    objective: Objective,
    augmentation: Augmentation,
    optimizer: Optimizer,
    arch_optimizer: Optimizer,
    sampling: Sampling,
    alternation: Alternation,
    search_cost: SearchCost,
    *,
    teacher: TeacherApply | None,
    teacher_taps: tuple[str, ...],
) -> Step:
    """Builds the search step, minimising (A + kl_weight·KL + gamma·L_attn)·n_f + budget penalty (eq. 2).

    A weight step leaves the architecture and its optimiser untouched, an architecture step leaves parameters,
    running statistics and the weight optimiser untouched; the global step alone decides which it is. Attack and
    loss see the same architecture sample.
    """
    space = supernet.space

    def search_step(state: State, images, labels, teacher_variables, root):
        keys = step_keys(root, state.step, len(labels))
        images = augment_to_float(augmentation, keys.augment, images)
        teacher_outputs = run_teacher(teacher, teacher_variables, images, objective, teacher_taps)

        def masks_of(architecture):
            samples = sampling.widths(keys.architecture, architecture["widths"], state.step)
            return width_space.channel_masks(space, samples), width_space.effective_widths(space, samples)

        adversarial, stats = images, state.batch_stats
        if objective.attacks:
            masks, _ = masks_of(state.architecture)
            adversarial, stats = adversarial_images(
                supernet, objective, state.params, stats, images, labels, keys.attack, masks, teacher_outputs
            )

        def loss(params, architecture):
            masks, widths = masks_of(architecture)

            def compare(out):
                maps = objectives.attention_maps(out, space.taps, objective.size, objective.normalise)
                weights = sampling.tutors(keys.tutors, architecture["tutors"], state.step)
                distances = objectives.attention_distances(maps, teacher_outputs.maps)
                return objectives.cross_layer_loss(distances, weights, objective.reduction)

            terms, new_stats = joint_terms(
                supernet, objective, params, stats, images, adversarial, labels, masks, teacher_outputs, compare
            )
            factor, penalty, amount = search_cost(widths)
            terms["loss"] = terms["loss"] * factor + penalty
            terms.update(cost_factor=factor, cost=amount)
            return jnp.mean(terms["loss"]), (terms, new_stats)

        def weight_update(state):
            gradients, (terms, new_stats) = jax.grad(loss, has_aux=True)(state.params, state.architecture)
            gradients = mean_over_replicas(gradients)
            params, opt_state = optimizer.update(gradients, state.opt_state, state.params, state.step)
            return state.replace(params=params, batch_stats=new_stats, opt_state=opt_state), terms

        def arch_update(state):
            gradients, (terms, _) = jax.grad(loss, argnums=1, has_aux=True)(state.params, state.architecture)
            gradients = mean_over_replicas(gradients)
            architecture, opt_state = arch_optimizer.update(
                gradients, state.architecture_opt_state, state.architecture, state.step
            )
            return state.replace(architecture=architecture, architecture_opt_state=opt_state), terms

        new, terms = lax.cond(alternation.is_weight_step(state.step), weight_update, arch_update, state)
        terms.update(temperature=sampling.temperature(state.step), learning_rate=optimizer.schedule(state.step))
        return new.replace(step=state.step + 1), metric_sums(terms, state.step, (new.params, new.architecture))

    return search_step
