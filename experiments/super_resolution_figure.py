"""Paper A's super-resolution figure with our own models: every variant against the factor.

  python -m experiments.super_resolution_figure --scale=mini --path=DIR [--noise_std=0.1] [--pictures=imagenet]

The gap of the deterministic robust estimator grows with the factor. Resumed run by run; --collect reports
what is complete. Writes super_resolution_SCALE.json and its figure, and beside the runs a gallery a factor,
which shows the photographs.
"""

import argparse
import time

from configs.default import VARIANTS
from experiments.command import run_command
from experiments.figures import new_figure, save_figure
from experiments.image_runs import (
  ImageRun,
  add_arguments,
  config_fields,
  evaluated,
  feature_label,
  run_scores,
  summarise,
  train_all,
)
from experiments.planned import add_plan_arguments, plan_text
from experiments.results import format_table, write_results
from experiments.table1 import COLORS, gallery, published_config
from prt_jax.errors import UserError
from prt_jax.io import pictures

CONFIGS = {"celeba": "sr", "imagenet": "imagenet_sr"}
PANELS = {
  "frechet": "Frechet distance", "precision": "precision", "recall": "recall", "per_pixel_std": "per-pixel std",
  "robustness_db": "robustness, dB",
}  # fmt: skip


def main(argv: list[str] | None = None) -> None:
  """Trains and evaluates what is missing, prints the table, writes JSON and the figure."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  add_arguments(parser, "super_resolution_figure")
  add_plan_arguments(parser)
  parser.add_argument(
    "--pictures", default="celeba", choices=list(CONFIGS), help="which configs: faces (sr4, ...) or imagenet_sr4, ..."
  )
  parser.add_argument("--factors", type=int, nargs="+", default=[4, 8, 16], choices=[4, 8, 16])
  parser.add_argument("--noise_std", type=float, default=0.0, help="of the measurement's noise, pixels in [0, 1]")
  args = parser.parse_args(argv)
  fields = config_fields(args)
  name = f"super_resolution_{args.scale}" + (f"_{args.pictures}" if args.pictures != "celeba" else "")
  workdir = args.workdir
  if args.noise_std:
    fields["degradation.noise_std"] = args.noise_std
    setting = f"noise{args.noise_std:g}"
    if (consistency := fields.get("degradation.consistency", "exact")) != "exact":
      setting += f"_{consistency}"
    name, workdir = f"{name}_{setting}", workdir / setting
  started = time.monotonic()

  runs = {
    (factor, variant, seed): ImageRun(f"{CONFIGS[args.pictures]}{factor}", variant, args.scale, seed, fields)
    for seed in range(args.seeds) for factor in args.factors for variant in args.variants
  }  # fmt: skip
  if args.plan:
    print(plan_text(list(runs.values()), args))
    return
  if not args.collect:
    train_all(list(runs.values()), workdir, args.feature_weights, args.jobs)
  reports = {factor: {} for factor in args.factors}
  for (factor, variant, seed), run in runs.items():
    if found := evaluated(run, workdir, args.feature_weights):
      reports[factor].setdefault(variant, {})[seed] = found
  reports = {factor: variants for factor, variants in reports.items() if variants}
  if not reports:
    raise UserError(f"{workdir} holds no complete run: train it, without --collect")

  any_run = next(iter(next(iter(next(iter(reports.values())).values())).values()))
  features = "squeezenet" if args.feature_weights else next(iter(any_run))
  label = feature_label(any_run, features)
  factors = {
    factor: {
      variant: summarise([{"seed": seed} | run_scores(found, features) for seed, found in seeds.items()])
      for variant, seeds in variants.items()
    }
    for factor, variants in reports.items()
  }
  rows = [
    [f"x{factor}", variant, *(scores.get(score, "-") for score in PANELS)]
    for factor, variants in factors.items() for variant, scores in variants.items()
  ]  # fmt: skip
  print(format_table(["factor", "variant", label, *list(PANELS)[1:]], rows))
  configs = {factor: runs[factor, args.variants[0], 0].make_config() for factor in factors}
  config = next(iter(configs.values()))
  protocol = {
    "scale": args.scale, "smoke": args.smoke, "frechet": label, "noise_std": args.noise_std, "seeds": args.seeds,
    "data": next(iter(any_run.values()))["data"], "validation_inputs": config.eval.num_examples,
    "config": published_config(config), "eps": {factor: config.attack.eps for factor, config in configs.items()},
  }  # fmt: skip
  results = {"factors": factors, "price_of_robustness": price_of_robustness(factors), "protocol": protocol}
  write_results(args.out, name, results, time.monotonic() - started)
  draw(factors, label, args.out, name)
  for factor, variants in reports.items():
    first_runs = {variant: runs[factor, variant, min(seeds)] for variant, seeds in variants.items()}
    pictures.save_png(workdir / f"{name}_x{factor}_gallery.png", gallery(first_runs, workdir))


def price_of_robustness(factors: dict[int, dict]) -> dict:
  """What each robust estimator pays beside its erratic twin: {factor: {kind: {Frechet distance gained, recall lost}}}.

  The papers' claim, that the deterministic one pays more, and the more the larger the factor, is decided by these.
  """
  prices = {}
  for factor, variants in factors.items():
    prices[factor] = {}
    for kind in ("stochastic", "deterministic"):
      robust, erratic = variants.get(f"{kind}-robust"), variants.get(f"{kind}-erratic")
      if robust and erratic:
        signs = {"frechet_gained": ("frechet", 1), "recall_lost": ("recall", -1)}
        prices[factor][kind] = {
          name: sign * (robust[score] - erratic[score])
          for name, (score, sign) in signs.items() if score in robust and score in erratic
        }  # fmt: skip
  return prices


def draw(factors: dict[int, dict], frechet_label: str, folder, name: str) -> None:
  """One panel a score, one line a variant, the factor on a logarithmic axis."""
  figure, axes = new_figure(1, len(PANELS), 10.5, 2.3)
  for axis, (score, title) in zip(axes, PANELS.items(), strict=True):
    for variant in VARIANTS:
      points = [
        (factor, variants[variant][score]) for factor, variants in factors.items()
        if score in variants.get(variant, {})
      ]  # fmt: skip
      if points:
        axis.plot(*zip(*points, strict=True), "o-", color=COLORS[variant], label=variant)
    axis.set_title(frechet_label if score == "frechet" else title)
    axis.set_xscale("log", base=2)
    axis.set_xticks(list(factors), [f"x{factor}" for factor in factors])
  axes[0].legend()
  save_figure(figure, folder, name)


if __name__ == "__main__":
  run_command(main)
