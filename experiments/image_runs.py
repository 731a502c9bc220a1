"""The runs behind the papers' comparisons on images: which config each has, where it lives, what its reports say."""

import argparse
import importlib
import json
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import jax
from ml_collections import ConfigDict

from experiments.fields import add_set_argument, parse_fields
from experiments.results import FOLDER, mean_and_spread
from experiments.side_by_side import default_jobs, run_all
from experiments.training import train
from prt_jax import devices, evaluate
from prt_jax.config import SCALES, VARIANTS
from prt_jax.errors import UserError
from prt_jax.reporting import evaluation_report
from prt_jax.restorers.from_run import Run, load_run

SCORES = (
  "frechet", "precision", "recall", "per_pixel_std", "robustness_db", "strong_robustness_db", "ai_psnr_db",
  "lipschitz_median", "consistency_db", "psnr_db",
)  # fmt: skip
DISTANCES = ("frechet", "precision", "recall")  # those that each feature space has of its own
# A net and a training of seconds, for --smoke and the tests; its numbers mean nothing.
SMOKE_FIELDS = {
  "data.source": "sample", "data.image_size": 32, "data.resize": 0, "model.width": 2, "model.critic_width": 2,
  "attack.num_steps": 1, "train.num_steps": 3, "train.batch_size": 8, "train.log_every_steps": 3,
  "train.checkpoint_every_steps": 3, "train.image_every_steps": 3, "eval.num_examples": 16, "eval.batch_size": 8,
  "eval.num_std_seeds": 2, "eval.strong_num_examples": 0, "eval.curve_num_examples": 0,
}  # fmt: skip


class ImageRun(NamedTuple):
  """One training.

  Attributes:
    config: a file of configs/, without its folder and ending.
    variant: one of prt_jax.config.VARIANTS.
    scale: "paper", or a key of prt_jax.config.SCALES.
    seed: of the run.
    fields: {config field: value}, changed against that config.
  """

  config: str
  variant: str
  scale: str
  seed: int
  fields: dict[str, object]

  @property
  def name(self) -> str:
    """The run's folder in a workdir."""
    return f"{self.config}-{self.variant}-{self.scale}-seed{self.seed}"

  def make_config(self) -> ConfigDict:
    """The run's config, locked; UserError where configs/ has no such file."""
    try:
      module = importlib.import_module(f"configs.{self.config}")
    except ModuleNotFoundError as error:
      raise UserError(f"configs/ has no {self.config}.py: --config names a file of it, inpaint for example") from error
    config = module.get_config(self.variant if self.scale == "paper" else f"{self.variant},{self.scale}")
    config.update_from_flattened_dict({"seed": self.seed, **self.fields})
    return config


def add_arguments(parser: argparse.ArgumentParser, name: str) -> None:
  """The arguments that both comparisons take."""
  parser.add_argument("--scale", default="mini", choices=["paper", *SCALES], help="of prt_jax/config.py")
  parser.add_argument("--path", help="a folder of images (data.source=folder); default: the config's own source")
  parser.add_argument("--feature_weights", default="", help="SqueezeNet 1.1 .npz: a second evaluation, in its features")
  parser.add_argument("--seeds", type=int, default=2, help="runs of each variant")
  parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS, help="those to train")
  add_set_argument(parser)
  parser.add_argument("--workdir", type=pathlib.Path, default=pathlib.Path("runs") / name, help="of all runs; resumed")
  parser.add_argument("--out", type=pathlib.Path, default=FOLDER, help="where the JSON and the figures go")
  parser.add_argument("--collect", action="store_true", help="train nothing: report the runs that are complete")
  parser.add_argument("--smoke", action="store_true", help="tiny nets for seconds, in a workdir of its own")
  parser.add_argument("--jobs", type=int, default=default_jobs(), help="runs at a time, on a share of the cores each")


def config_fields(args: argparse.Namespace) -> dict[str, object]:
  """The changed fields that the arguments ask for; under --smoke, changes the arguments to seconds of work."""
  if args.smoke:
    args.workdir = args.workdir.with_name(args.workdir.name + "_smoke")
    args.out = args.workdir / "results" if args.out == FOLDER else args.out
    args.scale, args.seeds, args.feature_weights, args.jobs = "mini", 1, "", 1
  fields = {"data.source": "folder", "data.path": args.path} if args.path else {}
  fields |= SMOKE_FIELDS if args.smoke else {}
  return fields | parse_fields(args.set)


