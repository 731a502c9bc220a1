"""Features that a user brings: eval.feature_extractor=package.module:NAME."""

import dataclasses
import sys
from typing import Any

import numpy as np

from prt_jax.errors import UserError
from prt_jax.features.extractor import Extractor
from prt_jax.importing import import_function
from prt_jax.io.file_digests import sha256_of
from prt_jax.programs import is_eager


def user_extractor(name: str) -> Extractor:
  """The extractor that a name package.module:NAME means.

  Args:
    name: of an Extractor, which says what its distances are called; or of a function, images [B,H,W,3] float32 in
      [0, 1], rounded to 8 bits, -> features [B,D]. A function with an attribute `eager` that is true is not traced: it
      gets a numpy array, and may compute in PyTorch.

  Raises:
    UserError: no such object, or neither of these.
  """
  found = import_function(name)
  version = _digest(name)
  if isinstance(found, Extractor):
    return dataclasses.replace(found, version=version)
  if not callable(found):
    raise UserError(f"{name} is neither a function (images [B,H,W,3] in [0, 1] -> features [B,D]) nor an Extractor")

  def features(_, images):
    values: Any = found(images / np.float32(255))
    if getattr(values, "ndim", 0) != 2 or len(values) != len(images):
      raise UserError(f"{name} returns shape {getattr(values, 'shape', None)}: it must return features [B,D]")
    return values

  return Extractor(
    name, f"Frechet distance, {name} features", 0, {}, features, traceable=not is_eager(found), version=version
  )


def _digest(name):
  """Of the module's file, so that features of an older one are not taken for its own."""
  path = getattr(sys.modules[name.partition(":")[0]], "__file__", None)
  return sha256_of(path)[:16] if path else ""
