"""Per-example values on a restorer whose answers are known, a linear one; and each way through a batch alike."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prt_jax.attacks import adversarial_search, ifgsm
from prt_jax.attacks.table import ATTACKS, visible_distance
from prt_jax.evaluation.measures import MEASURES, Settings
from prt_jax.evaluation.runner import DEVICES, ONE, Runner
from prt_jax.metrics import per_pixel_std
from prt_jax.randomness import Stream, example_keys
from prt_jax.restorers import Restorer
from prt_jax.restorers.restorer import evaluation_keys
from prt_jax.training import estimator
from prt_jax.training.estimator import begin, complete
from prt_jax.training.gan import init_state, make_game
from prt_jax.training.trained_estimator import Weights, run_restorer
from tests import tiny

GAIN = jnp.array([1.0, 2.0, 3.0])  # of the three channels
EPS = 0.1
FACTOR = 16
SETTINGS = Settings(psnr_size=12, border=0)


def apply(gain, y, z):
  """f(y, z) = U(GAIN y) + z / 10: its Lipschitz constant is 3 * 16, along blue; its std over z is 1/10."""
  return (gain * y).repeat(FACTOR, 1).repeat(FACTOR, 2) + z / 10


def draw_noise(keys, shape, num_seeds):
  draw = jax.vmap(lambda key: jax.random.normal(key, (num_seeds, FACTOR * shape[0], FACTOR * shape[1], 3)), out_axes=1)
  return draw(keys)


def linear(where=DEVICES, num_seeds=2, **fields):
  game = make_game(tiny.get_config())
  restorer = Restorer("linear", apply, GAIN, draw_noise, game.degradation, **fields)
  return Runner(restorer, num_seeds, SETTINGS, where=where)


@pytest.fixture(scope="module")
def runner():
  return linear()


@pytest.fixture(scope="module")
def images():
  return np.random.default_rng(0).random((4, 32, 32, 3), dtype=np.float32)


@pytest.fixture(scope="module")
def batch(runner, images):
  return runner.begin(images, None, np.arange(4))


def find(runner, batch, name, radius, num_steps, **more):
  delta = runner.search(batch, ATTACKS[name], radius, num_steps, learning_rate=1.0, **more)
  return delta, runner.measure(runner.attacked(batch, delta, name))


def test_the_values_of_a_known_delta(runner, batch):
  delta = jnp.zeros((4, 1, 2, 2, 3)).at[:, :, 0, 0, 1].set(EPS)  # one green pixel: gain 2
  values = runner.measure(runner.attacked(batch, delta, "known"))
  np.testing.assert_allclose(values["lipschitz"], 2 * FACTOR, rtol=1e-4)
  np.testing.assert_allclose(values["lipschitz_worst_draw"], 2 * FACTOR, rtol=1e-4)
  np.testing.assert_allclose(values["change"], (2 * EPS) ** 2 * FACTOR**2, rtol=1e-4)
  mean_square = (2 * EPS) ** 2 * FACTOR**2 / (32 * 32 * 3)
  np.testing.assert_allclose(values["robustness_db"], -10 * np.log10(mean_square), rtol=1e-4)
  np.testing.assert_allclose(values["ai_psnr_db"], -10 * np.log10(EPS**2 / 12), rtol=1e-5)
  np.testing.assert_allclose(values["input_psnr_db"], -10 * np.log10(EPS**2 / 12), rtol=1e-5)
  # Clipped to what is seen, a part of the change is lost: 2 y is above 1 in places.
  assert (values["output_psnr_db"] >= values["robustness_db"] - 1e-4).all()
  assert (values["output_psnr_db"] > values["robustness_db"] + 0.1).any()


def test_k_over_draws_and_of_the_worst_draw_by_hand(images):
  """f(y, z) = z y with gains 1 and 3: the root mean square is sqrt(5), the worst draw 3."""

  def gains(keys, shape, num_seeds):
    assert num_seeds == 1
    return jnp.where(jax.random.uniform(keys[0]) < 0.5, 1.0, 3.0) * jnp.ones((1, len(keys), 1, 1, 1))

  restorer = Restorer("gains", lambda params, y, z: z * y, (), gains)
  runner = Runner(restorer, 40, SETTINGS)
  batch = runner.begin(None, images[:1], np.array([0]))
  share = float(np.mean(np.ravel(batch.z) == 3))
  assert 0 < share < 1
  values = runner.measure(runner.attacked(batch, jnp.full_like(batch.y, 0.01), "known"))
  assert values["lipschitz"][0] == pytest.approx((1 + 8 * share) ** 0.5, rel=1e-3)
  assert values["lipschitz_worst_draw"][0] == pytest.approx(3, rel=1e-3)


def test_attacks_find_the_direction_that_changes_most(runner, batch):
  start = runner.start(batch, ATTACKS["search"], EPS).delta
  np.testing.assert_allclose(np.sqrt((np.asarray(start) ** 2).sum((1, 2, 3, 4))), EPS, rtol=1e-4)
  # Adam's few steps end near a sign's, which on these gains does no better than chance: only bounds hold for it.
  delta, weak = find(runner, batch, "search", EPS, 2)
  best = delta, runner.change(batch, delta, ATTACKS["longer"])
  _, strong = find(runner, batch, "longer", EPS, 20, restarts=range(1, 3), best=best)
  for values in (weak, strong):
    assert (values["lipschitz"] <= 3 * FACTOR * (1 + 1e-4)).all()
  assert (strong["lipschitz"] > 0.99 * 3 * FACTOR).all()
  assert (strong["lipschitz"] >= weak["lipschitz"] * (1 - 1e-5)).all()
  values = runner.measure(runner.attacked(batch, start, "random"))
  assert (strong["lipschitz"] > values["lipschitz"]).all()
  jacobian = runner.measure(runner.jacobian(batch, 20))["lipschitz_from_jacobian"]
  assert ((jacobian > 0.99 * 3 * FACTOR) & (jacobian <= 3 * FACTOR)).all()


def test_rows_of_the_table_are_the_public_functions(images):
  runner = linear(ONE)
  batch = runner.begin(images, None, np.arange(4))
  keys = evaluation_keys(Stream.EVALUATION_ATTACK, 0, np.arange(4))
  arguments = functools.partial(apply, GAIN), batch.y[0], batch.z[0], keys
  theirs = runner.search(batch, ATTACKS["ifgsm"], 0.05, 3)[0]
  np.testing.assert_allclose(ifgsm(*arguments, alpha=0.05, num_steps=3), theirs, atol=1e-6)
  theirs = runner.search(batch, ATTACKS["search"], 0.1, 2, learning_rate=0.05)[0]
  ours = adversarial_search(*arguments, eps=0.1, num_steps=2, learning_rate=0.05)
  np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_the_stronger_attack_sees_the_pictures_and_keeps_its_best(images):
  """f(y) = 1.2 + 1.5 y in one half is white there whatever y is: what counts is the other half, where f(y) = y / 2."""

  def half_white(params, y, z):
    half = y.shape[2] // 2
    return jnp.concatenate([1.2 + 1.5 * y[:, :, :half], y[:, :, half:] / 2], 2)

  runner = Runner(Restorer("half white", half_white), 1, SETTINGS)
  batch = runner.begin(None, 0.5 + 0 * images[:2], np.arange(2))
  delta, values = find(runner, batch, "strong_sup", 0.1, 6)
  np.testing.assert_allclose(np.abs(np.asarray(delta)[..., 16:, :]), 0.1, rtol=1e-5)  # the ends of its box
  expected = -20 * np.log10(0.05 / 2**0.5)
  np.testing.assert_allclose(values["output_psnr_db"], expected, atol=1e-3)
  _, papers = find(runner, batch, "ifgsm", 0.1, 6)
  assert (papers["output_psnr_db"] >= expected - 1e-3).all()
  _, l2 = find(runner, batch, "strong_l2", 0.5, 6)
  assert (l2["lipschitz"] > 0).all()


def test_one_start_is_along_the_jacobians_direction(images):
  """f(y) = U(GAIN y) stretches blue most: the direction alone, without a step, does all that its norm can."""
  runner = Runner(Restorer("gain", lambda gain, y, z: (gain * y).repeat(2, 1).repeat(2, 2), GAIN / 4), 1, SETTINGS)
  batch = runner.begin(None, 0.25 + images[:2] / 2, np.arange(2))
  stretch, direction = runner.singular(batch, 20)
  np.testing.assert_allclose(stretch, 2 * 3 / 4, rtol=1e-3)
  delta = runner.search(batch, ATTACKS["strong_l2"], 0.1, 0, restarts=range(1), direction=direction)
  values = runner.measure(runner.attacked(batch, delta, ""))
  np.testing.assert_allclose(values["lipschitz"], 2 * 3 / 4, rtol=1e-3)
  delta = runner.search(batch, ATTACKS["strong_sup"], 0.1, 0, restarts=range(1), direction=direction)
  assert (np.abs(delta[..., 2]) > 0.0999).mean() > 0.99  # the corner that its signs say


def test_what_the_last_steps_gained(images):
  """A slope that all steps climb alike: after 9 of 10 steps of equal size from 0 the change is 9 tenths."""
  runner = Runner(Restorer("half", lambda params, y, z: y / 2), 1, SETTINGS)
  batch = runner.begin(None, 0.25 + images[:2] / 2, np.arange(2))
  steady = dataclasses.replace(ATTACKS["ifgsm"], objective=visible_distance, keeps_best=True, start_share=1e-4)
  delta, gain = runner.judged_search(batch, steady, 0.1, 10)
  np.testing.assert_allclose(gain, 20 * np.log10(10 / 8), rtol=1e-2)  # judged before a step: 8 are done at the ninth
  sample = runner.attacked(batch, delta, "", gain)
  np.testing.assert_allclose(runner.measure(sample)["late_gain_db"], gain[0], rtol=1e-6)
  _, gain = runner.judged_search(batch, ATTACKS["strong_sup"], 0.1, 30)
  assert (np.asarray(gain) < 0.05).all()  # a corner is reached long before
  assert runner.judged_search(batch, ATTACKS["ifgsm"], 0.1, 2)[1] is None


def test_spread_by_steps_is_the_spread_at_once(runner, batch):
  std = np.asarray(runner.spread(batch, 6))
  draws = np.stack([np.asarray(runner.draw(batch, number)) for number in range(6)])
  expected = per_pixel_std(draws.reshape(6, 4, 32, 32, 3))
  np.testing.assert_allclose(std.mean((1, 2, 3, 4)), expected, rtol=1e-4)
  many = np.asarray(runner.spread(batch, 60))
  np.testing.assert_allclose(many.mean(), 0.1, rtol=0.03)
  np.testing.assert_array_equal(draws[:2].swapaxes(0, 1), batch.restored)


def test_fidelity_is_to_the_original_and_to_the_measurement(runner, batch):
  values = runner.measure(runner.sample(batch, runner.spread(batch, 2)))
  restored, x = np.asarray(batch.restored), np.asarray(batch.x)
  mean_square = ((restored[:, 0] - x) ** 2).mean((1, 2, 3, 4))
  np.testing.assert_allclose(values["psnr_db"], -10 * np.log10(mean_square), rtol=1e-4)
  means = restored.reshape(4, 2, 1, 2, 16, 2, 16, 3).mean((4, 6))
  errors = means - np.asarray(batch.y)[:, None]
  np.testing.assert_allclose(values["consistency_max_error"], abs(errors[:, 0]).max((1, 2, 3, 4)), rtol=1e-4)
  db = -10 * np.log10((errors**2).mean((2, 3, 4, 5)))
  np.testing.assert_allclose(values["consistency_db"], db[:, 0], rtol=1e-4)
  np.testing.assert_allclose(values["consistency_over_z_db"], db.mean(1), rtol=1e-4)
  assert values.keys() <= MEASURES.keys()


def test_one_device_and_no_tracing_give_what_all_devices_give(runner, batch, images):
  for other in (linear(ONE), linear(ONE, traceable=False)):
    theirs = other.begin(images, None, np.arange(4))
    np.testing.assert_allclose(np.asarray(theirs.restored)[0].swapaxes(0, 1), np.asarray(batch.restored)[:, :, 0])
    for name in ("search", "ifgsm"):
      ours = find(runner, batch, name, 0.05, 2)[1]
      for measure, values in find(other, theirs, name, 0.05, 2)[1].items():
        np.testing.assert_allclose(values, ours[measure], rtol=1e-5, err_msg=measure)


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
def test_draws_go_the_nets_own_way_and_are_the_same(platform, images):
  """On accelerators a net merges its draws into one batch; each draw alone gives the same."""
  game = make_game(tiny.get_config(), platform=platform)
  weights = Weights.of(init_state(game))
  y = game.degradation.clean(images)
  restorer = run_restorer(game, weights, "tiny")
  z = restorer.draws(jnp.arange(4), range(3), y.shape[1:])
  ours = restorer.apply_seeds(weights, y, z)
  begun, _ = begin(game, *weights, y, train=False)
  for number, draw in enumerate(ours):
    one = jax.tree.map(lambda leaf, number=number: leaf[number], z)
    np.testing.assert_allclose(draw, restorer.restore(y, one), atol=2e-5)
    np.testing.assert_allclose(draw, complete(game, *weights, begun, one, train=False)[0], atol=2e-5)
    keys = example_keys(jax.random.key(0), number, Stream.EVALUATION_NOISE, jnp.arange(4))
    named = jax.tree.map(lambda leaf: leaf[0], estimator.draw_noise(game, keys, 1))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), named, one)


def test_noise_depends_on_the_example_not_on_its_place(runner):
  image = np.random.default_rng(1).random((32, 32, 3), dtype=np.float32)
  one = runner.begin(np.broadcast_to(image, (4, 32, 32, 3)), None, np.array([7, 3, 7, 5]))
  restored = np.asarray(one.restored)
  np.testing.assert_array_equal(restored[0], restored[2])
  assert abs(restored[0] - restored[1]).max() > 0.01
