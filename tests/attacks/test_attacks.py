"""Attacks: bounds, known optima, gradients against finite differences, the same noise on both sides."""

import collections
import contextlib
import functools
import logging
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import default
from prt_jax.attacks import (
  adversarial_search,
  ascend,
  conditional_step,
  ifgsm,
  l2_norm,
  over_seeds,
  project_to_ball,
  sum_over_seeds,
  to_sphere,
)
from prt_jax.models.layers import Conv
from prt_jax.training.estimator import draw_noise, restore
from prt_jax.training.gan import init_state, make_game

MATRIX = np.diag([5.0, 1.0, 0.5, 0.1]).astype(np.float32)


def linear(y, z):
  return y @ MATRIX + z


def change(restore, y, z, delta):
  """E_Z ||restore(y, z) - restore(y + delta, z)||^2 of each example, written without the package."""
  differences = np.stack([np.asarray(restore(y, s)) - np.asarray(restore(y + delta, s)) for s in z])
  return (differences.reshape(*differences.shape[:2], -1) ** 2).sum(-1).mean(0)


@contextlib.contextmanager
def compilations():
  """The names of the programs that are compiled meanwhile."""
  names = []

  class Handler(logging.Handler):
    def emit(self, record):
      names.extend(re.findall(r"^Compiling (\S+)", record.getMessage()))

  logger, handler = logging.getLogger("jax"), Handler()
  logger.addHandler(handler)
  with jax.log_compiles():
    yield names
  logger.removeHandler(handler)


@pytest.fixture
def measurements():
  rng = np.random.default_rng(0)
  return jnp.asarray(rng.uniform(size=(6, 4)), jnp.float32), jnp.asarray(rng.normal(size=(3, 6, 4)), jnp.float32)


def numpy_search(gradient, delta, eps, num_steps, learning_rate):
  """The paper's inner loop, written out: Adam ascent, then projection to the ball."""
  first, second = np.zeros_like(delta), np.zeros_like(delta)
  for t in range(1, num_steps + 1):
    g = gradient(delta)
    first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g**2
    delta = delta + learning_rate * (first / (1 - 0.9**t)) / (np.sqrt(second / (1 - 0.999**t)) + 1e-8)
    norm = np.linalg.norm(delta, axis=1, keepdims=True)
    delta = delta * np.minimum(1, eps / norm)
  return delta


@pytest.mark.parametrize("learning_rate", [1.0, 0.01])
def test_search_is_projected_adam_on_the_mean_over_seeds(measurements, learning_rate):
  y, z = measurements

  def restore(y, z):
    return (y @ MATRIX) * z

  def gradient(delta):
    return np.mean([2 * ((delta @ MATRIX) * seed**2) @ MATRIX.T for seed in np.asarray(z, np.float64)], axis=0)

  start = adversarial_search(restore, y, z, jax.random.key(0), eps=0.1, num_steps=0)
  np.testing.assert_allclose(np.linalg.norm(start, axis=1), 0.1, rtol=1e-5)
  found = adversarial_search(restore, y, z, jax.random.key(0), eps=0.1, learning_rate=learning_rate)
  expected = numpy_search(gradient, np.asarray(start, np.float64), 0.1, 5, learning_rate)
  np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_papers_attack_beats_a_random_delta_of_the_same_norm_on_a_unet():
  config = default.get_config()
  config.unlock()
  config.model.update(width=4, init="he_normal")
  config.data.image_size = 32
  config.degradation.factor = 8
  game = make_game(config)
  state = init_state(game)
  x = jax.random.uniform(jax.random.key(0), (16, 4, 4, 3)).repeat(8, 1).repeat(8, 2)
  y = game.degradation.degrade(x)

  def restore_one(y, z):
    return restore(game, state.generator_params, state.batch_stats, y, z, train=True)[0]

  keys = jax.random.split(jax.random.key(1), 16)
  z = draw_noise(game, keys, 3)
  search = jax.jit(functools.partial(adversarial_search, restore_one, eps=config.attack.eps))
  delta = search(y, z, keys)
  random = to_sphere(jax.random.normal(jax.random.key(2), y.shape), config.attack.eps)
  restore_seeds = jax.jit(jax.vmap(restore_one, (None, 0)))
  reference = restore_seeds(y, z)
  found, blind = (np.sum((restore_seeds(y + d, z) - reference) ** 2, (0, 2, 3, 4)) for d in (delta, random))
  assert np.mean(found > blind) >= 15 / 16
  assert np.mean(found) > 1.5 * np.mean(blind)


