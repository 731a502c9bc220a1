"""From columns, a number an example, to results, a number each with its n and interval: the names that reports use."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from prt_jax.attacks.table import ATTACKS, run_name
from prt_jax.evaluation import statistics
from prt_jax.evaluation.distributions import SETS
from prt_jax.evaluation.measures import MEASURES

Columns = dict[str, dict[str, np.ndarray]]  # {part: {column: [n]}}

QUANTILES = {"median": ("median", 0.5), "p95": ("95th percentile", 0.95), "max": ("maximum", 1.0)}
# The parts whose columns are results, what their names begin with, and what is said of them.
PARTS = {
  "plain": ("", ""),
  "lpips": ("", ""),
  "search": ("", ""),
  "random": ("random_", ", random delta"),
  "strong": ("strong_", ", longer search"),
  "jacobian": ("", ""),
}
_OF_RANDOM = ("robustness_db",)  # a random delta is there to be compared with


class Result(NamedTuple):
  """How a result is shown: its label, unit, digits after the point, which way is better, and what it is."""

  label: str
  unit: str
  digits: int
  better: str
  definition: str


def _of_measure(name, label):
  measure = MEASURES[name]
  row = Result(measure.label + label, measure.unit, measure.digits, measure.better, measure.definition)
  if measure.reduce != "quantiles":
    return {name: row}
  return {f"{name}_{ending}": row._replace(label=f"{row.label}, {title}") for ending, (title, _) in QUANTILES.items()}


def rows() -> dict[str, Result]:
  """How each result is shown that the rows of SETS and MEASURES give, in the order of reports."""
  found = {name: Result(row.label, row.unit, row.digits, row.better, row.definition) for name, row in SETS.items()}
  attacked = [name for name, measure in MEASURES.items() if {"attacked", "attacked_y"} & set(measure.needs)]
  own = [name for name in MEASURES if name not in attacked]
  for names, parts in ((attacked, ("search", "random", "strong")), (own, ("plain",))):
    for part in parts:
      prefix, label = PARTS[part]
      for name in names:
        if MEASURES[name].reduce and (part != "random" or name in _OF_RANDOM):
          found |= {prefix + full: row for full, row in _of_measure(name, label).items()}
      if part == "random":
        found["beats_random"] = Result(
          "the attack beats the random delta", "", 3, "", "share of inputs; below 1 the attack is weak"
        )
  return found


def of_columns(columns: Columns) -> dict[str, dict]:
  """{name of rows(): {"value", "n", and where there are any "std", "interval", ...}}."""
  found = {}
  for part, (prefix, _) in PARTS.items():
    for name, values in columns.get(part, {}).items():
      if part != "random" or name in _OF_RANDOM:
        found |= {prefix + full: result for full, result in reduced(name, values).items()}
  if "random" in columns:
    beats = columns["search"]["change"] > columns["random"]["change"]
    found["beats_random"] = statistics.proportion(beats.mean(), len(beats))
  return {name: found[name] for name in rows() if name in found}


def reduced(name: str, values: np.ndarray) -> dict[str, dict]:
  """A measure's results over examples [n], by their names; {} where reports leave it."""
  values, reduce = np.asarray(values, np.float64), MEASURES[name].reduce
  if reduce == "quantiles":
    return {f"{name}_{ending}": statistics.quantile(values, share) for ending, (_, share) in QUANTILES.items()}
  if reduce in ("min", "max"):
    return {name: {"value": float(getattr(np, reduce)(values)), "n": len(values)}}
  return {name: statistics.average(values)} if reduce else {}


def curves(columns: Columns, alphas: Sequence[float]) -> dict[str, list[dict]]:
  """{attack: a point for each of alphas, in 1/255}: {"alpha" in [0, 1], "results": as of_columns, of the measures}."""
  found = {}
  for attack in ATTACKS:
    points = [
      {"alpha": alpha / 255, "results": {
        full: result for name, values in columns[run_name(attack, alpha)].items()
        for full, result in reduced(name, values).items()
      }}
      for alpha in alphas if run_name(attack, alpha) in columns
    ]  # fmt: skip
    if points:
      found[attack] = points
  return found


def examples(columns: Columns) -> dict[str, np.ndarray]:
  """{column: [n]} of all parts, named as results are; those of an attack's curve PART_MEASURE."""
  return {
    PARTS.get(part, (f"{part}_",))[0] + name: values
    for part, own in columns.items() for name, values in own.items() if values.ndim == 1
  }  # fmt: skip
