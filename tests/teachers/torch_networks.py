"""Published networks by their tensors alone: names and shapes, random numbers for them, and PyTorch's results.

Written from the published definitions, without the models of this package: states are flat mappings of PyTorch's
names, and the functions below walk them with torch.nn.functional.
"""

import itertools

import numpy as np

Shapes = dict[str, tuple[int, ...]]
DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}


def conv(name: str, before: int, after: int, size: int) -> Shapes:
    return {f"{name}.weight": (after, before, size, size)}


def norm(name: str, channels: int) -> Shapes:
    parts = ("weight", "bias", "running_mean", "running_var")
    return {**{f"{name}.{part}": (channels,) for part in parts}, f"{name}.num_batches_tracked": ()}


def linear(name: str, before: int, after: int) -> Shapes:
    return {f"{name}.weight": (after, before), f"{name}.bias": (after,)}


# -- names and shapes ------------------------------------------------------------------------------------


def resnet(depth=18, width=64, classes=10, *, shortcut="shortcut", head="linear", stem=3, widening=1) -> Shapes:
    """Families of CIFAR and, with a 7x7 stem and other names, of torchvision."""
    shapes = {**conv("conv1", 3, width, stem), **norm("bn1", width)}
    before = width
    for stage, length in enumerate(DEPTHS[depth]):
        base = width * 2**stage
        for i in range(length):
            name = f"layer{stage + 1}.{i}"
            if depth == 50:
                inner, after = base * widening, 4 * base
                sizes = [(before, inner, 1), (inner, inner, 3), (inner, after, 1)]
            else:
                after = base
                sizes = [(before, base, 3), (base, base, 3)]
            for j, size in enumerate(sizes, 1):
                shapes |= conv(f"{name}.conv{j}", *size) | norm(f"{name}.bn{j}", size[1])
            if before != after or (stage and not i):
                shapes |= conv(f"{name}.{shortcut}.0", before, after, 1) | norm(f"{name}.{shortcut}.1", after)
            before = after
    return shapes | linear(head, before, classes)


def torchvision(depth=18, width=64, classes=1000, widening=1) -> Shapes:
    return resnet(depth, width, classes, shortcut="downsample", head="fc", stem=7, widening=widening)


def preact(depth=18, width=64, classes=10, *, last=True) -> Shapes:
    shapes, before = conv("conv1", 3, width, 3), width
    for stage, length in enumerate(DEPTHS[depth]):
        after = width * 2**stage
        for i in range(length):
            name = f"layer{stage + 1}.{i}"
            shapes |= norm(f"{name}.bn1", before) | conv(f"{name}.conv1", before, after, 3)
            shapes |= norm(f"{name}.bn2", after) | conv(f"{name}.conv2", after, after, 3)
            if before != after or (stage and not i):
                shapes |= conv(f"{name}.shortcut.0", before, after, 1)
            before = after
    return shapes | (norm("bn", before) if last else {}) | linear("linear", before, classes)


