"""Training steps: pure functions of (state, batch), the only place that knows the replica axis.

`make_train_step` trains a fixed network (teacher, student, twin); `make_search_step` trains the supernet and
its architecture in turn. Both build `step(state, images, labels, teacher, root) -> (state, metrics)`;
`run_steps` wraps many of them into one pmapped dispatch. `run_frozen` is the step of an evaluation: an attack, or
another measurement, of a model that no longer changes.

Inside a step, in this order: keys, augmentation, teacher signals, architecture sample, attack, loss and
gradient, mean over replicas, update. Keys of the architecture never contain the replica; every other key is
folded with the example's position in the global batch, so that replicas differ and the number of devices does
not matter. An architecture step never moves BatchNorm's running statistics.

Not here: data, checkpoints, logging, model choice.
"""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import optax

from rnas import objectives
from rnas.data import augment
from rnas.spaces import fbnet
from rnas.training.joint import (
    FixedTutors,
    Objective,
    SampledTutors,
    TeacherApply,
    adversarial_images,
    joint_terms,
    teacher_signals,
)
from rnas.training.optimizers import Optimizer
from rnas.training.search import Alternation, Sampling, SearchCost
from rnas.training.state import State

AXIS = "batch"
NEVER = np.int32(np.iinfo(np.int32).max)  # "no step left anything that is not finite"

