"""The joint objective of RNAS-CL: its settings, its attack, and its terms per example.

Search and training, student and teacher share it: with gamma = kl_weight = 0 it is the adversarial method alone, see
`rnas.objectives.methods`. BatchNorm running statistics move only in the passes of the loss, in the order clean,
adversarial, and never during an attack unless `attack_bn` is 'train'.
"""

from collections.abc import Callable
import dataclasses
from typing import Any, NamedTuple

import flax.linen as nn
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from rnas import attacks, objectives
from rnas.objectives import METHODS, Logits, Method, TrainProgress

START = TrainProgress()

PyTree = Any
TeacherApply = Callable[[PyTree, jax.Array], tuple[jax.Array, dict[str, jax.Array]]]


@dataclasses.dataclass(frozen=True)
class Objective:
    """The joint objective A + kl_weight·KL + gamma·L_attn (arXiv 2301.08092, eq. 2 and 3, extended).

    Attributes:
      adversarial: A, a method; a name among those of `METHODS` stands for it with the published coefficients.
      epsilon, step_size: L∞ radius and attack step, pixels in [0, 1].
      steps: attack iterations.
      start: of the attack: own (as the method was published), uniform, gaussian, none.
      attack_bn: BatchNorm mode of the attack: eval, train_frozen (batch statistics), train (which also moves the
        running ones) or own (as the method was published).
      bn_update: passes of the loss that move running statistics: both, clean, adversarial.
      clean_pass: run the network on clean images although no term of the loss may need it, for its statistics.
      auxiliary: weight of the cross-entropy of the network's auxiliary head, on clean images.
      gamma, kl_weight: weights of cross-layer distillation and of KL(teacher ‖ student).
      size, normalise, reduction: of the attention maps and their loss.
      view: student images that are compared with the teacher's clean ones: clean, adversarial, both.
    """

    adversarial: Method | str
    epsilon: float
    step_size: float
    steps: int
    start: str = "own"
    attack_bn: str = "eval"
    bn_update: str = "both"
    clean_pass: bool = False
    auxiliary: float = 0.0
    gamma: float = 0.0
    kl_weight: float = 0.0
    size: int = 14
    normalise: str = "per_sample"
    reduction: str = "sum_layers"
    view: str = "clean"

    def __post_init__(self):
        allowed = {
            "start": ("own", "uniform", "gaussian", "none"),
            "attack_bn": ("eval", "train_frozen", "train", "own"),
            "bn_update": ("both", "clean", "adversarial"),
            "normalise": ("per_sample", "per_batch"),
            "reduction": ("sum_layers", "paper"),
            "view": ("clean", "adversarial", "both"),
        }
        if not isinstance(self.adversarial, Method):
            allowed["adversarial"] = tuple(METHODS)
        for field, values in allowed.items():
            if getattr(self, field) not in values:
                raise ValueError(
                    f"unknown {field} {getattr(self, field)!r} of the objective; expected one of {', '.join(values)}."
                )
        if "adversarial" in allowed:
            object.__setattr__(self, "adversarial", METHODS[self.adversarial]())
        for field in ("start", "attack_bn"):
            if getattr(self, field) == "own":
                object.__setattr__(self, field, getattr(self.adversarial, field))
        if not self.attacks and self.gamma and self.view != "clean":
            raise ValueError(
                f"attention.view={self.view!r} needs adversarial images, but the objective is 'none'; use 'clean'."
            )

    @property
    def attacks(self) -> bool:
        return self.adversarial.attacks

    @property
    def needs_teacher(self) -> bool:
        return self.needs_teacher_on_clean or "teacher_adversarial" in self.adversarial.needs

    @property
    def needs_natural_teacher(self) -> bool:
        """Whether it needs a second, naturally trained teacher."""
        return bool({"natural", "natural_adversarial"} & set(self.adversarial.needs))

    @property
    def needs_teacher_on_clean(self) -> bool:
        """Whether it needs the teacher about clean images."""
        return bool(self.gamma or self.kl_weight or "teacher" in self.adversarial.needs)

    @property
    def searches(self) -> bool:
        """Whether a search can use it: the method needs nobody after the attack, and remembers nothing."""
        return set(self.adversarial.needs) <= {"teacher"} and self.adversarial.initial_loss_state() is None

    @property
    def needs_teacher_on_adversarial(self) -> bool:
        """Whether a teacher is asked about adversarial images, so that no answer can be kept for later."""
        return any(name.endswith("adversarial") for name in self.adversarial.needs)

    @property
    def needs_clean(self) -> bool:
        """Whether the student runs on clean images."""
        distils_clean = self.kl_weight or (self.gamma and self.view != "adversarial")
        return bool(self.adversarial.clean or distils_clean or self.auxiliary or self.clean_pass)


