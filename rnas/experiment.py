"""A run: stages over one work directory, each resumable, each skipped once complete.

teacher → search → derive → train (→ finetune) → twins → evaluate → report. Every stage reads what the ones
before it left in the directory, so a run that was stopped goes on where it stood, and the test set is read by
`evaluate` alone.
"""

from pathlib import Path

from ml_collections import ConfigDict

from rnas.configuration import record_config
from rnas.memory import forget_programs
from rnas.record import RunRecord
from rnas.systems.dsara import Dsara
from rnas.systems.rnas_cl import RnasCl
from rnas.systems.system import System, say

STAGES = ("teacher", "search", "derive", "train", "finetune", "twins", "evaluate", "report")
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
    experiment = open_experiment(config, workdir)
    wanted = STAGES[: STAGES.index(until) + 1]
    record = RunRecord(workdir, command)
    complete = all(record.is_complete(stage) for stage in wanted)
    if not complete:
        # Before anything is written: a mistake found here leaves no work directory that insists on it.
        experiment.check_surroundings()
    record_config(workdir, config)
    if complete:
        say(f"{workdir}: the run is complete up to {until!r}; nothing to do. Report: {Path(workdir) / 'report.html'}")
        return
    for stage in wanted:
        if not record.is_complete(stage):
            with record.stage(stage):
                getattr(experiment, stage)()
            forget_programs()
    experiment.summarise()
