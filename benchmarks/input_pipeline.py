"""Images a second that each source and placement delivers, and how long a training step waits for them.

python -m benchmarks.input_pipeline --device=cpu --batch=16 --json=FILE [--path=FOLDER] [--tfds_dir=DIR]

The step is the fastest that a run has, a critic step and a plain generator step, so waits for the largest share.
"""

import time

import numpy as np
from absl import logging

from benchmarks import settings
from experiments.results import format_table
from prt_jax.errors import UserError

SOURCES = ("sample", "folder", "tfds")


def delivered(batches, batch_size: int) -> float:
  """Images a second of an iterator of device batches, the first left out."""
  import jax

  iterator = iter(batches)
  jax.block_until_ready(next(iterator))
  start, count = time.perf_counter(), 0
  for images in iterator:
    jax.block_until_ready(images)
    count += batch_size
  return count / (time.perf_counter() - start)


def waited(batches, step, state) -> tuple[float, float]:
  """(seconds waited for data, seconds in all) of training steps, the first, which compiles, left out."""
  iterator = iter(batches)
  state = step(state, next(iterator))
  state.step.block_until_ready()
  waiting, start = 0.0, time.perf_counter()
  while True:
    before = time.perf_counter()
    if (images := next(iterator, None)) is None:
      return waiting, before - start
    waiting += time.perf_counter() - before
    state = step(state, images)
    state.step.block_until_ready()


def main(argv: list[str]) -> None:
  """Parses, measures every source in both placements, prints the table and writes the JSON after each."""
  parser = settings.make_parser(__doc__)
  parser.add_argument("--sources", default=",".join(SOURCES), help="comma-separated")
  parser.add_argument("--path", default="", help="images of the folder source")
  parser.add_argument("--tfds_dir", default="", help="data_dir of the tfds source; default: TFDS's own")
  parser.add_argument("--cache_dir", help="data.cache_dir, if not the config's")
  parser.add_argument("--num_batches", type=int, default=200, help="delivered without a step")
  parser.add_argument("--num_steps", type=int, default=5, help="training steps that are watched for waiting")
  args = parser.parse_args(argv)
  config = settings.load_config(args)
  settings.select_device(args.device, config)
  results = settings.provenance("benchmarks.input_pipeline", config)
  results["settings"] |= {"device": args.device}
  results["lines"] = []
  step = _TrainingStep(config)
  for source in args.sources.split(","):
    data = config.data.copy_and_resolve_references()
    data.source, data.path = source, {"folder": args.path, "tfds": args.tfds_dir}.get(source, data.path)
    data.cache_dir = args.cache_dir or data.cache_dir
    try:
      results["lines"] += [measure(step, data, placement, args) for placement in ("host", "device")]
    except UserError as reason:
      logging.warning("%s: %s", source, reason)
      results["lines"].append({"source": source, "not_run": str(reason)})
    settings.write_json(args.json, results)
  print(render(results))


class _TrainingStep:
  """The plain training step of a config, compiled once for all sources."""

  def __init__(self, config):
    from prt_jax import devices
    from prt_jax.training.gan import init_state, make_game
    from prt_jax.training.step import make_train_step

    game = make_game(config, axis_name=devices.AXIS)
    self.batch_size, self.seed = config.train.batch_size, config.seed
    self.run = make_train_step(game, robust=False)
    self.new_state = lambda: devices.replicate(init_state(game))


def measure(step: _TrainingStep, data, placement: str, args) -> dict:
  """One source and placement. UserError where the source cannot be read."""
  from prt_jax.data import prepare
  from prt_jax.training import prefetch

  dataset = prepare(data)
  fetch = prefetch.make_fetch(dataset.train, placement)

  def batches(count):
    dispatches = ((first, 1) for first in range(count + 1))
    examples = len(dataset.train)
    return prefetch.batches(fetch, dispatches, seed=step.seed, batch_size=step.batch_size, num_examples=examples)

  rates = [delivered(batches(args.num_batches), step.batch_size) for _ in range(args.repeats)]
  waiting, total = waited(batches(args.num_steps), step.run, step.new_state())
  return {
    "source": data.source,
    "placement": placement,
    "examples": len(dataset.train),
    "images_per_s": float(np.median(rates)),
    "step_images_per_s": args.num_steps * step.batch_size / total,
    "waiting_share": waiting / total,
  }


def render(results: dict) -> str:
  """A line a source and placement; sources that could not be read say why."""
  lines = results["lines"]
  rows = [
    [
      line["source"],
      line["placement"],
      line["examples"],
      line["images_per_s"],
      line["step_images_per_s"],
      f"{line['waiting_share']:.2%}",
    ]
    for line in lines
    if "not_run" not in line
  ]
  header = ["source", "placement", "examples", "images/s delivered", "images/s of the step", "waiting"]
  failed = [f"{line['source']}: not yet run ({line['not_run']})" for line in lines if "not_run" in line]
  return "\n".join([format_table(header, rows), *failed])


if __name__ == "__main__":
  settings.run(main)
