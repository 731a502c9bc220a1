"""Evaluates a checkpoint in one finite ordered pass over validation inputs, and writes its report.

Rows are taken in an order that depends on the data set's size alone; noise and attack starts
depend on the row alone. So values depend on neither batch size nor devices, and a killed pass
goes on where it was.
"""

import hashlib
import pathlib
import shutil
import time

import jax
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from prt_jax import devices, gallery, report, statistics
from prt_jax.config_check import checked
from prt_jax.data import Dataset, prepare
from prt_jax.data.partial_folder import writing_lock
from prt_jax.data.permutation import seeded_permutation
from prt_jax.data_identity import check_data
from prt_jax.degradations.registry import fields_of
from prt_jax.disk_errors import one_line_errors
from prt_jax.errors import UserError
from prt_jax.features.extractors import Extractor, make_extractor
from prt_jax.features.squeezenet import load_squeezenet
from prt_jax.game import Game, make_game
from prt_jax.metrics import precision_recall
from prt_jax.pass_store import PassStore
from prt_jax.precision import MEASURING
from prt_jax.probe import Probe, make_features, make_lpips
from prt_jax.runs import load_run
from prt_jax.workdir_lock import one_writer
from prt_jax.writers import write_evaluation

ORDER_SEED = 20221116  # of the order in which rows are taken
PROGRESS_SECONDS = 20.0
PASS_COLUMNS = (
  "robustness_db", "ai_psnr_db", "lipschitz", "random_robustness_db", "beats_random", "per_pixel_std", "seed_diversity",
  "consistency_db", "consistency_max_error", "psnr_db", "ssim",
)
STRONG_COLUMNS = ("robustness_db", "ai_psnr_db", "lipschitz")


def evaluate(config: ConfigDict, workdir: pathlib.Path, into: str = "eval") -> dict:
  """Measures the workdir's checkpoint; writes eval/STEP/report.json, report.html and pictures, a line in metrics.jsonl.

  Args:
    config: the run's.
    workdir: where the run lives.
    into: the folder in workdir, for a second evaluation of a step beside the first.

  Returns:
    The report (see report.py).

  Raises:
    UserError: no checkpoint, weights that do not fit, fewer validation images than asked for, ...
  """
  started = time.monotonic()
  config = evaluation_config(config)
  game = make_game(config, axis_name=devices.AXIS, dtype=MEASURING["dtype"])
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
  if done := report.read(folder, protocol):
    logging.info("%s", report.text(done))
    logging.info("evaluated already: %s (delete %s to do it again)", folder / "report.html", folder)
    return done
  seconds = {}
  probe = Probe(game, weights)
  with one_writer(folder), one_line_errors(folder):
    main = run_pass(probe, dataset, folder / "partial", protocol, extractor, lpips_params, seconds)
    strong = run_strong_pass(probe, dataset, folder / "partial-strong", protocol, seconds)
    if extractor:
      reference = reference_features(config, dataset, extractor, seconds)
    results = summarize(main.arrays, strong and strong.arrays)
    if extractor:
      with timed(seconds, "distances"):
        results |= compare_features(main.arrays, reference, extractor, config.eval.num_neighbors)
    with timed(seconds, "pictures"):
      rows = evaluation_rows(dataset.val, config.eval.num_examples)
      shown = gallery.make(probe, dataset.val, rows, main.arrays["values"][:, 0])
    seconds["total"] = time.monotonic() - started
    return write(workdir, folder, step, game, dataset, protocol, results, main, strong, shown, missing, seconds)


def evaluation_config(config: ConfigDict) -> ConfigDict:
  """The config, checked (see config_check); the stronger attack takes no more inputs than there are."""
  config = checked(config)
  if config.eval.strong_num_examples > config.eval.num_examples:
    logging.info(
      "eval.strong_num_examples=%d is taken as eval.num_examples=%d",
      config.eval.strong_num_examples, config.eval.num_examples,
    )  # fmt: skip
    config = config.copy_and_resolve_references()
    config.eval.strong_num_examples = config.eval.num_examples
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
  train = config.train
  kept = sorted({*range(0, train.num_steps, train.checkpoint_every_steps), train.num_steps} - {0})
  kept = kept[-train.keep_checkpoints :]
  if config.eval.step and config.eval.step not in kept:
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
    if evaluation.feature_weights or evaluation.feature_extractor not in ("inception", "squeezenet"):
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


def make_protocol(config, dataset, weights, extractor, lpips_params) -> dict:
  """All that the per-example values depend on; a pass is resumed only under an equal protocol."""
  fields = {name: value for name, value in config.eval.items() if name not in ("batch_size", "step")}
  digest = hashlib.sha256()
  for leaf in jax.tree.leaves((weights, extractor and extractor.params, lpips_params)):
    digest.update(np.ascontiguousarray(leaf))
  return {
    "data": dataset.fingerprint,
    "weights": digest.hexdigest()[:16],
    "eval": fields,
    "attack": {name: value for name, value in config.attack.items() if name != "seeds_at_once"},  # changes no value
    "degradation": fields_of(config.degradation),
    **MEASURING,
  }


