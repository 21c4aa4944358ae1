"""ONNX files under the attacks that need no gradient: run by onnxruntime, as they are deployed."""

from collections.abc import Mapping
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from rnas.evaluation.evaluated_model import EvaluatedModel
from rnas.evaluation.foreign_model import callback_logits
from rnas.training.optional_packages import needed


class OnnxFile:
    """A classifier of images [N, C, H, W], floats in [0, 1], N open, to logits [N, K], on the CPU.

    Attributes:
      content: the file.
      image_shape: [H, W, C].
      classes: K.
      card: what `rnas export` has written of the model into the file; empty of files of other origin.
    """

    def __init__(self, content: bytes, where: str, threads: int = 0):
        """Opens the content of a file; raises ValueError where it is no such classifier, or onnxruntime is missing.

        Args:
          where: the file, for messages.
          threads: of onnxruntime; 0: one a core.
        """
        runtime = needed("onnxruntime", "export", "an ONNX file")
        self.content = content
        options = runtime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads
        try:
            self._session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its classes of errors are not public
            reason = str(error).strip().splitlines()[0]
            raise ValueError(f"{where} is no ONNX file that onnxruntime runs: {reason}.") from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or not outputs:
            raise ValueError(f"{where} takes {len(inputs)} inputs; expected images alone.")
        (images,), logits = inputs, outputs[0]
        count, *shape = images.shape if len(images.shape) == 4 else [None]
        if images.type != "tensor(float)" or isinstance(count, int) or not all(isinstance(each, int) for each in shape):
            raise ValueError(
                f"{where} takes {images.type} {images.shape}; expected tensor(float) [N, C, H, W] with fixed C, H and "
                "W and any number N of images: export it so."
            )
        self._names = images.name, logits.name
        channels, height, width = map(int, shape)
        self.image_shape = (height, width, channels)
        found = self.logits(np.zeros((1, *self.image_shape), np.float32))
        if found.ndim != 2 or len(found) != 1 or found.dtype != np.float32:
            raise ValueError(f"{where} gives {found.dtype} {list(found.shape)} for one image; expected float32 [1, K].")
        self.classes = found.shape[1]
        stored = self._session.get_modelmeta().custom_metadata_map.get("card", "{}")
        try:
            card = json.loads(stored)
        except ValueError:
            card = {}
        self.card: Mapping[str, Any] = card if isinstance(card, dict) else {}

    @classmethod
    def read(cls, path: str | Path) -> "OnnxFile":
        """Opens a file; raises ValueError as the class does, and where there is no file."""
        if not Path(path).is_file():
            raise ValueError(f"there is no file {path}.")
        return cls(Path(path).read_bytes(), str(path))

    def logits(self, images: Any) -> np.ndarray:
        """images [..., H, W, C], float32 → logits [..., K]; any number of axes may stand in front."""
        images = np.asarray(images)
        pixels = images.reshape(-1, *self.image_shape).transpose(0, 3, 1, 2)
        taken, given = self._names
        (found,) = self._session.run([given], {taken: np.ascontiguousarray(pixels)})
        return found.reshape(*images.shape[:-3], *found.shape[1:])

    def evaluated(self, *, name: str, label: str = "", source: str) -> EvaluatedModel:
        """As an evaluated model without gradient, recognised by the content of the file."""
        logits_fn = callback_logits(self.logits, self._classes)
        return EvaluatedModel(
            name, hashlib.sha256(self.content).hexdigest(), self.classes, label=label, source=source,
            architecture="ONNX file", differentiable=False,
            predict=lambda variables, images: logits_fn(images),
            variables=np.zeros(()),  # pmap wants an array
        )  # fmt: skip

    def _classes(self, shape: tuple[int, ...]) -> int:
        if shape != self.image_shape:
            raise ValueError(f"the ONNX file takes images of {self.image_shape}, not of {shape}.")
        return self.classes
