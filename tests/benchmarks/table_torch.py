"""The training step of a network of a table in PyTorch, as somebody would write it who cares for its speed.

Channels-last memory, a network of the one cell with nothing else in it, gradients of the attack to the images alone,
fused SGD, the images in memory.
"""

import table_problem as given
import torch
from torch import nn
import torch.nn.functional as F

from rnas.spaces.nasbench201 import CONV_1X1, CONV_3X3, EDGES, NONE, SKIP, encode

VERSIONS = {"torch": torch.__version__}


class ConvBatchNorm(nn.Module):
    """ReLU if `relu`, convolution without bias, batch normalisation."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, relu: bool = True):
        super().__init__()
        self.relu = relu
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=given.BN_EPSILON, momentum=1 - given.BN_MOMENTUM)

    def forward(self, x):
        return self.bn(self.conv(F.relu(x) if self.relu else x))


class Cell(nn.Module):
    def __init__(self, operations: tuple[int, ...], width: int):
        super().__init__()
        self.operations = dict(zip(EDGES, operations, strict=True))
        kernels = {CONV_1X1: 1, CONV_3X3: 3}
        for (source, node), operation in self.operations.items():
            if operation in kernels:
                self.add_module(f"edge{source}{node}", ConvBatchNorm(width, width, kernels[operation]))

    def forward(self, x):
        states = [x]
        for node in (1, 2, 3):
            incoming = [self._edge(source, node, states[source]) for source in range(node)]
            incoming = [value for value in incoming if value is not None]
            states.append(sum(incoming[1:], start=incoming[0]) if incoming else torch.zeros_like(x))
        return states[-1]

    def _edge(self, source: int, node: int, x):
        operation = self.operations[source, node]
        if operation == NONE:
            return None
        if operation == SKIP:
            return x
        if operation in (CONV_1X1, CONV_3X3):
            return getattr(self, f"edge{source}{node}")(x)
        return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


class Reduction(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.conv1 = ConvBatchNorm(width, 2 * width, 3, 2)
        self.conv2 = ConvBatchNorm(2 * width, 2 * width, 3)
        self.shortcut = nn.Conv2d(width, 2 * width, 1, bias=False)

    def forward(self, x):
        return self.conv2(self.conv1(x)) + self.shortcut(F.avg_pool2d(x, 2))


class Network(nn.Module):
    def __init__(self, arch: str, channels: int, cells: int):
        super().__init__()
        self.register_buffer("mean", torch.tensor(given.MEAN)[:, None, None])
        self.register_buffer("std", torch.tensor(given.STD)[:, None, None])
        self.stem = ConvBatchNorm(3, channels, 3, relu=False)
        blocks = {}
        for stage in range(3):
            width = channels * 2**stage
            if stage:
                blocks[f"reduction{stage}"] = Reduction(width // 2)
            blocks |= {f"stage{stage + 1}_cell{cell}": Cell(encode(arch), width) for cell in range(cells)}
        self.blocks = nn.ModuleDict(blocks)
        self.norm = nn.BatchNorm2d(4 * channels, eps=given.BN_EPSILON, momentum=1 - given.BN_MOMENTUM)
        self.classifier = nn.Linear(4 * channels, given.CLASSES)

    def forward(self, images):
        """Logits of images [N,3,H,W] in [0, 1]."""
        x = self.stem((images - self.mean) / self.std)
        for block in self.blocks.values():
            x = block(x)
        return self.classifier(F.relu(self.norm(x)).mean((2, 3)))


class Training:
    """Network, optimiser and data of the training; calling it runs steps."""

    def __init__(self, problem: given.Problem, *, compiled: bool = False, start: str = "uniform"):
        self.network = Network(problem.arch, problem.channels, problem.cells).to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.SGD(
            self.network.parameters(), given.RATE, given.MOMENTUM, weight_decay=given.DECAY, fused=True
        )
        self._run = torch.compile(self.network, dynamic=False) if compiled else self.network
        self._start = start
        self._problem = problem
        self._images = torch.from_numpy(problem.images)
        self._labels = torch.from_numpy(problem.labels).long()

    def adversarial(self, images, labels):
        """PGD on cross-entropy with running statistics; its last iterate."""
        self.network.eval()
        points = images
        if self._start == "uniform":
            points = (images + torch.empty_like(images).uniform_(-given.EPSILON, given.EPSILON)).clamp_(0, 1)
        for _ in range(given.STEPS):
            points = points.detach().requires_grad_()
            loss = F.cross_entropy(self._run(points), labels, reduction="sum")
            (slope,) = torch.autograd.grad(loss, points)
            with torch.no_grad():
                points = points + given.STEP_SIZE * slope.sign()
                points = images + (points - images).clamp_(-given.EPSILON, given.EPSILON)
                points = points.clamp_(0, 1)
        self.network.train()
        return points.detach()

    def loss(self, rows):
        """Mean cross-entropy of a batch under attack, with batch statistics."""
        # Bytes [N,H,W,C] seen as [N,C,H,W] are channels-last already.
        images, labels = self._images[rows].permute(0, 3, 1, 2) / 255.0, self._labels[rows]
        return F.cross_entropy(self._run(self.adversarial(images, labels)), labels)

    def __call__(self, count: int) -> float:
        """Runs `count` steps and returns their mean loss."""
        total = torch.zeros(())
        for rows in torch.from_numpy(self._problem.rows(count)):
            loss = self.loss(rows)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total += loss.detach()
        return float(total) / count
