"""Writes the table that `--mode=plan` scales from: compiled programs beside the counts of the same steps.

python -m benchmarks.calibrate benchmarks/results/compiled_*.json

Its rows are those of benchmarks.compiled, of one chip, full effort and the steps `plain` and `robust`; a later row of
the same program replaces an earlier one. Nothing is compiled: each row's step is traced and counted, as the code makes
it now. So compile anew, then calibrate, when the nets change.
"""

import argparse
import json
import pathlib

from absl import logging

from benchmarks import settings
from prt_jax.commands.parser import Parser
from prt_jax.errors import UserError

TABLE = pathlib.Path(__file__).parents[1] / "prt_jax" / "plan" / "compiled_programs.py"
STEPS = ("plain", "robust")
# XLA does not count multiplications with padding, which the counts have.
FLOPS_RANGE = (0.8, 1.05)
_HEADER = '''"""Training steps as compilers made them, beside their counts: see calibration.Program.

Written by benchmarks.calibrate from benchmarks/results/compiled_*.json; not by hand.
"""

PROGRAMS = '''


def calibrate(rows: list[dict]) -> list[dict]:
  """The fields of a calibration.Program for each row that can be one.

  Raises:
    UserError: a row whose FLOPs are not those of its step as the code makes it now.
  """
  from prt_jax.plan.work import StepWork
  from prt_jax.targets import TARGETS

  works, programs = {}, {}
  for row in rows:
    if row["step"] not in STEPS or row.get("chips", 1) != 1 or row.get("effort", "full") != "full":
      continue
    config = config_of(row)
    work = works.setdefault(config.to_json(sort_keys=True), StepWork(config))
    logging.info("%s %s, %s at batch %d in %s", row["target"], row["step"], row["config"], row["batch"], row["dtype"])
    work, batch = work.step(TARGETS[row["target"]].kind, row["step"] == "robust"), row["batch"]
    share = row["flops"] / work.flops(batch)
    if not FLOPS_RANGE[0] < share < FLOPS_RANGE[1]:
      raise UserError(
        f"{row['target']} {row['step']}: the compiled program has {share:.2f} times the FLOPs that its step has now: "
        "compile it anew with benchmarks.compiled, or leave its row out"
      )
    program = {
      "target": row["target"],
      "step": row["step"],
      "config": _about(row),
      "batch": batch,
      "dtype": row["dtype"],
      "source": f"compiled by JAX {row['jax']}",
      "moved": round(row.get("memory_bytes") or row["bytes"]),
      "cycles": row["estimated_cycles"] and round(row["estimated_cycles"]),
      "temporaries": row["temp_bytes"],
      "code": row["code_bytes"],
      "counted_flops": work.flops(batch),
      "counted_moved": work.moved(batch),
      "counted_peak": work.peak(batch),
    }
    programs[program["target"], program["step"], program["config"], batch, program["dtype"]] = program
  return list(programs.values())


def config_of(row: dict):
  """The config of a row's program."""
  flags = ("batch", "seeds", "attack_steps", "width", "critic_width", "image_size")
  config = settings.load_config(argparse.Namespace(config=row["config"], **{flag: row.get(flag) for flag in flags}))
  config.model.dtype = row["dtype"]
  return config


def _about(row):
  """'sr16 (10 seeds)': a row's config in words."""
  return f"{pathlib.Path(row['config'].partition(':')[0]).stem} ({row['seeds']} seeds)"


def render(programs: list[dict]) -> str:
  """The table as a Python file."""
  lines = []
  for program in programs:
    lines += ["  {", *(f"    {json.dumps(name)}: {_literal(value)}," for name, value in program.items()), "  },"]
  return "\n".join([f"{_HEADER}(", *lines, ")"]) + "\n"


def _literal(value):
  return json.dumps(value) if isinstance(value, str) else repr(value)


def main(argv: list[str]) -> None:
  """Reads the rows and writes the table."""
  parser = Parser(__doc__)
  parser.add_argument("rows", type=pathlib.Path, nargs="+", help="JSON files of benchmarks.compiled")
  parser.add_argument("--table", type=pathlib.Path, default=TABLE)
  args = parser.parse_args(argv)
  import jax

  jax.config.update("jax_platforms", "cpu")
  try:
    rows = [row for path in args.rows for row in json.loads(path.read_text())]
  except (OSError, ValueError) as error:
    raise UserError(f"cannot read the rows: {error}") from error
  programs = calibrate(rows)
  if not programs:
    raise UserError(
      f"no row of one chip, of full effort and of the steps {', '.join(STEPS)}: run benchmarks.compiled with these"
    )
  args.table.write_text(render(programs))
  print(f"{len(programs)} programs in {args.table}")


if __name__ == "__main__":
  settings.run(main)
