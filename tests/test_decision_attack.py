"""The decision attack steers what a steerable restorer shows, and not what a constant one shows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prt_jax.decision_attack import decision_attack

Y = jax.random.uniform(jax.random.key(0), (20, 4, 4, 3), minval=0.3, maxval=0.7)
NO_NOISE = jnp.zeros((1, 20))
WEIGHTS = jax.random.normal(jax.random.key(1), (48, 3)) / 7


def classify(x):
  return (x.reshape(len(x), -1) - 0.5) @ WEIGHTS


def faithful(y, z):
  return y


@pytest.mark.parametrize("target", [0, 2])
def test_a_faithful_restorer_is_steered_to_any_class(target):
  result = decision_attack(faithful, classify, Y, NO_NOISE, target=target, alpha=0.2, num_steps=20)
  assert result.rate_before == pytest.approx(np.mean(np.argmax(classify(Y), -1) == target))
  assert result.rate_before < 0.7
  assert result.rate_after == 1
  assert np.abs(result.delta).max() <= 0.2
  attacked = np.argmax(classify(Y + result.delta), -1)
  assert np.all(attacked == target)


def test_a_restorer_that_ignores_its_input_is_not():
  constant = jax.random.uniform(jax.random.key(2), Y.shape)
  result = decision_attack(lambda y, z: constant + 0 * y, classify, Y, NO_NOISE, target=0, alpha=0.2, num_steps=5)
  assert result.rate_after == result.rate_before
  np.testing.assert_array_equal(result.delta, 0)


def test_rates_are_over_seeds_too():
  # One seed shows the measurement, the other a picture that the classifier puts into class 1.
  one = jnp.zeros((4, 4, 3)) + 0.5 + 10 * WEIGHTS[:, 1].reshape(4, 4, 3)
  z = jnp.stack([jnp.zeros(20), jnp.ones(20)])

  def restore(y, z):
    share = z[:, None, None, None]
    return (1 - share) * y + share * one

  result = decision_attack(restore, classify, Y, z, target=0, alpha=0.2, num_steps=20)
  assert result.rate_after == 0.5


def test_more_freedom_steers_more():
  rates = [
    decision_attack(faithful, classify, Y, NO_NOISE, target=1, alpha=alpha, num_steps=10).rate_after
    for alpha in (1e-4, 0.02, 0.2)
  ]
  assert rates[0] < rates[1] < rates[2]


PATTERN = jnp.asarray(np.random.default_rng(0).choice([-1.0, 1.0], (4, 4, 3)), jnp.float32)
ALPHA = 0.2


def along(height):
  """Logits (1, height(t)): t in [-1, 1] is how far an image has moved from grey along PATTERN, 1 at its corner."""

  def classify(x):
    t = jnp.mean((x - 0.5) * PATTERN, (1, 2, 3)) / ALPHA
    return jnp.stack([jnp.ones_like(t), height(t)], -1)

  return classify


@pytest.mark.parametrize(
  "height",
  [
    # A hill of .7 at .35 that small steps end on, and beyond a valley the corner, 1.9.
    lambda t: 2 * t * jnp.maximum(t, 0) + 0.5 * jnp.sin(6 * t),
    # No slope where there is no change: both corners are 2.
    lambda t: 2 * t**2,
  ],
)
def test_the_stronger_attack_finds_the_corner_that_the_papers_does_not(height):
  grey, options = jnp.full((3, 4, 4, 3), 0.5), {"target": 1, "alpha": ALPHA, "num_steps": 30}
  papers = decision_attack(faithful, along(height), grey, NO_NOISE[:, :3], **options)
  strong = decision_attack(faithful, along(height), grey, NO_NOISE[:, :3], **options, attack="strong_sup")
  assert (papers.rate_before, papers.rate_after, strong.rate_before, strong.rate_after) == (0, 0, 0, 1)
  np.testing.assert_allclose(np.abs(np.mean(strong.delta * PATTERN, (1, 2, 3))), ALPHA, rtol=1e-5)
  assert np.abs(strong.delta).max() <= ALPHA


def test_each_example_keeps_its_best_iterate():
  """Three steps from 0 are at 1, .7 and .78 of the way to a peak at .72: the second is the best, the last is not."""
  grey, options = jnp.full((2, 4, 4, 3), 0.5), {"target": 1, "alpha": ALPHA, "num_steps": 3, "attack": "strong_sup"}
  found = decision_attack(faithful, along(lambda t: 2 - 40 * (t - 0.72) ** 2), grey, NO_NOISE[:, :2], **options)
  t = np.mean(found.delta * PATTERN, (1, 2, 3)) / ALPHA
  assert found.rate_after == 1 and (abs(t - 0.72) < 0.0201).all()


def test_an_eager_restorer_is_attacked_alike():
  class Eager:
    eager = True

    def __call__(self, y, z):
      return faithful(y, z)

  options = {"target": 1, "alpha": 0.02, "num_steps": 3, "attack": "strong_sup"}
  found = [decision_attack(restore, classify, Y, NO_NOISE, **options).rate_after for restore in (Eager(), faithful)]
  assert found[0] == found[1]


def test_bad_classifiers_and_targets():
  with pytest.raises(ValueError, match="target=3 is no class"):
    decision_attack(faithful, classify, Y, NO_NOISE, target=3)
  with pytest.raises(ValueError, match="logits"):
    decision_attack(faithful, lambda x: x.sum((1, 2, 3)), Y, NO_NOISE, target=0)
  with pytest.raises(ValueError, match="attack=longer is neither"):
    decision_attack(faithful, classify, Y, NO_NOISE, target=0, attack="longer")
