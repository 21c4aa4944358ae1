"""The weight step of a search in PyTorch, as somebody would write it who cares for its speed.

Channels-last memory, native batch normalisation and hard swish, squared maps with a gradient of their own, maps
of one resolution resized together, all distances as one batched product, fused Adam, the images in memory.
"""

from collections.abc import Sequence
import itertools
import math

import search_problem as given
import torch
from torch import nn
import torch.nn.functional as F

from rnas.spaces.width_space import Block, WidthSpace

VERSIONS = {"torch": torch.__version__}


class ConvBatchNorm(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=given.CONV_BIAS)
        self.bn = nn.BatchNorm2d(outputs, eps=given.BN_EPSILON, momentum=1 - given.BN_MOMENTUM)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out")
        if given.CONV_BIAS:
            nn.init.zeros_(self.conv.bias)

    def forward(self, x):
        return self.bn(self.conv(x))


class InvertedResidual(nn.Module):
    def __init__(self, inputs: int, block: Block):
        super().__init__()
        expanded = block.expansion * inputs
        self.expansion = block.expansion
        self.shortcut = block.stride == 1 and inputs == block.width
        self.expand = ConvBatchNorm(inputs, expanded, 1)
        self.depthwise = ConvBatchNorm(expanded, expanded, 3, block.stride, groups=expanded)
        self.project = ConvBatchNorm(expanded, block.width, 1)

    def forward(self, x, mask, output_mask):
        """Returns the output and the maps [N,H,W] of the three convolutions; `mask` [C_in] is None for ones."""
        if mask is not None:
            mask = mask.repeat_interleave(self.expansion)
        y = F.hardswish(self.expand(x))
        maps = [energy(y, mask)]
        y = F.hardswish(self.depthwise(y))
        if mask is not None:
            y = y * mask[:, None, None]
        maps.append(energy(y))
        y = self.project(y)
        maps.append(energy(y, output_mask))
        return (y + x if self.shortcut else y) * output_mask[:, None, None], maps


class Energy(torch.autograd.Function):
    """`energy` with a gradient of one pass over x, two if there is a mask; automatic ones take three."""

    @staticmethod
    def forward(ctx, x, weights):
        ctx.save_for_backward(x, weights)
        squares = x.square()
        return squares.sum(1) if weights is None else squares.permute(0, 2, 3, 1) @ weights

    @staticmethod
    def backward(ctx, gradient):
        x, weights = ctx.saved_tensors
        gradient = (2.0 * gradient)[..., None]
        if weights is not None:
            gradient = gradient * weights
        return x * gradient.permute(0, 3, 1, 2), None


def energy(x, mask=None):
    """Σ_c (mask_c·x_c)² [N,H,W] of x [N,C,H,W]."""
    return Energy.apply(x, None if mask is None else mask.square())


def normalised(maps):
    return maps * torch.rsqrt(maps.square().sum(-1, keepdim=True) + 1e-24)


def attention_maps(maps: Sequence[torch.Tensor]):
    """Maps [N,H,W] of any resolution to unit vectors [N,n,14·14]."""
    resized = []
    for _, run in itertools.groupby(maps, key=lambda map_: map_.shape[-2:]):
        stacked = torch.stack(list(run), 1)
        sized = F.interpolate(stacked, (given.MAP_SIZE, given.MAP_SIZE), mode="bilinear", align_corners=False)
        resized.append(sized.flatten(2))
    return normalised(torch.cat(resized, 1))


