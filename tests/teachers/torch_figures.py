"""What PyTorch makes of the small networks in `torch_networks`, kept in `torch_figures.npz` for where it is absent.

`python tests/teachers/torch_figures.py` writes the file.
"""

import functools
from pathlib import Path

import numpy as np
import torch_networks as nets

FILE = Path(__file__).with_suffix(".npz")
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)
STEP = 31  # one number in so many of a gradient is kept
# Our name, the tensors, PyTorch's way through them, pixels a side.
NETWORKS = {
    "resnet18_w8": (nets.resnet(18, 8, 7), nets.run_resnet, 32),
    "preact_resnet18_w8": (nets.preact(18, 8, 7), functools.partial(nets.run_preact, raw=False), 32),
    "preact_resnet18_w8_v1_nobn": (
        nets.preact(18, 8, 7, last=False),
        functools.partial(nets.run_preact, raw=True),
        32,
    ),
    "wide_resnet_16_2": (nets.wide(16, 2, 7), nets.run_wide, 32),
    "dm_wide_resnet_16_2": (nets.deepmind_wide(16, 2, 7), nets.run_deepmind_wide, 32),
    "dm_preact_resnet18_w8": (nets.deepmind_preact(18, 8, 7), nets.run_deepmind_preact, 32),
    "ra_wide_resnet_2-1-1_w6-8-12-16": (
        nets.deepmind((2, 1, 1), (8, 12, 16), 7, stem=6, squeeze=True),
        nets.run_deepmind_wide,
        32,
    ),
    "imagenet_resnet18_w8": (nets.torchvision(18, 8, 7), nets.run_torchvision, 64),
}


def images(size, count=2):
    return np.random.RandomState(5).random_sample((count, size, size, 3)).astype(np.float32)


def direction(shape):
    """Of the logits, in which the gradient is taken."""
    return np.random.RandomState(6).standard_normal(shape)


def logits_of(torch, run, state, pixels, mean=MEAN, std=STD):
    """What PyTorch makes of pixels in [0, 1], a torch tensor NHWC whose type is that of the computation."""
    state = {name: torch.tensor(tensor).to(pixels.dtype) for name, tensor in state.items()}
    mean, std = (torch.tensor(numbers, dtype=pixels.dtype) for numbers in (mean, std))
    return run(torch, state, ((pixels - mean) / std).permute(0, 3, 1, 2))


def figures_of(torch, run, state, size, mean=MEAN, std=STD):
    """Logits and input gradients in double precision: in single precision some activation of a large network is so near
    the kink of ReLU that rounding decides on which side it lies, and the gradient jumps there."""
    inputs = torch.tensor(images(size).astype(np.float64), requires_grad=True)
    logits = logits_of(torch, run, state, inputs, mean, std)
    (logits * torch.tensor(direction(logits.shape))).sum().backward()
    return logits.detach().numpy(), inputs.grad.numpy()


def kept(logits, gradient):
    """What the file has of them."""
    return np.concatenate([logits.reshape(-1), gradient.reshape(-1)[::STEP]])


if __name__ == "__main__":
    import torch

    np.savez(
        FILE,
        **{
            name: kept(*figures_of(torch, run, nets.filled(shapes), size)).astype(np.float32)
            for name, (shapes, run, size) in NETWORKS.items()
        },
    )
