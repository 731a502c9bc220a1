"""Writes benchmarks/RESULTS.md from the JSON files of benchmarks/results/.

python -m benchmarks.results

Every measurement that is meant to be published is listed here with its command; one without its file is "not yet run".
"""

import importlib
import json
import pathlib
import shlex
from typing import NamedTuple

from prt_jax.commands.parser import Parser, run
from prt_jax.errors import UserError
from prt_jax.targets import TARGETS

FOLDER = pathlib.Path(__file__).parent / "results"
PAGE = FOLDER.with_name("RESULTS.md")
INTRODUCTION = """# Benchmarks

Written by `python -m benchmarks.results` from `benchmarks/results/*.json`; each section names the command that
makes its file. Times with a spread are medians over alternating repeats after a warm-up, with the smallest
and largest sample; those without are of one run.
PyTorch is `benchmarks/torch_step.py`, which tests hold to the same losses and gradients.
"""


class Measurement(NamedTuple):
  """One section: its title, its JSON file's stem, the benchmark with its flags, and what its reader must know."""

  title: str
  stem: str
  module: str
  flags: str
  note: str = ""


BEFORE_KEPT = "Measured before the loop over seeds kept the first restorations' convolutions for their gradients."
ONE_CORE = "On one core: with `taskset -c 0` before the command."


GPU_ROWS = "jax,jax_tf32,jax_bfloat16,torch_eager,torch_tf32,torch_autocast"
TOGETHER = (
  "All rows compiled at the same time; PyTorch's have next to nothing to compile. The robust step had not compiled "
  "when the card's time was over: its bfloat16 row is in the last table."
)


def _gpu_steps():
  for batch in (64, 256):
    flags = f"--device=gpu --batch={batch} --rows={GPU_ROWS} --steps=plain,critic,robust --together --repeats=5"
    yield Measurement(f"Training step, GPU, batch {batch}", f"train_step_gpu{batch}", "train_step", flags, TOGETHER)


ESTIMATED = (
  "Compiled on a machine without one, and not run: ms are the compiler's own estimate (its cycles), and the roofline "
  "is of the maker's numbers. Bytes are of every operation's operands and results."
)
BOUND = (
  "Compiled on a machine without one, and not run: ms are a bound, the bytes of every kernel's operands and results "
  "over the card's bandwidth or the FLOPs over its peak."
)


def _compiled():
  for target in TARGETS.values():
    flags = f"--target={target.name} --config=configs/sr16.py --dtype=bfloat16 --steps=plain,robust,attack"
    title = f"Training step as compiled for an {target.title}".replace("an TPU", "a TPU")
    note = ESTIMATED if target.kind == "tpu" else BOUND
    yield Measurement(title, f"compiled_{target.name.replace('-', '_')}", "compiled", flags, note)


MEASUREMENTS = (
  Measurement(
    "Training step, CPU, batch 16", "train_step_cpu16", "train_step", "--device=cpu --batch=16 --repeats=5"
  ),
  Measurement(
    "Training step, CPU, batch 4, 2 seeds, other rows",
    "train_step_cpu4_rows",
    "train_step",
    "--device=cpu --batch=4 --seeds=2 --rows=all",
    f"{BEFORE_KEPT} {ONE_CORE}",
  ),
  *_gpu_steps(),
  Measurement(
    "Savings, each taken back, CPU",
    "savings_cpu",
    "savings",
    "--device=cpu --batch=16 --seeds=2 --attack_steps=1",
    f"{BEFORE_KEPT} The robust step with that saving is the next table.",
  ),
  Measurement(
    "Savings, each taken back, CPU, the robust step with the newest among them",
    "savings_robust_cpu",
    "savings",
    "--device=cpu --batch=16 --seeds=2 --attack_steps=1 --steps=robust",
  ),
  Measurement(
    "Savings, each taken back, CPU, the demo's narrow nets",
    "savings_demo_cpu",
    "savings",
    "--device=cpu --config=configs/sr16.py:stochastic-robust,demo",
    f"{BEFORE_KEPT} {ONE_CORE}",
  ),
  Measurement(
    "Formulations, each choice made the other way, GPU, bfloat16",
    "savings_gpu",
    "savings",
    "--device=gpu --batch=64 --dtype=bfloat16 --steps=robust,plain --jobs=8 --repeats=5",
    "Compiled eight at a time.",
  ),
  Measurement("R1, ways to compute it, CPU", "r1_cpu", "r1", "--device=cpu --batch=16"),
  Measurement("R1, ways to compute it, GPU", "r1_gpu", "r1", "--device=gpu --batch=64"),
  Measurement("Roofline, CPU", "roofline_cpu", "roofline", "--device=cpu --batch=4 --seeds=2", BEFORE_KEPT),
  Measurement("Roofline, GPU, bfloat16", "roofline_gpu", "roofline", "--device=gpu --batch=64 --dtype=bfloat16"),
  Measurement(
    "Profile, one CPU core", "profile_cpu", "profile", "--device=cpu --batch=16 --seeds=2 --attack_steps=2", ONE_CORE
  ),
  Measurement("Profile, GPU", "profile_gpu", "profile", "--device=gpu --batch=64"),
  Measurement("Peak memory of a robust step, as compiled for a CPU", "memory_cpu", "memory", "--device=cpu"),
  Measurement("Peak memory of a robust step, as compiled for a GPU", "memory_gpu", "memory", "--device=gpu"),
  Measurement(
    "Input, CPU",
    "input_pipeline_cpu",
    "input_pipeline",
    "--device=cpu --batch=16 --path=DIR --tfds_dir=DIR",
    "Measured when the reading thread copied to the device as well.",
  ),
  Measurement(
    "Input, GPU", "input_pipeline_gpu", "input_pipeline", "--device=gpu --batch=64 --path=DIR --tfds_dir=DIR"
  ),
  Measurement("Startup, CPU", "startup_cpu", "startup", "--device=cpu --batch=4 --seeds=2", BEFORE_KEPT),
  Measurement("Startup, GPU", "startup_gpu", "startup", "--device=gpu --batch=64"),
  Measurement("Scaling, CPU", "scaling_cpu", "scaling", "--device=cpu --batch=4 --seeds=2", BEFORE_KEPT),
  Measurement(
    "Scaling, GPU",
    "scaling_gpu",
    "scaling",
    "--device=gpu --batch=64 --vary_seeds=1,2,5,10 --vary_batch=16,64,256",
  ),
  *_compiled(),
  Measurement(
    "Training step on an H200 beside its bound",
    "measured_gpu",
    "compiled",
    "--target=h200 --run=5 --config=configs/sr16.py --batch=64 --dtype=bfloat16 --steps=attack,plain,robust",
    "Compiled and run on the card itself: GB and ms (a bound) are of the program that its compiler chose there.",
  ),
)


