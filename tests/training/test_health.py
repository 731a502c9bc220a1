"""Signs of a collapse, each on a series made by hand; what follows from an interval's means."""

import math

import pytest

from prt_jax.training.health import COUNT, SIGNS, Health, gradient_ratio, signs_of, with_ratios
from tests import tiny

HEALTHY = {
  "seed_std": 0.03, "critic_margin": 2.0, "generator_gradient_norm": 10.0, "watch/per_pixel_std": 0.03,
  "watch/failed": 0.0,
}  # fmt: skip
# The sign, its scalar, a value that is just healthy, one that is just not, how many of them name it, what is said.
SERIES = [
  ("no spread", "seed_std", 0.001, 0.00099, 3, "ignores its noise"),
  ("no spread", "seed_std", 0.001, math.nan, 3, "ignores its noise"),
  ("no spread in evaluations", "watch/per_pixel_std", 0.001, 0.0, 2, "ignores its noise"),
  ("critic saturated", "critic_margin", 10.0, 10.01, 3, "tells everything apart"),
  ("critic saturated", "critic_margin", 10.0, math.inf, 3, "tells everything apart"),
  ("critic blind", "critic_margin", -0.01, -0.0099, 10, "tells nothing apart"),
  ("no gradient", "generator_gradient_norm", 1e-5, 0.0, 3, "gradient is zero"),
  ("evaluation failed", "watch/failed", 0.0, 2.0, 1, "not finite (2)"),
]


def test_every_sign_has_a_series():
  assert {row[0] for row in SERIES} == SIGNS.keys()


@pytest.mark.parametrize(("name", "scalar", "good", "bad", "count", "text"), SERIES)
def test_a_sign_is_named_once_when_it_has_lasted_and_when_it_is_over(name, scalar, good, bad, count, text, caplog):
  health, step = Health(SIGNS), 0

  def see(value):
    nonlocal step
    step += 300
    return health(step, HEALTHY | {scalar: value})

  with caplog.at_level("INFO", logger="absl"):
    for value in [good, *(count - 1) * [bad], good]:  # too short
      assert see(value) == {COUNT: 0}
    assert not caplog.records
    for number in range(1, count + 3):
      assert see(bad) == {COUNT: float(number >= count)}
    assert see(good) == {COUNT: 0}
  (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
  assert warning.startswith(f"step {300 * (2 * count + 1)}: this run looks collapsed: ") and text in warning
  assert warning.endswith("it goes on")
  assert caplog.records[-1].getMessage() == f"step {step}: no more: {name}"


def test_two_signs_count_as_two_and_a_missing_scalar_says_nothing():
  health = Health(SIGNS)
  for _ in range(3):
    found = health(1, {"seed_std": 0.0, "critic_margin": 50.0, "r1": 1.0})
    health(1, {"watch/recall": 0.5})  # an evaluation between: it has other scalars
  assert found == {COUNT: 2}


def test_a_resumed_run_counts_on(caplog):
  lines = [{"step": step, "critic_margin": 20.0} for step in (1, 2)]
  assert Health(SIGNS, lines)(3, {"critic_margin": 20.0}) == {COUNT: 1}
  caplog.clear()
  resumed = Health(SIGNS, [*lines, {"step": 3, "critic_margin": 20.0}])
  assert resumed(4, {"critic_margin": 20.0}) == {COUNT: 1}
  assert not caplog.records  # it was named before


def test_a_deterministic_runs_draws_agree_and_that_is_no_sign():
  stochastic, deterministic = (signs_of(tiny.get_config(f"{name}-robust")) for name in ("stochastic", "deterministic"))
  assert stochastic.keys() == SIGNS.keys()
  assert SIGNS.keys() - deterministic.keys() == {"no spread", "no spread in evaluations"}


def test_what_follows_from_an_intervals_means():
  # Two plain steps of norm 2 and 4, one robust step of 9: 9 / 3.
  sums = {"generator_gradient_norm": (15.0, 3.0), "robust_gradient_norm": (9.0, 1.0)}
  assert gradient_ratio(sums) == pytest.approx(3)
  assert gradient_ratio({"generator_gradient_norm": (15.0, 3.0)}) is None  # erratic
  assert gradient_ratio(sums | {"robust_gradient_norm": (0.0, 0.0)}) is None  # an interval of plain steps
  assert gradient_ratio({"generator_gradient_norm": (9.0, 1.0), "robust_gradient_norm": (9.0, 1.0)}) is None
  assert with_ratios({"critic_real": 1.5, "critic_fake": -0.5}, 3.0) == {
    "critic_real": 1.5, "critic_fake": -0.5, "critic_margin": 2.0, "gradient_ratio": 3.0,
  }  # fmt: skip
  assert with_ratios({"r1": 1.0}, None) == {"r1": 1.0}