class TeacherOutputs(NamedTuple):
    """What frozen teachers say, None where nobody needs: logits [N,K] and attention maps [N,n_t,P] of clean images, and
    what methods ask besides (see `objectives.Logits`)."""

    logits: jax.Array | None = None
    maps: jax.Array | None = None
    teacher_adversarial: jax.Array | None = None
    natural: jax.Array | None = None
    natural_adversarial: jax.Array | None = None


def run_teacher(teacher: TeacherApply | None, variables: PyTree, images: jax.Array, objective: Objective, taps):
    """One teacher pass in inference mode, with attention maps of `taps` only where the objective uses them."""
    if not objective.needs_teacher_on_clean:
        return TeacherOutputs()
    logits, out = teacher(variables, images)
    maps = None
    if objective.gamma:
        maps = objectives.attention_maps(out, taps, objective.size, objective.normalise)
    return lax.stop_gradient(TeacherOutputs(logits, maps))


def run_teachers_on_adversarial(
    teacher_outputs: TeacherOutputs,
    teacher: TeacherApply | None,
    natural: TeacherApply | None,
    variables: PyTree,
    images: jax.Array,
    adversarial: jax.Array,
    objective: Objective,
) -> TeacherOutputs:
    """Adds what the method needs after the attack: the teacher about adversarial images, a second teacher about either."""
    passes = {
        "teacher_adversarial": (teacher, adversarial),
        "natural": (natural, images),
        "natural_adversarial": (natural, adversarial),
    }
    asked = (name for name in objective.adversarial.needs if name in passes)
    further = {name: passes[name][0](variables, passes[name][1])[0] for name in asked}
    return teacher_outputs._replace(**lax.stop_gradient(further))


def forward(model: nn.Module, params, batch_stats, images, sample, *, train: bool, update: bool = True, **options):
    """Returns (logits, out, running statistics after the pass).

    Args:
      sample: what a supernet is told besides the images (channel masks, probabilities of operations); None for a
        fixed network.
      update: whether a pass in training mode moves the running statistics.
      **options: passed on to the model.
    """
    variables = {"params": params, "batch_stats": batch_stats}
    args = (images,) if sample is None else (images, sample)
    if train and update:
        (logits, out), changed = model.apply(variables, *args, train=True, mutable=["batch_stats"], **options)
        return logits, out, changed["batch_stats"]
    logits, out = model.apply(variables, *args, train=train, **options)
    return logits, out, batch_stats


def adversarial_images(model, objective: Objective, params, batch_stats, images, labels, keys, sample, teacher_outputs):
    """Attacks the current network with the inner maximisation that belongs to the objective.

    Returns:
      (images [N,H,W,C] in the ε-ball and in [0, 1], running statistics after the attack).
    """
    train = objective.attack_bn != "eval"
    update = objective.attack_bn == "train"
    method = objective.adversarial

    target = None
    if method.away_from == "student":
        target, _, _ = forward(model, params, batch_stats, images, sample, train=train, update=False)
    elif method.away_from == "teacher":
        target = teacher_outputs.logits
    target = lax.stop_gradient(target)

    def ascent_loss(points, stats):
        logits, _, stats = forward(model, params, stats, points, sample, train=train, update=update)
        return method.ascent(logits, target, labels), stats

    return attacks.projected_ascent(
        ascent_loss,
        attacks.initial_images(keys, images, objective.epsilon, objective.start),
        images,
        epsilon=objective.epsilon,
        step_size=objective.step_size,
        steps=objective.steps,
        carry=batch_stats,
    )


def joint_terms(*args, **options):
    """`joint_terms_and_state` of a method without loss_state, without the loss_state."""
    terms, stats, _ = joint_terms_and_state(*args, **options)
    return terms, stats


