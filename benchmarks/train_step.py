"""Times the training step of prt_jax beside the same step in PyTorch.

python -m benchmarks.train_step --device=cpu --batch=16 --json=FILE

Critic step, plain and robust generator step, and a whole cycle of three training steps as training dispatches it.
Each row (--rows) has a process of its own; after a warm-up the rows take turns, so that a machine that slows down slows
all of them. With --together all rows compile at the same time: sooner, and compile times are of all of them.
JSON: {"critic" | "plain" | "robust" | "cycle": {"jax_s": median, "torch_eager_s": median, ..., "jax": {median,
extremes, samples, compile time, peak memory}, ...}, "rows", hardware, versions, command, settings}.
"""

import contextlib

from absl import logging

from benchmarks import settings
from benchmarks.sides import ROWS, STEPS
from benchmarks.workers import RowFailed, Worker
from experiments.results import format_table
from prt_jax.errors import UserError


def main(argv: list[str]) -> None:
  """Parses, measures, prints the table and writes the JSON after every step."""
  parser = settings.make_parser(__doc__)
  parser.add_argument("--rows", default="jax,torch_eager", help=f"comma-separated, or all: {', '.join(ROWS)}")
  parser.add_argument("--steps", default=",".join(STEPS), help="comma-separated")
  parser.add_argument(
    "--seeds_per_pass", type=int, help="noise seeds in one PyTorch pass; default: 1 on CPU, all elsewhere"
  )
  parser.add_argument("--together", action="store_true", help="warm all rows up at the same time")
  args = parser.parse_args(argv)
  config = settings.load_config(args)
  rows = list(ROWS) if args.rows == "all" else args.rows.split(",")
  steps = args.steps.split(",")
  for name, known in ((name, ROWS) for name in rows):
    if name not in known:
      raise UserError(f"--rows: {name!r} is unknown: choose among {', '.join(known)}")
  if unknown := set(steps) - set(STEPS):
    raise UserError(f"--steps: {unknown.pop()!r} is unknown: choose among {', '.join(STEPS)}")
  results = settings.provenance("benchmarks.train_step", config)
  seeds_per_pass = args.seeds_per_pass or (1 if args.device == "cpu" else config.attack.num_seeds)
  results["settings"] |= {
    "device": args.device,
    "torch_seeds_per_pass": seeds_per_pass,
    "together": args.together,
    "repeats": args.repeats,
  }
  results["rows"] = {}
  with contextlib.ExitStack() as stack:
    workers = {}
    for row in rows:
      try:
        workers[row] = Worker(row, config, args.device, seeds_per_pass)
        stack.enter_context(workers[row])
        results["rows"][row] = workers[row].description
      except RowFailed as reason:
        _drop(workers, row, results, reason)
    for step in steps:
      results[step] = measure_step(step, workers, args.repeats, results, args.together)
      settings.write_json(args.json, results)
  print(render(results))


def measure_step(step: str, workers: dict[str, Worker], repeats: int, results: dict, together: bool = False) -> dict:
  """Warms every row up, then samples them in turn; a row that fails leaves `workers`, its reason in results."""

  def attempt(row, method, *arguments):
    if row not in workers:
      return None
    try:
      return getattr(workers[row], method)(*arguments)
    except RowFailed as reason:
      return _drop(workers, row, results, reason)

  measured = {}
  for rows in [list(workers)] if together else [[row] for row in workers]:
    for row in rows:
      attempt(row, "begin_warm_up", step)
    for row in rows:
      measured[row] = attempt(row, "end_warm_up")
  samples = {row: [] for row in workers}
  for _ in range(repeats):
    for row in list(workers):
      samples[row].append(attempt(row, "sample", step))
  summary = {}
  for row in workers:
    measured[row] |= settings.spread(samples[row])
    summary[f"{row}_s"] = measured[row]["median_s"]
    logging.info("%s  %s  %.3g s", step, row, summary[f"{row}_s"])
  return summary | {row: measured[row] for row in workers}


def _drop(workers, row, results, reason):
  workers.pop(row, None)
  results["rows"][row] = f"does not run: {reason}"
  logging.warning("%s does not run: %s", row, reason)


def render(results: dict) -> str:
  """The table of a run: a line a step and row."""
  lines = []
  for step in STEPS:
    for row, numbers in results.get(step, {}).items():
      if not isinstance(numbers, dict):
        continue
      eager = results[step].get("torch_eager_s")
      lines.append(
        [
          step,
          row,
          numbers["median_s"],
          f"{numbers['min_s']:.3g} to {numbers['max_s']:.3g}",
          results["settings"]["batch"] / numbers["median_s"],
          numbers["median_s"] / eager if eager else "",
          numbers["peak_memory_bytes"] / 2**30,
          numbers.get("compile_s", max(0.0, numbers["first_call_s"] - numbers["median_s"])),
        ]
      )
  header = ["step", "row", "median s", "spread s", "images/s", "times torch_eager", "peak GiB", "compile s"]
  failed = [f"{row}: {text}" for row, text in results["rows"].items() if text.startswith("does not run")]
  return "\n".join([format_table(header, lines), *failed])


if __name__ == "__main__":
  settings.run(main)
