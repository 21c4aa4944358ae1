"""The images that an evaluation is of: which of a data set, and what they are called."""

from collections.abc import Iterator
import contextlib
import hashlib
import re
from typing import Any

import numpy as np

from rnas.artifacts.attack import Images
from rnas.attacks.input_checks import check_count
from rnas.data.datasets import Dataset, Split


def first_images(dataset: Dataset, split: str, count: int | None) -> tuple[Split, Images]:
    """The first `count` images of a split, or all, and what is stored of them.

    Raises ValueError for a split that is streamed or empty, or a count below 1.
    """
    images = getattr(dataset, split)
    streamed = not hasattr(images, "images")
    if streamed or not len(images):
        wrong = "streamed; attack test or validation" if streamed else "empty; attack another"
        raise ValueError(f"the {split} split of {dataset.name} is {wrong}.")
    if count is not None:
        check_count("count", count, least=1)
    chosen = images.take(np.arange(min(count or len(images), len(images))))
    described = Images(
        name=dataset.name, version=dataset.version, split=split, first=0, class_names=tuple(dataset.class_names)
    )
    return chosen, described


def differing(dataset: Dataset, split: str, chosen: Split, foreign: bool) -> tuple[tuple[str, Any], ...]:
    """What a folder is named after beside the model, and whether: other images than all test images of the run's set.

    `foreign`: whether the model was trained on other data.
    """
    return (
        (split, split != "test"),
        (dataset.name, foreign),
        (f"first{len(chosen)}", len(chosen) < len(getattr(dataset, split))),
    )


def folder_name(*parts: str | tuple[str, Any]) -> str:
    """The name of a folder: texts, and those of pairs (text, condition) whose condition holds."""
    texts = [part if isinstance(part, str) else part[0] for part in parts if isinstance(part, str) or part[1]]
    return re.sub(r"[^\w.-]+", "-", "_".join(texts))


def hash_of(split: Split) -> str:
    """SHA-256 of types, shapes, pixels and labels."""
    digest = hashlib.sha256(f"{split.images.dtype} {split.images.shape}".encode())
    digest.update(np.ascontiguousarray(split.images).data)
    digest.update(np.ascontiguousarray(split.labels, dtype=np.int64).data)
    return digest.hexdigest()


@contextlib.contextmanager
def check_a() -> Iterator[None]:
    """Names the check that refuses inputs for which nothing can run."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"check A (inputs) failed: {error}") from error
