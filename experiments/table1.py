"""Paper A's Table 1 and Fig. 1 with our own models: the four variants trained, evaluated, side by side.

  python -m experiments.table1 --config=inpaint --scale=mini --path=DIR [--feature_weights=squeezenet.npz]

The same command resumes, run by run; --collect reports what is complete. Seed by seed, so that a run cut
short has all variants; --earlier=FILE takes an earlier table's seeds instead of training them. Writes
table1_SCALE.json, its figure and the curves of the losses, and beside the runs the gallery: it shows the
photographs, whose terms may not let it be published.
"""

import argparse
import json
import pathlib
import time

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from configs.default import VARIANTS
from experiments.command import run_command
from experiments.comparisons import comparisons
from experiments.figures import BLUE, GREEN, ORANGE, VERMILLION, new_figure, save_figure
from experiments.image_runs import (
  ImageRun,
  add_arguments,
  config_fields,
  evaluated,
  feature_label,
  load,
  run_scores,
  summarise,
  train_all,
  training_curves,
)
from experiments.planned import add_plan_arguments, plan_text
from experiments.results import format_table, write_results
from prt_jax.data import prepare
from prt_jax.data.evaluation_order import evaluation_rows
from prt_jax.errors import UserError
from prt_jax.io import pictures
from prt_jax.reporting.published import TABLE_1
from prt_jax.training.checkpoints import complete_config
from prt_jax.training.progress_picture import make_sample_columns

COLORS = dict(zip(VARIANTS, (GREEN, ORANGE, BLUE, VERMILLION), strict=True))
SHOWN = ("frechet", "precision", "recall", "per_pixel_std", "robustness_db", "ai_psnr_db")
GALLERY_ROWS = 6
CURVES = ("critic_loss", "generator_loss", "r1", "robustness_loss")


def main(argv: list[str] | None = None) -> None:
  """Trains and evaluates what is missing, prints the table beside the published one, writes JSON and pictures."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--config", default="inpaint", help="a file of configs/, without folder and ending")
  add_arguments(parser, "table1")
  add_plan_arguments(parser)
  parser.add_argument("--earlier", type=pathlib.Path, help="table1_SCALE.json of other seeds, whose runs join in")
  args = parser.parse_args(argv)
  fields = config_fields(args)
  started = time.monotonic()

  def run_of(variant, seed):
    return ImageRun(args.config, variant, args.scale, seed, fields)

  config = run_of(args.variants[0], 0).make_config()
  earlier, earlier_label = earlier_runs(args.earlier, config) if args.earlier else ({}, None)
  places = [
    (variant, seed) for seed in range(args.seeds) for variant in args.variants
    if seed not in {run["seed"] for run in earlier.get(variant, ())}
  ]  # fmt: skip
  if not places:
    raise UserError(f"--earlier={args.earlier} has all seeds: ask for more than --seeds={args.seeds}")
  if args.plan:
    print(plan_text([run_of(*place) for place in places], args))
    return
  if not args.collect:
    train_all([run_of(*place) for place in places], args.workdir, args.feature_weights, args.jobs)
  reports = {variant: {} for variant in args.variants}
  for variant, seed in places:
    found = evaluated(run_of(variant, seed), args.workdir, args.feature_weights)
    reports[variant] |= {seed: found} if found else {}
  reports = {variant: seeds for variant, seeds in reports.items() if seeds}
  if not reports:
    raise UserError(f"{args.workdir} holds no complete run: train it, without --collect")

  any_run = next(iter(next(iter(reports.values())).values()))
  features = "squeezenet" if args.feature_weights else next(iter(any_run))
  label = feature_label(any_run, features)
  if earlier_label not in (None, label):
    raise UserError(f"--earlier={args.earlier}: it has the {earlier_label}, these runs the {label}")
  variants = {}
  for variant in args.variants:
    runs = [{"seed": seed} | run_scores(found, features) for seed, found in reports.get(variant, {}).items()]
    if runs := sorted(earlier.get(variant, []) + runs, key=lambda run: run["seed"]):
      variants[variant] = summarise(runs) | {"seeds": [run["seed"] for run in runs]}
  published = TABLE_1 if args.config == "inpaint" else {}
  print(format_table(*table(variants, published, label)))
  first = next(iter(any_run.values()))
  results = {
    "variants": variants,
    "published": published,
    "verdict": verdict(variants),
    "comparisons": comparisons(variants),
    "protocol": {
      "scale": args.scale, "smoke": args.smoke, "frechet": label, "data": first["data"],
      "config": published_config(config),
      "validation_inputs": config.eval.num_examples,
      "curves": {
        variant: training_curves(args.workdir / run_of(variant, min(seeds)).name) for variant, seeds in reports.items()
      },
    },
  }  # fmt: skip
  name = f"table1_{args.scale}" if args.config == "inpaint" else f"table1_{args.config}_{args.scale}"
  write_results(args.out, name, results, time.monotonic() - started)
  draw_comparison(variants, published, args.out, name)
  draw_curves(results["protocol"]["curves"], args.out, f"{name}_curves")
  first_runs = {variant: run_of(variant, min(seeds)) for variant, seeds in reports.items()}
  pictures.save_png(args.workdir / f"{name}_gallery.png", gallery(first_runs, args.workdir))


def published_config(config: ConfigDict) -> dict:
  """The first variant's config without what belongs to one machine."""
  fields = config.to_dict()
  del fields["data"]["path"], fields["data"]["cache_dir"]
  return fields


