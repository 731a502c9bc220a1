"""How far each step is from what its device could do.

python -m benchmarks.roofline --device=cpu --batch=4 --json=FILE

FLOPs and bytes are XLA's own counts: FLOPs of the program as written, bytes of the compiled one (fused; where a backend
hides them in library calls, the count is too low, and the program's as written stands beside it). Ceilings are measured
here: a large matrix product, and a pass over a large array that reads and writes it in place. The bound is the larger
of both times.
"""

import functools
import time

from absl import logging

from benchmarks import settings
from experiments.results import format_table

# Side of the square matrices, and elements of the copied array.
CEILING_SIZES = {"cpu": (2048, 2**26), "gpu": (8192, 2**29), "tpu": (8192, 2**29)}


def convolution_flops(layers: list[tuple[int, int, int, int]]) -> int:
  """2 FLOPs a multiplication and addition: layers of (side, kernel side, input channels, output channels)."""
  return sum(2 * side**2 * kernel**2 * inputs * outputs for side, kernel, inputs, outputs in layers)


def unet_flops(width: int, size: int) -> int:
  """The U-Net's convolutions on one image, counted by hand from paper A's Fig. 6."""
  channels = [width * 2**level for level in range(5)]
  layers = [(size, 3, 3, width), (size, 3, width, width), (size, 1, width, 3)]
  for level in range(1, 5):
    side = size >> level
    layers += [(side, 3, channels[level - 1] + 1, channels[level]), (side, 3, channels[level], channels[level])]
    above = channels[level - 1]
    layers += [(2 * side, 3, above + channels[level], above), (2 * side, 3, above, above)]
  return convolution_flops(layers)


def measure_ceilings(device: str, dtype: str, repeats: int) -> dict[str, float]:
  """{'flops_per_s', 'bytes_per_s'} of this process's JAX device."""
  import jax
  import jax.numpy as jnp

  side, elements = CEILING_SIZES[device]
  matrix = jax.random.normal(jax.random.key(0), (side, side), dtype)
  array = jnp.zeros(elements, jnp.float32)
  # In place: the operating system's first touch of fresh memory is not what is asked about.
  product, copy = jax.jit(lambda a, _: a @ a), jax.jit(lambda a: a + 1, donate_argnums=0)
  return {
    "flops_per_s": 2 * side**3 / min(_seconds(functools.partial(product, matrix), matrix, repeats)),
    "bytes_per_s": 2 * 4 * elements / min(_seconds(copy, array, repeats)),
  }


def _seconds(call, value, repeats):
  value = call(value).block_until_ready()
  times = []
  for _ in range(max(repeats, 3)):
    start = time.perf_counter()
    value = call(value).block_until_ready()
    times.append(time.perf_counter() - start)
  return times


def account(step: str, config, ceilings: dict[str, float], repeats: int) -> dict:
  """One step's counts, its measured time, and the fraction of the roofline that it reaches."""
  from benchmarks.jax_steps import compile_abstract, make_arguments
  from prt_jax.training.gan import make_game

  lowered, program = compile_abstract(config, step)
  game = make_game(config)
  counted = program
  if step == "robust" and game.seeds_at_once < config.attack.num_seeds:
    # XLA counts what a loop does once, however often it goes round: so count the same step without one.
    together = config.copy_and_resolve_references()
    together.attack.seeds_at_once = config.attack.num_seeds
    lowered, counted = compile_abstract(together, step)
  state, images, key = make_arguments(game)
  times = []
  for _ in range(repeats + 1):
    start = time.perf_counter()
    state, _ = program(state, images, key)
    state.step.block_until_ready()
    times.append(time.perf_counter() - start)
  written, fused = lowered.cost_analysis(), counted.cost_analysis()
  flops, moved = written["flops"], fused.get("bytes accessed", 0.0)
  compute_s, memory_s = flops / ceilings["flops_per_s"], moved / ceilings["bytes_per_s"]
  spread = settings.spread(times[1:])
  return spread | {
    "flops": flops,
    "bytes": moved,
    "bytes_as_written": written.get("bytes accessed", 0.0),
    "compute_bound_s": compute_s,
    "memory_bound_s": memory_s,
    "fraction": max(compute_s, memory_s) / spread["median_s"],
  }


def main(argv: list[str]) -> None:
  """Parses, measures, prints the table and writes the JSON."""
  parser = settings.make_parser(__doc__)
  parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
  parser.add_argument("--steps", default="critic,plain,robust", help="comma-separated")
  args = parser.parse_args(argv)
  config = settings.load_config(args)
  config.model.dtype = args.dtype
  settings.select_device(args.device, config)
  results = settings.provenance("benchmarks.roofline", config)
  results["settings"] |= {"device": args.device, "dtype": args.dtype, "repeats": args.repeats}
  results["ceilings"] = measure_ceilings(args.device, args.dtype, args.repeats)
  results["steps"] = {}
  for step in args.steps.split(","):
    logging.info("%s", step)
    results["steps"][step] = account(step, config, results["ceilings"], args.repeats)
    settings.write_json(args.json, results)
  print(render(results))


def render(results: dict) -> str:
  """The ceilings, and a line a step."""
  rows = [
    [
      step,
      numbers["flops"] / 1e9,
      numbers["bytes"] / 1e9,
      numbers["bytes_as_written"] / 1e9,
      numbers["compute_bound_s"],
      numbers["memory_bound_s"],
      numbers["median_s"],
      f"{numbers['fraction']:.0%}",
    ]
    for step, numbers in results["steps"].items()
  ]
  ceilings = results["ceilings"]
  header = ["step", "GFLOP", "GB", "GB as written", "compute bound s", "memory bound s", "median s", "of roofline"]
  line = f"ceilings: {ceilings['flops_per_s'] / 1e9:.4g} GFLOP/s, {ceilings['bytes_per_s'] / 1e9:.4g} GB/s"
  return f"{line}\n{format_table(header, rows)}"


if __name__ == "__main__":
  settings.run(main)
