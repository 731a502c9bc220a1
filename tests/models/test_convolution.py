"""Our 3x3 convolution against JAX's own: values, derivatives of two orders, under vmap and inside a loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from prt_jax.models.convolution import (
  convolve_3x3,
  kernel_gradient,
  kernel_gradient_as_convolution,
  kernel_gradient_as_product,
  plain_convolution,
)


# Columns at once: 1 (no multiple of 4 wide), 4 and 2.
@pytest.fixture(scope="module", params=[(2, 5, 6, 3, 4), (2, 3, 8, 3, 4), (1, 3, 6, 12, 8)], ids=str)
def operands(request):
  """x [B,H,W,I] and a kernel [3,3,I,O]."""
  *image, in_channels, out_channels = request.param
  rng = np.random.default_rng(0)
  shapes = (*image, in_channels), (3, 3, in_channels, out_channels)
  return tuple(rng.normal(size=shape).astype(np.float32) for shape in shapes)


def energy(convolve):
  return lambda x, kernel: jnp.sum(jnp.sin(convolve(x, kernel)) ** 2)


def gradients(convolve):
  return jax.grad(energy(convolve), (0, 1))


def penalised(convolve):
  """The gradient of a gradient's norm, as R1 takes it."""
  return jax.grad(lambda x, kernel: sum(jnp.sum(g**2) for g in gradients(convolve)(x, kernel)), (0, 1))


def assert_same(function, arguments, rtol=1e-4):
  for ours, plain in zip(
    jax.tree.leaves(function(convolve_3x3)(*arguments)),
    jax.tree.leaves(function(plain_convolution)(*arguments)),
    strict=True,
  ):
    np.testing.assert_allclose(ours, plain, rtol=rtol, atol=rtol * float(jnp.abs(plain).max()))


def test_centre_and_corner_by_hand():
  x = np.arange(9, dtype=np.float32).reshape(1, 3, 3, 1)
  kernel = np.arange(9, dtype=np.float32).reshape(3, 3, 1, 1)
  convolved = convolve_3x3(x, kernel)[0, ..., 0]
  assert convolved[1, 1] == sum(i * i for i in range(9))
  assert convolved[0, 0] == 0 * 4 + 1 * 5 + 3 * 7 + 4 * 8
  # Each kernel entry's derivative of the sum is the sum of the pixels it meets: the centre meets all.
  assert kernel_gradient(x, np.ones_like(x))[1, 1, 0, 0] == 36
  assert kernel_gradient(x, np.ones_like(x))[0, 0, 0, 0] == 0 + 1 + 3 + 4


@pytest.mark.parametrize("function", [lambda convolve: convolve, gradients, penalised])
def test_values_and_two_orders_of_derivatives(function, operands):
  assert_same(function, operands)


@pytest.mark.parametrize("ours", [kernel_gradient_as_convolution, kernel_gradient_as_product])
def test_both_kernel_gradients_are_jaxs(ours, operands):
  x, kernel = operands
  y, pullback = jax.vjp(lambda kernel: plain_convolution(x, kernel), kernel)
  (expected,) = pullback(np.cos(y))
  np.testing.assert_allclose(ours(x, np.cos(y)), expected, rtol=1e-4, atol=1e-4)


def test_finite_differences(operands):
  with jax.enable_x64(True):
    x, kernel = (0.3 * operand.astype(np.float64) for operand in operands)  # sin's third derivative small
    check_grads(lambda *arguments: jnp.sin(convolve_3x3(*arguments)), (x, kernel), order=2)


def test_forward_mode(operands):
  assert_same(lambda convolve: lambda *arguments: jax.jvp(convolve, arguments, arguments), operands)


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0), (1, None), (1, 0)])
@pytest.mark.parametrize("function", [lambda convolve: convolve, gradients])
def test_vmap(function, axes, operands):
  stacked = [
    operand if axis is None else np.stack([operand, 2 * operand, operand - 1], axis)
    for operand, axis in zip(operands, axes, strict=True)
  ]
  assert_same(lambda convolve: jax.vmap(function(convolve), axes), stacked)


def test_a_loops_gradient_convolutions_keep_their_layout(operands):
  """What makes a loop over seeds fast: no convolution with a kernel as [h, w, O, I], JAX's own formulation."""

  def layouts(convolve):
    def loop(x, kernel):
      return jnp.sum(jax.lax.map(lambda scale: energy(convolve)(scale * x, kernel), jnp.arange(3.0)))

    return jax.jit(jax.grad(loop, (0, 1))).lower(*operands).compile().as_text()

  assert "01oi" not in layouts(convolve_3x3)
  assert "01oi" in layouts(plain_convolution)
