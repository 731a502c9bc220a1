"""Paper B's tradeoff on images: python -m experiments.image_tradeoff [--demo] [--set data.source=folder ...]

Super-resolution GANs over a range of robust_weight, noiseless and noisy: the Lipschitz lower bound K of each against
its joint index, the root of the Frechet distance of joint features. Deterministic ones, and stochastic ones at fewer
weights beside them. Noisy measurements are met statistically: exact consistency would put their noise into every
restoration.
"""

import argparse
import importlib
import itertools
import pathlib
import time
from typing import NamedTuple

import jax
import numpy as np
from matplotlib.ticker import ScalarFormatter
from ml_collections import ConfigDict

from experiments.command import run_command
from experiments.fields import add_set_argument, parse_fields
from experiments.figures import BLUE, VERMILLION, new_figure, place_labels, save_figure
from experiments.image_runs import set_up
from experiments.results import FOLDER, format_table, write_results
from experiments.side_by_side import default_jobs, run_all
from experiments.training import train
from prt_jax import evaluate
from prt_jax.data import prepare
from prt_jax.data.evaluation_order import evaluation_rows
from prt_jax.errors import UserError
from prt_jax.evaluation.runner import Runner
from prt_jax.features.extractor import Extractor
from prt_jax.metrics.joint import joint_frechet_distance
from prt_jax.restorers import Restorer
from prt_jax.restorers.from_run import load_run

WEIGHTS = (0.0, 5.0, 50.0, 500.0)  # lambda_R; paper A's robust restorers have 500
STOCHASTIC_WEIGHTS = (0.0, 500.0)  # of the stochastic ones: paper A's erratic and robust
NOISE_STDS = (0.0, 0.05)  # of the measurement, pixels in [0, 1]
LOOKS = {"deterministic": (BLUE, "o"), "stochastic": (VERMILLION, "s")}
COLUMNS = (
  "noise_std", "randomness", "robust_weight", "seed", "K_median", "K_max", "sqrt_joint_frechet", "consistency_db",
  "robustness_db",
)  # fmt: skip
# A net and a training of seconds, for --smoke and the tests; its numbers mean nothing.
SMOKE = {
  "model.width": 2, "model.critic_width": 2, "attack.num_steps": 1, "train.num_steps": 4, "train.batch_size": 4,
  "train.log_every_steps": 4, "train.checkpoint_every_steps": 4, "train.image_every_steps": 4,
  "eval.num_examples": 8, "eval.batch_size": 8, "eval.strong_num_examples": 4, "eval.strong_num_steps": 2,
  "eval.strong_num_restarts": 1, "eval.num_neighbors": 3, "eval.curve_num_examples": 0,
}  # fmt: skip


class SweepRun(NamedTuple):
  """One training of the sweep.

  Attributes:
    randomness: "deterministic" or "stochastic".
    robust_weight: lambda_R.
    noise_std: of the measurement, pixels in [0, 1].
    seed: of the run.
  """

  randomness: str
  robust_weight: float
  noise_std: float
  seed: int

  @property
  def name(self) -> str:
    """The run's folder in a workdir."""
    return f"{self.randomness}-weight{self.robust_weight:g}-noise{self.noise_std:g}-seed{self.seed}"

  def make_config(self, task: str, demo: bool, changes: dict) -> ConfigDict:
    """A file of configs/ with the run's fields, then the user's changes; UserError where configs/ has no such file."""
    try:
      module = importlib.import_module(f"configs.{task}")
    except ModuleNotFoundError:
      raise UserError(f"--task={task}: configs/ has no {task}.py; sr4, sr8 and sr16 are there") from None
    config = module.get_config(f"{self.randomness}-robust" + (",demo" if demo else ""))
    config.seed, config.optim.robust_weight = self.seed, self.robust_weight
    config.degradation.noise_std = self.noise_std
    config.degradation.consistency = "statistical" if self.noise_std else "exact"
    config.update_from_flattened_dict(changes)
    return config


def sweep(args: argparse.Namespace) -> list[SweepRun]:
  """The runs that the arguments ask for, a whole seed before the next."""
  kinds = [("deterministic", args.weights), ("stochastic", args.stochastic_weights)]
  return [
    SweepRun(randomness, weight, noise_std, seed)
    for seed in range(args.seeds) for noise_std in args.noise_stds
    for randomness, weights in kinds for weight in weights
  ]  # fmt: skip


def joint_index(restorer: Restorer, extractor: Extractor, images: np.ndarray, batch_size: int) -> float:
  """sqrt(JFID): of (features of x, of y upsampled) against (features of f(y), the same), x being uint8 [N,H,W,3].

  Of a stochastic restorer f(y, z), one draw of z an image.
  """
  runner, parts = Runner(restorer, num_seeds=1), []
  for first in range(0, len(images), batch_size):
    rows = np.arange(first, min(first + batch_size, len(images)))
    batch = runner.begin(images[rows].astype(np.float32) / 255, None, rows)
    upsampled = restorer.degradation.network_input(batch.y[0])
    parts.append([np.asarray(extractor(part)) for part in (batch.x[0], batch.restored[0, 0], upsampled)])
  x, restored, upsampled = (np.concatenate(features) for features in zip(*parts, strict=True))
  return float(max(joint_frechet_distance(x, upsampled, restored), 0) ** 0.5)


def train_and_evaluate(config: ConfigDict, workdir: pathlib.Path) -> dict:
  """The report of a run, trained and evaluated from where it was."""
  set_up(config)
  train(config, workdir)
  return evaluate.evaluate(config, workdir)


