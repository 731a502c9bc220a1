"""What a feature extractor is."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np

from prt_jax.errors import UserError


@dataclass(frozen=True, eq=False)
class Extractor:
  """A map from images to features, and what its distances may be called.

  Attributes:
    name: for tables, e.g. "SqueezeNet 1.1".
    distance_name: of `frechet_distance` in these features; "FID" for the official InceptionV3 only.
    dimension: D, features of an image.
    params: arrays of the network, a pytree.
    features: pure function (params, images [B, H, W, 3] with values 0 .. 255) -> [B, D] float32.
    rounds: whether images are rounded to 8 bits first, as they are when they are saved.
    kernel: of the kernel distance in these features, "polynomial" as KID's or "gaussian" as CMMD's.
    kernel_name: what that is called; "" = by the features' name.
    traceable: whether JAX may trace features; False: PyTorch computes them, say, from a numpy array.
    version: of a user's own, what tells it from an older one of the same name.

  Example:
    >>> mean = Extractor("mean colour", "Frechet distance of mean colours", 3, {}, lambda _, x: jnp.mean(x, (1, 2)))
    >>> print(mean.features(mean.params, jnp.full((2, 8, 8, 3), 51.0)).shape)
    (2, 3)
  """

  name: str
  distance_name: str
  dimension: int
  params: dict = field(repr=False)
  features: Callable = field(repr=False)
  rounds: bool = True
  kernel: str = "polynomial"
  kernel_name: str = ""
  traceable: bool = True
  version: str = ""

  def __call__(self, images):
    """Features of images as they would be after saving to 8 bits.

    Compiled once for each shape of `images`: pad a last, smaller batch. The rows are
    independent, and sharded images give sharded features.

    Args:
      images: [B, H, W, 3] RGB; floats in [0, 1], clipped and, where it rounds, rounded to 256 levels first,
        since most published numbers come from saved images; or uint8, taken as they are.

    Returns:
      [B, D] float32 on the device.
    """
    if images.ndim != 4 or images.shape[-1] != 3:
      raise UserError(f"{self.name} features need RGB images [B, H, W, 3], got {images.shape}")
    if not self.traceable:
      return jnp.asarray(self.features(self.params, np.asarray(levels(images, self.rounds))), jnp.float32)
    return _extract(self.features, self.rounds, self.params, images)


def levels(images: jax.Array, rounds: bool) -> jax.Array:
  """Floats in [0, 1] as values 0 .. 255, float32, clipped; rounds: the nearest of them (halves go up). uint8 keep
  their values."""
  if images.dtype == jnp.uint8:
    return images.astype(jnp.float32)
  scaled = jnp.clip(images.astype(jnp.float32), 0, 1) * 255
  return jnp.floor(scaled + 0.5) if rounds else scaled


@functools.partial(jax.jit, static_argnums=(0, 1))
def _extract(features, rounds, params, images):
  return features(params, levels(images, rounds))
