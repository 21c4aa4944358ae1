"""Common corruptions against second versions of their definitions: loops over pixels, other libraries, closed forms."""

import colorsys
import math

import numpy as np
import pytest
from scipy import ndimage

from rnas.data.corruptions import CORRUPTIONS, blur, corrupt, digital, noise, types_for, weather

SHAPES = [(32, 32, 3), (28, 28, 1), (9, 13, 3), (64, 48, 3), (8, 8, 1)]


def smooth(count, shape, seed=0):
    """Images with large forms, as photographs have: sums of a few waves, bytes [count, H, W, C]."""
    random = np.random.default_rng(seed)
    down, across = (np.linspace(0, 1, side) for side in shape[:2])
    found = np.zeros((count, *shape))
    for _ in range(6):
        waves = random.uniform(-3, 3, (count, 2, shape[2]))
        phase = random.uniform(0, 2 * np.pi, (count, shape[2]))
        angle = waves[:, 0, None, None] * down[:, None, None] + waves[:, 1, None, None] * across[None, :, None]
        found += np.sin(2 * np.pi * angle + phase[:, None, None])
    low, high = found.min((1, 2, 3), keepdims=True), found.max((1, 2, 3), keepdims=True)
    return (20 + 215 * (found - low) / (high - low)).astype(np.uint8)


def cut(shares):
    """Shares as bytes, cut off."""
    return np.floor(np.clip(shares, 0, 1) * 255).astype(int)


def assert_close(found, expected):
    """Equal bytes, but for one step where a share lies on the edge between two."""
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - expected).max() <= 1 and np.mean(found != expected) < 0.02


@pytest.fixture
def draw():
    """A generator, anew at each call, so that a test draws what the function has drawn."""
    return lambda: np.random.default_rng(5)


IMAGE = smooth(1, (12, 10, 3))[0]
SHARES = IMAGE / 255


# -- the types -------------------------------------------------------------------------------------------


def test_the_types_are_those_of_the_published_set():
    published = pytest.importorskip("tensorflow_datasets.image_classification.cifar10_corrupted")
    theirs = {"frosted_glass_blur": "glass_blur", "elastic": "elastic_transform", "frost": "frost_procedural"}
    names = [theirs.get(name, name) for name in published.BENCHMARK_CORRUPTIONS]
    assert [name for name, kind in CORRUPTIONS.items() if kind.standing != "extra"] == names
    extra = {name for name, kind in CORRUPTIONS.items() if kind.standing == "extra"}
    assert extra == set(published.EXTRA_CORRUPTIONS)
    assert [name for name, kind in CORRUPTIONS.items() if kind.standing == "ours"] == ["frost_procedural"]
    assert all(len(kind.constants) == 5 for kind in CORRUPTIONS.values())


def test_gaussian_noise_is_added(draw):
    found = noise.gaussian_noise(IMAGE, 0.1, draw())
    random = draw()
    expected = np.empty(IMAGE.shape, int)
    for place in np.ndindex(IMAGE.shape):
        expected[place] = math.floor(min(max(SHARES[place] + 0.1 * random.standard_normal(), 0), 1) * 255)
    assert_close(found, expected)


def test_speckle_noise_is_in_proportion(draw):
    random = draw().standard_normal(IMAGE.shape)
    assert_close(noise.speckle_noise(IMAGE, 0.2, draw()), cut(SHARES * (1 + 0.2 * random)))


def test_shot_noise_has_the_moments_of_poisson(draw):
    """Mean x and variance x / photons, plus that of cutting off to bytes."""
    for level in (51, 128):
        found = noise.shot_noise(np.full((200, 200, 1), level, np.uint8), 100, draw()) / 255
        share = level / 255
        assert found.mean() == pytest.approx(share - 0.5 / 255, abs=5 * math.sqrt(share / 100) / 200)
        assert found.var() == pytest.approx(share / 100, rel=0.05)


def test_impulse_noise_strikes_a_share(draw):
    image = np.full((200, 200, 3), 100, np.uint8)
    found = noise.impulse_noise(image, 0.07, draw())
    counts = {value: np.mean(found == value) for value in (0, 100, 255)}
    assert sum(counts.values()) == pytest.approx(1)
    spread = 5 * math.sqrt(0.035 / image.size)
    assert counts[0] == pytest.approx(0.035, abs=spread) and counts[255] == pytest.approx(0.035, abs=spread)


