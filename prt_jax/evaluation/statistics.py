"""A number with its n, its spread and an interval: how every result of a report is written."""

import math
from collections.abc import Callable

import numpy as np
import scipy.stats

from prt_jax.metrics import FeatureStatistics, frechet_distance

RESAMPLES = 1000
LEVEL = 0.95
GROUPS = 5
_BLOCK = 1 << 22  # values that are resampled at a time


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
  if len(values) < 2:
    return 2 * [float(statistic(values, axis=0))]
  low, high = scipy.stats.bootstrap(
    (values,), statistic, n_resamples=RESAMPLES, batch=max(1, _BLOCK // len(values)), confidence_level=LEVEL,
    method="percentile", rng=np.random.default_rng(0),
  ).confidence_interval  # fmt: skip
  return [float(low), float(high)]


def proportion(share: float, n: int) -> dict:
  """A share of n points with Wilson's interval, the manifolds held fixed."""
  low, high = scipy.stats.binomtest(round(share * n), n).proportion_ci(LEVEL, "wilson")
  interval = [float(low), float(high)]
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
