"""What attacks maximise: one number per example, larger when the label is closer to losing.

All of them take logits [N, K] and return [N]; `labels` are integers [N]. Definitions follow Carlini & Wagner (arXiv
1608.04644) for the margin and Croce & Hein (arXiv 2003.01690) for DLR and its targeted form.
"""

from collections.abc import Callable

import jax
from jax import lax
import jax.numpy as jnp

from rnas.attacks.projections import TINY

Loss = Callable[[jax.Array, jax.Array], jax.Array]


def at(logits: jax.Array, classes: jax.Array) -> jax.Array:
    """Returns the logit [N] of class `classes[n]` in every row of `logits` [N, K]."""
    return jnp.take_along_axis(logits, classes[:, None], axis=1)[:, 0]


def others(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns `logits` [N, K] with that of the label set to -inf."""
    return jnp.where(jnp.arange(logits.shape[1])[None] == labels[:, None], -jnp.inf, logits)


def require_classes(logits: jax.Array, least: int, loss: str, instead: str) -> None:
    """Refuses logits [N, K] of fewer than `least` classes, naming the loss to use `instead`."""
    if logits.shape[1] < least:
        raise ValueError(
            f"the {loss} loss needs at least {least} classes, but the logits have shape {logits.shape}, "
            f"K={logits.shape[1]}; {instead}."
        )


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns -log softmax(logits)[label], for K >= 2.

    Written as softplus of the log-odds against the label. Equal in exact arithmetic, but value and gradient stay
    accurate at margins of 17 to 80, where the float32 log-softmax has rounded to a loss of 0.
    """
    require_classes(logits, 2, "cross-entropy", "a model with one class cannot be fooled")
    return jax.nn.softplus(jax.nn.logsumexp(others(logits, labels), axis=1) - at(logits, labels))


def margin(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns max_{i != label} z_i - z_label, positive where misclassified, for K >= 2."""
    require_classes(logits, 2, "margin", "a model with one class cannot be fooled")
    # Gathering one rival, where max would share the gradient between rivals that tie.
    return at(logits, jnp.argmax(others(logits, labels), axis=1)) - at(logits, labels)


def dlr(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns -(z_label - max_{i != label} z_i) / (z_(1) - z_(3)), z_(k) the k-th largest, for K >= 3.

    The gradient flows through the denominator too. Where the label ranks third the value is 1, where better, at most 1.
    """
    require_classes(logits, 3, "DLR", "use the margin loss")
    ranked, _ = lax.top_k(logits, 3)
    rival = jnp.where(jnp.argmax(logits, axis=1) == labels, ranked[:, 1], ranked[:, 0])
    return (rival - at(logits, labels)) / (ranked[:, 0] - ranked[:, 2] + TINY)


def dlr_targeted(logits: jax.Array, labels: jax.Array, targets: jax.Array) -> jax.Array:
    """Returns -(z_label - z_target) / (z_(1) - (z_(3) + z_(4)) / 2), for K >= 4 integer `targets` [N]."""
    require_classes(logits, 4, "targeted DLR", "use DLR with three classes and the margin loss with two")
    ranked, _ = lax.top_k(logits, 4)
    spread = ranked[:, 0] - 0.5 * (ranked[:, 2] + ranked[:, 3])
    return (at(logits, targets) - at(logits, labels)) / (spread + TINY)


def kl_to(logits: jax.Array, target_logits: jax.Array) -> jax.Array:
    """Returns KL(softmax(target_logits) || softmax(logits)), both [N, K], the former held constant."""
    target = jax.nn.log_softmax(lax.stop_gradient(target_logits))
    weights = jnp.exp(target)
    gap = target - jax.nn.log_softmax(logits)
    return jnp.sum(weights * jnp.where(weights > 0, gap, 0.0), axis=1)


LOSSES: dict[str, Loss] = {"ce": cross_entropy, "margin": margin, "dlr": dlr}


def find(loss: str | Loss, *further: str) -> Loss:
    """Returns a loss by its name, or a function as it is; `further` names are known to the caller alone."""
    if callable(loss):
        return loss
    if not isinstance(loss, str) or loss not in LOSSES:
        raise ValueError(f"unknown loss {loss!r}; expected one of {', '.join([*LOSSES, *further])}, or a function.")
    return LOSSES[loss]
