"""Stage `search`: trains the supernet and its architecture; its checkpoints hold the outcome."""

import jax

from rnas.artifacts.architecture import Architecture, TutorAssignment
from rnas.artifacts.latency_table import FILE as LATENCY_TABLE
from rnas.artifacts.latency_table import LatencyTable
from rnas.artifacts.search_history import write_epoch
from rnas.runs.layer_movement import layer_movement
from rnas.runs.recipes import augmentation, joint_objective
from rnas.runs.run import Run
from rnas.runs.searches import Search
from rnas.runs.stage_trainers import make_loader, make_trainer, restore, sampler, training_images
from rnas.runs.teacher_sources import teacher_source
from rnas.runs.tutor_assignments import searched_assignment
from rnas.steps.state import State
from rnas.teachers import Teacher
from rnas.training.hosts import done_on_first
from rnas.training.messages import say
from rnas.training.trainer import Trainer


def search_architecture(run: Run) -> None:
    """Runs the search, if there is anything to search."""
    if not run.search.searches:
        say("the cells are given: nothing to search.")
        return
    done_on_first(lambda: keep_latency_table(run))
    trainer, state = _prepare(run, run.search, "search", run.config.selector.robustness)
    trainer.fit(state)


def keep_latency_table(run: Run) -> None:
    """Keeps the table that is the cost of the search, if one is, in the work directory.

    Raises ValueError where the configuration's file is not the one that the run began with.
    """
    cost = run.config.get("cost")
    if not (cost and cost.table):
        return
    table, kept = LatencyTable.read(cost.table), run.workdir / LATENCY_TABLE
    if not kept.exists():
        table.write(kept)
    elif LatencyTable.read(kept) != table:
        raise ValueError(
            f"cost.table={cost.table} is not the table that this run began with: give --config.cost.table={kept}, or "
            "start in a new work directory."
        )


def search_tutors(run: Run, architecture: Architecture, name: str, robustness: float) -> TutorAssignment:
    """Searches tutors for a network that stays as it is, and returns what was found.

    Args:
      name: of the search; its stage is search_<name>.
      robustness: as `selector.robustness`.
    """
    trainer, state = _prepare(run, run.search.over_tutors(architecture), f"search_{name}", robustness)
    return searched_assignment(run.teacher, trainer.fit(state).architecture["tutors"])


def _prepare(run: Run, search: Search, stage: str, robustness: float) -> tuple[Trainer, State]:
    config, teacher = run.config, search_teacher(run)
    images = training_images(run)
    per_epoch = search.steps_per_epoch(images)
    rows_at = search.rows_at(images, lambda name, rows, batch_size: sampler(run, name, rows, batch_size))
    loader = make_loader(run, "search", *search.images_per_step(), rows_at)
    source = teacher_source(run, teacher, augmentation(config, "search"), loader, per_epoch, student=False)
    taps = teacher.tap_names if teacher else ()
    penalty = tuple(map(float, robustness * layer_movement(run))) if robustness else ()

    def observe(state: State) -> dict[str, float]:
        probabilities = search.probabilities(state)
        if probabilities and jax.process_index() == 0:
            write_epoch(run.workdir, stage, int(state.step) // per_epoch, probabilities)
        return search.observe(state)

    trainer = make_trainer(
        run, stage, search.make_step(per_epoch, source.augmentation, source.apply, taps, penalty), source,
        epochs=config.search.epochs, steps_per_epoch=per_epoch,
        validate=run.validate(search.predict, search.pack), observe=observe, randomness="search",
    )  # fmt: skip
    return trainer, search.initial_state(len(taps))


def search_teacher(run: Run) -> Teacher | None:
    """The teacher that the search learns from, if it learns from one."""
    return run.teacher if joint_objective(run.config, "search").needs_teacher else None


def searched_state(run: Run) -> State:
    """The last state of the search; raises ValueError where it has not run."""
    teacher = search_teacher(run)
    return restore(run, "search", lambda: run.search.initial_state(len(teacher.taps) if teacher else 0)).state
