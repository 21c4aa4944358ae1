"""What a configuration would build, and what a work directory holds, without running anything."""

import dataclasses
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from rnas.artifacts.architecture import load_architecture
from rnas.artifacts.run_record import FILE, RunRecord
from rnas.layers.counting import count
from rnas.models import build_model
from rnas.runs.recipes import uses_teacher
from rnas.runs.stages import NAMES, open_run
from rnas.teachers import describe_taps
from rnas.teachers.teacher import CARD, read_card, teacher_directory


def describe(config: ConfigDict, workdir: Path, architecture: str | None = None) -> dict[str, Any]:
    """Parameters, MACs (one image) and taps of supernet, teacher and derived network, as far as each exists.

    The last two are those of `workdir`; `architecture` names another `architecture.json`.
    """
    run = open_run(config, workdir)
    image_shape = tuple(config.data.image_shape)
    result = {
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
        content = read_card(card)
        teacher = {key: content[key] for key in ("architecture", "num_classes", "mean", "std", "hash")}
    elif uses_teacher(run.config):
        data = {"num_classes": config.data.num_classes, "mean": list(config.data.mean), "std": list(config.data.std)}
        teacher = {"architecture": config.teacher.architecture, **data}
    else:
        return {**result, "taps": taps}
    fields = {key: teacher[key] for key in ("num_classes", "mean", "std")}
    model = build_model(teacher["architecture"], **fields)
    taps["teacher"] = [tap._asdict() for tap in describe_taps(model, image_shape)]
    result["teacher"] = {**teacher, **count(model, image_shape)._asdict()}
    return {**result, "taps": taps}


def status(workdir: Path) -> dict[str, Any]:
    """State and seconds of every stage; ValueError where no run has begun, or one of an earlier version has."""
    if not (workdir / FILE).exists():
        raise ValueError(f"{workdir} holds no run: expected {FILE!r} there. Start one with rnas run.")
    record = RunRecord.read(workdir / FILE)
    done = {stage: dataclasses.asdict(entry) for stage, entry in record.stages.items()}
    stages = {stage: done.get(stage, {"status": "waiting"}) for stage in NAMES}
    return {"workdir": str(workdir), "command": record.command, "stages": stages}
