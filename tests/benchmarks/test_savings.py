"""The comparisons: every replacement exists and gives the same numbers, and a wrong one would be seen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import r1, savings
from prt_jax import devices, losses
from prt_jax.attacks import sum_over_seeds
from prt_jax.models import formulations
from prt_jax.models.layers import max_pool, upsample_bilinear
from prt_jax.models.unet import UNet
from prt_jax.randomness import sample_noise
from prt_jax.training.gan import make_game
from tests import tiny

ALTERNATIVES = {alternative.name: alternative for alternative in savings.savings(num_seeds=2)}


def replacement(name):
  """The first thing that an alternative puts in the place of ours."""
  return ALTERNATIVES[name].patches[0][2]


@pytest.mark.parametrize("alternative", [*ALTERNATIVES.values(), *r1.alternatives(None)], ids=lambda one: one.name)
def test_what_is_replaced_exists_and_comes_back(alternative):
  own = [getattr(owner, name) for owner, name, _ in alternative.patches]
  with savings.in_place(alternative):
    replaced = [getattr(owner, name) for owner, name, _ in alternative.patches]
  assert not any(ours is other for ours, other in zip(own, replaced, strict=True))
  assert own == [getattr(owner, name) for owner, name, _ in alternative.patches]


def critic(weights, x):
  return jnp.tanh(jnp.sin(x) @ weights[0]) @ weights[1]


@pytest.mark.parametrize("name", ["logits by a pass of their own", "reverse over forward", "a gradient an example"])
def test_ways_to_r1_have_one_value_and_one_gradient(name):
  way = next(alternative for alternative in r1.alternatives(None) if alternative.name == name).patches[0][2]
  keys = jax.random.split(jax.random.key(0), 3)
  weights = jax.random.normal(keys[0], (5, 7)), jax.random.normal(keys[1], (7,))
  x = jax.random.normal(keys[2], (4, 5))

  def loss(weights, way):
    logits, penalty = way(lambda x: critic(weights, x), x)
    return jnp.sum(jnp.cos(logits)) + jnp.sum(penalty * jnp.arange(1, 5))

  value, gradient = jax.value_and_grad(loss)(weights, losses.logits_and_r1_penalty)
  other_value, other_gradient = jax.value_and_grad(loss)(weights, way)
  assert float(other_value) == pytest.approx(float(value), rel=1e-5)
  for ours, other in zip(gradient, other_gradient, strict=True):
    np.testing.assert_allclose(other, ours, rtol=1e-4, atol=1e-4)


def test_layers_taken_back_are_the_same_functions():
  x = jax.random.normal(jax.random.key(0), (2, 6, 8, 3))
  np.testing.assert_array_equal(replacement("max-pool by reduce_window")(x), max_pool(x))
  np.testing.assert_allclose(
    replacement("upsampling by jax.image.resize")(x), upsample_bilinear(x), rtol=1e-5, atol=1e-6
  )


def test_the_features_convolved_for_every_seed_give_the_same_images():
  unet = UNet(width=2, kernel_init="he_normal")
  x = jax.random.uniform(jax.random.key(0), (2, 32, 32, 3))
  z = jax.tree.map(lambda n: n[0], sample_noise(jax.random.split(jax.random.key(1), 2), UNet.noise_shapes(32), 1))
  variables = jax.jit(lambda: unet.init(jax.random.key(2), x, z, train=False))()

  def restored():
    return jax.jit(lambda v: unet.apply(v, x, z, train=True, mutable=["batch_stats"])[0])(variables)

  ours = restored()
  with savings.in_place(ALTERNATIVES["stem's features convolved for every seed"]):
    stem = unet.apply(variables, x, False, method="stem")
    np.testing.assert_allclose(restored(), ours, rtol=1e-4, atol=1e-4)
  assert stem.shape == (2, 32, 32, 2)  # the features themselves: the replacement was at work


def test_the_loop_taken_back_has_the_same_sum_and_gradient():
  z, outputs, shared = jnp.arange(6.0).reshape(3, 2), jnp.ones((3, 2)), jnp.array([0.5, -1.0])

  def total(shared, sums):
    return sums(lambda s, o, z: jnp.sum((jnp.sin(s * z) - o) ** 2), shared, outputs, z, 1)

  ours = jax.value_and_grad(total)(shared, sum_over_seeds)
  other = jax.value_and_grad(total)(shared, replacement("values computed again for gradients"))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), ours, other)


def test_a_wrong_alternative_shows_as_a_difference(monkeypatch):
  config = tiny.get_config()
  factors = {savings.AS_IT_IS: 1.0, "the same": 1.0, "off by a quarter": 1.25}

  def compile_lowered(alternative):
    def program(state, images, key):
      gradients = jax.tree.map(lambda leaf: factors[alternative.name] * jnp.ones_like(leaf), state.critic_params)
      _, optimizer = make_game(config).optimizer.update(gradients, state.critic_optimizer)
      return state.replace(critic_optimizer=optimizer), {}

    return savings.Compiled(program, 1.0, 10**9)

  monkeypatch.setattr(savings, "lower_step", lambda config, step, alternative: alternative)
  monkeypatch.setattr(savings, "compile_lowered", compile_lowered)
  others = [savings.Alternative(name, ("critic",)) for name in list(factors)[1:]]
  lines = savings.compare(config, "critic", others, repeats=1)
  assert [line["name"] for line in lines] == list(factors)
  np.testing.assert_allclose([line["relative_difference"] for line in lines], [0, 0, 0.25], atol=1e-6)
  assert "off by a quarter" in savings.render({"lines": lines})


@pytest.mark.parametrize("platform", ["gpu", "tpu"])
def test_an_accelerators_choices_are_each_made_the_other_way(platform, monkeypatch):
  monkeypatch.setattr(devices, "backend", lambda: platform)
  chosen = formulations.FORMULATIONS[platform]
  alternatives = savings.formulation_choices()
  assert len({alternative.name for alternative in alternatives}) == len(alternatives)
  tried = set()
  for alternative in alternatives:
    with savings.in_place(alternative):
      tried.add(formulations.formulation_of(None))
  assert formulations.formulation_of(None) == chosen
  differ = {field for one in tried for field in vars(chosen) if getattr(one, field) != getattr(chosen, field)}
  assert {"blocks", "sums", "lanes", "strided_pools", "merges_seeds", "unrolls_search"} == differ
  assert not any(one.blocks and not one.sums for one in tried), "blocks are convolved as sums alone"
