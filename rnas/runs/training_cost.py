"""What a run will compute, before it does: a count of passes of networks, in multiply-accumulates."""

from rnas.layers.counting import count
from rnas.models import build_model
from rnas.objectives import Objective
from rnas.runs import recipes
from rnas.runs.recipes import joint_objective, learners, recipe
from rnas.runs.run import Run

FORWARD, TO_IMAGES, TO_WEIGHTS = 1, 2, 3  # passes forward; forward and back to the images; to the weights too


def passes(objective: Objective) -> float:
    """Passes that one image costs in a training step, in units of a pass forward."""
    trained = objective.needs_clean + objective.attacks
    return TO_WEIGHTS * trained + TO_IMAGES * objective.steps * objective.attacks


def training_macs(run: Run) -> dict[str, float]:
    """Multiply-accumulates of every stage that trains, without evaluation; teacher caches count as no saving.

    The student counts as the largest network of its space, or the supernet where a space has none.
    """
    config, images = run.config, run.dataset.fingerprint["counts"]["train"]
    shape, described = tuple(config.data.image_shape), run.search.described()
    student, inputs = described["supernet"]
    own = count(student, shape, *inputs).macs
    data = {"num_classes": config.data.num_classes, "mean": tuple(config.data.mean), "std": tuple(config.data.std)}
    teacher = 0
    if recipes.uses_teacher(config):
        name = run.teacher.architecture if config.teacher.path else config.teacher.architecture
        teacher = count(build_model(name, **data), shape).macs
    found = {}
    if teacher and not config.teacher.path:
        found["teacher"] = passes(recipe(config, "teacher").objective) * teacher * config.teacher.epochs * images
    if run.search.searches:
        objective = joint_objective(config, "search")
        found["search"] = (passes(objective) * own + objective.needs_teacher * teacher) * config.search.epochs * images
    for stage in learners(config):
        how = recipe(config, stage)
        found[stage] = (passes(how.objective) * own + how.objective.needs_teacher * teacher) * how.epochs * images
    return found
