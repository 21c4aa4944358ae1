"""Stage `teacher`: trains the teachers that some stage learns from, where the configuration names none."""

from rnas.models import build_model
from rnas.runs.recipes import initial_variables, network_fields, recipe, uses_natural_teacher, uses_teacher
from rnas.runs.run import Run, predict
from rnas.runs.stage_trainers import first_state, network_trainer, trained
from rnas.teachers import save_teacher
from rnas.training.messages import say


def train_teacher(run: Run) -> None:
    """Trains the robust teacher, and the naturally trained one where a method needs both."""
    settings = run.config.teacher
    if settings.path:
        _ = run.teacher  # refuses now what does not fit
    elif uses_teacher(run.config):
        _train(run, "teacher")
    else:
        say("no stage learns from a teacher (gamma and kl_weight are 0): none is trained.")
    if settings.natural_path:
        _ = run.natural_teacher
    elif uses_natural_teacher(run.config):
        _train(run, "natural_teacher")


def _train(run: Run, stage: str) -> None:
    """Trains one teacher and writes its directory, which has the name of the stage."""
    config, settings, how = run.config, run.config.teacher, recipe(run.config, stage)
    model = build_model(settings.architecture, **network_fields(config))
    network_trainer(run, how, model).fit(first_state(how, initial_variables(model, config, stage)))
    best = trained(run, how, model)
    origin = {
        "objective": settings.objective if stage == "teacher" else "none",
        "epsilon": settings.epsilon,
        "epochs": settings.epochs,
        "step": best.step,
        "dataset": run.dataset.fingerprint,
        "seed": config.seed,
    }
    if validate := run.validate(predict(model)):
        origin["validation"] = validate(best.state)
    fields = dict(architecture=settings.architecture, image_shape=tuple(config.data.image_shape), origin=origin)
    save_teacher(run.workdir / stage, model.clone(axis_name=None), best.state.outcome, **fields)
