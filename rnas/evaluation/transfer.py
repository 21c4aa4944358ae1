"""Images made to fool one model, tried on another."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from rnas.artifacts.attack import FILE, IMAGES, AttackSummary, FoolingImages, Threat
from rnas.data.datasets import Split
from rnas.evaluation.runner import pixels


class Transfer(NamedTuple):
    """Images float32 [N,H,W,C] of the attack in folder `source` on `model`, clean where that was not fooled."""

    source: str
    model: str
    images: np.ndarray


def load_transfer(source: str, split: Split, data_hash: str, threat: Threat) -> Transfer:
    """Reads the images of a finished attack.

    Raises ValueError where there is none, or one on other images, or of a threat that allows more than this one.
    """
    folder = Path(source)
    if not all((folder / name).is_file() for name in (FILE, IMAGES)):
        raise ValueError(f"no finished attack at {source}: expected a folder with {FILE} and {IMAGES}.")
    summary = AttackSummary.read(folder / FILE)
    if summary.dataset.sha256 != data_hash:
        raise ValueError(
            f"{source} attacked other images ({summary.dataset.name}, {summary.dataset.count} of them); "
            "transfer needs the same images in the same order: use the same --dataset, --split and --count."
        )
    other = summary.threat
    if other.norm != threat.norm or other.epsilon > threat.epsilon * (1 + 1e-6):
        raise ValueError(
            f"{source} attacked in {other.norm} with epsilon {other.epsilon_text}, which is more than this threat "
            f"allows ({threat.norm}, {threat.epsilon_text})."
        )
    images = pixels(split.images).copy()
    fooling = FoolingImages.read(folder / IMAGES)
    images[fooling.row] = fooling.images
    return Transfer(source, summary.model.label, images)