def evaluation_rows(images: np.ndarray, count: int) -> np.ndarray:
  """The first so-many rows of a fixed random order of a data set."""
  return seeded_permutation(len(images), ORDER_SEED)[:count]


class timed:
  """Adds the seconds of a with-block to a phase's."""

  def __init__(self, seconds: dict, phase: str):
    self._seconds, self._phase = seconds, phase

  def __enter__(self):
    self._start = time.monotonic()

  def __exit__(self, *_):
    self._seconds[self._phase] = self._seconds.get(self._phase, 0.0) + time.monotonic() - self._start


def padded_rows(rows: np.ndarray, first: int, batch_size: int) -> np.ndarray:
  """Rows [first, first + batch_size), the last one repeated past the end: programs are compiled for one size."""
  return rows[np.minimum(np.arange(first, first + batch_size), len(rows) - 1)]


def run_pass(probe: Probe, dataset: Dataset, folder, protocol, extractor, lpips_params, seconds) -> PassStore:
  """Every value but the strong attack's: 'values' [n, columns], 'features' and 'original_features' [n, D]."""
  evaluation = probe.game.config.eval
  columns = pass_columns(lpips_params is not None)
  widths = {"values": len(columns)}
  if extractor:
    features = make_features(extractor)
    widths |= {"features": extractor.dimension, "original_features": extractor.dimension}
  lpips = make_lpips(lpips_params) if lpips_params is not None else None
  store = PassStore(folder, evaluation.num_examples, widths, protocol)
  rows = evaluation_rows(dataset.val, evaluation.num_examples)
  progress = Progress("inputs", store.done, store.num_examples)
  for first, stop in store.batches(evaluation.batch_size):
    with timed(seconds, "model"):
      mine = devices.local_rows(padded_rows(rows, first, evaluation.batch_size))
      batch = probe.begin(dataset.val[mine], mine)
      values = probe.attacked(batch, probe.attack(batch)) | probe.fidelity(batch)
      at_random = probe.attacked(batch, probe.random_delta(batch))
      values["random_robustness_db"] = at_random["robustness_db"]
      values["beats_random"] = values["change"] > at_random["change"]
      values |= probe.spread(batch, evaluation.num_std_seeds)[0]
      if lpips:
        values["lpips_style"] = lpips(batch)
      values = devices.gather_examples(values)
    rows_of = {"values": np.stack([values[name] for name in columns], -1)}
    if extractor:
      with timed(seconds, "features"):
        pair = features(batch.restored[:, 0]), features(batch.x)
        rows_of["features"], rows_of["original_features"] = devices.gather_examples(pair)
    store.write({name: array[: stop - first] for name, array in rows_of.items()})
    progress.show(store.done)
  return store


def pass_columns(with_lpips: bool) -> tuple[str, ...]:
  """The columns of run_pass's values."""
  return PASS_COLUMNS + (("lpips_style",) if with_lpips else ())


def run_strong_pass(probe: Probe, dataset: Dataset, folder, protocol, seconds) -> PassStore | None:
  """The stronger attack on the first inputs: 'values' [n, STRONG_COLUMNS]; None where eval asks for none."""
  evaluation = probe.game.config.eval
  if not evaluation.strong_num_examples:
    return None
  store = PassStore(folder, evaluation.strong_num_examples, {"values": len(STRONG_COLUMNS)}, protocol)
  rows = evaluation_rows(dataset.val, evaluation.strong_num_examples)
  progress = Progress("inputs under the stronger attack", store.done, store.num_examples)
  for first, stop in store.batches(evaluation.batch_size):
    with timed(seconds, "strong_attack"):
      mine = devices.local_rows(padded_rows(rows, first, evaluation.batch_size))
      batch = probe.begin(dataset.val[mine], mine)
      values = probe.attacked(batch, probe.strong_attack(batch, probe.attack(batch)))
      values = devices.gather_examples(values)
    store.write({"values": np.stack([values[name] for name in STRONG_COLUMNS], -1)[: stop - first]})
    progress.show(store.done)
  return store


