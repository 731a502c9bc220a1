"""The command line: python -m prt_jax.main --config=NAME[:VARIANT[,SCALE]] [--workdir=DIR] [--mode=...]"""

import logging as stdlib_logging
import os
import pathlib
import re
import sys

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from prt_jax.config import config_file
from prt_jax.errors import UserError
from prt_jax.targets import TARGETS
from prt_jax.training.stop_request import EXIT_CODE

PACKAGE = pathlib.Path(__file__).parent

_CONFIG = config_flags.DEFINE_config_file("config", None, "NAME[:VARIANT[,SCALE]], or a file: configs/NAME.py[:...]")
_WORKDIR = flags.DEFINE_string("workdir", None, "default: runs/NAME-VARIANT; the same command twice resumes")
_MODE = flags.DEFINE_enum("mode", "train", ["train", "eval", "train_and_eval", "plan"], "what to do in the workdir")
_TARGET = flags.DEFINE_enum("target", None, list(TARGETS), "--mode=plan: the device to plan for; default: the one here")
_DISTRIBUTED = flags.DEFINE_bool("distributed", False, "one of several processes; the cluster says which (a TPU pod)")
_COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, where there is no cluster to ask")
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "with --coordinator: how many run this command")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "with --coordinator: which of them this is, from 0")


def default_workdir(argument: str) -> pathlib.Path:
  """configs/sr16.py:deterministic-robust,demo -> runs/sr16-deterministic-robust-demo."""
  path, _, options = argument.partition(":")
  parts = options.split(",") if options else []
  if not parts or "-" not in parts[0]:  # a scale alone
    parts = ["stochastic-robust", *parts]
  return pathlib.Path("runs") / "-".join([pathlib.Path(path).stem, *parts])


def parse_flags(argv: list[str]) -> list[str]:
  """absl's parser, with every mistake of the command line as a UserError."""
  argv = with_config_file(argv)
  try:
    rest = flags.FLAGS(argv)
    if _CONFIG.value is not None:
      _CONFIG.value.lock()  # a config file that could not be loaded says so at its first use
  # A config file is code, and config_flags passes on whatever it raises, and what a locked config does.
  except Exception as error:
    raise UserError(_reason(error)) from error
  if _CONFIG.value is None:
    raise UserError("no config: pass --config=NAME[:VARIANT[,SCALE]], for example --config=sr16:stochastic-robust,demo")
  if _TARGET.value and _MODE.value != "plan":
    raise UserError("--target belongs to --mode=plan: training and evaluation take the devices that they find")
  if rest[1:]:
    raise UserError(f"unexpected argument {rest[1]!r}: flags are written --NAME=VALUE")
  return rest


def with_config_file(argv: list[str]) -> list[str]:
  """argv with --config=PATH for --config=NAME (or --config NAME); UserError for an unknown name."""
  name = config_argument(argv)
  if not name:
    return argv
  place = next(index for index, argument in enumerate(argv) if argument.partition("=")[0] in ("--config", "-config"))
  end = place + (1 if "=" in argv[place] else 2)
  return [*argv[:place], f"--config={config_file(name)}", *argv[end:]]


def _reason(error: Exception) -> str:
  """One line of an exception that may quote a whole traceback."""
  if isinstance(error, KeyError | AttributeError):
    return f"unknown config field {error.args[0]}: prt_jax/config.py lists all fields"
  last_line = str(error).strip().splitlines()[-1].strip() if str(error).strip() else type(error).__name__
  _, quoted, reason = last_line.rpartition(f"{UserError.__name__}: ")
  return reason if quoted else f"{last_line}; python -m prt_jax.main --help lists the flags"


def run(_: list[str]) -> int:
  """Sets the process up and hands over to training or evaluation; returns the exit code."""
  import jax

  from prt_jax import devices, plan
  from prt_jax.training import processes

  workdir = pathlib.Path(_WORKDIR.value) if _WORKDIR.value else default_workdir(config_argument(sys.argv))
  if _MODE.value == "plan":
    print(plan.command(_CONFIG.value, _TARGET.value, workdir))
    return 0
  cache = pathlib.Path(_CONFIG.value.data.cache_dir).expanduser() / "xla"
  jax.config.update("jax_compilation_cache_dir", str(cache))
  config = _CONFIG.value
  devices.use_all_cores(config.model.width)
  processes.join(_DISTRIBUTED.value, _COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
  with processes.noticing_deaths():
    return work(config, workdir)


def work(config: ConfigDict, workdir: pathlib.Path) -> int:
  """Trains, evaluates, or both; returns the exit code."""
  import jax

  from prt_jax import devices
  from prt_jax.train import train

  logging.info("JAX %s on %s", jax.__version__, devices.describe())
  if _MODE.value != "train":
    from prt_jax.evaluate import check_ahead, evaluate  # which takes a second or two
  if _MODE.value == "train_and_eval":
    check_ahead(config)
  if _MODE.value != "eval" and not train(config, workdir):
    return EXIT_CODE
  if _MODE.value != "train":
    evaluate(config, workdir)
  return 0


def config_argument(argv: list[str]) -> str:
  """The text of --config=TEXT or --config TEXT, which names the default workdir."""
  for here, after in zip(argv, [*argv[1:], ""], strict=True):
    if match := re.fullmatch("--?config(?:=(.*))?", here):
      return match[1] if match[1] is not None else after
  return ""


def set_up_logging() -> None:
  """Our progress and everyone's warnings; what libraries merely note stays out of the way.

  So do the tracebacks that they log (Orbax, whenever an error passes one of its threads): what fails is raised as well.
  """

  def worth_reading(record):
    is_warning = record.levelno >= stdlib_logging.WARNING and not record.exc_info
    return is_warning or pathlib.Path(record.pathname).is_relative_to(PACKAGE)

  logging.use_absl_handler()
  logging.set_verbosity(logging.INFO)
  handler = logging.get_absl_handler()
  handler.setFormatter(stdlib_logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
  handler.addFilter(worth_reading)


def leave(code: int) -> None:
  """sys.exit; one of several processes does not wait for the others to end as well: they notice."""
  devices = sys.modules.get("prt_jax.devices")  # what has not imported it has joined nobody
  if devices and devices.has_joined():
    sys.stderr.flush()
    os._exit(code)
  sys.exit(code)


def main() -> None:
  """Runs; a user's mistake is one line and exit code 1, a signal's stop exit code 75."""
  # TensorFlow, which only writes events and reads TFDS, is loud on import.
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
  set_up_logging()
  try:
    app.run(run, flags_parser=parse_flags)
  except UserError as error:
    print(f"error: {error}", file=sys.stderr)
    leave(1)
  except KeyboardInterrupt:  # outside of training, which notes it
    print("stopped by SIGINT: the same command goes on from what is on disk", file=sys.stderr)
    leave(EXIT_CODE)


if __name__ == "__main__":
  main()