def test_contrast_by_loops(draw):
    expected = np.empty(IMAGE.shape, int)
    for channel in range(3):
        mean = sum(map(float, SHARES[..., channel].ravel())) / SHARES[..., channel].size
        for y, x in np.ndindex(IMAGE.shape[:2]):
            value = mean + 0.4 * (SHARES[y, x, channel] - mean)
            expected[y, x, channel] = math.floor(min(max(value, 0), 1) * 255)
    assert_close(digital.contrast(IMAGE, 0.4, draw()), expected)


@pytest.mark.parametrize(
    ("change", "function", "constants"),
    [
        (lambda h, s, v: (h, s, min(v + 0.3, 1)), weather.brightness, 0.3),
        (lambda h, s, v: (h, min(2 * s + 0.1, 1), v), digital.saturate, (2, 0.1)),
        (lambda h, s, v: (h, 0.1 * s, v), digital.saturate, (0.1, 0)),
    ],
)
def test_colours_are_those_of_hsv(draw, change, function, constants):
    image = IMAGE.copy()
    image[0, :3] = [[0, 0, 0], [90, 90, 90], [255, 255, 255]]  # black, and what has no hue
    expected = [
        cut(np.array(colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*pixel)))))
        for pixel in image.reshape(-1, 3) / 255
    ]
    assert_close(function(image, constants, draw()), np.reshape(expected, image.shape))


def test_gaussian_blur_by_sums(draw):
    reach = np.arange(-3, 4)
    weights = np.exp(-(reach**2) / (2 * 0.8**2))
    weights /= weights.sum()
    height, width = IMAGE.shape[:2]
    expected = np.zeros(IMAGE.shape)
    for y, x in np.ndindex(height, width):
        for (i, dy), (j, dx) in ((a, b) for a in enumerate(reach) for b in enumerate(reach)):
            near = min(max(y + dy, 0), height - 1), min(max(x + dx, 0), width - 1)
            expected[y, x] += weights[i] * weights[j] * SHARES[near]
    assert_close(blur.gaussian_blur(IMAGE, 0.8, draw()), cut(expected))


def test_defocus_blur_by_sums(draw):
    """A disk on a lattice of 17 × 17, smoothed by 3 × 3 taps, and edges mirrored without the last pixel."""
    reach = range(-8, 9)
    sharp = {(i, j): float(i * i + j * j <= 1.5**2) for i in reach for j in reach}
    total = sum(sharp.values())
    taps = {step: math.exp(-step * step / (2 * 0.1**2)) for step in (-1, 0, 1)}
    norm = sum(taps.values())
    disk = {
        (i, j): sum(
            taps[a] * taps[b] / norm**2 * sharp.get((i + a, j + b), 0) / total for a in (-1, 0, 1) for b in (-1, 0, 1)
        )
        for i, j in sharp
    }
    height, width = IMAGE.shape[:2]

    def mirrored(place, side):
        place = abs(place)
        return place if place < side else 2 * (side - 1) - place

    expected = np.zeros(IMAGE.shape)
    for y, x in np.ndindex(height, width):
        for (i, j), weight in disk.items():
            if weight > 1e-12:
                expected[y, x] += weight * SHARES[mirrored(y + i, height), mirrored(x + j, width)]
    assert_close(blur.defocus_blur(IMAGE, (1.5, 0.1), draw()), cut(expected))


def test_glass_blur_copies_from_a_neighbour(draw):
    """Without smoothing, in the order of the released loops: from the last pixel to the second."""
    found = blur.glass_blur(IMAGE, (0.0, 1, 1), draw())
    height, width = IMAGE.shape[:2]
    moves = draw().integers(-1, 1, (2, height - 2, width - 2))
    expected = IMAGE.astype(int)
    for y in range(height - 1, 1, -1):
        for x in range(width - 1, 1, -1):
            dy, dx = moves[:, y - 2, x - 2]
            expected[y, x] = expected[y + dy, x + dx]
    assert_close(found, expected)


