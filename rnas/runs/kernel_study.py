"""Scores of many cells over several initialisations, kept architecture by architecture on disk."""

from collections.abc import Callable, Sequence
import dataclasses
import functools
from pathlib import Path
import time
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from rnas.artifacts.kernel_results import CellScores, KernelResults, KernelSettings
from rnas.artifacts.run_record import versions
from rnas.attacks import radius
from rnas.data import Dataset, Split
from rnas.data.balance import balanced_rows
from rnas.evaluation.ledger import Ledger
from rnas.models import NASBench201
from rnas.ntk.measurement import Measurement, make_measurement
from rnas.ntk.perturbed import blocks, mixed_kernels
from rnas.ntk.proxies import naswot
from rnas.ntk.scores import ntk_scores
from rnas.spaces import nasbench201
from rnas.steps.augmentation import to_float


def run_study(
    dataset: Dataset,
    ids: Sequence[int],
    settings: KernelSettings,
    folder: Path,
    finished: Callable[[int], None] = lambda architectures: None,
) -> KernelResults:
    """Scores cells on training images; those that `folder` holds under the same settings are not scored again.

    Args:
      dataset: with images whose sides can be halved twice.
      ids: of the cells, any order.
      folder: gets one small file an architecture.
      finished: called after each architecture with the number of those that are done.

    Raises ValueError for images that cannot be halved twice, more than the data set has, a folder of other settings.
    """
    rows = np.unique(np.asarray(ids, np.int64))
    chosen = dataset.train.take(
        balanced_rows(dataset.train.labels, settings.images, num_classes=dataset.num_classes, seed=settings.seed)
    )
    identity = {
        "settings": {**dataclasses.asdict(settings), "epsilons": list(settings.epsilons)},
        "data": dataset.fingerprint,
        "image_ids": chosen.ids.tolist(),
    }
    scorer = functools.cache(lambda: _scorer(dataset, chosen, settings))

    def run(left):
        for number in left.tolist():
            before = time.process_time()
            scores, each = scorer()(number)
            cpu_seconds = np.array([time.process_time() - before])
            yield np.array([number]), {"scores": scores[None], "each": each[None], "cpu_seconds": cpu_seconds}

    # One measurement an architecture, so that a folder serves any choice of them.
    ledger = Ledger(folder, identity)
    cells, seconds, cpu_seconds = [], [], []
    for place, number in enumerate(rows.tolist(), start=1):
        found = ledger.measured(nasbench201.to_code(number), np.array([number]), run)
        scores = dict(zip(settings.scores, found["scores"][0].tolist(), strict=True))
        std = dict(zip(settings.scores, found["each"][0].std(0).tolist(), strict=True))
        cells.append(CellScores(number, nasbench201.to_code(number), scores, std, scores["clean/rank"] <= 1))
        seconds += found["seconds"].tolist()
        cpu_seconds += found["cpu_seconds"].tolist()
        finished(place)
    return KernelResults(
        dataset={key: dataset.fingerprint[key] for key in ("name", "description")},
        settings=settings,
        image_ids=tuple(chosen.ids.tolist()),
        seconds={"median": float(np.median(seconds)), "total": float(np.sum(seconds))},
        cpu_seconds={"median": float(np.median(cpu_seconds)), "total": float(np.sum(cpu_seconds))},
        device=jax.devices()[0].device_kind,
        versions=versions(),
        architectures=tuple(cells),
    )


def _scorer(
    dataset: Dataset, chosen: Split, settings: KernelSettings
) -> Callable[[int], tuple[np.ndarray, np.ndarray]]:
    """Returns id → (scores [S], scores of each initialisation [I, S])."""
    mean, std = _channel_statistics(dataset.train.images)
    model = NASBench201(
        num_classes=dataset.num_classes, mean=mean, std=std, channels=settings.channels, cells=settings.cells
    )
    images, labels = to_float(jnp.asarray(chosen.images)), jnp.asarray(chosen.labels)
    radii = jnp.asarray([radius(epsilon) for epsilon in settings.epsilons], jnp.float32)
    measure = make_measurement(model, steps=settings.steps, output=settings.output, parameters=settings.parameters)
    # One compilation serves every cell; a second would be a mistake of ours.
    measure = jax.jit(chex.assert_max_traces(measure, n=1))
    root = jax.random.key(settings.seed)
    init = jax.jit(lambda key: model.init(key, images[:1], jnp.zeros(len(nasbench201.EDGES), jnp.int32)))
    keys = [jax.random.split(jax.random.fold_in(root, number)) for number in range(settings.initialisations)]
    drawn = [(init(weights), attack) for weights, attack in keys]

    def score(number: int) -> tuple[np.ndarray, np.ndarray]:
        encoding = jnp.asarray(nasbench201.encodings()[number])
        found = [jax.device_get(measure(variables, encoding, images, labels, radii, key)) for variables, key in drawn]
        costs, codes = _costs(number, dataset), [naswot(one.agreement) for one in found]

        def scored(one: Measurement, codes: Any) -> list[float]:
            proxies: tuple[Any, ...] = (one.synflow, codes, one.gradient_norm, one.jacobian_norm)
            return [*_of_kernels(one.kernel, chosen.labels, settings), *map(float, proxies), *costs]

        means: list[Any] = [np.mean(parts, 0, dtype=np.float64) for parts in zip(*found, strict=True)]
        return np.array(scored(Measurement(*means), np.mean(codes))), np.array(list(map(scored, found, codes)))

    return score


def _channel_statistics(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of the pixels in [0, 1] of each channel of bytes [N, H, W, C]."""
    levels = np.arange(256) / 255
    counts = np.stack([np.bincount(images[..., channel].ravel(), minlength=256) for channel in range(images.shape[-1])])
    shares = counts / counts.sum(1, keepdims=True)
    mean = shares @ levels
    return tuple(mean.tolist()), tuple(np.sqrt(shares @ levels**2 - mean**2).tolist())


def _of_kernels(whole: Any, labels: np.ndarray, settings: KernelSettings) -> list[float]:
    examples = len(labels)
    scored: list[Any] = [whole[:examples, :examples]]
    for place in range(len(settings.epsilons)):
        kernels = blocks(whole, examples, place)
        mixed = mixed_kernels(kernels, settings.beta)
        scored += [(kernels.cross + kernels.cross.T) / 2, kernels.robust, kernels.twice, *mixed]
    return [value for kernel in scored for value in ntk_scores(kernel, labels)]


def _costs(number: int, dataset: Dataset) -> list[float]:
    """Parameters and MACs of the benchmark's own network, and 3x3 convolutions in the cell."""
    encoding = nasbench201.encodings()[number]
    task: dict[str, Any] = {"image_size": dataset.image_shape[:2], "num_classes": dataset.num_classes}
    counted = [float(nasbench201.cost(encoding, kind=kind, **task)) for kind in ("params", "macs")]
    return [*counted, float((encoding == nasbench201.CONV_3X3).sum())]
