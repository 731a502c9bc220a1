"""Linear degradations: the projection of any of them, from the function D alone."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from prt_jax.degradations.degradation import ImageDegradation
from prt_jax.errors import UserError

NORM_ITERATIONS = 50
ROUNDING = 1e-7  # a residual, relative to the first, that float32 cannot make smaller


def check_factor(factor: int, image_size: int) -> None:
  """UserError unless images of this size can be reduced by the factor."""
  if factor < 2 or image_size % factor:
    raise UserError(
      f"degradation.factor={factor} does not divide data.image_size={image_size}: choose a divisor of it, 2 or more"
    )


class LinearDegradation(ImageDegradation):
  """D(x) = A x: x is projected to x - A^+ (A x - y), CEM (Bahat & Michaeli 2020) for whatever A is.

  Attributes:
    damping: lambda >= 0 in A^+ = A^T (A A^T + lambda I)^-1, in units of A's squared singular values. 0 is the
      pseudo-inverse. With lambda, a component that A multiplies by s keeps lambda / (s^2 + lambda) of its residual, and
      a change of y grows by at most 1 / (2 sqrt(lambda)), where the pseudo-inverse has 1 / min s.
    num_iterations: of conjugate gradients. A residual falls by (sqrt(c) - 1) / (sqrt(c) + 1) in each, or faster, with c
      the condition number of A A^T + lambda I. There are always as many: what a program costs is known.

  Example:
    >>> class Half(LinearDegradation):
    ...   noise_std, image_size, title = 0.0, 4, "half as bright"
    ...   def clean(self, x):
    ...     return x / 2
    >>> x = Half().project(jnp.zeros((1, 4, 4, 3)), jnp.full((1, 4, 4, 3), 0.25))
    >>> print(f"{x.min():.3f} {x.max():.3f}")  # the image that has this measurement
    0.500 0.500
  """

  damping = 0.0
  num_iterations = 50

  @property
  def projects(self) -> bool:
    """Whether nothing is damped."""
    return self.damping == 0

  @property
  def norm(self) -> float:
    """||A||, the largest singular value, by power iteration on A^T A from a random image."""
    x = jax.ShapeDtypeStruct((1, *self.image_shape), jnp.float32)
    transpose = jax.linear_transpose(self.clean, x)

    def iterate(_, x):
      x = transpose(self.clean(x))[0]
      return x / jnp.linalg.norm(x)

    with jax.default_matmul_precision("highest"):
      first = jax.random.uniform(jax.random.key(0), x.shape)  # none is far from orthogonal to it where A keeps signs
      return float(jnp.linalg.norm(self.clean(jax.lax.fori_loop(0, NORM_ITERATIONS, iterate, first))))

  def pseudo_inverse(self, residual: jax.Array) -> jax.Array:
    """A^+ r for r [B, ...] of measurements, by conjugate gradients: each example's own, whatever its batch."""
    x = jax.ShapeDtypeStruct((len(residual), *self.image_shape), residual.dtype)
    transpose = jax.linear_transpose(self.clean, x)

    def normal(u):
      return self.clean(transpose(u)[0]) + self.damping * u

    with jax.default_matmul_precision("highest"):
      # The gradient is another solution, not one through all iterations of this.
      u = jax.lax.custom_linear_solve(
        normal, residual, lambda normal, r: conjugate_gradients(normal, r, self.num_iterations), symmetric=True
      )
      return transpose(u)[0]

  def project(self, x: jax.Array, y: jax.Array) -> jax.Array:
    """x - A^+ (r - r'), r = D(x) - y.

    r' is 0 for exact consistency, else r shortened to a root mean square of noise_std where it is longer.
    """
    residual = self.clean(x) - y
    if self.consistency == "statistical" and self.noise_std > 0:
      mean_square = jnp.mean(residual**2, axis=tuple(range(1, residual.ndim)), keepdims=True)
      # Of the mean square itself, so that no gradient is that of a root at 0.
      residual = residual * (1 - self.noise_std / jnp.sqrt(jnp.maximum(mean_square, self.noise_std**2)))
    return x - self.pseudo_inverse(residual)


def conjugate_gradients(normal: Callable[[jax.Array], jax.Array], right: jax.Array, num_iterations: int) -> jax.Array:
  """u with normal(u) = right, [B, ...], each example by itself; normal is linear, symmetric and positive."""

  def dot(a, b):
    return jnp.sum(a * b, axis=tuple(range(1, a.ndim)), keepdims=True)

  least = ROUNDING**2 * dot(right, right)

  def iterate(state, _):
    u, residual, direction, square = state
    step = normal(direction)
    # An example that is solved stays: further on, its numbers leave float32.
    length = jnp.where(square > least, square / jnp.where(square > least, dot(direction, step), 1), 0)
    u, residual = u + length * direction, residual - length * step
    after = dot(residual, residual)
    direction = residual + jnp.where(square > least, after / jnp.where(square > least, square, 1), 0) * direction
    return (u, residual, direction, after), None

  start = jnp.zeros_like(right), right, right, dot(right, right)
  return jax.lax.scan(iterate, start, length=num_iterations)[0][0]
