"""The two splits of a data set, and the fixed random rule that divides one split in two."""

import math
from collections.abc import Generator
from typing import NamedTuple

import numpy as np

from prt_jax.data.permutation import seeded_permutation
from prt_jax.errors import UnreadableImage, UserError

# Part of what a data set is, as an official split would be: the run's seed must not move images
# between training and validation.
SPLIT_SEED = 20_240_607

# A source without any validation images of its own keeps at least a tenth for validation.
MAX_FRACTION_WITHOUT_VALIDATION = 0.9


class Split(NamedTuple):
  """What a source gives for `train` and for `val`.

  Attributes:
    count: int; how many images will come.
    images: generator of uint8 [image_size, image_size, 3], preprocessed; read once, lazily. With data.skip_unreadable
      there may be an UnreadableImage in the place of one.
  """

  count: int
  images: Generator[np.ndarray | UnreadableImage, None, None]


class Found(NamedTuple):
  """What a source has of a data set before it is read.

  Attributes:
    counts: {"train": images, "val": images}; None where that is not known before the source is there.
    download_bytes: what reading it will download first; 0 = nothing, None = nobody knows how much.
    text: what and where, for a reader.
  """

  counts: dict[str, int] | None
  download_bytes: int | None
  text: str


def train_mask(num_examples: int, fraction: float) -> np.ndarray:
  """Which examples of an ordered set train: a random, fixed round(fraction * num_examples) of them.

  Paper A's rule with fraction = 0.8: 80% of the official training split trains, the rest
  joins validation. The choice depends on num_examples and fraction alone.

  Returns:
    bool [num_examples]; True trains.
  """
  mask = np.zeros(num_examples, bool)
  mask[seeded_permutation(num_examples, SPLIT_SEED)[: round(fraction * num_examples)]] = True
  return mask


def describe_split(fraction: float) -> dict:
  """The rule of `train_mask` as a JSON-able dict, for fingerprints."""
  return {"train_fraction": float(fraction), "seed": SPLIT_SEED}


def check_train_fraction(fraction: float) -> None:
  """Raises UserError unless 0 < data.train_fraction <= 1."""
  if not (math.isfinite(fraction) and 0 < fraction <= 1):
    raise UserError(f"data.train_fraction={fraction} is not in (0, 1]: set --config.data.train_fraction=0.8, say")
