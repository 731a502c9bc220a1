"""Data sets as memory-mapped uint8 arrays (points: drawn), and the order in which training walks through them."""

from prt_jax.data.cache import Dataset, prepare
from prt_jax.data.sampler import batch_indices
from prt_jax.data.sources import SOURCES

__all__ = ["SOURCES", "Dataset", "batch_indices", "prepare"]
