"""The training step: devices, cycles, what a robust step adds, and that it lowers for accelerators."""

import functools
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prt_jax import devices, losses
from prt_jax.attacks import adversarial_search
from prt_jax.config import VARIANTS
from prt_jax.data import prepare
from prt_jax.errors import UserError
from prt_jax.randomness import Stream, example_keys
from prt_jax.training.estimator import draw_noise, restore
from prt_jax.training.gan import init_state, make_game
from prt_jax.training.step import (
  critic_step,
  generator_step,
  make_train_cycles,
  measure,
  training_cycles,
  training_step,
)
from tests import tiny


def flat(*trees):
  return np.concatenate([np.ravel(leaf) for tree in trees for leaf in jax.tree.leaves(jax.device_get(tree))])


def distance(a, b):
  return np.linalg.norm(a - b) / np.linalg.norm(a)


@pytest.fixture(scope="module")
def images(photographs):
  from PIL import Image

  paths = sorted((photographs / "train").iterdir())
  return np.stack([np.asarray(Image.open(path)) for path in paths]).reshape(3, 8, 32, 32, 3)


@pytest.fixture
def game(tiny_config):
  return make_game(tiny_config)


@pytest.fixture(scope="module")
def first_state():
  """The state before the first step: two seconds each time it is made."""
  return init_state(make_game(tiny.get_config()))


@pytest.fixture(scope="module")
def steps():
  """The plain and the robust step on one device, compiled once for all tests of this file; one step of the search."""
  config = tiny.get_config()
  config.attack.num_steps = 1
  game = make_game(config)
  return {robust: jax.jit(functools.partial(training_step, game, robust=robust)) for robust in (False, True)}


def test_four_devices_in_one_dispatch_agree_with_one_device_step_by_step(tiny_config, first_state, steps, images):
  """A cycle: synchronised statistics, noise, averaged gradients, the search, and the scan over cycles included.

  One step of the inner search: each further one multiplies float32's rounding by some 20 on this erratic net.
  After the paper's five, delta differs by 1e-2 on any two orders of summation; in float64, by 1e-12 (README).
  """
  tiny_config.attack.num_steps = 1
  tiny_config.optim.robust_every_steps = 2
  spread = make_game(tiny_config, axis_name=devices.AXIS)
  assert jax.local_device_count() == 4
  batches = images[:2].reshape(2, 4, 2, 32, 32, 3).swapaxes(0, 1)
  four = make_train_cycles(spread)(devices.replicate(first_state), batches)
  one = first_state
  for batch, robust in zip(images[:2], spread.cycle, strict=True):
    one = steps[robust](one, batch)
  assert int(four.step) == int(one.step) == 2
  for name in ("generator_params", "critic_params", "batch_stats"):
    assert distance(flat(getattr(one, name)), flat(getattr(four, name))) < 1e-5, name
  one_loss, four_loss = (float(state.interval["robustness_loss"][0]) for state in (one, four))
  assert one_loss == pytest.approx(four_loss, rel=1e-4)


def test_cycle_is_two_plain_steps_then_a_robust_one(tiny_config):
  assert make_game(tiny_config).cycle == (False, False, True)
  tiny_config.optim.robust_weight = 0.0
  assert make_game(tiny_config).cycle == (False,)


def test_robust_steps_lower_the_robustness_loss_of_their_own_batch(first_state, steps, images):
  state = first_state
  losses = []
  for _ in range(9):
    state = steps[True](state, images[0])
    # An interval is log_every_steps = 3 steps, so this is the mean of one to three of them.
    total, count = state.interval["robustness_loss"]
    losses.append(float(total / count))
  assert losses[8] < 0.7 * losses[0]


def test_a_plain_step_measures_no_robustness(first_state, steps, images):
  state = steps[False](first_state, images[0])
  assert [float(value) for value in state.interval["robustness_loss"]] == [0, 0]
  assert float(state.interval["generator_loss"][1]) == 1


def test_a_robust_step_measures_the_spread_of_its_draws(game, first_state, steps, images):
  """Of two draws the standard deviation, divisor one, is their distance over the root of two."""
  state = first_state
  stepped = steps[True](state, images[0])
  x = jnp.asarray(images[0], jnp.float32) / 255
  y = measure(game, state, x, state.key)
  z = draw_noise(game, example_keys(state.key, 0, Stream.GENERATOR_NOISE, jnp.arange(8)), 2)
  first, second = (
    restore(game, state.generator_params, state.batch_stats, y, jax.tree.map(lambda leaf, i=i: leaf[i], z), train=True)
    [0] for i in (0, 1)
  )  # fmt: skip
  total, count = stepped.interval["seed_std"]
  assert float(count) == 1
  assert float(total) == pytest.approx(float(jnp.mean(jnp.abs(first - second)) / np.sqrt(2)), rel=1e-4)
  assert stepped.interval["robust_gradient_norm"] == stepped.interval["generator_gradient_norm"]
  plain = steps[False](state, images[0])
  assert [float(value) for value in plain.interval["robust_gradient_norm"]] == [0, 0]