def section(measurement: Measurement, folder: pathlib.Path) -> str:
  """Title, command, hardware, versions and table; or "not yet run". A file may be a list of rows, each with its own."""
  path = folder / f"{measurement.stem}.json"
  command = f"python -m benchmarks.{measurement.module} {measurement.flags} --json=benchmarks/results/{path.name}"
  if not path.exists():
    return f"## {measurement.title}\n\n    {command}\n\nnot yet run\n"
  results = json.loads(path.read_text())
  if isinstance(results, list):
    return _section_of_rows(measurement, results, path)
  try:
    table = importlib.import_module(f"benchmarks.{measurement.module}").render(results)
    hardware, versions = results["hardware"], results["versions"]
  except KeyError as error:
    raise UserError(f"{path} lacks {error}: delete it and measure again") from error
  lines = [
    f"## {measurement.title}",
    "",
    f"    {results['command']}",
    "",
    *([measurement.note, ""] if measurement.note else []),
    f"{results['date']}: {hardware['processor']}, {hardware['cores_used']} cores.",
    "Versions: " + ", ".join(f"{name} {version}" for name, version in versions.items()) + ".",
    *(f"{row}: {description}." for row, description in results.get("rows", {}).items()),
    "Settings: " + ", ".join(f"{name} {value}" for name, value in results["settings"].items()) + ".",
    "",
    "```",
    table,
    "```",
    "",
  ]
  if shlex.split(results["command"]) != shlex.split(command):
    lines.insert(3, f"\n(meant to be: `{command}`)")
  return "\n".join(lines)


def _section_of_rows(measurement, rows, path):
  try:
    table = importlib.import_module(f"benchmarks.{measurement.module}").render(rows, dearest=False)
    commands = dict.fromkeys(row["command"] for row in rows)
    origins = dict.fromkeys(f"{row['date']}: JAX {row['versions']['jax']}, {row['config']}." for row in rows)
  except KeyError as error:
    raise UserError(f"{path} lacks {error}: delete it and measure again") from error
  note = [measurement.note, ""] if measurement.note else []
  lines = [*(f"    {command}" for command in commands), "", *note, *origins, "", "```", table, "```", ""]
  return "\n".join([f"## {measurement.title}", "", *lines])


def page(folder: pathlib.Path) -> str:
  """The whole page."""
  return "\n".join([INTRODUCTION, *(section(measurement, folder) for measurement in MEASUREMENTS)])


def main(argv: list[str]) -> None:
  """Writes the page."""
  parser = Parser(__doc__)
  parser.add_argument("--folder", type=pathlib.Path, default=FOLDER, help="of the JSON files")
  parser.add_argument("--output", type=pathlib.Path, default=PAGE)
  args = parser.parse_args(argv)
  args.output.write_text(page(args.folder))
  print(f"wrote {args.output}")


if __name__ == "__main__":
  run(main)
