"""A small robust network: trained in a minute or so, kept in a file, and the same in PyTorch."""

import hashlib
import io
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from rnas.attacks import cross_entropy, initial_images, projected_ascent, radius
from rnas.layers import Conv, Normalize

MEAN, STD = 0.286, 0.353  # of the pixels of Fashion-MNIST
STRIDES = (1, 2, 2)
STEPS = 7  # of the inner attack


class SmallCNN(nn.Module):
    """Three convolutions 3×3 with ReLU and a dense layer; 0.52 million products for an image of 28×28 pixels."""

    num_classes: int = 10
    widths: tuple[int, int, int] = (8, 16, 32)

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Returns logits [N, num_classes] of grey images [N, H, W, 1] in [0, 1]."""
        x = Normalize((MEAN,), (STD,))(images)
        for layer, (width, stride) in enumerate(zip(self.widths, STRIDES, strict=True)):
            x = nn.relu(Conv(width, stride=stride, use_bias=True, name=f"conv{layer}")(x))
        return nn.Dense(self.num_classes, name="classifier")(x.reshape(len(x), -1))


def logits_fn(params, images: jax.Array) -> jax.Array:
    return SmallCNN().apply({"params": params}, images)


def torch_baseline(params):
    """The same function of NCHW images as a `torch.nn.Module` in evaluation mode, channels last, frozen."""
    import torch

    class Baseline(torch.nn.Module):
        def __init__(self):
            super().__init__()
            kernels = [params[f"conv{layer}"]["kernel"] for layer in range(len(STRIDES))]
            self.convolutions = torch.nn.ModuleList(
                torch.nn.Conv2d(kernel.shape[2], kernel.shape[3], 3, stride, padding=1)
                for kernel, stride in zip(kernels, STRIDES, strict=True)
            )
            self.classifier = torch.nn.Linear(*params["classifier"]["kernel"].shape)

        def forward(self, images):
            x = (images - MEAN) / STD
            for convolution in self.convolutions:
                x = torch.relu(convolution(x))
            # Rows, columns, channels: the order in which the weights of the dense layer count them.
            return self.classifier(x.permute(0, 2, 3, 1).flatten(1))

    baseline = Baseline()
    with torch.no_grad():
        for layer, convolution in enumerate(baseline.convolutions):
            ours = params[f"conv{layer}"]
            convolution.weight.copy_(torch.tensor(np.transpose(ours["kernel"], (3, 2, 0, 1))))
            convolution.bias.copy_(torch.tensor(np.asarray(ours["bias"])))
        baseline.classifier.weight.copy_(torch.tensor(np.transpose(params["classifier"]["kernel"])))
        baseline.classifier.bias.copy_(torch.tensor(np.asarray(params["classifier"]["bias"])))
    return baseline.to(memory_format=torch.channels_last).requires_grad_(False).eval()


def train_small_cnn(
    images: np.ndarray,
    labels: np.ndarray,
    *,
    epsilon: str | float = "8/255",
    seed: int = 0,
    epochs: int = 3,
    batch: int = 128,
    learning_rate: float = 4e-3,
    cache: Path | None = None,
):
    """Trains on images attacked by PGD-7 in an Linf ball (Madry et al. 2018, arXiv 1706.06083).

    The radius grows over the first third of the steps, the learning rate falls along a cosine.

    Args:
      images: uint8 [N, H, W, 1].
      labels: integers [N].
      cache: folder where the parameters are kept, and found by a later call with the same arguments.

    Returns:
      Parameters of `SmallCNN`, NumPy arrays.
    """
    epsilon = radius(epsilon)
    digest = hashlib.sha256(repr((images.shape, epsilon, seed, epochs, batch, learning_rate)).encode())
    digest.update(np.ascontiguousarray(images))
    digest.update(np.ascontiguousarray(labels, dtype="<i4"))
    kept = None if cache is None else Path(cache) / f"small_cnn_{digest.hexdigest()[:16]}.npz"
    if kept is not None and kept.exists():
        with np.load(kept) as file:
            return _nested(file)

    params_key, order_key, attack_key = jax.random.split(jax.random.key(seed), 3)
    params = SmallCNN().init(params_key, jnp.zeros((1, *images.shape[1:])))["params"]
    steps = len(images) // batch
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, epochs * steps))

    @jax.jit
    def epoch(params, memory, images, labels, first, rows):
        def step(carry, numbered):
            params, memory = carry
            number, rows = numbered
            x, y = images[rows].astype(jnp.float32) / 255, labels[rows]
            size = epsilon * jnp.minimum(3 * number / (epochs * steps), 1.0)
            adversarial = projected_ascent(
                lambda points: cross_entropy(logits_fn(params, points), y),
                initial_images(jax.random.fold_in(attack_key, number), x, size),
                x,
                epsilon=size,
                step_size=2.5 / STEPS * size,
                steps=STEPS,
            )
            gradient = jax.grad(lambda params: cross_entropy(logits_fn(params, adversarial), y).mean())(params)
            update, memory = optimizer.update(gradient, memory)
            return (optax.apply_updates(params, update), memory), None

        (params, memory), _ = jax.lax.scan(step, (params, memory), (first + jnp.arange(len(rows)), rows))
        return params, memory

    data = jnp.asarray(images), jnp.asarray(labels)
    memory = optimizer.init(params)
    for number in range(epochs):
        order = jax.random.permutation(jax.random.fold_in(order_key, number), len(images))
        rows = order[: steps * batch].reshape(steps, batch)
        params, memory = epoch(params, memory, *data, number * steps, rows)
    params = jax.tree.map(np.asarray, params)
    if kept is not None:
        stream = io.BytesIO()
        np.savez(stream, **_flat(params))
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial_file = kept.with_suffix(".tmp")
        partial_file.write_bytes(stream.getvalue())
        partial_file.replace(kept)  # in one step: no reader ever finds half a file
    return params


def _flat(params) -> dict[str, np.ndarray]:
    return {f"{layer}/{name}": leaf for layer, leaves in params.items() for name, leaf in leaves.items()}


def _nested(arrays) -> dict[str, dict[str, np.ndarray]]:
    params = {}
    for path in arrays:
        layer, name = path.split("/")
        params.setdefault(layer, {})[name] = arrays[path]
    return params
