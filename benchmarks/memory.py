"""Peak memory of a robust step against batch, seeds and seeds at once, by the compiled program's memory analysis.

python -m benchmarks.memory --device=cpu --json=FILE

Nothing is run: each line compiles a program, which takes minutes at full size. Lines that the JSON file holds already
are not compiled again, so that the same command goes on after an interruption.
"""

import itertools
import json
import time

from absl import logging

from benchmarks import settings
from benchmarks.memory_use import program_bytes
from experiments.results import format_table

ACCELERATOR_BYTES = 16e9


def numbers(text: str) -> list[int]:
  """'1,10' -> [1, 10]."""
  return [int(part) for part in text.split(",")]


def measure(config, batch: int, seeds: int, at_once: int) -> dict:
  """Compiles one robust step from its shapes."""
  from benchmarks.jax_steps import compile_abstract

  config = config.copy_and_resolve_references()
  config.train.batch_size, config.attack.num_seeds, config.attack.seeds_at_once = batch, seeds, at_once
  start = time.perf_counter()
  _, program = compile_abstract(config, "robust")
  analysis = program.memory_analysis()
  peak = program_bytes(analysis)
  return {
    "batch": batch,
    "seeds": seeds,
    "seeds_at_once": at_once,
    "peak_bytes": peak,
    "temporary_bytes": analysis.temp_size_in_bytes,
    "fits_16_gb": peak < ACCELERATOR_BYTES,
    "compile_s": time.perf_counter() - start,
  }


def main(argv: list[str]) -> None:
  """Parses, compiles what is missing, prints the table and writes the JSON after every line."""
  parser = settings.make_parser(__doc__)
  parser.add_argument("--batches", type=numbers, default=[16, 64])
  parser.add_argument("--seed_counts", type=numbers, default=[1, 10])
  parser.add_argument("--at_once", type=numbers, default=[10, 1], help="attack.seeds_at_once")
  args = parser.parse_args(argv)
  config = settings.load_config(args)
  settings.select_device(args.device, config)
  results = settings.provenance("benchmarks.memory", config)
  results["settings"] |= {"device": args.device}
  results["lines"] = _finished_lines(args.json, results["settings"])
  done = {(line["batch"], line["seeds"], line["seeds_at_once"]) for line in results["lines"]}
  for point in itertools.product(args.batches, args.seed_counts, args.at_once):
    if point not in done and point[2] <= point[1]:
      logging.info("batch %d, %d seeds, %d at once", *point)
      results["lines"].append(measure(config, *point))
      settings.write_json(args.json, results)
  settings.write_json(args.json, results)
  print(render(results))


def _finished_lines(path, wanted_settings):
  if path is None or not path.exists():
    return []
  earlier = json.loads(path.read_text())
  return earlier["lines"] if earlier["settings"] == wanted_settings else []


def render(results: dict) -> str:
  """A line a program."""
  rows = [
    [
      line["batch"],
      line["seeds"],
      line["seeds_at_once"],
      line["peak_bytes"] / 1e9,
      "yes" if line["fits_16_gb"] else "no",
      line["compile_s"],
    ]
    for line in sorted(results["lines"], key=lambda line: (line["batch"], line["seeds"], line["seeds_at_once"]))
  ]
  return format_table(["batch", "seeds", "seeds at once", "peak GB", "fits 16 GB", "compile s"], rows)


if __name__ == "__main__":
  settings.run(main)
