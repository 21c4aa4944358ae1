"""What a configuration would build, and what its run would cost, without running it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
from ml_collections import ConfigDict

from rnas.artifacts.architecture import load_architecture
from rnas.artifacts.teacher_card import TeacherCard
from rnas.evaluation.evaluated_model import in_float32
from rnas.layers.counting import count
from rnas.models import build_model
from rnas.runs import training_cost
from rnas.runs.recipes import uses_teacher
from rnas.runs.run import Run
from rnas.runs.stages import open_run
from rnas.runs.training_cost import StageCost, speeds, stage_costs
from rnas.teachers import describe_taps
from rnas.teachers.teacher import CARD, teacher_directory


def describe(
    config: ConfigDict,
    workdir: Path,
    architecture: str | None = None,
    measure: Callable[[Run], Mapping[str, float]] = speeds,
) -> dict[str, Any]:
    """Parameters, MACs (one image) and taps of supernet, teacher and derived network, and what a run costs.

    The last two networks are those of `workdir`, as far as they exist; `architecture` names another
    `architecture.json`. `measure` finds how fast this device is, see `rnas.runs.training_cost.speeds`.
    """
    run = open_run(config, workdir)
    image_shape = tuple(config.data.image_shape)
    result: dict[str, Any] = {
        "system": config.system,
        "space": config.space,
        "image_shape": list(image_shape),
        "num_classes": config.data.num_classes,
        **{name: count(net, image_shape, *args)._asdict() for name, (net, args) in run.search.described().items()},
    }
    student, inputs = run.search.described()["supernet"]
    path = Path(architecture) if architecture else workdir / "architecture.json"
    derived = load_architecture(path) if architecture or path.exists() else run.search.given()
    if derived is not None:
        student, inputs = run.search.network(derived), ()
        result["student"] = {**count(student, derived.image_shape)._asdict(), **derived.summary()}
        if derived.tutor_assignment.tutors:
            result["student"]["tutors"] = dict(zip(derived.taps, derived.tutor_assignment.tutors, strict=True))
    taps = {"student": [tap._asdict() for tap in describe_taps(student, image_shape, *inputs)]}
    card = teacher_directory(config.teacher.path or workdir / "teacher") / CARD
    if card.exists():
        content = TeacherCard.read(card)
        teacher = {key: getattr(content, key) for key in ("architecture", "num_classes", "mean", "std", "hash")}
    elif uses_teacher(run.config):
        data = {"num_classes": config.data.num_classes, "mean": list(config.data.mean), "std": list(config.data.std)}
        teacher = {"architecture": config.teacher.architecture, **data}
    else:
        return {**result, "cost": cost(run, measure), "taps": taps}
    fields = {key: teacher[key] for key in ("num_classes", "mean", "std")}
    model = build_model(teacher["architecture"], **fields)
    taps["teacher"] = [tap._asdict() for tap in describe_taps(model, image_shape)]
    result["teacher"] = {**teacher, **count(model, image_shape)._asdict()}
    return {**result, "cost": cost(run, measure), "taps": taps}


def networks_in_use(run: Run, architecture: str | None = None) -> dict[str, nn.Module]:
    """The networks that are used as they are, in float32: the student once it is found, and the teacher.

    Before that, in place of the student, the ends of a space of widths, or random cells. `architecture` names another
    `architecture.json` than the work directory's.
    """
    path = Path(architecture) if architecture else run.workdir / "architecture.json"
    derived = load_architecture(path) if architecture or path.exists() else run.search.given()
    if derived is not None:
        found = {"student": run.search.network(derived)}
    elif (example := run.search.example()) is not None:
        found = {"random": run.search.network(example)}
    else:
        found = {
            "largest" if name == "supernet" else name: network
            for name, (network, inputs) in run.search.described().items()
            if not inputs
        }
    if teacher := training_cost.networks(run).get("teacher"):
        found["teacher"] = teacher[0]
    return {name: in_float32(network) for name, network in found.items()}


def cost(run: Run, measure: Callable[[Run], Mapping[str, float]]) -> dict[str, Any]:
    """What every stage takes at most, and all together; or why that is not known, where the data are missing."""
    try:
        costs = stage_costs(run)
    except ValueError as error:
        return {"unknown": str(error)}
    found = measure(run)
    return {
        "training_images": run.dataset.fingerprint["counts"]["train"],
        "device": f"{jax.device_count()} × {jax.devices()[0].device_kind}",
        **{name: _shown(stage, found) for name, stage in costs.items()},
        "all": _shown(sum(costs.values(), StageCost()), found),
    }


def _shown(cost: StageCost, found: Mapping[str, float]) -> dict[str, Any]:
    return {
        "epochs": cost.epochs,
        "steps": cost.steps,
        "images": cost.images,
        "forward_passes": round(sum(cost.passes.values())),
        "macs": round(sum(cost.macs.values())),
        "seconds": None if (seconds := cost.seconds(found)) is None else round(seconds),
    }