def test_motion_blur_by_loops(draw):
    found = blur.motion_blur(IMAGE, (6, 2), draw())
    angle = math.radians(draw().uniform(-45, 45))
    weights = [math.exp(-step * step / 8) for step in range(13)]
    height, width = IMAGE.shape[:2]
    expected = np.zeros(IMAGE.shape)
    for y, x in np.ndindex(height, width):
        for step, weight in enumerate(weights):
            dy, dx = math.ceil(step * math.sin(angle) - 0.5), math.ceil(step * math.cos(angle) - 0.5)
            near = min(max(y + dy, 0), height - 1), min(max(x + dx, 0), width - 1)
            expected[y, x] += weight / sum(weights) * IMAGE[near]
    assert_close(found, np.rint(expected))


def test_zoom_blur_by_zooms(draw):
    """SciPy enlarges the middle of the image; what is over at the sides is cut away."""
    image = smooth(1, (32, 32, 3))[0]
    total, count = image / 255, 1
    for factor in np.arange(1, 1.16, 0.01):
        length = math.ceil(32 / factor)
        first = (32 - length) // 2
        large = ndimage.zoom(image[first : first + length, first : first + length] / 255, (factor, factor, 1), order=1)
        left = (len(large) - 32) // 2
        total, count = total + large[left : left + 32, left : left + 32], count + 1
    assert_close(blur.zoom_blur(image, 1.16, draw()), cut(total / count))


def test_fog_by_midpoint_displacement(draw):
    """The fractal point by point on a torus, then the sum with the image, scaled back to its range."""
    side, random, amplitude, step = 16, draw(), 100.0, 16
    field = np.zeros((side, side))
    while step > 1:
        half = step // 2
        grid = range(0, side, step)
        for kind in ("centres", "across", "down"):
            moves = iter(random.uniform(-amplitude, amplitude, (len(grid), len(grid))).ravel())
            for y in grid:
                for x in grid:
                    if kind == "centres":
                        place, near = (y + half, x + half), [(-half, -half), (-half, half), (half, -half), (half, half)]
                    else:
                        place = (y, x + half) if kind == "across" else (y + half, x)
                        near = [(-half, 0), (half, 0), (0, -half), (0, half)]
                    around = [field[(place[0] + dy) % side, (place[1] + dx) % side] for dy, dx in near]
                    field[place] = sum(around) / 4 + amplitude * next(moves)
        step, amplitude = half, amplitude / 2.5
    field = (field - field.min()) / (field.max() - field.min())
    assert np.allclose(weather.plasma(16, 2.5, draw()), field)
    expected = (SHARES + 0.75 * field[:12, :10, None]) * SHARES.max() / (SHARES.max() + 0.75)
    assert_close(weather.fog(IMAGE, (0.75, 2.5), draw()), cut(expected))


def test_snow_whitens_and_falls_from_both_sides(draw):
    """Without flakes the closed form; on black each flake has one that is turned over."""
    dry = weather.snow(IMAGE, (0.1, 0.1, 1, 9.0, 8, 3, 0.8), draw())
    grey = SHARES @ [0.299, 0.587, 0.114]
    expected = 0.8 * SHARES + 0.2 * np.maximum(SHARES, 1.5 * grey[..., None] + 0.5)
    assert_close(dry, cut(expected))
    black = weather.snow(np.zeros((16, 16, 3), np.uint8), (0.1, 0.3, 1, 0.5, 4, 2, 1.0), draw()).astype(int)
    assert black.max() > 100 and np.array_equal(black, np.rot90(black, 2))
    assert np.array_equal(black[..., 0], black[..., 2])


def test_spatter_covers_where_liquid_is(draw):
    """Mud everywhere is mud; without liquid nothing changes; water adds its own colour alone."""
    muddy = weather.spatter(IMAGE, (1.0, 0.0, 1, 0.5, 1, 1), draw())
    assert_close(muddy, np.broadcast_to([63, 42, 20], IMAGE.shape))
    for kind in (0, 1):
        assert_close(weather.spatter(IMAGE, (0.1, 0.0, 1, 0.5, 1, kind), draw()), IMAGE)
    wet = weather.spatter(np.zeros((32, 32, 3), np.uint8), (0.62, 0.1, 0.7, 0.7, 0.5, 0), draw()) / 255
    assert wet.max() == pytest.approx(0.5 * 238 / 255, abs=1 / 255)
    assert np.allclose(wet[..., 0], wet[..., 1] * 175 / 238, atol=1 / 255)


