"""Where people watch the metrics of a stage: TensorBoard, Weights & Biases, MLflow, trackio.

`metrics.jsonl` is the record of a run. A tracker shows the same figures, as one run of its own for each stage. A stage
that goes on from a checkpoint goes on in that run, and records a step again with the figures that it had. Trackers take
address and key from variables of their own in the environment. Nothing is sent by default.
"""

from collections.abc import Callable, Sequence
import hashlib
import importlib
from pathlib import Path
from typing import Any, Protocol

from tensorboardX import SummaryWriter

from rnas.artifacts.metrics import EVENTS, MetricsRow

PROJECT = "rnas"  # what runs are kept under


class Tracker(Protocol):
    """Shows the rows of one stage of a run; made with its work directory and the name of the stage."""

    def log(self, row: MetricsRow) -> None:
        """Takes one row; its metrics have the names `scalars` gives them."""

    def rewind(self, step: int) -> None:
        """The stage goes on from `step`: what was shown of later ones comes again."""

    def close(self) -> None:
        """Writes out what is still in memory."""


def scalars(row: MetricsRow) -> dict[str, float]:
    """The finite metrics of a row as `split/metric`."""
    return {f"{row.split}/{name}": value for name, value in row.values.items() if value is not None}


class TensorBoard:
    """Events in `events/<stage>` of the work directory."""

    def __init__(self, workdir: Path, stage: str):
        self._folder = workdir / EVENTS / stage
        self._writer: SummaryWriter | None = None

    def log(self, row: MetricsRow) -> None:
        self._writer = self._writer or self._open()
        for name, value in scalars(row).items():
            self._writer.add_scalar(name, value, row.step, walltime=row.time)

    def rewind(self, step: int) -> None:
        if self._folder.exists():
            self.close()
            # The event files stay; this one makes TensorBoard hide what they hold after the step.
            self._writer = self._open(purge_step=step + 1)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _open(self, purge_step: int | None = None) -> SummaryWriter:
        return SummaryWriter(str(self._folder), purge_step=purge_step, flush_secs=10)


class WeightsAndBiases:
    """A run of Weights & Biases in the group of the work directory; WANDB_MODE=offline keeps it there, in `events`."""

    def __init__(self, workdir: Path, stage: str):
        folder = workdir / EVENTS
        folder.mkdir(parents=True, exist_ok=True)
        self._run = _library("wandb").init(
            project=PROJECT, group=workdir.name, name=f"{workdir.name} {stage}", id=_identity(workdir, stage),
            resume="allow", dir=folder,
        )  # fmt: skip

    def log(self, row: MetricsRow) -> None:
        self._run.log(scalars(row), step=row.step)

    def rewind(self, step: int) -> None:
        pass  # it drops a step that it has

    def close(self) -> None:
        self._run.finish()


class MLflow:
    """A run of MLflow, at MLFLOW_TRACKING_URI."""

    def __init__(self, workdir: Path, stage: str):
        mlflow, identity = _library("mlflow"), _identity(workdir, stage)
        self._metric, self._client = mlflow.entities.Metric, mlflow.MlflowClient()
        known = self._client.get_experiment_by_name(PROJECT)
        experiment = known.experiment_id if known else self._client.create_experiment(PROJECT)
        found = self._client.search_runs([experiment], f"tags.identity = '{identity}'")
        name, tags = f"{workdir.name} {stage}", {"identity": identity}
        run = found[0] if found else self._client.create_run(experiment, run_name=name, tags=tags)
        self._run = run.info.run_id
        self._client.update_run(self._run, status="RUNNING")

    def log(self, row: MetricsRow) -> None:
        milliseconds = round(1000 * row.time)
        metrics = [self._metric(name, value, milliseconds, row.step) for name, value in scalars(row).items()]
        self._client.log_batch(self._run, metrics=metrics)

    def rewind(self, step: int) -> None:
        pass  # a step that comes again lies on itself

    def close(self) -> None:
        self._client.set_terminated(self._run)


class Trackio:
    """A run of trackio, in its folder of this machine (TRACKIO_DIR) or at TRACKIO_SPACE_ID."""

    def __init__(self, workdir: Path, stage: str):
        name = f"{workdir.name} {stage} {_identity(workdir, stage)[:6]}"
        self._run = _library("trackio").init(PROJECT, name, group=workdir.name, resume="allow", embed=False)

    def log(self, row: MetricsRow) -> None:
        self._run.log(scalars(row), step=row.step)

    def rewind(self, step: int) -> None:
        pass  # a step that comes again lies on itself

    def close(self) -> None:
        self._run.finish()


TRACKERS: dict[str, Callable[[Path, str], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "mlflow": MLflow,
    "trackio": Trackio,
}


def check_trackers(names: Sequence[str]) -> None:
    """Raises ValueError for an unknown tracker, or one whose library is not installed."""
    for name in names:
        if name not in TRACKERS:
            raise ValueError(f"unknown tracker {name!r}; expected some of {', '.join(TRACKERS)}.")
        if name != "tensorboard":
            _library(name)


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(f"the tracker {name!r} needs its library: pip install 'rnas[{name}]' ({error}).") from error


def _identity(workdir: Path, stage: str) -> str:
    """The same for every start of a stage in one place."""
    return hashlib.sha256(f"{workdir.resolve()} {stage}".encode()).hexdigest()[:16]
