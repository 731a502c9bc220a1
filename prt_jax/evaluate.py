"""Evaluates a checkpoint in one finite ordered pass over validation inputs, and writes its report.

Rows are taken in an order that depends on the data set's size alone; noise and attack starts
depend on the row alone. So values depend on neither batch size nor devices, and what was measured
once (evaluation/store.py) is not measured again.
"""

import contextlib
import json
import pathlib
import time

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from prt_jax import devices
from prt_jax.config_check import checked
from prt_jax.data import Dataset, prepare
from prt_jax.data.evaluation_order import evaluation_rows, padded_rows
from prt_jax.data.partial_folder import writing_lock
from prt_jax.degradations.registry import fields_of
from prt_jax.errors import UserError
from prt_jax.evaluation import distributions, measured_parts, results
from prt_jax.evaluation.extraction import make_features
from prt_jax.evaluation.measured_parts import Part, curve_runs, timed, training_runs
from prt_jax.evaluation.measures import Settings
from prt_jax.evaluation.runner import DEVICES, Batch, Runner
from prt_jax.evaluation.store import Store, digest_of
from prt_jax.features.extractors import Extractor, make_extractor
from prt_jax.features.squeezenet import load_squeezenet
from prt_jax.importing import make_callable
from prt_jax.io.disk_errors import one_line_errors
from prt_jax.io.locks import one_writer
from prt_jax.precision import MEASURING
from prt_jax.reporting import evaluation_report, gallery
from prt_jax.restorers.from_run import load_run
from prt_jax.training.data_identity import check_data
from prt_jax.training.gan import Game, make_game
from prt_jax.training.kept import steps_left
from prt_jax.training.trained_estimator import Weights, run_restorer, training_attack
from prt_jax.training.writers import write_evaluation


def evaluate(config: ConfigDict, workdir: pathlib.Path | str, into: str = "eval") -> dict:
  """Measures the workdir's checkpoint; writes eval/STEP/report.json, report.html and pictures, a line in metrics.jsonl.

  Args:
    config: the run's.
    workdir: where the run lives.
    into: the folder in workdir, for a second evaluation of a step beside the first; both share what they measure.

  Returns:
    The report (see reporting/evaluation_report.py).

  Raises:
    UserError: no checkpoint, weights that do not fit, fewer validation images than asked for, ...

  Example (`config` and `workdir` are what prt_jax.train was given):
    >>> report = prt_jax.evaluate(config, workdir)
    >>> robustness = report["results"]["robustness_db"]
    >>> robustness["interval"][0] <= robustness["value"] <= robustness["interval"][1]
    True
    >>> (pathlib.Path(workdir) / "eval" / "8" / "report.html").exists()
    True
  """
  started, workdir = time.monotonic(), pathlib.Path(workdir).expanduser()
  config = evaluation_config(config)
  game = make_game(config, dtype=MEASURING["dtype"])
  check_images(game)
  check_fields(config)
  if not (workdir / "config.json").exists():
    raise UserError(f"no run in {workdir}: train it first (--mode=train), or name its --workdir")
  run = load_run(workdir, config.eval.step, config)
  step, weights = run.step, run.weights
  dataset = prepare(config.data, config.seed)
  check_data(workdir, dataset)
  check_count(config, dataset)
  extractor, lpips_params, missing = load_networks(config)
  logging.info("evaluating step %d of %s on %d inputs", step, workdir, config.eval.num_examples)

  folder = workdir / into / f"{step}"
  protocol = make_protocol(config, dataset, weights, extractor, lpips_params)
  if done := evaluation_report.read(folder, protocol):
    write_line(workdir, folder, step, done["results"])  # again, where the process was killed before it
    logging.info("%s", evaluation_report.text(done))
    logging.info("evaluated already: %s (delete %s to do it again)", folder / "report.html", folder)
    return done
  seconds = {}
  settings = Settings(game.degradation.psnr_size, 0, game.degradation.noise_std**2 or None, lpips_params)
  restorer = run_restorer(game, weights, f"{workdir.name} (step {step})")
  runner = Runner(restorer, config.attack.num_seeds, settings, where=DEVICES)
  rows = evaluation_rows(dataset.val, config.eval.num_examples)

  def load(first: int) -> Batch:
    return begin(runner, dataset, padded_rows(rows, first, config.eval.batch_size))

  also_there = one_writer(folder) if into != "eval" else contextlib.nullcontext()
  with one_writer(workdir / "eval" / f"{step}"), also_there, one_line_errors(folder):
    store = Store(workdir / "eval" / f"{step}" / "columns")
    parts = make_parts(runner, config, dataset, digest_of(weights), extractor)
    columns = measured_parts.fill(store, parts, load, config.eval.batch_size, seconds)
    found = results.of_columns(columns)
    if extractor:
      reference = reference_features(runner, config, dataset, extractor, seconds)
      with timed(seconds, "distances"):
        sets = distributions.Sets(**columns.pop("features"), reference=reference)
        found |= distributions.compare(sets, config.eval.num_neighbors, extractor)
    with timed(seconds, "pictures"):
      shown = gallery.make(
        runner, config, lambda rows: begin(runner, dataset, rows), rows, columns["search"]["robustness_db"]
      )
    seconds["total"] = time.monotonic() - started
    examples = results.examples(columns) | {"row": rows}
    curves = results.curves(columns, config.eval.curve_alphas)
    measured = evaluation_report.Measured(found, curves, examples, missing, seconds)
    content = evaluation_report.make(run, dataset, protocol, measured)
    evaluation_report.write(folder, content, shown, examples)
    write_line(workdir, folder, step, found)
  logging.info("%s", evaluation_report.text(content))
  logging.info("report: %s", folder / "report.html")
  return content


