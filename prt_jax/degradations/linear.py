"""Linear degradations: the projection of any of them, from the function D alone."""

import jax
import jax.numpy as jnp
from jax.scipy.sparse.linalg import cg

from prt_jax.degradations.degradation import ImageDegradation


class LinearDegradation(ImageDegradation):
  """D(x) = A x: x is projected to x - A^+ (A x - y), CEM (Bahat & Michaeli 2020) for whatever A is.

  Attributes:
    damping: lambda >= 0 in A^+ = A^T (A A^T + lambda I)^-1, in units of A's squared singular values. 0 is the
      pseudo-inverse. With lambda, a component that A multiplies by s keeps lambda / (s^2 + lambda) of its residual, and
      a change of y grows by at most 1 / (2 sqrt(lambda)), where the pseudo-inverse has 1 / min s.
    max_iterations: of conjugate gradients, which end earlier at a residual of `tolerance` times the first.
  """

  damping = 0.0
  tolerance = 1e-6
  max_iterations = 200

  @property
  def projects(self) -> bool:
    """Whether nothing is damped."""
    return self.damping == 0

  def pseudo_inverse(self, residual: jax.Array) -> jax.Array:
    """A^+ r for r [B, ...] of measurements, by conjugate gradients: each example's own, whatever its batch."""

    def solve(r):
      transpose = jax.linear_transpose(self.clean, jax.ShapeDtypeStruct((1, *self.image_shape), r.dtype))

      def normal(u):
        return self.clean(transpose(u[None])[0])[0] + self.damping * u

      u, _ = cg(normal, r, tol=self.tolerance, maxiter=self.max_iterations)
      return transpose(u[None])[0][0]

    with jax.default_matmul_precision("highest"):
      return jax.vmap(solve)(residual)

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
