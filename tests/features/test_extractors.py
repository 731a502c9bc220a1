"""The registry of feature extractors: names that say what they are, 8-bit rounding, pooled pixels by hand."""

import hashlib
import urllib.error
import urllib.request

import numpy as np
import pytest
from ml_collections import ConfigDict

from prt_jax.errors import UserError
from prt_jax.features import Extractor, make_extractor
from prt_jax.features.extractor import levels
from prt_jax.features.pixel_features import pixel_features


def _config(extractor, weights=""):
  return ConfigDict({"feature_extractor": extractor, "feature_weights": str(weights)})


def test_pixels_need_nothing(tmp_path):
  extractor = make_extractor(_config("pixels"), tmp_path)
  images = np.random.default_rng(0).uniform(size=(3, 64, 48, 3)).astype(np.float32)
  features = extractor(images)
  assert features.shape == (3, extractor.dimension) == (3, 768) and features.dtype == np.float32
  # Cell (2, 5) of channel 1 covers 4x3 pixels of the rounded image.
  cell = np.floor(images[:, 8:12, 15:18, 1] * 255 + 0.5).mean((1, 2)) / 255
  np.testing.assert_allclose(features.reshape(3, 16, 16, 3)[:, 2, 5, 1], cell, rtol=1e-5)
  assert "FID" not in extractor.name + extractor.distance_name
  assert "16x16" in extractor.distance_name


def test_pixel_cells_by_hand():
  # Three pixels in two cells: the middle one belongs to both by halves.
  image = np.float32([30, 60, 90]).reshape(1, 1, 3, 1) * np.ones((1, 2, 1, 1), np.float32)
  np.testing.assert_allclose(255 * pixel_features(image, 2)[0], [40, 80, 40, 80], rtol=1e-6)
  # As many cells as pixels: the raw pixels, flattened.
  raw = np.random.default_rng(0).integers(0, 256, (2, 5, 5, 3), dtype=np.uint8)
  np.testing.assert_allclose(pixel_features(raw, 5), raw.reshape(2, -1) / 255, rtol=1e-6)


def test_levels_by_hand():
  values = np.float32([-0.1, 0, 0.4 / 255, 0.6 / 255, 127.5 / 255, 1, 1.2])
  np.testing.assert_array_equal(levels(values, True), [0, 0, 0, 1, 128, 255, 255])
  numbers = np.arange(256, dtype=np.uint8)
  np.testing.assert_array_equal(levels(numbers, True), numbers)
  np.testing.assert_array_equal(levels(numbers.astype(np.float32) / 255, True), numbers)
  np.testing.assert_allclose(levels(np.float32([-1, 0.1, 2]), False), [0, 25.5, 255], rtol=1e-6)


def test_squeezenet_is_never_called_fid(tmp_path):
  arrays = {}
  channels = 64
  for fire, (squeeze, expand) in enumerate([(16, 64)] * 2 + [(32, 128)] * 2 + [(48, 192)] * 2 + [(64, 256)] * 2, 2):
    for layer, side, inputs, outputs in (
      ("squeeze1x1", 1, channels, squeeze), ("expand1x1", 1, squeeze, expand), ("expand3x3", 3, squeeze, expand)
    ):  # fmt: skip
      arrays[f"fire{fire}/{layer}/kernel"] = np.full((side, side, inputs, outputs), 0.01, np.float32)
      arrays[f"fire{fire}/{layer}/bias"] = np.zeros(outputs, np.float32)
    channels = 2 * expand
  arrays |= {"conv1/kernel": np.ones((3, 3, 3, 64), np.float32), "conv1/bias": np.zeros(64, np.float32)}
  np.savez(tmp_path / "w.npz", **arrays)
  extractor = make_extractor(_config("squeezenet", tmp_path / "w.npz"), tmp_path)
  assert (extractor.name, extractor.dimension) == ("SqueezeNet 1.1", 512)
  assert extractor.distance_name == "Frechet distance, SqueezeNet features"
  features = extractor(np.random.default_rng(0).uniform(0.5, 1, (5, 64, 64, 3)).astype(np.float32))
  assert features.shape == (5, 512) and np.ptp(features[:, 0]) > 0


def test_only_the_official_inception_is_fid(tmp_path, monkeypatch):
  torch = pytest.importorskip("torch")
  from prt_jax.features import inception_weights
  from prt_jax.features.inception import conv_shapes

  state_dict = {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}
  for name, (height, width, inputs, outputs) in conv_shapes()[0].items():
    state_dict[f"{name}.conv.weight"] = torch.zeros(outputs, inputs, height, width)
    for part in ("weight", "bias", "running_mean", "running_var"):
      state_dict[f"{name}.bn.{part}"] = torch.ones(outputs)
  path = tmp_path / "mine.pth"
  torch.save(state_dict, path)
  extractor = make_extractor(_config("inception", path), tmp_path)
  assert extractor.dimension == 2048
  assert extractor.name == "InceptionV3 (mine.pth)" and extractor.distance_name.startswith("Frechet distance, ")

  monkeypatch.setattr(inception_weights, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
  official = make_extractor(_config("inception", path), tmp_path)
  assert (official.name, official.distance_name) == ("InceptionV3 (FID)", "FID")
  assert (official.kernel_name, official.rounds) == ("KID", True)
  piq = make_extractor(_config("inception_piq", path), tmp_path)
  assert (piq.distance_name, piq.kernel_name, piq.rounds) == ("FID (piq)", "KID (piq)", False)


def test_mistakes_are_one_line(tmp_path, monkeypatch):
  def no_network(*_, **__):
    raise urllib.error.URLError("no route to host")

  monkeypatch.setattr(urllib.request, "urlopen", no_network)
  for config, match in (
    (_config("vgg"), "unknown eval.feature_extractor 'vgg': choose one of inception, inception_piq, squeezenet"),
    (_config("squeezenet"), "need eval.feature_weights"),
    (_config("inception"), "set eval.feature_weights"),
  ):
    with pytest.raises(UserError, match=match) as error:
      make_extractor(config, tmp_path)
    assert "\n" not in str(error.value)
  with pytest.raises(UserError, match="RGB"):
    Extractor("x", "y", 1, {}, lambda _, images: images)(np.zeros((1, 8, 8, 1), np.float32))
