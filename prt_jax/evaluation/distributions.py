"""How one set of images resembles another, in features: Frechet distance, precision, recall, density, coverage."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from prt_jax.evaluation import statistics
from prt_jax.features.extractor import Extractor
from prt_jax.metrics import density_coverage, precision_recall
from prt_jax.metrics.joint import joint_frechet_distance
from prt_jax.metrics.kernel_distance import gaussian_discrepancy, kernel_inception_distance


class Sets(NamedTuple):
  """Features of images, [n, D] each; None where they are not known.

  Attributes:
    restored: of the restorations, one draw an input.
    reference: of the images that they should resemble, [m, D].
    original: of the inputs' originals.
    measurement: of the inputs' measurements, enlarged.
  """

  restored: np.ndarray
  reference: np.ndarray
  original: np.ndarray | None = None
  measurement: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class SetMeasure:
  """Attributes:
  label, unit, digits, better, definition: as of a measures.Measure.
  needs: fields of Sets that must be known.
  compute: (Sets, neighbours k, Extractor) -> {name of SETS: {"value", "n", ...}}; rows whose function is the same are
    computed together.
  """

  label: str
  unit: str
  digits: int
  better: str
  definition: str
  needs: tuple[str, ...]
  compute: Callable[[Sets, int, Extractor], dict[str, dict]]


def _frechet(sets, k, extractor):
  del k
  found = statistics.frechet(sets.restored, sets.reference) | statistics.frechet_error(sets.restored, sets.reference)
  return {"frechet": found | {"label": extractor.distance_name}}


def _frechet_of_originals(sets, k, extractor):
  del k
  found = statistics.frechet(sets.original, sets.reference)
  return {"frechet_of_originals": found | {"label": extractor.distance_name}}


def _manifolds(sets, k, extractor):
  del extractor
  precision, recall = precision_recall(sets.reference, sets.restored, k=k)
  return {
    "precision": statistics.proportion(precision, len(sets.restored)),
    "recall": statistics.proportion(recall, len(sets.reference)),
  }


def _density_coverage(sets, k, extractor):
  del extractor
  density, coverage = density_coverage(sets.reference, sets.restored, k=k)
  return {
    "density": {"value": density, "n": len(sets.restored)},
    "coverage": statistics.proportion(coverage, len(sets.reference)),
  }


def _joint(sets, k, extractor):
  del k
  distance = joint_frechet_distance(sets.original, sets.measurement, sets.restored)
  found = {"value": max(distance, 0.0) ** 0.5, "n": len(sets.restored), "label": extractor.distance_name}
  return {"sqrt_joint_frechet": found}


def _kernel(sets, k, extractor):
  del k
  if extractor.kernel == "gaussian":
    value, error = gaussian_discrepancy(sets.restored, sets.reference), None
  else:
    value, error = kernel_inception_distance(sets.restored, sets.reference)
  found = {"value": value, "n": len(sets.restored), "n_reference": len(sets.reference)}
  if error is not None:
    found |= {"standard_error": error, "interval_kind": "over blocks"}
  return {"kernel_distance": found | {"label": extractor.kernel_name or f"kernel distance, {extractor.name} features"}}


SETS = {
  "frechet": SetMeasure(
    "Frechet distance", "", 2, "lower", "restorations against the reference images, one draw an input", (), _frechet
  ),
  "kernel_distance": SetMeasure(
    "kernel distance", "", 4, "lower",
    "squared maximum mean discrepancy of restorations and reference images: KID's unbiased estimate with a cubic "
    "kernel, or CMMD's with a Gaussian one, as the features' name says", (), _kernel,
  ),
  "frechet_of_originals": SetMeasure(
    "the same of the originals", "", 2, "", "originals against the reference images: what a perfect sampler scores",
    ("original",), _frechet_of_originals,
  ),
  "precision": SetMeasure(
    "precision", "", 3, "higher", "share of restorations among the reference images' neighbours", (), _manifolds
  ),
  "recall": SetMeasure(
    "recall", "", 3, "higher", "share of reference images among the restorations' neighbours", (), _manifolds
  ),
  "density": SetMeasure(
    "density", "", 3, "higher",
    "reference images in whose neighbourhood a restoration lies, mean over restorations, in units of k; about 1 for "
    "samples of one distribution, may be more (Naeem et al. 2020)", (), _density_coverage,
  ),
  "coverage": SetMeasure(
    "coverage", "", 3, "higher", "share of reference images with a restoration in their neighbourhood", (),
    _density_coverage,
  ),
  "sqrt_joint_frechet": SetMeasure(
    "joint index", "", 2, "lower",
    "root of the Frechet distance of (restoration, measurement) from (original, measurement), joined features: paper "
    "B's sqrt(JFID) in the features of FID", ("original", "measurement"), _joint,
  ),
}  # fmt: skip


def compare(sets: Sets, k: int, extractor: Extractor) -> dict[str, dict]:
  """{name of SETS: {"value", "n", ...}}, those whose needs are known.

  Args:
    sets: features.
    k: neighbours, of precision, recall, density and coverage.
    extractor: of the features; it says which kernel is theirs, and what distances in them are called.
  """
  known = {name for name, value in sets._asdict().items() if value is not None}
  names = [name for name, row in SETS.items() if known >= set(row.needs)]
  found = {}
  for compute in dict.fromkeys(SETS[name].compute for name in names):
    found |= compute(sets, k, extractor)
  return {name: found[name] for name in names}