def test_which_scalars_a_variant_measures():
  of = {variant: set(make_game(tiny.get_config(variant)).scalar_names) for variant in VARIANTS}
  assert of["stochastic-robust"] - of["deterministic-robust"] == {"seed_std"}
  assert of["deterministic-robust"] - of["deterministic-erratic"] == {
    "robustness_loss", "delta_norm", "ai_psnr", "robust_gradient_norm",
  }  # fmt: skip
  assert of["stochastic-erratic"] == of["deterministic-erratic"]


def test_an_interval_starts_anew_after_log_every_steps(first_state, steps, images):
  state = first_state
  counts = []
  for _ in range(4):
    state = steps[False](state, images[0])
    counts.append(int(state.interval["critic_loss"][1]))
  assert counts == [1, 2, 3, 1]


@pytest.mark.parametrize("batch_norm", ["batch", "frozen"])
def test_the_search_normalises_as_attack_batch_norm_says_and_the_loss_by_the_batch(tiny_config, images, batch_norm):
  """By hand: the loss at the delta of adversarial_search on the net in training, or by its running averages."""
  tiny_config.attack.update(batch_norm=batch_norm, num_steps=1, num_seeds=1)  # one step, for rounding's sake
  game = make_game(tiny_config)
  state = init_state(game)
  state = state.replace(batch_stats=jax.tree.map(lambda leaf: 1.5 * leaf + 0.1, state.batch_stats))
  x = jnp.asarray(images[0], jnp.float32) / 255
  _, scalars = jax.jit(functools.partial(generator_step, game, robust=True))(state, x, state.key)

  @functools.partial(jax.jit, static_argnames="by_batch")
  def loss(by_batch):
    def restored(y, z, train=True):
      return restore(game, state.generator_params, state.batch_stats, y, z, train=train)[0]

    examples, y = jnp.arange(8), measure(game, state, x, state.key)
    z = draw_noise(game, example_keys(state.key, 0, Stream.GENERATOR_NOISE, examples), 1)
    start = example_keys(state.key, 0, Stream.ATTACK_START, examples)
    searched = functools.partial(restored, train=by_batch)
    delta = adversarial_search(searched, y, z, start, eps=tiny_config.attack.eps, num_steps=1)
    both = [jax.vmap(restored, (None, 0))(measured, z) for measured in (y, y + delta)]
    return jnp.mean(losses.robustness_loss(*map(game.degradation.estimated, both)))

  expected, other = float(loss(batch_norm == "batch")), float(loss(batch_norm != "batch"))
  assert float(scalars["robustness_loss"]) == pytest.approx(expected, rel=1e-3)
  assert abs(expected - other) > 0.05 * expected


@pytest.mark.parametrize("is_common", [True, False])
def test_statistics_are_common_or_each_devices_own(tiny_config, images, is_common):
  """On two devices, the second one's images dark: the common variance has the distance between their means as well."""
  tiny_config.model.sync_batch_norm = is_common
  game = make_game(tiny_config, axis_name=devices.AXIS)
  state = jax.device_get(init_state(game))
  batch = images[0].reshape(2, 4, 32, 32, 3).copy()
  batch[1] //= 4

  def step(state, x):
    return generator_step(game, state, x, state.key, robust=False)[0]

  batch = np.float32(batch) / 255
  stepped = devices.over_devices(step, jax.local_devices()[:2])(init_state(game), batch)
  x = batch.reshape(8, 32, 32, 3)
  kernel = state.generator_params["DoubleConv_0"]["Conv_0"]["kernel"]
  features = jax.lax.conv_general_dilated(
    game.degradation.network_input(game.degradation.degrade(x)), kernel, (1, 1), "SAME",
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )  # fmt: skip
  common, own = features.var((0, 1, 2)), features.reshape(2, 4, 32, 32, -1).var((1, 2, 3)).mean(0)
  assert (common > 1.2 * own).all()
  # One update of momentum 0.9 away from variance 1; of statistics that differ the mean over devices is kept.
  running = stepped.batch_stats["DoubleConv_0"]["BatchNorm_0"]["var"]
  np.testing.assert_allclose((running - 0.9) / 0.1, common if is_common else own, rtol=1e-3)


def test_running_statistics_follow_the_generators_plain_pass_alone(game, first_state, steps, images):
  state = first_state
  x = jnp.asarray(images[0], jnp.float32) / 255
  after_critic, _ = jax.jit(functools.partial(critic_step, game))(state, x, state.key)
  np.testing.assert_array_equal(flat(after_critic.batch_stats), flat(state.batch_stats))
  np.testing.assert_array_equal(flat(after_critic.generator_params), flat(state.generator_params))
  assert distance(flat(state.critic_params), flat(after_critic.critic_params)) > 0
  stepped = steps[True](state, images[0])
  # One update of momentum 0.9 away from mean 0; the stem sees the measurement alone, unattacked.
  stem = stepped.batch_stats["DoubleConv_0"]["BatchNorm_0"]["mean"]
  kernel = state.generator_params["DoubleConv_0"]["Conv_0"]["kernel"]
  network_input = game.degradation.network_input(game.degradation.degrade(x))
  features = jax.lax.conv_general_dilated(
    network_input, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
  )
  np.testing.assert_allclose(stem, 0.1 * features.mean((0, 1, 2)), rtol=1e-4, atol=1e-6)


