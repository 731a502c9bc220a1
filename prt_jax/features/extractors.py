"""The feature extractors that `eval.feature_extractor` can name."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from prt_jax.errors import UserError
from prt_jax.features import inception, squeezenet
from prt_jax.features.extractor import Extractor
from prt_jax.features.inception_weights import load_inception
from prt_jax.features.pixel_features import pixel_features
from prt_jax.features.user_extractor import user_extractor

PIXELS_SIDE = 16  # cells along each side


def make_extractor(config: Any, cache_dir: Path) -> Extractor:
  """The extractor that `config.feature_extractor` names.

  Args:
    config: the `eval` group: feature_extractor (a key of _MAKERS, or package.module:NAME, see user_extractor) and
      feature_weights (a file; "" = download, inception's only).
    cache_dir: data.cache_dir, where downloaded weights are kept.

  Raises:
    UserError: an unknown name, or weights that are missing, damaged or of another network.

  Example:
    >>> from pathlib import Path
    >>> from types import SimpleNamespace
    >>> config = SimpleNamespace(feature_extractor="pixels", feature_weights="")
    >>> extractor = make_extractor(config, Path("cache"))
    >>> print(extractor.features(extractor.params, jnp.zeros((2, 32, 32, 3))).shape == (2, extractor.dimension))
    True
  """
  check_name(config.feature_extractor)
  if ":" in config.feature_extractor:
    return user_extractor(config.feature_extractor)
  return _MAKERS[config.feature_extractor](config.feature_weights, cache_dir)


def check_name(name: str) -> None:
  """UserError for an eval.feature_extractor that is none."""
  if name not in _MAKERS and ":" not in name:
    known = ", ".join(_MAKERS)
    raise UserError(f"unknown eval.feature_extractor {name!r}: choose one of {known}, or package.module:NAME")


def _make_inception(path, cache_dir):
  weights = load_inception(path, cache_dir)
  name = "InceptionV3 (FID)" if weights.official else f"InceptionV3 ({Path(path).name})"
  distance_name = "FID" if weights.official else f"Frechet distance, {name} features"
  kernel_name = "KID" if weights.official else ""
  return Extractor(
    name, distance_name, inception.NUM_FEATURES, weights.params, inception.inception_features, kernel_name=kernel_name
  )


def _make_inception_piq(path, cache_dir):
  """The same network as piq feeds it: whose numbers papers have that measure with piq (paper A)."""
  extractor = _make_inception(path, cache_dir)
  return replace(
    extractor, name=f"{extractor.name} as piq", distance_name=f"{extractor.distance_name} (piq)",
    kernel_name=extractor.kernel_name and f"{extractor.kernel_name} (piq)", features=inception.inception_features_piq,
    rounds=False,
  )  # fmt: skip


def _make_squeezenet(path, _):
  params = squeezenet.load_squeezenet(path)
  distance_name = "Frechet distance, SqueezeNet features"
  return Extractor("SqueezeNet 1.1", distance_name, squeezenet.NUM_FEATURES, params, squeezenet.squeezenet_features)


def _make_pixels(_, __):
  name = f"pixels ({PIXELS_SIDE}x{PIXELS_SIDE} means)"
  return Extractor(name, f"Frechet distance, {name}", PIXELS_SIDE * PIXELS_SIDE * 3, {}, _pooled_pixels)


def _pooled_pixels(_, images):
  return pixel_features(images, PIXELS_SIDE)


_MAKERS = {
  "inception": _make_inception,
  "inception_piq": _make_inception_piq,
  "squeezenet": _make_squeezenet,
  "pixels": _make_pixels,
}
