"""An evaluation that a sceptic can follow: clean accuracy, attacks in turn, sanity checks, everything recounted.

It leaves a folder with `attack.json` (figures and checks), `examples.csv` and `examples.npz` (one row per example),
`adversarial.npz` (every fooling image) and `attack.log`. Stopped anywhere, it continues where it was: finished batches
are kept in a ledger until the end. `rnas.pages.write_attack_page` draws a page of the folder.
"""

from collections.abc import Callable
import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np

from rnas.artifacts.attack import FILE, AttackSummary, Images, Threat
from rnas.attacks.catalogue import WITHOUT_GRADIENT
from rnas.attacks.input_checks import check_inputs, check_types
from rnas.attacks.programs import check_shape
from rnas.attacks.sanity_checks import check_complete
from rnas.data.datasets import Dataset, Split
from rnas.evaluation.benchmark import run_benchmark
from rnas.evaluation.evaluated_images import check_a, differing, first_images, folder_name, hash_of
from rnas.evaluation.evaluated_model import EvaluatedModel, function_model
from rnas.evaluation.foreign_model import NO_GRADIENT
from rnas.evaluation.ledger import Ledger, completed, finished, is_closed
from rnas.evaluation.runner import pixels
from rnas.evaluation.task import Settings, Task
from rnas.evaluation.transfer import load_transfer


def assess(
    model: EvaluatedModel, split: Split, dataset: Images, threat: Threat, settings: Settings, folder: str | Path
) -> AttackSummary:
    """Runs or resumes an evaluation and returns its summary, the content of `attack.json`.

    Args:
      split: images uint8 or float32 in [0, 1], labels, ids; may be empty.
      dataset: what they are, for the reader; count and hash are filled in.
      folder: where the outcome goes. A finished evaluation found there is returned as it is.

    Raises ValueError for inputs that cannot be attacked, a folder that holds another evaluation, and one in which
    another process is at work.
    """
    folder = Path(folder)
    with check_a():
        check_inputs(pixels(split.images), split.labels, model.num_classes)
    dataset = dataclasses.replace(dataset, count=len(split), sha256=hash_of(split))
    task = Task(model, split, dataset, threat, settings, folder)
    check_shape(task.plan.runs, split.images.shape[1:], threat.norm)
    if not (model.differentiable or {*task.attack_names} <= {*WITHOUT_GRADIENT}):
        raise ValueError(f"{settings.attack}: {NO_GRADIENT.format(' or '.join(WITHOUT_GRADIENT))}")
    file = folder / FILE
    if (former := finished(AttackSummary, file, task.identity)) and is_closed(file):
        return former
    transfers = [load_transfer(source, split, dataset.sha256, threat) for source in settings.transfer]

    def measure(ledger: Ledger) -> AttackSummary:
        summary = run_benchmark(task, ledger, transfers)
        return dataclasses.replace(summary, checks=(*summary.checks, check_complete(summary.to_json())))

    return completed(AttackSummary, file, task.identity, measure)


def assess_dataset(
    model: EvaluatedModel,
    dataset: Dataset,
    threat: Threat,
    settings: Settings,
    root: str | Path,
    *,
    split: str = "test",
    count: int | None = None,
    foreign: bool = False,
    output: str | Path | None = None,
    report: Callable[[Path], Any] = lambda folder: None,
) -> AttackSummary:
    """`assess` on the first images of a data set, in a folder named after the settings.

    Args:
      root: where the folders of one run, or of one teacher, are.
      split: 'test', 'validation' or 'train', not streamed.
      count: how many images; None, or more than there are, is all of them.
      foreign: whether the model was trained on other data; the folder is then named after these too.
      output: the folder itself, in place of one under `root`.
      report: called with the folder of the finished evaluation, on the first process; may draw a page of it.

    Raises as `assess`, and ValueError for a split that is streamed or empty, or a count below 1.
    """
    chosen, described = first_images(dataset, split, count)
    settings.plan(threat.norm, model.num_classes)  # refuses unknown names before a folder is named after them
    name = [model.name, settings.attack, threat.norm, threat.epsilon_text.replace("/", "-")]
    named = folder_name(
        *name, (settings.version, settings.version != "standard"), *differing(dataset, split, chosen, foreign),
        (f"seed{settings.seed}", settings.seed), ("individually", settings.individually),
        ("transfer", settings.transfer),
    )  # fmt: skip
    folder = Path(output or Path(root) / named)
    summary = assess(model, chosen, described, threat, settings, folder)
    if jax.process_index() == 0:
        report(folder)
    return summary


def assess_function(
    logits_fn: Callable[..., jax.Array],
    images: np.ndarray,
    labels: np.ndarray,
    folder: str | Path,
    *,
    epsilon: str | float,
    norm: str = "linf",
    name: str = "model",
    dataset: str = "data",
    **settings: Any,
) -> AttackSummary:
    """Evaluates any JAX function; the whole of `rnas attack` without a run directory.

    No page is drawn. `rnas report --workdir=FOLDER` makes one, as does `rnas.pages.write_attack_page(folder)`.

    Args:
      logits_fn: images [N, H, W, C] float32 in [0, 1] → logits [N, K], in inference mode, normalisation inside;
        with version='rand': (images, key) → logits.
      images: float32 [N, H, W, C] in [0, 1].
      labels: integers [N].
      folder: where the outcome goes; also what a second call resumes from.
      epsilon: radius in pixel units, a number or a string such as '8/255', in `norm`: 'linf', 'l2' or 'l1'.
      name, dataset: for the reader. A function is recognised by its logits on the first images: their hash is the hash
        of the model.
      settings: fields of `Settings`.

    Returns and raises as `assess`; `summary.robust.accuracy` is the worst case over all attacks.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    with check_a():
        check_types(images, labels)  # first, or else the model would fail on them in words of its own
    chosen = Settings(**settings)
    threat = Threat.of(epsilon, norm)
    draw = (jax.random.key(chosen.seed),) if chosen.version == "rand" else ()
    model = function_model(logits_fn, images, name, *draw)
    split = Split(images, labels, np.arange(len(images)))
    return assess(model, split, Images(dataset, "given"), threat, chosen, folder)