def joint_terms_and_state(
    model, objective: Objective, params, batch_stats, images, adversarial, labels, sample, teacher_outputs, compare, *,
    progress: TrainProgress = START, loss_state: PyTree = None, average: Callable = lambda means: means, **options,
):  # fmt: skip
    """The terms of the objective, per example, and the passes they need.

    Args:
      compare: student taps `out` → cross-layer loss [N] against the teacher's maps.
      progress: where training stands.
      loss_state: of the method, from the step before.
      average: scalars of this replica → their means over all replicas, for the loss_state.
      **options: passed on to the model.

    Returns:
      ({term: [N]}, running statistics, loss_state); 'classification', 'kl' and 'attention' are always present, so are
      'accuracy' (on clean images, where they are seen) and 'adversarial_accuracy'.
    """
    zeros = jnp.zeros(labels.shape, jnp.float32)
    terms = {"kl": zeros, "attention": zeros, "accuracy": zeros, "adversarial_accuracy": zeros}
    stats, views, auxiliary = batch_stats, [], zeros

    def correct(logits):
        return (jnp.argmax(logits, -1) == labels).astype(jnp.float32)

    clean = adversarial_logits = None
    if objective.needs_clean:
        update = objective.bn_update != "adversarial" or not objective.attacks
        clean, out, stats = forward(model, params, stats, images, sample, train=True, update=update, **options)
        terms["accuracy"] = correct(clean)
        if objective.auxiliary:
            auxiliary = objectives.cross_entropy(out["auxiliary"], labels)
        if objective.view != "adversarial":
            views.append(out)
    if objective.attacks:
        update = objective.bn_update != "clean" or not objective.needs_clean
        adversarial_logits, out, stats = forward(
            model, params, stats, adversarial, sample, train=True, update=update, **options
        )
        terms["adversarial_accuracy"] = correct(adversarial_logits)
        if objective.view != "clean":
            views.append(out)

    logits = Logits(
        clean,
        adversarial_logits,
        teacher_outputs.logits,
        teacher_outputs.teacher_adversarial,
        teacher_outputs.natural,
        teacher_outputs.natural_adversarial,
    )
    loss_state = objective.adversarial.update_loss_state(loss_state, logits, progress, average)
    terms["classification"] = objective.adversarial.loss(logits, labels, progress, loss_state)
    if objective.kl_weight:
        terms["kl"] = objectives.kl_divergence(teacher_outputs.logits, clean)
    if objective.gamma:
        terms["attention"] = sum(compare(out) for out in views) / len(views)
    terms["loss"] = terms["classification"] + objective.kl_weight * terms["kl"] + objective.gamma * terms["attention"]
    terms["loss"] += objective.auxiliary * auxiliary
    return terms, stats, loss_state


@dataclasses.dataclass(frozen=True)
class FixedTutors:
    """Each student tap matches one teacher tap, known beforehand."""

    student_taps: tuple[str, ...]
    chosen: tuple[str, ...]  # teacher tap of each student tap
    available: int  # teacher taps that could have been chosen, n_t

    @property
    def teacher_taps(self) -> tuple[str, ...]:
        """The chosen taps, each once: the teacher's other maps are never computed."""
        return tuple(dict.fromkeys(self.chosen))

    def loss(self, out, maps, key, objective: Objective):
        del key  # nothing is drawn
        rows = np.array([self.teacher_taps.index(tap) for tap in self.chosen])
        student = objectives.attention_maps(out, self.student_taps, objective.size, objective.normalise)
        distances = objectives.paired_distances(student, maps[:, rows])
        scale = {"sum_layers": 1.0, "paper": 1.0 / (len(self.chosen) * self.available)}
        return scale[objective.reduction] * jnp.sum(distances, axis=-1)


@dataclasses.dataclass(frozen=True)
class SampledTutors:
    """Soft Gumbel samples of searched logits in every step, as the released code trains."""

    student_taps: tuple[str, ...]
    teacher_taps: tuple[str, ...]
    logits: tuple[tuple[float, ...], ...]  # [n_s, n_t]
    temperature: float = 0.055

    def loss(self, out, maps, key, objective: Objective):
        student = objectives.attention_maps(out, self.student_taps, objective.size, objective.normalise)
        weights = objectives.gumbel_softmax(key, jnp.asarray(self.logits), self.temperature)
        distances = objectives.attention_distances(student, maps)
        return objectives.cross_layer_loss(distances, weights, objective.reduction)
