"""The CPU's forms of convolution against XLA's native one, in value and in every derivative used."""

import functools

import flax.linen as nn
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import pytest

from rnas.layers import Conv, convolve
from rnas.layers.convolution import convolve_branches
from rnas.layers.window import Window

IMAGES = ("NHWC", "HWIO", "NHWC")


def both(kernel, groups, stride, dilation=1, padding=None, channels=4, features=4, images=6):
    """Returns our convolution, the native one, and (images, kernel, cotangent) for them."""
    keys = jax.random.split(jax.random.key(kernel + 10 * stride), 3)
    x = jax.random.normal(keys[0], (images, 9, 8, channels))
    w = jax.random.normal(keys[1], (kernel, kernel, channels // groups, features))
    reach = dilation * (kernel // 2)
    options = {
        "window_strides": (stride, stride),
        "padding": padding or ((reach, reach), (reach, reach)),
        "rhs_dilation": (dilation, dilation),
        "dimension_numbers": IMAGES,
        "feature_group_count": groups,
    }
    ours = functools.partial(convolve, **options)
    native = functools.partial(lax.conv_general_dilated, **options)
    return ours, native, (x, w, jax.random.normal(keys[2], jax.eval_shape(native, x, w).shape))


def derivatives(f, x, w, g):
    """Value of the convolution f and its gradients to images and kernel."""
    y, pull = jax.vjp(f, x, w)
    return y, *pull(g)


def hessian_vector_products(f, x, w, g):
    """Forward over reverse, for a function of f with curvature."""
    gradients = jax.grad(lambda x, w: (g * jnp.tanh(f(x, w))).sum(), (0, 1))
    return jax.jvp(gradients, (x, w), (jnp.sin(x), jnp.cos(w)))[1]


def tangents(f, x, w, g):
    """Forward mode, and reverse over forward."""

    def slopes(x, w):
        return jax.jvp(lambda x, w: (g * f(x, w) ** 2).sum(), (x, w), (jnp.sin(x), jnp.cos(w)))[1]

    return jax.jvp(f, (x, w), (jnp.sin(x), jnp.cos(w)))[1], *jax.grad(slopes, (0, 1))(x, w)


def gradients_of_kernels(f, x, w, g):
    """Gradients for several kernels at once."""
    kernels = jnp.stack([w, 2.0 * w, jnp.cos(w)])
    return jax.vmap(jax.grad(lambda x, w: (g * f(x, w) ** 2).sum(), (0, 1)), in_axes=(None, 0))(x, kernels)


def assert_same(quantity, ours, native, operands):
    both_at_once = jax.jit(lambda *operands: (quantity(ours, *operands), quantity(native, *operands)))
    for a, b in zip(*both_at_once(*operands), strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5 * float(jnp.abs(b).max()))


CASES = {
    "depthwise_3": {"kernel": 3, "groups": 4, "stride": 1},
    "depthwise_3_stride": {"kernel": 3, "groups": 4, "stride": 2, "images": 7},
    "depthwise_5": {"kernel": 5, "groups": 4, "stride": 1, "images": 16},
    "depthwise_5_stride": {"kernel": 5, "groups": 4, "stride": 2},
    "depthwise_dilated": {"kernel": 3, "groups": 4, "stride": 1, "dilation": 2},
    "depthwise_dilated_stride_same": {
        "kernel": 3,
        "groups": 4,
        "stride": 2,
        "dilation": 2,
        "padding": "SAME",
    },
    "depthwise_wide_padding": {"kernel": 3, "groups": 4, "stride": 1, "padding": ((4, 0), (1, 3))},
    "depthwise_5_uneven": {"kernel": 5, "groups": 4, "stride": 2, "dilation": 2, "padding": ((6, 1), (0, 3))},
    "dense_3": {"kernel": 3, "groups": 1, "stride": 1, "channels": 6, "features": 5, "images": 2 * 31},
    "dense_few_channels": {"kernel": 3, "groups": 1, "stride": 2, "channels": 3, "features": 5, "padding": "SAME"},
    "dense_5_stride": {"kernel": 5, "groups": 1, "stride": 2, "channels": 5, "features": 5},
    "dense_dilated": {
        "kernel": 3,
        "groups": 1,
        "stride": 1,
        "dilation": 2,
        "features": 3,
        "padding": "VALID",
    },
    "dense_one_channel": {
        "kernel": 3,
        "groups": 1,
        "stride": 2,
        "channels": 1,
        "features": 5,
        "padding": "SAME",
    },
    "pointwise_stride": {"kernel": 1, "groups": 1, "stride": 2, "features": 7},
    "grouped": {"kernel": 3, "groups": 2, "stride": 1, "features": 6},
}


@pytest.mark.parametrize("case", CASES)
def test_equals_native(case):
    assert_same(derivatives, *both(**CASES[case]))


@pytest.mark.parametrize("case", ["depthwise_3", "depthwise_3_stride", "dense_5_stride", "dense_one_channel"])
def test_hessian_vector_products(case):
    assert_same(hessian_vector_products, *both(**CASES[case]))


@pytest.mark.parametrize("case", ["depthwise_3_stride", "dense_3"])
def test_forward_mode(case):
    assert_same(tangents, *both(**CASES[case]))


@pytest.mark.parametrize("case", ["depthwise_3_stride", "dense_3"])
def test_vmap(case):
    assert_same(gradients_of_kernels, *both(**CASES[case]))


@pytest.mark.parametrize("case", ["depthwise_5_stride", "dense_3", "pointwise_stride"])
def test_accelerators_keep_their_convolution(case):
    ours, native, operands = both(**CASES[case])

    def convolutions(f, platform):
        gradients = jax.jit(functools.partial(derivatives, f))
        text = gradients.trace(*operands).lower(lowering_platforms=(platform,)).as_text()
        return text.count("stablehlo.convolution"), text.count("stablehlo.while")

    for platform in ("cuda", "tpu"):
        assert convolutions(ours, platform) == convolutions(native, platform)
        assert convolutions(ours, platform)[0] == 3
    assert convolutions(ours, "cpu")[0] < 3


def test_a_process_without_a_cpu_backend_traces_native_convolutions_alone(monkeypatch):
    """Depthwise, dense, pointwise and side by side; values and gradients."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    for case in ("depthwise_3_stride", "dense_3", "pointwise_stride"):
        ours, native, operands = both(**CASES[case])
        expected, found = (str(jax.make_jaxpr(functools.partial(derivatives, f))(*operands)) for f in (native, ours))
        assert found == expected
    window = Window((3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 4)
    x, kernel = jnp.zeros((2, 5, 6, 6, 4)), jnp.zeros((2, 3, 3, 1, 4))
    forms = functools.partial(convolve_branches.__wrapped__, window), jax.vmap(window.native)
    found, expected = (str(jax.make_jaxpr(functools.partial(derivatives, f))(x, kernel, x)) for f in forms)
    assert found == expected


def test_other_layouts_and_types_are_left_to_xla():
    x = jax.random.normal(jax.random.key(0), (2, 3, 6, 6))
    w = jax.random.normal(jax.random.key(1), (4, 3, 3, 3))
    np.testing.assert_array_equal(convolve(x, w, (1, 1), "SAME"), lax.conv_general_dilated(x, w, (1, 1), "SAME"))
    y = convolve(x.astype(jnp.bfloat16), w.astype(jnp.bfloat16), (1, 1), [(0, 0), (0, 0)], lhs_dilation=(2, 2))
    assert y.dtype == jnp.bfloat16 and y.shape == (2, 4, 9, 9)


def test_flax_convolution_takes_it():
    x = jax.random.normal(jax.random.key(0), (2, 6, 6, 4))
    options = {"features": 4, "kernel_size": (3, 3), "feature_group_count": 4, "strides": 2}
    native = nn.Conv(**options)
    variables = native.init(jax.random.key(1), x)
    ours = nn.Conv(**options, conv_general_dilated=convolve)
    np.testing.assert_allclose(ours.apply(variables, x), native.apply(variables, x), rtol=1e-5, atol=1e-5)


def test_conv_pads_both_sides_unless_told_same():
    x = jax.random.normal(jax.random.key(0), (1, 6, 6, 2))
    conv = Conv(3, stride=2, use_bias=True)
    variables = conv.init(jax.random.key(1), x)
    assert jax.tree.map(jnp.shape, variables) == {"params": {"kernel": (3, 3, 2, 3), "bias": (3,)}}
    kernel = variables["params"]["kernel"]
    variables = {"params": {"kernel": kernel, "bias": jnp.array([1.0, 2.0, 3.0])}}
    for padding, pads in ((None, ((1, 1), (1, 1))), ("SAME", ((0, 1), (0, 1)))):
        expected = lax.conv_general_dilated(x, kernel, (2, 2), pads, dimension_numbers=IMAGES) + jnp.array(
            [[[[1.0, 2.0, 3.0]]]]
        )
        result = Conv(3, stride=2, use_bias=True, padding=padding).apply(variables, x)
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)


def test_kernel_is_he_normal_in_its_outputs():
    kernel = Conv(64).init(jax.random.key(0), jnp.zeros((1, 4, 4, 32)))["params"]["kernel"]
    np.testing.assert_allclose(kernel.std(), np.sqrt(2.0 / (9 * 64)), rtol=0.03)


def test_bfloat16_computes_in_bfloat16_from_float32_parameters():
    x = jnp.ones((1, 4, 4, 3))
    conv = Conv(5, dtype=jnp.bfloat16)
    variables = conv.init(jax.random.key(0), x)
    assert variables["params"]["kernel"].dtype == jnp.float32
    assert conv.apply(variables, x).dtype == jnp.bfloat16


def test_refusals():
    with pytest.raises(ValueError, match=r"\[N, H, W, C\]"):
        Conv(4).init(jax.random.key(0), jnp.zeros((4, 4, 3)))
    with pytest.raises(ValueError, match="groups=2 must divide"):
        Conv(4, groups=2).init(jax.random.key(0), jnp.zeros((1, 4, 4, 3)))
