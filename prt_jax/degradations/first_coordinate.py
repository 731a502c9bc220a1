"""The toys of paper A: a point of the plane from its first coordinate."""

import dataclasses

import jax
import jax.numpy as jnp

from prt_jax.degradations.degradation import add_noise


@dataclasses.dataclass(frozen=True)
class FirstCoordinate:
  """The toys of paper A (Sec. 4): X is a point of the plane, Y its first coordinate, to be completed by a second.

  Attributes:
    noise_std: standard deviation of the measurement noise, units of the plane.

  Example:
    >>> print(FirstCoordinate(noise_std=0.0).clean(jnp.array([[0.3, 0.7]])))
    [[0.3]]
  """

  noise_std: float

  title = "completion of a point"
  projects = True
  consistency = "exact"
  removes_constants = False
  whole_images = False
  image_shape = (2,)
  measurement_shape = (1,)
  psnr_size = 1  # Y is one number

  def clean(self, x: jax.Array) -> jax.Array:
    """The first coordinate: [B,2] -> [B,1]."""
    return x[:, :1]

  def degrade(self, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
    """The first coordinate plus noise."""
    return add_noise(self.clean(x), self.noise_std, key)

  def network_input(self, y: jax.Array) -> jax.Array:
    """y itself, [B,1]."""
    return y

  def project(self, x: jax.Array, y: jax.Array) -> jax.Array:
    """The point (y, last coordinate of x): x is a point [B,2] or the generator's one value [B,1]."""
    return jnp.concatenate([y, x[:, -1:]], 1)

  def estimated(self, x: jax.Array) -> jax.Array:
    """The second coordinate alone: what the estimator of Eqs. 2 to 7 puts out (App. E.1)."""
    return x[:, 1:]
