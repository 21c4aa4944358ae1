"""Accuracy under common corruptions (arXiv 1903.12261): images that no attacker has made, in five severities.

It leaves a folder with `corruptions.json`, and `outcomes.npz`: which image is classified correctly under which type and
severity. Stopped anywhere, it continues where it was, as an attack does.
"""

from collections.abc import Callable, Iterator
import dataclasses
from importlib import metadata
import itertools
from pathlib import Path
from typing import Any

import jax
import numpy as np

from rnas.artifacts.attack import Images
from rnas.artifacts.corruptions import FILE, OUTCOMES, SEVERITIES, CorruptionRow, CorruptionSummary, means
from rnas.artifacts.outcomes import Outcomes, measurement
from rnas.artifacts.run_record import precision, versions
from rnas.artifacts.scores import Score
from rnas.attacks.batching import batch_sizes, run_concurrently
from rnas.attacks.input_checks import check_count, check_inputs, check_seed, check_types
from rnas.attacks.verdict import judge_once
from rnas.data.corruptions import ComputedCorruptions, CorruptedSet, PreparedCorruptions
from rnas.data.datasets import Dataset, Split
from rnas.evaluation.evaluated_images import check_a, differing, first_images, folder_name, hash_of
from rnas.evaluation.evaluated_model import EvaluatedModel, function_model, shorter_floats
from rnas.evaluation.ledger import Ledger, completed, finished, is_closed
from rnas.evaluation.runner import Runner, pixels
from rnas.training.progress import Progress

_MAKERS = ("scipy", "pillow")  # packages that make images, a version of which may make others


def measure_corruptions(
    model: EvaluatedModel, split: Split, dataset: Images, folder: str | Path, *, seed: int = 0, batch_size: int = 128,
    prepared: PreparedCorruptions | None = None,
) -> CorruptionSummary:  # fmt: skip
    """Measures the accuracy under every type and severity, or what is left of it; returns the content of the file.

    It takes one pass of the model for each image, type and severity. Making the images takes a core of the host some 25
    ms for each image of 32×32 pixels, all types and severities together.

    Args:
      split: clean images, grey or RGB, uint8 or float32 in [0, 1], labels, ids. Floats are rounded to bytes first.
      dataset: what they are, for the reader; count and hash are filled in.
      folder: where the outcome goes. A finished measurement found there is returned as it is.
      seed: of the draws; they depend on it, type, severity and the id of an image alone.
      batch_size: the largest, over all devices.
      prepared: published images to judge in place of computed ones, as many of each as `split` has.

    Raises ValueError for images that corruptions are not defined for, a prepared set of other images, a folder that
    holds another measurement, and one in which another process is at work.
    """
    check_seed(seed)
    check_count("batch_size", batch_size, least=1)
    with check_a():
        check_inputs(pixels(split.images), split.labels, model.num_classes)
    source: CorruptedSet = prepared or ComputedCorruptions(split, seed)
    dataset = dataclasses.replace(dataset, count=len(split), sha256=hash_of(split))
    identity = {
        "format": CorruptionSummary.format,
        "model": model.hash,
        "data": dataset.sha256,
        "source": source.name,
        "types": list(source.types),
        "seed": seed,
    }
    file = Path(folder) / FILE
    if (former := finished(CorruptionSummary, file, identity)) and is_closed(file):
        return former

    def measure(ledger: Ledger) -> CorruptionSummary:
        measuring = _Measuring(model, split, source, ledger, batch_size)
        with measuring.progress:
            clean = measuring.right("clean", split)
            outcomes = measuring.outcomes()
        rows = tuple(
            CorruptionRow(
                name, kind.group, kind.standing,
                tuple(_score(outcomes.right[measurement(name, str(severity))]) for severity in SEVERITIES),
            )
            for name, kind in source.types.items()
        )  # fmt: skip
        if jax.process_index() == 0:
            outcomes.write(file.parent / OUTCOMES)
        mean, mean_with_ours = means(rows)
        return CorruptionSummary(
            identity=identity,
            model=model.facts(),
            dataset=dataset,
            source=source.name,
            seed=seed,
            clean=_score(clean),
            mean=mean,
            mean_with_ours=mean_with_ours,
            rows=rows,
            seconds=round(measuring.seconds, 1),
            versions={**versions(), **{name: metadata.version(name) for name in _MAKERS}},
            device=jax.devices()[0].device_kind,
            devices=jax.device_count(),
            batch_size=batch_size,
            precision=precision(shorter_floats(model, split.images.shape[1:])),
        )

    return completed(CorruptionSummary, file, identity, measure)


