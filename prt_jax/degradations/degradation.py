"""What a degradation Y = D(X) + N is to the rest of prt_jax, and what degradations of images have in common.

Consistent is D(x) = y, with noise too: D(x) is then forced to equal the noisy y, which hardly any natural image does.
Linear degradations know another reading for that case, degradation.consistency = 'statistical': an image is
consistent whose ||D(x) - y||^2 / n is at most noise_std^2, what the original itself has on average.
"""

import math
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from prt_jax.randomness import normal


@runtime_checkable
class Degradation(Protocol):
  """An immutable object of pure functions; arrays are float32, pixels in [0, 1] (of the toys: points, [B,2]).

  Attributes:
    noise_std: standard deviation of the measurement noise.
    title: the task in words, for reports: 'super-resolution x4'.
    projects: whether project is exact: idempotent, and D(project(x, y)) = y without noise.
    consistency: 'exact', or 'statistical' where project leaves a residual that the noise explains.
    removes_constants: whether project(x + c, y) = project(x, y) for a constant c of each channel.
    whole_images: whether an image of which D keeps a part can stand for its measurement, the rest to be made anew.
    image_shape, measurement_shape: of one x and one y.
    psnr_size: the number of values that AI-PSNR averages over.

  Example:
    >>> from prt_jax.degradations import SuperResolution
    >>> isinstance(SuperResolution(factor=4, noise_std=0.0, image_size=16), Degradation)
    True
  """

  @property
  def noise_std(self) -> float: ...
  @property
  def title(self) -> str: ...
  @property
  def projects(self) -> bool: ...
  @property
  def consistency(self) -> str: ...
  @property
  def removes_constants(self) -> bool: ...
  @property
  def whole_images(self) -> bool: ...
  @property
  def image_shape(self) -> tuple[int, ...]: ...
  @property
  def measurement_shape(self) -> tuple[int, ...]: ...
  @property
  def psnr_size(self) -> int: ...

  def clean(self, x: jax.Array) -> jax.Array:
    """D(x), the degradation without its noise: [B,H,W,3] -> y."""
    ...

  def degrade(self, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
    """D(x) and the noise, for which noise_std > 0 needs a key (one, or one an example)."""
    ...

  def network_input(self, y: jax.Array) -> jax.Array:
    """What the generator sees of y: [B,H,W,3]."""
    ...

  def project(self, x: jax.Array, y: jax.Array) -> jax.Array:
    """The nearest image to x that is consistent with y, differentiable; without a projection x, or something near."""
    ...

  def estimated(self, x: jax.Array) -> jax.Array:
    """The part of x whose change counts as a lack of robustness: all of an image."""
    ...


def add_noise(y: jax.Array, noise_std: float, key: jax.Array | None) -> jax.Array:
  """y and Gaussian noise. ValueError where there is noise and no key."""
  if noise_std == 0:
    return y
  if key is None:
    raise ValueError("degrade needs a key: degradation.noise_std is not 0")
  return y + noise_std * normal(key, y.shape)


class ImageDegradation:
  """What a degradation of square images needs not say: all but noise_std, image_size (pixels), title and clean.

  As it stands, measurements have the image's size and there is no projection.

  Example:
    >>> class Grey(ImageDegradation):
    ...   noise_std, image_size, title = 0.0, 8, "colourisation"
    ...   def clean(self, x):
    ...     return jnp.mean(x, -1, keepdims=True)
    >>> print(Grey().measurement_shape, Grey().psnr_size)
    (8, 8, 1) 64
  """

  noise_std: float
  image_size: int

  consistency: str = "exact"
  whole_images: bool = False

  @property
  def projects(self) -> bool:
    """No."""
    return False

  @property
  def removes_constants(self) -> bool:
    """No."""
    return False

  @property
  def image_shape(self) -> tuple[int, int, int]:
    """Shape of one x."""
    return self.image_size, self.image_size, 3

  @property
  def measurement_shape(self) -> tuple[int, ...]:
    """Shape of one y."""
    return jax.eval_shape(self.clean, jax.ShapeDtypeStruct((1, *self.image_shape), jnp.float32)).shape[1:]

  @property
  def psnr_size(self) -> int:
    """All values of one y."""
    return math.prod(self.measurement_shape)

  def clean(self, x: jax.Array) -> jax.Array:
    """D(x), for images of any size that it can measure."""
    raise NotImplementedError

  def degrade(self, x: jax.Array, key: jax.Array | None = None) -> jax.Array:
    """D(x) plus noise."""
    return add_noise(self.clean(x), self.noise_std, key)

  def network_input(self, y: jax.Array) -> jax.Array:
    """y itself."""
    return y

  def project(self, x: jax.Array, y: jax.Array) -> jax.Array:
    """x itself."""
    del y
    return x

  def estimated(self, x: jax.Array) -> jax.Array:
    """The whole image, as the robustness of paper A's Eq. 9 counts it."""
    return x
