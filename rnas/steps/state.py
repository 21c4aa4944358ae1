"""What a training step carries from one step to the next."""

from collections.abc import Callable
from typing import Any

from flax import struct
import jax
import jax.numpy as jnp
import optax

PyTree = Any


@struct.dataclass
class State:
    """Everything that training changes; all of it is checkpointed and nothing else is.

    Attributes:
      step: int32 scalar, steps done.
      params, batch_stats: weights and running statistics of the network.
      opt_state: of the weight optimiser.
      architecture: {'widths': (θ_b [n_b], …), 'tutors': v [n_s, n_t]} during search; the encoding of a network that
        can run several architectures; else None.
      architecture_opt_state: of its optimiser, else None.
      loss_state: of the adversarial method, None where it has none.
      averaged: moving average of params, None where none is kept.
      arm: `objectives.ArmTerms` of a network that trains side by side with others, which training leaves as they are;
        else None. They come from the configuration: a checkpoint of one network does not hold them.
    """

    step: jax.Array
    params: PyTree
    batch_stats: PyTree
    opt_state: PyTree
    architecture: PyTree = None
    architecture_opt_state: PyTree = None
    loss_state: PyTree = None
    averaged: PyTree = None
    arm: PyTree = None

    @classmethod
    def create(
        cls,
        variables: PyTree,
        optimizer: optax.GradientTransformation,
        architecture: PyTree = None,
        architecture_optimizer: optax.GradientTransformation | None = None,
        *,
        loss_state: PyTree = None,
        average: bool = False,
    ) -> "State":
        """The state before the first step; `average` keeps a moving average from here on."""
        return cls(
            step=jnp.zeros((), jnp.int32),
            params=variables["params"],
            batch_stats=variables["batch_stats"],
            opt_state=optimizer.init(variables["params"]),
            architecture=architecture,
            architecture_opt_state=architecture_optimizer and architecture_optimizer.init(architecture),
            loss_state=loss_state,
            # A copy: buffers of a state are donated, each once.
            averaged=jax.tree.map(jnp.copy, variables["params"]) if average else None,
        )

    @property
    def variables(self) -> PyTree:
        return {"params": self.params, "batch_stats": self.batch_stats}

    @property
    def outcome(self) -> PyTree:
        """The variables to evaluate and to pass on after training: with averaged weights where these are kept."""
        return self.variables if self.averaged is None else {**self.variables, "params": self.averaged}


# (state, images, labels, teacher variables, root key) -> (state, sums of metrics)
Step = Callable[..., tuple[State, dict[str, jax.Array]]]