class _Measuring:
    """Judges a model on the images of a corrupted set; every finished batch is kept in a ledger."""

    def __init__(self, model: EvaluatedModel, clean: Split, source: CorruptedSet, ledger: Ledger, batch_size: int):
        self._model, self._clean, self._source, self._ledger = model, clean, source, ledger
        self._runner = Runner(model.predict, batch_sizes(batch_size, jax.device_count()))
        self._done, total = 0, len(clean) * (1 + len(source.types) * len(SEVERITIES))
        self.progress = Progress(f"corruptions {model.name}", total, unit="forward")
        self.seconds = 0.0

    def right(self, name: str, split: Any) -> np.ndarray:
        """bool [N], whether an image of a split is classified correctly; `name` is that of the measurement."""

        def run(batch: np.ndarray) -> dict[str, np.ndarray]:
            key = jax.random.key(0)  # no use is made of it
            judged = self._runner.run_batch(self._model.variables, split, judge_once, batch, key, None)
            return {"wrong": judged["wrong"]}

        def batches(left: np.ndarray) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
            return run_concurrently(run, self._runner.cut_batches(left, total=len(split.labels)))

        def tick(examples: int) -> None:
            self._done += examples
            self.progress.update(self._done)

        before, count = self._done, len(split.labels)
        found = self._ledger.measured(name, np.arange(count), batches, tick)
        self._done = before + count  # what was finished before a stop counts too
        self.seconds += float(np.sum(found.get("seconds", 0.0)))
        return ~found["wrong"].astype(bool) if count else np.zeros(0, bool)

    def outcomes(self) -> Outcomes:
        """Of every type and severity; raises ValueError where their images or labels are not alike."""
        first, right = self._take(*self._cells[0]), {}
        for type_, severity in self._cells:
            split = self._take(type_, severity)
            if not np.array_equal(split.labels, first.labels):
                raise ValueError(
                    f"{self._source.name}: images of {type_}, severity {severity}, have other labels than those of "
                    f"{self._cells[0][0]}; expected the same images under all. Prepare the set again."
                )
            right[measurement(type_, str(severity))] = self.right(f"{type_} {severity}", split)
        return Outcomes(first.ids, first.labels, right)

    @property
    def _cells(self) -> list[tuple[str, int]]:
        return list(itertools.product(self._source.types, SEVERITIES))

    def _take(self, type_: str, severity: int) -> Any:
        """The images of a type and severity, as many as there are clean ones; raises ValueError for unfit ones."""
        split, shape = self._source.read(type_, severity), self._clean.images.shape[1:]
        classes = int(split.labels.max(initial=0)) + 1
        if split.images.shape[1:] != shape or classes > self._model.num_classes:
            raise ValueError(
                f"{self._source.name} has images of {split.images.shape[1:]} in {classes} classes or more; the model "
                f"takes images of {shape} and has {self._model.num_classes} classes."
            )
        return split.take(np.arange(min(len(split), len(self._clean)))) if isinstance(split, Split) else split


def measure_corruptions_of_dataset(
    model: EvaluatedModel,
    dataset: Dataset,
    root: str | Path,
    *,
    split: str = "test",
    count: int | None = None,
    seed: int = 0,
    batch_size: int = 128,
    prepared: PreparedCorruptions | None = None,
    foreign: bool = False,
    output: str | Path | None = None,
    report: Callable[[Path], Any] = lambda folder: None,
) -> CorruptionSummary:
    """`measure_corruptions` on the first images of a data set, in a folder named after the settings.

    Arguments and errors are those of `rnas.evaluation.assess_dataset` and `measure_corruptions`.
    """
    chosen, described = first_images(dataset, split, count)
    source = prepared.name if prepared else ""
    named = folder_name(
        model.name, (source, source), *differing(dataset, split, chosen, foreign), (f"seed{seed}", seed)
    )
    folder = Path(output or Path(root) / named)
    summary = measure_corruptions(model, chosen, described, folder, seed=seed, batch_size=batch_size, prepared=prepared)
    if jax.process_index() == 0:
        report(folder)
    return summary


def measure_corruptions_of_function(
    logits_fn: Callable[..., jax.Array], images: np.ndarray, labels: np.ndarray, folder: str | Path, *,
    name: str = "model", dataset: str = "data", **settings: Any,
) -> CorruptionSummary:  # fmt: skip
    """`measure_corruptions` of any JAX function; `rnas.pages.write_corruption_page(folder)` draws a page.

    Args:
      logits_fn: images [N, H, W, C] float32 in [0, 1] → logits [N, K], in inference mode, normalisation inside.
      images: float32 [N, H, W, C] in [0, 1].
      labels: integers [N].
      folder: where the outcome goes; also what a second call resumes from.
      name, dataset: for the reader. A function is recognised by its logits on the first images.
      settings: `seed`, `batch_size` and `prepared`, see `measure_corruptions`.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    with check_a():
        check_types(images, labels)
    split = Split(images, labels, np.arange(len(images)))
    model = function_model(logits_fn, images, name)
    return measure_corruptions(model, split, Images(dataset, "given"), folder, **settings)


def _score(right: np.ndarray) -> Score:
    return Score.of(int(right.sum()), len(right))
