"""A game of points: the same step as the images', with the toys' networks, measurement and robustness."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import toy_disk
from prt_jax import parallel
from prt_jax.errors import UserError
from prt_jax.game import draw_noise, init_state, make_game, restore
from prt_jax.randomness import example_keys
from prt_jax.step import generator_step, training_step

POINTS = np.random.default_rng(0).uniform(-0.7, 0.7, (32, 2)).astype(np.float32)


def tiny(variant="stochastic-robust", **fields) -> ConfigDict:
  config = toy_disk.get_config(variant).unlock()
  config.update_from_flattened_dict(
    {"model.width": 8, "model.critic_width": 8, "attack.num_seeds": 3 if config.model.stochastic else 1, **fields}
  )
  return config


def test_four_devices_agree_with_one():
  spread = make_game(tiny("stochastic-erratic"), axis_name=parallel.AXIS)
  alone = make_game(tiny("stochastic-erratic"))
  four = parallel.make_train_step(spread, robust=False)(parallel.replicate(init_state(spread)), POINTS.reshape(4, 8, 2))
  one = jax.jit(functools.partial(training_step, alone, robust=False))(init_state(alone), POINTS)
  for ours, theirs in zip(jax.tree.leaves(one.generator_params), jax.tree.leaves(four.generator_params), strict=True):
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_restorations_are_consistent_and_depend_on_the_seed():
  game = make_game(tiny())
  state = init_state(game)
  z = draw_noise(game, example_keys(state.key, 0, 3, jnp.arange(32)), 2)
  first, second = (restore(game, state.generator_params, {}, POINTS[:, :1], (z[0][s],), train=False)[0] for s in (0, 1))
  np.testing.assert_array_equal(first[:, 0], POINTS[:, 0])
  assert np.abs(first - second)[:, 1].max() > 0


def test_robustness_counts_the_second_coordinate_alone():
  """The first changes by delta, of size eps; the net's own change is far smaller at its small start."""
  game = make_game(tiny())
  state = init_state(game)
  _, scalars = jax.jit(functools.partial(generator_step, game, robust=True))(state, POINTS, state.key)
  assert scalars["delta_norm"] == pytest.approx(1e-3, rel=1e-3)
  assert 0 < scalars["robustness_loss"] < 0.3 * scalars["delta_norm"] ** 2


def test_uniform_seeds():
  game = make_game(tiny(**{"model.noise": "uniform"}))
  (z,) = draw_noise(game, example_keys(jax.random.key(0), 0, 3, jnp.arange(32)), 50)
  assert z.shape == (50, 32, 1)
  assert float(z.min()) >= 0
  assert float(z.max()) < 1
  assert float(z.mean()) == pytest.approx(0.5, abs=0.03)


def test_the_scale_is_a_factor_of_every_draw():
  keys = example_keys(jax.random.key(0), 0, 3, jnp.arange(8))
  (whole,), (third,) = (draw_noise(make_game(tiny(**{"model.noise_scale": scale})), keys, 2) for scale in (1.0, 1 / 3))
  np.testing.assert_allclose(3 * third, whole, rtol=1e-6)
  assert float(jnp.abs(whole).min()) > 0


@pytest.mark.parametrize(
  "fields, message",
  [
    ({"model.noise_scale": 0.0}, "model.noise_scale=0.0: it must be more than 0"),
    ({"attack.eps": 0.0}, "attack.eps=0.0: it must be more than 0"),
    ({"optim.r1_weight": -1.0}, "optim.r1_weight=-1.0: it must be 0 or more"),
    ({"model.kind": "unet"}, "model.kind='unet' does not fit degradation.kind='first_coordinate'"),
    ({"model.kind": "cnn"}, "model.kind='cnn' is unknown: choose one of unet, mlp"),
    ({"model.noise": "cauchy"}, "model.noise='cauchy' is unknown: choose one of normal, uniform"),
  ],
)
def test_what_does_not_fit_is_refused(fields, message):
  with pytest.raises(UserError, match=message):
    make_game(tiny(**fields))
