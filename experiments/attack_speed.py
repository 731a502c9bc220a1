"""Seconds of a 50-step attack on one image, in JAX and in PyTorch: python -m experiments.attack_speed --help

Both attack IMDN with the same weights, image and number of threads, from random starts of their own; PyTorch's module
is the tests' independent peer and its loop is plain PyTorch. Run it from the repository's root, with the number of
cores that is to be measured.
"""

import argparse
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np
import torch

from experiments.command import run_command
from experiments.results import FOLDER, format_table, mean_and_spread, write_results
from experiments.torch_imdn import IMDN
from prt_jax.attacks import ifgsm
from prt_jax.data.image_pairs import Reading, bicubic_measure, read_pairs
from prt_jax.metrics import psnr
from prt_jax.restorers import load_network

SCALE = 4


def attack_torch(module: torch.nn.Module, y: torch.Tensor, delta: torch.Tensor, alpha: float, num_steps: int):
  """I-FGSM as attacks.ifgsm, [B,3,h,w]: delta += alpha / num_steps * sign(gradient), clipped."""
  with torch.no_grad():
    reference = module(y)
  for _ in range(num_steps):
    attacked = (y + delta).requires_grad_()
    distance = ((module(attacked) - reference) ** 2).sum((1, 2, 3)).add(1e-20).sqrt().sum()
    (gradient,) = torch.autograd.grad(distance, attacked)
    delta = ((y + delta + alpha / num_steps * gradient.sign()).clamp(0, 1) - y).clamp(-alpha, alpha)
  return delta


def imdn_module(checkpoint: pathlib.Path) -> torch.nn.Module:
  """The tests' IMDN x4 with a checkpoint's weights, as constants."""
  module = IMDN().eval()
  weights = torch.load(checkpoint, map_location="cpu", weights_only=True)
  module.load_state_dict({name.removeprefix("module."): tensor for name, tensor in weights.items()})
  return module.requires_grad_(False)


def timed(function) -> dict[str, float]:
  """Wall-clock and processor seconds of a call; where other programs run, the second is nearer to an idle machine's."""
  wall, processor = time.perf_counter(), time.process_time()
  function()
  return {"seconds": time.perf_counter() - wall, "processor_seconds": time.process_time() - processor}


def main(argv: list[str] | None = None) -> None:
  """Times both, alternating, after one short attack each that compiles and warms up."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--checkpoint", type=pathlib.Path, required=True, help="IMDN_x4.pth")
  parser.add_argument("--images", type=pathlib.Path, required=True, help="folder of originals")
  parser.add_argument("--image", default="butterfly", help="the one that is attacked, without its suffix")
  parser.add_argument("--alpha", type=float, default=8, help="of 255")
  parser.add_argument("--num_steps", type=int, default=50)
  parser.add_argument("--repeats", type=int, default=2)
  parser.add_argument("--out", type=pathlib.Path, default=FOLDER)
  args = parser.parse_args(argv)
  started, alpha = time.monotonic(), args.alpha / 255
  pairs = read_pairs(args.images, Reading(SCALE, mod_crop=True), bicubic_measure(SCALE))
  pair = next(pair for pair in pairs if pair.name == args.image)
  restore = load_network("imdn", args.checkpoint, SCALE).restore
  module = imdn_module(args.checkpoint)
  y, key = jnp.asarray(pair.y[None]), jax.random.key(0)
  z = jnp.zeros((1, 1))
  y_torch = torch.from_numpy(np.array(y)).permute(0, 3, 1, 2).contiguous()
  start = 0.01 * alpha * (2 * torch.rand(y_torch.shape, generator=torch.Generator().manual_seed(0)) - 1)

  deltas = {}
  attacks = {
    "JAX": lambda steps: ifgsm(restore, y, z, key, alpha=alpha, num_steps=steps).block_until_ready(),
    "PyTorch": lambda steps: attack_torch(module, y_torch, start, alpha, steps).permute(0, 2, 3, 1).numpy(),
  }
  first = {name: timed(lambda attack=attack: attack(1)) for name, attack in attacks.items()}
  times = {name: [] for name in attacks}
  for _ in range(args.repeats):
    for name, attack in attacks.items():
      times[name].append(timed(lambda name=name, attack=attack: deltas.update({name: attack(args.num_steps)})))
  changes = {
    name: float(psnr(restore(y + delta, z[0]).clip(0, 1), restore(y, z[0]).clip(0, 1))[0])
    for name, delta in deltas.items()
  }
  summary = {
    name: {unit: mean_and_spread([run[unit] for run in runs]) for unit in runs[0]} | {"output_psnr_db": changes[name]}
    for name, runs in times.items()
  }
  print(format_table(
    ["framework", "seconds", "processor seconds", "output PSNR, dB", "first call, with compilation"],
    [[name, row["seconds"]["mean"], row["processor_seconds"]["mean"], changes[name], first[name]["seconds"]]
     for name, row in summary.items()],
  ))  # fmt: skip
  protocol = {
    "network": "IMDN x4", "image": pair.name, "measurement": list(y.shape), "alpha_255": args.alpha,
    "num_steps": args.num_steps, "torch": torch.__version__, "torch_threads": torch.get_num_threads(),
  }
  content = {"attack": summary, "first_call": first, "protocol": protocol}
  write_results(args.out, "attack_speed", content, time.monotonic() - started)


if __name__ == "__main__":
  run_command(main)
