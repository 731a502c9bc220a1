"""A 3x3 convolution whose gradients XLA's CPU backend compiles well, of any order and under vmap.

Left to itself, JAX writes the gradient of x as a convolution with a kernel laid out as [h, w, O, I], which in the body
of a loop no fast CPU convolution takes (8 times slower and more), and that of the kernel as one whose kernel has the
image's size, in a layout that no fast one takes in a loop either. Here the first is an ordinary convolution with the
flipped, transposed kernel, laid out anew; the second an ordinary one too, or one matrix product, whichever is faster.
Both are bilinear and transposes of one another, so that two primitives give derivatives of any order, backward (R1
needs second ones) and forward (a Lipschitz bound needs jvp, which jax.custom_vjp lacks).
"""

import os

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from prt_jax.devices import EIGEN_CONVOLUTIONS

# The jax.ad_checkpoint name of a convolution's result in our nets: what is worth keeping for a gradient, where memory
# is short, since all else is quickly computed again.
CONVOLVED = "convolved"
_DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def plain_convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """Cross-correlation, zero-padded to the same size: x [B,H,W,I], kernel [h,w,I,O] -> [B,H,W,O]."""
  return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=_DIMENSIONS)


def convolve_3x3(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """plain_convolution for kernels [3,3,I,O], with gradients that are fast on a CPU."""
  return _convolve.bind(x, kernel)


def kernel_gradient(x: jax.Array, y: jax.Array) -> jax.Array:
  """sum(y * convolve_3x3(x, kernel)) differentiated by the kernel: x [B,H,W,I], y [B,H,W,O] -> [3,3,I,O]."""
  return _kernel_gradient.bind(x, y)


def transposed_kernel(kernel: jax.Array) -> jax.Array:
  """The kernel [h,w,O,I] of the transposed convolution."""
  return kernel[::-1, ::-1].swapaxes(2, 3)


def _columns_at_once(width, in_channels, out_channels):
  # With few channels a convolution spends its time on gathering its input. Neighbouring columns that share what is
  # gathered make it up to 2 (of two) and 3 (of four) times faster; in nets from 24 channels on nothing was gained.
  channels = in_channels + out_channels
  columns = 4 if channels <= 16 else 2 if channels <= 32 else 1
  return columns if width % columns == 0 else 1


def _convolve_as_laid_out(x, kernel):
  """The channels of neighbouring columns as one pixel's, with a kernel that moves on by as many columns."""
  columns = _columns_at_once(x.shape[2], *kernel.shape[2:])
  shifted = [jnp.pad(kernel, ((0, 0), (j, columns - 1 - j), (0, 0), (0, 0))) for j in range(columns)]
  # Behind the barrier XLA cannot fold a flipped, transposed kernel into the convolution's description, which it does
  # at the price of its fast path.
  kernels = jax.lax.optimization_barrier(jnp.concatenate(shifted, -1))
  convolved = jax.lax.conv_general_dilated(x, kernels, (1, columns), ((1, 1), (1, 1)), dimension_numbers=_DIMENSIONS)
  return convolved.reshape(*x.shape[:3], kernel.shape[3])


def _kernel_gradient_as_laid_out(x, y):
  with_eigen = EIGEN_CONVOLUTIONS in os.environ.get("XLA_FLAGS", "")
  return (kernel_gradient_as_convolution if with_eigen else kernel_gradient_as_product)(x, y)


def kernel_gradient_as_convolution(x: jax.Array, y: jax.Array) -> jax.Array:
  """kernel_gradient: y's channels as a batch, examples as channels, x as the kernel. The faster one with Eigen's."""
  images, kernel = jax.lax.optimization_barrier((y.transpose(3, 1, 2, 0), x.transpose(1, 2, 0, 3)))
  sums = jax.lax.conv_general_dilated(images, kernel, (1, 1), ((1, 1), (1, 1)), dimension_numbers=_DIMENSIONS)
  return jax.lax.optimization_barrier(sums)[:, ::-1, ::-1].transpose(1, 2, 3, 0)


def kernel_gradient_as_product(x: jax.Array, y: jax.Array) -> jax.Array:
  """kernel_gradient: nine sums over pixels as one product of x at three columns with y at three rows."""
  height, width = x.shape[1:3]
  x = jnp.pad(x, ((0, 0), (0, 0), (1, 1), (0, 0)))
  y = jnp.pad(y, ((0, 0), (1, 1), (0, 0), (0, 0)))
  columns = jnp.concatenate([x[:, :, j : j + width] for j in range(3)], -1)
  rows = jnp.concatenate([y[:, 2 - i : 2 - i + height] for i in range(3)], -1)
  sums = columns.reshape(-1, columns.shape[-1]).T @ rows.reshape(-1, rows.shape[-1])
  return sums.reshape(3, x.shape[-1], 3, y.shape[-1]).transpose(2, 0, 1, 3)


def _bilinear_primitive(name, implementation, transpose_left, transpose_right, batch):
  primitive = Primitive(name)
  primitive.def_impl(jax.jit(implementation))
  primitive.def_abstract_eval(lambda *avals: _shape(implementation, *avals))
  mlir.register_lowering(primitive, mlir.lower_fun(implementation, multiple_results=False))
  ad.defbilinear(primitive, transpose_left, transpose_right)
  batching.primitive_batchers[primitive] = batch
  return primitive


def _shape(implementation, *avals):
  result = jax.eval_shape(implementation, *avals)
  return ShapedArray(result.shape, result.dtype)


def _batch_convolution(operands, axes):
  x, kernel = operands
  if axes[1] is not None:  # a kernel an example: nothing here needs it fast
    return jax.vmap(plain_convolution, axes)(x, kernel), 0
  x = jnp.moveaxis(x, axes[0], 0)
  convolved = convolve_3x3(x.reshape(-1, *x.shape[2:]), kernel)
  return convolved.reshape(*x.shape[:2], *convolved.shape[1:]), 0


def _batch_kernel_gradient(operands, axes):
  return jax.vmap(kernel_gradient_as_product, axes)(*operands), 0


_convolve = _bilinear_primitive(
  "convolve_3x3",
  _convolve_as_laid_out,
  lambda y, _, kernel: convolve_3x3(y, transposed_kernel(kernel)),
  lambda y, x, _: kernel_gradient(x, y),
  _batch_convolution,
)
_kernel_gradient = _bilinear_primitive(
  "kernel_gradient",
  _kernel_gradient_as_laid_out,
  lambda kernel, _, y: convolve_3x3(y, transposed_kernel(kernel)),
  lambda kernel, x, _: convolve_3x3(x, kernel),
  _batch_kernel_gradient,
)
