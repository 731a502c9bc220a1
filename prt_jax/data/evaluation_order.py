"""Which images of a data set are evaluated, and in what order: the same in every run, so that runs can be compared."""

from collections.abc import Iterator

import numpy as np

from prt_jax.data.image_pairs import Pair
from prt_jax.data.permutation import seeded_permutation

ORDER_SEED = 20221116  # of the order in which rows are taken


def evaluation_rows(images: np.ndarray, count: int) -> np.ndarray:
  """The first so-many rows of a fixed random order of a data set."""
  return seeded_permutation(len(images), ORDER_SEED)[:count]


def padded_rows(rows: np.ndarray, first: int, batch_size: int) -> np.ndarray:
  """Rows [first, first + batch_size), the last one repeated past the end: programs are compiled for one size."""
  return rows[np.minimum(np.arange(first, first + batch_size), len(rows) - 1)]


def evaluation_pairs(images: np.ndarray, count: int) -> Iterator[Pair]:
  """The first so-many images of that order, uint8 [n,H,W,3], with the numbers that an evaluation gives them.

  x in [0, 1]; y is x: the measurement is yet to be made.
  """
  for row in evaluation_rows(images, count):
    x = np.asarray(images[row], np.float32) / 255
    yield Pair(f"row {row}", x, x, number=int(row))