def test_bfloat16_rounds_the_nets_and_nothing_that_is_kept(tiny_config, first_state, steps, images):
  whole = steps[False](first_state, images[0])
  tiny_config.model.dtype = "bfloat16"
  rounded_game = make_game(tiny_config)
  step = jax.jit(functools.partial(training_step, rounded_game, robust=False))
  rounded = step(first_state, images[0])  # parameters are float32 in both
  assert [leaf.dtype for leaf in jax.tree.leaves(rounded)] == [leaf.dtype for leaf in jax.tree.leaves(whole)]
  assert distance(flat(whole.batch_stats), flat(rounded.batch_stats)) < 0.02
  for name in ("critic_loss", "generator_loss", "critic_fake"):
    ours, other = (float(state.interval[name][0]) for state in (whole, rounded))
    assert other == pytest.approx(ours, rel=0.02, abs=0.01), name
    assert other != ours, name
  # A projection in bfloat16 would miss the measurement by 1e-3.
  assert float(rounded.interval["consistency_max_error"][0]) < 1e-5
  # A robust step's loop over seeds hands its gradients on in the types of what they are gradients of.
  assert rounded_game.seeds_at_once < tiny_config.attack.num_seeds
  robust = jax.eval_shape(functools.partial(training_step, rounded_game, robust=True), rounded, images[0])
  assert [leaf.dtype for leaf in jax.tree.leaves(robust)] == [leaf.dtype for leaf in jax.tree.leaves(whole)]


def test_learning_rate_follows_the_schedule(tiny_config):
  tiny_config.optim.update(learning_rate=1.0, decay_factor=0.6, decay_steps=(4, 6))
  schedule = make_game(tiny_config).schedule
  rates = [schedule(step) for step in (0, 3, 4, 5, 6, 99)]
  np.testing.assert_allclose(rates, [1, 1, 0.6, 0.6, 0.36, 0.36], rtol=1e-6)


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_whole_cycles_lower_for_accelerators(tiny_config, images, platform):
  game = make_game(tiny_config, platform="gpu" if platform == "cuda" else platform)
  state = init_state(game)
  step = jax.jit(lambda state, batches: training_cycles(game, state, batches))
  exported = jax.export.export(step, platforms=[platform])(state, images)
  assert exported.platforms == (platform,)
  assert "stablehlo.while" in exported.mlir_module()


def test_local_rows_split_the_last_axis_over_the_devices():
  rows = devices.local_rows(np.arange(16).reshape(2, 8))
  np.testing.assert_array_equal(rows[1], [[2, 3], [10, 11]])
  assert rows.shape == (4, 2, 2)


def test_batch_size_must_divide_over_the_devices():
  with pytest.raises(UserError, match=r"train.batch_size=6 does not divide over 4 devices: .* for example 4"):
    devices.check_batch_size("train.batch_size", 6)


def test_gather_and_host_placement_give_the_same_images(tiny_config):
  from prt_jax.training.prefetch import batches, make_fetch

  dataset = prepare(tiny_config.data)
  ways = []
  for placement in ("device", "host"):
    fetch = make_fetch(dataset.train, placement)
    fed = batches(fetch, iter([(0, 1), (1, 1), (2, 3)]), seed=0, batch_size=8, num_examples=len(dataset.train))
    ways.append([np.asarray(batch) for batch in fed])
  assert [batch.shape for batch in ways[0]] == [(4, 2, 32, 32, 3)] * 2 + [(4, 3, 2, 32, 32, 3)]
  for a, b in zip(*ways, strict=True):
    np.testing.assert_array_equal(a, b)
  seen = np.concatenate([ways[1][0], ways[1][1], ways[1][2][:, 0]]).reshape(-1, 32 * 32 * 3)
  assert len(np.unique(seen, axis=0)) == 24


def test_only_the_thread_of_the_step_talks_to_the_devices():
  """Programs of two threads reach the devices in orders of their own, and a step's all-reduce can wait for ever."""
  from prt_jax.training.prefetch import Fetch, batches

  threads = {"read": set(), "place": set()}

  def noting(name):
    def part(rows):
      threads[name].add(threading.get_ident())
      return rows

    return part

  dispatches = iter([(0, 1), (1, 1), (2, 3), (5, 1)])
  fed = batches(Fetch(noting("read"), noting("place")), dispatches, seed=0, batch_size=8, num_examples=32)
  assert len(list(fed)) == 4
  assert threads["place"] == {threading.get_ident()}
  assert len(threads["read"]) == 1 and threads["read"] != threads["place"]


@pytest.mark.parametrize("robust_every, steps", [(3, 30), (7, 28), (40, 40)])
def test_an_accelerators_dispatch_is_whole_cycles(robust_every, steps, tiny_config, monkeypatch):
  tiny_config.optim.robust_every_steps = robust_every
  game = make_game(tiny_config)
  assert devices.default_steps_per_dispatch(len(game.cycle)) == 1
  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
  assert devices.default_steps_per_dispatch(len(game.cycle)) == steps
