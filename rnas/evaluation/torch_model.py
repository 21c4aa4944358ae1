"""PyTorch models as functions of JAX: exact, for any model, in one process.

JAX calls back into PyTorch for the logits, and once more for their gradient. Images are copied on the way and not
shared by DLPack: a model that works in place would write into arrays of JAX, which nothing may change.
"""

from collections.abc import Callable
import functools
import hashlib
import importlib
import importlib.util
from pathlib import Path
import sys
import threading
from typing import Any

import jax
import numpy as np

from rnas.evaluation.evaluated_model import EvaluatedModel
from rnas.evaluation.foreign_model import callback_logits
from rnas.training.optional_packages import needed

WRAP = "wrap it: lambda images: model(images)[0], or whatever gives the logits alone"


def torch_logits(model: Callable) -> Callable[[jax.Array], jax.Array]:
    """A PyTorch model as `rnas.attacks` and `rnas.evaluation.assess_function` take models.

    Args:
      model: a `torch.nn.Module` in inference mode, or a function, from images [N, C, H, W], floats in [0, 1] on the
        device of its parameters, to logits [N, K].

    Returns images [N, H, W, C] → logits [N, K], float32. It can be differentiated backwards, once, and mapped; what it
    costs beside the model is a copy of the images. The function raises ValueError where the model is in training mode,
    refuses images of that shape, or returns anything but logits.
    """
    bridge = _Bridge(model)
    return callback_logits(bridge.logits, bridge.classes, bridge.gradient)


class _Bridge:
    """A PyTorch model on arrays of JAX with channels last; any axes may stand before those of a batch."""

    def __init__(self, model: Callable):
        torch = needed("torch", "torch", "a PyTorch model")
        self.torch, self.model = torch, model
        parameters = [*model.parameters(), *model.buffers()] if isinstance(model, torch.nn.Module) else []
        self.device = parameters[0].device if parameters else torch.device("cpu")
        self.lock = threading.Lock()  # batches run side by side, which PyTorch does by itself
        self.classes = functools.cache(self._classes)

    def logits(self, images: Any) -> np.ndarray:
        with self.lock, self.torch.no_grad():
            return self._joined(images, self._run(self._pixels(images)))

    def gradient(self, images: Any, cotangent: Any) -> np.ndarray:
        with self.lock, self.torch.enable_grad():
            pixels = self._pixels(images).requires_grad_()
            logits = self._run(pixels)
            factor = self.torch.tensor(np.asarray(cotangent), device=self.device).reshape(logits.shape)
            (found,) = self.torch.autograd.grad(logits, pixels, factor)
        return self._joined(images, found.permute(0, 2, 3, 1), image=True)

    def _classes(self, shape: tuple[int, ...]) -> int:
        """K, by one black image of that shape."""
        if getattr(self.model, "training", False):
            raise ValueError("the PyTorch model is in training mode: call model.eval() before it is attacked.")
        if len(shape) != 3:
            raise ValueError(f"images have the shape [N, {', '.join(map(str, shape))}]; expected [N, H, W, C].")
        black = np.zeros((1, *shape), np.float32)
        first = [1, shape[2], *shape[:2]]
        try:
            with self.lock, self.torch.no_grad():
                logits = self._run(self._pixels(black))
        except (RuntimeError, TypeError, IndexError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ValueError(
                f"the PyTorch model does not take images {first} (channels first, as PyTorch has them): {reason}. If "
                "it wants channels last, wrap it: lambda images: model(images.permute(0, 2, 3, 1))."
            ) from error
        if logits.ndim != 2 or len(logits) != 1:
            raise ValueError(f"the PyTorch model returns {list(logits.shape)} for one image, expected [1, K]; {WRAP}.")
        return logits.shape[1]

    def _run(self, pixels: Any) -> Any:
        found = self.model(pixels)
        if not isinstance(found, self.torch.Tensor):
            raise ValueError(
                f"the PyTorch model returns a {type(found).__name__}, expected a tensor, its logits; {WRAP}."
            )
        if not found.dtype.is_floating_point:
            raise ValueError(f"the PyTorch model returns {found.dtype}; attacks need its logits, which are floats.")
        return found.float()

    def _pixels(self, images: Any) -> Any:
        images = np.asarray(images)
        pixels = self.torch.tensor(images.reshape(-1, *images.shape[-3:]), device=self.device)
        return pixels.permute(0, 3, 1, 2).contiguous()

    def _joined(self, images: Any, found: Any, *, image: bool = False) -> np.ndarray:
        shape = np.shape(images)
        return found.detach().cpu().numpy().reshape(shape if image else (*shape[:-3], -1))


def load_torch(place: str) -> Callable:
    """The PyTorch model that a function gives: `package.module:function` or `path/to/file.py:function`.

    A module is looked for where Python looks, and in the current folder. Instead of a function there may be the model.
    Raises ValueError where it, or PyTorch, is not there; what the function itself raises passes through.
    """
    torch = needed("torch", "torch", "a PyTorch model")
    path, colon, name = place.rpartition(":")
    if not (colon and path and name):
        raise ValueError(f"--torch={place}: expected MODULE:FUNCTION or FILE.py:FUNCTION, such as model.py:load.")
    if path.endswith(".py"):
        if not Path(path).is_file():
            raise ValueError(f"--torch={place}: there is no file {path}.")
        spec: Any = importlib.util.spec_from_file_location(Path(path).stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    else:
        sys.path.insert(0, str(Path.cwd()))
        try:
            module = importlib.import_module(path)
        except ModuleNotFoundError as error:
            raise ValueError(f"--torch={place}: {error}; it is neither installed nor in {Path.cwd()}.") from error
        finally:
            sys.path.remove(str(Path.cwd()))
    found = getattr(module, name, None)
    if not callable(found):
        known = ", ".join(each for each in vars(module) if callable(getattr(module, each)) and not each.startswith("_"))
        raise ValueError(f"--torch={place}: {path} has no function {name!r}; it has {known or 'none'}.")
    return found if isinstance(found, torch.nn.Module) else found()


def evaluated_torch(model: Callable, image_shape: tuple[int, int, int], *, name: str, source: str) -> EvaluatedModel:
    """A PyTorch model as an evaluated model; raises ValueError as what `torch_logits` gives.

    It is recognised by its parameters and by its logits on a few random images.
    """
    torch = needed("torch", "torch", "a PyTorch model")
    logits_fn = torch_logits(model)
    images = np.random.default_rng(0).random((4, *image_shape), np.float32)
    logits = np.asarray(jax.jit(logits_fn)(images), np.float64)
    digest, params = hashlib.sha256(np.round(logits, 3).tobytes()), None
    if isinstance(module := model, torch.nn.Module):
        for key, tensor in module.state_dict().items():
            digest.update(key.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
        params = sum(parameter.numel() for parameter in module.parameters())
    return EvaluatedModel(
        name, digest.hexdigest(), logits.shape[1], source=source, architecture=type(model).__name__, params=params,
        predict=lambda variables, images: logits_fn(images),
        variables=np.zeros(()),  # pmap wants an array
    )  # fmt: skip
