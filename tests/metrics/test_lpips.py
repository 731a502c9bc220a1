"""The LPIPS-style distance: by hand on its definition, and against one written in numpy."""

import jax
import numpy as np
import pytest

from prt_jax.errors import UserError
from prt_jax.features.squeezenet import TAPS, load_squeezenet, squeezenet_taps
from prt_jax.metrics import load_lpips_heads, lpips, lpips_style_distance


@pytest.fixture(scope="module")
def params(tmp_path_factory):
  rng = np.random.default_rng(0)
  arrays = {"conv1/kernel": rng.normal(0, 0.3, (3, 3, 3, 64)), "conv1/bias": np.zeros(64)}
  channels = 64
  for fire, expand in zip(range(2, 10), (64, 64, 128, 128, 192, 192, 256, 256), strict=True):
    squeeze = expand // 4
    for layer, side, inputs, outputs in (
      ("squeeze1x1", 1, channels, squeeze), ("expand1x1", 1, squeeze, expand), ("expand3x3", 3, squeeze, expand)
    ):  # fmt: skip
      scale = np.sqrt(2 / (side * side * inputs))
      arrays[f"fire{fire}/{layer}/kernel"] = rng.normal(0, scale, (side, side, inputs, outputs))
      arrays[f"fire{fire}/{layer}/bias"] = np.zeros(outputs)
    channels = 2 * expand
  path = tmp_path_factory.mktemp("weights") / "squeezenet.npz"
  np.savez(path, **arrays)
  return load_squeezenet(path)


@pytest.fixture(scope="module")
def images():
  rng = np.random.default_rng(1)
  a = rng.uniform(size=(2, 32, 32, 3)).astype(np.float32)
  return a, np.clip(a + rng.normal(0, 0.1, a.shape), 0, 1).astype(np.float32)


def test_agrees_with_numpy(params, images):
  rng = np.random.default_rng(2)
  heads = [rng.uniform(size=channels).astype(np.float32) for channels in TAPS]
  taps_of = jax.jit(squeezenet_taps)
  for weights in (heads, None):
    expected = 0
    for index, taps in enumerate(zip(*(taps_of(params, x * 255) for x in images), strict=True)):
      x, y = (np.asarray(tap, np.float64) for tap in taps)
      x, y = (tap / (np.linalg.norm(tap, axis=-1, keepdims=True) + 1e-10) for tap in (x, y))
      head = heads[index] if weights else np.full(TAPS[index], 1 / TAPS[index])
      expected = expected + (((x - y) ** 2) @ head).mean((1, 2))
    np.testing.assert_allclose(lpips_style_distance(params, *images, weights), expected, rtol=1e-4)


def test_identical_images_are_at_0_and_noise_moves_away(params, images):
  a, b = images
  np.testing.assert_allclose(lpips_style_distance(params, a, a, None), 0, atol=1e-12)
  near, far = (lpips_style_distance(params, a, a + share * (b - a), None) for share in (0.1, 1))
  assert np.all(near > 0) and np.all(far > 5 * near)


def test_its_gradient_is_finite_where_activations_vanish():
  activations = np.zeros((1, 2, 2, 4), np.float32)
  activations[0, 0, 0] = [3, 4, 0, 0]
  gradient = jax.grad(lambda x: lpips._normalise(x)[..., 0].sum())(activations)
  # d (x0 / |x|) / dx0 = (1 - 9/25) / 5 where there is something.
  np.testing.assert_allclose(gradient[0, 0, 0, :2], [0.128, -0.096], rtol=1e-5)
  assert np.all(np.isfinite(gradient))


def test_heads_are_read_and_checked(tmp_path):
  torch = pytest.importorskip("torch")
  heads = {f"lin{index}.model.1.weight": torch.rand(1, channels, 1, 1) for index, channels in enumerate(TAPS)}
  torch.save(heads, tmp_path / "heads.pth")
  for head, tensor in zip(load_lpips_heads(tmp_path / "heads.pth"), heads.values(), strict=True):
    np.testing.assert_array_equal(head, tensor.numpy().ravel())
  torch.save(heads | {"lin1.model.1.weight": torch.rand(1, 192, 1, 1)}, tmp_path / "alex.pth")
  with pytest.raises(UserError, match=r"lin1\.model\.1\.weight of shape \(1, 192, 1, 1\)"):
    load_lpips_heads(tmp_path / "alex.pth")


def test_shapes_that_differ_are_refused(params, images):
  with pytest.raises(UserError, match="one shape"):
    lpips_style_distance(params, images[0], images[1][:1])