def wide(depth=28, width=10, classes=10, *, leftover=False) -> Shapes:
    """TRADES' layout; `leftover` adds the copy of the first stage that nothing uses."""
    shapes, before = conv("conv1", 3, 16, 3), 16
    for stage in (1, 2, 3):
        after = 16 * width * 2 ** (stage - 1)
        stage_shapes = {}
        for i in range((depth - 4) // 6):
            name = f"block{stage}.layer.{i}"
            stage_shapes |= norm(f"{name}.bn1", before) | conv(f"{name}.conv1", before, after, 3)
            stage_shapes |= norm(f"{name}.bn2", after) | conv(f"{name}.conv2", after, after, 3)
            if before != after:
                stage_shapes |= conv(f"{name}.convShortcut", before, after, 1)
            before = after
        shapes |= stage_shapes
        if leftover and stage == 1:
            shapes |= {f"sub_{name}": shape for name, shape in stage_shapes.items()}
    return shapes | norm("bn1", before) | linear("fc", before, classes)


def deepmind(lengths, widths, classes=10, *, stem=16, squeeze=False) -> Shapes:
    """DeepMind's wide layout; with squeeze and excitation that of RaWideResNet."""
    shapes, before = conv("init_conv", 3, stem, 3), stem
    for stage, (length, after) in enumerate(zip(lengths, widths, strict=True)):
        for i in range(length):
            name = f"layer.{stage}.block.{i}"
            shapes |= norm(f"{name}.batchnorm_0", before) | conv(f"{name}.conv_0", before, after, 3)
            shapes |= norm(f"{name}.batchnorm_1", after) | conv(f"{name}.conv_1", after, after, 3)
            if before != after:
                shapes |= conv(f"{name}.shortcut", before, after, 1)
            if squeeze:
                for j, ends in enumerate([(after, round(after / 4)), (round(after / 4), after)], 1):
                    shapes |= conv(f"{name}.se.fc{j}", *ends, 1) | {f"{name}.se.fc{j}.bias": (ends[1],)}
            before = after
    return shapes | norm("batchnorm", before) | linear("logits", before, classes)


def deepmind_wide(depth=28, width=10, classes=10) -> Shapes:
    return deepmind(((depth - 4) // 6,) * 3, [16 * width * 2**i for i in range(3)], classes)


def deepmind_preact(depth=18, width=64, classes=10) -> Shapes:
    shapes, before = conv("conv_2d", 3, width, 3), width
    for stage, length in enumerate(DEPTHS[depth]):
        after = width * 2**stage
        for i in range(length):
            name = f"layer_{stage}.{i}"
            shapes |= norm(f"{name}.batchnorm_0", before) | conv(f"{name}.conv_2d_1", before, after, 3)
            shapes |= norm(f"{name}.batchnorm_1", after) | conv(f"{name}.conv_2d_2", after, after, 3)
            if before != after or (stage and not i):
                shapes |= conv(f"{name}.shortcut", before, after, 3)
            before = after
    return shapes | norm("batchnorm", before) | linear("logits", before, classes)


def filled(shapes: Shapes, seed: int = 0) -> dict[str, np.ndarray]:
    """Random numbers for every tensor: weights that keep the size of what passes, statistics and affine terms far from
    those of a fresh network."""
    random = np.random.RandomState(seed)  # whose numbers no version of NumPy changes

    def fill(name, shape):
        if name.endswith("num_batches_tracked"):
            return np.asarray(random.randint(1000))
        if len(shape) > 1:
            return (random.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)
        low, high = (-0.5, 0.5) if name.endswith(("running_mean", "bias")) else (0.5, 1.5)
        return random.uniform(low, high, shape).astype(np.float32)

    return {name: fill(name, shape) for name, shape in shapes.items()}


# -- what PyTorch makes of a state -----------------------------------------------------------------------


class Walk:
    """Layers of a state by name, in evaluation mode. State and images are torch tensors, images NCHW and normalised."""

    def __init__(self, torch, state):
        self.functional, self.state = torch.nn.functional, state
        self.silu, self.relu = torch.nn.functional.silu, torch.nn.functional.relu

    def conv(self, name, x, stride=1, padding=None):
        weight = self.state[f"{name}.weight"]
        padding = weight.shape[-1] // 2 if padding is None else padding
        return self.functional.conv2d(x, weight, self.state.get(f"{name}.bias"), stride, padding)

    def same(self, name, x, stride=1):
        """A convolution behind DeepMind's own padding."""
        if self.state[f"{name}.weight"].shape[-1] == 1:
            return self.conv(name, x, stride)
        pad = (1, 1, 1, 1) if stride == 1 else (0, 1, 0, 1)
        return self.conv(name, self.functional.pad(x, pad), stride, padding=0)

    def norm(self, name, x):
        mean, var, weight, bias = (
            self.state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return self.functional.batch_norm(x, mean, var, weight, bias, eps=1e-5)

    def linear(self, name, x, window):
        """The published end: a pooled window, a reshape and the last layer."""
        x = self.functional.avg_pool2d(x, window).reshape(len(x), -1) if window else x.mean((2, 3))
        return self.functional.linear(x, self.state[f"{name}.weight"], self.state[f"{name}.bias"])

    def blocks(self, stage):
        """(name, stride) of the blocks of the stages `stage(0)`, `stage(1)` …"""
        for s in itertools.count():
            if not any(name.startswith(f"{stage(s)}.0.") for name in self.state):
                return
            for i in itertools.count():
                if not any(name.startswith(f"{stage(s)}.{i}.") for name in self.state):
                    break
                yield f"{stage(s)}.{i}", 2 if s and not i else 1


def run_resnet(torch, state, x, *, shortcut="shortcut", head="linear", window=4):
    walk = Walk(torch, state)
    stem = state["conv1.weight"].shape[-1]
    x = walk.relu(walk.norm("bn1", walk.conv("conv1", x, 2 if stem == 7 else 1)))
    if stem == 7:
        x = walk.functional.max_pool2d(x, 3, 2, 1)
    for name, stride in walk.blocks(lambda s: f"layer{s + 1}"):
        if f"{name}.conv3.weight" in state:
            y = walk.relu(walk.norm(f"{name}.bn1", walk.conv(f"{name}.conv1", x)))
            y = walk.relu(walk.norm(f"{name}.bn2", walk.conv(f"{name}.conv2", y, stride)))
            y = walk.norm(f"{name}.bn3", walk.conv(f"{name}.conv3", y))
        else:
            y = walk.relu(walk.norm(f"{name}.bn1", walk.conv(f"{name}.conv1", x, stride)))
            y = walk.norm(f"{name}.bn2", walk.conv(f"{name}.conv2", y))
        if f"{name}.{shortcut}.0.weight" in state:
            x = walk.norm(f"{name}.{shortcut}.1", walk.conv(f"{name}.{shortcut}.0", x, stride))
        x = walk.relu(x + y)
    return walk.linear(head, x, window)


def run_torchvision(torch, state, x):
    return run_resnet(torch, state, x, shortcut="downsample", head="fc", window=None)


def run_preact(torch, state, x, *, raw):
    walk = Walk(torch, state)
    x = walk.conv("conv1", x)
    for name, stride in walk.blocks(lambda s: f"layer{s + 1}"):
        active = walk.relu(walk.norm(f"{name}.bn1", x))
        if f"{name}.shortcut.0.weight" in state:
            x = walk.conv(f"{name}.shortcut.0", x if raw else active, stride)
        y = walk.conv(f"{name}.conv1", active, stride)
        x = x + walk.conv(f"{name}.conv2", walk.relu(walk.norm(f"{name}.bn2", y)))
    if "bn.weight" in state:
        x = walk.relu(walk.norm("bn", x))
    return walk.linear("linear", x, 4)


def run_wide(torch, state, x):
    walk = Walk(torch, state)
    x = walk.conv("conv1", x)
    for name, stride in walk.blocks(lambda s: f"block{s + 1}.layer"):
        active = walk.relu(walk.norm(f"{name}.bn1", x))
        if f"{name}.convShortcut.weight" in state:
            x = walk.conv(f"{name}.convShortcut", active, stride)
        y = walk.conv(f"{name}.conv1", active, stride)
        x = x + walk.conv(f"{name}.conv2", walk.relu(walk.norm(f"{name}.bn2", y)))
    return walk.linear("fc", walk.relu(walk.norm("bn1", x)), 8)


def run_deepmind_wide(torch, state, x, *, activation="silu"):
    walk = Walk(torch, state)
    activate = getattr(walk, activation)
    x = walk.same("init_conv", x)
    for name, stride in walk.blocks(lambda s: f"layer.{s}.block"):
        active = activate(walk.norm(f"{name}.batchnorm_0", x))
        if f"{name}.shortcut.weight" in state:
            x = walk.same(f"{name}.shortcut", active, stride)
        y = walk.same(f"{name}.conv_0", active, stride)
        y = walk.same(f"{name}.conv_1", activate(walk.norm(f"{name}.batchnorm_1", y)))
        if f"{name}.se.fc1.weight" in state:
            hidden = walk.relu(walk.conv(f"{name}.se.fc1", y.mean((2, 3), keepdim=True)))
            y = y * torch.sigmoid(walk.conv(f"{name}.se.fc2", hidden))
        x = x + y
    return walk.linear("logits", activate(walk.norm("batchnorm", x)), 8)


def run_deepmind_preact(torch, state, x, *, activation="silu"):
    walk = Walk(torch, state)
    activate = getattr(walk, activation)
    x = walk.same("conv_2d", x)
    for name, stride in walk.blocks(lambda s: f"layer_{s}"):
        active = activate(walk.norm(f"{name}.batchnorm_0", x))
        y = walk.same(f"{name}.conv_2d_1", active, stride)
        y = walk.same(f"{name}.conv_2d_2", activate(walk.norm(f"{name}.batchnorm_1", y)))
        x = y + (walk.same(f"{name}.shortcut", x, stride) if f"{name}.shortcut.weight" in state else x)
    return walk.linear("logits", activate(walk.norm("batchnorm", x)), 4)
