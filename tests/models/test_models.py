"""Fixed networks: sizes, taps, and the same function as PyTorch's for the same parameters."""

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnas.layers import Conv, SqueezeExcite, count
from rnas.models import PreActResNet, RaWideResNet, ResNet, WideResNet, build_model
from rnas.teachers import describe_taps

IMAGENET = build_model(
    "imagenet_wide_resnet50_2", num_classes=1000, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
)
PIXELS = {"mean": (0.4914, 0.4822, 0.4465), "std": (0.2471, 0.2435, 0.2616)}


@pytest.mark.parametrize(
    "name, params, taps",
    [
        ("resnet18", 11_173_962, 17),
        ("resnet50", 23_520_842, 49),
        ("preact_resnet18", 11_172_170, 17),
        ("preact_resnet18_v1_nobn", 11_171_146, 17),
        ("wide_resnet_28_10", 36_479_194, 25),
        ("wide_resnet_34_10", 46_160_474, 31),
        ("dm_wide_resnet_70_16", 266_796_506, 67),
        ("dm_wide_resnet_82_8", 79_125_466, 79),
        ("dm_preact_resnet18", 12_548_426, 17),
        ("ra_wide_resnet_70_16", 267_240_802, 143),
        ("imagenet_resnet18", 11_689_512, 17),
        ("imagenet_resnet50", 25_557_032, 49),
        ("imagenet_wide_resnet50_2", 68_883_240, 49),
    ],
)
def test_published_sizes(name, params, taps):
    imagenet = name.startswith("imagenet")
    model = build_model(name, num_classes=1000 if imagenet else 10, **PIXELS)
    assert count(model, (224, 224, 3) if imagenet else (32, 32, 3)).params == params
    assert len(model.taps) == taps


def test_sizes_of_the_taps_of_an_imagenet_network():
    taps = {tap.name: tuple(tap[1:]) for tap in describe_taps(IMAGENET, (224, 224, 3))}
    assert taps["conv1"] == (112, 112, 64)  # before the max-pooling
    assert taps["layer1.0.conv1"] == (56, 56, 128) and taps["layer1.2.conv3"] == (56, 56, 256)
    assert taps["layer2.0.conv1"] == (56, 56, 256) and taps["layer2.0.conv2"] == (28, 28, 256)  # stride on the 3x3
    assert taps["layer4.2.conv3"] == (7, 7, 2048)
    # torchvision counts 11.40 G products an image.
    assert count(IMAGENET, (224, 224, 3)).macs == pytest.approx(11.4e9, rel=0.01)


def test_names_say_what_differs_from_a_family():
    def built(name):
        return build_model(name, num_classes=10, **PIXELS)

    plain, bare = built("preact_resnet34_w8"), built("preact_resnet18_v1_nobn")
    assert isinstance(plain, PreActResNet) and (plain.depth, plain.width) == (34, 8)
    assert (plain.raw_shortcut, plain.final_norm) == (False, True)
    assert (bare.raw_shortcut, bare.final_norm, bare.width) == (True, False, 64)
    assert built("dm_wide_resnet_28_10").activation == "silu"
    assert built("dm_wide_resnet_28_10_relu").activation == "relu"
    assert (
        built("ra_wide_resnet_30-31-10_w96-216-432-864")
        == built("ra_wide_resnet_70_16")
        == RaWideResNet(num_classes=10, **PIXELS)
    )


@pytest.mark.parametrize("depth, about", [(28, 5.2e9), (34, 6.7e9)])
def test_macs_of_wide_resnets(depth, about):
    widths, sizes, blocks = (160, 320, 640), (32, 16, 8), (depth - 4) // 6
    macs = 32 * 32 * 9 * 3 * 16 + 640 * 10
    before = 16
    for width, size in zip(widths, sizes, strict=True):
        macs += size * size * (9 * before * width + before * width + (2 * blocks - 1) * 9 * width * width)
        before = width
    assert count(build_model(f"wide_resnet_{depth}_10", num_classes=10, **PIXELS), (32, 32, 3)).macs == macs
    assert macs == pytest.approx(about, rel=0.02)


