"""Degradations Y = D(X) + N, and the projections that make a restoration consistent with Y.

A degradation is an immutable object of five pure functions; arrays are float32, pixels in [0, 1]
(for the toys: points of the plane, [B,2]):

  degrade(x, key=None)   [B,H,W,3] -> y; the noise of noise_std > 0 needs a key (one, or one an example)
  clean(x)               D(x), the degradation without its noise
  network_input(y)       y -> [B,H,W,3], what the generator sees
  project(x, y)          the nearest image to x that is consistent with y; idempotent, exact, differentiable
  estimated(x)           the part of x whose change counts as a lack of robustness: all of an image

Consistent is D(x) = y, with noise too: D(x) is then forced to equal the noisy y, which hardly any natural
image does. Super-resolution knows another reading for that case, degradation.consistency = 'statistical': an image is
consistent whose ||D(x) - y||^2 / n is at most noise_std^2, what the original itself has on average.
"""

import dataclasses

import jax
import jax.numpy as jnp

from prt_jax.errors import UserError
from prt_jax.randomness import normal


def _add_noise(y: jax.Array, noise_std: float, key: jax.Array | None) -> jax.Array:
  if noise_std == 0:
    return y
  if key is None:
    raise ValueError("degrade needs a key: degradation.noise_std is not 0")
  return y + noise_std * normal(key, y.shape)


