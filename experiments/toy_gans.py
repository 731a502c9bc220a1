"""The four toy GANs on the disk (paper A, Fig. 2 and Table 3): python -m experiments.toy_gans [--smoke]

Trains each estimator with several seeds, evaluates late checkpoints, and writes the table and the figures.
The same command resumes; a larger --until or --seeds goes on from what is there.
"""

import argparse
import pathlib

from absl import logging
from ml_collections import ConfigDict

from configs import toy_disk
from experiments.toy_evaluation import evaluate, evaluate_once
from experiments.toy_training import checkpoint_steps, load, train_until

ESTIMATORS = {
  "ErraticGAN": "deterministic-erratic",
  "RobustGAN": "deterministic-robust",
  "StoGAN": "stochastic-erratic",
  "RobustStoGAN": "stochastic-robust",
}


def make_config(estimator: str, seed: int, attack_seeds: int) -> ConfigDict:
  """An estimator's run of configs/toy_disk.py."""
  config = toy_disk.get_config(ESTIMATORS[estimator])
  with config.unlocked():
    config.seed = seed
    if estimator == "RobustStoGAN":
      config.attack.num_seeds = attack_seeds
  return config


def run_folder(workdir: pathlib.Path, estimator: str, seed: int) -> pathlib.Path:
  """Where a run lives."""
  return workdir / f"{estimator}-seed{seed}"


def evaluate_late(config: ConfigDict, folder: pathlib.Path, until: int) -> dict[int, dict[str, float]]:
  """{step: evaluation} of the kept checkpoints in the last third of `until` steps; each is evaluated once."""
  return {
    step: evaluate_once(folder / "evaluation" / f"{step}.json", lambda step=step: evaluate(*load(config, folder, step)))
    for step in checkpoint_steps(folder, until)
    if 3 * step > 2 * until
  }


def main(argv: list[str] | None = None) -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--workdir", type=pathlib.Path, default=pathlib.Path("runs/toy_gans"))
  parser.add_argument("--seeds", type=int, default=5)
  parser.add_argument("--until", type=int, nargs="+", default=[9_900])
  parser.add_argument("--attack_seeds", type=int, default=50)
  parser.add_argument("--estimators", nargs="+", default=list(ESTIMATORS), choices=ESTIMATORS)
  args = parser.parse_args(argv)
  logging.set_verbosity(logging.INFO)
  for until in args.until:
    for seed in range(args.seeds):
      for estimator in args.estimators:
        config, folder = make_config(estimator, seed, args.attack_seeds), run_folder(args.workdir, estimator, seed)
        train_until(config, folder, until)
        for step, scores in evaluate_late(config, folder, until).items():
          print(estimator, seed, step, scores, flush=True)


if __name__ == "__main__":
  main()
