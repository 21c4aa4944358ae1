"""The network of the channel-masked space: counts, and narrow network = masked supernet."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnas.layers.counting import count
from rnas.models.width_network import FBNet, slice_variables
from rnas.spaces import width_space

MEAN, STD = (0.5, 0.4, 0.45), (0.25, 0.2, 0.22)


def network(space, widths=None, **options):
    return FBNet(space=width_space.get_space(space), num_classes=10, mean=MEAN, std=STD, widths=widths, **options)


# Parameters, MACs at 32×32 for K = 10, and parameters without convolution biases: counted by hand from the
# published macro tables (arXiv 2301.08092 and its released code).
LARGEST = {
    "s1": (33_338, 2_381_440, 32_442),
    "s3": (183_194, 7_874_176, 179_386),
    "s5": (333_050, 13_366_912, 326_330),
    "s7": (482_906, 18_859_648, 473_274),
    "m": (3_033_210, 317_065_472, 3_008_954),
    "l": (11_761_514, 1_236_992_512, 11_713_210),
}
SMALLEST = {
    "s1": (19_214, 1_645_960),
    "s3": (112_790, 4_743_304),
    "s5": (206_366, 7_840_648),
    "s7": (299_942, 10_937_992),
    "m": (2_640_390, 280_593_416),
    "l": (10_973_558, 1_163_693_320),
}
SEARCHED = {
    "s3": ((16,) * 3 + (20,) * 3 + (52,) * 3, 118_130, 5_856_904),
    "s5": ((16,) * 5 + (20,) * 5 + (52,) * 5, 215_138, 9_752_968),
    "s7": ((16,) * 7 + (20,) * 7 + (52, 52, 52, 52, 56, 56, 52), 323_162, 13_820_296),
}


@pytest.mark.parametrize("space", LARGEST)
def test_counts_of_the_largest_and_smallest_network(space):
    params, macs, without_bias = LARGEST[space]
    assert count(network(space), (32, 32, 3)) == (params, macs)
    assert count(network(space, conv_bias=False), (32, 32, 3)).params == without_bias
    assert count(network(space, width_space.get_space(space).smallest), (32, 32, 3)) == SMALLEST[space]


@pytest.mark.parametrize(("space", "image_shape"), [("tiny", (8, 12, 1)), ("tiny", (9, 5, 1)), ("s3", (28, 20, 3))])
def test_the_cost_that_a_search_counts_is_that_of_the_network(space, image_shape):
    found = width_space.get_space(space)
    for widths in (found.largest, found.smallest):
        model = FBNet(
            space=found, num_classes=10, mean=(0.5,) * image_shape[2], std=(0.2,) * image_shape[2], widths=widths
        )
        cost = [width_space.cost(found, widths, image_shape=image_shape, kind=kind) for kind in ("params", "macs")]
        assert count(model, image_shape) == tuple(cost)


@pytest.mark.parametrize("space", SEARCHED)
def test_counts_at_the_published_widths(space):
    widths, params, macs = SEARCHED[space]
    assert count(network(space, widths), (32, 32, 3)) == (params, macs)


@pytest.mark.parametrize(
    ("classes", "largest", "smallest"),
    [
        (100, (6_201_616, 496_093_040), (2_524_752, 160_844_368)),
        (1000, (7_988_116, 497_878_640), (4_311_252, 162_629_968)),
    ],
)
def test_counts_of_the_imagenet_network(classes, largest, smallest):
    space = width_space.get_space("imagenet")
    for widths, expected in ((space.largest, largest), (space.smallest, smallest)):
        assert (
            count(FBNet(space=space, num_classes=classes, mean=MEAN, std=STD, widths=widths), (224, 224, 3)) == expected
        )


@pytest.mark.parametrize(
    ("space", "taps"), [("s1", 10), ("s3", 28), ("s5", 46), ("s7", 64), ("m", 52), ("l", 52), ("imagenet", 56)]
)
def test_taps_are_listed_in_the_order_of_the_forward_pass(space, taps):
    model = network(space)
    assert len(model.taps) == taps
    size = 64 if space == "imagenet" else 32
    _, out = jax.eval_shape(
        lambda images: model.init_with_output(jax.random.key(0), images)[0], jnp.zeros((1, size, size, 3))
    )
    assert set(out) == set(model.taps)


def randomised(variables, seed):
    """Random statistics, scales and shifts: at their initial values many mistakes cancel."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        name = path[-1].key
        if name == "kernel":
            return leaf
        low, high = {"var": (0.5, 2.0), "scale": (0.5, 1.5)}.get(name, (-0.3, 0.3))
        return jnp.asarray(rng.uniform(low, high, leaf.shape), leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, variables)


