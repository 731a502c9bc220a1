"""Which differences between variants a table resolves: python -m experiments.comparisons docs/results/table1_mini.json

Trainings of several seeds are the sample: examples of one training say nothing of another one.
"""

import argparse
import json
import pathlib

import numpy as np
from scipy import stats

from experiments.command import run_command
from experiments.results import format_table
from prt_jax.errors import UserError

# What the papers compare: (measure, the variant with more of it, the one with less), as paper A's Table 1 has them.
CLAIMS = (
  ("robustness_db", "stochastic-robust", "stochastic-erratic"),
  ("robustness_db", "deterministic-robust", "deterministic-erratic"),
  ("robustness_db", "stochastic-robust", "deterministic-robust"),
  ("strong_robustness_db", "stochastic-robust", "deterministic-robust"),
  ("frechet", "deterministic-robust", "stochastic-robust"),
  ("frechet", "deterministic-robust", "deterministic-erratic"),
  ("frechet", "stochastic-robust", "stochastic-erratic"),
  ("recall", "stochastic-robust", "deterministic-robust"),
  ("recall", "deterministic-erratic", "deterministic-robust"),
  ("recall", "stochastic-erratic", "stochastic-robust"),
  ("precision", "stochastic-robust", "deterministic-robust"),
  ("per_pixel_std", "stochastic-robust", "stochastic-erratic"),
)
LEVEL = 0.05


def compare(larger: list[float], smaller: list[float]) -> dict | None:
  """Welch's t-test of two variants' runs, two-sided; None with fewer than two runs of either.

  Returns:
    {"difference", "interval" (95%), "p", "resolved"}: resolved is a p under LEVEL.
  """
  if min(len(larger), len(smaller)) < 2:
    return None
  difference = float(np.mean(larger) - np.mean(smaller))
  if np.ptp(larger) == np.ptp(smaller) == 0:
    return {"difference": difference, "interval": [difference, difference], "p": 0.0, "resolved": True}
  test = stats.ttest_ind(larger, smaller, equal_var=False)
  interval = test.confidence_interval(0.95)
  return {
    "difference": difference, "interval": [float(interval.low), float(interval.high)], "p": float(test.pvalue),
    "resolved": bool(test.pvalue < LEVEL),
  }  # fmt: skip


def comparisons(variants: dict) -> list[dict]:
  """CLAIMS about a table's variants {name: {measure_spread: {"per_run": [...]}}}, those that can be tested."""
  found = []
  for measure, larger, smaller in CLAIMS:
    runs = [variants.get(name, {}).get(f"{measure}_spread", {}).get("per_run", []) for name in (larger, smaller)]
    if tested := compare(*runs):
      found.append({"measure": measure, "larger": larger, "smaller": smaller, "runs": list(map(len, runs))} | tested)
  return found


def text(found: list[dict]) -> str:
  """A line a claim."""
  rows = [
    [
      row["measure"], f"{row['larger']} > {row['smaller']}", row["difference"],
      " to ".join(f"{end:.4g}" for end in row["interval"]), f"{row['p']:.3f}", "yes" if row["resolved"] else "no",
    ]
    for row in found
  ]  # fmt: skip
  return format_table(["measure", "claim", "difference", "95% interval", "p", "resolved"], rows)


def main(argv: list[str] | None = None) -> None:
  """Prints the claims of tables, and adds them to their files."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("tables", nargs="+", type=pathlib.Path)
  for path in parser.parse_args(argv).tables:
    try:
      table = json.loads(path.read_text())
      found = comparisons(table["variants"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
      raise UserError(f"{path} is no table of experiments.table1 ({error}): name its JSON") from None
    print(f"{path}\n{text(found)}")
    path.write_text(json.dumps(table | {"comparisons": found}, indent=2) + "\n")


if __name__ == "__main__":
  run_command(main)