@pytest.mark.parametrize(
    "name",
    [
        "wide_resnet_10_1",
        "resnet18_w16",
        "resnet50_w16",
        "preact_resnet18_w16",
        "dm_wide_resnet_10_1",
        "dm_preact_resnet18_w16",
        "ra_wide_resnet_1-2-1_w4-8-16-16",
        "imagenet_resnet18_w8",
        "imagenet_wide_resnet50_2_w4",
    ],
)
def test_out_holds_the_taps(name):
    model = build_model(name, num_classes=10, mean=(0.5,), std=(0.5,))
    images = jnp.zeros((2, 8, 8, 1))
    (logits, out), _ = jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), images))
    assert set(out) == set(model.taps) and len(out) == len(model.taps)
    assert logits.shape == (2, 10)
    assert all(tap.shape[0] == 2 and tap.ndim == 4 for tap in out.values())


def test_tap_names():
    assert WideResNet(depth=10, width=1, num_classes=10, **PIXELS).taps == (
        "conv1",
        "block1.layer.0.conv1",
        "block1.layer.0.conv2",
        "block2.layer.0.conv1",
        "block2.layer.0.conv2",
        "block3.layer.0.conv1",
        "block3.layer.0.conv2",
    )
    assert ResNet(depth=50, num_classes=10, **PIXELS).taps[-3:] == (
        "layer4.2.conv1",
        "layer4.2.conv2",
        "layer4.2.conv3",
    )


def test_bfloat16_gives_float32_logits_near_the_exact_ones():
    images = jax.random.uniform(jax.random.key(0), (2, 8, 8, 3))
    exact = build_model("wide_resnet_10_1", num_classes=4, **PIXELS)
    short = build_model("wide_resnet_10_1", num_classes=4, **PIXELS, dtype=jnp.bfloat16)

    @jax.jit
    def both():
        variables = exact.init(jax.random.key(1), images)
        return exact.apply(variables, images)[0], *short.apply(variables, images)

    expected, logits, out = both()
    assert logits.dtype == jnp.float32 and out["conv1"].dtype == jnp.bfloat16
    np.testing.assert_allclose(logits, expected, atol=0.1)


@pytest.mark.parametrize(
    "name",
    [
        "resnet19",
        "wide_resnet_11_1",
        "preact_resnet50",
        "vgg",
        "wide_resnet_10",
        "dm_wide_resnet_29_10",
        "dm_preact_resnet50",
        "preact_resnet18_nobn_v1",
        "wide_resnet_28_10_relu",
        "imagenet_resnet101",
        "imagenet_wide_resnet101_2",
    ],
)
def test_unknown_names(name):
    with pytest.raises(ValueError, match="no "):
        build_model(name, num_classes=10, **PIXELS)


@pytest.mark.parametrize(
    "name",
    [
        "ra_wide_resnet_1-1-1_w4-16-16-16",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("preact_resnet18_w4_v1_nobn", "dm_preact_resnet18_w4", "imagenet_resnet18_w4")
        ),
    ],
)
def test_every_parameter_can_be_trained(name):
    """No parameter is out of reach of the gradient, and the running statistics of every layer move."""
    model = build_model(name, num_classes=3, **PIXELS)
    images = jax.random.uniform(jax.random.key(0), (4, 32, 32, 3))
    direction = jax.random.normal(jax.random.key(2), (4, 3))

    @jax.jit
    def step(images):
        variables = model.init(jax.random.key(1), images)

        def objective(params):
            (logits, _), moved = model.apply({**variables, "params": params}, images, train=True, mutable="batch_stats")
            return (logits * direction).sum(), moved["batch_stats"]

        gradient, moved = jax.grad(objective, has_aux=True)(variables["params"])
        return gradient, jax.tree.map(jnp.subtract, moved, variables["batch_stats"])

    gradient, moved = step(images)
    for path, leaf in jax.tree_util.tree_leaves_with_path((gradient, moved)):
        assert np.abs(leaf).max() > 0, jax.tree_util.keystr(path)