class Supernet(nn.Module):
    """Network and loss in one module, so that one graph holds both."""

    def __init__(self, space: WidthSpace):
        super().__init__()
        self.register_buffer("mean", torch.tensor(given.MEAN)[:, None, None])
        self.register_buffer("std", torch.tensor(given.STD)[:, None, None])
        self.stem = ConvBatchNorm(3, space.stem_width, 3, space.stem_stride)
        self.blocks = nn.ModuleList()
        width = space.stem_width
        for block in space.blocks:
            self.blocks.append(InvertedResidual(width, block))
            width = block.width
        self.classifier = nn.Linear(width, given.CLASSES)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, images, labels, teacher_logits, teacher_maps, masks, tutors, factor):
        """Returns the mean loss of uint8 images [N,32,32,3] at one sample of the architecture.

        Args:
          teacher_logits: log-probabilities [N,K].
          teacher_maps: unit vectors [N,n_t,14·14].
          masks: channel mask of each block.
          tutors: weights of the teacher's maps [n_s,n_t].
          factor: of the cost, a scalar tensor.
        """
        # Bytes [N,H,W,C] seen as [N,C,H,W] are channels-last already.
        x = (images.permute(0, 3, 1, 2) / 255.0 - self.mean) / self.std
        x = F.hardswish(self.stem(x))
        maps, mask = [energy(x)], None
        for block, output_mask in zip(self.blocks, masks, strict=True):
            x, more = block(x, mask, output_mask)
            maps += more
            mask = output_mask
        logits = self.classifier(x.mean((2, 3)))
        kl = F.kl_div(F.log_softmax(logits, -1), teacher_logits, log_target=True, reduction="batchmean")
        distances = 2.0 - 2.0 * (attention_maps(maps) @ teacher_maps.transpose(1, 2))
        attention = (distances * tutors).sum() / len(images)
        return (F.cross_entropy(logits, labels) + given.KL_WEIGHT * kl + given.GAMMA * attention) * factor


class Architecture:
    """Samples of widths and tutors at logits of zero: a weight step never changes them."""

    def __init__(self, space: WidthSpace):
        self.space = space
        self._choices = [torch.tensor(block.options, dtype=torch.float32) for block in space.blocks]
        self._nested = [
            (torch.arange(block.width) < torch.tensor(block.options)[:, None]).float() for block in space.blocks
        ]

    @torch.no_grad()
    def draw(self):
        """Returns (samples m_b of widths, tutors g), each softmax((0 + G)/τ), G ~ Gumbel(0, 1)."""

        def sample(*shape):
            return torch.softmax(-torch.empty(shape).exponential_().log() / given.TEMPERATURE, -1)

        return [sample(len(block.options)) for block in self.space.blocks], sample(
            len(self.space.taps), given.TEACHER_TAPS
        )

    def masks(self, widths: Sequence[torch.Tensor]):
        return [sample @ nested for sample, nested in zip(widths, self._nested, strict=True)]

    def factor(self, widths: Sequence[torch.Tensor]):
        effective = [float(sample @ choices) for sample, choices in zip(widths, self._choices, strict=True)]
        return torch.tensor(given.ALPHA * given.BETA * math.log(given.cost(self.space, effective)))


class Search:
    """Network, optimiser and data of the search; calling it runs steps."""

    def __init__(self, problem: given.Problem, *, compiled: bool = False):
        self.network = Supernet(problem.space).to(memory_format=torch.channels_last)
        self.architecture = Architecture(problem.space)
        self.optimizer = torch.optim.Adam(
            self.network.parameters(), given.RATE, given.BETAS, weight_decay=given.L2, fused=True
        )
        self._loss = torch.compile(self.network, dynamic=False) if compiled else self.network
        self._problem = problem
        self._images = torch.from_numpy(problem.images)
        self._labels = torch.from_numpy(problem.labels).long()
        self._teacher_logits = torch.from_numpy(problem.teacher_logits).log_softmax(-1)
        self._teacher_maps = normalised(torch.from_numpy(problem.teacher_taps).square().flatten(2))

    def loss(self, rows, widths: Sequence[torch.Tensor], tutors: torch.Tensor):
        """Returns the mean loss of a batch at one sample of the architecture."""
        return self._loss(
            self._images[rows], self._labels[rows], self._teacher_logits, self._teacher_maps,
            self.architecture.masks(widths), tutors, self.architecture.factor(widths),
        )  # fmt: skip

    def __call__(self, count: int) -> float:
        """Runs `count` steps and returns their mean loss."""
        total = torch.zeros(())
        for rows in torch.from_numpy(self._problem.rows(count)):
            loss = self.loss(rows, *self.architecture.draw())
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total += loss.detach()
        return float(total) / count
