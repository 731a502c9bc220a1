"""Paper B's tradeoff on images: python -m experiments.image_tradeoff [--demo] [--set data.source=folder ...]

Deterministic super-resolution GANs over a range of robust_weight, noiseless and noisy: the Lipschitz lower bound K of
each against its joint index, the root of the Frechet distance of joint features, and against its consistency.
"""

import argparse
import importlib
import itertools
import pathlib
import time

import jax
import numpy as np
from ml_collections import ConfigDict

from experiments.command import run_command
from experiments.fields import add_set_argument, parse_fields
from experiments.figures import BLUE, VERMILLION, new_figure, save_figure
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
NOISE_STDS = (0.0, 0.05)  # of the measurement, pixels in [0, 1]
# A net and a training of seconds, for --smoke and the tests; its numbers mean nothing.
SMOKE = {
  "model.width": 2, "model.critic_width": 2, "attack.num_steps": 1, "train.num_steps": 4, "train.batch_size": 4,
  "train.log_every_steps": 4, "train.checkpoint_every_steps": 4, "train.image_every_steps": 4,
  "eval.num_examples": 8, "eval.batch_size": 8, "eval.strong_num_examples": 4, "eval.strong_num_steps": 2,
  "eval.strong_num_restarts": 1, "eval.num_neighbors": 3, "eval.curve_num_examples": 0,
}  # fmt: skip


def make_config(task: str, demo: bool, weight: float, noise_std: float, changes: dict) -> ConfigDict:
  """One run's config: a file of configs/, deterministic, with the sweep's two fields and the user's changes."""
  try:
    module = importlib.import_module(f"configs.{task}")
  except ModuleNotFoundError:
    raise UserError(f"--task={task}: configs/ has no {task}.py; sr4, sr8 and sr16 are there") from None
  config = module.get_config("deterministic-robust" + (",demo" if demo else ""))
  config.update_from_flattened_dict(changes)
  config.optim.robust_weight, config.degradation.noise_std = weight, noise_std
  return config


def joint_index(restorer: Restorer, extractor: Extractor, images: np.ndarray, batch_size: int) -> float:
  """sqrt(JFID): of (features of x, of y upsampled) against (features of f(y), the same), x being uint8 [N,H,W,3]."""
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


def measure_run(config: ConfigDict, workdir: pathlib.Path) -> dict:
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
    "robust_weight": config.optim.robust_weight,
    "noise_std": config.degradation.noise_std,
    "step": report["step"],
    "K_median": results[f"{lipschitz}_median"]["value"],
    "K_max": results[f"{lipschitz}_max"]["value"],
    "sqrt_joint_frechet": index,
    "joint_features": extractor.name,
    **{name: results[name]["value"] for name in ("consistency_db", "robustness_db", "psnr_db", "frechet")},
  }


def draw_figure(runs: list[dict], folder: pathlib.Path) -> pathlib.Path:
  """K against the joint index and against consistency, a line a noise level, each point with its weight."""
  figure, panels = new_figure(1, 2, 7.2, 3.2)
  noise_stds = dict.fromkeys(run["noise_std"] for run in runs)
  for noise_std, color, marker in zip(noise_stds, (BLUE, VERMILLION), "os", strict=False):
    mine = [run for run in runs if run["noise_std"] == noise_std]
    for axes, name in zip(panels, ("sqrt_joint_frechet", "consistency_db"), strict=True):
      points = [run[name] for run in mine], [run["K_median"] for run in mine]
      axes.plot(*points, f"{marker}-", color=color, label=f"noise {noise_std:g}")
      for x, y, run in zip(*points, mine, strict=True):
        axes.annotate(rf"$\lambda$={run['robust_weight']:g}", (x, y), (3, 3), textcoords="offset points", fontsize=6)
  panels[0].set(xlabel=f"root of the joint Frechet distance\n({runs[0]['joint_features']})", ylabel="K >= (median)")
  panels[1].set(xlabel="consistency, dB", ylabel="K >= (median)")
  for axes in panels:
    axes.set_yscale("log")
  panels[0].legend()
  return save_figure(figure, folder, "image_tradeoff")


def main(argv: list[str] | None = None) -> None:
  """Trains and evaluates what is missing, prints the table, writes JSON and the figure."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--task", default="sr4", help="a file of configs/: sr4 (default), sr8, sr16, imagenet_sr4, ...")
  parser.add_argument("--demo", action="store_true", help="the demo's small net and embedded photographs")
  parser.add_argument("--weights", type=float, nargs="+", default=WEIGHTS, help="of the robustness term, lambda_R")
  parser.add_argument("--noise_stds", type=float, nargs="+", default=NOISE_STDS, help="pixels in [0, 1]; at most two")
  add_set_argument(parser)
  parser.add_argument("--workdir", type=pathlib.Path, default=pathlib.Path("runs/image_tradeoff"), help="of all runs")
  parser.add_argument("--out", type=pathlib.Path, default=FOLDER, help="where the JSON and the figure go")
  parser.add_argument("--smoke", action="store_true", help="tiny nets for a minute, in a workdir of their own")
  parser.add_argument("--jobs", type=int, default=default_jobs(), help="runs at a time, on a share of the cores each")
  args = parser.parse_args(argv)
  if len(args.noise_stds) > 2:
    raise UserError(f"--noise_stds takes at most two values, got {len(args.noise_stds)}: the figure tells two apart")
  changes = parse_fields(args.set)
  if args.smoke:
    args.demo, args.weights, args.jobs, changes = True, args.weights[-2:], 1, SMOKE | changes
    args.workdir = args.workdir.with_name(args.workdir.name + "_smoke")
    args.out = args.workdir / "results" if args.out == FOLDER else args.out
    jax.config.update("jax_disable_most_optimizations", True)  # the tiny programs compile far longer than they run
  started = time.monotonic()
  tasks = []
  for noise_std, weight in itertools.product(args.noise_stds, args.weights):
    config = make_config(args.task, args.demo, weight, noise_std, changes)
    tasks.append((config, args.workdir / f"weight{weight:g}-noise{noise_std:g}"))
  run_all(train_and_evaluate, tasks, args.jobs)
  runs = [measure_run(*task) for task in tasks]
  columns = ("noise_std", "robust_weight", "K_median", "K_max", "sqrt_joint_frechet", "consistency_db", "robustness_db")
  print(format_table(list(columns), [[run[name] for name in columns] for run in runs]))
  protocol = {"task": args.task, "demo": args.demo, "changes": changes, "smoke": args.smoke}
  write_results(args.out, "image_tradeoff", {"runs": runs, "protocol": protocol}, time.monotonic() - started)
  draw_figure(runs, args.out)


if __name__ == "__main__":
  run_command(main)
