"""Seconds from the training command to its first step and its first cycle, without and with compiled programs on disk.

python -m benchmarks.startup --device=cpu --batch=16 --json=FILE

Both runs find their data prepared (the embedded photographs); the second finds the first's compilation cache too.
"""

import os
import re
import subprocess
import sys
import tempfile
import time

from absl import logging

from benchmarks import settings
from experiments.results import format_table
from prt_jax.errors import UserError


def main(argv: list[str]) -> None:
  """Parses, runs the training command twice, prints the table and writes the JSON."""
  args = settings.make_parser(__doc__).parse_args(argv)
  config = settings.load_config(args)
  results = settings.provenance("benchmarks.startup", config)
  results["settings"] |= {"device": args.device}
  with tempfile.TemporaryDirectory() as folder:
    changes = training_fields(config, folder)
    _prepare_data(config, changes)
    for name in ("cold", "warm"):
      logging.info("%s", name)
      command = [sys.executable, "-m", "prt_jax.main", f"--config={args.config}", f"--workdir={folder}/{name}"]
      command += [f"--config.{field}={value}" for field, value in changes.items()]
      results[name] = first_steps(command, args.device, config.optim.robust_every_steps)
      settings.write_json(args.json, results)
  print(render(results))


def training_fields(config, folder: str) -> dict:
  """What the run changes of its config: one cycle, logged at every step, on the embedded photographs."""
  steps = config.optim.robust_every_steps
  return {
    "data.source": "sample",
    "data.resize": 0,
    "data.cache_dir": f"{folder}/cache",
    "data.image_size": config.data.image_size,
    "model.width": config.model.width,
    "model.critic_width": config.model.critic_width,
    "attack.num_seeds": config.attack.num_seeds,
    "attack.num_steps": config.attack.num_steps,
    "train.batch_size": config.train.batch_size,
    "train.num_steps": steps,
    "train.log_every_steps": 1,
    "train.checkpoint_every_steps": steps,
    "train.image_every_steps": steps,
    "train.steps_per_dispatch": 1,
  }


def _prepare_data(config, changes):
  from prt_jax.data import prepare

  data = config.data.copy_and_resolve_references()
  for field, value in changes.items():
    if field.startswith("data."):
      data[field.removeprefix("data.")] = value
  prepare(data)


def first_steps(command: list[str], device: str, cycle: int) -> dict:
  """Runs the command; {'first_step_s', 'first_cycle_s'} from its start to the log lines of those steps."""
  platform = {"cpu": "cpu", "gpu": "cuda", "tpu": "tpu"}[device]
  environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"} | {"JAX_PLATFORMS": platform}
  start = time.perf_counter()
  seconds, last = {}, ""
  process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment)
  for line in process.stderr:
    last = line.strip() or last
    if match := re.search(r"\bstep (\d+) of \d+  ", line):
      seconds.setdefault(int(match[1]), time.perf_counter() - start)
  if process.wait():
    raise UserError(f"the training command failed: {last}")
  return {"first_step_s": seconds[1], "first_cycle_s": seconds[cycle]}


def render(results: dict) -> str:
  """Cold, warm and their ratio."""
  rows = [[name, results[name]["first_step_s"], results[name]["first_cycle_s"]] for name in ("cold", "warm")]
  ratios = [results["warm"][key] / results["cold"][key] for key in ("first_step_s", "first_cycle_s")]
  return format_table(["compilation cache", "first step s", "first cycle s"], [*rows, ["warm / cold", *ratios]])


if __name__ == "__main__":
  settings.run(main)
