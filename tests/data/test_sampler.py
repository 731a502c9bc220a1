"""The order of examples: epochs, statelessness, seeds."""

import numpy as np
import pytest

from prt_jax.data import batch_indices
from prt_jax.data.permutation import seeded_permutation
from prt_jax.data.split import train_mask


def walk(seed, batch_size, num_examples, steps):
  return np.concatenate([batch_indices(seed, step, batch_size, num_examples) for step in range(steps)])


@pytest.mark.parametrize("batch_size", [1, 4, 5, 12, 30, 47])  # divides, straddles, equals and exceeds the 12 examples
def test_every_example_comes_once_an_epoch(batch_size):
  positions = walk(0, batch_size, num_examples=12, steps=-(-60 // batch_size))[:60]
  for epoch in positions.reshape(5, 12):
    np.testing.assert_array_equal(np.sort(epoch), np.arange(12))


def test_epochs_differ():
  epochs = walk(0, 50, num_examples=50, steps=8)
  assert len({tuple(epoch) for epoch in epochs.reshape(8, 50)}) == 8


def test_a_batch_is_a_function_of_its_arguments_alone():
  in_order = [batch_indices(3, step, 7, 20) for step in range(40)]
  for step in reversed(range(40)):
    np.testing.assert_array_equal(batch_indices(3, step, 7, 20), in_order[step])


def test_the_sequence_does_not_depend_on_the_batch_size():
  np.testing.assert_array_equal(walk(5, 4, 10, steps=15), walk(5, 6, 10, steps=10))


def test_a_caller_cannot_change_later_batches():
  first = batch_indices(0, 0, 10, 10)
  before = first.copy()
  first[:] = 0
  np.testing.assert_array_equal(batch_indices(0, 0, 10, 10), before)


def test_seeds_differ_and_may_be_negative():
  orders = {tuple(batch_indices(seed, 0, 64, 64)) for seed in (-1, 0, 1, 2, 2**40)}
  assert len(orders) == 5


def test_dtype_shape_and_far_steps():
  indices = batch_indices(np.int32(0), np.int64(10**9), 64, 1_000)
  assert indices.dtype == np.int64 and indices.shape == (64,)
  assert 0 <= indices.min() <= indices.max() < 1_000


@pytest.mark.parametrize("arguments", [(0, -1, 4, 4), (0, 0, 0, 4), (0, 0, 4, 0)])
def test_arguments_out_of_range(arguments):
  with pytest.raises(ValueError, match="need step >= 0"):
    batch_indices(*arguments)


def test_orders_are_the_same_for_ever():
  # A resumed run and a published split must survive an upgrade of NumPy.
  np.testing.assert_array_equal(seeded_permutation(8, 0, 0), [3, 2, 1, 6, 0, 7, 4, 5])
  np.testing.assert_array_equal(np.flatnonzero(~train_mask(20, 0.8)), [3, 10, 17, 19])


def test_orders_are_uniform():
  # 6 orders of 3 examples, 600 seeds: each 100 times, standard deviation 9.
  orders = np.array([seeded_permutation(3, seed) for seed in range(600)])
  _, counts = np.unique(orders, axis=0, return_counts=True)
  assert len(counts) == 6 and counts.min() > 60 and counts.max() < 140


@pytest.mark.parametrize(("count", "fraction", "training"), [(100, 0.8, 80), (10, 1.0, 10), (162_770, 0.8, 130_216)])
def test_the_split_rule_takes_the_share_it_says(count, fraction, training):
  mask = train_mask(count, fraction)
  assert mask.shape == (count,) and mask.sum() == training
