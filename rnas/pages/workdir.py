"""What a run left in its work directory, read once and checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rnas.artifacts import attack, corruptions, evaluation, latency, metrics, quantized_model, run_record
from rnas.artifacts.architecture import Architecture, CellArchitecture, NASBench201Architecture, load_architecture
from rnas.artifacts.attack import AttackSummary, FoolingImages, read_examples
from rnas.artifacts.corruptions import CorruptionSummary
from rnas.artifacts.evaluation import Evaluation, ExampleImages
from rnas.artifacts.files import read_object
from rnas.artifacts.latency import Latency
from rnas.artifacts.metrics import MetricsRow
from rnas.artifacts.outcomes import FOLDER, Outcomes
from rnas.artifacts.quantized_model import QuantizedModel
from rnas.artifacts.run_record import RunRecord
from rnas.artifacts.search_history import SearchHistory, read_history

STAGES = ("teacher", "search", "derive", "train", "finetune", "baselines", "evaluate")
_FILES = ("config.json", run_record.FILE, metrics.FILE, "architecture.json", evaluation.FILE)

_SETTINGS: Mapping[str, tuple[str, ...]] = {  # those that pages read, by kind
    "a number": (
        "data.held_out", "data.num_classes", "finetune.epochs", "search.epochs", "search.stage1_epochs", "seed",
    ),
    "a text": ("data.name", "genotype", "search.method", "space", "system"),
    "a list of texts": ("baselines", "comparisons"),
}  # fmt: skip

Metrics = Mapping[tuple[str, str], list[MetricsRow]]


@dataclass(frozen=True)
class AttackFolder:
    """A finished evaluation of the attack suite.

    Attributes:
        name: of the folder.
        examples: column -> array [N]; empty where the file is missing.
        images: None where the file is missing.
    """

    name: str
    summary: AttackSummary
    examples: Mapping[str, np.ndarray]
    images: FoolingImages | None


@dataclass(frozen=True)
class Workdir:
    """The files of a run. What the run has not made yet is None or empty.

    Attributes:
        config: the object of config.json.
        size: params and macs of the network, as architecture.json states them.
        others: name -> networks for comparison that have cells of their own; as a model each is `baseline_<name>`.
        evaluation: as it was written.
        outcomes: model -> which test images it classifies correctly, where that was kept.
        metrics: (stage, split) -> its rows in order of step, each step once.
        attacks: of the attack suite: the student's first, smaller radii before larger ones.
        unfinished: folders of the attack suite and of corruptions that are not finished.
        corruptions: folder -> accuracy under common corruptions, in the order of the models.
        history: what the search held to be likely, epoch by epoch.
        quantized: int8 files of its models.
        latency: of its networks, where that was measured.
    """

    config: Mapping[str, Any]
    run: RunRecord | None
    architecture: Architecture | None
    size: Mapping[str, int]
    others: Mapping[str, Architecture]
    evaluation: Evaluation | None
    outcomes: Mapping[str, Outcomes]
    images: ExampleImages | None
    metrics: Metrics
    attacks: tuple[AttackFolder, ...]
    unfinished: tuple[str, ...]
    corruptions: Mapping[str, CorruptionSummary]
    history: SearchHistory | None
    quantized: tuple[QuantizedModel, ...] = ()
    latency: Latency | None = None

    @property
    def origin(self) -> Mapping[str, str] | None:
        """Where the cells come from, `{"method": …}` or `{"published": …}`; None for a run that is not about cells."""
        if isinstance(self.architecture, CellArchitecture | NASBench201Architecture) and self.architecture.origin:
            return self.architecture.origin
        if self.setting("system") != "dsara":
            return None
        if genotype := self.setting("genotype"):
            return {"published": genotype}
        return {"method": str(self.setting("search.method") or "")}

    @property
    def noun(self) -> str:
        """What the network of the run is called in a sentence: a student where the search was for one."""
        return "student" if self.origin is None else "network"

    @property
    def second_stage(self) -> float | None:
        """The epoch at which a search in two stages begins its second one; None for any other."""
        first, epochs = self.setting("search.stage1_epochs"), self.setting("search.epochs")
        if self.setting("search.method") != "dsara" or not first or (epochs is not None and first >= epochs):
            return None
        return float(first)

    def label(self, model: str) -> str:
        """What people read for a model: its label in evaluation.json; before the evaluation its name."""
        models = self.evaluation.models if self.evaluation else {}
        return models[model].label if model in models else model

    def setting(self, name: str) -> Any:
        """A configuration value by its dotted name; None if there is none."""
        value: Any = self.config
        for part in name.split("."):
            if not isinstance(value, Mapping) or part not in value:
                return None
            value = value[part]
        return value

    def status(self, stage: str) -> str:
        """`not requested`; else `complete`, `unfinished` or `not run`: from run.json, else from the files."""
        cells, tuned = self.origin is not None, self.setting("finetune.epochs")
        distils = any(self.setting(f"{part}.{key}") for part in ("search", "train") for key in ("gamma", "kl_weight"))
        needless = {
            "teacher": cells and not distils,
            "search": cells and "published" in self.origin,
            "finetune": tuned == 0 or (cells and tuned is None),
            "baselines": self.setting("baselines") == [],
        }
        if needless.get(stage):
            return "not requested"
        if self.run and stage in self.run.stages:
            return "complete" if self.run.is_complete(stage) else "unfinished"  # a killed run is still `running`
        results = {"search": self.architecture, "derive": self.architecture, "evaluate": self.evaluation}
        if results.get(stage):
            return "complete"
        trains = "baseline_" if stage == "baselines" else stage
        return "unfinished" if any(name.startswith(trains) for name, _ in self.metrics) else "not run"

    @property
    def learning_stages(self) -> list[str]:
        """The stages that recorded metrics, in the order a run goes through them."""
        recorded = dict.fromkeys(stage for stage, split in self.metrics if split != "architecture")
        return sorted(recorded, key=lambda stage: STAGES.index(stage) if stage in STAGES else len(STAGES))


def read_workdir(workdir: str | Path) -> Workdir:
    """Reads what exists of a run; raises ValueError where there is none, or one that names the file that is broken."""
    workdir = Path(workdir)
    if not workdir.is_dir():
        raise ValueError(f"{workdir} is not a directory; give the work directory of a run")
    if not any((workdir / name).exists() for name in _FILES):
        raise ValueError(f"{workdir} holds no run: none of {', '.join(_FILES)} is in it; give a run's work directory")
    others = sorted(workdir.glob("architectures/*.json"), key=lambda path: numbered(path.stem))
    attacks = [(folder.name, read_attack(folder)) for folder in sorted(workdir.glob("attacks/*")) if folder.is_dir()]
    finished = [folder for _, folder in attacks if folder]
    measured = _if_there(Evaluation.read, workdir / evaluation.FILE)
    order = {name: place for place, name in enumerate(measured.models)} if measured else {}

    def place(folder: AttackFolder) -> tuple:
        summary, model = folder.summary, folder.summary.model.name
        return order.get(model, len(order)), model, summary.threat.norm, summary.threat.epsilon

    folders = [folder for folder in sorted(workdir.glob(f"{corruptions.FOLDER}/*")) if folder.is_dir()]
    corrupted = {folder.name: _if_there(CorruptionSummary.read, folder / corruptions.FILE) for folder in folders}
    known = [name for name, summary in corrupted.items() if summary]
    known.sort(key=lambda name: order.get(corrupted[name].model.name, len(order)))

    return Workdir(
        config=_if_there(_config, workdir / "config.json", {}),
        run=_if_there(RunRecord.read, workdir / run_record.FILE),
        architecture=_if_there(load_architecture, workdir / "architecture.json"),
        size=_if_there(_size, workdir / "architecture.json", {}),
        others={path.stem: load_architecture(path) for path in others},
        evaluation=measured,
        outcomes={name: Outcomes.read(path) for name in order if (path := workdir / FOLDER / f"{name}.npz").exists()},
        images=_if_there(ExampleImages.read, workdir / evaluation.IMAGES),
        metrics=_read_metrics(workdir),
        attacks=tuple(sorted(finished, key=place)),
        unfinished=(
            *(name for name, folder in attacks if folder is None),
            *(f"{corruptions.FOLDER}/{name}" for name, summary in corrupted.items() if summary is None),
        ),
        corruptions={name: corrupted[name] for name in known},
        history=read_history(workdir),
        latency=_if_there(Latency.read, workdir / latency.FILE),
        quantized=tuple(QuantizedModel.read(path) for path in sorted(workdir.glob(f"{quantized_model.FOLDER}/*.json"))),
    )


def read_attack(folder: Path) -> AttackFolder | None:
    """The evaluation of one folder; None while it is unfinished. Raises ValueError as `read_workdir`."""
    summary = _if_there(AttackSummary.read, folder / attack.FILE)
    if summary is None:
        return None
    examples = read_examples(folder) if (folder / attack.EXAMPLES).exists() else {}
    images = FoolingImages.read(folder / attack.IMAGES) if (folder / attack.IMAGES).exists() else None
    if images is not None and examples and len(images.row):
        first, last, count = images.row.min(), images.row.max(), len(examples["label"])
        if not 0 <= first <= last < count:
            rows = f"rows {first} to {last}, but {attack.EXAMPLES} holds {count} examples"
            raise ValueError(f"{folder / attack.IMAGES}: {rows}.")
    return AttackFolder(folder.name, summary, examples, images)


def _config(path: Path) -> dict[str, Any]:
    """The configuration, of any version, with settings of their kinds."""
    content = read_object(path)
    fits: Mapping[str, Callable[[Any], bool]] = {
        "a number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
        "a text": lambda value: isinstance(value, str),
        "a list of texts": lambda value: isinstance(value, list) and all(isinstance(each, str) for each in value),
    }
    for kind, keys in _SETTINGS.items():
        for key in keys:
            section, _, name = key.rpartition(".")
            found = content.get(section) if section else content
            value = found.get(name) if isinstance(found, Mapping) else None
            if value is not None and not fits[kind](value):
                raise ValueError(f"{path}: {key} is {value!r:.60}, expected {kind}; it may have been edited.")
    return content


def _size(path: Path) -> dict[str, int]:
    """Parameters and multiply-accumulates, as far as an architecture.json states them."""
    stated = read_object(path)
    found: dict[str, int] = {key: stated[key] for key in ("params", "macs") if key in stated}
    if wrong := [key for key, value in found.items() if type(value) is not int or value < 0]:
        raise ValueError(f"{path} {wrong[0]}: expected a count, got {found[wrong[0]]!r:.60}. Restore the file.")
    return found


def _if_there(read: Callable[[Path], Any], path: Path, otherwise: Any = None) -> Any:
    return read(path) if path.exists() else otherwise


def numbered(name: str) -> tuple[str, int]:
    """A key to sort names by that end in a number: `random_2` before `random_10`."""
    words, _, number = name.rpartition("_")
    return (words, int(number)) if number.isdecimal() else (name, 0)


def _read_metrics(workdir: Path) -> Metrics:
    rows: dict[tuple[str, str], dict[int, MetricsRow]] = {}
    for row in metrics.read_rows(workdir):
        # A resumed run writes the steps since its checkpoint again: the later row is the one that counted.
        rows.setdefault((row.stage, row.split), {})[row.step] = row
    return {key: [steps[step] for step in sorted(steps)] for key, steps in rows.items()}