def train_all(runs: Sequence[ImageRun], workdir: pathlib.Path, feature_weights: str, jobs: int) -> None:
  """Trains and evaluates the runs that are not yet, in their order, `jobs` at a time."""
  run_all(train_and_evaluate, [(run, workdir, feature_weights) for run in runs], jobs)


def train_and_evaluate(run: ImageRun, workdir: pathlib.Path, feature_weights: str) -> None:
  """Trains a run, from where it is, and evaluates it."""
  config = run.make_config()
  set_up(config)
  train(config, workdir / run.name)
  evaluated(run, workdir, feature_weights)


def evaluated(run: ImageRun, workdir: pathlib.Path, feature_weights: str) -> dict | None:
  """{features: report.json's content} of a complete run, evaluated first where it is not yet; None for another.

  SqueezeNet's features come from a second evaluation, in eval-squeezenet/.
  """
  config, folder = run.make_config(), workdir / run.name
  set_up(config)
  if not complete(config, folder):
    return None
  reports = {config.eval.feature_extractor: evaluate.evaluate(config, folder)}
  if feature_weights:
    squeezenet = config.copy_and_resolve_references()
    squeezenet.eval.update(feature_extractor="squeezenet", feature_weights=feature_weights, strong_num_examples=0)
    reports["squeezenet"] = evaluate.evaluate(squeezenet, folder, into="eval-squeezenet")
  return reports


def set_up(config: ConfigDict) -> None:
  """What a process does before its first run: chooses the CPU's convolutions, keeps compiled programs."""
  devices.use_all_cores(config.model.width)
  jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(config.data.cache_dir).expanduser() / "xla"))


def complete(config: ConfigDict, folder: pathlib.Path) -> bool:
  """Whether the run's last step is on disk."""
  return (folder / "checkpoints" / str(config.train.num_steps)).is_dir()


def load(run: ImageRun, workdir: pathlib.Path) -> Run:
  """A complete run after its last step."""
  config, folder = run.make_config(), workdir / run.name
  set_up(config)
  if not complete(config, folder):
    raise UserError(f"{folder} holds no complete run: train it first")
  return load_run(folder, config.train.num_steps, config)


def run_scores(reports: dict[str, dict], features: str) -> dict:
  """One run's numbers: those of its first evaluation, and the distances in each feature space.

  Args:
    reports: {features: report.json's content}.
    features: whose frechet, precision and recall stand beside the other scores.

  Returns:
    {score: value, "features": {name: {"frechet", "precision", "recall"}}}.
  """
  values = {
    name: {score: result["value"] for score, result in report["results"].items() if score in SCORES}
    for name, report in reports.items()
  }
  distances = {name: {score: own[score] for score in DISTANCES if score in own} for name, own in values.items()}
  return next(iter(values.values())) | distances[features] | {"features": distances}


def summarise(runs: Sequence[dict]) -> dict:
  """Means over runs, one a seed, of run_scores.

  Returns:
    {score: mean, f"{score}_spread": {"std", "per_run", ...}, "features": {name: {score: mean}}, "runs": the runs}.
  """
  summary = {}
  for score in SCORES:
    if values := [run[score] for run in runs if score in run]:
      spread = mean_and_spread(values)
      summary |= {score: spread["mean"], f"{score}_spread": spread | {"per_run": values}}
  spaces = runs[0]["features"]
  features = {
    name: {score: mean_and_spread([run["features"][name][score] for run in runs])["mean"] for score in spaces[name]}
    for name in spaces
  }
  return summary | {"features": features, "runs": list(runs)}


def training_curves(folder: pathlib.Path) -> dict[str, list[float]]:
  """{scalar: values, "step": steps} of a run's metrics.jsonl, training scalars alone."""
  lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
  lines = [line for line in lines if "critic_loss" in line]
  return {name: [line.get(name) for line in lines] for name in lines[0]} if lines else {}


def feature_label(reports: dict[str, dict], features: str) -> str:
  """The Frechet distance under its own name: "FID" for Inception's features alone."""
  result = reports[features]["results"].get("frechet")  # none without Inception's weights: see evaluate
  return evaluation_report.label("frechet", result) if result else "Frechet distance"
