"""The training step as a TPU's or GPU's compiler makes it, on a machine that has neither.

python -m benchmarks.compiled --target=tpu-v5e --config=configs/sr16.py --dtype=bfloat16 --json=FILE

The program is the one that the chip would run; it is not run. Of a TPU, the time is its compiler's own estimate: the
cycles of every instruction, with loops as often as they go round, at the chip's clock; what is done beside them (copies
started ahead) has none. Of a GPU there is no estimate, and the time is a bound: no program that moves these bytes and
computes these FLOPs takes less. Of several chips (--chips), all numbers are of one, and --batch is of all.

With --run, on a machine that has the chip, the program is made as a run would make it (of a GPU, kernels are chosen by
trying them) and is timed as well: measured_seconds beside the bound.

FLOPs are those of convolutions and matrix products. Bytes are the operands and results of every instruction, whole
tiles of them; a TPU's roofline counts those in its main memory.
"""

import collections
import json
import pathlib
import time

from absl import logging

from benchmarks import compilers, hlo, settings
from benchmarks.target_steps import STEPS, lower, time_step
from prt_jax import targets
from prt_jax.errors import UserError

CONVOLUTION, COLLECTIVE, REDUCTION, COPY, ELEMENTWISE, OTHER = KINDS = (
  "convolution", "collective", "reduction", "copy and layout", "elementwise", "other",
)  # fmt: skip
# The first that an operation contains; what none of these is, _kind_of_rest sorts.
_CONTAINED = {
  CONVOLUTION: ("convolution", "dot", *hlo.LIBRARIES),
  COLLECTIVE: (*hlo.COLLECTIVES, *(f"{name}-start" for name in hlo.COLLECTIVES)),
  REDUCTION: ("reduce", "reduce-window", "select-and-scatter"),
}
_SHAPING = frozenset({*hlo.MOVES, "copy-start", "slice-start", "dynamic-slice-start", "dynamic-update-slice-start",
                      "reshape", "broadcast", "bitcast", "tuple", "get-tuple-element", "parameter", "constant",
                      "fusion", "async-start"})  # fmt: skip
_OTHERS = ("custom-call", "rng", "rng-bit-generator", "sort", "infeed", "outfeed", "send", "recv", "fft")
# A row of the JSON file is replaced by one that says the same of these.
IDENTITY = ("target", "step", "batch", "dtype", "chips", "config", "seeds", "attack_steps", "image_size", "width",
            "critic_width", "effort")  # fmt: skip
NUM_DEAREST = 10
# What the compiler is asked for: its best, or a program soon (of a TPU, with the layouts of the best, but without what
# it does to keep arrays in vector memory, and other loops inside of operations).
EFFORTS = {"full": {}, "quick": {"xla_optimization_level": "EFFORT_O0"}}


def kind_of(contents: frozenset[str]) -> str:
  """The kind, of KINDS, of an operation with these contents (hlo.Program.contents)."""
  if kind := hlo.first_kind(contents, _CONTAINED):
    return kind
  if contents <= _SHAPING:
    return COPY
  return ELEMENTWISE if contents.isdisjoint(_OTHERS) else OTHER


def account(text: str, kind: str) -> dict:
  """What a compiled program's text says of one run of it on one chip.

  Args:
    text: of Compiled.as_text().
    kind: of the chip, 'tpu' or 'gpu'.

  Returns:
    The numbers of a row: flops, bytes, memory_bytes (of main memory alone), estimated_cycles (None on a GPU), kernels,
    by_kind {kind: cycles, or bytes on a GPU}, collectives {opcode: [count, bytes of operands]}, dearest, and
    unknown_loops, counted as one turn each.
  """
  program = hlo.Program(text)
  tpu = kind == "tpu"
  totals, by_kind = collections.Counter(), dict.fromkeys(KINDS, 0)
  collectives, alike = {}, {}
  for instruction, computation, times in program.executed():
    of_kind = kind_of(program.contents(instruction))
    traffic = program.traffic(instruction, computation)
    moved = sum(array.bytes for array in traffic)
    cost = (instruction.cycles or 0) if tpu else moved
    totals += collections.Counter(
      flops=times * program.flops(instruction, computation),
      bytes=times * moved,
      memory_bytes=times * sum(array.bytes for array in traffic if not (tpu and array.memory_space)),
      cost=times * cost,
      kernels=times,
    )
    by_kind[of_kind] += times * cost
    if instruction.opcode.removesuffix("-start") in hlo.COLLECTIVES:
      count = collectives.setdefault(instruction.opcode.removesuffix("-start"), [0, 0])
      count[0] += times
      count[1] += times * sum(array.bytes for array in program.operands(instruction, computation))
    key = instruction.opcode, of_kind, instruction.shape, instruction.source
    same = alike.setdefault(key, {"count": 0, "cost": 0})
    same["count"] += times
    same["cost"] += times * cost
  dearest = sorted(alike.items(), key=lambda item: -item[1]["cost"])[:NUM_DEAREST]
  return {
    **{name: totals[name] for name in ("flops", "bytes", "memory_bytes")},
    "estimated_cycles": totals["cost"] if tpu else None,
    "kernels": totals["kernels"],
    "by_kind": by_kind,
    "collectives": collectives,
    "dearest": [
      {"opcode": opcode, "kind": of_kind, "shape": shape, "source": source} | numbers
      for (opcode, of_kind, shape, source), numbers in dearest
    ],
    "unknown_loops": program.unknown_loops(),
  }


