"""Rectified flows whose answers are known, their training, and the restorers made of them."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import flow, flow_training
from experiments.flow_matching import VelocityNet, flow_loss, integrate
from experiments.flow_restorers import COLUMNS, FLOWS, Nets, begin, make_restorer
from experiments.flow_training import Recipe, Weights, steps_done, train
from experiments.image_runs import SMOKE_FIELDS, ImageRun
from prt_jax.errors import UserError
from prt_jax.training.gan import init_state, make_game
from tests.conftest import CACHE

SMALL = {**SMOKE_FIELDS, "model.width": 4}
MEAN, STD = 3.0, 0.5  # of X1; X0 ~ N(0, 1), independent


def gaussian_velocity(x, t):
  """E[X1 - X0 | (1 - t) X0 + t X1 = x]: the regression of one Gaussian on another."""
  variance = (1 - t) ** 2 + t**2 * STD**2
  return MEAN + (t * STD**2 - (1 - t)) / variance * (x - t * MEAN)


def test_eulers_method_by_hand():
  x0 = jnp.array([1.0, -2.0])
  np.testing.assert_allclose(integrate(lambda x, t: x, x0, 2), 2.25 * x0)  # (1 + 1/2)^2
  np.testing.assert_allclose(integrate(lambda x, t: t, x0, 4), x0 + 0.375)  # (0 + 1/4 + 1/2 + 3/4) / 4


def test_a_flow_between_gaussians_is_the_known_map():
  x0 = jnp.linspace(-3, 3, 7)
  np.testing.assert_allclose(integrate(gaussian_velocity, x0, 2000), MEAN + STD * x0, atol=5e-3)


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_the_loss_of_the_known_velocity_is_what_x_t_leaves_open(t):
  x0, noise = np.random.default_rng(0).normal(size=(2, 100_000))
  x1, times = MEAN + STD * noise, jnp.full(len(x0), t)
  left = STD**2 / ((1 - t) ** 2 + t**2 * STD**2)  # Var(X1 - X0 | x_t)
  assert flow_loss(gaussian_velocity, x0, x1, times) == pytest.approx(left, rel=0.02)
  off = flow_loss(lambda x, t: gaussian_velocity(x, t) + 0.5, x0, x1, times)
  assert off == pytest.approx(left + 0.25, rel=0.02)


def velocity_of_a_point(params, stats, batch, key):
  """Every x is one point c: v(x_t, 1/2) = 2 (c - x_t), which a line fits."""
  (x,) = batch
  x0 = jax.random.normal(key, x.shape)
  return flow_loss(lambda x, t: params[0] + params[1] * x, x0, x, jnp.full(len(x), 0.5)), stats


def regression(params, stats, batch, key):
  """The mean of x given y, by a line."""
  del key
  y, x = batch
  return jnp.mean((x - params[0] - params[1] * y) ** 2), stats


def start(key):
  del key
  return Weights(jnp.zeros(2), {})


FAST = Recipe(batch_size=64, learning_rate=0.03, decay=0.98)


def test_training_finds_a_known_velocity_and_a_known_conditional_mean(tmp_path):
  points = np.full((64, 1, 1, 1), 204, np.uint8)
  found = train(FAST, start, velocity_of_a_point, (points,), tmp_path / "velocity", 800)
  np.testing.assert_allclose(found.params, [1.6, -2.0], atol=0.02)  # c = .8
  rng = np.random.default_rng(0)
  y = rng.integers(0, 101, 512)
  x = 60 + y + rng.integers(-40, 41, 512)
  found = train(FAST, start, regression, (y.astype(np.uint8), x.astype(np.uint8)), tmp_path / "mean", 1200)
  slope, level = np.polyfit(y / 255, x / 255, 1)
  np.testing.assert_allclose(found.params, [level, slope], atol=0.03)


def test_a_training_in_parts_is_the_training_in_one(tmp_path, monkeypatch):
  images = np.random.default_rng(0).integers(0, 256, (10, 1, 1, 1), np.uint8)

  def run(folder, num_steps):
    where = tmp_path / folder
    return train(Recipe(batch_size=4), start, velocity_of_a_point, (images,), where, num_steps, save_every=3)

  whole = run("whole", 8)
  with monkeypatch.context() as patch:
    patch.setattr(flow_training, "append_line", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
      run("parts", 8)
  assert run("parts", 5).params.tolist() != whole.params.tolist() == run("parts", 8).params.tolist()
  assert steps_done(tmp_path / "parts") == 8
  assert run("parts", 4).params.tolist() == whole.params.tolist()  # no step is taken back
  with pytest.raises(UserError, match=r"recipe\.seed"):
    train(Recipe(batch_size=4, seed=1), start, velocity_of_a_point, (images,), tmp_path / "parts", 8)


def test_a_loss_that_is_not_finite_stops_the_training(tmp_path):
  images = np.zeros((4, 1, 1, 1), np.uint8)
  with pytest.raises(UserError, match="not finite in steps 0 to 2"):
    train(Recipe(), start, lambda params, stats, x, key: (jnp.sum(params) / 0, stats), (images,), tmp_path, 2)


def test_where_the_flows_begin():
  mean, noise = jnp.full((1, 2, 2, 3), 0.25), jnp.ones((1, 2, 2, 3))
  assert begin(FLOWS["from-mean"], mean, noise)[0, 0, 0, 0] == pytest.approx(0.35)  # X* + .1 noise
  assert begin(FLOWS["from-noise"], mean, noise)[0, 0, 0, 0] == pytest.approx(1.0)  # N(0, 1) for pixels in [-1, 1]


@pytest.fixture(scope="module")
def game():
  return make_game(ImageRun("inpaint", "stochastic-erratic", "mini", 0, SMALL).make_config())


@pytest.fixture(scope="module")
def nets(game):
  """Untrained nets."""
  state, net = init_state(game), VelocityNet(game.config.model.width)
  flows = {
    name: Weights(net.init(jax.random.key(1), jnp.zeros((1, 32, 32, 3 if flow.from_mean else 6)), jnp.zeros(1)), {})
    for name, flow in FLOWS.items()
  }
  return Nets(Weights(state.generator_params, state.batch_stats), flows)


def test_the_velocity_knows_the_time(nets):
  x, (params, _) = jnp.zeros((2, 32, 32, 3)), nets.flows["from-mean"]
  first, second = np.asarray(VelocityNet(4).apply(params, x, jnp.array([0.0, 0.5])))
  assert not np.allclose(first, second)


def test_fixed_noise_is_a_function_fresh_noise_varies_and_all_are_consistent(game, nets):
  x = jax.random.uniform(jax.random.key(2), (2, 32, 32, 3))
  y = game.degradation.clean(x)
  for column, (_, fresh) in COLUMNS.items():
    restorer = make_restorer(game, nets, column, num_steps=2)
    assert restorer.stochastic == fresh
    z = restorer.draws(np.arange(2), range(2), y.shape)
    apply = jax.jit(restorer.apply)
    first, again, other = (
      np.asarray(apply(restorer.params, y, jax.tree.map(lambda leaf, draw=draw: leaf[draw], z)))
      for draw in (0, 0, int(fresh))
    )
    np.testing.assert_array_equal(first, again)
    assert np.isfinite(first).all() and (not np.allclose(first, other)) == fresh
    np.testing.assert_array_equal(game.degradation.clean(first), y)
    assert first.shape == x.shape and not np.allclose(first[0], first[1])
    if fresh:  # the same net's restorer with one noise for all is a draw of it
      fixed = make_restorer(game, nets, f"{column}-fixed", num_steps=2)
      noise = jnp.broadcast_to(jax.random.normal(jax.random.key(0), x.shape[1:]), x.shape)
      given = apply(restorer.params, y, (noise,))
      np.testing.assert_array_equal(given, jax.jit(fixed.apply)(fixed.params, y, None))


def test_the_command_trains_measures_and_writes(tmp_path, capsys):
  arguments = [f"--workdir={tmp_path / 'flow'}", "--smoke", "--set", f"data.cache_dir={CACHE}"]
  flow.main([*arguments, "--columns", "sampler"])
  text = (tmp_path / "flow_smoke" / "results" / "flow_mini.json").read_text()
  found = json.loads(text)
  assert found["protocol"]["steps"] == {"posterior-mean": 2, "from-mean": 2, "from-noise": 2}
  sampler = found["columns"]["sampler"]
  assert sampler["per_pixel_std"]["value"] > 0 and sampler["consistency_db"]["value"] == 100
  assert {"frechet", "coverage"} <= sampler["features"]["pixels"].keys() and "w1" in sampler
  assert str(tmp_path) not in text and "robustness_db" in capsys.readouterr().out
  assert (tmp_path / "flow_smoke" / "flow_mini_gallery.png").exists()
  again = flow.load_flow(tmp_path / "flow_smoke", "sampler", {**SMALL, "data.cache_dir": str(CACHE)})
  assert again.stochastic and again.image_size == 32
