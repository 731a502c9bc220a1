"""Seconds of a whole audit beside PyTorch's for its gradient steps alone: python -m experiments.audit_speed --help

The audit is the command's, of IMDN x4 with I-FGSM at six alphas (--num_strong_steps=0), compilation,
measures and report included. PyTorch takes the same steps of the same attack on the same images with the tests'
independent module, one after the other, on all cores. Alternating; run it from the repository's root.
"""

import argparse
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import torch

from experiments.attack_speed import SCALE, attack_torch, imdn_module
from experiments.command import run_command
from experiments.results import FOLDER, format_table, mean_and_spread, write_results
from prt_jax.audit.protocol import ALPHAS
from prt_jax.commands import crop_flag
from prt_jax.data.image_pairs import Reading, bicubic_measure, read_pairs

NUM_STEPS = 50


def audit_seconds(args) -> tuple[dict[str, float], str]:
  """Wall-clock and processor seconds of the command, and the line in which it says what it compiled."""
  with tempfile.TemporaryDirectory() as folder:
    command = [
      sys.executable, "-m", "prt_jax.audit", "--restorer=imdn", f"--checkpoint={args.checkpoint}", "--mod_crop",
      f"--input={args.images}", f"--output={folder}", "--num_strong_steps=0", f"--crop={args.crop}",
    ]  # fmt: skip
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
  processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
  compiled = next(line for line in printed.splitlines() if "compiling" in line)
  return {"seconds": time.perf_counter() - start, "processor_seconds": processor}, compiled


def torch_seconds(args, pairs) -> dict[str, float]:
  """The same of PyTorch's steps, in this process."""
  module = imdn_module(args.checkpoint)
  wall, processor = time.perf_counter(), time.process_time()
  for pair in pairs:
    y = torch.from_numpy(pair.y[None].transpose(0, 3, 1, 2).copy())
    for alpha in ALPHAS:
      attack_torch(module, y, 0.01 * alpha * (2 * torch.rand_like(y) - 1), alpha, NUM_STEPS)
  return {"seconds": time.perf_counter() - wall, "processor_seconds": time.process_time() - processor}


def main(argv: list[str] | None = None) -> None:
  """Times both in turn, and prints the means."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--checkpoint", type=pathlib.Path, required=True, help="IMDN_x4.pth")
  parser.add_argument("--images", type=pathlib.Path, required=True, help="folder of originals, Set5 for one")
  parser.add_argument("--crop", type=crop_flag.read, default=0, help="of both: as the audit's")
  parser.add_argument("--repeats", type=int, default=1)
  parser.add_argument("--out", type=pathlib.Path, default=FOLDER)
  args = parser.parse_args(argv)
  started = time.monotonic()
  crop = crop_flag.resolve(argparse.Namespace(input=args.images, crop=args.crop, max_images=0), SCALE, None)
  pairs = list(read_pairs(args.images, Reading(SCALE, mod_crop=True, crop=crop), bicubic_measure(SCALE)))
  times, compiled = {"audit": [], "PyTorch's steps": []}, []
  for _ in range(args.repeats):
    seconds, line = audit_seconds(args)
    times["audit"].append(seconds)
    compiled.append(line)
    times["PyTorch's steps"].append(torch_seconds(args, pairs))
  summary = {
    name: {unit: mean_and_spread([run[unit] for run in runs]) for unit in runs[0]} for name, runs in times.items()
  }
  print(format_table(
    ["", "seconds", "processor seconds"],
    [[name, row["seconds"]["mean"], row["processor_seconds"]["mean"]] for name, row in summary.items()],
  ))  # fmt: skip
  print("\n".join(compiled))
  protocol = {
    "network": "IMDN x4", "images": [pair.name for pair in pairs],
    "measurements": [list(pair.y.shape) for pair in pairs],
    "gradient_steps": NUM_STEPS * len(ALPHAS) * len(pairs), "torch": torch.__version__,
    "torch_threads": torch.get_num_threads(), "repeats": args.repeats,
  }  # fmt: skip
  content = {"times": summary, "compiled": compiled, "protocol": protocol}
  name = "audit_speed" if args.crop == 0 else f"audit_speed_{args.crop}"
  write_results(args.out, name, content, time.monotonic() - started)


if __name__ == "__main__":
  run_command(main)