def estimate(numbers: dict, target: targets.Target, dtype: str, chips: int = 1) -> dict:
  """{'estimated_seconds', 'bound_seconds', 'roofline_share', 'collective_seconds'} of account's numbers on a chip.

  The last is a bound of its own, in none of the others: the compiler estimates no collective. A chip sends and receives
  a sum's operands twice, less its own share; what each takes to begin is not known, so mind their count.
  """
  bound = max(numbers["flops"] / target.peak_flops[dtype], numbers["memory_bytes"] / target.bytes_per_second)
  cycles = numbers["estimated_cycles"]
  seconds = bound if cycles is None else cycles / target.clock_hz
  summed = sum(size for _, size in numbers["collectives"].values())
  return {
    "estimated_seconds": seconds,
    "bound_seconds": bound,
    "roofline_share": bound / seconds if seconds else 0.0,
    "collective_seconds": 2 * summed * (chips - 1) / chips / (target.link_bytes_per_second / 2),
  }


def measure(target: targets.Target, step: str, config, chips: int, effort: str = "full", repeats: int = 0) -> dict:
  """Compiles one step and gives its row. UserError where the chip's memory is too small for it.

  repeats: with any, for the chips of this machine, and so many samples of the step's time are taken.
  """
  import jax

  devices = (compilers.at_hand if repeats else compilers.describe)(target, chips)[:chips]
  start = time.perf_counter()
  lowered = lower(step, config, devices)
  lowered_at = time.perf_counter()
  try:
    program = lowered.compile(compiler_options=EFFORTS[effort])
  except jax.errors.JaxRuntimeError as error:
    raise UserError(f"{target.name} does not compile {step}: {str(error).partition(chr(10))[0]}") from error
  seconds = time.perf_counter() - lowered_at
  memory = program.memory_analysis()
  numbers = account(program.as_text(), target.kind)
  return {
    "target": target.name,
    "step": step,
    "batch": config.train.batch_size,
    "dtype": config.model.dtype,
    "chips": chips,
    "effort": effort,
    "hosts": len({device.process_index for device in devices}),
    **numbers,
    **estimate(numbers, target, config.model.dtype, chips),
    "bytes_by_compiler": _compilers_bytes(program),
    "argument_bytes": memory.argument_size_in_bytes,
    "output_bytes": memory.output_size_in_bytes,
    "temp_bytes": memory.temp_size_in_bytes,
    "alias_bytes": memory.alias_size_in_bytes,
    "code_bytes": memory.generated_code_size_in_bytes,
    "trace_seconds": lowered_at - start,
    "compile_seconds": seconds,
    **(time_step(step, config, lowered, program, repeats) if repeats else {}),
  }


def _compilers_bytes(program):
  # None on a GPU. What a loop does is counted once.
  analysis = program.cost_analysis() or {}
  return (analysis[0] if isinstance(analysis, list) else analysis).get("bytes accessed")


def main(argv: list[str]) -> None:
  """Compiles every step, prints the table and writes the JSON after each."""
  parser = settings.make_parser(__doc__, timed=False)
  parser.add_argument("--target", required=True, help=", ".join(targets.TARGETS))
  parser.add_argument("--steps", "--step", default="plain,robust,attack", help=f"comma-separated: {', '.join(STEPS)}")
  parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="model.dtype, if not the config's")
  parser.add_argument("--chips", type=int, default=1, help="of the smallest slice that has so many")
  parser.add_argument(
    "--run", type=int, default=0, metavar="REPEATS", help="compile for this machine's chips, and time the step so often"
  )
  parser.add_argument("--effort", choices=EFFORTS, default="full", help="of the compiler; quick is a fifth of the time")
  args = parser.parse_args(argv)
  target = targets.find(args.target)
  targets.check_chips(target, args.chips)
  steps = args.steps.split(",")
  if unknown := set(steps) - set(STEPS):
    raise UserError(f"--steps: {', '.join(sorted(unknown))} is unknown: choose among {', '.join(STEPS)}")
  config = settings.load_config(args)
  config.model.dtype = args.dtype or config.model.dtype
  rows = read_rows(args.json)
  if args.run:
    settings.select_device(target.kind, config)
  else:
    compilers.prepare(target.kind)
  from prt_jax import devices

  devices.check_batch_size("--batch", config.train.batch_size, args.chips)
  record = settings.provenance("benchmarks.compiled", config)
  about = {"config": args.config, **record["settings"], "jax": record["versions"]["jax"]} | {
    name: record[name] for name in ("command", "date", "versions")
  }
  for step in steps:
    logging.info("%s for %d x %s", step, args.chips, target.title)
    row = about | measure(target, step, config, args.chips, args.effort, args.run)
    rows = [old for old in rows if not _is_same(old, row)] + [row]
    settings.write_json(args.json, rows)
    print(render([row]), flush=True)


