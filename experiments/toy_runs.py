"""The runs of the toy GANs: which config each has, where it lives, and what its late checkpoints score."""

import pathlib
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from configs import toy_disk, toy_ellipses
from experiments.results import mean_and_spread
from experiments.toy_evaluation import evaluate, evaluate_once
from experiments.training import checkpoint_steps, train
from prt_jax.restorers.from_run import load_run

WORLDS = {"disk": toy_disk, "ellipses": toy_ellipses}
ESTIMATORS = {
  "ErraticGAN": "deterministic-erratic",
  "RobustGAN": "deterministic-robust",
  "StoGAN": "stochastic-erratic",
  "RobustStoGAN": "stochastic-robust",
}
SCORES = ("precision", "recall", "sqrt_R_1e-3", "sqrt_R_exact_1e-3")
# A net and a training of seconds, for --smoke and the tests; its numbers mean nothing.
SMOKE_FIELDS = {
  "model.width": 16, "model.critic_width": 16, "train.num_steps": 24, "train.batch_size": 32,
  "train.checkpoint_every_steps": 6, "train.log_every_steps": 6, "train.image_every_steps": 6,
  "train.steps_per_dispatch": 6, "attack.num_steps": 2, "optim.robust_every_steps": 1,
}  # fmt: skip
SMOKE_EVALUATION = {"points": 200, "sets": 1, "measurements": 200}


class Run(NamedTuple):
  """One training.

  Attributes:
    estimator: a key of ESTIMATORS.
    seed: of the run, its data included.
    changes: ((config field, value), ...) against the world's config.
    world: a key of WORLDS.
  """

  estimator: str
  seed: int
  changes: tuple[tuple[str, object], ...] = ()
  world: str = "disk"

  @property
  def name(self) -> str:
    """The run's folder in a workdir."""
    changed = [f"{field.partition('.')[2]}={value}" for field, value in self.changes]
    return "-".join([self.estimator, *changed, f"seed{self.seed}"])

  def config(self, fields: dict | None = None) -> ConfigDict:
    """The run's config, `fields` (as changes, of no weight for its name) included."""
    config = WORLDS[self.world].get_config(ESTIMATORS[self.estimator])
    with config.unlocked():
      config.update_from_flattened_dict({"seed": self.seed, **(fields or {}), **dict(self.changes)})
      if not config.model.stochastic:
        config.attack.num_seeds = 1
    return config


def train_and_evaluate(
  run: Run, workdir: pathlib.Path, until: int, fields: dict, evaluation: dict | None = None
) -> dict[int, dict[str, float]]:
  """Trains the run up to `until` steps, from where it is, and evaluates it: see `evaluated`."""
  train(run.config(fields), workdir / run.name, until)
  return evaluated(run, workdir, until, evaluation)


def evaluated(
  run: Run, workdir: pathlib.Path, until: int, evaluation: dict | None = None
) -> dict[int, dict[str, float]]:
  """{step: scores} of the checkpoints in the last third of `until` steps, each evaluated once.

  A run that has not come so far gives {}.
  """
  folder = workdir / run.name
  stored = {int(path.stem) for path in (folder / "evaluation").glob("*.json")}
  steps = sorted(stored | set(checkpoint_steps(folder)))
  if until not in steps:
    return {}
  scores = {}
  for step in steps:
    if step <= until < 1.5 * step:
      path = folder / "evaluation" / f"{step}.json"
      scores[step] = evaluate_once(path, lambda step=step: evaluate(load_run(folder, step), **(evaluation or {})))
  return scores


def summarise(runs: Iterable[dict[int, dict[str, float]]]) -> dict:
  """The scores of one estimator: a run counts by its mean over checkpoints, the spread is that over runs.

  std_in_run is the mean deviation over the checkpoints of one run: how far an unregularised GAN swings.
  """
  summary = {}
  for name in SCORES:
    per_run = [[scores[name] for scores in run.values()] for run in runs]
    values = [float(np.mean(values)) for values in per_run]
    swings = [mean_and_spread(values)["std"] for values in per_run]
    summary[name] = values and float(np.mean(values))
    summary[f"{name}_spread"] = mean_and_spread(values) | {"per_run": values, "std_in_run": float(np.mean(swings))}
  return summary