def begin(runner: Runner, dataset: Dataset, rows: np.ndarray) -> Batch:
  """The batch of some rows of the validation set."""
  return runner.begin(np.asarray(dataset.val[rows], np.float32) / 255, None, rows)


def make_parts(
  runner: Runner, config: ConfigDict, dataset: Dataset, weights: str, extractor: Extractor | None
) -> list[Part]:
  """What an evaluation measures of every input, and of the first ones."""
  evaluation, count = config.eval, config.eval.num_examples
  key = measured_parts.common_key(runner, {"fingerprint": dataset.fingerprint, "of": len(dataset.val)}, weights)
  runs = training_runs(training_attack(config), count)
  search = runs[0]
  if evaluation.curve_num_examples:
    runs += curve_runs(evaluation.curve_alphas, evaluation.curve_num_steps, evaluation.curve_num_examples)
  parts = [measured_parts.plain_part(runner, key, count, evaluation.num_std_seeds)]
  parts += [measured_parts.attack_part(runner, key, run, search=search) for run in runs]
  if evaluation.num_jacobian_steps and evaluation.curve_num_examples:
    size = evaluation.curve_num_examples, evaluation.num_jacobian_steps
    parts.append(measured_parts.jacobian_part(runner, key, *size))
  if runner.settings.lpips is not None:
    parts.append(measured_parts.lpips_part(runner, key, count))
  if extractor:
    parts.append(measured_parts.features_part(runner, key, count, extractor))
  return parts


def write_line(workdir: pathlib.Path, folder: pathlib.Path, step: int, found: dict) -> None:
  """The evaluation's line in metrics.jsonl, where it is not there yet."""
  scalars = {f"{folder.parent.name}/{name}": result["value"] for name, result in found.items()}
  line, path = {"step": step, **scalars}, workdir / "metrics.jsonl"
  with contextlib.suppress(OSError, ValueError):
    if line in map(json.loads, path.read_text().splitlines()):
      return
  write_evaluation(workdir, step, scalars)


def evaluation_config(config: ConfigDict) -> ConfigDict:
  """The config, checked (see config_check); the longer search takes no more inputs than there are."""
  config = checked(config)
  for name in ("strong_num_examples", "curve_num_examples"):
    if config.eval[name] > config.eval.num_examples:
      logging.info(f"eval.{name}=%d is taken as eval.num_examples=%d", config.eval[name], config.eval.num_examples)
      config = config.copy_and_resolve_references()
      config.eval[name] = config.eval.num_examples
  return config


def check_images(game: Game) -> None:
  """UserError for a game of points."""
  if not game.restores_images:
    raise UserError(
      "evaluation measures images, and this run restores points: train it alone (--mode=train); what the papers say of "
      "points, python -m experiments.toy_gans measures"
    )


def check_ahead(config: ConfigDict) -> None:
  """UserError for what would stop an evaluation after a training of the same config: fields, weights, data."""
  config = evaluation_config(config)
  check_images(make_game(config))
  check_fields(config)
  kept = steps_left(config.train)
  if config.eval.step == -1 and not (config.eval.every_steps and config.eval.best_by):
    raise UserError("eval.step=-1 is the best checkpoint: set eval.every_steps and eval.best_by, or 0 for the newest")
  if config.eval.step > 0 and config.eval.step not in kept:
    raise UserError(
      f"eval.step={config.eval.step}: the training will leave steps {', '.join(map(str, kept))}; 0 is the newest"
    )
  load_networks(config)
  check_count(config, prepare(config.data))


