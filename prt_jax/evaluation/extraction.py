"""Features of what a Runner has on its devices."""

from collections.abc import Callable

import jax
import numpy as np

from prt_jax import devices
from prt_jax.evaluation import batch_programs as programs
from prt_jax.evaluation.runner import Runner
from prt_jax.features.extractor import Extractor
from prt_jax.precision import in_float32


def make_features(extractor: Extractor, runner: Runner) -> Callable[[jax.Array], np.ndarray]:
  """Features of images [D,b,H,W,3], floats in [0, 1]: [B,D] float32."""
  if not extractor.traceable:
    return lambda images: np.asarray(extractor(devices.gather_examples(images)))
  program = runner._over(programs.extract, extractor.features, extractor.rounds)
  return lambda images: devices.gather_examples(in_float32(program)(extractor.params, images))
