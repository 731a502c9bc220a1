"""What the commands that train have in common: their arguments, and how they end."""

import argparse
import logging as stdlib_logging
import pathlib
import sys
from collections.abc import Callable

import jax
from absl import logging

from experiments.results import FOLDER
from experiments.toy_runs import SMOKE_EVALUATION, SMOKE_FIELDS
from experiments.training import Stopped
from prt_jax.errors import UserError
from prt_jax.training.stop_request import EXIT_CODE

SMOKE_STEPS = 12
OURS = [pathlib.Path(__file__).parents[1] / package for package in ("experiments", "prt_jax")]


def add_training_arguments(parser: argparse.ArgumentParser, name: str, seeds: int, until: int = 3_600) -> None:
  """--workdir, --seeds, --until, --out, --collect and --smoke."""
  parser.add_argument("--workdir", type=pathlib.Path, default=pathlib.Path("runs") / name, help="of all runs; resumed")
  parser.add_argument("--seeds", type=int, default=seeds, help="runs of each estimator")
  parser.add_argument("--until", type=int, default=until, help="steps, of the config's 20,000; more goes on from there")
  parser.add_argument("--out", type=pathlib.Path, default=FOLDER, help="where the JSON and the figures go")
  parser.add_argument("--collect", action="store_true", help="train nothing: report the runs that have come so far")
  parser.add_argument("--smoke", action="store_true", help="a tiny net for seconds, in a workdir of its own")


def training_fields(args: argparse.Namespace) -> tuple[dict, dict]:
  """The config fields and the evaluation's arguments; under --smoke, changes the arguments to seconds of work."""
  if not args.smoke:
    return {}, {}
  args.workdir = args.workdir.with_name(args.workdir.name + "_smoke")
  args.out = args.workdir / "results" if args.out == FOLDER else args.out
  args.seeds, args.until = 1, SMOKE_STEPS
  args.sweep_seeds = args.reading_seeds = 0  # these and jobs: of toy_gans alone
  args.jobs = 1
  jax.config.update("jax_disable_most_optimizations", True)  # the tiny programs compile far longer than they run
  return SMOKE_FIELDS, SMOKE_EVALUATION


def log_progress() -> None:
  """Our progress on stderr, without that of the libraries."""
  handler = logging.get_absl_handler()
  handler.setFormatter(stdlib_logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
  handler.addFilter(lambda record: pathlib.Path(record.pathname).parent in OURS)
  logging.use_absl_handler()
  logging.set_verbosity(logging.INFO)


def run_command(main: Callable[[], None]) -> None:
  """Runs a command: our progress on stderr, a user's mistake as one line and exit code 1, a signal's stop as 75."""
  log_progress()
  try:
    main()
  except UserError as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(1)
  except (Stopped, KeyboardInterrupt) as error:
    print(str(error) or "stopped by SIGINT: the same command goes on from what is on disk", file=sys.stderr)
    sys.exit(EXIT_CODE)
