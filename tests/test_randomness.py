"""Randomness: pure in its arguments, different between purposes, independent of how a batch is split."""

import jax
import jax.numpy as jnp
import numpy as np

from prt_jax.randomness import Stream, example_keys, normal, sample_noise, zero_noise

KEY = jax.random.key(0)
SHAPES = ((4, 4, 1), (2, 2, 1))


def data(keys):
  return np.asarray(jax.random.key_data(keys))


def test_keys_do_not_depend_on_how_the_batch_is_split():
  whole = example_keys(KEY, 5, Stream.GENERATOR_NOISE, jnp.arange(8))
  halves = [example_keys(KEY, 5, Stream.GENERATOR_NOISE, jnp.arange(4) + start) for start in (0, 4)]
  np.testing.assert_array_equal(data(whole), np.concatenate([data(half) for half in halves]))
  noise = sample_noise(whole, SHAPES, 3)
  parts = [sample_noise(half, SHAPES, 3) for half in halves]
  for level in range(2):
    np.testing.assert_array_equal(noise[level], jnp.concatenate([part[level] for part in parts], 1))


def test_every_step_purpose_and_example_has_its_own_key():
  keys = [
    data(example_keys(KEY, step, stream, jnp.arange(4))) for step in (0, 1, 7) for stream in Stream
  ]
  assert len(np.unique(np.concatenate(keys), axis=0)) == 3 * len(Stream) * 4


def test_noise_is_standard_normal_and_differs_between_seeds_and_levels():
  noise = sample_noise(jax.random.split(KEY, 100), ((16, 16, 1), (16, 16, 1)), 4)
  assert noise[0].shape == (4, 100, 16, 16, 1)
  assert abs(np.mean(noise[0])) < 0.01
  assert abs(np.std(noise[0]) - 1) < 0.01
  flat = np.concatenate([np.reshape(level, (4 * 100, -1)) for level in noise])
  correlations = np.corrcoef(flat[::20])
  np.fill_diagonal(correlations, 0)
  assert np.abs(correlations).max() < 0.4


def test_zero_noise_has_the_layout_of_noise():
  zero, noise = zero_noise(5, SHAPES, 3), sample_noise(jax.random.split(KEY, 5), SHAPES, 3)
  assert [z.shape for z in zero] == [n.shape for n in noise]
  assert not any(np.any(z) for z in zero)


def test_normal_with_a_key_an_example():
  keys = jax.random.split(KEY, 3)
  np.testing.assert_array_equal(normal(keys, (3, 5))[1], normal(keys[1], (5,)))
