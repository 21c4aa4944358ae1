"""Int8 ONNX files: weights and activations of a float file in 8 bits, by onnxruntime's static quantisation.

Weights are quantised channel by channel, activations tensor by tensor, both symmetric or not as onnxruntime has it for
signed bytes. The ranges of activations are the smallest and largest values that images show which the model may learn
from: held-out ones, or training images where none are held out. No test image enters.
"""

from collections.abc import Iterator
import contextlib
import logging
from pathlib import Path
import tempfile
from typing import Any, NamedTuple

import numpy as np

from rnas.data.datasets import Split
from rnas.evaluation.runner import pixels
from rnas.export.onnx_model import INPUT
from rnas.runs.loaded_model import Model
from rnas.training.optional_packages import needed

COUNT, BATCH = 512, 64  # images for calibration at most; that are shown at a time


class CalibrationImages(NamedTuple):
    """Images that set the ranges of activations.

    Attributes:
      split: of the run's data set, 'validation' or 'train'.
      pixels: [N, H, W, C], float32 in [0, 1].
    """

    split: str
    pixels: np.ndarray


def calibration_images(model: Model) -> CalibrationImages:
    """At most `COUNT` images of the model's run, spread over its held-out images, or else its training images.

    Raises ValueError for a model without a run, and a run that streams its images and holds none out.
    """
    if model.run is None:
        raise ValueError(
            "int8 needs images, to set the ranges of activations: give a model of a run by --workdir=RUN and --model."
        )
    dataset = model.run.dataset
    name, split = ("validation", dataset.validation) if len(dataset.validation) else ("train", dataset.train)
    if not isinstance(split, Split):
        raise ValueError("int8 needs images in memory: the run streams its training images; hold some out.")
    rows = np.linspace(0, len(split) - 1, min(COUNT, len(split))).astype(np.int64)
    return CalibrationImages(name, pixels(split.images[rows]))


def quantized_onnx(content: bytes, images: np.ndarray) -> bytes:
    """Returns an ONNX file of float32 in 8 bits.

    Args:
      content: a file that takes images [N, C, H, W]; its metadata are kept.
      images: [N, H, W, C], float32 in [0, 1], for the ranges of activations.

    Raises ValueError where onnx or onnxruntime is missing.
    """
    onnx = needed("onnx", "export")
    quantization = needed("onnxruntime.quantization", "export")
    batches = np.array_split(images.transpose(0, 3, 1, 2), -(-len(images) // BATCH))
    with tempfile.TemporaryDirectory() as folder, _without_advice():
        given, prepared, made = (Path(folder) / f"{name}.onnx" for name in ("given", "prepared", "made"))
        given.write_bytes(content)
        # Shapes of all tensors, and each BatchNorm within the convolution before it.
        quantization.quant_pre_process(given, prepared, skip_symbolic_shape=True)
        # What is left of BatchNorm stays in float32: its weights have one axis, and no channels to go by.
        norms = [node.name for node in onnx.load(prepared).graph.node if node.op_type == "BatchNormalization"]
        quantization.quantize_static(
            prepared, made, _reader(quantization, batches), per_channel=True, nodes_to_exclude=norms
        )
        return made.read_bytes()


def _reader(quantization: Any, batches: list[np.ndarray]) -> Any:
    """The batches as onnxruntime takes them."""

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.left: Iterator[np.ndarray] = iter(batches)

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.left, None)
            return None if batch is None else {INPUT: np.ascontiguousarray(batch)}

    return Reader()


@contextlib.contextmanager
def _without_advice() -> Iterator[None]:
    """onnxruntime logs advice on models that were not prepared, this one has been."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
