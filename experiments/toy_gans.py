"""The four toy GANs on the disk (paper A, Fig. 2 and Table 3): python -m experiments.toy_gans [--smoke]

Trains each estimator with several seeds, and runs that change one choice, side by side on the cores of a CPU;
evaluates late checkpoints and writes the table beside the published numbers, and the figures. The same command
resumes; more --seeds or a larger --until go on from what is there.
"""

import argparse
import time
from typing import NamedTuple

from experiments import hand_made, toy_figures
from experiments.command import add_training_arguments, run_command, training_fields
from experiments.results import format_table, write_results
from experiments.robustness import posterior_sampler_bound
from experiments.side_by_side import default_jobs, run_all
from experiments.toy_evaluation import DRAWS, MEASUREMENTS, NEIGHBOURS, POINTS, SETS
from experiments.toy_runs import ESTIMATORS, Run, evaluated, summarise, train_and_evaluate
from prt_jax.errors import UserError

# precision, recall (Fig. 2), sqrt(R) in 1e-3 (Table 3; its stochastic rows as they are printed).
PUBLISHED = {
  "Robust": (0.99, 0.01, None),
  "Erratic": (0.98, 0.98, None),
  "RobustGAN": (1.00, 0.017, 0.77),
  "ErraticGAN": (1.00, 0.224, 3.62),
  "RobustStoGAN": (0.95, 0.99, 0.51),
  "StoGAN": (0.98, 0.98, 0.13),
}
SWEEP = (20.0, 100.0, 500.0, 2_500.0)  # weights of the robust term beside the default's and 0
# {name: (estimator, changed config fields)}: readings of the paper that are not the default.
READINGS = {
  "the printed weight 0.1, every step": (
    "RobustGAN", (("optim.robust_weight", 0.1), ("optim.robust_every_steps", 1))),
  "a third of the weight, every step": (
    "RobustGAN", (("optim.robust_weight", 1_000 / 3), ("optim.robust_every_steps", 1))),
  "batch 64, deterministic": ("ErraticGAN", (("train.batch_size", 64),)),
  "batch 64, stochastic": ("StoGAN", (("train.batch_size", 64),)),
  "Z uniform on [0, 1] (App. E.1)": ("StoGAN", (("model.noise", "uniform"),)),
  "R1 with a factor 1/2": ("ErraticGAN", (("optim.r1_weight", 5.0),)),
  "kernels he_normal": ("ErraticGAN", (("model.init", "he_normal"),)),
}  # fmt: skip


class Row(NamedTuple):
  """One line of the results: the runs that differ in their seed alone.

  Attributes:
    part: "estimators", "weight_sweep" or "readings".
    name: its key there.
    estimator: of toy_runs.ESTIMATORS.
    changes: against its config.
    seeds: how many runs.
  """

  part: str
  name: str
  estimator: str
  changes: tuple[tuple[str, object], ...]
  seeds: int

  def runs(self) -> list[Run]:
    """One for each seed."""
    return [Run(self.estimator, seed, self.changes) for seed in range(self.seeds)]


def plan(args) -> list[Row]:
  """All that the results consist of."""
  rows = [Row("estimators", name, name, (), args.seeds) for name in ESTIMATORS]
  for weight in SWEEP:
    rows.append(Row("weight_sweep", str(weight), "RobustGAN", (("optim.robust_weight", weight),), args.sweep_seeds))
  for name, (estimator, changes) in READINGS.items():
    rows.append(Row("readings", name, estimator, changes, args.reading_seeds))
  return rows


def fields_of(estimator: str, args, fields: dict) -> dict:
  """The config fields of an estimator's runs: those of all, and the attack's draws of Z where it has them."""
  return ({"attack.num_seeds": args.attack_seeds} if estimator == "RobustStoGAN" else {}) | fields


def train(rows: list[Row], args, fields: dict, evaluation: dict) -> None:
  """Trains and evaluates what is missing, all first seeds before all second ones: a run cut short has some of each."""
  runs = sorted((run for row in rows for run in row.runs()), key=lambda run: run.seed)
  tasks = [(run, args.workdir, args.until, fields_of(run.estimator, args, fields), evaluation) for run in runs]
  run_all(train_and_evaluate, tasks, args.jobs)


def collect(row: Row, args, evaluation: dict) -> dict | None:
  """The summary of a row's finished runs; None without any."""
  finished = {}
  for run in row.runs():
    scores = evaluated(run, args.workdir, args.until, evaluation)
    finished |= {run.seed: scores} if scores else {}
  if not finished:
    return None
  return summarise(finished.values()) | {"seeds": list(finished), "steps": list(finished[min(finished)])}


