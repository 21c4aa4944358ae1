"""The models that a run has trained, as evaluated models."""

from typing import Any

import flax.linen as nn

from rnas.artifacts.evaluation import Checkpoint
from rnas.evaluation.evaluated_model import EvaluatedModel, evaluated_teacher, in_float32
from rnas.layers.counting import count
from rnas.runs.baselines import RANDOM, parse
from rnas.runs.recipes import BASELINE, model_names, recipe
from rnas.runs.run import Run, predict
from rnas.runs.stage_trainers import trained
from rnas.steps.state import State
from rnas.teachers import content_hash

PLAIN = "plain training"


def evaluated_model(run: Run, name: str) -> EvaluatedModel:
    """A trained model of a run: student, student_last, teacher or baseline_<name>.

    Raises ValueError for another name, or a model that is not trained yet.
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
    variables, checkpoint = _chosen(run, name, network)
    kind, label = _kind_and_label(run, name)
    return EvaluatedModel(
        predict=predict(network), variables=variables, num_classes=run.config.data.num_classes, name=name,
        hash=content_hash(variables), kind=kind, label=label, source=str(run.workdir),
        architecture=architecture.name, checkpoint=checkpoint, network=in_float32(network),
        **count(network, architecture.image_shape)._asdict(),
    )  # fmt: skip


def _kind_and_label(run: Run, name: str) -> tuple[str, str]:
    """What a model is, of `rnas.artifacts.evaluation.KINDS`, and what people read."""
    own = run.search.student_label
    if not name.startswith(BASELINE):
        return name, own if name == "student" else f"{own}, last epoch"
    name = name.removeprefix(BASELINE)
    baseline = parse(name)
    cells = baseline.architecture
    if cells in run.search.published:
        network = f"{run.search.published[cells]} network"
    elif cells and (draw := RANDOM.fullmatch(cells)):
        network = f"Random network {draw[1]}"
    else:
        network = f"{cells.capitalize()} network" if cells else "Baseline"
    label = ", ".join(filter(None, (network, PLAIN if name == "plain" else baseline.label)))
    if name in ("no_distillation", "plain"):
        return name, label
    if cells:
        return "published" if cells in run.search.published else "random", label
    # A method alone is compared with the student as a whole, an ablation shares parts with it.
    return "method" if baseline.terms == "no_distillation" and not baseline.tutors else "ablation", label


def _chosen(run: Run, name: str, network: nn.Module) -> tuple[Any, Checkpoint]:
    """The variables of a model, and which they are: of the student those of fine-tuning if they score higher."""

    def restored(stage: str, which: str = "best") -> tuple[State, Checkpoint]:
        found = trained(run, recipe(run.config, stage), network, which)
        choice = "best" if which == "best" and found.score is not None else "last"
        # As many as `run.validation` has, which would have to be loaded: a model can be used where its images are not.
        images = min(run.config.validation.count, run.config.data.held_out) if found.score is not None else 0
        return found.state, Checkpoint(stage, found.step, choice, found.score, images)

    if name != "student":
        state, checkpoint = restored("train", "latest") if name == "student_last" else restored(name)
        return state.outcome, checkpoint
    plain, checkpoint = restored("train")
    if run.config.finetune.epochs:
        tuned, other = restored("finetune")
        score = run.validate(predict(network))
        if score is None or score(tuned)["score"] >= score(plain)["score"]:
            return tuned.outcome, other
    return plain.outcome, checkpoint
