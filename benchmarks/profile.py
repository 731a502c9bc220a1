"""Where the time of each step goes, by kind of operation, from XLA's profiler.

taskset -c 0 python -m benchmarks.profile --device=cpu --batch=16 --seeds=2 --attack_steps=2 --json=FILE

An operation is a convolution if it contains one (fused with what surrounds it), then likewise for the other kinds.
Shares are of the wall time of all cores (of one accelerator). What no event covers is unattributed: waiting, and on a
CPU the work that Eigen's convolutions leave to other threads, whose own events end when they have handed it over. On
one core (taskset) they leave none: there everything is attributed.
"""

import collections
import pathlib
import tempfile
import time

from absl import logging

from benchmarks import hlo, settings
from benchmarks.cores import num_cores
from experiments.results import format_table

# The first kind that an operation contains: opcodes, or parts of the name of a library's routine.
KINDS = {
  "convolutions": ("convolution", "cudnn"),
  "matrix products": ("dot", "cublas"),
  "reductions": ("reduce", "reduce-window", "all-reduce"),
  "moving data": hlo.MOVES,
}
OTHER = "elementwise"
REST = "unattributed"


def operation_kinds(text: str) -> dict[str, str]:
  """{operation: its kind} of a compiled program's text; containers, whose contents have events, are left out."""
  program = hlo.Program(text)
  return {
    name: hlo.first_kind(program.contents(instruction), KINDS) or OTHER
    for instructions in program.computations.values()
    for name, instruction in instructions.items()
    if instruction.opcode not in hlo.CONTAINERS
  }


def seconds_by_operation(folder: pathlib.Path, operations) -> dict[str, float]:
  """Seconds, summed over threads and streams, of the named operations in a trace."""
  import jax

  (trace,) = folder.glob("**/*.xplane.pb")
  seconds = collections.Counter()
  for plane in jax.profiler.ProfileData.from_file(str(trace)).planes:
    for line in plane.lines:
      for event in line.events:
        operation = dict(event.stats).get("hlo_op")
        if operation in operations:
          seconds[operation] += event.duration_ns / 1e9
  return dict(seconds)


def profile(program, arguments: tuple) -> dict:
  """One call of a compiled program, warmed up: {'wall_s', 'share': {kind: of the wall time of all cores}}."""
  import jax

  kinds = operation_kinds(program.as_text())
  with tempfile.TemporaryDirectory() as folder:
    with jax.profiler.trace(folder):
      start = time.perf_counter()
      jax.block_until_ready(program(*arguments))
      wall = time.perf_counter() - start
    by_operation = seconds_by_operation(pathlib.Path(folder), kinds)
  available = wall * (num_cores() if jax.default_backend() == "cpu" else 1)
  share = dict.fromkeys([*KINDS, OTHER], 0.0)
  for name, seconds in by_operation.items():
    share[kinds[name]] += seconds / available
  return {"wall_s": wall, "share": share | {REST: 1 - sum(share.values())}}


def main(argv: list[str]) -> None:
  """Profiles every step, prints the table and writes the JSON after each."""
  parser = settings.make_parser(__doc__)
  parser.add_argument("--steps", default="critic,plain,robust", help="comma-separated")
  args = parser.parse_args(argv)
  config = settings.load_config(args)
  settings.select_device(args.device, config)
  import jax

  from benchmarks.jax_steps import make_arguments, make_steps
  from prt_jax.training.gan import make_game

  game = make_game(config)
  results = settings.provenance("benchmarks.profile", config)
  results["settings"] |= {"device": args.device}
  results["steps"] = {}
  for step in args.steps.split(","):
    logging.info("%s", step)
    state, images, key = make_arguments(game)
    program = make_steps(game)[step].lower(state, images, key).compile()
    state, _ = jax.block_until_ready(program(state, images, key))
    results["steps"][step] = profile(program, (state, images, key))
    settings.write_json(args.json, results)
  print(render(results))


def render(results: dict) -> str:
  """A line a step: the wall time of the profiled call, and the share of each kind."""
  rows = [
    [step, numbers["wall_s"], *(f"{share:.0%}" for share in numbers["share"].values())]
    for step, numbers in results["steps"].items()
  ]
  kinds = next(iter(results["steps"].values()))["share"]
  return format_table(["step", "wall s", *kinds], rows)


if __name__ == "__main__":
  settings.run(main)
