"""Random orders that no version of NumPy changes."""

import numpy as np


def seeded_permutation(num_examples: int, *entropy: int) -> np.ndarray:
  """A permutation of range(num_examples) that depends on nothing but its arguments.

  NumPy keeps the streams of its bit generators for ever, but not those of
  `Generator.permutation`; so the order is that of raw 64-bit draws. A split or a
  resumed run is then the same after an upgrade.

  Args:
    num_examples: int >= 0.
    *entropy: ints (any sign, below 2**64 in size) that select the order.

  Returns:
    int64 [num_examples].
  """
  bits = np.random.PCG64([value % 2**64 for value in entropy])
  return np.argsort(bits.random_raw(num_examples), kind="stable").astype(np.int64, copy=False)
