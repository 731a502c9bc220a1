"""The bounds that quality and consistency force: by hand, attained, and on Gaussians where all is closed form."""


import jax.numpy as jnp
import numpy as np
import pytest

from prt_jax import quality_bounds
from prt_jax.audit import Auditor, Protocol, audit
from prt_jax.data.image_pairs import Pair
from prt_jax.degradations import make_degradation
from prt_jax.degradations.bicubic import bicubic_downsample, reduction_norm
from prt_jax.metrics import Gaussian, frechet_distance
from prt_jax.metrics.joint import joint_wasserstein
from prt_jax.quality_bounds import quality_bound, sharpest_quality_bound
from prt_jax.reporting.audit_report import render
from prt_jax.restorers.restorer import Restorer


def test_by_hand():
  assert quality_bound(5.0, 3.0) == pytest.approx(4 / 3)  # sqrt((25 - 9) / 9)
  assert quality_bound(5.0, 3.0, scale=1.5) == pytest.approx(2)
  assert quality_bound(1.0, 2.0) == 0
  assert quality_bound(0.0, 0.0) == 0
  assert quality_bound(1.0, 0.0) == float("inf")
  for ratio in (1.0, 1.5, 10.0):
    assert quality_bound(ratio, 1.0) >= ratio - 1  # the triangle inequality's
  for arguments in ((-1.0, 1.0), (1.0, -1.0), (1.0, 1.0, 0.0)):
    with pytest.raises(ValueError, match="distances are not negative and scales over 0"):
      quality_bound(*arguments)


def test_it_is_attained():
  """X = +-1 says nothing of Y = +-e, and f(+-e) = +-1 has slope 1 / e: the mass at (1, -e) moves by 2 s e."""
  e = 0.25
  x, y = np.array([1.0, 1, -1, -1]), np.array([e, -e, e, -e])
  restored = np.sign(y)
  for scale in (0.01, 1.0):
    assert joint_wasserstein(x, scale * y, restored) == pytest.approx(scale * e)
    assert quality_bound(1.0, scale * e, scale) == pytest.approx((1 / e**2 - scale**2) ** 0.5)
  bound, scale = sharpest_quality_bound([(x, y, restored)], 1.0, scales=(0.01, 0.1, 1.0))
  assert scale == 0.01 and 0.999 / e < bound < 1 / e


@pytest.mark.parametrize("slope", [-1.0, 0.0, 0.5, 0.9, 3.0])
def test_linear_estimators_of_gaussians_obey_the_w2_form(slope):
  """X ~ N(0, 1), Y = X + N(0, .3^2), f(y) = k y: both joint distributions are Gaussian, and MMSE = .09 / 1.09."""
  variance = 1 + 0.3**2
  root_mmse = (0.09 / 1.09) ** 0.5
  for scale in (0.03, 0.3, 1.0, 3.0):
    true = Gaussian(np.zeros(2), np.array([[1, scale], [scale, scale**2 * variance]]))
    restored = np.array([slope, scale])
    distance = frechet_distance(true, Gaussian(np.zeros(2), variance * np.outer(restored, restored))) ** 0.5
    assert quality_bound(root_mmse, distance, scale) <= abs(slope) + 1e-9
  # Where it says something: the slope that best imitates the pair, near y, at a small scale.
  if slope == 0.9:
    distance = frechet_distance(
      Gaussian(np.zeros(2), np.array([[1, 0.3], [0.3, 0.09 * variance]])),
      Gaussian(np.zeros(2), variance * np.outer([0.9, 0.3], [0.9, 0.3])),
    ) ** 0.5
    assert quality_bound(root_mmse, distance, 0.3) > 0


