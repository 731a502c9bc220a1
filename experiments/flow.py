"""Table 1 without a critic: PMRF (posterior mean, then a rectified flow) and a sampler by a flow from noise, at `mini`.

  python -m experiments.flow --path=DIR [--feature_weights=squeezenet.npz]

Trains three nets (resumed; --steps may be raised later), measures their restorers as table1 does its own, on the same
images with the same attacks, and writes flow_SCALE.json; the gallery stays in the workdir: it shows photographs.
"""

import argparse
import json
import pathlib
import time

import jax
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from experiments import flow_restorers
from experiments.command import run_command
from experiments.fields import add_set_argument, parse_fields
from experiments.flow_restorers import COLUMNS, FLOWS, MEAN, Nets, make_restorer
from experiments.flow_training import Recipe, steps_done
from experiments.image_runs import SCORES, SMOKE_FIELDS, ImageRun, set_up
from experiments.results import FOLDER, format_table, write_results
from experiments.table1 import published_config
from prt_jax import evaluate
from prt_jax.config import SCALES
from prt_jax.data import Dataset, prepare
from prt_jax.data.evaluation_order import evaluation_rows, padded_rows
from prt_jax.errors import UserError
from prt_jax.evaluation import distributions
from prt_jax.evaluation.measured_parts import common_key, features_part, fill
from prt_jax.evaluation.measures import Settings
from prt_jax.evaluation.results import of_columns
from prt_jax.evaluation.runner import Runner
from prt_jax.evaluation.store import Store, digest_of
from prt_jax.features import make_extractor
from prt_jax.io import pictures
from prt_jax.metrics import psnr
from prt_jax.restorers import Restorer
from prt_jax.training.gan import Game, make_game

WORKDIR = pathlib.Path("runs/flow")
SHOWN = (*SCORES, "w1", "w1_coupled", "fresh_robustness_db", "beats_random", "random_robustness_db")
DISTANCES = ("frechet", "precision", "recall", "coverage")
GALLERY_ROWS = 6
FINER = 4  # times as many Euler steps, to see what K leaves undone


