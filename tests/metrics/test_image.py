"""PSNR, SSIM and consistency: hand-computed numbers, and scikit-image as a peer."""

import jax
import numpy as np
import pytest

from prt_jax.errors import UserError
from prt_jax.metrics import consistency_max_error, consistency_psnr, psnr, ssim

skimage_metrics = pytest.importorskip("skimage.metrics")


def _pair(shape, seed=0, noise=0.1):
  rng = np.random.default_rng(seed)
  a = np.clip(rng.uniform(size=shape).cumsum(2) / shape[2], 0, 1)
  return a.astype(np.float32), np.clip(a + rng.normal(0, noise, shape), 0, 1).astype(np.float32)


def test_psnr_by_hand():
  a = np.zeros((3, 4, 5, 3), np.float32)
  b = a.copy()
  b[0] = 0.1  # MSE 0.01: 20 dB
  b[1, 0, 0, 0] = 0.6  # MSE 0.36 / 60 = 0.006: 22.218 dB
  np.testing.assert_allclose(psnr(a, b), [20, 22.218487, np.inf], rtol=1e-5)


def test_psnr_agrees_with_scikit_image_and_takes_any_measurement_shape():
  a, b = _pair((4, 6, 9, 3))
  expected = [skimage_metrics.peak_signal_noise_ratio(x, y, data_range=1) for x, y in zip(a, b, strict=True)]
  np.testing.assert_allclose(psnr(a, b), expected, rtol=1e-5)
  np.testing.assert_allclose(psnr(a.reshape(4, -1), b.reshape(4, -1)), expected, rtol=1e-5)


@pytest.mark.parametrize(
  ("shape", "noise"), [((2, 64, 64, 3), 0.1), ((2, 64, 64, 3), 0.001), ((1, 11, 11, 3), 0.3), ((2, 37, 53, 1), 0.05)]
)
def test_ssim_agrees_with_scikit_image(shape, noise):
  a, b = _pair(shape, noise=noise)
  settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1}
  expected = [
    skimage_metrics.structural_similarity(x.astype(np.float64), y.astype(np.float64), channel_axis=-1, **settings)
    for x, y in zip(a, b, strict=True)
  ]
  np.testing.assert_allclose(jax.jit(ssim)(a, b), expected, atol=1e-5)


def test_ssim_of_flat_images_keeps_its_digits():
  # Their variance is 0, but E[a^2] - E[a]^2 in float32 is up to 1e-7, and C2 is 9e-4.
  levels = np.linspace(0.6, 1, 7).astype(np.float32)
  a, b = np.meshgrid(levels, levels)
  a, b = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
  images = [np.broadcast_to(x[:, None, None, None], (49, 12, 12, 1)) for x in (a, b)]
  np.testing.assert_allclose(ssim(*images), (2 * a * b + 1e-4) / (a * a + b * b + 1e-4), rtol=2e-6)


def test_ssim_by_hand():
  # Constant images have no structure: (2 ab + C1) / (a^2 + b^2 + C1) with C1 = 1e-4.
  a, b = np.full((1, 16, 16, 3), 0.5, np.float32), np.full((1, 16, 16, 3), 0.25, np.float32)
  np.testing.assert_allclose(ssim(a, b), (0.25 + 1e-4) / (0.3125 + 1e-4), rtol=1e-6)
  np.testing.assert_allclose(ssim(a, a), 1, rtol=1e-6)
  # Opposite contrast about the same mean is anticorrelated.
  checks = np.indices((16, 16)).sum(0)[None, :, :, None] % 2 - 0.5
  assert ssim(0.5 + 0.5 * checks, 0.5 - 0.5 * checks)[0] < -0.9


def test_consistency_by_hand():
  measurement = np.full((2, 4, 4, 3), 0.5, np.float32)
  degraded = measurement.copy()
  degraded[1] += 0.01
  degraded[1, 2, 3, 1] = 0.3
  np.testing.assert_allclose(consistency_max_error(measurement, degraded), [0, 0.2], rtol=1e-6)
  mse = (47 * 1e-4 + 0.04) / 48
  np.testing.assert_allclose(consistency_psnr(measurement, degraded), [np.inf, -10 * np.log10(mse)], rtol=1e-5)


@pytest.mark.parametrize("metric", [psnr, ssim, consistency_psnr, consistency_max_error])
def test_shapes_that_differ_are_refused(metric):
  with pytest.raises(UserError, match="one shape"):
    metric(np.zeros((2, 16, 16, 3)), np.zeros((2, 16, 16, 1)))


def test_ssim_refuses_images_below_its_window():
  with pytest.raises(UserError, match="at least 11x11"):
    ssim(np.zeros((1, 10, 64, 3)), np.zeros((1, 10, 64, 3)))
