"""SqueezeNet 1.1 agrees with a PyTorch one under the same random weights; foreign files are refused."""

import jax
import numpy as np
import pytest

from prt_jax.errors import UserError
from prt_jax.features.squeezenet import TAPS, load_squeezenet, squeezenet_features, squeezenet_taps

WIDTHS = {2: (16, 64), 3: (16, 64), 4: (32, 128), 5: (32, 128), 6: (48, 192), 7: (48, 192), 8: (64, 256), 9: (64, 256)}


def random_arrays(seed=0):
  """Arrays under the names of keras-squeezenet's squeezenet_notop, sizes kept through the layers."""
  rng = np.random.default_rng(seed)
  layers = [("conv1", 3, 3, 64)]
  channels = 64
  for fire, (squeeze, expand) in WIDTHS.items():
    layers.append((f"fire{fire}/squeeze1x1", 1, channels, squeeze))
    layers += [(f"fire{fire}/expand{side}x{side}", side, squeeze, expand) for side in (1, 3)]
    channels = 2 * expand
  arrays = {}
  for index, (layer, side, inputs, outputs) in enumerate(layers):
    shape = (side, side, inputs, outputs)
    arrays[f"{layer}/uniform{index}"] = rng.normal(0, np.sqrt(2 / (side * side * inputs)), shape).astype(np.float32)
    arrays[f"{layer}/{layer}_b"] = rng.normal(0, 0.1, outputs).astype(np.float32)
  return arrays


@pytest.fixture(scope="module")
def arrays():
  return random_arrays()


@pytest.fixture(scope="module")
def weights(tmp_path_factory, arrays):
  path = tmp_path_factory.mktemp("weights") / "squeezenet.npz"
  np.savez(path, **arrays)
  return path


def _torch_taps(arrays, images):
  torch = pytest.importorskip("torch")
  F = torch.nn.functional

  def conv(x, layer, **kwargs):
    kernel, bias = (torch.from_numpy(a) for name, a in arrays.items() if name.startswith(layer + "/"))
    return F.relu(F.conv2d(x, kernel.permute(3, 2, 0, 1), bias, **kwargs))

  red, green, blue = torch.from_numpy(images).float().unbind(-1)
  x = torch.stack([blue - 103.939, green - 116.779, red - 123.68], 1)
  x = conv(x, "conv1", stride=2)
  taps = [x]
  for fire in range(2, 10):
    if fire in (2, 4, 6):
      x = F.max_pool2d(x, 3, 2)
    x = conv(x, f"fire{fire}/squeeze1x1")
    x = torch.cat([conv(x, f"fire{fire}/expand1x1"), conv(x, f"fire{fire}/expand3x3", padding=1)], 1)
    if fire in (3, 5, 6, 7, 8, 9):
      taps.append(x)
  return taps


@pytest.mark.parametrize("size", [(64, 64), (37, 53), (31, 31)], ids=str)
def test_agrees_with_torch(weights, arrays, size):
  images = np.random.default_rng(1).integers(0, 256, (2, *size, 3), dtype=np.uint8)
  params = load_squeezenet(weights)
  expected = _torch_taps(arrays, images)
  taps, features = jax.jit(lambda *x: (squeezenet_taps(*x), squeezenet_features(*x)))(params, images)
  assert len(taps) == len(expected) == 7
  for tap, other, channels in zip(taps, expected, TAPS, strict=True):
    assert tap.shape[-1] == channels
    other = other.permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(tap, other, atol=1e-5 * other.std())
  np.testing.assert_allclose(features, expected[-1].mean((2, 3)), rtol=1e-4, atol=1e-5 * float(expected[-1].std()))
  assert features.shape == (2, 512) and features.dtype == np.float32


def test_too_small_images_are_refused(weights):
  with pytest.raises(UserError, match="at least 31x31"):
    squeezenet_features(load_squeezenet(weights), np.zeros((1, 30, 64, 3), np.uint8))


def test_files_that_are_something_else(tmp_path, weights, arrays):
  def refused(path, match):
    with pytest.raises(UserError, match=match) as error:
      load_squeezenet(path)
    assert "\n" not in str(error.value)

  refused("", "eval.feature_weights")
  refused(tmp_path / "missing.npz", "does not exist")

  other = dict(arrays)
  other["fire3/squeeze1x1/uniform4"] = np.zeros((1, 1, 128, 17), np.float32)
  np.savez(tmp_path / "other.npz", **other)
  refused(tmp_path / "other.npz", r"fire3/squeeze1x1 should hold a kernel \(1, 1, 128, 16\)")

  np.savez(tmp_path / "empty.npz", unrelated=np.zeros(3))
  refused(tmp_path / "empty.npz", "conv1 should hold .* it holds nothing")

  (tmp_path / "truncated.npz").write_bytes(weights.read_bytes()[:100_000])
  refused(tmp_path / "truncated.npz", "truncated")
  (tmp_path / "page.npz").write_bytes(b"<html>404</html>")
  refused(tmp_path / "page.npz", "truncated")
  np.save(tmp_path / "array.npy", np.zeros(3))
  refused(tmp_path / "array.npy", "no .npz")
  np.savez(tmp_path / "objects.npz", **{"conv1/kernel": np.array([{}], dtype=object)})
  refused(tmp_path / "objects.npz", "plain arrays")