def main(argv: list[str] | None = None) -> None:
  """Trains and measures what is missing, prints the table, writes the JSON and the gallery."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--scale", default="mini", choices=list(SCALES), help="of prt_jax/config.py")
  parser.add_argument("--path", help="a folder of images; default: the config's own source")
  parser.add_argument("--feature_weights", default="", help="SqueezeNet 1.1 .npz: distances in its features as well")
  parser.add_argument("--workdir", type=pathlib.Path, default=WORKDIR, help="of the three nets and what was measured")
  parser.add_argument("--out", type=pathlib.Path, default=FOLDER, help="where the JSON goes")
  parser.add_argument("--mean_steps", type=int, default=2_500, help="of the posterior mean")
  parser.add_argument("--steps", type=int, default=36_000, help="of each flow; may be raised")
  parser.add_argument("--euler_steps", type=int, default=flow_restorers.NUM_STEPS, help="K")
  parser.add_argument("--attacked", type=int, default=0, help="inputs under the training attack; 0 = all, as table1")
  parser.add_argument("--columns", nargs="+", default=list(COLUMNS), choices=list(COLUMNS), help="those to measure")
  add_set_argument(parser)
  parser.add_argument("--collect", action="store_true", help="train nothing: measure what there is")
  parser.add_argument("--smoke", action="store_true", help="tiny nets for seconds, in a workdir of its own")
  args = parser.parse_args(argv)
  started = time.monotonic()
  fields: dict = {"eval.curve_num_examples": 0}
  if args.smoke:
    args.workdir = args.workdir.with_name(args.workdir.name + "_smoke")
    args.out = args.workdir / "results" if args.out == FOLDER else args.out
    args.scale, args.mean_steps, args.steps, args.euler_steps, args.feature_weights = "mini", 2, 2, 1, ""
    fields |= SMOKE_FIELDS | {"model.width": 4}
    jax.config.update("jax_disable_most_optimizations", True)  # the tiny programs compile far longer than they run
  fields |= {"data.source": "folder", "data.path": args.path} if args.path else {}
  fields |= parse_fields(args.set)
  config = evaluate.evaluation_config(ImageRun("inpaint", "stochastic-erratic", args.scale, 0, fields).make_config())
  set_up(config)
  dataset = prepare(config.data)
  evaluate.check_count(config, dataset)
  game = make_game(config)
  if args.collect:
    nets = collected(game, args.workdir)
  else:
    steps = {MEAN: args.mean_steps, **{name: args.steps for name in FLOWS}}
    nets = flow_restorers.train(game, dataset.train, args.workdir, steps, Recipe())
  found = {}
  for column in args.columns:
    logging.info("measuring %s", column)
    restorer = make_restorer(game, nets, column, args.euler_steps)
    found[column] = measured(config, dataset, restorer, args)
    if COLUMNS[column][0] in FLOWS:
      finer = make_restorer(game, nets, column, FINER * args.euler_steps)
      found[column]["euler_psnr_db"] = agreement(config, dataset, restorer, finer)
  print(format_table(*table(found)))
  name = f"flow_{args.scale}"
  results = {"columns": found, "protocol": make_protocol(config, dataset, args)}
  write_results(args.out, name, results, time.monotonic() - started)
  restorers = {column: make_restorer(game, nets, column, args.euler_steps) for column in args.columns}
  pictures.save_png(args.workdir / f"{name}_gallery.png", gallery(config, dataset, restorers))


def make_protocol(config: ConfigDict, dataset: Dataset, args: argparse.Namespace) -> dict:
  """What the numbers depend on."""
  names = (MEAN, *FLOWS)
  groups = ("attack", "data", "degradation", "eval", "model")
  return {
    "scale": args.scale, "smoke": args.smoke, "data": {"train": len(dataset.train), "val": len(dataset.val)},
    "config": {group: own for group, own in published_config(config).items() if group in groups},
    "recipe": Recipe()._asdict(), "euler_steps": args.euler_steps,
    "flows": {name: flow._asdict() for name, flow in FLOWS.items()},
    "steps": {name: steps_done(args.workdir / name) for name in names},
    "seconds_a_step": {name: seconds_a_step(args.workdir / name) for name in names},
    "validation_inputs": config.eval.num_examples,
  }  # fmt: skip


def collected(game: Game, workdir: pathlib.Path) -> Nets:
  """The nets as far as they are trained; UserError where one is missing."""
  steps = {name: steps_done(workdir / name) for name in (MEAN, *FLOWS)}
  if not all(steps.values()):
    raise UserError(f"{workdir} lacks a net: train it, without --collect")
  return flow_restorers.train(game, np.zeros((1, *game.degradation.image_shape), np.uint8), workdir, steps, Recipe())


def load_flow(
  workdir: pathlib.Path | str, column: str, fields: dict[str, object] | None = None, scale: str = "mini",
) -> Restorer:
  """The restorer of a key of COLUMNS as a workdir has it, to be named by `--restorer=MODULE:NAME`; fields: the config's
  that the command changed."""
  game = make_game(ImageRun("inpaint", "stochastic-erratic", scale, 0, fields or {}).make_config())
  return make_restorer(game, collected(game, pathlib.Path(workdir)), column)


def measured(config: ConfigDict, dataset: Dataset, restorer: Restorer, args: argparse.Namespace) -> dict:
  """One column's {score: {"value", "n", ...}, "features": {space: {distance: ...}}}, by the evaluation's own parts."""
  settings = Settings(restorer.degradation.psnr_size, 0, None, None)
  runner = Runner(restorer, config.attack.num_seeds, settings)
  rows, store = evaluation_rows(dataset.val, config.eval.num_examples), Store(args.workdir / "measured")
  digest = digest_of(restorer.params)

  def load(first):
    return evaluate.begin(runner, dataset, padded_rows(rows, first, config.eval.batch_size))

  found, spaces = {}, {}
  for space, weights in [("pixels", "")] + ([("squeezenet", args.feature_weights)] if args.feature_weights else []):
    chosen = ConfigDict({"feature_extractor": space, "feature_weights": weights})
    extractor = make_extractor(chosen, config.data.cache_dir)
    if not found:
      attacked = args.attacked or config.eval.num_examples
      parts = [
        part._replace(count=min(part.count, attacked)) if part.name in ("search", "random") else part
        for part in evaluate.make_parts(runner, config, dataset, digest, extractor)
      ]
    else:
      key = common_key(runner, {"fingerprint": dataset.fingerprint, "of": len(dataset.val)}, digest)
      parts = [features_part(runner, key, config.eval.num_examples, extractor)]
    columns = fill(store, parts, load, config.eval.batch_size, {})
    found = found or {name: own for name, own in of_columns(columns).items() if name in SHOWN}
    reference = evaluate.reference_features(runner, config, dataset, extractor, {})
    sets = distributions.Sets(**columns["features"], reference=reference)
    compared = distributions.compare(sets, config.eval.num_neighbors, extractor)
    spaces[space] = {name: compared[name] for name in DISTANCES}
  return found | {"features": spaces}


def agreement(config: ConfigDict, dataset: Dataset, one: Restorer, other: Restorer) -> float:
  """Mean PSNR in dB between two restorers' first draws, clipped to [0, 1], over one batch."""
  rows = evaluation_rows(dataset.val, config.eval.num_examples)[: config.eval.batch_size]
  first, second = (evaluate.begin(Runner(own, 1), dataset, rows).restored[0, 0] for own in (one, other))
  return float(np.mean(psnr(np.clip(first, 0, 1), np.clip(second, 0, 1))))


def seconds_a_step(folder: pathlib.Path) -> float:
  """The median of a training's intervals."""
  lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
  return float(np.median([line["seconds_a_step"] for line in lines]))


def table(found: dict[str, dict]) -> tuple[list[str], list[list]]:
  """Header and rows: each score of each column."""
  rows = [
    [score, *(own[score]["value"] if score in own else "-" for own in found.values())]
    for score in SHOWN if any(score in own for own in found.values())
  ]  # fmt: skip
  rows += [
    [f"{name}, {space}", *(own["features"][space][name]["value"] for own in found.values())]
    for space in next(iter(found.values()))["features"] for name in DISTANCES
  ]  # fmt: skip
  return ["score", *found], rows


def gallery(config: ConfigDict, dataset: Dataset, restorers: dict[str, Restorer]) -> np.ndarray:
  """Rows are validation inputs, columns the restorers, of the stochastic ones three draws."""
  rows = evaluation_rows(dataset.val, min(GALLERY_ROWS, config.eval.num_examples))
  columns = []
  for name, restorer in restorers.items():
    runner = Runner(restorer, 3)
    batch = evaluate.begin(runner, dataset, rows)
    if not columns:
      shown = restorer.degradation.network_input(batch.y[0])
      columns = [("original", np.asarray(batch.x[0])), ("input", np.asarray(shown))]
    columns += [(f"{name} {number}", np.asarray(x)) for number, x in enumerate(jax.device_get(batch.restored[0]), 1)]
  return pictures.draw_grid(columns)


if __name__ == "__main__":
  run_command(main)
