"""Images made to fool one model, tried on another."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rnas.artifacts.files import read_json
from rnas.data.datasets import Split
from rnas.evaluation.runner import pixels

if TYPE_CHECKING:
    from rnas.evaluation.assessment import Threat


@dataclass(frozen=True, eq=False)
class Transfer:
    """The images of another model's evaluation: `images` float32 [N,H,W,C], clean where that one was not fooled."""

    source: str
    model: str
    images: np.ndarray


def load_transfer(source: str, split: Split, data_hash: str, threat: "Threat") -> Transfer:
    """Reads the images of a finished evaluation.

    Raises:
      ValueError: no evaluation there, one of other images, or of a threat that allows more than this one.
    """
    folder = Path(source)
    if not (folder / "attack.json").is_file() or not (folder / "adversarial.npz").is_file():
        raise ValueError(f"no finished evaluation at {source}: expected a folder with attack.json and adversarial.npz.")
    summary = read_json(folder / "attack.json")
    if summary["dataset"]["sha256"] != data_hash:
        raise ValueError(
            f"{source} attacked other images ({summary['dataset']['name']}, {summary['dataset']['count']} of them); "
            "transfer needs the same images in the same order: use the same --dataset, --split and --count."
        )
    theirs = summary["threat"]
    if theirs["norm"] != threat.norm or theirs["epsilon"] > threat.epsilon * (1 + 1e-6):
        raise ValueError(
            f"{source} attacked in {theirs['norm']} with epsilon {theirs['epsilon_text']}, which is more than this "
            f"threat allows ({threat.norm}, {threat.text})."
        )
    images = pixels(split.images).copy()
    with np.load(folder / "adversarial.npz", allow_pickle=False) as file:
        images[file["row"]] = file["images"]
    return Transfer(source, summary["model"]["name"], images)
