"""A run: stages over one work directory, each resumable, each skipped once complete.

teacher → search → derive → train (→ finetune) → baselines → evaluate → report. Every stage reads what the ones
before it left in the directory, so a run that was stopped goes on where it stood, and the test set is read by
`evaluate` alone.
"""

from pathlib import Path

from ml_collections import ConfigDict

from rnas.artifacts.run_record import RunRecord
from rnas.config.load import record_config
from rnas.runs.dsara import Dsara
from rnas.runs.rnas_cl import RnasCl
from rnas.runs.system import System, say
from rnas.training.programs import forget_programs

STAGES = ("teacher", "search", "derive", "train", "finetune", "baselines", "evaluate", "report")
SYSTEMS = {"rnas_cl": RnasCl, "dsara": Dsara}


def open_experiment(config: ConfigDict, workdir: str | Path) -> System:
    """The system that a configuration asks for, over a work directory.

    Raises:
      ValueError: for a configuration that cannot work.
    """
    if config.system not in SYSTEMS:
        raise ValueError(f"unknown system {config.system!r}; known: {', '.join(SYSTEMS)}.")
    return SYSTEMS[config.system](config, Path(workdir))


def run(config: ConfigDict, workdir: str | Path, *, command: str, until: str = "report") -> None:
    """Runs the stages up to `until`, skipping what is complete.

    Raises:
      ValueError: for a configuration that cannot work, or one that is not the directory's.
    """
    _run(open_experiment(config, workdir), command, until)


def make_teacher_cache(config: ConfigDict, workdir: str | Path, *, command: str) -> None:
    """Makes what is missing of the teacher cache, after the teacher where that is missing too.

    Raises:
      ValueError: as `run`; where the configuration asks for no cache; or for one that another teacher, or the same one
        of other views, has filled.
    """
    experiment = open_experiment(config, workdir)
    experiment.check_cacheable()  # before a teacher is trained for it
    _run(experiment, command, until="teacher")
    experiment.finished_cache()


def _run(experiment: System, command: str, until: str) -> None:
    config, workdir = experiment.config, experiment.workdir
    wanted = STAGES[: STAGES.index(until) + 1]
    record = RunRecord(workdir, command)
    complete = all(record.is_complete(stage) for stage in wanted)
    if not complete:
        # Before anything is written: a mistake found here leaves no work directory that insists on it.
        experiment.check_surroundings()
    record_config(workdir, config)
    if complete:
        say(f"{workdir}: the run is complete up to {until!r}; nothing to do. Report: {workdir / 'report.html'}")
        return
    for stage in wanted:
        if not record.is_complete(stage):
            with record.stage(stage):
                getattr(experiment, stage)()
            forget_programs()
    experiment.summarise()
