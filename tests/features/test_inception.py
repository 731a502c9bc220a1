"""The FID InceptionV3 agrees with an independent PyTorch one under the same random weights."""

import dataclasses
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from prt_jax.features.extractor import Extractor
from prt_jax.features.inception import conv_shapes, inception_features, inception_features_piq, inception_logits
from prt_jax.features.inception_weights import convert_state_dict
from prt_jax.features.resize import resize_bilinear_tf1

torch = pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).parent))
from torch_inception import TorchInception, resize_by_gathering  # noqa: E402


@pytest.fixture(scope="module")
def peer():
  return TorchInception()


@pytest.fixture(scope="module")
def extractor(peer):
  params = convert_state_dict({name: tensor.numpy() for name, tensor in peer.state_dict().items()}, "random weights")
  return Extractor("InceptionV3 (random)", "a distance", 2048, params, inception_features)


def _images(height, width, count=2, seed=0):
  """Smooth uint8 pictures with some noise: the resize and the pools' borders both matter."""
  rng = np.random.default_rng(seed)
  coarse = torch.from_numpy(rng.uniform(0, 255, (count, 3, 5, 5)))
  smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").permute(0, 2, 3, 1).numpy()
  return np.clip(smooth + rng.normal(0, 12, smooth.shape), 0, 255).astype(np.uint8)


def _error(features, expected):
  """Largest difference, relative to how much the features of an image vary."""
  return np.abs(np.asarray(features) - np.asarray(expected)).max() / np.asarray(expected).std()


@pytest.mark.parametrize("size", [(64, 64), (37, 53)], ids=str)
def test_features_agree_from_uint8_images(extractor, peer, size):
  images = _images(*size, count=2)
  expected, logits = peer(torch.from_numpy(images))
  features = extractor(images.astype(np.float32) / 255)
  assert features.shape == (2, 2048) and features.dtype == np.float32
  assert _error(features, expected) < 1e-3
  assert _error(inception_logits(extractor.params, features), logits) < 1e-3
  assert _error(expected[0], expected[1]) > 0.1, "the two images must differ for this to show anything"

  if size == (64, 64):
    # What the 1e-3 is worth: each quirk of the FID network, undone in the peer, is far outside it.
    for quirk in ("padding counts", "average pool last", "half-pixel resize", "scaled by 127.5"):
      assert _error(features, peer(torch.from_numpy(images), quirk)[0]) > 5e-3, quirk
    # A float image is rounded to 8 bits, so less than half a level changes nothing.
    moved = images / 255 + np.random.default_rng(1).uniform(-0.45, 0.45, images.shape) / 255
    np.testing.assert_array_equal(extractor(moved.astype(np.float32)), features)


@pytest.mark.parametrize("size", [(64, 64), (400, 310)], ids=str)
def test_features_are_piqs(peer, extractor, size):
  """F.interpolate on floats and 2 x - 1, as piq 0.8.0's InceptionV3.forward has them around the same network."""
  images = (_images(*size) + np.random.default_rng(1).uniform(-0.4, 0.4, (2, *size, 3))).clip(0, 255).astype(np.float32)
  piq = dataclasses.replace(extractor, features=inception_features_piq, rounds=False)
  expected, _ = peer(torch.from_numpy(images), "as piq")
  features = piq(images / 255)
  assert _error(features, expected) < 1e-3
  if size == (64, 64):  # neither the other resize nor rounding goes unseen
    assert _error(features, peer(torch.from_numpy(images))[0]) > 5e-3
    assert _error(features, peer(torch.from_numpy(images).round(), "as piq")[0]) > 2e-3


@pytest.mark.parametrize("size", [(64, 64), (37, 53), (1, 7), (299, 299), (400, 611)], ids=str)
def test_resize_agrees_with_gathering(size):
  images = np.random.default_rng(0).uniform(0, 255, (1, *size, 3)).astype(np.float32)
  expected = resize_by_gathering(torch.from_numpy(images).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
  np.testing.assert_allclose(jax.jit(resize_bilinear_tf1, static_argnums=1)(images, (299, 299)), expected, atol=1e-3)


def test_resize_by_hand():
  # Four outputs of [0, 8] sample it at 0, 1/2, 1, 3/2; the last has only pixel 1 to its right.
  resized = resize_bilinear_tf1(np.float32([0, 8]).reshape(1, 1, 2, 1), (1, 4))
  np.testing.assert_array_equal(resized[0, 0, :, 0], [0, 4, 8, 8])


def test_layers_are_those_of_the_official_state_dict(peer):
  shapes, channels = conv_shapes()
  official = {name.removesuffix(".conv.weight"): tuple(tensor.shape) for name, tensor in peer.state_dict().items()
              if name.endswith(".conv.weight")}  # fmt: skip
  assert channels == 2048 and len(shapes) == 94
  assert {name: (o, i, h, w) for name, (h, w, i, o) in shapes.items()} == official
