"""`rnas attack`: the long, checked evaluation of one model: of a run, a teacher directory, PyTorch, an ONNX file.

With --corruptions it measures the accuracy under common corruptions in place of attacks.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from rnas.cli.arguments import SEVERAL, add_model, add_shared, read_model
from rnas.training.messages import say, tell, write

if TYPE_CHECKING:  # the rest is imported late, so that --help answers at once
    from rnas.artifacts.attack import AttackSummary, Threat
    from rnas.artifacts.corruptions import CorruptionSummary
    from rnas.artifacts.scores import Score
    from rnas.data.datasets import Dataset
    from rnas.evaluation import EvaluatedModel

CHECKS_FAILED = 3  # exit code
COMPUTED = "computed"
OF_ATTACKS = {"attack": "auto_attack", "version": "standard", "norm": "linf", "epsilon": None, "individually": False}
EXAMPLE = "--workdir=runs/rnas_cl/digits --epsilon=0.1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add_model(parser)
    add("--torch", metavar="MODULE:FUNCTION", help="a PyTorch model, that a function of a module or of FILE.py returns")
    add("--onnx", metavar="FILE", help="an ONNX file, run by onnxruntime; it has no gradient: --attack=square")
    words = "auto_attack, or a list such as pgd_100*5,apgd_t; known are also apgd_ce, apgd_dlr, fab_t, fab, square, "
    words += "fgsm, mim_20, cw_30"
    add("--attack", default=OF_ATTACKS["attack"], metavar="NAMES", help=words)
    add("--version", default=OF_ATTACKS["version"], choices=["standard", "plus", "rand"], help="of auto_attack")
    add("--norm", default=OF_ATTACKS["norm"], choices=["linf", "l2", "l1"])
    add("--epsilon", help="radius in pixel units, '8/255' or a number; default: 8/255 in linf, none in the others")
    words = (
        "in place of attacks: accuracy under common corruptions, computed, or of a prepared SET of published images, "
    )
    add("--corruptions", nargs="?", const=COMPUTED, metavar="SET", help=words + "such as cifar10_corrupted")
    add("--dataset", help="a TFDS set; default: the one of the run, or of the card in teacher or file")
    add_shared(parser, "--data-dir")
    add("--split", default="test", choices=["test", "validation", "train"])
    add("--count", type=int, metavar="N", help="the first N images; default: all")
    add("--seed", type=int, default=0, help="of every random draw")
    add("--batch-size", type=int, default=128, metavar="N", help="images a batch, at most; halved if memory is short")
    add("--individually", action="store_true", help="every attack on every image, fooled before or not")
    words = "also try the images of this finished evaluation of another model; may be repeated"
    add("--transfer", action="append", default=[], metavar="DIR", help=words)
    words = "default: a folder of its own in WORKDIR/attacks, of --torch and --onnx in ./attacks"
    add("--output", metavar="DIR", help=words)
    add("--tolerate-failed-checks", action="store_true", help="exit with 0 although a sanity check failed")
    add_shared(parser, *SEVERAL, "--json")


def run(arguments: argparse.Namespace, overrides: list[str]) -> int:
    """Attacks the model and prints the outcome; returns `CHECKS_FAILED` if a sanity check failed, else 0.

    Raises ValueError for no such model, data that do not fit it, an output folder that holds another evaluation.
    """
    from rnas.cli import platform
    from rnas.evaluation import Settings, assess_dataset
    from rnas.pages import write_attack_page
    from rnas.training.interruption import interruptible

    platform.prepare(arguments)
    if arguments.corruptions:
        return _corrupt(arguments)
    if arguments.version == "rand":
        raise ValueError(
            "version 'rand' is for models that draw random numbers, which those of runs and teachers do not; "
            "rnas.evaluation.assess_function evaluates such a model."
        )
    threat = threat_of(arguments)
    names = ("attack", "version", "seed", "batch_size", "individually")
    settings = Settings(**{name: getattr(arguments, name) for name in names}, transfer=tuple(arguments.transfer))
    with interruptible():
        model, dataset = _model_and_data(arguments)
        folder = _home(arguments) / "attacks"
        summary = assess_dataset(
            model, dataset, threat, settings, folder, split=arguments.split, count=arguments.count,
            foreign=arguments.dataset is not None, output=arguments.output,
            report=lambda folder: say(f"page: {write_attack_page(folder)}"),
        )  # fmt: skip
        _draw_run_again(arguments)
    refused = summary.failed and not arguments.tolerate_failed_checks
    if refused:
        write(
            f"rnas: sanity checks {', '.join(summary.failed)} failed: these figures should not be published. Read the "
            "advice beside them; --tolerate-failed-checks makes this exit with 0."
        )
    if arguments.json:
        print(json.dumps(summary.to_json()))
    else:
        tell(as_text(summary))
    return CHECKS_FAILED if refused else 0


def _corrupt(arguments: argparse.Namespace) -> int:
    """Measures the accuracy under common corruptions and prints it."""
    from rnas.artifacts.corruptions import FOLDER
    from rnas.data.corruptions import PreparedCorruptions
    from rnas.evaluation import measure_corruptions_of_dataset
    from rnas.pages import write_corruption_page
    from rnas.training.interruption import interruptible

    given = [name for name, default in OF_ATTACKS.items() if getattr(arguments, name) != default]
    if given := [*given, *(["transfer"] if arguments.transfer else [])]:
        raise ValueError(f"--corruptions is no attack: give it without --{', --'.join(given)}.")
    with interruptible():
        model, dataset = _model_and_data(arguments)
        computed = arguments.corruptions == COMPUTED
        prepared = None if computed else PreparedCorruptions(arguments.corruptions, arguments.data_dir)
        summary = measure_corruptions_of_dataset(
            model, dataset, _home(arguments) / FOLDER, split=arguments.split, count=arguments.count,
            seed=arguments.seed, batch_size=arguments.batch_size, prepared=prepared,
            foreign=arguments.dataset is not None, output=arguments.output,
            report=lambda folder: say(f"page: {write_corruption_page(folder)}"),
        )  # fmt: skip
        _draw_run_again(arguments)
    if arguments.json:
        print(json.dumps(summary.to_json()))
    else:
        tell(corruptions_as_text(summary))
    return 0


def _draw_run_again(arguments: argparse.Namespace) -> None:
    """The page of the run shows what was measured; a table of cells has no such page."""
    import jax

    from rnas.pages import write_report
    from rnas.runs.table_status import is_one as is_table

    if arguments.workdir and not is_table(Path(arguments.workdir)) and jax.process_index() == 0:
        write_report(Path(arguments.workdir))


def _home(arguments: argparse.Namespace) -> Path:
    """The folder where evaluations of a model are: its run's, its teacher's, or the current one."""
    return Path(arguments.workdir or arguments.teacher or ".")


def corruptions_as_text(summary: CorruptionSummary) -> str:
    """The outcome for a terminal: one line a type, its severities beside each other."""
    dataset, score = summary.dataset, summary.score
    lines = [
        f"{summary.model.name}, {dataset.name} {dataset.split}, {dataset.count} images, corruptions: {summary.source}, "
        f"seed {summary.seed}",
        f"  {'clean':18} {summary.clean.accuracy:7.2%}",
    ]
    for row in summary.rows:
        severities = "".join(f"{each.accuracy:8.1%}" for each in row.severities)
        standing = "" if row.standing == "published" else f"  ({row.standing})"
        lines.append(f"  {row.name:18} {row.mean:7.2%}  {severities}{standing}")
    lines.append(f"  {'mean':18} {summary.mean:7.2%}  over {score.types} published types and 5 severities")
    if summary.has_ours:
        lines.append(f"  {'':18} {summary.mean_with_ours:7.2%}  with frost_procedural, which stands for frost")
    return "\n".join(lines)


def as_text(summary: AttackSummary) -> str:
    """The outcome for a terminal: one line an attack, one line a check."""

    def share(score: Score | None) -> str:
        if score is None:
            return "-"
        low, high = score.interval
        return f"{score.accuracy:7.2%}  ({low:.1%} to {high:.1%})"

    dataset = summary.dataset
    lines = [
        f"{summary.model.name}, {dataset.name} {dataset.split}, {dataset.count} images, "
        f"{summary.threat.norm} {summary.threat.epsilon_text}, {f'{summary.attack} {summary.version}'.strip()}, "
        f"seed {summary.seed}",
        f"  {'clean':16} {share(summary.clean)}",
    ]
    for row in summary.attacks:
        lines.append(f"  {row.name:16} {share(row.cumulative)}  fooled {row.fooled} of {row.attacked}")
        if row.alone is not None and summary.identity["individually"]:
            lines.append(f"  {'  alone':16} {share(row.alone)}")
    lines.append(f"  {'worst case':16} {share(summary.robust)}")
    for tried in summary.transfer:
        lines.append(f"  {'transfer':16} {share(tried.score)}  images of {tried.model} ({tried.source})")
    rounded = summary.rounded
    lines.append(
        f"  of {rounded.fooled} fooling images {rounded.still_fooling} still fool as bytes; rounding takes "
        f"{rounded.outside_ball} out of the ball"
    )
    for check in summary.checks:
        lines.append(f"  {check.letter} {check.name:20} {check.status:8} {check.figure}")
        if check.advice:
            lines.append(f"      {check.advice}")
    if skipped := [check.letter for check in summary.checks if check.status == "skipped"]:
        lines.append(f"  skipped, so that nothing is known of it: {', '.join(skipped)}")
    lines += [*(f"  {warning}" for warning in summary.warnings), f"  {summary.caveat}"]
    return "\n".join(lines)


def threat_of(arguments: argparse.Namespace) -> Threat:
    """Norm and radius; in other norms than L∞ the usual radius depends on the data, and 8/255 is none of them."""
    from rnas.artifacts.attack import Threat

    usual = {"l2": "0.5", "l1": "12"}.get(arguments.norm)
    if arguments.epsilon is None and usual:
        raise ValueError(
            f"--norm={arguments.norm} needs a radius of its own: give --epsilon, on CIFAR-10 usually {usual}."
        )
    return Threat.of("8/255" if arguments.epsilon is None else arguments.epsilon, arguments.norm)


def _model_and_data(arguments: argparse.Namespace) -> tuple[EvaluatedModel, Dataset]:
    named = [arguments.workdir, arguments.teacher, arguments.torch, arguments.onnx]
    if (arguments.torch or arguments.onnx) and len([*filter(None, named)]) > 1:
        raise ValueError("name one model: --torch=MODULE:FUNCTION, --onnx=FILE, --workdir=RUN or --teacher=DIR.")
    if arguments.torch:
        return _of_torch(arguments)
    return _of_onnx(arguments) if arguments.onnx else _of_rnas(arguments)


def _of_onnx(arguments: argparse.Namespace) -> tuple[EvaluatedModel, Dataset]:
    """The model of a file, and the set that the command names, or that of the card in the file."""
    from rnas.data.datasets import load_dataset
    from rnas.evaluation.onnx_file import OnnxFile

    found = OnnxFile.read(arguments.onnx)
    if not (name := arguments.dataset or found.card.get("dataset")):
        raise ValueError(f"{arguments.onnx} does not name the data it was trained on; give --dataset.")
    dataset = load_dataset(name, data_dir=arguments.data_dir, held_out=0, seed=0)
    _check_fit(dataset, name, found.classes, found.image_shape)
    return found.evaluated(name=Path(arguments.onnx).stem, source=arguments.onnx), dataset


def _of_torch(arguments: argparse.Namespace) -> tuple[EvaluatedModel, Dataset]:
    from rnas.data.datasets import load_dataset
    from rnas.evaluation.torch_model import evaluated_torch, load_torch

    if not arguments.dataset:
        raise ValueError("--torch needs --dataset=NAME: a PyTorch model does not name the data it was trained on.")
    dataset = load_dataset(arguments.dataset, data_dir=arguments.data_dir, held_out=0, seed=0)
    name = Path(arguments.torch.rpartition(":")[0]).stem.rpartition(".")[2]
    model = evaluated_torch(load_torch(arguments.torch), dataset.image_shape, name=name, source=arguments.torch)
    _check_fit(dataset, arguments.dataset, model.num_classes, dataset.image_shape)
    return model, dataset


def _of_rnas(arguments: argparse.Namespace) -> tuple[EvaluatedModel, Dataset]:
    """A model of a run or a teacher, and the set that the command names, or that of the run, or of the card."""
    from rnas.data.datasets import load_dataset

    model = read_model(arguments)
    if arguments.dataset is None and model.run is not None:
        return model.evaluated, model.run.dataset
    name = arguments.dataset or model.card.dataset
    if not name:
        raise ValueError(
            f"the card of {model.evaluated.source} does not name the data it was trained on; give --dataset."
        )
    dataset = load_dataset(name, data_dir=arguments.data_dir, held_out=0, seed=0)
    _check_fit(dataset, name, model.card.num_classes, model.image_shape)
    return model.evaluated, dataset


def _check_fit(dataset: Dataset, name: str, num_classes: int, shape: tuple[int, ...]) -> None:
    if dataset.num_classes != num_classes or dataset.image_shape != shape:
        raise ValueError(
            f"the model takes images of {shape} and has {num_classes} classes; {name!r} has images of "
            f"{dataset.image_shape} and {dataset.num_classes} classes."
        )
