"""A game of points: the same step as the images', with the toys' networks, measurement and robustness."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from configs import toy_disk
from prt_jax import devices, evaluate, plan, train
from prt_jax.errors import UserError
from prt_jax.io import pictures
from prt_jax.randomness import example_keys
from prt_jax.restorers.by_name import load_restorer
from prt_jax.training.checkpoints import Checkpoints, claim_workdir
from prt_jax.training.estimator import draw_noise, restore
from prt_jax.training.gan import init_state, make_game
from prt_jax.training.step import generator_step, make_train_cycles, make_train_step, training_step
from tests.commands import run
from tests.examples import run_example

POINTS = np.random.default_rng(0).uniform(-0.7, 0.7, (32, 2)).astype(np.float32)


def tiny(variant="stochastic-robust", **fields) -> ConfigDict:
  config = toy_disk.get_config(variant).unlock()
  config.update_from_flattened_dict(
    {"model.width": 8, "model.critic_width": 8, "attack.num_seeds": 3 if config.model.stochastic else 1, **fields}
  )
  return config


def test_four_devices_agree_with_one():
  spread = make_game(tiny("stochastic-erratic"), axis_name=devices.AXIS)
  alone = make_game(tiny("stochastic-erratic"))
  four = make_train_step(spread, robust=False)(devices.replicate(init_state(spread)), POINTS.reshape(4, 8, 2))
  one = jax.jit(functools.partial(training_step, alone, robust=False))(init_state(alone), POINTS)
  for ours, theirs in zip(jax.tree.leaves(one.generator_params), jax.tree.leaves(four.generator_params), strict=True):
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("in_cycles", [False, True])
def test_a_step_takes_the_old_states_memory(in_cycles):
  """A training has one state on each device, not two."""
  game = make_game(tiny("stochastic-erratic"), axis_name=devices.AXIS)
  step = make_train_cycles(game) if in_cycles else make_train_step(game, robust=False)
  state = devices.replicate(init_state(game))
  stepped = step(state, POINTS.reshape(4, 1, 8, 2) if in_cycles else POINTS.reshape(4, 8, 2))
  assert int(stepped.step) == 1
  kept = [path for path, leaf in jax.tree.leaves_with_path(state) if not leaf.is_deleted()]
  assert not kept


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


def test_the_command_trains_points_draws_them_and_resumes(tmp_path):
  config = "configs/toy_disk.py:stochastic-robust,demo"
  fields = [
    f"--config.{field}" for field in (
      "model.width=8", "model.critic_width=8", "train.num_steps=9", "train.steps_per_dispatch=3", "train.batch_size=32",
      "train.log_every_steps=3", "train.checkpoint_every_steps=3", "train.image_every_steps=9",
    )
  ]  # fmt: skip
  result = run(f"--workdir={tmp_path / 'run'}", *fields, config=config)
  assert result.returncode == 0, result.stderr
  assert "100000 training and 10000 validation examples drawn" in result.stderr
  lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
  assert [line["step"] for line in lines] == [3, 6, 9]
  assert all(line["delta_norm"] == pytest.approx(1e-3, rel=1e-2) for line in lines)
  assert Image.open(tmp_path / "run" / "images" / "00000009.png").size[0] > 2 * 256
  assert json.loads((tmp_path / "run" / "data.json").read_text())["counts"] == {"train": 100_000, "val": 10_000}
  assert "is complete: 9 of 9 steps" in run(f"--workdir={tmp_path / 'run'}", *fields, config=config).stderr


def test_what_is_for_images_alone_says_so(tmp_path):
  with pytest.raises(UserError, match="evaluation measures images, and this run restores points"):
    evaluate.check_ahead(tiny())
  config = tiny()
  claim_workdir(tmp_path / "run", config)
  checkpoints = Checkpoints(tmp_path / "run", 1)
  checkpoints.save(init_state(make_game(config)))
  checkpoints.close()
  with pytest.raises(UserError, match="evaluation measures images, and this run restores points"):
    evaluate.evaluate(config, tmp_path / "run")
  with pytest.raises(UserError, match="holds a run of points: it restores no images"):
    load_restorer(str(tmp_path / "run"))
  with pytest.raises(UserError, match=r"',demo'$"):
    toy_disk.get_config("stochastic-robust,mini")


def test_a_picture_of_points_shows_each_where_it_is():
  points = np.array([[1, 0], [0, -1.1]], np.float32)
  picture = pictures.draw_points([("original", points), ("input", points[:, :1]), ("restored", np.zeros((2, 2)))])
  left, right = (picture[pictures.HEADER :, side : side + 256].mean(-1) for side in (0, 256 + pictures.GAP))
  # reach 1.21: (1, 0) is 255 (1/1.21 + 1) / 2 to the right, (0, -1.1) as much of 1.1 / 1.21 down.
  assert {tuple(place) for place in np.argwhere(left[:256] == 0)} == {(127, 233), (243, 128)}
  assert len(np.argwhere(right[:256] == 0)) == 1


def test_a_plan_counts_points_as_they_are():
  made = plan.plan(tiny(**{"train.steps_per_dispatch": 300}), "h100")
  assert made.memory.data == 100_000 * 2 * 4
  assert "prepared data" not in made.disk
  assert [need.state for need in made.needs if need.name == "data"] == ["there"]


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


def test_the_example_of_a_training_gives_what_it_says(tmp_path):
  run_example(train.train, workdir=tmp_path / "run")
