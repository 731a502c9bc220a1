"""The feature extractors that `eval.feature_extractor` can name."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from prt_jax.errors import UserError
from prt_jax.features import inception, squeezenet
from prt_jax.features.inception_weights import load_inception
from prt_jax.features.pixel_features import pixel_features

PIXELS_SIDE = 16  # cells along each side


@dataclass(frozen=True, eq=False)
class Extractor:
  """A map from images to features, and what its distances may be called.

  Attributes:
    name: for tables, e.g. "SqueezeNet 1.1".
    distance_name: of `frechet_distance` in these features; "FID" for the official InceptionV3 only.
    dimension: D, features of an image.
    params: arrays of the network, a pytree.
    features: pure function (params, images [B, H, W, 3] with values 0 .. 255) -> [B, D] float32.
  """

  name: str
  distance_name: str
  dimension: int
  params: dict = field(repr=False)
  features: Callable = field(repr=False)

  def __call__(self, images):
    """Features of images as they would be after saving to 8 bits.

    Compiled once for each shape of `images`: pad a last, smaller batch. The rows are
    independent, and sharded images give sharded features.

    Args:
      images: [B, H, W, 3] RGB; floats in [0, 1], clipped and rounded to 256 levels first,
        since published numbers come from saved images; or uint8, taken as they are.

    Returns:
      [B, D] float32 on the device.
    """
    if images.ndim != 4 or images.shape[-1] != 3:
      raise UserError(f"{self.name} features need RGB images [B, H, W, 3], got {images.shape}")
    return _extract(self.features, self.params, images)


def quantise(images: jax.Array) -> jax.Array:
  """Floats in [0, 1] as the nearest of the values 0 .. 255 (halves go up), float32; uint8 keep their values."""
  if images.dtype == jnp.uint8:
    return images.astype(jnp.float32)
  return jnp.floor(jnp.clip(images.astype(jnp.float32), 0, 1) * 255 + 0.5)


def make_extractor(config: Any, cache_dir: Path) -> Extractor:
  """The extractor that `config.feature_extractor` names.

  Args:
    config: the `eval` group: feature_extractor (inception | squeezenet | pixels) and
      feature_weights (a file; "" = download, inception only).
    cache_dir: data.cache_dir, where downloaded weights are kept.

  Raises:
    UserError: an unknown name, or weights that are missing, damaged or of another network.
  """
  check_name(config.feature_extractor)
  return _MAKERS[config.feature_extractor](config.feature_weights, cache_dir)


def check_name(name: str) -> None:
  """UserError for an eval.feature_extractor that is none."""
  if name not in _MAKERS:
    raise UserError(f"unknown eval.feature_extractor {name!r}: choose one of {', '.join(_MAKERS)}")


def _make_inception(path, cache_dir):
  weights = load_inception(path, cache_dir)
  name = "InceptionV3 (FID)" if weights.official else f"InceptionV3 ({Path(path).name})"
  distance_name = "FID" if weights.official else f"Frechet distance, {name} features"
  return Extractor(name, distance_name, inception.NUM_FEATURES, weights.params, inception.inception_features)


def _make_squeezenet(path, _):
  params = squeezenet.load_squeezenet(path)
  distance_name = "Frechet distance, SqueezeNet features"
  return Extractor("SqueezeNet 1.1", distance_name, squeezenet.NUM_FEATURES, params, squeezenet.squeezenet_features)


def _make_pixels(_, __):
  name = f"pixels ({PIXELS_SIDE}x{PIXELS_SIDE} means)"
  return Extractor(name, f"Frechet distance, {name}", PIXELS_SIDE * PIXELS_SIDE * 3, {}, _pooled_pixels)


def _pooled_pixels(_, images):
  return pixel_features(images, PIXELS_SIDE)


@functools.partial(jax.jit, static_argnums=0)
def _extract(features, params, images):
  return features(params, quantise(images))


_MAKERS = {"inception": _make_inception, "squeezenet": _make_squeezenet, "pixels": _make_pixels}
