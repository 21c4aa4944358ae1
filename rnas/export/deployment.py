"""What an int8 file keeps of the network that it was made of: size, accuracy, and accuracy under attack."""

from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from rnas.artifacts.attack import AttackSummary
from rnas.artifacts.quantized_model import FOLDER, DeployedFile, QuantizedModel
from rnas.artifacts.run_record import versions
from rnas.evaluation import Settings, assess_dataset
from rnas.evaluation.onnx_file import OnnxFile
from rnas.export.formats import onnx_file
from rnas.export.quantization import calibration_images
from rnas.runs.loaded_model import Model
from rnas.runs.stages.evaluate_models import auto_attack, auto_attack_count


def judge_int8(model: Model, path: Path, report: Callable[[Path], Any] = lambda folder: None) -> QuantizedModel:
    """Judges an int8 file and the float file of the same model on test images, and writes the outcome into the run.

    Radius, images and batch size are those of AutoAttack in the run's evaluation. The images that it made for the float
    network are tried on both files; Square attacks each by its own answers. If the run has not attacked this model by
    AutoAttack, that is done first. All of it is kept, and continued where it was stopped.

    Args:
      path: the int8 file of a model of a run.
      report: called with the folder of each finished attack on a file; may draw a page of it.

    Raises ValueError as `rnas.evaluation.assess_dataset`.
    """
    run = model.run
    assert run is not None, "it was calibrated on the images of its run"
    folders: list[Path] = []
    white_box = auto_attack(run, model.evaluated, folders.append)
    settings = Settings(attack="square", batch_size=run.config.evaluation.batch_size, transfer=tuple(map(str, folders)))

    def judged(content: bytes, kind: str) -> tuple[DeployedFile, AttackSummary]:
        found = OnnxFile(content, f"the {kind} file").evaluated(
            name=f"{model.card.name}_{kind}", label=f"{model.card.label}, {kind} ONNX", source=str(path)
        )
        summary = assess_dataset(
            found, run.dataset, white_box.threat, settings, run.workdir, count=auto_attack_count(run), report=report,
            output=run.workdir / FOLDER / f"{found.name}_{found.hash[:12]}",
        )  # fmt: skip
        (transfer,) = summary.transfer
        return DeployedFile(len(content), found.hash, summary.clean, transfer.score, summary.robust), summary

    (float32, _), (int8, summary) = (
        judged(onnx_file(model, figures=False), "float32"),
        judged(path.read_bytes(), "int8"),
    )
    calibration = calibration_images(model)
    found = QuantizedModel(
        model=model.card.name, label=model.card.label, hash=model.card.hash, file=str(path),
        calibration_split=calibration.split, calibration_count=len(calibration.pixels),
        images=summary.dataset, threat=white_box.threat, white_box=white_box.robust, float32=float32, int8=int8,
        versions=versions() | {name: metadata.version(name) for name in ("onnx", "onnxruntime")},
    )  # fmt: skip
    found.write(run.workdir / FOLDER / f"{model.card.name}.json")
    return found


def as_text(found: QuantizedModel) -> str:
    """The outcome for a terminal."""
    files = found.float32, found.int8
    rows = {
        "": ["float32", "int8"],
        "size on disk": [f"{file.bytes:,}" for file in files],
        "clean": [f"{file.clean.accuracy:.2%}" for file in files],
        "images of AutoAttack": [f"{file.transfer.accuracy:.2%}" for file in files],
        "Square": [f"{file.square.accuracy:.2%}" for file in files],
    }
    head = (
        f"{found.label} on {found.int8.clean.count} images, {found.threat.norm} {found.threat.epsilon_text}; "
        f"calibrated on {found.calibration_count} images ({found.calibration_split}); the float network keeps "
        f"{found.white_box.accuracy:.2%} under AutoAttack"
    )
    return "\n".join([head, *(f"  {name:22}{left:>12}{right:>12}" for name, (left, right) in rows.items())])
