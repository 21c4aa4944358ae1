"""Convolutions that can be differentiated in every mode, as often as one likes, in forms of our own on a CPU.

A convolution y = x * k and its transposes, the gradients to the images and to the kernel, are three faces of one
trilinear form <g, x * k>: each is linear in two of x, k and g, and the transposes of each are the other two. As three
primitives of JAX that name each other, any derivative of a convolution is made of the same three again, unlike
with `jax.custom_vjp`, which forward mode cannot pass and whose own derivatives are not ours any more.
"""

from collections.abc import Callable
import functools
from typing import NamedTuple

import jax
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
import jax.numpy as jnp

from rnas.layers.window import Window


class Forms(NamedTuple):
    """How a convolution of images of `size` (H, W) is computed on a CPU, by functions (window, size, *operands).

    The operands are two of x [N, H, W, C], kernel [kh, kw, C / groups, F], and g, the gradient to the result.
    """

    value: Callable[..., jax.Array]  # x, kernel → the result [N, h, w, F]
    to_images: Callable[..., jax.Array]  # kernel, g → the gradient to the images
    to_kernel: Callable[..., jax.Array]  # x, g → the gradient to the kernel


def convolution(forms: Forms, window: Window, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns convolutions side by side, [B, N, h, w, F]: of `x` [B, N, H, W, C] with `kernel` [B, kh, kw, *, F].

    The `forms` are used on a CPU; other platforms have their own.
    """
    return VALUE.bind(x, kernel, forms=forms, window=window, size=x.shape[2:4])


def _value_shape(window, size, x, kernel):
    return (*x.shape[:2], *window.positions(size), kernel.shape[-1])


def _images_shape(window, size, kernel, g):
    return (*g.shape[:2], *size, kernel.shape[-2] * window.groups)


def _kernel_shape(window, size, x, g):
    return (g.shape[0], *window.kernel, x.shape[-1] // window.groups, g.shape[-1])


def _native_value(window, size, x, kernel):
    return window.native(x, kernel)


def _native_to_images(window, size, kernel, g):
    x = jax.ShapeDtypeStruct((len(g), *size, kernel.shape[-2] * window.groups), g.dtype)
    return jax.linear_transpose(lambda x: window.native(x, kernel), x)(g)[0]


def _native_to_kernel(window, size, x, g):
    kernel = jax.ShapeDtypeStruct((*window.kernel, x.shape[-1] // window.groups, g.shape[-1]), g.dtype)
    return jax.linear_transpose(lambda kernel: window.native(x, kernel), kernel)(g)[0]


def _primitive(name: str, form: str, shape: Callable, native: Callable, kernel: int | None) -> Primitive:
    """Returns a primitive of two operands, each with an axis of branches first.

    Args:
      form: which of `Forms` computes one branch on a CPU.
      shape: (window, size, *operands) to the shape of the result.
      native: (window, size, *operands) to the result of one branch, elsewhere.
      kernel: which operand is the kernel, if one is: with one kernel, more images are just a larger batch.
    """
    primitive = Primitive(name)

    def on_cpu(*operands, forms, window, size):
        one = functools.partial(getattr(forms, form), window, size)
        if len(operands[0]) == 1:
            return one(*(operand[0] for operand in operands))[None]
        return lax.map(lambda operands: one(*operands), operands)

    def elsewhere(*operands, forms, window, size):
        one = functools.partial(native, window, size)
        if len(operands[0]) == 1:
            return one(*(operand[0] for operand in operands))[None]
        return jax.vmap(one)(*operands)

    def batch(operands, axes, **params):
        count = next(x.shape[axis] for x, axis in zip(operands, axes, strict=True) if axis is not None)
        larger_batch = kernel is not None and axes[kernel] is None
        place = 1 if larger_batch else 0

        def merged(x, axis):
            if axis is None:
                x = jnp.broadcast_to(jnp.expand_dims(x, place), (*x.shape[:place], count, *x.shape[place:]))
            else:
                x = jnp.moveaxis(x, axis, place)
            return x.reshape(*x.shape[:place], -1, *x.shape[place + 2 :])

        operands = [
            x if larger_batch and i == kernel else merged(x, axis)
            for i, (x, axis) in enumerate(zip(operands, axes, strict=True))
        ]
        result = primitive.bind(*operands, **params)
        return result.reshape(*result.shape[:place], count, -1, *result.shape[place + 1 :]), place

    @primitive.def_abstract_eval
    def _(*operands, forms, window, size):
        return jax.core.ShapedArray(shape(window, size, *operands), operands[0].dtype)

    alone = jax.jit(primitive.bind, static_argnames=("forms", "window", "size"))

    @primitive.def_impl
    def _(*operands, **params):
        with jax.disable_jit(False):  # compiled even where nothing else is, or this would call itself
            return alone(*operands, **params)

    mlir.register_lowering(primitive, mlir.lower_fun(elsewhere, multiple_results=False))
    mlir.register_lowering(primitive, mlir.lower_fun(on_cpu, multiple_results=False), platform="cpu")
    batching.primitive_batchers[primitive] = batch
    return primitive


VALUE = _primitive("convolution", "value", _value_shape, _native_value, kernel=1)
TO_IMAGES = _primitive("convolution_to_images", "to_images", _images_shape, _native_to_images, kernel=0)
TO_KERNEL = _primitive("convolution_to_kernel", "to_kernel", _kernel_shape, _native_to_kernel, kernel=None)

# In the order of the operands; the first argument is the cotangent of the one result, of the shape of what it names.
ad.defbilinear(
    VALUE,
    lambda g, x, kernel, **params: TO_IMAGES.bind(kernel, g, **params),
    lambda g, x, kernel, **params: TO_KERNEL.bind(x, g, **params),
)
ad.defbilinear(
    TO_IMAGES,
    lambda x, kernel, g, **params: TO_KERNEL.bind(x, g, **params),
    lambda x, kernel, g, **params: VALUE.bind(x, kernel, **params),
)
ad.defbilinear(
    TO_KERNEL,
    lambda kernel, x, g, **params: TO_IMAGES.bind(kernel, g, **params),
    lambda kernel, x, g, **params: VALUE.bind(x, kernel, **params),
)
