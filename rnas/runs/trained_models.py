"""The models that a run has trained, as evaluated models."""

from typing import Any

import flax.linen as nn

from rnas.evaluation.evaluated_model import EvaluatedModel, evaluated_teacher, in_float32
from rnas.layers.counting import count
from rnas.objectives import METHODS
from rnas.runs.recipes import BASELINE, baselines, model_names, recipe
from rnas.runs.run import Run, predict
from rnas.runs.stage_trainers import trained
from rnas.teachers import content_hash


def evaluated_model(run: Run, name: str) -> EvaluatedModel:
    """A trained model of a run.

    Args:
      name: student, student_last, teacher or baseline_<name>.

    Raises:
      ValueError: another name, or a model that is not trained yet.
    """
    names = model_names(run.config)
    if name not in names:
        raise ValueError(f"this run has no model {name!r}; it has {', '.join(names)}.")
    if name == "teacher":
        return evaluated_teacher(run.judged_teacher, tuple(run.config.data.image_shape), source=str(run.workdir))
    if name.startswith(BASELINE):
        architecture = run.baseline_architecture(name.removeprefix(BASELINE))
    else:
        architecture = run.architecture
    network = run.search.network(architecture)
    variables = _variables(run, name, network)
    kind, label = kind_and_label(run, name)
    return EvaluatedModel(
        predict=predict(in_float32(network)),
        variables=variables,
        num_classes=run.config.data.num_classes,
        name=name,
        hash=content_hash(variables),
        kind=kind,
        label=label,
        source=str(run.workdir),
        architecture=architecture.name,
        **count(network, architecture.image_shape)._asdict(),
    )


def kind_and_label(run: Run, name: str) -> tuple[str, str]:
    """What a model is, of `rnas.artifacts.evaluation.KINDS`, and what people read."""
    own = run.search.student_label
    if name == "student":
        return "student", own
    if name == "student_last":
        return "student_last", f"{own}, last epoch"
    baseline = name.removeprefix(BASELINE)
    if baseline == "no_distillation":
        return "no_distillation", "Baseline, no distillation"
    if baseline == "plain":
        return "plain", "Baseline, plain training"
    if baseline in baselines():
        method = METHODS[baseline.removesuffix("_awp")].label
        return "method", f"Baseline, {method} with AWP" if baseline.endswith("_awp") else f"Baseline, {method}"
    if baseline in run.search.published:
        return "published", f"{run.search.published[baseline]} network"
    return "random", f"Random network {baseline.removeprefix('random_')}"


def _variables(run: Run, name: str, network: nn.Module) -> Any:
    if name == "student":
        return _student_variables(run, network)
    stage, which = ("train", "latest") if name == "student_last" else (name, "best")
    return trained(run, recipe(run.config, stage), network, which).state.outcome


def _student_variables(run: Run, network: nn.Module) -> Any:
    """The fine-tuned network if it scores higher on held-out images, else the trained one."""
    plain = trained(run, recipe(run.config, "train"), network)
    if not run.config.finetune.epochs:
        return plain.state.outcome
    tuned = trained(run, recipe(run.config, "finetune"), network)
    score = run.validate(predict(network))
    better = score is None or score(tuned.state)["score"] >= score(plain.state)["score"]
    return (tuned if better else plain).state.outcome