def check_count(config: ConfigDict, dataset: Dataset) -> None:
  """UserError where the data set has fewer validation images than are to be evaluated."""
  if len(dataset.val) < config.eval.num_examples:
    raise UserError(
      f"eval.num_examples={config.eval.num_examples}, but {dataset.folder} has {len(dataset.val)} validation images: "
      f"set --config.eval.num_examples={len(dataset.val)} or less"
    )


def check_fields(config: ConfigDict) -> None:
  """UserError for evaluation fields that cannot work, before anything is compiled."""
  evaluation = config.eval
  devices.check_single_host("evaluation")
  devices.check_batch_size("eval.batch_size", evaluation.batch_size)
  if evaluation.num_neighbors >= evaluation.num_examples:
    raise UserError(
      f"eval.num_neighbors={evaluation.num_neighbors} needs more than that many examples, "
      f"eval.num_examples={evaluation.num_examples}: raise it, or lower eval.num_neighbors"
    )
  if config.model.stochastic and evaluation.num_std_seeds < 2:
    raise UserError(f"eval.num_std_seeds={evaluation.num_std_seeds} draws have no spread: use 2 or more")


def load_networks(config: ConfigDict) -> tuple[Extractor | None, dict | None, list[str]]:
  """The feature extractor and the LPIPS-style distance's weights, None where they cannot be had, and why.

  A file that is named and does not fit is an error; one that was never given leaves numbers out.
  """
  evaluation, missing, extractor = config.eval, [], None
  try:
    extractor = make_extractor(evaluation, pathlib.Path(config.data.cache_dir).expanduser())
  except UserError as error:
    if evaluation.feature_weights or evaluation.feature_extractor not in ("inception", "inception_piq", "squeezenet"):
      raise
    missing.append(f"Frechet distance, precision and recall are left out: {error}")
  path = evaluation.lpips_weights
  if not path and evaluation.feature_extractor == "squeezenet":
    path = evaluation.feature_weights
  if not path:
    missing.append("the LPIPS-style distance is left out: eval.lpips_weights names no SqueezeNet 1.1 .npz")
  for line in missing:
    logging.warning("%s", line)
  return extractor, load_squeezenet(path) if path else None, missing


def make_protocol(
  config: ConfigDict, dataset: Dataset, weights: Weights, extractor: Extractor | None, lpips_params: dict | None
) -> dict:
  """All that the results depend on, as JSON has it; a report of an equal protocol is not made again."""
  protocol = {
    "data": dataset.fingerprint,
    "weights": digest_of((weights, extractor and extractor.params, lpips_params)),
    "measuring_weights": digest_of((extractor and extractor.params, lpips_params)),
    **{group: evaluation_report.protocol_fields(group, config[group]) for group in ("eval", "attack")},
    "degradation": fields_of(config.degradation),
    **MEASURING,
    "version": measured_parts.VERSION,
  }
  return json.loads(json.dumps(protocol))


def reference_features(
  runner: Runner, config: ConfigDict, dataset: Dataset, extractor: Extractor, seconds: dict
) -> np.ndarray:
  """Features [m, D] of as many training images, kept in data.cache_dir for every later evaluation."""
  rows = evaluation_rows(dataset.train, min(config.eval.num_examples, len(dataset.train)))
  folder = pathlib.Path(config.data.cache_dir).expanduser() / "reference"
  folder.mkdir(parents=True, exist_ok=True)
  key = {
    "data": dataset.fingerprint, "of": len(dataset.train), "extractor": extractor.name,
    "weights": digest_of(extractor.params), **({"version": extractor.version} if extractor.version else {}),
  }  # fmt: skip
  with writing_lock(folder / f"features-{dataset.fingerprint}"):  # evaluations side by side share it
    columns = Store(folder).columns("features", key)
    features, size = make_features(extractor, runner), config.eval.batch_size
    while columns.done < len(rows):
      with timed(seconds, "reference"):
        first = columns.done
        images = np.asarray(dataset.train[padded_rows(rows, first, size)], np.float32) / 255
        columns.append({"features": features(runner.split(images))[: len(rows) - first]})
  return columns.arrays(len(rows))["features"]


make_callable(__name__, evaluate)
