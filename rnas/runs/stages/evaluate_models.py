"""Stage `evaluate`: attacks every model on the test set, once. No other stage reads that set."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
import numpy as np

from rnas.artifacts import corruptions
from rnas.artifacts.attack import AttackSummary, read_examples
from rnas.artifacts.evaluation import FILE, IMAGES, Evaluation, ExampleImages, ModelScores
from rnas.artifacts.outcomes import FOLDER, Outcomes, measurement
from rnas.artifacts.run_record import precision, versions
from rnas.artifacts.scores import AttackScore, CorruptionScore
from rnas.attacks import catalogue, radius
from rnas.attacks.catalogue import AUTO_ATTACK, CLEAN
from rnas.data.datasets import Split
from rnas.evaluation import Settings, Threat, assess_dataset, evaluate, measure_corruptions_of_dataset
from rnas.evaluation.evaluated_model import EvaluatedModel
from rnas.evaluation.robustness_table import HEADLINE_ATTACK
from rnas.evaluation.runner import pixels
from rnas.runs.recipes import BASELINE, evaluated_names
from rnas.runs.run import Run
from rnas.runs.trained_models import evaluated_model
from rnas.steps import forget_programs
from rnas.steps.meeting import meet
from rnas.training.hosts import agreed
from rnas.training.messages import say
from rnas.training.progress import Progress

EXAMPLES = 12  # images that are kept for people to look at


def evaluate_models(run: Run) -> None:
    """Writes `evaluation.json`. What is finished, models and attacks on a model, is kept in `evaluation/`."""
    config = run.config.evaluation
    test = run.dataset.test
    if config.count:
        test = test.take(np.arange(min(config.count, len(test))))
    restored = functools.cache(functools.partial(evaluated_model, run))
    models = {}
    for name in evaluated_names(run.config):
        path = run.workdir / FOLDER / f"{name}.json"
        outcomes = path.with_suffix(".npz")
        if agreed(path.exists()):
            scores = ModelScores.read(path)
        else:
            model = restored(name)
            if model.checkpoint:
                say(f"evaluate {name}: {model.checkpoint}.")
            scores, _ = _measure(run, model, test, outcomes)
            scores = dataclasses.replace(scores, checkpoint=model.checkpoint)
            if jax.process_index() == 0:
                scores.write(path)  # last: the mark of a model that is finished
            meet("scores")
        if name == "student" and agreed(outcomes.exists() and not (run.workdir / IMAGES).exists()):
            examples = _examples(run, restored(name), test, Outcomes.read(outcomes))
            if jax.process_index() == 0:
                examples.write(run.workdir / IMAGES)
        models[name] = scores
    for name in named_models(config.corruptions, models):
        models[name] = dataclasses.replace(models[name], corruptions=_corruptions(run, restored(name)))
    attacked = None
    for name in named_models(config.auto_attack, models):
        model = restored(name)
        if model.predict is not attacked:  # models of one network share what is compiled for it
            forget_programs()
        attacked = model.predict
        found = _auto_attack(run, model, run.workdir / FOLDER / f"{name}.npz")
        models[name] = dataclasses.replace(models[name], attacks={**models[name].attacks, AUTO_ATTACK: found})
    if jax.process_index() == 0:
        data = {**run.dataset.fingerprint, "class_names": run.dataset.class_names}
        if run.config.data.extra:
            data["extra"] = {**run.extra.fingerprint, "share": run.config.data.extra_share}
        Evaluation(models, data, "linf", run.config.seed, versions(), precision()).write(run.workdir / FILE)


def named_models(wanted: Sequence[str], models: Mapping[str, ModelScores]) -> list[str]:
    """The models that `evaluation.auto_attack` or `evaluation.corruptions` names, in the order of `models`.

    Args:
      wanted: names of models; baselines and strongest_baseline stand for some of them, or for none.
      models: all of the run, with their scores.
    """
    baselines = [name for name in models if name.startswith(BASELINE)]
    groups = {
        "baselines": baselines,
        "strongest_baseline": [max(baselines, key=lambda name: models[name].attacks[HEADLINE_ATTACK.name].accuracy)]
        if baselines
        else [],
    }
    named = {name for word in wanted for name in groups.get(word, [word])}
    return [name for name in models if name in named]


def _measure(run: Run, model: EvaluatedModel, test: Split, file: Path) -> tuple[ModelScores, Outcomes]:
    """All but AutoAttack of a model; what of it is finished is in `file`."""
    config = run.config.evaluation
    attacks = catalogue.parse(config.attacks)
    total = 1 + len(config.curve) + len(config.epsilons) * len(attacks)
    former: Mapping[str, np.ndarray] = {}
    if agreed(file.exists()):
        former = Outcomes.read(file).right
        say(f"evaluate {model.name}: {len(former)} of {total} attacks are finished, see {file}.")

    def keep(outcomes: Outcomes) -> None:
        if jax.process_index() == 0:
            outcomes.write(file)

    with Progress(f"evaluate {model.name}", total, len(former), unit="attack") as progress:
        done = iter(range(total))
        measured = evaluate(
            run.evaluator(model.predict), model, test, epsilons=config.epsilons, curve=config.curve,
            attacks=attacks, former=former, tick=lambda attack: progress.update(next(done)), keep=keep,
        )  # fmt: skip
        progress.update(total)
    return measured


def auto_attack_count(run: Run) -> int | None:
    """How many of the first test images AutoAttack attacks; None: all."""
    config = run.config.evaluation
    return min(filter(None, (config.count, config.auto_attack_count)), default=None)


def auto_attack(run: Run, model: EvaluatedModel, report: Callable[[Path], Any]) -> AttackSummary:
    """AutoAttack at the headline radius, in the folder where `rnas attack` would put it and find it.

    `report` is called with this folder at the end.
    """
    return assess_dataset(
        model, run.dataset, Threat.of(run.config.evaluation.epsilons[0]),
        Settings(batch_size=run.config.evaluation.batch_size), run.workdir / "attacks",
        count=auto_attack_count(run), report=report,
    )  # fmt: skip


def _auto_attack(run: Run, model: EvaluatedModel, outcomes: Path) -> AttackScore:
    """AutoAttack; adds which images it leaves to the file of `outcomes`, if there is one."""

    def add_outcomes(folder: Path) -> None:
        if outcomes.exists():  # not of a model that an earlier version measured
            name = measurement(AUTO_ATTACK, str(run.config.evaluation.epsilons[0]))
            Outcomes.read(outcomes).with_examples(name, read_examples(folder)).write(outcomes)

    found = auto_attack(run, model, add_outcomes)
    if broken := found.failed:
        say(f"warning: sanity checks {', '.join(broken)} of AutoAttack on {model.name} failed; see the report.")
    return AttackScore(**vars(found.robust), epsilon=found.threat.epsilon, settings={"version": found.version})


def _corruptions(run: Run, model: EvaluatedModel) -> CorruptionScore:
    """Accuracy under common corruptions, in the folder where `rnas attack --corruptions` would put it and find it."""
    config = run.config.evaluation
    return measure_corruptions_of_dataset(
        model, run.dataset, run.workdir / corruptions.FOLDER, count=config.count or None, seed=run.config.seed,
        batch_size=config.batch_size, report=lambda folder: None,
    ).score  # fmt: skip


def _examples(run: Run, model: EvaluatedModel, test: Split, outcomes: Outcomes) -> ExampleImages:
    """A few images under the headline attack: fooling ones first, of different classes as far as there are."""
    config, evaluator = run.config.evaluation, run.evaluator(model.predict)
    attack = next(each for each in catalogue.parse(config.attacks) if each.name == HEADLINE_ATTACK.name)
    right = outcomes.right[CLEAN.name]
    fooled = right & ~outcomes.right[measurement(attack.name, config.epsilons[0])]
    order = np.argsort(~fooled, kind="stable")[: 20 * EXAMPLES]
    _, firsts = np.unique(test.labels[order], return_index=True)
    rows = np.concatenate([order[np.sort(firsts)], np.delete(order, firsts)])[:EXAMPLES]
    chosen = test.take(rows)
    clean = pixels(chosen.images)
    strongest, attacked = clean.copy(), np.flatnonzero(right[rows])
    if len(attacked):
        strongest[attacked] = evaluator.attack(
            model.variables, chosen, attack, radius(config.epsilons[0]), attacked
        )[1]  # fmt: skip
    predictions = [evaluator.predictions(model.variables, images) for images in (clean, strongest)]
    return ExampleImages(clean, strongest, chosen.labels, *predictions)
