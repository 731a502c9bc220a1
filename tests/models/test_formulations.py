"""What an accelerator computes in another way is the same function: blocks, merged seeds, and the search as a loop."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prt_jax.attacks import ascend
from prt_jax.models import Critic, blocks
from prt_jax.models.critic import level_blocks
from prt_jax.models.layers import average_pool, convolve, max_pool, upsample_bilinear
from prt_jax.training.estimator import begin, complete, complete_seeds, draw_noise
from prt_jax.training.gan import init_state, make_game
from prt_jax.training.step import generator_step
from tests import tiny

RNG = np.random.default_rng(0)


def random(*shape):
  return jnp.asarray(RNG.normal(size=shape), jnp.float32)


def relative(a, b):
  a, b = (np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]) for tree in (a, b))
  return np.linalg.norm(a - b) / np.linalg.norm(a)


def test_blocks_hold_the_pixels_row_by_row():
  x = jnp.arange(16.0).reshape(1, 4, 4, 1)
  np.testing.assert_array_equal(blocks.to_blocks(x)[0, 1, 0], [8, 9, 12, 13])
  np.testing.assert_array_equal(blocks.from_blocks(blocks.to_blocks(x)), x)


@pytest.mark.parametrize("side", [1, 3])
@pytest.mark.parametrize(("block", "to"), [((2, 2), None), ((2, 4), (4, 4)), ((1, 2), (1, 2)), ((1, 1), (2, 1))])
def test_a_convolution_in_blocks_is_the_convolution(side, block, to):
  x, kernel = random(2, 8, 8, 3), random(side, side, 3, 5)
  in_blocks = blocks.convolve_blocks(blocks.to_blocks(x, block), kernel, block, to)
  np.testing.assert_allclose(blocks.from_blocks(in_blocks, to or block), convolve(x, kernel), atol=1e-4)


@pytest.mark.parametrize("side", [1, 3])
@pytest.mark.parametrize(("block", "to"), [((1, 1), None), ((2, 2), (1, 1)), ((2, 4), (2, 2)), ((2, 2), (1, 2))])
def test_a_pool_is_part_of_the_convolution_before_it(side, block, to):
  x, kernel = random(2, 8, 8, 3), random(side, side, 3, 5)
  in_blocks = blocks.convolve_blocks(blocks.to_blocks(x, block), kernel, block, to, pooled=True)
  pooled = average_pool(convolve(x, kernel))
  np.testing.assert_allclose(blocks.from_blocks(in_blocks, to or block), pooled, atol=1e-4)


def test_the_critics_planes_fill_the_lanes():
  assert level_blocks(16, 64, 128) == ((2, 4), (2, 2), (1, 2), (1, 1), (1, 1), (1, 1))
  assert level_blocks(32, 64, 128) == ((2, 2), (1, 2), (1, 1), (1, 1), (1, 1), (1, 1))
  assert level_blocks(16, 64, 0) == ((1, 1),) * 6
  for width, size, level in itertools.product((2, 16, 24), (32, 256), range(5)):
    rows_and_columns = zip(*level_blocks(width, size, 128)[level : level + 2], strict=True)
    assert all(2 * below % side == 0 for side, below in rows_and_columns)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 4)])
def test_what_is_convolved_before_upsampling_is_convolved_after_it(size):
  x, kernel = random(2, *size, 3), random(3, 3, 3, 4)

  def after(x, kernel):
    return convolve(upsample_bilinear(x), kernel)

  def before(x, kernel):
    return blocks.from_blocks(blocks.convolve_upsampled(x, kernel))

  np.testing.assert_allclose(before(x, kernel), after(x, kernel), atol=1e-5)
  weights = random(2, 2 * size[0], 2 * size[1], 4)
  ours, plain = (jax.grad(lambda *a, f=f: jnp.sum(weights * f(*a)), (0, 1))(x, kernel) for f in (before, after))
  for a, b in zip(ours, plain, strict=True):
    np.testing.assert_allclose(a, b, atol=1e-4)


def test_pools_agree_ties_included():
  x = jnp.round(random(2, 8, 6, 3))  # whole numbers: many ties
  weights = random(2, 4, 3, 3)
  ways = {
    "plain": max_pool,
    "strided": functools.partial(max_pool, strided=True),
    "blocks": lambda x: blocks.max_pool_of_blocks(blocks.to_blocks(x)),
  }
  gradients = {name: jax.grad(lambda x, pool=pool: jnp.sum(weights * pool(x)))(x) for name, pool in ways.items()}
  for name, pool in ways.items():
    np.testing.assert_array_equal(pool(x), max_pool(x))
    np.testing.assert_allclose(gradients[name], gradients["plain"], rtol=1e-6, err_msg=name)
  np.testing.assert_allclose(average_pool(x, strided=True), average_pool(x), atol=1e-6)


@pytest.fixture(scope="module")
def world():
  """One tiny inpainting game as computed on a CPU and on a TPU, and their common state and images."""
  config = tiny.get_config()
  config.unlock()
  config.degradation.kind = "inpainting"  # its input has no constant blocks, whose ties rounding breaks
  config.model.width = 4
  config.attack.update(num_seeds=3, num_steps=1)
  games = {platform: make_game(config, platform=platform) for platform in ("cpu", "tpu", "gpu")}
  return games, init_state(games["cpu"]), jax.random.uniform(jax.random.key(1), (4, 32, 32, 3))


@pytest.mark.parametrize("train", [True, False])
def test_seeds_merged_are_the_seeds_one_by_one(world, train):
  games, state, x = world
  stats = jax.tree.map(lambda leaf: 0.1 * leaf + 0.01, state.batch_stats)
  restored = {}
  for platform, game in games.items():
    y = game.degradation.degrade(x)
    z = draw_noise(game, jax.random.split(jax.random.key(2), 4), 3)

    @jax.jit
    def restore(y, z, game=game):
      begun, _ = begin(game, state.generator_params, stats, y, train=train)
      arguments = game, state.generator_params, stats, begun
      return complete_seeds(*arguments, z, train=train), [
        complete(*arguments, jax.tree.map(lambda leaf, i=i: leaf[i], z), train=train) for i in range(3)
      ]

    (merged, merged_stats), alone = restore(y, z)
    for i, (x_i, stats_i) in enumerate(alone):
      assert relative(x_i, merged[i]) < 1e-4
      seed_stats = jax.tree.map(lambda leaf, i=i: leaf[i], merged_stats) if train else merged_stats
      assert relative(seed_stats, stats_i) < 1e-5
    restored[platform] = merged
  assert relative(restored["cpu"][0], restored["cpu"][1]) > 1e-3  # the seeds differ
  for platform in ("tpu", "gpu"):
    assert relative(restored["cpu"], restored[platform]) < 1e-4


def robust_step(world, platform):
  """What the step makes of the moments, its robustness loss and the running statistics."""
  games, state, x = world
  after, scalars = jax.jit(functools.partial(generator_step, games[platform], robust=True))(state, x, state.key)
  return after.generator_optimizer[0].mu, scalars["robustness_loss"], after.batch_stats


@pytest.fixture(scope="module")
def cpu_step(world):
  return robust_step(world, "cpu")


@pytest.mark.parametrize("platform", ["tpu", "gpu"])
def test_an_accelerators_robust_step_is_the_cpus(world, cpu_step, platform):
  for ours, plain in zip(robust_step(world, platform), cpu_step, strict=True):
    assert relative(plain, ours) < 2e-3


@pytest.mark.parametrize("width", [4, 16])
def test_an_accelerators_critic_is_the_cpus(width):
  x = jax.random.uniform(jax.random.key(0), (2, 64, 64, 3))
  critics = {platform: Critic(width=width, residual_scale=0.5, platform=platform) for platform in ("cpu", "tpu")}
  params = jax.jit(critics["cpu"].init)(jax.random.key(1), x)["params"]
  params = jax.tree.map(lambda leaf: 1.1 * leaf, params)

  def loss(params, critic):
    return jnp.sum(jnp.cos(critic.apply({"params": params}, x)))

  values = {platform: jax.value_and_grad(loss)(params, critic) for platform, critic in critics.items()}
  assert relative(values["cpu"], values["tpu"]) < 1e-4


def test_the_search_as_a_loop_takes_the_same_steps():
  matrix = random(4, 4)

  def total_change(delta):
    return jnp.sum(jnp.sin(delta @ matrix) ** 2)

  def search(unroll):
    return ascend(total_change, jax.random.key(0), (6, 4), eps=0.5, num_steps=4, learning_rate=0.1, unroll=unroll)

  np.testing.assert_allclose(search(False), search(True), atol=1e-5)
  assert relative(search(True), ascend(total_change, jax.random.key(0), (6, 4), eps=0.5, num_steps=3,
                                       learning_rate=0.1)) > 1e-3  # fmt: skip
  text = jax.jit(lambda: search(False)).lower().as_text()
  assert "stablehlo.while" in text
