"""An evaluation that a sceptic can follow: clean accuracy, attacks in turn, sanity checks, everything recounted.

It leaves a folder with `attack.json` (figures and checks), `examples.csv` and `examples.npz` (one row per example),
`adversarial.npz` (every fooling image) and `attack.log`. Stopped anywhere, it continues where it was: finished batches
are kept in a ledger until the end. `rnas.pages.write_attack_page` draws a page of the folder.
"""

from collections.abc import Callable, Iterator
import contextlib
import dataclasses
import hashlib
from pathlib import Path
import re
from typing import Any

import jax
import numpy as np

from rnas.artifacts.attack import FILE, AttackSummary, Images, Threat
from rnas.artifacts.folder_lock import locked
from rnas.attacks.direct import count_classes
from rnas.attacks.input_checks import check_count, check_inputs, check_types
from rnas.attacks.programs import check_shape
from rnas.attacks.sanity_checks import check_complete
from rnas.data.datasets import Dataset, Split
from rnas.evaluation.benchmark import run_benchmark
from rnas.evaluation.evaluated_model import EvaluatedModel
from rnas.evaluation.ledger import Ledger, check_identity
from rnas.evaluation.runner import pixels
from rnas.evaluation.task import Settings, Task
from rnas.evaluation.transfer import load_transfer
from rnas.training.hosts import on_first

LEDGER = "ledger"


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
    with _check_a():
        check_inputs(pixels(split.images), split.labels, model.num_classes)
    dataset = dataclasses.replace(dataset, count=len(split), sha256=_hash(split))
    task = Task(model, split, dataset, threat, settings, folder)
    check_shape(task.plan.runs, split.images.shape[1:], threat.norm)
    if (former := _finished(task)) and not (folder / LEDGER).exists():
        return former
    transfers = [load_transfer(source, split, dataset.sha256, threat) for source in settings.transfer]
    # In the ledger, which is gone at the end.
    with on_first(lambda: locked(folder / LEDGER, ", or choose another --output")):
        ledger = Ledger(folder / LEDGER, task.identity)
        summary = _finished(task)  # perhaps by now; or it was stopped between its last file and its end
        if summary is None:
            summary = run_benchmark(task, ledger, transfers)
            summary = dataclasses.replace(summary, checks=(*summary.checks, check_complete(summary.to_json())))
            if jax.process_index() == 0:
                summary.write(folder / FILE)
        ledger.close()
    return summary


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
    images = getattr(dataset, split)
    streamed = not hasattr(images, "images")
    if streamed or not len(images):
        wrong = "streamed; attack test or validation" if streamed else "empty; attack another"
        raise ValueError(f"the {split} split of {dataset.name} is {wrong}.")
    if count is not None:
        check_count("count", count, least=1)
    chosen = images.take(np.arange(min(count or len(images), len(images))))
    settings.plan(threat.norm, model.num_classes)  # refuses unknown names before a folder is named after them
    differing = (
        (settings.version, settings.version != "standard"),
        (split, split != "test"),
        (dataset.name, foreign),
        (f"first{len(chosen)}", len(chosen) < len(images)),
        (f"seed{settings.seed}", settings.seed),
        ("individually", settings.individually),
        ("transfer", settings.transfer),
    )
    name = [model.name, settings.attack, threat.norm, threat.epsilon_text.replace("/", "-")]
    name += [part for part, differs in differing if differs]
    described = Images(
        name=dataset.name, version=dataset.version, split=split, first=0, class_names=tuple(dataset.class_names)
    )
    folder = Path(output or Path(root) / re.sub(r"[^\w.-]+", "-", "_".join(name)))
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
    with _check_a():
        check_types(images, labels)  # first, or else the model would fail on them in words of its own
    chosen = Settings(**settings)
    threat = Threat.of(epsilon, norm)
    draw = (jax.random.key(chosen.seed),) if chosen.version == "rand" else ()
    num_classes = count_classes(logits_fn, images, *draw)
    split = Split(images, labels, np.arange(len(images)))
    logits = jax.jit(lambda *inputs: logits_fn(*inputs))(images[:4], *draw) if len(images) else np.zeros(0)
    model = EvaluatedModel(
        name,
        hashlib.sha256(np.round(np.asarray(logits, np.float64), 3).tobytes()).hexdigest(),
        num_classes,
        predict=lambda variables, *inputs: logits_fn(*inputs),
        variables=np.zeros(()),  # pmap wants an array
    )
    return assess(model, split, Images(dataset, "given"), threat, chosen, folder)


@contextlib.contextmanager
def _check_a() -> Iterator[None]:
    """Names the check that refuses inputs for which nothing can run."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"check A (inputs) failed: {error}") from error


def _finished(task: Task) -> AttackSummary | None:
    """The summary of an evaluation that is finished. Raises ValueError where its folder holds another one."""
    if not (task.folder / FILE).exists():
        return None
    former = AttackSummary.read(task.folder / FILE)
    check_identity(former.identity, task.identity, task.folder)
    return former


def _hash(split: Split) -> str:
    digest = hashlib.sha256(f"{split.images.dtype} {split.images.shape}".encode())
    digest.update(np.ascontiguousarray(split.images).data)
    digest.update(np.ascontiguousarray(split.labels, dtype=np.int64).data)
    return digest.hexdigest()
