"""What a run left in its work directory, read once and checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
import json
from pathlib import Path
from typing import Any

import numpy as np

from rnas.pages.cells import Edge, read_cells
from rnas.pages.choices import Choices, read_choices
from rnas.pages.naming import model_label, model_order

STAGES = ("teacher", "search", "derive", "train", "finetune", "baselines", "evaluate")
_LEARNING = ("teacher", "search", "train", "finetune", "baseline_no_distillation", "baseline_plain")
_FILES = ("config.json", "run.json", "metrics.jsonl", "architecture.json", "evaluation.json")
_ADVERSARIAL = ("images", "adversarial", "labels", "clean_predictions", "adversarial_predictions")


@dataclass(frozen=True)
class Record:
    """The files of a work directory.

    Attributes:
        config, run, architecture, evaluation: the JSON objects; empty where the file does not exist yet.
        metrics: (stage, split) -> its rows in order of step, each step once.
        adversarial: the arrays of `adversarial.npz`; empty where it does not exist yet.
        cells: type -> edges, of the architecture; empty where it is not made of cells.
        other_cells: name -> cells, of networks trained for comparison; as a model each is `baseline_<name>`.
        choices: type -> what the search for cells thought of every operation.
    """

    config: Mapping[str, Any]
    run: Mapping[str, Any]
    architecture: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    metrics: Mapping[tuple[str, str], list[dict[str, Any]]]
    adversarial: Mapping[str, np.ndarray]
    cells: Mapping[str, tuple[Edge, ...]]
    other_cells: Mapping[str, Mapping[str, tuple[Edge, ...]]]
    choices: Mapping[str, Choices]

    @property
    def origin(self) -> Mapping[str, str] | None:
        """Where the cells come from, `{"method": …}` or `{"published": …}`; None for a run that is not about cells."""
        if not self.cells and self.setting("system") != "dsara":
            return None
        if self.architecture.get("origin"):
            return self.architecture["origin"]
        if genotype := self.setting("genotype"):
            return {"published": genotype}
        return {"method": str(self.setting("search.method") or "")}

    @property
    def noun(self) -> str:
        """What the network of the run is called in a sentence: a student where its search was for one."""
        return "student" if self.origin is None else "network"

    def label(self, model: str) -> str:
        """What a model is called in tables and legends."""
        return model_label(model, self.origin)

    @property
    def second_stage(self) -> float | None:
        """The epoch at which a search in two stages takes up the second one; None for any other."""
        first, epochs = self.setting("search.stage1_epochs"), self.setting("search.epochs")
        if self.setting("search.method") != "dsara" or not first or (epochs is not None and first >= epochs):
            return None
        return float(first)

    def setting(self, name: str) -> Any:
        """A configuration value by its dotted name, from a nested or a flat config; None if it has none."""
        if name in self.config:
            return self.config[name]
        value: Any = self.config
        for part in name.split("."):
            if not isinstance(value, Mapping) or part not in value:
                return None
            value = value[part]
        return value

    def status(self, stage: str) -> str:
        """`complete`, `not asked for`, `unfinished` or `not run`: as run.json says, else by what there is."""
        stated = self.run.get("stages", {}).get(stage, {}).get("status")
        if stated is not None:
            return "complete" if stated == "complete" else "unfinished"  # a killed run still says `running`
        if self._unasked(stage):
            return "not asked for"
        results = {"search": self.architecture, "derive": self.architecture, "evaluate": self.evaluation}
        if results.get(stage):
            return "complete"
        trains = "baseline_" if stage == "baselines" else stage
        return "unfinished" if any(name.startswith(trains) for name, _ in self.metrics) else "not run"

    def _unasked(self, stage: str) -> bool:
        cells, tuned = self.origin is not None, self.setting("finetune.epochs")
        stages = ("search", "train")
        distils = any(self.setting(f"{part}.{weight}") for part in stages for weight in ("gamma", "kl_weight"))
        return {
            "teacher": cells and not distils,
            "search": cells and "published" in self.origin,
            "finetune": tuned == 0 or (cells and tuned is None),
            "baselines": self.setting("baselines") == [],
        }.get(stage, False)

    def learning_stages(self) -> list[str]:
        """The stages that recorded metrics, in the order a run goes through them."""
        recorded = dict.fromkeys(stage for stage, _ in self.metrics)
        known = [stage for stage in _LEARNING if stage in recorded]
        return known + [stage for stage in recorded if stage not in _LEARNING]


def read_record(workdir: str | Path) -> Record:
    """Reads what exists of a run.

    Raises:
        ValueError: `workdir` is no directory or holds no run; a file is not what it should be (the message
            names the file, and the line where there is one).
    """
    workdir = Path(workdir)
    if not workdir.is_dir():
        raise ValueError(f"{workdir} is not a directory; give the work directory of a run")
    if not any((workdir / name).exists() for name in _FILES):
        raise ValueError(f"{workdir} holds no run: none of {', '.join(_FILES)} is in it; give a run's work directory")
    architecture = _read_architecture(workdir / "architecture.json")
    metrics = _read_metrics(workdir / "metrics.jsonl")
    paths = sorted(workdir.glob("architectures/*.json"), key=lambda path: model_order(f"baseline_{path.stem}"))
    others = {path.stem: _named(path, read_cells, read_object(path)) for path in paths}
    return Record(
        config=read_object(workdir / "config.json"),
        run=read_object(workdir / "run.json"),
        architecture=architecture,
        evaluation=read_object(workdir / "evaluation.json"),
        metrics=metrics,
        adversarial=_read_adversarial(workdir / "adversarial.npz"),
        cells=_named(workdir / "architecture.json", read_cells, architecture),
        other_cells={name: cells for name, cells in others.items() if cells},
        choices=_named(workdir / "metrics.jsonl", read_choices, metrics.get(("search", "architecture"), [])),
    )


def _named(path: Path, read: Callable[[Any], Any], content: Any) -> Any:
    """What `read` makes of the content of a file, with the file's name in any complaint."""
    try:
        return read(content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def _parse_object(text: str, place: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{place} is not valid JSON ({error}); restore it or run its stage again") from error
    if not isinstance(content, dict):
        raise ValueError(f"{place} holds a JSON {type(content).__name__}, expected an object")
    return content


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object of a file; empty where the file does not exist.

    Raises:
        ValueError: it holds none; the message names it.
    """
    return _parse_object(_read_text(path), str(path)) if path.exists() else {}


def _read_architecture(path: Path) -> dict[str, Any]:
    architecture = read_object(path)
    origin = architecture.get("origin")
    if origin is not None and (not isinstance(origin, dict) or not origin.keys() & {"method", "published"}):
        raise ValueError(f'{path}: origin is {origin!r}, expected {{"method": …}} or {{"published": …}}')
    if not architecture.get("tutors"):  # a search without a teacher chooses none
        return architecture
    student, teacher = (architecture.get(key, []) for key in ("student_taps", "teacher_taps"))
    strangers = sorted(set(architecture["tutors"]) - set(teacher))
    if strangers or len(architecture["tutors"]) != len(student):
        raise ValueError(
            f"{path}: expected one tutor among teacher_taps for each of the {len(student)} student_taps, "
            f"got {len(architecture['tutors'])} tutors" + (f", unknown: {', '.join(strangers)}" if strangers else "")
        )
    probabilities = architecture.get("tutor_probabilities")
    if probabilities:
        lengths = {len(row) for row in probabilities}
        if len(probabilities) != len(student) or lengths - {len(teacher)}:
            raise ValueError(
                f"{path}: tutor_probabilities has {len(probabilities)} rows of length {sorted(lengths)}, "
                f"expected {len(student)} rows of length {len(teacher)}"
            )
    return architecture


def _read_metrics(path: Path) -> dict[tuple[str, str], list[dict[str, Any]]]:
    if not path.exists():
        return {}
    lines = _read_text(path).split("\n")
    # What follows the last newline is a line still being written, and never a row.
    rows: dict[tuple[str, str], dict[int, dict[str, Any]]] = {}
    for number, line in enumerate(lines[:-1], 1):
        if not line.strip():
            continue
        place = f"{path}, line {number},"
        row = _parse_object(line, place)
        absent = [key for key in ("stage", "split", "step") if key not in row]
        if absent:
            raise ValueError(f"{place} lacks {', '.join(absent)}")
        # A resumed run writes the steps since its checkpoint again: the later row is the one that counted.
        rows.setdefault((row["stage"], row["split"]), {})[row["step"]] = row
    return {key: [steps[step] for step in sorted(steps)] for key, steps in rows.items()}


def read_arrays(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The named arrays of an npz file; empty where the file does not exist.

    Raises:
        ValueError: it cannot be read or lacks one of them; the message names it.
    """
    if not path.exists():
        return {}
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in names}
    except Exception as error:  # zipfile, OS, header and missing-array errors share no base class
        raise ValueError(f"{path} cannot be read ({error}); expected arrays {', '.join(names)}") from error


def _read_adversarial(path: Path) -> dict[str, np.ndarray]:
    arrays = read_arrays(path, _ADVERSARIAL)
    if not arrays:
        return arrays
    images = arrays["images"]
    if images.ndim != 4 or arrays["adversarial"].shape != images.shape:
        raise ValueError(
            f"{path}: images {images.shape} and adversarial {arrays['adversarial'].shape}, "
            "expected both [n, height, width, channels]"
        )
    if any(arrays[name].shape != images.shape[:1] for name in _ADVERSARIAL[2:]):
        raise ValueError(f"{path}: expected one label and two predictions for each of the {len(images)} images")
    return arrays
