"""The formats: how a model is written, run back and compared. Nothing takes its final name before it has been."""

from collections.abc import Callable, Mapping
import dataclasses
import json
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from flax.traverse_util import flatten_dict
import jax
from jax import export as jax_export
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load_file, save

from rnas.artifacts.files import replaced
from rnas.evaluation.onnx_file import OnnxFile
from rnas.export.card_text import about, card_text
from rnas.export.comparison import check, difference_of_gradients, difference_of_logits
from rnas.export.onnx_model import onnx_model
from rnas.export.quantization import calibration_images, quantized_onnx
from rnas.export.torch_code import torch_code
from rnas.export.traced_program import read_graph
from rnas.runs.loaded_model import Model
from rnas.training.optional_packages import needed

PLATFORMS = ("cpu", "cuda", "tpu")


class Exported(NamedTuple):
    """What an export has written."""

    files: tuple[Path, ...]
    differences: dict[str, float]  # of what → the largest, as a share of the largest number of the original


def export(model: Model, kind: str, output: str | Path) -> Exported:
    """Writes a model as one of `FORMATS`, after it has been read back and compared with the original.

    Args:
      output: the file to write; its ending must be that of the format.

    Raises ValueError for an unknown format or ending, a package that is not installed, a network that the format cannot
    express, and a file that does not compute what the model computes; then nothing has been written.
    """
    if kind not in FORMATS:
        raise ValueError(f"unknown format {kind!r}; expected one of {', '.join(FORMATS)}.")
    ending, write = FORMATS[kind]
    path = Path(output)
    if path.suffix != ending or not path.stem:
        raise ValueError(f"{path}: a file of the format {kind} has a name that ends in {ending}.")
    return write(model, path)


def _write_safetensors(model: Model, path: Path) -> Exported:
    """The Flax variables as they are, by the parts of their paths joined by '/'; the card is their metadata."""
    leaves = flatten_dict(dict(model.variables), sep="/")
    arrays = {name: np.asarray(leaf, order="C") for name, leaf in leaves.items()}
    with replaced(path) as temporary:
        temporary.write_bytes(save(arrays, {"format": "flax", "card": _card(model)}))
        found = load_file(temporary)
        if found.keys() != arrays.keys() or any(found[name].tobytes() != arrays[name].tobytes() for name in arrays):
            raise ValueError(f"{path} does not hold what was written; is the disk sound? No file was written.")
    return Exported((path,), {"tensors": 0.0})


def _write_torch(model: Model, path: Path) -> Exported:
    """A module in a file of its own, and its state beside it."""
    torch = needed("torch", "torch", "an export, which is run back before it is kept,")
    weights = path.with_suffix(".pt.safetensors")
    graph = read_graph(model.evaluated.predict, model.variables, model.image_shape)
    text = torch_code(graph, model.card.label, about(model.card), weights.name)
    tensors = dict(graph.tensors)
    for name in [name for name in tensors if name.endswith(".running_mean")]:
        tensors[f"{name.removesuffix('running_mean')}num_batches_tracked"] = np.zeros((), np.int64)
    with replaced(path) as code, replaced(weights) as state:  # the weights take their name first
        state.write_bytes(save(tensors, {"format": "pt", "card": _card(model)}))
        code.write_text(text, encoding="utf-8")
        module = ModuleType(path.stem)
        module.__file__ = str(path)
        exec(compile(code.read_text(encoding="utf-8"), str(path), "exec"), module.__dict__)
        network = module.load(state)

        def logits(images: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                return network(_channels_first(torch, images)).numpy()

        def gradients(images: np.ndarray, combination: np.ndarray) -> np.ndarray:
            pixels = _channels_first(torch, images).requires_grad_()
            (network.double()(pixels) * torch.from_numpy(combination)).sum().backward()
            return pixels.grad.permute(0, 2, 3, 1).numpy()

        differences = _checked(model, "PyTorch module", logits, gradients)
    return Exported((path, weights), differences)


def onnx_file(model: Model, *, figures: bool = True) -> bytes:
    """The model as an ONNX file of float32, its card among the metadata; raises ValueError as `export`.

    Without `figures` the card is without what was measured of the model, and the file the same before and after.
    """
    if not figures:
        model = dataclasses.replace(model, card=dataclasses.replace(model.card, evaluation=None, attacks=()))
    needed("onnx", "export", "an export")
    graph = read_graph(model.evaluated.predict, model.variables, model.image_shape)
    return onnx_model(graph, model.card.label, {"card": _card(model)}).SerializeToString()


def _write_onnx(model: Model, path: Path) -> Exported:
    """One file with the weights inside."""
    content = onnx_file(model)
    with replaced(path) as temporary:
        temporary.write_bytes(content)
        differences = _checked(model, "ONNX model", OnnxFile.read(temporary).logits)
    return Exported((path,), differences)


def _write_int8(model: Model, path: Path) -> Exported:
    """The ONNX file in 8 bits, without the figures of the float network.

    It is no copy: what it predicts is compared, and a file that guesses is not kept.
    """
    images = calibration_images(model).pixels
    content = quantized_onnx(onnx_file(model, figures=False), images)
    with replaced(path) as temporary:
        temporary.write_bytes(content)
        expected, found = np.asarray(model.logits(images)), OnnxFile.read(temporary).logits(images)
        differences = {"predictions": float(np.mean(expected.argmax(1) != found.argmax(1)))}
        check(differences, "int8 ONNX model")
    return Exported((path,), differences)


def _write_stablehlo(model: Model, path: Path) -> Exported:
    """A program of `jax.export` with the weights inside, for every platform and any number of images."""
    (count,) = jax_export.symbolic_shape("N")
    images = jax.ShapeDtypeStruct((count, *model.image_shape), jnp.float32)
    variables = model.variables
    with jax.default_matmul_precision("highest"):
        program = jax.jit(lambda images: model.evaluated.predict(variables, images))
        made = jax_export.export(program, platforms=PLATFORMS)(images).serialize(vjp_order=1)
    with replaced(path) as temporary:
        temporary.write_bytes(made)
        found = jax_export.deserialize(bytearray(temporary.read_bytes()))
        differences = _checked(model, "StableHLO program", jax.jit(found.call))
    return Exported((path,), differences)


def _write_card(model: Model, path: Path) -> Exported:
    """A model card in Hugging Face's form."""
    with replaced(path) as temporary:
        temporary.write_text(card_text(model.card), encoding="utf-8")
    return Exported((path,), {})


FORMATS: Mapping[str, tuple[str, Callable[[Model, Path], Exported]]] = {
    "safetensors": (".safetensors", _write_safetensors),
    "torch": (".py", _write_torch),
    "onnx": (".onnx", _write_onnx),
    "int8": (".onnx", _write_int8),
    "stablehlo": (".stablehlo", _write_stablehlo),
    "card": (".md", _write_card),
}


def _checked(model: Model, what: str, logits: Callable, gradients: Callable | None = None) -> dict[str, float]:
    differences = {"logits": difference_of_logits(model, logits)}
    if gradients is not None:
        differences["gradients"] = difference_of_gradients(model, gradients)
    check(differences, what)
    return differences


def _card(model: Model) -> str:
    return json.dumps(model.card.to_json())


def _channels_first(torch: Any, images: np.ndarray) -> Any:
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