@dataclasses.dataclass(frozen=True)
class SuperResolution:
  """Block averaging; consistency by CEM (Bahat & Michaeli 2020), which for block means is a residual added back.

  Attributes:
    factor: a low-resolution pixel is the mean of factor x factor pixels.
    noise_std: standard deviation of the measurement noise.
    image_size: side of the square image.
    consistency: 'exact' or 'statistical', see the module.
  """

  factor: int
  noise_std: float
  image_size: int
  consistency: str = "exact"

  @property
  def removes_constants(self) -> bool:
    """Whether project(x + c, y) = project(x, y)."""
    return self.consistency == "exact" or self.noise_std == 0

  @property
  def image_shape(self) -> tuple[int, int, int]:
    """Shape of one x."""
    return self.image_size, self.image_size, 3

  @property
  def measurement_shape(self) -> tuple[int, int, int]:
    """Shape of one y."""
    side = self.image_size // self.factor
    return side, side, 3

  @property
  def psnr_size(self) -> int:
    """The number of values that AI-PSNR averages over: all of the low-resolution image."""
    height, width, channels = self.measurement_shape
    return height * width * channels

  def clean(self, x: jax.Array) -> jax.Array:
    """Block means: [B,H,W,C] -> [B,H/factor,W/factor,C]."""
    batch, height, width, channels = x.shape
    blocks = (batch, height // self.factor, self.factor, width // self.factor, self.factor, channels)
    # Rows, then columns: short sums, whose rounding stays under 1e-6 however they are compiled.
    return x.reshape(blocks).mean(4).mean(2)

  def degrade(self, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
    """Block means plus noise."""
    return _add_noise(self.clean(x), self.noise_std, key)

  def network_input(self, y: jax.Array) -> jax.Array:
    """Nearest-neighbour upsampling of y to the image's size."""
    return y.repeat(self.factor, 1).repeat(self.factor, 2)

  def project(self, x: jax.Array, y: jax.Array) -> jax.Array:
    """x - U(r - r'), U = nearest-neighbour replication, r = D(x) - y: D of it is y + r', up to float32 rounding of x.

    r' is 0 for exact consistency, else r shortened to a root mean square of noise_std where it is longer.
    """
    residual = self.clean(x) - y
    if self.consistency == "statistical" and self.noise_std > 0:
      mean_square = jnp.mean(residual**2, axis=(1, 2, 3), keepdims=True)
      # Of the mean square itself, so that no gradient is that of a root at 0.
      residual = residual * (1 - self.noise_std / jnp.sqrt(jnp.maximum(mean_square, self.noise_std**2)))
    return x - self.network_input(residual)

  def estimated(self, x: jax.Array) -> jax.Array:
    """The whole image, as the robustness of paper A's Eq. 9 counts it."""
    return x


@dataclasses.dataclass(frozen=True)
class Inpainting:
  """The upper three quarters are masked; y is the visible lower quarter, pasted back for consistency.

  Attributes:
    noise_std: standard deviation of the measurement noise.
    image_size: side of the square image, a multiple of 4.
  """

  noise_std: float
  image_size: int

  removes_constants = False

  @property
  def image_shape(self) -> tuple[int, int, int]:
    """Shape of one x."""
    return self.image_size, self.image_size, 3

  @property
  def measurement_shape(self) -> tuple[int, int, int]:
    """Shape of one y."""
    return self.image_size // 4, self.image_size, 3

  @property
  def psnr_size(self) -> int:
    """The number of values that AI-PSNR averages over: the whole image, masked pixels included (paper A's 32.9 dB)."""
    return self.image_size**2 * 3

  def clean(self, x: jax.Array) -> jax.Array:
    """The visible rows: [B,H,W,C] -> [B,H/4,W,C]."""
    return x[:, -(x.shape[1] // 4) :]

  def degrade(self, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
    """The visible rows plus noise."""
    return _add_noise(self.clean(x), self.noise_std, key)

  def network_input(self, y: jax.Array) -> jax.Array:
    """y below three times as many rows of zeros."""
    return jnp.pad(y, ((0, 0), (3 * y.shape[1], 0), (0, 0), (0, 0)))

  def project(self, x: jax.Array, y: jax.Array) -> jax.Array:
    """x with its visible rows replaced by y, exactly."""
    return jnp.concatenate([x[:, : -y.shape[1]], y], 1)

  def estimated(self, x: jax.Array) -> jax.Array:
    """The whole image, as the robustness of paper A's Eq. 9 counts it."""
    return x


@dataclasses.dataclass(frozen=True)
class FirstCoordinate:
  """The toys of paper A (Sec. 4): X is a point of the plane, Y its first coordinate, to be completed by a second.

  Attributes:
    noise_std: standard deviation of the measurement noise, units of the plane.
  """

  noise_std: float

  removes_constants = False
  image_shape = (2,)
  measurement_shape = (1,)
  psnr_size = 1  # Y is one number

  def clean(self, x: jax.Array) -> jax.Array:
    """The first coordinate: [B,2] -> [B,1]."""
    return x[:, :1]

  def degrade(self, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
    """The first coordinate plus noise."""
    return _add_noise(self.clean(x), self.noise_std, key)

  def network_input(self, y: jax.Array) -> jax.Array:
    """y itself, [B,1]."""
    return y

  def project(self, x: jax.Array, y: jax.Array) -> jax.Array:
    """The point (y, last coordinate of x): x is a point [B,2] or the generator's one value [B,1]."""
    return jnp.concatenate([y, x[:, -1:]], 1)

  def estimated(self, x: jax.Array) -> jax.Array:
    """The second coordinate alone: what the estimator of Eqs. 2 to 7 puts out (App. E.1)."""
    return x[:, 1:]


Degradation = SuperResolution | Inpainting | FirstCoordinate


def make_degradation(degradation_config, image_size: int) -> Degradation:
  """The degradation a config describes.

  Args:
    degradation_config: has kind, factor, noise_std and, if it is not 'exact', consistency (prt_jax/config.py).
    image_size: side of the square images, pixels.

  Raises:
    UserError: an unknown kind, a factor that does not divide image_size, an image_size without a quarter (inpainting),
      a negative noise_std, an unknown consistency or one that this kind does not have.
  """
  kind, factor, noise_std = degradation_config.kind, degradation_config.factor, degradation_config.noise_std
  if noise_std < 0:
    raise UserError(f"degradation.noise_std={noise_std} is negative: use 0 for a noiseless measurement")
  consistency = degradation_config.get("consistency", "exact")
  if consistency not in ("exact", "statistical"):
    raise UserError(f"degradation.consistency={consistency!r} is unknown: choose exact or statistical")
  if consistency == "statistical" and kind != "super_resolution":
    raise UserError(f"degradation.consistency='statistical' is of super_resolution: {kind} has exact")
  if kind == "super_resolution":
    if factor < 2 or image_size % factor:
      raise UserError(
        f"degradation.factor={factor} does not divide data.image_size={image_size}: choose a divisor of it, 2 or more"
      )
    return SuperResolution(factor, noise_std, image_size, consistency)
  if kind == "inpainting":
    if image_size % 4:
      raise UserError(f"data.image_size={image_size} has no quarter to show: choose a multiple of 4")
    return Inpainting(noise_std, image_size)
  if kind == "first_coordinate":
    return FirstCoordinate(noise_std)
  raise UserError(f"degradation.kind={kind!r} is unknown: choose super_resolution, inpainting or first_coordinate")