@pytest.mark.parametrize("frequency", [0.0, 5.0, 40.0])
def test_no_estimator_of_a_gaussian_violates_the_bound(frequency):
  """X ~ N(0, 1), Y = X + N(0, 1): E[X | Y] = Y / 2. An estimator that wiggles imitates the posterior."""
  rng = np.random.default_rng(0)
  x = rng.normal(size=1000)
  y = x + rng.normal(size=1000)
  spread = np.sqrt(0.5)

  def estimate(y):
    # The fractional part of a steep line is a uniform number that Y seems to draw; its triangle wave is Lipschitz.
    return y / 2 + spread * 1.7 * (2 / np.pi) * np.arcsin(np.sin(frequency * y))

  grid = np.linspace(y.min(), y.max(), 400_001)
  constant = np.abs(np.diff(estimate(grid)) / np.diff(grid)).max()
  deviation = np.abs(x - y / 2).mean()  # of this sample: the posterior's median comes near the bound
  bound = quality_bound(deviation, joint_wasserstein(x, y, estimate(y), p=1))
  assert constant >= bound
  if frequency == 40:
    assert bound > 1  # not vacuous: the better index costs steepness


@pytest.mark.parametrize(
  ("kind", "floor"),
  [({"kind": "super_resolution", "factor": 4}, 4), ({"kind": "inpainting"}, 1)],
)
def test_whatever_restores_exactly_reaches_the_floor(kind, floor):
  """And nothing that is exact is under it: the pseudo-inverse, the least that agrees with y, has it to rounding."""
  degradation = make_degradation({"noise_std": 0.0, **kind}, 16)
  assert quality_bounds.consistency_floor(degradation.norm) == floor
  # The closed form is what the power iteration of any linear degradation finds.
  assert super(type(degradation), degradation).norm == pytest.approx(degradation.norm, rel=1e-4)
  y = np.full((1, *degradation.measurement_shape), 0.5, np.float32)
  report = audit(degradation.pseudo_inverse, y, degrade=degradation.clean, alphas=(0.04,), num_steps=10)
  assert report["lipschitz_lower_bound"] == pytest.approx(floor, rel=1e-3)
  assert "exact_consistency" not in report  # of a plain function nothing is known


def test_beyond_the_floor():
  assert quality_bounds.beyond_floor(5.0, 4.0) == pytest.approx(3)
  assert quality_bounds.beyond_floor(3.9, 4.0) == 0
  assert quality_bounds.robustness_ceiling(34.0, 1 / 4, 64 * 64 * 3, 16 * 16 * 3) == pytest.approx(34.0)
  assert quality_bounds.robustness_ceiling(34.0, 1.0, 64 * 64 * 3, 64 * 64 * 3) == pytest.approx(34.0)
  # Four times as many output pixels at the same norm: each changes half as much.
  assert quality_bounds.robustness_ceiling(34.0, 1.0, 4, 1) == pytest.approx(34 + 20 * np.log10(2))


def test_the_norm_of_the_bicubic_reduction_by_its_matrix():
  matrix = np.asarray(bicubic_downsample(jnp.eye(32 * 32).reshape(32 * 32, 32, 32, 1), 2)).reshape(32 * 32, -1)
  assert reduction_norm(bicubic_downsample, 2) == pytest.approx(np.linalg.norm(matrix.astype(np.float64), 2), rel=1e-3)


def test_an_audit_says_what_consistency_forces():
  degradation = make_degradation({"kind": "super_resolution", "factor": 2, "noise_std": 0.0}, 16)
  checks = np.where(np.indices((16, 16)).sum(0) % 2, 3.0, -3.0)[..., None].astype(np.float32)  # no block mean sees them

  def restore(params, y, z):
    return degradation.network_input(y) * (1 + checks)

  auditor = Auditor(Restorer("erratic", restore, degradation=degradation), Protocol((0.01,), 5, 0))
  x = np.random.default_rng(0).uniform(0.3, 0.7, (16, 16, 3)).astype(np.float32)
  list(auditor.audit([Pair("a", x, np.asarray(degradation.clean(x[None]))[0])]))
  report = auditor.report()
  floors = report["exact_consistency"]
  assert floors["lipschitz"] == 2 and floors["robustness_above_input_db"] == pytest.approx(0)
  assert floors["lipschitz_beyond"] == pytest.approx(2 * 3, rel=1e-3)
  for point in report["robustness"]:
    assert point["robustness_db"] <= point["input_psnr_db"] + 1e-3
  assert "forces K \u2265 2" in render(report, auditor.pictures)
