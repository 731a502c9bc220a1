"""The sources of data, by the value of data.source.

A source is a module with
  describe(data) -> JSON-able dict that identifies what it will produce; cheap, opens no image;
  look(data) -> Found, at once: what there is here. Imports no TensorFlow, downloads and writes nothing;
and one of
  read(data) -> {"train": Split, "val": Split}, lazily: images, which are read once into the cache (cache.py);
  draw(data, seed) -> {"train": [N, ...], "val": [N, ...]}, float32: examples that are made at once from the run's seed.
To add one, write such a module and name it here.
"""

from typing import Any

from prt_jax.data import folder_source, points_source, sample_source, tfds_source

SOURCES = {"tfds": tfds_source, "folder": folder_source, "sample": sample_source, "points": points_source}


def is_drawn(source: Any) -> bool:
  """Whether a source makes its examples, so that nothing is cached."""
  return hasattr(source, "draw")