def _is_same(old, row):
  return all(old.get(name) == row[name] for name in IDENTITY)


def read_rows(path: pathlib.Path | None) -> list[dict]:
  """The rows that a file holds already. UserError for a file of another kind."""
  if path is None or not path.exists():
    return []
  try:
    rows = json.loads(path.read_text())
  except ValueError as error:
    raise UserError(f"{path} is no JSON ({error}): name another --json") from error
  if not (isinstance(rows, list) and all(isinstance(row, dict) and "target" in row for row in rows)):
    raise UserError(f"{path} holds something else than rows of this benchmark: name another --json")
  return rows


def render(rows: list[dict], *, dearest: bool = True) -> str:
  """A line a program, and what its time (a GPU's bytes) goes to; where asked, its dearest operations.

  KeyError for a row that lacks a number.
  """
  from experiments.results import format_table

  names = ["target", "step", "batch", "chips"]
  header = [*names, "seeds", "dtype", "effort", "GFLOP", "GB", "ms", "of roofline", "kernels"]
  header += ["arguments GB", "temporary GB", "code MB", "compile s"]
  programs = [
    [
      *(row[name] for name in (*names, "seeds", "dtype", "effort")),
      row["flops"] / 1e9,
      row["bytes"] / 1e9,
      row["estimated_seconds"] * 1e3,
      "a bound" if row["estimated_cycles"] is None else f"{row['roofline_share']:.0%}",
      row["kernels"],
      (row["argument_bytes"] + row["output_bytes"] - row["alias_bytes"]) / 1e9,
      row["temp_bytes"] / 1e9,
      row["code_bytes"] / 1e6,
      row["compile_seconds"],
    ]
    for row in rows
  ]
  kinds = [[*(row[name] for name in names), *(f"{share:.0%}" for share in shares(row).values())] for row in rows]
  tables = [format_table(header, programs), format_table([*names, *KINDS], kinds)]
  for row in rows:
    tables += [*_remarks(row), *([_dearest_table(row)] if dearest else [])]
  return "\n\n".join(tables)


def _dearest_table(row):
  from experiments.results import format_table

  unit, scale = ("MB", 1e6) if row["estimated_cycles"] is None else ("1000 cycles", 1e3)
  lines = [
    [one["cost"] / scale, one["count"], one["kind"], one["opcode"], one["shape"][:60], _short(one["source"])]
    for one in row["dearest"]
  ]
  return format_table([unit, "count", "kind", "operation", "shape", "from"], lines)


def shares(row: dict) -> dict[str, float]:
  """The share of each kind in the estimated cycles of a row, in the bytes of a GPU's."""
  total = sum(row["by_kind"].values()) or 1
  return {kind: cost / total for kind, cost in row["by_kind"].items()}


def _remarks(row):
  name = f"{row['target']}, {row['step']}, {row['chips']} chips"
  remarks = []
  if "measured" in row:
    spread = " to ".join(f"{row['measured'][name] * 1e3:.4g}" for name in ("min_s", "max_s"))
    times = row["measured_seconds"] / row["bound_seconds"]
    remarks.append(f"{name}: measured {row['measured_seconds'] * 1e3:.4g} ms ({spread}), {times:.3g} times the bound.")
  if row["collectives"]:
    each = ", ".join(f"{count} x {kind} of {size / 1e6:.4g} MB" for kind, (count, size) in row["collectives"].items())
    seconds = row["collective_seconds"]
    share = seconds / row["estimated_seconds"]
    remarks.append(f"{name}: {each} in all, {seconds * 1e3:.3g} ms or more on the links ({share:.1%} of the estimate).")
  if row["hosts"] > 1:
    remarks.append(f"{name}: one program for the {row['hosts']} hosts, each of which compiles it.")
  if row["unknown_loops"]:
    remarks.append(f"{name}: {row['unknown_loops']} loops of unknown length, each counted as one turn.")
  return remarks


def _short(source):
  parts = [part for part in source.split("/") if not part.startswith(("jit(", "jvp(", "transpose(", "vmap("))]
  return "/".join(parts[-3:])


if __name__ == "__main__":
  settings.run(main)
