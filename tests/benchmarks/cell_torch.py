"""The bilevel step of a search over cells in PyTorch, as somebody would write it who cares for its speed.

Channels-last memory, native batch normalisation; what has no parameters is computed once for a state; gradients are
taken for what needs them alone; both second-order terms come from one graph of the training gradient. Compilation
is no choice here: `torch.compile` does not differentiate twice.
"""

import cell_problem as given
import torch
from torch import nn
import torch.nn.functional as F

from rnas.models.cell import CONVOLUTIONS
from rnas.models.cell_network import STEM
from rnas.spaces.cell_space import CONCAT, EDGES, FIRST, WITHOUT_KERNEL, CellSpace, get_space

VERSIONS = {"torch": torch.__version__}


class Norm(nn.BatchNorm2d):
    """Batch normalisation by the batch; the running statistics move only while `update` is set."""

    update = False

    def __init__(self, features: int, affine: bool = False):
        super().__init__(features, given.BN_EPSILON, 1 - given.BN_MOMENTUM, affine=affine)

    def forward(self, x):
        running = (self.running_mean, self.running_var) if Norm.update else (None, None)
        return F.batch_norm(x, *running, self.weight, self.bias, True, self.momentum, self.eps)


def conv(inputs: int, outputs: int, side: int, stride: int = 1, groups: int = 1, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(
        inputs, outputs, side, stride, dilation * (side // 2), groups=groups, dilation=dilation, bias=False
    )


class Reduction(nn.Module):
    """Halves the images of a state that has gone through ReLU."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.even, self.odd = conv(inputs, outputs // 2, 1, 2), conv(inputs, outputs // 2, 1, 2)
        self.bn = Norm(outputs)

    def forward(self, x):
        return self.bn(torch.cat([self.even(x), self.odd(x[:, :, 1:, 1:])], 1))


class Convolutions(nn.Module):
    """A candidate with a kernel, of a state that has gone through ReLU."""

    def __init__(self, operation: str, channels: int, stride: int):
        super().__init__()
        side, dilation, times = CONVOLUTIONS[operation]
        self.parts = nn.ModuleList(
            nn.Sequential(
                conv(channels, channels, side, 1 if i else stride, channels, dilation),
                conv(channels, channels, 1),
                Norm(channels),
            )
            for i in range(times)
        )

    def forward(self, x):
        for i, part in enumerate(self.parts):
            x = part(F.relu(x) if i else x)
        return x


class Edge(nn.Module):
    """The candidates of an edge that have parameters, by name."""

    def __init__(self, space: CellSpace, channels: int, stride: int):
        super().__init__()
        self.candidates = nn.ModuleDict(
            {name: Convolutions(name, channels, stride) for name in space.operations if name in CONVOLUTIONS}
        )
        if stride == 2:
            self.candidates["skip_connect"] = Reduction(channels, channels)


class MixedCell(nn.Module):
    def __init__(self, space: CellSpace, inputs: tuple[int, int], channels: int, stride: int, halve: bool):
        super().__init__()
        self.space, self.stride = space, stride
        first = Reduction(inputs[0], channels) if halve else nn.Sequential(conv(inputs[0], channels, 1), Norm(channels))
        self.preprocess = nn.ModuleList([first, nn.Sequential(conv(inputs[1], channels, 1), Norm(channels))])
        self.pools = nn.ModuleList(
            nn.ModuleDict({name: Norm(channels) for name in WITHOUT_KERNEL[:2]}) for _ in range(FIRST + len(CONCAT) - 1)
        )
        self.edges = nn.ModuleList(Edge(space, channels, stride if source < FIRST else 1) for _, source in EDGES)

    def shared(self, index: int, state):
        """What every edge that leaves a state has in common, by name; its ReLU under ''."""
        stride = self.stride if index < FIRST else 1
        maximum = F.max_pool2d(state, 3, stride, 1)
        average = F.avg_pool2d(state, 3, stride, 1, count_include_pad=False)
        norms = self.pools[index]
        found = {"": F.relu(state), "max_pool_3x3": norms["max_pool_3x3"](maximum)}
        found["avg_pool_3x3"] = norms["avg_pool_3x3"](average)
        if stride == 1:
            found["skip_connect"] = state
        return found

    def forward(self, earlier, later, probabilities):
        states = [self.preprocess[0](F.relu(earlier)), self.preprocess[1](F.relu(later))]
        shared = [self.shared(index, state) for index, state in enumerate(states)]
        for node in CONCAT:
            total = 0.0
            for row, (to, source) in enumerate(EDGES):
                if to != node:
                    continue
                given_, own = shared[source], self.edges[row].candidates
                for index, name in enumerate(self.space.operations):
                    if name in own:
                        total = total + probabilities[row, index] * own[name](given_[""])
                    elif name in given_:
                        total = total + probabilities[row, index] * given_[name]
            states.append(total)
            if node != CONCAT[-1]:
                shared.append(self.shared(node, total))
        return torch.cat(states[FIRST:], 1)


class Supernet(nn.Module):
    def __init__(self, space: CellSpace, channels: int, cells: int):
        super().__init__()
        self.kinds = space.placement(cells)
        stem = STEM * channels
        self.stem = nn.Sequential(conv(3, stem, 3), Norm(stem, affine=True))
        self.cells = nn.ModuleList()
        inputs, halve = (stem, stem), False
        for kind, width in zip(self.kinds, space.widths(cells, channels), strict=True):
            self.cells.append(MixedCell(space, inputs, width, 2 if kind == "reduce" else 1, halve))
            inputs, halve = (inputs[1], len(CONCAT) * width), kind == "reduce"
        self.classifier = nn.Linear(inputs[1], given.CLASSES)

    def forward(self, images, probabilities):
        """Returns logits [N,K] of images [N,3,H,W] in [0, 1]."""
        earlier = later = self.stem(images)
        for kind, cell in zip(self.kinds, self.cells, strict=True):
            earlier, later = later, cell(earlier, later, probabilities[kind])
        return self.classifier(later.mean((2, 3)))


class Search:
    """Supernet, architecture, optimisers and data of the search; calling it runs steps.

    Attributes:
      network: the supernet.
      alpha: logits [edges, operations], by type of cell.
    """

    def __init__(self, problem: given.Problem, *, start: str = "uniform"):
        """`start` of the attack: uniform, or none, for comparison."""
        space = get_space(problem.space)
        self.network = Supernet(space, problem.channels, problem.cells).to(memory_format=torch.channels_last)
        shape = (len(EDGES), len(space.operations))
        self.alpha = {kind: (1e-3 * torch.randn(shape)).requires_grad_() for kind in space.types}
        self.weights = list(self.network.parameters())
        self.optimizer = torch.optim.SGD(self.weights, given.RATE, momentum=given.MOMENTUM, weight_decay=given.DECAY)
        self.arch_optimizer = torch.optim.Adam(
            self.alpha.values(), given.ARCH_RATE, given.BETAS, weight_decay=given.ARCH_L2
        )
        self._start = start
        self._problem = problem
        self._images = torch.from_numpy(problem.images)
        self._labels = torch.from_numpy(problem.labels).long()

    def loss(self, images, labels, weights=None):
        """Returns the cross-entropy at `weights` in place of the network's own."""
        probabilities = {kind: F.softmax(alpha, -1) for kind, alpha in self.alpha.items()}
        if weights is None:
            logits = self.network(images, probabilities)
        else:
            named = dict(zip((name for name, _ in self.network.named_parameters()), weights, strict=True))
            logits = torch.func.functional_call(self.network, named, (images, probabilities))
        return F.cross_entropy(logits, labels)

    def adversarial(self, images, labels):
        """Returns images after PGD."""
        x = images
        if self._start == "uniform":
            x = (images + torch.empty_like(images).uniform_(-given.EPSILON, given.EPSILON)).clamp(0, 1)
        for _ in range(given.STEPS):
            x = x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.loss(x, labels), x)
            x = x.detach() + given.STEP_SIZE * slope.sign()
            x = torch.minimum(torch.maximum(x, images - given.EPSILON), images + given.EPSILON).clamp(0, 1)
        return x.detach()

    def architecture_direction(self, training, validation, images):
        """Returns d of the min-norm pair, by exact second-order gradients.

        Args:
          training: adversarial images and labels of the training half.
          validation: the same of the validation half.
          images: of the validation half as they are.
        """
        alphas = list(self.alpha.values())
        slopes = torch.autograd.grad(self.loss(*training), self.weights, create_graph=True)
        with torch.no_grad():
            ahead = []
            for weight, slope in zip(self.weights, slopes, strict=True):
                buffer = self.optimizer.state[weight].get("momentum_buffer")
                move = slope + given.DECAY * weight
                ahead.append(weight - given.RATE * (move if buffer is None else move + given.MOMENTUM * buffer))
        ahead = [weight.detach().requires_grad_() for weight in ahead]
        pair = []
        for x in (images, validation[0]):
            found = torch.autograd.grad(self.loss(x, validation[1], ahead), [*ahead, *alphas])
            product = torch.autograd.grad(
                slopes, alphas, [u.detach() for u in found[: len(ahead)]], retain_graph=not pair
            )
            first = found[len(ahead) :]
            pair.append(torch.cat([(g - given.RATE * h).flatten() for g, h in zip(first, product, strict=True)]))
        natural, adversarial = pair[0], given.ADVERSARIAL_WEIGHT * pair[1]
        apart = adversarial - natural
        share = (apart @ adversarial / (apart @ apart)).clamp(0, 1)
        return share * natural + (1 - share) * adversarial

    def step(self, rows) -> torch.Tensor:
        images = self._images[rows].permute(0, 3, 1, 2) / 255.0  # bytes [N,H,W,C] are channels-last already
        labels = self._labels[rows]
        training, validation = zip(images.split(self._problem.batch), labels.split(self._problem.batch), strict=True)
        adversarial = [self.adversarial(*half) for half in (training, validation)]
        direction = self.architecture_direction(
            (adversarial[0], training[1]), (adversarial[1], validation[1]), validation[0]
        )
        for alpha, part in zip(
            self.alpha.values(), direction.split([alpha.numel() for alpha in self.alpha.values()]), strict=True
        ):
            alpha.grad = part.reshape(alpha.shape)
        self.arch_optimizer.step()

        Norm.update = True
        loss = self.loss(adversarial[0], training[1])
        Norm.update = False
        for weight, slope in zip(self.weights, torch.autograd.grad(loss, self.weights), strict=True):
            weight.grad = slope
        nn.utils.clip_grad_norm_(self.weights, given.CLIP)
        self.optimizer.step()
        return loss.detach()

    def __call__(self, count: int) -> float:
        """Runs `count` steps and returns their mean loss."""
        return float(sum(self.step(rows) for rows in torch.from_numpy(self._problem.rows(count)))) / count
