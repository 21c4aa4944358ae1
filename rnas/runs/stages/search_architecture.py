"""Stage `search`: trains the supernet and its architecture; its checkpoints hold the outcome."""

from rnas.runs.recipes import augmentation, joint_objective
from rnas.runs.run import Run, say
from rnas.runs.stage_trainers import make_loader, make_trainer, restore, sampler, training_images
from rnas.runs.teacher_sources import teacher_source
from rnas.steps.state import State
from rnas.teachers import Teacher


def search_architecture(run: Run) -> None:
    """Runs the search, if there is anything to search."""
    search, config = run.search, run.config
    if not search.searches:
        say("the cells are given: nothing to search.")
        return
    teacher = search_teacher(run)
    images = training_images(run)
    per_epoch = search.steps_per_epoch(images)
    rows_at = search.rows_at(images, lambda name, rows, batch_size: sampler(run, name, rows, batch_size))
    loader = make_loader(run, "search", *search.images_per_step(), rows_at)
    source = teacher_source(run, teacher, augmentation(config, "search"), loader, per_epoch, student=False)
    taps = teacher.tap_names if teacher else ()
    step = search.make_step(per_epoch, source.augmentation, source.apply, taps)
    trainer = make_trainer(
        run, "search", step, source, epochs=config.search.epochs, steps_per_epoch=per_epoch,
        validate=run.validate(search.predict, search.pack), observe=search.observe,
    )  # fmt: skip
    trainer.fit(search.initial_state(len(taps)))


def search_teacher(run: Run) -> Teacher | None:
    """The teacher that the search learns from, if it learns from one."""
    return run.teacher if joint_objective(run.config, "search").needs_teacher else None


def searched_state(run: Run) -> State:
    """The last state of the search; raises ValueError where it has not run."""
    teacher = search_teacher(run)
    return restore(run, "search", lambda: run.search.initial_state(len(teacher.taps) if teacher else 0)).state
