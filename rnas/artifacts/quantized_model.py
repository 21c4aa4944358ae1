"""`quantized/<model>.json`: an int8 ONNX file beside the float one, as both are deployed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rnas.artifacts.attack import Images, Threat
from rnas.artifacts.record import Count, Record, Size
from rnas.artifacts.scores import Score

FOLDER = "quantized"


@dataclass(frozen=True)
class DeployedFile:
    """The size of an ONNX file, and what it classifies correctly, run by onnxruntime."""

    bytes: Size
    hash: str  # SHA-256 of the file
    clean: Score  # without attack
    transfer: Score  # of the images that fooled the float network under AutoAttack
    square: Score  # under Square, which asks this file itself


@dataclass(frozen=True)
class QuantizedModel(Record):
    """The content of the file."""

    format = 1
    remedy = "Export the model again, --format=int8."

    model: str  # of the run, such as 'student'
    label: str  # what people read
    hash: str  # of the float network
    file: str  # where the int8 file was written
    calibration_split: str  # of the images that set the ranges of activations
    calibration_count: Count
    images: Images  # that judged it
    threat: Threat
    white_box: Score  # of the float network under AutoAttack, which knows its gradient
    float32: DeployedFile
    int8: DeployedFile
    versions: Mapping[str, str]
