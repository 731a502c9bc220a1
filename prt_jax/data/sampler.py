"""Which examples make the batch of a step: a pure function, so that a resumed run needs no iterator state."""

import functools

import numpy as np

from prt_jax.data.permutation import seeded_permutation


def batch_indices(seed: int, step: int, batch_size: int, num_examples: int) -> np.ndarray:
  """Indices of the examples of one batch.

  The steps walk through one endless sequence: a fresh permutation of all examples, epoch
  after epoch. Every example comes exactly once an epoch; a batch may straddle epochs, and may
  be larger than the data set.

  Args:
    seed: int; selects the sequence.
    step: int >= 0; the batch is at positions [step * batch_size, (step + 1) * batch_size) of it.
    batch_size: int >= 1, over all devices.
    num_examples: int >= 1.

  Returns:
    int64 [batch_size], values in [0, num_examples).

  Raises:
    ValueError: an argument is out of its range.
  """
  seed, step, batch_size, num_examples = int(seed), int(step), int(batch_size), int(num_examples)
  if step < 0 or batch_size < 1 or num_examples < 1:
    raise ValueError(f"need step >= 0, batch_size >= 1, num_examples >= 1; got {step}, {batch_size}, {num_examples}")
  first, stop = step * batch_size, (step + 1) * batch_size
  pieces = []
  for epoch in range(first // num_examples, (stop - 1) // num_examples + 1):
    start = epoch * num_examples
    pieces.append(_epoch_order(seed, epoch, num_examples)[max(first - start, 0) : stop - start])
  return np.concatenate(pieces)


# An order of 1.3 million examples takes 0.1 s to draw and serves thousands of steps.
# Three: the two epochs of a straddling batch, and one for a second sequence (validation).
@functools.lru_cache(maxsize=3)
def _epoch_order(seed, epoch, num_examples):
  return seeded_permutation(num_examples, seed, epoch)
