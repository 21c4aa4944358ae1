"""`rnas attack`: the long, checked evaluation of one model, of a run or a teacher directory."""

from argparse import Namespace
from pathlib import Path
import re
import sys

import jax

from rnas.artifacts.attack import AttackSummary
from rnas.artifacts.scores import Score
from rnas.config.load import recorded_config
from rnas.data.datasets import Dataset, load_dataset
from rnas.evaluation import EvaluatedModel, Settings, Threat, assess_dataset, evaluated_teacher
from rnas.pages import write_attack_page, write_report
from rnas.runs.stages import open_experiment
from rnas.teachers import load_teacher
from rnas.teachers.teacher import CARD, read_card

CHECKS_FAILED = 3  # exit code


def attack(arguments: Namespace) -> tuple[AttackSummary, int]:
    """Evaluates what the command line names.

    Args:
      arguments: see `rnas.main`.

    Returns:
      (the content of `attack.json`; the exit code, not 0 if a sanity check failed and that was not tolerated).

    Raises:
      ValueError: no such model, data that do not fit it, an output folder that holds another evaluation.
    """
    if (arguments.workdir is None) == (arguments.teacher is None):
        raise ValueError("name one model: --workdir=RUN (and --model=NAME), or --teacher=DIR.")
    if arguments.version == "rand":
        raise ValueError(
            "version 'rand' is for models that draw random numbers, which those of runs and teachers do not; "
            "rnas.evaluation.assess_function evaluates such a model."
        )
    threat = Threat.of(arguments.epsilon, arguments.norm)
    settings = Settings(
        attack=arguments.attack,
        version=arguments.version,
        seed=arguments.seed,
        batch_size=arguments.batch_size,
        individually=arguments.individually,
        transfer=tuple(arguments.transfer),
    )
    model, dataset = _of_run(arguments) if arguments.workdir else _of_teacher(arguments)
    summary = assess_dataset(
        model,
        dataset,
        threat,
        settings,
        Path(arguments.workdir or arguments.teacher) / "attacks",
        split=arguments.split,
        count=arguments.count,
        foreign=arguments.dataset is not None,
        output=arguments.output,
        report=write_attack_page,
    )
    if arguments.workdir and jax.process_index() == 0:
        write_report(Path(arguments.workdir))
    if summary.failed and not arguments.tolerate_failed_checks:
        print(
            f"rnas: sanity checks {', '.join(summary.failed)} failed: these figures should not be published. Read the "
            "advice above; --tolerate-failed-checks makes this exit with 0.",
            file=sys.stderr,
        )
        return summary, CHECKS_FAILED
    return summary, 0


def as_text(summary: AttackSummary) -> str:
    """The outcome for a terminal: one line an attack, one line a check."""

    def share(score: Score) -> str:
        low, high = score.interval
        return f"{score.accuracy:7.2%}  ({low:.1%} to {high:.1%})"

    dataset = summary.dataset
    lines = [
        f"{summary.model.name}, {dataset.name} {dataset.split}, {dataset.count} images, "
        f"{summary.norm} {summary.epsilon_text}, {summary.attack} {summary.version}, seed {summary.seed}",
        f"  {'clean':16} {share(summary.clean)}",
    ]
    for row in summary.attacks:
        lines.append(f"  {row.name:16} {share(row.cumulative)}  fooled {row.fooled} of {row.attacked}")
        if summary.identity["individually"]:
            lines.append(f"  {'  alone':16} {share(row.alone)}")
    lines.append(f"  {'worst case':16} {share(summary.robust)}")
    for row in summary.transfer:
        lines.append(f"  {'transfer':16} {share(row.score)}  images of {row.model} ({row.source})")
    rounded = summary.rounded
    lines.append(
        f"  of {rounded.fooled} fooling images {rounded.still_fooling} still fool as bytes; rounding takes "
        f"{rounded.outside_ball} out of the ball"
    )
    for check in summary.checks:
        lines.append(f"  {check.letter} {check.name:20} {check.status:8} {check.figure}")
        if check.advice:
            lines.append(f"      {check.advice}")
    return "\n".join([*lines, *(f"  {warning}" for warning in summary.warnings), f"  {summary.caveat}"])


def _of_run(arguments: Namespace) -> tuple[EvaluatedModel, Dataset]:
    config = recorded_config(arguments.workdir)
    if arguments.data_dir is not None:
        config.data.dir = arguments.data_dir
    experiment = open_experiment(config, arguments.workdir)
    model = experiment.subject(arguments.model)
    if arguments.dataset is None:
        return model, experiment.dataset
    return model, _load(arguments.dataset, arguments, model, tuple(config.data.image_shape))


def _of_teacher(arguments: Namespace) -> tuple[EvaluatedModel, Dataset]:
    teacher = load_teacher(arguments.teacher)
    card = read_card(Path(arguments.teacher) / CARD)
    shape = tuple(card["image_shape"])
    model = evaluated_teacher(teacher, shape, source=str(arguments.teacher))
    recorded = card.get("origin", {}).get("dataset", {}).get("name", "")
    name = arguments.dataset or re.sub(r"/[\d.]+$", "", recorded)  # without its version
    if not name:
        raise ValueError(f"the card of {arguments.teacher} does not hold the data it was trained on; name --dataset.")
    return model, _load(name, arguments, model, shape)


def _load(name: str, arguments: Namespace, model: EvaluatedModel, shape: tuple[int, int, int]) -> Dataset:
    dataset = load_dataset(name, data_dir=arguments.data_dir, held_out=0, seed=0)
    if dataset.num_classes != model.num_classes or dataset.image_shape != shape:
        raise ValueError(
            f"the model takes images of {shape} and knows {model.num_classes} classes; {name!r} has images of "
            f"{dataset.image_shape} and {dataset.num_classes} classes."
        )
    return dataset