def test_bound_holds_as_written(measurements):
  y, z = measurements
  for eps in (0.1, 0.553, 2.5):
    delta = adversarial_search(linear, y, z, jax.random.key(0), eps=eps)
    norms = np.sqrt((np.asarray(delta, np.float64) ** 2).sum(1))
    assert np.all(norms <= eps)
    assert np.all(norms > 0.99 * eps)


def test_noise_is_the_same_on_both_sides(measurements):
  y, z = measurements
  # Noise that is added to the output is in neither difference nor gradient, however large it is.
  gain = jnp.linspace(1, 2, y.shape[-1])
  for search in (functools.partial(adversarial_search, eps=0.1), functools.partial(ifgsm, alpha=0.1, num_steps=3)):
    noisy = search(lambda y, z: gain * y + 8 * z, y, z, jax.random.key(0))
    clean = search(lambda y, z: gain * y + 0 * z, y, z, jax.random.key(0))
    np.testing.assert_allclose(noisy, clean, atol=1e-5)


def test_one_step_follows_the_finite_difference_gradient(measurements):
  y, z = measurements

  def restore(y, z):
    return jnp.sin(4 * y @ MATRIX) * (1 + z)

  start = adversarial_search(restore, y, z, jax.random.key(3), eps=0.5, num_steps=0)
  # Adam's first step is learning_rate * sign(gradient); far inside a large ball nothing is projected.
  inside = adversarial_search(restore, y, z, jax.random.key(3), eps=0.5, num_steps=1, learning_rate=1e-4)
  gradient = np.zeros(y.shape)
  for i in range(4):
    bump = np.zeros((1, 4), np.float32)
    bump[0, i] = 1e-3
    gradient[:, i] = change(restore, y, z, start + bump) - change(restore, y, z, start - bump)
  moved = np.asarray(inside - start)
  large = np.abs(gradient) > 0.2 * np.abs(gradient).max()
  # The projection pulls the whole step back radially by less than the step itself.
  radial = np.asarray(start) / 0.5
  tangent = moved - (moved * radial).sum(1, keepdims=True) * radial
  sign = 1e-4 * np.sign(gradient)
  expected = sign - (sign * radial).sum(1, keepdims=True) * radial
  np.testing.assert_allclose(tangent[large], expected[large], atol=1e-5)


def test_start_depends_on_the_examples_own_key(measurements):
  y, z = measurements
  keys = jax.random.split(jax.random.key(0), 6)
  together = adversarial_search(linear, y, z, keys, eps=0.1)
  alone = adversarial_search(linear, y[2:3], z[:, 2:3], keys[2:3], eps=0.1)
  np.testing.assert_allclose(together[2:3], alone, rtol=1e-5)


def test_no_gradient_flows_through_the_search(measurements):
  y, z = measurements

  def total(scale):
    return adversarial_search(lambda y, z: scale * y, y, z, jax.random.key(0), eps=0.1).sum()

  assert jax.grad(total)(2.0) == 0


@pytest.mark.parametrize("alpha", [1 / 255, 8 / 255, 32 / 255])
def test_ifgsm_reaches_a_linear_restorers_maximum_within_its_bounds(alpha):
  y = jnp.full((2, 4), 0.5)
  delta = ifgsm(linear, y, jnp.zeros((1, 2, 4)), jax.random.key(0), alpha=alpha, num_steps=50)
  np.testing.assert_allclose(np.abs(delta), alpha, rtol=0.05)
  assert np.all(np.abs(delta) <= alpha)