def measure_run(sweep_run: SweepRun, config: ConfigDict, workdir: pathlib.Path) -> dict:
  """What the sweep shows of a run: its report's numbers and its joint index."""
  report = train_and_evaluate(config, workdir)
  run = load_run(workdir, report["step"], config)
  extractor, _, missing = evaluate.load_networks(config)
  if extractor is None:
    raise UserError(f"the joint index needs features: {missing[0]}")
  images = prepare(config.data).val
  rows = evaluation_rows(images, config.eval.num_examples)
  index = joint_index(run.restorer(), extractor, images[rows], config.eval.batch_size)
  results = report["results"]
  lipschitz = "strong_lipschitz" if config.eval.strong_num_examples else "lipschitz"
  return {
    **sweep_run._asdict(),
    "consistency": config.degradation.consistency,
    "step": report["step"],
    "K_median": results[f"{lipschitz}_median"]["value"],
    "K_max": results[f"{lipschitz}_max"]["value"],
    "sqrt_joint_frechet": index,
    "joint_features": extractor.name,
    **{name: results[name]["value"] for name in ("consistency_db", "robustness_db", "psnr_db", "frechet")},
  }


def draw_figure(runs: list[dict], folder: pathlib.Path) -> pathlib.Path:
  """K against the joint index, a panel a noise level: means over seeds, named by lambda_R, and single runs small."""
  noise_stds = list(dict.fromkeys(run["noise_std"] for run in runs))
  figure, panels = new_figure(1, len(noise_stds), 3.6 * len(noise_stds), 3.2, sharey=True, squeeze=False)
  for axes, noise_std in zip(panels[0], noise_stds, strict=True):
    means, covered = {}, []
    for randomness, (color, marker) in LOOKS.items():
      mine = [run for run in runs if (run["noise_std"], run["randomness"]) == (noise_std, randomness)]
      points = {}
      for run in mine:
        points.setdefault(run["robust_weight"], []).append((run["sqrt_joint_frechet"], run["K_median"]))
      if not points:
        continue
      line = np.array([np.mean(of_seeds, axis=0) for of_seeds in points.values()])
      axes.plot(*line.T, f"{marker}-", color=color, label=randomness)
      covered += [point for of_seeds in points.values() for point in of_seeds if len(of_seeds) > 1]
      for (x, y), (next_x, next_y) in itertools.pairwise(line):  # straight where K is logarithmic
        covered += zip(np.linspace(x, next_x, 20)[1:-1], np.geomspace(y, next_y, 20)[1:-1], strict=True)
      single = [point for of_seeds in points.values() for point in of_seeds]
      axes.plot(*np.array(single).T, marker, color=color, markersize=2, alpha=0.6)
      means |= {(randomness, weight): tuple(point) for weight, point in zip(points, line, strict=True)}
    axes.set(title=f"noise {noise_std:g}" if noise_std else "noiseless", yscale="log")
    axes.set(xlabel=f"root of the joint Frechet distance\n({runs[0]['joint_features']})")
    axes.margins(0.15)
    axes.legend()
    for ticks in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
      ticks(ScalarFormatter())
    labels = {key: rf"$\lambda_R$ = {key[1]:g}" for key in means}
    place_labels(figure, axes, means, labels, covered)
  panels[0, 0].set(ylabel="K >= (median over inputs)")
  return save_figure(figure, folder, "image_tradeoff")


def main(argv: list[str] | None = None) -> None:
  """Trains and evaluates what is missing, prints the table, writes JSON and the figure."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--task", default="sr4", help="a file of configs/: sr4 (default), sr8, sr16, imagenet_sr4, ...")
  parser.add_argument("--demo", action="store_true", help="the demo's small net and embedded photographs")
  parser.add_argument("--weights", type=float, nargs="+", default=WEIGHTS, help="of the robustness term, lambda_R")
  parser.add_argument(
    "--stochastic_weights", type=float, nargs="*", default=STOCHASTIC_WEIGHTS, help="the same, of stochastic restorers"
  )
  parser.add_argument("--noise_stds", type=float, nargs="+", default=NOISE_STDS, help="pixels in [0, 1]")
  parser.add_argument("--seeds", type=int, default=2, help="runs of each")
  add_set_argument(parser)
  parser.add_argument("--workdir", type=pathlib.Path, default=pathlib.Path("runs/image_tradeoff"), help="of all runs")
  parser.add_argument("--out", type=pathlib.Path, default=FOLDER, help="where the JSON and the figure go")
  parser.add_argument("--smoke", action="store_true", help="tiny nets for a minute, in a workdir of their own")
  parser.add_argument("--jobs", type=int, default=default_jobs(), help="runs at a time, on a share of the cores each")
  args = parser.parse_args(argv)
  changes = parse_fields(args.set)
  if args.smoke:
    args.demo, args.weights, args.jobs, changes = True, args.weights[-2:], 1, SMOKE | changes
    args.stochastic_weights, args.seeds = args.stochastic_weights[-1:], 1
    args.workdir = args.workdir.with_name(args.workdir.name + "_smoke")
    args.out = args.workdir / "results" if args.out == FOLDER else args.out
    jax.config.update("jax_disable_most_optimizations", True)  # the tiny programs compile far longer than they run
  started = time.monotonic()
  tasks = {run: (run.make_config(args.task, args.demo, changes), args.workdir / run.name) for run in sweep(args)}
  run_all(train_and_evaluate, list(tasks.values()), args.jobs)
  runs = [measure_run(run, *task) for run, task in tasks.items()]
  print(format_table(list(COLUMNS), [[run[name] for name in COLUMNS] for run in runs]))
  protocol = {"task": args.task, "demo": args.demo, "changes": changes, "smoke": args.smoke}
  write_results(args.out, "image_tradeoff", {"runs": runs, "protocol": protocol}, time.monotonic() - started)
  draw_figure(runs, args.out)


if __name__ == "__main__":
  run_command(main)
