"""Several networks trained side by side: one program, one batch of images, parameters of their own."""

import jax

from rnas.steps.state import State, Step

# What each network has of its own, along a new first axis; they share the step.
NETWORKS = State(step=None, params=0, batch_stats=0, opt_state=0, architecture=0)


def side_by_side(step: Step) -> Step:
    """Makes a step of one network into a step of P networks that see the same images, crops and random starts.

    A network that picks its operations by a traced index then executes all of them: this is faster only on an
    accelerator that one network leaves idle.

    Args:
      step: of a network without an optimiser for its architecture.

    Returns:
      The step of a state whose every leaf but `step` has a leading axis [P]; metrics are summed over the networks.
    """
    mapped = jax.vmap(step, in_axes=(NETWORKS, None, None, None, None), out_axes=(NETWORKS, 0))

    def many(state: State, images, labels, teacher_variables, root):
        state, sums = mapped(state, images, labels, teacher_variables, root)
        first = sums.pop("nonfinite_step").min()
        return state, {**{name: value.sum(0) for name, value in sums.items()}, "nonfinite_step": first}

    return many
