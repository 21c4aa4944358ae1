"""Depthwise convolution, on a CPU as a sum of shifted products.

y = sum_ij shift_ij(pad(x)) w_ij is one elementwise loop, and so is its gradient to x. The gradient to w is kh * kw
sums over the same g, taken together in one pass over a few images at a time.
"""

import functools
import math

import jax
from jax import lax
import jax.numpy as jnp

from rnas.layers.window import Window
from rnas.layers.window import block_size

BLOCK = 8  # images summed at once: enough for every core, few enough for the cache
FEW = 9  # kernel entries up to which testing bounds in the loop costs less than a padded copy of the gradient


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def depthwise(window: Window, x: jax.Array, kernel: jax.Array) -> jax.Array:
  """Returns the convolution [N, h, w, C] of each channel of `x` [N, H, W, C] with its `kernel` [kh, kw, 1, C]."""
  return _forward(window, x, kernel)[0]


def _forward(window, x, kernel):
  y = lax.platform_dependent(x, kernel, cpu=functools.partial(shifted_products, window), default=window.native)
  return y, (x, kernel)


def _backward(window, residuals, g):
  x, kernel = residuals

  def shifted_to_x(g, kernel):
    if math.prod(window.kernel) <= FEW:
      return jax.linear_transpose(lambda x: shifted_products(window, x, kernel), x)(g)[0]
    return turned_products(window, g, kernel, x.shape)

  def native_to_x(g, kernel):
    return jax.linear_transpose(lambda x: window.native(x, kernel), x)(g)[0]

  def native_to_kernel(x, g):
    return jax.linear_transpose(lambda kernel: window.native(x, kernel), kernel)(g)[0]

  return (lax.platform_dependent(g, kernel, cpu=shifted_to_x, default=native_to_x),
          lax.platform_dependent(x, g, cpu=functools.partial(summed_products, window), default=native_to_kernel))


depthwise.defvjp(_forward, _backward)


def shifted_products(window: Window, x: jax.Array, kernel: jax.Array) -> jax.Array:
  """Returns the convolution as a sum of products; arguments as those of `depthwise`."""
  return sum(shift * weight for shift, weight in zip(window.shifts(x), kernel.reshape(-1, kernel.shape[-1])))


def turned_products(window: Window, g: jax.Array, kernel: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  """Returns the gradient to images of that `shape`, as the convolution of `g`, spread out, with the turned kernel."""
  spread = [(size - 1) * stride + 1 for size, stride in zip(g.shape[1:3], window.strides)]
  g = lax.pad(g, jnp.zeros((), g.dtype), ((0, 0, 0), *((0, 0, stride - 1) for stride in window.strides), (0, 0, 0)))
  padding = tuple((reach - before, size + before - width) for reach, (before, _), size, width
                  in zip(window.reach, window.padding, shape[1:3], spread))
  return shifted_products(window._replace(padding=padding, strides=(1, 1)), g, kernel[::-1, ::-1])


def summed_products(window: Window, x: jax.Array, g: jax.Array) -> jax.Array:
  """Returns the gradient [kh, kw, 1, C] to the kernel, from `x` [N, H, W, C] and the result's gradient `g`."""
  channels = x.shape[-1]
  block = block_size(x.shape[0], BLOCK)

  def step(total, block_of):
    x, g = block_of
    sums = sum_together(tuple(shift * g for shift in window.shifts(x)))
    return [a + b for a, b in zip(total, sums)], None

  start = [jnp.zeros((block, channels), x.dtype)] * math.prod(window.kernel)
  blocks = jax.tree.map(lambda a: a.reshape(-1, block, *a.shape[1:]), (x, g))
  total, _ = lax.scan(step, start, blocks)
  return jnp.stack(total).sum(1).reshape(*window.kernel, 1, channels)


@jax.custom_jvp
def sum_together(arrays: tuple[jax.Array, ...]) -> list[jax.Array]:
  """Returns the sums [N, C] over height and width of arrays [N, H, W, C], all of them in one loop."""
  zero = jnp.zeros((), arrays[0].dtype)
  return lax.reduce(list(arrays), [zero] * len(arrays), lambda a, b: [x + y for x, y in zip(a, b)], (1, 2))


@sum_together.defjvp
def _sum_together_jvp(primals, tangents):
  # The rule JAX has for reductions of many arrays is a tree of slices; each sum is linear on its own.
  return sum_together(*primals), [tangent.sum((1, 2)) for tangent in tangents[0]]