def narrow_and_masked(name, image_size, seed, dtype=jnp.float32, **options):
    """Outputs of the sliced network and of the masked supernet at the same random widths, in both BN modes."""
    space = width_space.get_space(name)
    rng = np.random.default_rng(seed)
    widths = tuple(int(rng.choice(block.options)) for block in space.blocks)
    supernet, narrow = network(name, **options), network(name, widths, **options)
    images = jnp.asarray(rng.random((2, image_size, image_size, 3)), dtype)
    variables = randomised(dict(jax.jit(supernet.init)(jax.random.key(seed), images)), seed)
    variables = jax.tree.map(lambda leaf: leaf.astype(dtype), variables)
    masks = [mask.astype(dtype) for mask in width_space.channel_masks(space, width_space.one_hot_widths(space, widths))]
    sliced = slice_variables(space, variables, widths, mask_expansion=supernet.mask_expansion)

    @jax.jit
    def both(variables, sliced):
        found = []
        for train in (False, True):
            kwargs = dict(train=train, mutable=["batch_stats"] if train else False)
            full = supernet.apply(variables, images, masks, **kwargs)
            part = narrow.apply(sliced, images, **kwargs)
            found.append((part, full))
        return found

    pairs = []
    for part, full in both(variables, sliced):
        if isinstance(part[1], dict) and "batch_stats" in part[1]:
            expected = slice_variables(space, full[1], widths, mask_expansion=supernet.mask_expansion)
            pairs.append((part[1], expected))
            part, full = part[0], full[0]
        pairs.append((part[0], full[0]))
        for tap in supernet.taps:
            kept = part[1][tap].shape[-1]
            pairs.append((part[1][tap], full[1][tap][..., :kept]))
            assert not np.any(full[1][tap][..., kept:]), f"{tap} has live channels behind its mask"
    return pairs


def relative_difference(part, full):
    leaves = zip(jax.tree.leaves(part), jax.tree.leaves(full), strict=True)
    return max(float(np.max(np.abs(a - b)) / (np.max(np.abs(b)) + 1e-30)) for a, b in leaves)


@pytest.mark.parametrize("name", ["tiny", pytest.param("s1", marks=pytest.mark.slow)])
def test_narrow_network_equals_masked_supernet(name):
    pairs = narrow_and_masked(name, 8 if name == "tiny" else 32, seed=3)
    assert max(relative_difference(*pair) for pair in pairs) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["s3", "s5", "s7", "m", "l"])
def test_narrow_network_equals_masked_supernet_in_every_space(name):
    pairs = narrow_and_masked(name, 32, seed=5)
    assert max(relative_difference(*pair) for pair in pairs) < 1e-5


def test_narrow_network_equals_masked_supernet_in_float64():
    with jax.enable_x64(True):
        pairs = narrow_and_masked("s1", 32, seed=4, dtype=jnp.float64)
        assert all(leaf.dtype == jnp.float64 for leaf in jax.tree.leaves(pairs))
        assert max(relative_difference(*pair) for pair in pairs) < 1e-12


def test_unmasked_expansion_also_derives_exactly():
    pairs = narrow_and_masked("s1", 32, seed=6, mask_expansion=False)
    assert max(relative_difference(*pair) for pair in pairs[-2:]) < 1e-5