def comparison(estimators: dict) -> list[list]:
  """Rows of the table: estimator, score, published, measured, std over seeds, std over a run's checkpoints."""
  rows = []
  for name, published in PUBLISHED.items():
    scores = estimators.get(name, {})
    for score, value in zip(("precision", "recall", "sqrt_R_1e-3"), published, strict=True):
      if score in scores:
        spread = scores[f"{score}_spread"]
        rows.append([name, score, value or "-", scores[score], spread["std"], spread.get("std_in_run", "-")])
  return rows


def verdict(estimators: dict) -> dict:
  """Whether the numbers come near the published ones, each with the numbers it is decided by."""
  near = {
    f"{name} {score}": abs(estimators[name][score] - value) <= 0.05
    for name, published in PUBLISHED.items() if name in estimators
    for score, value in zip(("precision", "recall"), published[:2], strict=True)
  }  # fmt: skip
  bound = 1e3 * posterior_sampler_bound(1e-3)
  judged = {"within_0.05": near, "within_0.05_count": sum(near.values()), "posterior_sampler_sqrt_R_1e-3": bound}
  roots = {name: estimators[name]["sqrt_R_1e-3"] for name in ESTIMATORS if name in estimators}
  if {"ErraticGAN", "RobustGAN"} <= roots.keys():
    judged["erratic_over_robust"] = roots["ErraticGAN"] / roots["RobustGAN"]
  if {"StoGAN", "RobustStoGAN"} <= roots.keys():
    judged["robust_training_lowers_stochastic_sqrt_R"] = roots["RobustStoGAN"] < roots["StoGAN"]
  return judged


def main(argv: list[str] | None = None) -> None:
  """Trains what is missing, prints the table beside the published numbers, writes JSON and the figures."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  add_training_arguments(parser, "toy_gans", seeds=5)
  parser.add_argument("--attack_seeds", type=int, default=2, help="draws of Z in RobustStoGAN's training")
  parser.add_argument("--sweep_seeds", type=int, default=1, help="runs at each other weight of the robust term")
  parser.add_argument("--reading_seeds", type=int, default=1, help="runs of each other reading of the paper")
  parser.add_argument("--jobs", type=int, default=default_jobs(), help="trainings at a time, a core each")
  args = parser.parse_args(argv)
  fields, evaluation = training_fields(args)
  started = time.monotonic()

  rows = plan(args)
  if not args.collect:
    train(rows, args, fields, evaluation)
  found = {"estimators": {}, "weight_sweep": {}, "readings": {}}
  for row in rows:
    scores = collect(row, args, evaluation)
    found[row.part] |= {row.name: scores} if scores else {}
  if not found["estimators"]:
    raise UserError(f"{args.workdir} holds no run of {args.until} steps: train it, without --collect")
  estimators = {name: hand_made.estimate(alpha, args.seeds) for name, alpha in hand_made.ALPHAS.items()}
  estimators |= found["estimators"]

  header = ["estimator", "score", "published", "measured", "std, seeds", "std in a run"]
  print(format_table(header, comparison(estimators)))
  judged = verdict(estimators)
  print(format_table(["verdict", "value"], [[name, value] for name, value in judged.items() if name != "within_0.05"]))
  protocol = {
    "until": args.until, "smoke": args.smoke, "jobs": args.jobs,
    "attack_seeds_in_training": {"RobustStoGAN": args.attack_seeds},
    "k": NEIGHBOURS, "points": POINTS, "sets_of_points": SETS, "draws_in_sqrt_R": DRAWS,
    "measurements_in_sqrt_R": {"deterministic": MEASUREMENTS[False], "stochastic": MEASUREMENTS[True]},
    "config": Run("RobustStoGAN", 0).config({"attack.num_seeds": args.attack_seeds, **fields}).to_dict(),
  }  # fmt: skip
  results = {
    **found,
    "estimators": estimators,
    "published": PUBLISHED,
    "verdict": judged,
    "seeds": {name: scores["seeds"] for name, scores in estimators.items() if "seeds" in scores},
    "protocol": protocol,
  }
  write_results(args.out, "toy_gans", results, time.monotonic() - started)
  toy_figures.draw_estimators(estimators, args)
  toy_figures.draw_sweep(estimators, results["weight_sweep"], PUBLISHED, args.out)


if __name__ == "__main__":
  run_command(main)
