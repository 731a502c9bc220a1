"""One check of the range of pixels at every entrance: uint8 is scaled, other ranges are one line that names them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prt_jax import metrics
from prt_jax.attacks import ifgsm
from prt_jax.audit import audit
from prt_jax.decision_attack import decision_attack
from prt_jax.errors import UserError
from prt_jax.evaluation.exploration import explore, random_outputs
from prt_jax.lipschitz import attack_lower_bound, jacobian_lower_bound
from prt_jax.metrics import psnr_y
from prt_jax.pixels import as_pixels
from tests.metrics.test_lpips import params  # noqa: F401

RNG = np.random.default_rng(0)
A = RNG.integers(0, 256, (1, 40, 40, 3), dtype=np.uint8)
B = np.clip(A + RNG.integers(-6, 7, A.shape), 0, 255).astype(np.uint8)
KEY = jax.random.key(0)
NO_NOISE = jnp.zeros((1, 1))


def twice(y, z=None):
  return y.repeat(2, 1).repeat(2, 2)


PAIRS = {
  "psnr": metrics.psnr,
  "ssim": metrics.ssim,
  "consistency_psnr": metrics.consistency_psnr,
  "consistency_max_error": metrics.consistency_max_error,
  "per_pixel_std": lambda a, b: metrics.per_pixel_std(np.stack([a, b])),
  "seed_diversity": lambda a, b: metrics.seed_diversity(np.stack([a, b])),
  "psnr_y": lambda a, b: psnr_y(a[0], b[0], 4),
}
QUICK = {"alphas": (0.01,), "num_steps": 2, "num_jacobian_steps": 1}


def audited(y, **arguments):
  report = audit(twice, y, **QUICK, **arguments)
  return [report["lipschitz_lower_bound"], report["robustness"][0]["output_psnr_db"], report["psnr_y_db"] or 0]


MEASUREMENTS = {
  "audit": audited,
  "ifgsm": lambda y: ifgsm(twice, y, NO_NOISE, KEY, alpha=0.01, num_steps=2),
  "explore": lambda y: explore(twice, y, None, KEY, num_outputs=2, num_steps=1)[1],
  "random_outputs": lambda y: random_outputs(twice, y, None, KEY, num_outputs=2),
  "decision_attack": lambda y: decision_attack(
    twice, lambda x: x.mean((1, 2)), y, NO_NOISE, target=0, alpha=0.1, num_steps=1
  ).delta,
}


@pytest.mark.parametrize("name", PAIRS)
def test_metrics_scale_uint8_and_refuse_other_ranges(name):
  metric, a, b = PAIRS[name], A / np.float32(255), B / np.float32(255)
  right = metric(a, b)
  np.testing.assert_allclose(metric(A, B), right, rtol=1e-6)
  np.testing.assert_allclose(metric(jnp.asarray(A), jnp.asarray(B)), right, rtol=1e-5)
  for low, high in ((0, 255), (-1, 1)):
    with pytest.raises(UserError, match=rf"{low} to {high}\b.* in \[0, 1\]"):
      metric(low + (high - low) * a, low + (high - low) * b)
  with pytest.raises(UserError, match=r"pixels are int64, and must be floats in \[0, 1\], or uint8"):
    metric(A.astype(np.int64), B.astype(np.int64))


def test_one_image_in_another_range_is_enough():
  a, b = A / np.float32(255), B / np.float32(255)
  np.testing.assert_allclose(metrics.psnr(A, b), metrics.psnr(a, b), rtol=1e-6)
  for pair in ((a, 255 * b), (255 * a, b), (a, B.astype(np.float32))):
    with pytest.raises(UserError, match="psnr: pixels reach from 0 to 255"):
      metrics.psnr(*pair)


def test_by_hand():
  a = np.zeros((1, 2, 2, 3), np.uint8)
  np.testing.assert_allclose(metrics.psnr(a, a + 51), [-20 * np.log10(0.2)], rtol=1e-6)
  np.testing.assert_array_equal(as_pixels(np.uint16([0, 65535, 13107]), "a"), np.float32([0, 1, 0.2]))
  np.testing.assert_array_equal(as_pixels([[0.25, 1.5]], "a"), [[0.25, 1.5]])  # overshoot, or noise


def test_lpips_style_distance(params):  # noqa: F811
  right = metrics.lpips_style_distance(params, A / np.float32(255), B / np.float32(255))
  np.testing.assert_allclose(metrics.lpips_style_distance(params, A, B), right, rtol=1e-4)
  with pytest.raises(UserError, match="lpips_style_distance: pixels reach from 0 to 255"):
    metrics.lpips_style_distance(params, A.astype(np.float32), B.astype(np.float32))
  with pytest.raises(UserError, match=r"as those in \[-1, 1\] do"):
    metrics.lpips_style_distance(params, A / 127.5 - 1, B / 127.5 - 1)


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_attacks_scale_uint8_and_refuse_other_ranges(name):
  run, y = MEASUREMENTS[name], A[:, :8, :8]
  np.testing.assert_allclose(run(y), run(y / np.float32(255)), rtol=1e-5)
  for other in (y.astype(np.float32), y / 127.5 - 1, y.astype(int)):
    with pytest.raises(UserError, match=r"in \[0, 1\]") as error:
      run(other)
    assert "\n" not in str(error.value)


def test_the_audits_originals():
  y = A[:, :8, :8] / np.float32(255)
  assert audited(y, x=twice(A[:, :8, :8])) == pytest.approx(audited(y, x=twice(y)))
  with pytest.raises(UserError, match="the original of image 0: pixels reach from"):
    audited(y, x=255 * twice(y))


def test_bounds_take_uint8_and_points_anywhere():
  for y in (A[:, :4, :4], A[:, :4, :4] / np.float32(255), 100 * RNG.normal(size=(1, 4, 4, 3))):
    bounds = attack_lower_bound(twice, y, NO_NOISE, KEY, eps=0.1), jacobian_lower_bound(twice, y, None, KEY)[0]
    np.testing.assert_allclose(bounds, 2, rtol=1e-2)


def test_values_of_tracers_are_not_asked_for():
  a = jnp.full((1, 4, 4, 3), 100.0)
  np.testing.assert_allclose(jax.jit(metrics.psnr)(a, a + 10), -20, rtol=1e-5)
  gradient = jax.grad(lambda a: metrics.psnr(a, jnp.zeros_like(a)).sum())(a)
  assert jnp.isfinite(gradient).all()
