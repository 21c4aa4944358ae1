"""A run: stages over one work directory, each resumable, each skipped once complete.

teacher → search → derive → train → finetune → baselines → evaluate → report. Every stage reads what the ones before it
left in the directory, so a run that was stopped goes on where it stood.
"""

from collections.abc import Callable, Mapping, Sequence
import functools
from pathlib import Path
import shlex
import sys

import jax
from ml_collections import ConfigDict

from rnas.artifacts.architecture import FILE as ARCHITECTURE
from rnas.artifacts.evaluation import FILE as EVALUATION
from rnas.artifacts.evaluation import Evaluation
from rnas.artifacts.folder_lock import locked
from rnas.artifacts.metrics import FILE as METRICS
from rnas.artifacts.run_record import FILE as RECORD
from rnas.artifacts.run_record import RunRecord, StageRecorder
from rnas.config import check, record_config
from rnas.runs import recipes, stage_files
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
from rnas.training.hosts import agreed, check_shared, done_on_first, on_first
from rnas.training.messages import program, say, terminal_width
from rnas.training.programs import compiling

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


def stages_of(config: ConfigDict) -> tuple[str, ...]:
    """The stages that have something to do in runs of a configuration, of `NAMES`."""
    needed = {
        "teacher": recipes.trained_teachers(config),
        "search": make_search(config).searches,
        "finetune": config.finetune.epochs,
        "baselines": config.baselines,
    }
    return tuple(name for name in NAMES if needed.get(name, True))


def open_run(config: ConfigDict, workdir: str | Path) -> Run:
    """The run of a configuration over a work directory; nothing is read or written.

    Raises ValueError where the configuration cannot work; it names the key, its value and what it may be.
    """
    check(config)
    run = Run(config, Path(workdir), make_search(config))
    check_config(run)
    return run


def is_finished(workdir: Path) -> bool:
    """Whether a run has come to its end; raises ValueError where its record cannot be read."""
    return (workdir / RECORD).exists() and RunRecord.read(workdir / RECORD).is_complete(REPORT)


def execute(
    config: ConfigDict,
    workdir: str | Path,
    *,
    command: str,
    until: str = REPORT,
    anew: str | None = None,
    report: Callable[[Path], object] = lambda workdir: None,
    announce: Callable[[Run, Sequence[str], RunRecord], object] = lambda run, wanted, record: None,
) -> None:
    """Runs the stages up to `until`, skipping those that are complete: what they left is there and whole.

    Args:
      command: what started the run, for `run.json`.
      anew: a stage that is made anew, with all after it.
      report: draws the page of a work directory.
      announce: is told what lies ahead: the run, the stages up to `until`, and the record of what was done before.

    Raises ValueError where the configuration cannot work, is not the directory's, another process works there, or what
    a stage has left is damaged and cannot be made again.
    """
    _execute(open_run(config, workdir), command, until, anew, report, announce)


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
    anew: str | None = None,
    report: Callable[[Path], object] = lambda workdir: None,
    announce: Callable[[Run, Sequence[str], RunRecord], object] = lambda run, wanted, record: None,
) -> None:
    wanted, page = NAMES[: NAMES.index(until) + 1], run.workdir / "report.html"
    if anew not in (None, *wanted):
        raise ValueError(f"--from={anew}: expected one of the stages of this command, {', '.join(wanted)}.")
    recorder = StageRecorder(run.workdir, command)
    if anew is None and agreed(jax.process_index() > 0 or _is_done(run.workdir, wanted, recorder.record)):
        record_config(run.workdir, run.config)
        written = f" Report: {page}" if page.exists() else ""
        say(f"{run.workdir}: the run is complete up to {until!r}; nothing to do.{written}")
        return
    # Before anything is written: a mistake found here leaves no work directory that insists on it.
    check_surroundings(run)
    with on_first(lambda: locked(run.workdir, ", or use another --workdir")):
        record_config(run.workdir, run.config)
        check_shared(run.workdir)
        done_on_first(lambda: _make_ready(run.workdir, wanted, StageRecorder(run.workdir, command), anew))
        recorder = StageRecorder(run.workdir, command)  # another process may have gone on meanwhile
        announce(run, wanted, recorder.record)
        for stage in wanted:
            if not agreed(recorder.record.is_complete(stage)):
                left = functools.partial(stage_files.checksums, run.workdir, stage)
                with recorder.stage(stage, left, lambda: compiling().seconds):
                    if stage != REPORT:
                        STAGES[stage](run)
                    elif jax.process_index() == 0:
                        report(run.workdir)
                    if stage == "derive":
                        done_on_first(lambda: _check_again(run.workdir, recorder.record))
                meet(stage)  # what one process has written, others may read from here on
                forget_programs()
        recorder.finish()
    if (run.workdir / EVALUATION).exists():
        say(headline(Evaluation.read(run.workdir / EVALUATION), terminal_width(sys.stderr)))
        if page.exists():
            say(f"report: {page}")
            if "student" not in run.config.evaluation.auto_attack:
                own = shlex.join([f"--workdir={run.workdir}", f"--epsilon={run.config.evaluation.epsilons[0]}"])
                say(f"AutoAttack, with sanity checks:\n  {program()} attack {own}")


