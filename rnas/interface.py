"""The commands for Python and notebooks: each does what the verb of its name does, and returns what it has left."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
import dataclasses
import os
from pathlib import Path
from typing import Any, TypeAlias

from ml_collections import ConfigDict

from rnas.artifacts.architecture import FILE as ARCHITECTURE
from rnas.artifacts.architecture import Architecture, load_architecture
from rnas.artifacts.evaluation import FILE as EVALUATION
from rnas.artifacts.evaluation import Evaluation
from rnas.artifacts.study_results import FILE as STUDY
from rnas.artifacts.study_results import StudyResults, seed_folder
from rnas.cli import platform
from rnas.cli import run as run_verb
from rnas.cli import study as study_verb
from rnas.cli.arguments import read_config
from rnas.config import load_config
from rnas.pages.summary import run_summary, study_summary
from rnas.runs import run_status, stages
from rnas.runs.headline import headline
from rnas.runs.loaded_model import Model, load
from rnas.runs.study import conclusions, run_study
from rnas.training.interruption import interruptible

__all__ = ["Model", "RunDirectory", "StudyDirectory", "evaluate", "load", "run", "search", "study", "train"]

Config: TypeAlias = str | os.PathLike[str] | ConfigDict | None
NO_CHANGES: Mapping[str, Any] = {}


@dataclasses.dataclass(frozen=True)
class RunDirectory:
    """The work directory of a run, whatever it holds by now; a notebook shows its figures and its network.

    Attributes:
      workdir: where it is.
    """

    workdir: Path

    @property
    def architecture(self) -> Architecture | None:
        """The network that the search derived; None before that."""
        path = self.workdir / ARCHITECTURE
        return load_architecture(path) if path.exists() else None

    @property
    def evaluation(self) -> Evaluation | None:
        """How every model does without attack and under attack; None before that was measured."""
        path = self.workdir / EVALUATION
        return Evaluation.read(path) if path.exists() else None

    @property
    def page(self) -> Path | None:
        """The page of the run; None before there is one."""
        return _if_there(self.workdir / "report.html")

    def model(self, name: str = "student") -> Model:
        """A trained model of it, as `rnas.load`."""
        return load(self.workdir, name)

    def __repr__(self) -> str:
        if not run_status.is_one(self.workdir):
            return f"{self.workdir}: no run has begun"
        text = run_status.as_text(run_status.status(self.workdir))
        return f"{text}\n{headline(self.evaluation)}" if self.evaluation else text

    def _repr_html_(self) -> str:
        return run_summary(self.workdir)


@dataclasses.dataclass(frozen=True)
class StudyDirectory:
    """The work directory of a study; a notebook shows its arms, and the differences between them.

    Attributes:
      workdir: where it is.
    """

    workdir: Path

    @property
    def results(self) -> StudyResults | None:
        """Accuracies of the arms, and the paired statistics; None until all seeds are finished."""
        path = self.workdir / STUDY
        return StudyResults.read(path) if path.exists() else None

    @property
    def page(self) -> Path | None:
        """The page of the study; None before there is one."""
        return _if_there(self.workdir / "study.html")

    @property
    def seeds(self) -> dict[int, RunDirectory]:
        """The runs of its seeds, of a finished study."""
        found = self.results
        return {seed: RunDirectory(self.workdir / seed_folder(seed)) for seed in found.seeds} if found else {}

    def __repr__(self) -> str:
        found = self.results
        return f"{self.workdir}\n{conclusions(found) if found else 'the study is not finished'}"

    def _repr_html_(self) -> str | None:
        return study_summary(self.workdir) if self.results else None


def run(
    config: Config = None, workdir: str | Path | None = None, changes: Mapping[str, Any] = NO_CHANGES
) -> RunDirectory:
    """All stages of a run, up to its page; those that are complete are skipped.

    A run that is interrupted saves its state. The same call goes on with it.

    Args:
      config: the name of a configuration and its variants, `"rnas_cl/digits"`, a file of one, or the configuration
        itself; None for the one that `workdir` was made with.
      workdir: work directory; by default runs/<folder>/<name> of the configuration's name.
      changes: new values by their keys, `{"search.epochs": 2}`.

    Raises ValueError where the configuration cannot work, is not the directory's, or another process works there;
    `rnas.training.interruption.Interrupted` on an interrupt of the kernel.
    """
    return _run("run", config, workdir, changes)


def search(
    config: Config = None, workdir: str | Path | None = None, changes: Mapping[str, Any] = NO_CHANGES
) -> RunDirectory:
    """The stages of a run up to the derived architecture; arguments and errors as of `run`."""
    return _run("search", config, workdir, changes)


def train(
    config: Config = None, workdir: str | Path | None = None, changes: Mapping[str, Any] = NO_CHANGES
) -> RunDirectory:
    """The stages of a run up to the trained student; arguments and errors as of `run`."""
    return _run("train", config, workdir, changes)


def evaluate(
    config: Config = None, workdir: str | Path | None = None, changes: Mapping[str, Any] = NO_CHANGES
) -> RunDirectory:
    """The stages of a run up to the attacks on the test set; arguments and errors as of `run`."""
    return _run("evaluate", config, workdir, changes)


def study(
    config: Config = None, workdir: str | Path | None = None, changes: Mapping[str, Any] = NO_CHANGES
) -> StudyDirectory:
    """All arms of a configuration over several seeds, compared on the same images; arguments and errors as of `run`."""
    platform.prepare()
    found, folder = _read("study", config, workdir, changes, study_verb.STUDY)
    with interruptible():
        run_study(
            found, folder, command=_call("study", folder),
            report=run_verb.draw, report_study=study_verb.draw, announce=study_verb.announce,
        )  # fmt: skip
    return StudyDirectory(folder)


def _run(verb: str, config: Config, workdir: str | Path | None, changes: Mapping[str, Any]) -> RunDirectory:
    platform.prepare()
    found, folder = _read(verb, config, workdir, changes)
    with interruptible():
        stages.execute(
            found, folder, command=_call(verb, folder), until=run_verb.UNTIL[verb],
            report=run_verb.draw, announce=run_verb.announce,
        )  # fmt: skip
    return RunDirectory(folder)


def _read(
    verb: str, config: Config, workdir: str | Path | None, changes: Mapping[str, Any], word: str = ""
) -> tuple[ConfigDict, Path]:
    """The configuration and its directory."""
    overrides = [f"--config.{key}={value}" for key, value in changes.items()]
    if isinstance(config, ConfigDict):
        if workdir is None:
            raise ValueError(f"rnas.{verb}(config, workdir): a configuration made in Python needs a workdir.")
        return load_config(config, overrides), Path(workdir)
    named = None if config is None else os.fspath(config)
    return read_config(Namespace(config=named, workdir=workdir, command=verb), overrides, word=word)


def _call(verb: str, workdir: Path) -> str:
    """What a run records as its beginning: the rest is in its configuration."""
    return f"rnas.{verb}(workdir={str(workdir)!r})"


def _if_there(path: Path) -> Path | None:
    return path if path.exists() else None