def test_elastic_transform_by_loops(draw):
    """Bilinear lookups, first of an affine map fixed by three moved points, then of a smoothed field."""
    constants = (0.1, 0.04, 0.05)
    found = digital.elastic_transform(IMAGE, constants, draw())
    height, width = IMAGE.shape[:2]
    random, side = draw(), min(height, width)
    middle, arm = np.array([height // 2, width // 2]), side // 3
    corners = [middle + arm, middle + [-arm, arm], middle - arm]
    moved = np.array(corners) + random.uniform(-0.05 * side, 0.05 * side, (3, 2))
    matrix = np.linalg.inv(np.c_[moved, np.ones(3)]) @ np.array(corners, float)

    def look(image, y, x, edge):
        def at(row, column):
            return image[edge(row, height), edge(column, width)]

        top, left = math.floor(y), math.floor(x)
        down, right = y - top, x - left
        return (1 - down) * ((1 - right) * at(top, left) + right * at(top, left + 1)) + down * (
            (1 - right) * at(top + 1, left) + right * at(top + 1, left + 1)
        )

    def without_the_edge(place, length):  # … 2 1 | 0 1 2 …
        place = abs(place) % (2 * length - 2)
        return min(place, 2 * length - 2 - place)

    def with_the_edge(place, length):  # … 1 0 | 0 1 …
        place %= 2 * length
        return min(place, 2 * length - 1 - place)

    mapped = np.zeros(IMAGE.shape)
    for y, x in np.ndindex(height, width):
        mapped[y, x] = look(SHARES, *(np.array([y, x, 1]) @ matrix), without_the_edge)
    fields = [random.uniform(-1, 1, (height, width)) for _ in range(2)]
    across, down = (ndimage.gaussian_filter(field, 0.04 * side, truncate=3) * 0.1 * side for field in fields)
    expected = np.zeros(IMAGE.shape)
    for y, x in np.ndindex(height, width):
        expected[y, x] = look(mapped, y + down[y, x], x + across[y, x], with_the_edge)
    assert_close(found, cut(expected))


def test_pixelate_takes_means_of_boxes(draw):
    image = smooth(1, (8, 12, 3))[0]
    means = image.reshape(4, 2, 6, 2, 3).mean((1, 3))
    found = digital.pixelate(image, 0.5, draw())
    assert np.abs(found - means.repeat(2, 0).repeat(2, 1)).max() <= 1


def test_jpeg_rounds_the_mean_of_a_block_to_the_step_of_its_quality(draw):
    """Of a flat grey image only the first coefficient is left, 8 times the mean; at quality 40 its step is 20."""
    levels = [
        int(digital.jpeg_compression(np.full((16, 16, 1), level, np.uint8), 40, draw())[0, 0, 0])
        for level in range(256)
    ]
    assert np.abs(np.array(levels) - np.arange(256)).max() <= 20 / 8 / 2 + 0.5
    assert len(set(levels)) == pytest.approx(256 / 2.5, abs=3)


def test_the_procedural_frost_is_a_weighted_sum(draw):
    """Without ice the share of the image that is kept; with it brighter by at most the weight of the ice."""
    assert_close(weather.frost_procedural(IMAGE, (0.75, 0.0), draw()), cut(0.75 * SHARES))
    black = weather.frost_procedural(np.zeros((32, 32, 3), np.uint8), (1, 0.4), draw()) / 255
    assert 0.38 < black[..., 2].max() <= 0.4 and black.min() < 0.1 and (black[..., 2] >= black[..., 0]).all()


# -- all of them -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sizes_and_grey(shape):
    images = smooth(2, shape)
    for name in types_for(shape):
        for severity in (1, 5):
            found = corrupt(images, name, severity, seed=0, ids=np.arange(2))
            assert found.shape == images.shape and found.dtype == np.uint8, name
            assert np.any(found != images) or (name, shape) == ("zoom_blur", (8, 8, 1)), name


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_images_depend_on_seed_and_id_alone(name):
    images, ids = smooth(5, (16, 16, 3)), np.array([3, 14, 15, 92, 65])
    whole = corrupt(images, name, 4, seed=1, ids=ids)
    assert np.array_equal(whole, corrupt(images, name, 4, seed=1, ids=ids))
    some = [4, 1]
    assert np.array_equal(whole[some], corrupt(images[some], name, 4, seed=1, ids=ids[some]))
    is_drawn = not np.array_equal(whole, corrupt(images, name, 4, seed=2, ids=ids))
    fixed = {
        "defocus_blur",
        "zoom_blur",
        "brightness",
        "contrast",
        "pixelate",
        "jpeg_compression",
        "gaussian_blur",
        "saturate",
    }
    assert is_drawn == (name not in fixed)
    assert is_drawn == (not np.array_equal(whole, corrupt(images, name, 4, seed=1, ids=ids + 1)))


def test_two_images_of_one_look_have_noise_of_their_own():
    one = np.repeat(smooth(1, (8, 8, 1)), 2, 0)
    found = corrupt(one, "gaussian_noise", 3, seed=0, ids=np.array([0, 1]))
    assert np.corrcoef(*(found - one.astype(int)).reshape(2, -1))[0, 1] < 0.5
    other = corrupt(one, "gaussian_noise", 4, seed=0, ids=np.array([0, 1]))
    assert np.corrcoef((found - one.astype(int))[0].ravel(), (other - one.astype(int))[0].ravel())[0, 1] < 0.5


# Their published constants are not ordered by the distance from the clean image: stronger smoothing hides moved pixels,
# the last kinds of spatter are mud in place of water, saturation falls before it rises, of frost the image fades.
NOT_ORDERED = ("glass_blur", "elastic_transform", "spatter", "saturate", "frost_procedural")


@pytest.mark.parametrize("name", [name for name in CORRUPTIONS if name not in NOT_ORDERED])
def test_severity_moves_images_farther(name):
    images = smooth(40, (32, 32, 3))
    moved = [
        np.abs(corrupt(images, name, severity, seed=0, ids=np.arange(40)) - images.astype(int)).mean()
        for severity in range(1, 6)
    ]
    assert all(after > 0.95 * before for before, after in zip(moved, moved[1:], strict=False)), moved
    assert moved[4] > 1.2 * moved[0]


def test_grey_images_are_what_colour_ones_without_hue_would_be():
    """What needs a colour gives its luma; saturation has none to change."""
    grey = smooth(3, (32, 32, 1)) // 2  # dark, so that no channel is clipped before the others
    same = grey.repeat(3, -1)
    assert "saturate" not in types_for(grey.shape[1:]) and "saturate" in types_for(same.shape[1:])
    for name in (
        "brightness",
        "snow",
        "fog",
        "contrast",
        "spatter",
        "frost_procedural",
        "motion_blur",
        "elastic_transform",
    ):
        for severity in (2, 5):
            colour = corrupt(same, name, severity, seed=0, ids=np.arange(3)) @ np.array([0.299, 0.587, 0.114])
            found = corrupt(grey, name, severity, seed=0, ids=np.arange(3))[..., 0]
            assert np.abs(found - colour).max() < 2.5, (name, severity)


def test_mistakes():
    images, ids = smooth(1, (8, 8, 3)), np.zeros(1, int)
    for name, severity in (("gaussian_nose", 1), ("gaussian_noise", 0), ("gaussian_noise", 6), ("frost", 1)):
        with pytest.raises(ValueError, match=rf"'{name}' of severity {severity}: expected 1 to 5 of gaussian_noise,"):
            corrupt(images, name, severity, seed=0, ids=ids)
    with pytest.raises(ValueError, match="images are float64: expected uint8"):
        corrupt(images / 255, "fog", 1, seed=0, ids=ids)
    with pytest.raises(ValueError, match="seed=-1"):
        corrupt(images, "fog", 1, seed=-1, ids=ids)
    for shape in ((8, 8, 4), (8, 8), (3, 8, 3)):
        with pytest.raises(ValueError, match=r"corruptions are defined for grey and RGB images .* at least 4 pixels"):
            types_for(shape)
