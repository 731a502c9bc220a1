"""The cost of one step against seeds, batch, image size and devices, each varied alone.

python -m benchmarks.scaling --device=cpu --batch=4 --seeds=2 --json=FILE

Devices are the process's own; on a CPU they are slices of the same cores, which shows overhead, not speed.
"""

import os
import time

from absl import logging

from benchmarks import settings
from experiments.results import format_table
from prt_jax.errors import UserError

FIELDS = {"seeds": ("attack", "num_seeds"), "batch": ("train", "batch_size"), "image_size": ("data", "image_size")}


def numbers(text: str) -> list[int]:
  """'1,10' -> [1, 10]; '' -> []."""
  return [int(part) for part in text.split(",") if part]


def measure(config, num_devices: int, repeats: int) -> dict:
  """Times the robust training step (critic step included) as training dispatches it, over the first devices."""
  import jax

  from benchmarks.jax_steps import make_pixels
  from prt_jax import devices
  from prt_jax.training.gan import init_state, make_game
  from prt_jax.training.step import training_step

  used = jax.local_devices()[:num_devices]
  game = make_game(config, axis_name=devices.AXIS)

  def mapped(state, batch):
    return training_step(game, state, batch, robust=True)

  step = jax.pmap(mapped, axis_name=devices.AXIS, in_axes=(None, 0), out_axes=None, devices=used)
  pixels = make_pixels(config)
  batch = pixels.reshape(num_devices, -1, *pixels.shape[1:])
  state = init_state(game)
  start = time.perf_counter()
  step(state, batch).step.block_until_ready()
  first = time.perf_counter() - start
  times = []
  for _ in range(repeats):
    start = time.perf_counter()
    step(state, batch).step.block_until_ready()
    times.append(time.perf_counter() - start)
  return {"first_call_s": first} | settings.spread(times)


def main(argv: list[str]) -> None:
  """Parses, varies one quantity after the other, prints the table and writes the JSON after every line."""
  parser = settings.make_parser(__doc__)
  parser.add_argument("--vary_seeds", type=numbers, default=[1, 2, 4], help="'' = none")
  parser.add_argument("--vary_batch", type=numbers, default=[2, 4, 8], help="'' = none")
  parser.add_argument("--vary_image_size", type=numbers, default=[32, 64], help="'' = none")
  parser.add_argument("--vary_devices", type=numbers, default=[], help="how many devices; '' = none")
  args = parser.parse_args(argv)
  config = settings.load_config(args)
  if args.device == "cpu" and args.vary_devices:
    count = f"--xla_force_host_platform_device_count={max(args.vary_devices)}"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {count}"
  settings.select_device(args.device, config)
  results = settings.provenance("benchmarks.scaling", config)
  results["settings"] |= {"device": args.device, "repeats": args.repeats}
  results["lines"] = []
  for quantity in (*FIELDS, "devices"):
    for value in getattr(args, f"vary_{quantity}"):
      logging.info("%s = %d", quantity, value)
      varied = config.copy_and_resolve_references()
      if quantity in FIELDS:
        group, name = FIELDS[quantity]
        varied[group][name] = value
      num_devices = value if quantity == "devices" else 1
      if varied.train.batch_size % num_devices:
        raise UserError(f"--vary_devices={num_devices} does not divide the batch of {varied.train.batch_size}")
      results["lines"].append({"quantity": quantity, "value": value} | measure(varied, num_devices, args.repeats))
      settings.write_json(args.json, results)
  print(render(results))


def render(results: dict) -> str:
  """A line a value."""
  rows = [
    [line["quantity"], line["value"], line["median_s"], f"{line['min_s']:.3g} to {line['max_s']:.3g}"]
    for line in results["lines"]
  ]
  return format_table(["varied", "value", "median s", "spread s"], rows)


if __name__ == "__main__":
  settings.run(main)
