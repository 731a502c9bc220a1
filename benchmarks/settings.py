"""What every benchmark is told on its command line, and what it writes down about where it ran."""

import argparse
import datetime
import importlib
import importlib.metadata
import json
import os
import pathlib
import platform
import shlex
import statistics
import sys
from collections.abc import Callable

from absl import logging
from ml_collections import ConfigDict

from benchmarks.cores import num_cores
from prt_jax.commands.parser import Parser
from prt_jax.commands.parser import run as run_command
from prt_jax.errors import UserError
from prt_jax.io.whole_files import write_whole

DEVICES = ("cpu", "gpu", "tpu")
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "torch")
# Flag -> the config field it sets; the small nets of a smoke run are set by these.
_FIELDS = {
  "batch": "train.batch_size",
  "seeds": "attack.num_seeds",
  "attack_steps": "attack.num_steps",
  "width": "model.width",
  "critic_width": "model.critic_width",
  "image_size": "data.image_size",
}


def make_parser(description: str, *, timed: bool = True) -> Parser:
  """The flags that all benchmarks share: config, its size, the JSON file; where timed, device and repeats."""
  parser = Parser(description)
  if timed:
    parser.add_argument("--device", choices=DEVICES, default="cpu")
    parser.add_argument("--repeats", type=int, default=3, help="timed samples of each number, after a warm-up")
  parser.add_argument("--config", default="configs/sr16.py", help="configs/NAME.py[:VARIANT]")
  for flag, field in _FIELDS.items():
    parser.add_argument(f"--{flag}", type=int, help=f"{field}, if not the config's")
  parser.add_argument("--json", type=pathlib.Path, help="also write the results here; benchmarks.results renders them")
  return parser


def load_config(args: argparse.Namespace) -> ConfigDict:
  """The config that the arguments name, with the fields they change. UserError for one that does not exist."""
  path, _, variant = args.config.partition(":")
  try:
    module = importlib.import_module(f"configs.{pathlib.Path(path).stem}")
  except ModuleNotFoundError as error:
    raise UserError(f"no config {path}: choose one of configs/*.py") from error
  config = module.get_config(variant) if variant else module.get_config()
  for flag, field in _FIELDS.items():
    if (value := getattr(args, flag)) is not None:
      group, name = field.split(".")
      config[group][name] = value
  return config


def select_device(device: str, config: ConfigDict) -> None:
  """Makes JAX use this kind of device alone, and leave memory to other processes; call before its first array.

  Args:
    device: "cpu", "gpu" or "tpu".
    config: of the step, which uses a CPU as training does: see devices.use_all_cores.

  Raises:
    UserError: the machine has no such device, or JAX was installed without its plugin.
  """
  os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
  import jax

  from prt_jax import devices

  jax.config.update("jax_platforms", {"cpu": "cpu", "gpu": "cuda", "tpu": "tpu"}[device])
  if device == "cpu":
    devices.use_all_cores(config.model.width)
  try:
    jax.devices()
  except RuntimeError as error:
    raise UserError(f"--device={device}: JAX finds none here (README, Start, says what to install)") from error


def device_description() -> str:
  """JAX's version and this process's devices; after select_device."""
  import jax

  return f"JAX {jax.__version__}, {jax.device_count()} x {jax.devices()[0].device_kind}"


def provenance(module: str, config: ConfigDict) -> dict:
  """The command, hardware and versions of this process, and the settings that decide the work."""
  fields = {flag: config[field.split(".")[0]][field.split(".")[1]] for flag, field in _FIELDS.items()}
  return {
    "command": shlex.join(["python", "-m", module, *sys.argv[1:]]),
    "date": datetime.date.today().isoformat(),
    "hardware": {"processor": _processor(), "cores_used": num_cores()},
    "versions": {"python": platform.python_version(), **_versions()},
    "settings": fields | {"degradation": config.degradation.kind, "seed": config.seed},
  }


def _versions():
  versions = {}
  for name in _PACKAGES:
    try:
      versions[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      versions[name] = "absent"
  return versions


def _processor():
  try:
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
  except OSError:
    return platform.processor() or platform.machine()
  return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def spread(seconds: list[float]) -> dict:
  """Median, extremes and the samples themselves, in seconds."""
  return {
    "median_s": statistics.median(seconds),
    "min_s": min(seconds),
    "max_s": max(seconds),
    "samples_s": [round(value, 6) for value in seconds],
  }


def write_json(path: pathlib.Path | None, results: dict) -> None:
  """Writes the results where --json says, if it says so; half-written files are never seen."""
  if path is None:
    return
  path.parent.mkdir(parents=True, exist_ok=True)
  write_whole(path, json.dumps(results, indent=2) + "\n")


def run(main: Callable[[list[str]], None]) -> None:
  """Calls main with the arguments; progress goes to stderr, a user's mistake becomes one line and exit code 1."""
  logging.use_absl_handler()
  logging.set_verbosity(logging.INFO)
  logging.set_stderrthreshold("info")
  # Other libraries say much at this level.
  logging.get_absl_handler().addFilter(
    lambda record: pathlib.Path(record.pathname).parent == pathlib.Path(__file__).parent
  )
  run_command(main)