def reference_features(config: ConfigDict, dataset: Dataset, extractor: Extractor, seconds) -> np.ndarray:
  """Features [m, D] of as many training images, kept in data.cache_dir for every later evaluation."""
  rows = evaluation_rows(dataset.train, min(config.eval.num_examples, len(dataset.train)))
  digest = hashlib.sha256(dataset.fingerprint.encode())
  for leaf in jax.tree.leaves(extractor.params):
    digest.update(np.ascontiguousarray(leaf))
  name = f"features-{config.eval.feature_extractor}-{len(rows)}-{digest.hexdigest()[:16]}"
  folder = pathlib.Path(config.data.cache_dir).expanduser() / "reference" / name
  folder.parent.mkdir(parents=True, exist_ok=True)
  with writing_lock(folder):  # evaluations side by side share it
    store = PassStore(folder, len(rows), {"features": extractor.dimension}, {"extractor": extractor.name})
    if store.done < len(rows):
      features = make_features(extractor)
      progress = Progress("reference images", store.done, len(rows))
      with timed(seconds, "reference"):
        for first, stop in store.batches(config.eval.batch_size):
          mine = devices.local_rows(padded_rows(rows, first, config.eval.batch_size))
          store.write({"features": devices.gather_examples(features(dataset.train[mine]))[: stop - first]})
          progress.show(store.done)
  return store.arrays["features"]


class Progress:
  """A line now and then: how far a pass is, and how long it will take."""

  def __init__(self, what: str, done: int, total: int):
    self._what, self._first, self._total = what, done, total
    self._start = self._last = time.monotonic()
    if done:
      logging.info("%s: going on after %d of %d", what, done, total)

  def show(self, done: int) -> None:
    """Called after every batch."""
    now = time.monotonic()
    if now - self._last < PROGRESS_SECONDS and done < self._total:
      return
    self._last = now
    speed = (done - self._first) / max(now - self._start, 1e-9)
    logging.info("%s: %d of %d, %.3g a second, %d s to go", self._what, done, self._total, speed,
                 (self._total - done) / speed)


def summarize(arrays: dict, strong: dict | None) -> dict:
  """Per-example columns to results: {name: {"value", "n", ...}}."""
  values = np.asarray(arrays["values"], np.float64)
  columns = dict(zip(pass_columns(values.shape[1] > len(PASS_COLUMNS)), values.T, strict=True))
  averaged = columns.keys() - {"lipschitz", "beats_random"}
  results = {name: statistics.average(columns[name]) for name in averaged}
  results["beats_random"] = statistics.proportion(columns["beats_random"].mean(), len(values))
  # The worst pixel of the worst example is what "every restoration is consistent" is about.
  results["consistency_max_error"] = statistics.quantile(columns["consistency_max_error"], 1)
  results |= lipschitz_results(columns["lipschitz"], "")
  if strong:
    columns = dict(zip(STRONG_COLUMNS, np.asarray(strong["values"], np.float64).T, strict=True))
    for name in ("robustness_db", "ai_psnr_db"):
      results[f"strong_{name}"] = statistics.average(columns[name])
    results |= lipschitz_results(columns["lipschitz"], "strong_")
  return results


def lipschitz_results(values: np.ndarray, prefix: str) -> dict:
  """Median, 95th percentile and maximum of K over examples."""
  shares = {"median": 0.5, "p95": 0.95, "max": 1.0}
  return {f"{prefix}lipschitz_{name}": statistics.quantile(values, share) for name, share in shares.items()}


def compare_features(arrays: dict, reference: np.ndarray, extractor: Extractor, num_neighbors: int) -> dict:
  """Frechet distance, precision and recall of the restorations, and the originals' own Frechet distance as a floor."""
  features = np.asarray(arrays["features"])
  precision, recall = precision_recall(reference, features, k=num_neighbors)
  named = {"label": extractor.distance_name}
  return {
    "frechet": statistics.frechet(features, reference) | statistics.frechet_error(features, reference) | named,
    "frechet_of_originals": statistics.frechet(np.asarray(arrays["original_features"]), reference) | named,
    "precision": statistics.proportion(precision, len(features)),
    "recall": statistics.proportion(recall, len(reference)),
  }


def write(workdir, folder, step, game, dataset, protocol, results, main, strong, shown, missing, seconds) -> dict:
  """report.json, report.html, pictures, examples.npz and the run's metrics.jsonl."""
  columns = pass_columns(main.arrays["values"].shape[1] > len(PASS_COLUMNS))
  examples = {name: np.asarray(main.arrays["values"][:, i]) for i, name in enumerate(columns)}
  if strong:
    examples |= {f"strong_{name}": np.asarray(strong.arrays["values"][:, i]) for i, name in enumerate(STRONG_COLUMNS)}
  examples["row"] = evaluation_rows(dataset.val, len(examples["psnr_db"]))
  content = report.make(game, workdir, step, dataset, protocol, results, examples, missing, seconds)
  np.savez(folder / "examples.npz", **examples)
  report.write(folder, content, shown)
  scalars = {f"{folder.parent.name}/{name}": result["value"] for name, result in results.items()}
  write_evaluation(workdir, step, scalars)
  for partial in ("partial", "partial-strong"):
    shutil.rmtree(folder / partial, ignore_errors=True)
  logging.info("%s", report.text(content))
  logging.info("report: %s", folder / "report.html")
  return content