def test_ifgsm_keeps_the_attacked_measurement_in_range():
  y = jnp.array([[0.0, 1.0, 0.01, 0.99]])
  for seed in range(4):
    delta = ifgsm(linear, y, jnp.zeros((1, 1, 4)), jax.random.key(seed), alpha=0.1, num_steps=10)
    attacked = y + delta
    assert attacked.min() >= 0
    assert attacked.max() <= 1


def test_a_noisy_measurement_outside_the_range_is_no_change_of_the_attack():
  y = jnp.array([[-0.2, 1.3, 0.5, 0.5]])
  delta = ifgsm(lambda y, z: 0 * y, y, jnp.zeros((1, 1, 4)), jax.random.key(0), alpha=0.1, num_steps=3)
  assert np.abs(delta).max() <= 0.1 / 100  # its start alone: nothing to gain
  delta = ifgsm(linear, y, jnp.zeros((1, 1, 4)), jax.random.key(0), alpha=0.1, num_steps=10)
  attacked = np.asarray(y + delta)
  assert attacked.min() >= -0.2 and attacked.max() <= 1.3


def test_projection_by_hand():
  delta = jnp.array([[3.0, 4.0], [0.3, 0.4]])
  np.testing.assert_allclose(project_to_ball(delta, 1.0), [[0.6, 0.8], [0.3, 0.4]], rtol=1e-5)
  np.testing.assert_allclose(l2_norm(to_sphere(delta, 2.0)), [2, 2], rtol=1e-5)


@pytest.mark.parametrize("eps", [0.1, 10.0, 1e4])
def test_without_a_gradient_a_search_stays_where_it_is(eps):
  """Of no direction there is none on the sphere, however large; over 3.4 this was NaN."""
  np.testing.assert_array_equal(to_sphere(jnp.zeros((1, 4)), eps), 0)
  delta = to_sphere(jnp.array([[3.0, 4.0]]), eps)
  np.testing.assert_allclose(conditional_step(delta, jnp.zeros((1, 2)), eps, 0.5), delta, rtol=1e-5)


def test_ifgsm_takes_the_same_steps_in_a_jit_and_outside():
  y = jax.random.uniform(jax.random.key(0), (3, 4))
  z = jnp.zeros((1, 3, 4))

  def search(y, key):
    return ifgsm(linear, y, z, key, alpha=0.1, num_steps=7)

  np.testing.assert_allclose(search(y, jax.random.key(1)), jax.jit(search)(y, jax.random.key(1)), atol=1e-7)


def test_ifgsm_compiles_once_for_all_bounds_and_images():
  def restore(y, z):
    return 3 * y @ MATRIX + z

  with compilations() as compiled:
    for alpha in (0.01, 0.1):
      for seed in range(2):
        y = jax.random.uniform(jax.random.key(seed), (3, 4))
        ifgsm(restore, y, jnp.zeros((1, 3, 4)), jax.random.key(0), alpha=alpha, num_steps=3)
  for name in ("restore_seeds", "_ascent_step"):
    assert compiled.count(f"jit({name})") == 1


def test_ifgsm_neither_traces_nor_maps_an_eager_restore():
  class Eager:
    eager = True

    def __call__(self, y, z):
      # As a PyTorch module would: it needs numbers, under a gradient alone.
      assert not isinstance(z, jax.core.Tracer)
      return y @ MATRIX + z

  y, z = jnp.full((2, 4), 0.5), jnp.zeros((3, 2, 4))
  found = ifgsm(Eager(), y, z, jax.random.key(0), alpha=0.1, num_steps=5)
  np.testing.assert_allclose(found, ifgsm(linear, y, z, jax.random.key(0), alpha=0.1, num_steps=5), atol=1e-6)


def _wide_restore(y, z):
  x = y + z
  for _ in range(8):
    x = jnp.sin(x) + z
  return x


