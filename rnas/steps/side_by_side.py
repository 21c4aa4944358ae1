"""Several networks trained side by side: one program, parameters of their own.

The networks of one batch of images share its augmentation, random starts and teacher outputs, each computed once.
"""

from collections.abc import Sequence
import dataclasses

import jax
import numpy as np

from rnas.steps.state import State, Step

# What each network has of its own, along a new first axis; they share the step.
NETWORKS = State(step=None, params=0, batch_stats=0, opt_state=0, architecture=0, loss_state=0, averaged=0, arm=0)


def side_by_side(step: Step, *, apart: bool = False) -> Step:
    """Makes a step of one network into a step of P networks that see the same images, crops and random starts.

    A network that picks its operations by a traced index then executes all of them: this is faster only on an
    accelerator that one network leaves idle.

    Args:
      step: of a network without an optimiser for its architecture.
      apart: report on each network, by metrics [P].

    Returns:
      The step of a state whose every leaf but `step` has a leading axis [P]; metrics are summed over the networks where
      they are not kept `apart`.
    """
    mapped = jax.vmap(step, in_axes=(NETWORKS, None, None, None, None), out_axes=(NETWORKS, 0))
    if apart:
        return mapped

    def many(state: State, images, labels, teacher_variables, root):
        state, sums = mapped(state, images, labels, teacher_variables, root)
        first = sums.pop("nonfinite_step").min()
        return state, {**{name: value.sum(0) for name, value in sums.items()}, "nonfinite_step": first}

    return many


def over_seeds(step: Step, *, cached_teacher: bool) -> Step:
    """Makes a step into one of S seeds, each with a batch and a root key of its own.

    Args:
      step: of one network, or of networks side by side with metrics kept apart.
      cached_teacher: whether the step takes a teacher's outputs for the batches, [S,N,...]; else it takes the teacher's
        variables, which all seeds share.

    Returns:
      The step of a state whose every leaf but `step` has one more leading axis [S], and so have images [S,N,H,W,C],
      labels [S,N], root [S] and metrics.
    """
    teacher = 0 if cached_teacher else None
    return jax.vmap(step, in_axes=(NETWORKS, 0, 0, teacher, 0), out_axes=(NETWORKS, 0))


def stacked(states: Sequence[State], shape: tuple[int, ...]) -> State:
    """States of one step on the host, as one whose leaves but `step` have the axes `shape` ahead of their own."""
    first = states[0].step
    owned = [dataclasses.replace(state, step=None) for state in states]
    together = jax.tree.map(lambda *leaves: np.stack(leaves).reshape(*shape, *np.shape(leaves[0])), *owned)
    return dataclasses.replace(together, step=first)


def unstacked(state: State, shape: tuple[int, ...]) -> list[State]:
    """The states of the networks in one that `stacked` made, as if each had trained alone: without an arm."""
    owned = dataclasses.replace(state, step=None, arm=None)
    return [
        dataclasses.replace(jax.tree.map(lambda leaf, at=at: leaf[at], owned), step=state.step)
        for at in np.ndindex(shape)
    ]
