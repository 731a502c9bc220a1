"""Super-resolution from block means."""

import dataclasses

import jax

from prt_jax.degradations.linear import LinearDegradation, check_factor


@dataclasses.dataclass(frozen=True)
class SuperResolution(LinearDegradation):
  """Block averaging, whose pseudo-inverse is replication: the projection adds a residual back.

  Attributes:
    factor: a low-resolution pixel is the mean of factor x factor pixels.
    noise_std: standard deviation of the measurement noise.
    image_size: side of the square image.
    consistency: 'exact' or 'statistical', see degradation.py.

  Example:
    >>> sr = SuperResolution(factor=2, noise_std=0.0, image_size=2)
    >>> x = jnp.array([0.0, 0.25, 0.5, 0.75]).reshape(1, 2, 2, 1)
    >>> print(sr.clean(x).ravel(), sr.project(x, jnp.full((1, 1, 1, 1), 0.5)).ravel())
    [0.375] [0.125 0.375 0.625 0.875]
  """

  factor: int
  noise_std: float
  image_size: int
  consistency: str = "exact"

  def __post_init__(self) -> None:
    check_factor(self.factor, self.image_size)

  @property
  def title(self) -> str:
    """The task in words."""
    return f"super-resolution x{self.factor}"

  @property
  def removes_constants(self) -> bool:
    """Whether project(x + c, y) = project(x, y)."""
    return self.consistency == "exact" or self.noise_std == 0

  @property
  def norm(self) -> float:
    """||D||: a constant image keeps its values, and has factor^2 times fewer of them."""
    return 1 / self.factor

  def clean(self, x: jax.Array) -> jax.Array:
    """Block means: [B,H,W,C] -> [B,H/factor,W/factor,C]."""
    batch, height, width, channels = x.shape
    blocks = (batch, height // self.factor, self.factor, width // self.factor, self.factor, channels)
    # Rows, then columns: short sums, whose rounding stays under 1e-6 however they are compiled.
    return x.reshape(blocks).mean(4).mean(2)

  def network_input(self, y: jax.Array) -> jax.Array:
    """Nearest-neighbour upsampling of y to the image's size."""
    return y.repeat(self.factor, 1).repeat(self.factor, 2)

  def pseudo_inverse(self, residual: jax.Array) -> jax.Array:
    """Replication, the closed form: D of it is the residual, and it has no part that D does not see."""
    return self.network_input(residual)
