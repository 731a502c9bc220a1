"""--plan: what all runs of a comparison will need, without a device; nothing is trained."""

import argparse
from collections.abc import Sequence

import jax

from experiments.image_runs import ImageRun
from experiments.results import format_table
from prt_jax import plan
from prt_jax.plan.needs import MISSING, disk_need
from prt_jax.plan.text import basis, hours_as_measured, verdict
from prt_jax.plan.work import StepWork
from prt_jax.targets import TARGETS


def add_plan_arguments(parser: argparse.ArgumentParser) -> None:
  """--plan and --target."""
  parser.add_argument("--plan", action="store_true", help="train nothing: print hours, memory and what is missing")
  parser.add_argument("--target", choices=list(TARGETS), help="--plan: for this device; default: a row for each")


def plan_text(runs: Sequence[ImageRun], args: argparse.Namespace) -> str:
  """The totals over the runs, one after the other on one device, a row a target; and what they miss."""
  jax.config.update("jax_platforms", "cpu")
  works, plans = {}, {}
  for run in runs:
    kind, config = _kind(run), run.make_config()
    if kind not in works:
      works[kind] = StepWork(config)
      for target in [args.target] if args.target else TARGETS:
        plans[kind, target] = plan.plan(config, target, workdir=args.workdir, work=works[kind])
  rows = []
  for target in [args.target] if args.target else TARGETS:
    all_runs = [plans[_kind(run), target] for run in runs]
    tightest = max(all_runs, key=lambda one: one.memory.total)
    rows.append([
      target,
      f"{sum(one.hours for one in all_runs):,.1f}",
      "" if hours_as_measured(tightest) is None else f"{sum(map(hours_as_measured, all_runs)):,.1f}",
      f"{tightest.memory.total / 1e9:.1f} of {tightest.memory.usable / 1e9:.1f}",
      verdict(tightest),
      basis(tightest),
    ])  # fmt: skip
  checkpoints = disk_need("checkpoints", sum(one.disk["checkpoints"] for one in all_runs), args.workdir)
  needs = dict.fromkeys([*(need for one in all_runs for need in one.needs if need.name != "checkpoints"), checkpoints])
  missing = dict.fromkeys(need.name for need in needs if need.state == MISSING)
  lines = [
    f"runs: {len(runs)}, one after the other on one device: {', '.join(dict.fromkeys(run.variant for run in runs))}",
    format_table(["target", "hours of all", "at an H200's ratios", "most memory GB", "", "the hours are"], rows),
    *(f"{need.name}: {need.state}: {need.text}" for need in needs),
    f"missing: {', '.join(missing) or 'nothing'}",
  ]
  return "\n".join(lines)


def _kind(run):
  # Seeds are alike, and so are the fields changed in all runs.
  return run.config, run.variant