PyTree = Any
Step = Callable[..., tuple[State, dict[str, jax.Array]]]


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Random crop after zero padding by `padding` pixels, and a mirror image half of the time if `flip`."""

    padding: int
    flip: bool


class Keys(NamedTuple):
    """Keys of one step: the first two shared by all replicas, the others one per example."""

    widths: jax.Array
    tutors: jax.Array
    attack: jax.Array
    augment: jax.Array


def step_keys(root: jax.Array, step: jax.Array, examples: int) -> Keys:
    """Derives the keys of `step`; `examples` is the number of them on this replica."""
    widths, tutors, attack, augmentation = jax.random.split(jax.random.fold_in(root, step), 4)
    positions = lax.axis_index(AXIS) * examples + jnp.arange(examples)
    per_example = jax.vmap(jax.random.fold_in, in_axes=(None, 0))
    return Keys(widths, tutors, per_example(attack, positions), per_example(augmentation, positions))


def augmented(augmentation: Augmentation, keys: jax.Array, images: jax.Array) -> jax.Array:
    """uint8 [N,H,W,C] → cropped, mirrored float32 in [0, 1]."""
    both = jax.vmap(jax.random.split)(keys)
    if augmentation.padding:
        images = augment.random_crop(both[:, 0], images, augmentation.padding)
    if augmentation.flip:
        images = augment.random_flip(both[:, 1], images)
    return augment.to_float(images)


def _reduced(terms: dict[str, jax.Array], step: jax.Array, updated: PyTree) -> dict[str, jax.Array]:
    """Sums over all examples of all replicas, their count, and the step if loss or `updated` are not finite."""
    examples = terms["loss"].shape[0]
    sums = {name: jnp.sum(jnp.broadcast_to(value, (examples,))) for name, value in terms.items()}
    sums["count"] = jnp.float32(examples)
    sums = lax.psum(sums, AXIS)
    # A finite loss may still have a gradient that is not: its weights must not reach a checkpoint.
    finite = jnp.isfinite(sums["loss"]) & jnp.isfinite(optax.tree.sum(updated))
    sums["nonfinite_step"] = jnp.where(finite, NEVER, step)
    return sums


TRAIN_METRICS = (
    "loss", "classification", "kl", "attention", "accuracy", "adversarial_accuracy", "learning_rate",
)  # fmt: skip
SEARCH_METRICS = (*TRAIN_METRICS, "cost_factor", "cost", "temperature")


def make_train_step(
    model: nn.Module,
    objective: Objective,
    augmentation: Augmentation,
    optimizer: Optimizer,
    *,
    teacher: TeacherApply | None = None,
    tutors: FixedTutors | SampledTutors | None = None,
) -> Step:
    """Builds the step of a fixed network, minimising the mean of A + kl_weight·KL + gamma·L_attn (eq. 3).

    Args:
      model: `model.apply(variables, images, train=…) -> (logits, out)`; batch statistics must be averaged over
        `AXIS` by the model itself.
      teacher: (variables, images) -> (logits, out), frozen; needed if the objective distils.
      tutors: which teacher tap each student tap matches; needed if gamma is not 0.
    """

    def train_step(state: State, images, labels, teacher_variables, root):
        keys = step_keys(root, state.step, len(labels))
        images = augmented(augmentation, keys.augment, images)
        taps = tutors.teacher_taps if tutors else ()
        signals = teacher_signals(teacher, teacher_variables, images, objective, taps)
        attacked, stats = images, state.batch_stats
        if objective.attacks:
            attacked, stats = adversarial_images(
                model, objective, state.params, stats, images, labels, keys.attack, None, signals
            )

        def loss(params):
            terms, new_stats = joint_terms(
                model, objective, params, stats, images, attacked, labels, None, signals,
                lambda out: tutors.loss(out, signals.maps, keys.tutors, objective),
            )  # fmt: skip
            return jnp.mean(terms["loss"]), (terms, new_stats)

        gradients, (terms, stats) = jax.grad(loss, has_aux=True)(state.params)
        gradients = lax.pmean(gradients, AXIS)
        params, opt_state = optimizer.update(gradients, state.opt_state, state.params, state.step)
        terms["learning_rate"] = optimizer.schedule(state.step)
        # Synchronised BatchNorm already leaves equal statistics everywhere.
        new = state.replace(step=state.step + 1, params=params, batch_stats=stats, opt_state=opt_state)
        return new, _reduced(terms, state.step, new.params)

    return train_step


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
        images = augmented(augmentation, keys.augment, images)
        signals = teacher_signals(teacher, teacher_variables, images, objective, teacher_taps)

        def masks_of(architecture):
            samples = sampling.widths(keys.widths, architecture["widths"], state.step)
            return fbnet.channel_masks(space, samples), fbnet.effective_widths(space, samples)

        attacked, stats = images, state.batch_stats
        if objective.attacks:
            masks, _ = masks_of(state.architecture)
            attacked, stats = adversarial_images(
                supernet, objective, state.params, stats, images, labels, keys.attack, masks, signals
            )

        def loss(params, architecture):
            masks, widths = masks_of(architecture)

            def compare(out):
                maps = objectives.attention_maps(out, space.taps, objective.size, objective.normalise)
                weights = sampling.tutors(keys.tutors, architecture["tutors"], state.step)
                distances = objectives.attention_distances(maps, signals.maps)
                return objectives.cross_layer_loss(distances, weights, objective.reduction)

            terms, new_stats = joint_terms(
                supernet, objective, params, stats, images, attacked, labels, masks, signals, compare
            )
            factor, penalty, amount = search_cost(widths)
            terms["loss"] = terms["loss"] * factor + penalty
            terms.update(cost_factor=factor, cost=amount)
            return jnp.mean(terms["loss"]), (terms, new_stats)

        def weight_update(state):
            gradients, (terms, new_stats) = jax.grad(loss, has_aux=True)(state.params, state.architecture)
            gradients = lax.pmean(gradients, AXIS)
            params, opt_state = optimizer.update(gradients, state.opt_state, state.params, state.step)
            return state.replace(params=params, batch_stats=new_stats, opt_state=opt_state), terms

        def arch_update(state):
            gradients, (terms, _) = jax.grad(loss, argnums=1, has_aux=True)(state.params, state.architecture)
            gradients = lax.pmean(gradients, AXIS)
            architecture, opt_state = arch_optimizer.update(
                gradients, state.architecture_opt_state, state.architecture, state.step
            )
            return state.replace(architecture=architecture, architecture_opt_state=opt_state), terms

        new, terms = lax.cond(alternation.is_weight_step(state.step), weight_update, arch_update, state)
        terms.update(temperature=sampling.temperature(state.step), learning_rate=optimizer.schedule(state.step))
        return new.replace(step=state.step + 1), _reduced(terms, state.step, (new.params, new.architecture))

    return search_step


def run_steps(step: Step, metrics: tuple[str, ...], *, streaming: bool = False):
    """Wraps `step` so that one dispatch runs many of them on every device.

    The result takes (state, images, labels, rows, count, teacher_variables, root):
      images [n,H,W,C] uint8, labels [n]: the whole set, replicated; with `streaming`, one block a device,
      rows [devices, most, per_device]: rows of `images` in each step,
      count: how many of the `most` steps to run (traced: any count runs the same program),
    and returns (state, metric sums over the steps run). The state is donated and comes back replicated.
    """

    def many(state, images, labels, rows, count, teacher_variables, root):
        def body(index, carry):
            state, sums = carry
            chosen = rows[index]
            state, new = step(state, images[chosen], labels[chosen], teacher_variables, root)
            nonfinite = jnp.minimum(sums.pop("nonfinite_step"), new.pop("nonfinite_step"))
            return state, {**{name: sums[name] + new[name] for name in sums}, "nonfinite_step": nonfinite}

        zeros = {name: jnp.float32(0.0) for name in (*metrics, "count")}
        return lax.fori_loop(0, count, body, (state, {**zeros, "nonfinite_step": NEVER}))

    data = 0 if streaming else None
    return jax.pmap(
        many,
        axis_name=AXIS,
        in_axes=(None, data, data, 0, None, None, None),
        out_axes=(None, None),
        donate_argnums=0,
    )


def run_frozen(predict: Callable[..., jax.Array], program: Callable[..., PyTree]):
    """Wraps what is measured of a frozen model, an attack for one, so that it runs on every device.

    Args:
      predict: (variables, images [N,H,W,C], ...) -> logits [N,K], in inference mode.
      program: (logits_fn, images, labels, keys [N], settings, carry) -> pytree of arrays [N, ...].

    Returns:
      (variables, images [D,n,H,W,C] float32, labels [D,n], ids [D,n], key, settings, carry of leaves [D,n,...])
      -> what `program` returns, over the D·n examples of all replicas in order. `ids` key each example, so a
      result does not depend on how examples are packed into batches.
    """

    def frozen(variables, images, labels, ids, key, settings, carry):
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, ids)
        found = program(functools.partial(predict, variables), images, labels, keys, settings, carry)
        return jax.tree.map(lambda leaf: lax.all_gather(leaf, AXIS, tiled=True), found)

    return jax.pmap(frozen, axis_name=AXIS, in_axes=(None, 0, 0, 0, None, None, 0), out_axes=None)