def _is_done(workdir: Path, wanted: Sequence[str], record: RunRecord) -> bool:
    """Whether stages are complete, and what they left is there and whole."""
    done = all(record.is_complete(stage) for stage in wanted)
    if done:
        _tell_damaged_rows(workdir, record)
    return done and not any(stage_files.damaged(workdir, record.stages[stage]) for stage in wanted)


def _make_ready(workdir: Path, wanted: Sequence[str], recorder: StageRecorder, anew: str | None) -> None:
    """Makes room for stages that are made anew, and sees to it that damaged ones are made again.

    Raises ValueError where a damaged one would be another: what is trained again may differ from what was built on.
    """
    if anew is not None:
        _begin_anew(workdir, recorder, anew)
    _tell_damaged_rows(workdir, recorder.record)
    for stage in wanted:
        entry = recorder.record.stages.get(stage)
        if entry is None or not recorder.record.is_complete(stage):
            continue
        files = stage_files.damaged(workdir, entry)
        if not files:
            continue
        named = f"{', '.join(files[:3])}{f' and {len(files) - 3} more' if len(files) > 3 else ''}"
        states = "missing" if not any((workdir / file).exists() for file in files) else "not as the stage left it"
        said = f"{workdir}: of stage {stage!r}, {named}: {states}"
        source = workdir / "checkpoints" / "teacher"
        if stage not in stage_files.REMADE or stage == "teacher" and not source.exists():
            raise ValueError(
                f"{said}. Training again may end in other weights than those that later stages were built on. Restore "
                f"these files from a copy, or make this stage and all after it anew: add --from={stage}."
            )
        say(f"{said}. It is made again; what was there is kept as *.damaged.")
        stage_files.set_aside(workdir, stage, files)
        recorder.reopen(stage)
        if stage == "evaluate" and REPORT in recorder.record.stages:
            recorder.reopen(REPORT)


def _begin_anew(workdir: Path, recorder: StageRecorder, anew: str) -> None:
    """Makes room from a stage on; once, however often the command is started until all is done."""
    if recorder.record.anew == anew:
        say(f"{workdir}: goes on with what --from={anew} began.")
        return
    stages = NAMES[NAMES.index(anew) :]
    folder = stage_files.make_room(workdir, stages)
    recorder.forget(stages, anew)
    if folder:
        say(f"{workdir}: {', '.join(stages)} are made anew; what they had left is in {folder}.")


def _tell_damaged_rows(workdir: Path, record: RunRecord) -> None:
    if stages := stage_files.damaged_rows(workdir, record):
        say(
            f"warning: {workdir / METRICS} lacks rows that stages {', '.join(stages)} had written, or holds others. "
            "Curves show what is left; nothing else depends on it."
        )


def _check_again(workdir: Path, record: RunRecord) -> None:
    """Raises ValueError where the architecture was derived again, and is not the one that networks were trained of."""
    former = (record.stages["derive"].files or {}).get(ARCHITECTURE)
    built = [stage for stage in ("train", "finetune", "baselines", "evaluate") if record.is_complete(stage)]
    if former and built and stage_files.checksums(workdir, "derive")[ARCHITECTURE] != former:
        raise ValueError(
            f"{workdir / ARCHITECTURE} was missing or damaged, and derived again it is another than the one that "
            f"{', '.join(built)} were built on. Restore it from a copy, or make all after it anew: add --from=train."
        )