def earlier_runs(path: pathlib.Path, config: ConfigDict) -> tuple[dict[str, list[dict]], str]:
  """({variant: its runs}, their Frechet distance) of a table with the same config; UserError for another."""
  try:
    table = json.loads(path.read_text())
    theirs, label = complete_config(table["protocol"]["config"]), table["protocol"]["frechet"]
    runs = {variant: scores["runs"] for variant, scores in table["variants"].items()}
  except (OSError, ValueError, KeyError) as error:
    raise UserError(f"--earlier={path}: not a table of this command: {error!r}") from error
  mine = published_config(config)
  # Fields of evaluations since: what the table shows did not change with them.
  mine["eval"] = {name: value for name, value in mine["eval"].items() if name in theirs.get("eval", {})}
  for group, fields in mine.items():
    if theirs.get(group) != json.loads(json.dumps(fields)):
      raise UserError(f"--earlier={path}: its config has {group}={theirs.get(group)}, this one {fields}")
  return runs, label


def table(variants: dict, published: dict, frechet_label: str) -> tuple[list[str], list[list]]:
  """Header and rows, each score of each variant beside the published one, "-" where there is none."""
  header = ["score", *(cell for variant in variants for cell in (variant, "published"))]
  rows = []
  for score in SHOWN:
    label = frechet_label if score == "frechet" else score
    cells = (
      cell
      for variant, scores in variants.items()
      for cell in (scores.get(score, "-"), published.get(variant, {}).get(score, "-"))
    )
    rows.append([label, *cells])
  return header, rows


def verdict(variants: dict) -> dict:
  """What the papers' comparison claims, each as the number that it is decided by."""
  found = {}
  for kind in ("stochastic", "deterministic"):
    robust, erratic = variants.get(f"{kind}-robust"), variants.get(f"{kind}-erratic")
    if robust and erratic:
      found[f"{kind}_robust_minus_erratic_db"] = robust["robustness_db"] - erratic["robustness_db"]
      if "frechet" in robust and "frechet" in erratic:
        found[f"{kind}_robust_over_erratic_frechet"] = robust["frechet"] / erratic["frechet"]
  robust, other = variants.get("stochastic-robust"), variants.get("deterministic-robust")
  if robust and other and "recall" in robust:
    found["recall_deterministic_over_stochastic_robust"] = other["recall"] / max(robust["recall"], 1e-9)
  erratic = variants.get("stochastic-erratic")
  if robust and erratic:
    found["per_pixel_std_robust_over_erratic"] = robust["per_pixel_std"] / max(erratic["per_pixel_std"], 1e-9)
  return found


def gallery(runs: dict[str, ImageRun], workdir: pathlib.Path) -> np.ndarray:
  """Paper A's Fig. 1: rows are validation inputs, columns the variants, of the stochastic ones four draws."""
  columns = []
  for variant, run in runs.items():
    trained = load(run, workdir)
    images = prepare(trained.config.data).val
    chosen = np.asarray(images[evaluation_rows(images, GALLERY_ROWS)], np.float32) / 255
    draws = 4 if trained.config.model.stochastic else 1
    found = make_sample_columns(trained.game, draws)(trained.state, jnp.asarray(chosen))
    columns = columns or found[:2]
    short = "".join(word[0].upper() for word in variant.split("-"))
    titles = [f"{short} {number}" for number in range(1, draws + 1)] if draws > 1 else [short]
    columns += [(title, x) for title, (_, x) in zip(titles, found[2:], strict=False)]
  return pictures.draw_grid(columns)


def draw_comparison(variants: dict, published: dict, folder: pathlib.Path, name: str) -> None:
  """Recall against robustness: an arrow from each erratic estimator to its robust twin, ours and the published one.

  Large points are means over seeds, small ones single runs.
  """
  panels = [("measured here", variants), ("published", published)] if published else [("measured here", variants)]
  figure, axes = new_figure(1, len(panels), 3.4 * len(panels), 2.9)
  for axis, (title, scores) in zip(np.atleast_1d(axes), panels, strict=True):
    for kind in ("deterministic", "stochastic"):
      ends = [scores[f"{kind}-{end}"] for end in ("erratic", "robust") if f"{kind}-{end}" in scores]
      points = [(end["robustness_db"], end["recall"]) for end in ends if "recall" in end]
      if len(points) == 2:
        arrow = {"arrowstyle": "->", "color": "0.6", "shrinkA": 4, "shrinkB": 4}
        axis.annotate("", points[1], points[0], arrowprops=arrow)
    for variant, score in scores.items():
      if "recall" in score:
        axis.plot(score["robustness_db"], score["recall"], "o", color=COLORS[variant], label=variant)
        for run in score.get("runs", ()):
          axis.plot(run["robustness_db"], run["recall"], "o", color=COLORS[variant], markersize=2, alpha=0.5)
    axis.set(title=title, xlabel="robustness, dB", ylabel="recall", ylim=(0, None))
    axis.margins(0.15)
    axis.legend()
  save_figure(figure, folder, name)


def draw_curves(curves: dict[str, dict], folder, name: str) -> None:
  """The losses against the step, one line a variant."""
  figure, axes = new_figure(1, len(CURVES), 9.0, 2.2)
  for axis, scalar in zip(axes, CURVES, strict=True):
    for variant, values in curves.items():
      points = [(step, value) for step, value in zip(values["step"], values.get(scalar, ()), strict=False) if value]
      if points:
        axis.plot(*zip(*points, strict=True), color=COLORS[variant], label=variant)
    axis.set_title(scalar)
    axis.set_xlabel("step")
    if scalar in ("r1", "robustness_loss"):
      axis.set_yscale("log")
  axes[0].legend()
  save_figure(figure, folder, name)


if __name__ == "__main__":
  run_command(main)