def test_squeeze_and_excitation_in_numpy():
    random = np.random.default_rng(0)
    x = random.standard_normal((2, 3, 5, 4)).astype(np.float32)
    shapes = {"fc1": ((4, 2), 2), "fc2": ((2, 4), 4)}
    params = {
        name: {"kernel": random.standard_normal((1, 1, *kernel)), "bias": random.standard_normal(bias)}
        for name, (kernel, bias) in shapes.items()
    }
    hidden = np.maximum(x.mean((1, 2)) @ params["fc1"]["kernel"][0, 0] + params["fc1"]["bias"], 0)
    gate = 1 / (1 + np.exp(-(hidden @ params["fc2"]["kernel"][0, 0] + params["fc2"]["bias"])))
    variables = jax.tree.map(jnp.float32, {"params": params})
    np.testing.assert_allclose(SqueezeExcite(2, Conv).apply(variables, x), x * gate[:, None, None], rtol=1e-5)


# PyTorch versions, written from the published module names and graphs; each returns logits and taps.


def torch_resnet(torch, depth, width):
    nn, functional = torch.nn, torch.nn.functional
    blocks = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}[depth]

    class Block(nn.Module):
        def __init__(self, before, base, stride):
            super().__init__()
            shapes = (
                [(before, base, 1, 1), (base, base, 3, stride), (base, 4 * base, 1, 1)]
                if depth == 50
                else [(before, base, 3, stride), (base, base, 3, 1)]
            )
            for i, (c, f, k, s) in enumerate(shapes, 1):
                setattr(self, f"conv{i}", nn.Conv2d(c, f, k, s, k // 2, bias=False))
                setattr(self, f"bn{i}", nn.BatchNorm2d(f))
            self.last, self.features = len(shapes), shapes[-1][1]
            self.shortcut = nn.Sequential()
            if stride != 1 or before != self.features:
                self.shortcut = nn.Sequential(
                    nn.Conv2d(before, self.features, 1, stride, bias=False), nn.BatchNorm2d(self.features)
                )

        def forward(self, x):
            taps, y = [], x
            for i in range(1, self.last + 1):
                y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
                y = functional.relu(y if i < self.last else y + self.shortcut(x))
                taps.append(y)
            return y, taps

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
            before = width
            for stage, length in enumerate(blocks):
                layer = []
                for i in range(length):
                    layer.append(Block(before, width * 2**stage, 2 if stage and not i else 1))
                    before = layer[-1].features
                setattr(self, f"layer{stage + 1}", nn.Sequential(*layer))
            self.linear = nn.Linear(before, 10)

        def forward(self, x):
            x = functional.relu(self.bn1(self.conv1(x)))
            taps = [x]
            for stage in range(1, 5):
                for block in getattr(self, f"layer{stage}"):
                    x, inner = block(x)
                    taps += inner
            return self.linear(x.mean((2, 3))), taps

    return Net()


def torch_preact(torch, stem, stages, blocks, layer, shortcut, norm, head):
    """Both pre-activation families: they differ in the names and in the number of stages."""
    nn, functional = torch.nn, torch.nn.functional

    class Block(nn.Module):
        def __init__(self, before, features, stride):
            super().__init__()
            self.bn1, self.conv1 = (
                nn.BatchNorm2d(before),
                nn.Conv2d(before, features, 3, stride, 1, bias=False),
            )
            self.bn2, self.conv2 = (
                nn.BatchNorm2d(features),
                nn.Conv2d(features, features, 3, 1, 1, bias=False),
            )
            self.reshapes = stride != 1 or before != features
            if self.reshapes:
                skip = nn.Conv2d(before, features, 1, stride, bias=False)
                self.add_module(shortcut, nn.Sequential(skip) if shortcut == "shortcut" else skip)

        def forward(self, x):
            active = functional.relu(self.bn1(x))
            first = self.conv1(active)
            second = self.conv2(functional.relu(self.bn2(first)))
            return second + (getattr(self, shortcut)(active) if self.reshapes else x), [first, second]

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(3, stem, 3, 1, 1, bias=False)
            before, self.stages = stem, []
            for stage, features in enumerate(stages):
                row = nn.Sequential(
                    *[
                        Block(before if i == 0 else features, features, 2 if stage and not i else 1)
                        for i in range(blocks)
                    ]
                )
                if layer == "block":
                    holder = nn.Module()
                    holder.layer = row
                else:
                    holder = row
                self.add_module(f"{layer}{stage + 1}", holder)
                self.stages.append(row)
                before = features
            self.add_module(norm, nn.BatchNorm2d(before))
            self.add_module(head, nn.Linear(before, 10))

        def forward(self, x):
            x = self.conv1(x)
            taps = [x]
            for row in self.stages:
                for block in row:
                    x, inner = block(x)
                    taps += inner
            x = functional.relu(getattr(self, norm)(x))
            return getattr(self, head)(x.mean((2, 3))), taps

    return Net()


FAMILIES = {
    "resnet18_w16": lambda torch: torch_resnet(torch, 18, 16),
    "resnet50_w8": lambda torch: torch_resnet(torch, 50, 8),
    "preact_resnet18_w16": lambda torch: torch_preact(
        torch, 16, (16, 32, 64, 128), 2, "layer", "shortcut", "bn", "linear"
    ),
    "wide_resnet_16_2": lambda torch: torch_preact(torch, 16, (32, 64, 128), 2, "block", "convShortcut", "bn1", "fc"),
}


def flax_variables(state):
    """Returns Flax variables of a PyTorch state: a parameter's path joined by dots is its name there."""
    leaves = {
        "weight": {4: ("params", "kernel"), 2: ("params", "kernel"), 1: ("params", "scale")},
        "bias": {1: ("params", "bias")},
        "running_mean": {1: ("batch_stats", "mean")},
        "running_var": {1: ("batch_stats", "var")},
    }
    variables = {}
    for name, tensor in state.items():
        module, leaf = name.rsplit(".", 1)
        if leaf == "num_batches_tracked":
            continue
        array = tensor.numpy()
        collection, leaf = leaves[leaf][array.ndim]
        array = array.transpose({4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}[array.ndim])
        variables[collection, f"{module}.{leaf}"] = array
    return variables


@pytest.mark.parametrize("name", FAMILIES)
def test_equals_pytorch(name):
    torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
    torch.manual_seed(0)
    net = FAMILIES[name](torch).eval()
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                    tensor.copy_(0.5 + torch.rand_like(tensor))
    images = np.random.default_rng(0).random((2, 16, 16, 3), np.float32)
    mean, std = (np.asarray(PIXELS[key], np.float32) for key in ("mean", "std"))
    inputs = torch.tensor(images, requires_grad=True)
    logits, taps = net(((inputs - torch.tensor(mean)) / torch.tensor(std)).permute(0, 3, 1, 2))
    direction = np.random.default_rng(1).standard_normal(logits.shape).astype(np.float32)
    (logits * torch.tensor(direction)).sum().backward()

    model = build_model(name, num_classes=10, **PIXELS)
    given = flax_variables(net.state_dict())
    flat = flax.traverse_util.flatten_dict(jax.eval_shape(model.init, jax.random.key(0), images))
    variables = {path: given.pop((path[0], ".".join(path[1:]))) for path in flat}
    assert not given
    assert {path: leaf.shape for path, leaf in flat.items()} == {path: leaf.shape for path, leaf in variables.items()}
    variables = flax.traverse_util.unflatten_dict(variables)

    @jax.jit
    def run(images):
        def objective(images):
            logits, out = model.apply(variables, images)
            return (logits * direction).sum(), (logits, out)

        return jax.grad(objective, has_aux=True)(images)

    gradient, (ours, out) = run(images)

    def assert_near(ours, theirs):
        np.testing.assert_allclose(ours, theirs, atol=1e-4 * float(np.abs(theirs).max()))

    assert_near(ours, logits.detach().numpy())
    assert_near(gradient, inputs.grad.numpy())
    for tap, theirs in zip(model.taps, taps, strict=True):
        assert_near(out[tap], theirs.detach().permute(0, 2, 3, 1).numpy())
