"""A run: stages over one work directory, each resumable, each skipped once complete.

teacher → search → derive → train → finetune → baselines → evaluate → report. Every stage reads what the ones before it
left in the directory, so a run that was stopped goes on where it stood.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
import shlex
import sys

import jax
from ml_collections import ConfigDict

from rnas.artifacts.evaluation import FILE as EVALUATION
from rnas.artifacts.evaluation import Evaluation
from rnas.artifacts.folder_lock import locked
from rnas.artifacts.run_record import RunRecord, StageRecorder
from rnas.config import check, record_config
from rnas.runs.checks import check_cacheable, check_config, check_surroundings
from rnas.runs.headline import headline
from rnas.runs.run import Run
from rnas.runs.searches import make_search
from rnas.runs.stages.derive_architecture import derive_architecture
from rnas.runs.stages.evaluate_models import evaluate_models
from rnas.runs.stages.search_architecture import search_architecture
from rnas.runs.stages.train_student import finetune_student, train_baselines, train_student
from rnas.runs.stages.train_teacher import train_teacher
from rnas.runs.teacher_sources import finished_cache
from rnas.steps import forget_programs
from rnas.steps.meeting import meet
from rnas.training.hosts import agreed, check_shared, on_first
from rnas.training.messages import program, say, terminal_width

STAGES: Mapping[str, Callable[[Run], None]] = {
    "teacher": train_teacher,
    "search": search_architecture,
    "derive": derive_architecture,
    "train": train_student,
    "finetune": finetune_student,
    "baselines": train_baselines,
    "evaluate": evaluate_models,
}
REPORT = "report"  # the last stage; who draws is handed to `execute`
NAMES = (*STAGES, REPORT)


def open_run(config: ConfigDict, workdir: str | Path) -> Run:
    """The run of a configuration over a work directory; nothing is read or written.

    Raises ValueError where the configuration cannot work; it names the key, its value and what it may be.
    """
    check(config)
    run = Run(config, Path(workdir), make_search(config))
    check_config(run)
    return run


def execute(
    config: ConfigDict,
    workdir: str | Path,
    *,
    command: str,
    until: str = REPORT,
    report: Callable[[Path], object] = lambda workdir: None,
    announce: Callable[[Run, Sequence[str], RunRecord], object] = lambda run, wanted, record: None,
) -> None:
    """Runs the stages up to `until`, skipping those that are complete.

    Args:
      command: what started the run, for `run.json`.
      report: draws the page of a work directory.
      announce: is told what lies ahead: the run, the stages up to `until`, and the record of what was done before.

    Raises ValueError where the configuration cannot work, is not the directory's, or another process works there.
    """
    _execute(open_run(config, workdir), command, until, report, announce)


def make_teacher_cache(config: ConfigDict, workdir: str | Path, *, command: str) -> None:
    """Makes what is missing of the teacher cache, after the teacher where that is missing too.

    Raises ValueError as `execute`; also where the configuration wants no cache, or its folder holds another one.
    """
    run = open_run(config, workdir)
    check_cacheable(config)  # before a teacher is trained for it
    _execute(run, command, "teacher")
    finished_cache(run)


def _execute(
    run: Run,
    command: str,
    until: str,
    report: Callable[[Path], object] = lambda workdir: None,
    announce: Callable[[Run, Sequence[str], RunRecord], object] = lambda run, wanted, record: None,
) -> None:
    wanted, page = NAMES[: NAMES.index(until) + 1], run.workdir / "report.html"
    recorder = StageRecorder(run.workdir, command)
    if agreed(all(recorder.record.is_complete(stage) for stage in wanted)):
        record_config(run.workdir, run.config)
        written = f" Report: {page}" if page.exists() else ""
        say(f"{run.workdir}: the run is complete up to {until!r}; nothing to do.{written}")
        return
    # Before anything is written: a mistake found here leaves no work directory that insists on it.
    check_surroundings(run)
    with on_first(lambda: locked(run.workdir, ", or use another --workdir")):
        record_config(run.workdir, run.config)
        check_shared(run.workdir)
        recorder = StageRecorder(run.workdir, command)  # another process may have gone on meanwhile
        announce(run, wanted, recorder.record)
        for stage in wanted:
            if not agreed(recorder.record.is_complete(stage)):
                with recorder.stage(stage):
                    if stage != REPORT:
                        STAGES[stage](run)
                    elif jax.process_index() == 0:
                        report(run.workdir)
                meet(stage)  # what one process has written, others may read from here on
                forget_programs()
    if (run.workdir / EVALUATION).exists():
        say(headline(Evaluation.read(run.workdir / EVALUATION), terminal_width(sys.stderr)))
        if page.exists():
            say(f"report: {page}")
            if "student" not in run.config.evaluation.auto_attack:
                own = shlex.join([f"--workdir={run.workdir}", f"--epsilon={run.config.evaluation.epsilons[0]}"])
                say(f"AutoAttack, with sanity checks:\n  {program()} attack {own}")
