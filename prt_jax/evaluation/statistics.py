"""A number with its n, its spread and an interval: how every result of a report is written."""

import math
from collections.abc import Callable

import numpy as np

from prt_jax.metrics import FeatureStatistics, frechet_distance

RESAMPLES = 1000
AT_ONCE = 2**20  # values of resamples that are in memory together
LEVEL = 0.95
GROUPS = 5


def average(values: np.ndarray) -> dict:
  """Mean over examples [n], standard deviation (divisor n - 1), and a bootstrap interval of the mean."""
  values = np.asarray(values, np.float64)
  return {
    "value": float(values.mean()),
    "n": len(values),
    "std": float(values.std(ddof=1)) if len(values) > 1 else None,
    "interval": bootstrap(values, np.mean),
    "interval_kind": f"{LEVEL:.0%} bootstrap over examples",
  }


def quantile(values: np.ndarray, share: float) -> dict:
  """A quantile over examples [n] with a bootstrap interval; the maximum (share 1) has none."""
  values = np.asarray(values, np.float64)
  result = {"value": float(np.quantile(values, share)), "n": len(values)}
  if share < 1:
    result["interval"] = bootstrap(values, lambda sample, axis: np.quantile(sample, share, axis=axis))
    result["interval_kind"] = f"{LEVEL:.0%} bootstrap over examples"
  return result


def bootstrap(values: np.ndarray, statistic: Callable) -> list[float]:
  """Percentile interval of statistic(values, axis) over resampled examples; the same in every run."""
  rng, count = np.random.default_rng(0), len(values)
  at_once = max(1, AT_ONCE // count)
  sizes = [min(at_once, RESAMPLES - first) for first in range(0, RESAMPLES, at_once)]
  resampled = [statistic(values[rng.integers(0, count, (size, count))], axis=1) for size in sizes]
  tail = (1 - LEVEL) / 2
  return [float(value) for value in np.quantile(np.concatenate(resampled), [tail, 1 - tail])]


def proportion(share: float, n: int) -> dict:
  """A share of n points with Wilson's interval, the manifolds held fixed."""
  z = 1.959963984540054  # the normal quantile of 97.5%
  centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
  half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
  interval = [max(0.0, centre - half), min(1.0, centre + half)]
  return {"value": float(share), "n": n, "interval": interval, "interval_kind": f"{LEVEL:.0%} Wilson, manifolds fixed"}


def frechet(features: np.ndarray, reference: np.ndarray) -> dict:
  """Frechet distance of features [n, D] to the reference [m, D]."""
  value = frechet_distance(_gaussian(features), _gaussian(reference))
  return {"value": value, "n": len(features), "n_reference": len(reference)}


def frechet_error(features: np.ndarray, reference: np.ndarray) -> dict:
  """The jackknife standard error of frechet: each of five groups of the features is left out in turn.

  It says nothing of the bias, which is upwards and of order D / n. {} for fewer than four features.
  """
  groups = [FeatureStatistics().update(group) for group in np.array_split(features, min(GROUPS, len(features) // 2))]
  if len(groups) < 2:
    return {}
  target = _gaussian(reference)
  leave_one_out = [frechet_distance(_merged(groups, without).gaussian(), target) for without in groups]
  variance = (len(groups) - 1) * np.var(leave_one_out)
  return {"standard_error": float(math.sqrt(variance)), "interval_kind": f"jackknife over {len(groups)} groups"}


def _gaussian(features):
  return FeatureStatistics().update(features).gaussian()


def _merged(groups, without):
  merged = FeatureStatistics()
  for group in groups:
    if group is not without:
      merged.merge(group)
  return merged