@pytest.mark.parametrize("at_once", [1, 2, 3, 7])
def test_seeds_in_groups_find_the_same_delta(at_once):
  y = jax.random.uniform(jax.random.key(0), (2, 4, 4, 3))
  z = jax.random.normal(jax.random.key(1), (3, 2, 4, 4, 3))
  restore_all = jax.vmap(_wide_restore, (None, 0))
  reference = over_seeds(functools.partial(restore_all, y), z, at_once)

  def squares(y, reference, z):
    return jnp.sum((restore_all(y, z) - reference) ** 2)

  def total_change(delta):
    return sum_over_seeds(squares, y + delta, reference, z, at_once) / len(z)

  in_groups = ascend(total_change, jax.random.key(2), y.shape, eps=0.1, num_steps=5, learning_rate=1.0)
  plain = adversarial_search(_wide_restore, y, z, jax.random.key(2), eps=0.1)
  # Sums in another order: rounding, and what Adam makes of it where a gradient is nearly 0.
  np.testing.assert_allclose(in_groups, plain, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("at_once", [0, 1, 2, 3])
def test_a_sum_over_groups_of_seeds_and_its_gradients(at_once):
  """sum_s w_s (a z_s)^2 with a = 3, w = 1, 2, 3, z = 1, 2, 4: 9 (1 + 8 + 48); by a 6 * 57; by w 9 (1, 4, 16)."""

  def weighted(shared, weights, z):
    return jnp.sum(weights * (shared["a"] * z) ** 2)

  def half_sum(shared, weights):
    return sum_over_seeds(weighted, shared, weights, jnp.array([1.0, 2.0, 4.0]), at_once) / 2

  for double in (True, False):
    with jax.enable_x64(double):
      value, gradients = jax.value_and_grad(half_sum, (0, 1))({"a": 3.0}, jnp.array([1.0, 2.0, 3.0]))
    assert value.dtype == (jnp.float64 if double else jnp.float32)
  assert value == pytest.approx(513 / 2)
  assert gradients[0]["a"] == pytest.approx(342 / 2)
  np.testing.assert_allclose(gradients[1], np.array([9, 36, 144]) / 2, rtol=1e-6)


def test_seeds_one_after_another_need_less_memory():
  z = jax.ShapeDtypeStruct((8, 256, 256), jnp.float32)

  def deep(y, z):
    for _ in range(8):
      z = jnp.sin(z @ y)  # a product that no compiler fuses away
    return jnp.sum(z)

  def temporary_bytes(seeds_at_once):
    def total(y, z):
      return over_seeds(jax.vmap(lambda z_s: deep(y, z_s)), z, seeds_at_once).sum()

    program = jax.jit(jax.grad(total)).lower(jax.ShapeDtypeStruct(z.shape[1:], z.dtype), z).compile()
    return program.memory_analysis().temp_size_in_bytes

  assert temporary_bytes(1) < temporary_bytes(0) / 3


def test_a_loop_over_seeds_computes_no_convolution_twice_for_its_gradients():
  """Two layers: a forward and a kernel gradient each, and one more convolution back through the second."""
  conv = Conv(2, use_bias=False, platform="cpu")
  y, z = jnp.ones((1, 4, 4, 2)), jax.random.normal(jax.random.key(0), (3, 1, 4, 4, 2))
  params = conv.init(jax.random.key(1), y)

  def total(params, at_once):
    def restore(z):
      return conv.apply(params, jnp.sin(conv.apply(params, y + z)))

    return jnp.sum(jnp.cos(over_seeds(jax.vmap(restore), z, at_once)))

  gradient = jax.grad(total)
  program = str(jax.make_jaxpr(gradient, static_argnums=1)(params, 1))
  counts = collections.Counter(re.findall(r" (convolve_3x3|kernel_gradient)\b", program))
  assert counts == {"convolve_3x3": 3, "kernel_gradient": 2}
  one, all_at_once = gradient(params, 1), gradient(params, 0)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), one, all_at_once)
