"""The two sides of the comparison: prt_jax's steps and the PyTorch opponent's, on a batch that lies on the device.

JAX is imported in the processes that use it alone, after settings.select_device.
"""

import dataclasses
import time
from collections.abc import Callable

from benchmarks import settings
from benchmarks.cores import num_cores
from benchmarks.memory_use import peak_process_bytes, program_bytes, reset_process_peak

STEPS = ("critic", "plain", "robust", "cycle")

# TF32 rounds a product's factors on a GPU; on other devices it changes nothing, and such a row does not run.
TF32_ROWS = ("jax_tf32", "torch_tf32")
JAX_ROWS = {"jax": {}, "jax_tf32": {}, "jax_bfloat16": {"dtype": "bfloat16"}}
TORCH_ROWS = {
  "torch_eager": {},
  "torch_tf32": {},
  "torch_compile": {"compiled": True},
  "torch_autocast": {"autocast": True},
  "torch_compile_autocast": {"compiled": True, "autocast": True},
}
ROWS = (*JAX_ROWS, *TORCH_ROWS)


@dataclasses.dataclass(frozen=True)
class Side:
  """Attributes:
  description: library, version and device.
  compile: step -> what compiling it cost, {} where nothing is compiled ahead; comes before its run.
  run: step -> starts it, and returns how many steps (or cycles) that was.
  wait: until everything started has ended.
  reset_peak, peak: bytes of memory, the accelerator's where there is one.
  """

  description: str
  compile: Callable[[str], dict]
  run: dict[str, Callable[[], int]]
  wait: Callable[[], None]
  reset_peak: Callable[[], None]
  peak: Callable[[], int]


def make_side(row: str, config, device: str, seeds_per_pass: int) -> Side:
  """The side of a row of ROWS; ValueError says why there is none. Only PyTorch's takes its seeds in passes."""
  if row in TF32_ROWS and device != "gpu":
    raise ValueError("TF32 is a GPU's")
  if row in JAX_ROWS:
    return _make_jax_side(row, config, device)
  return _make_torch_side(row, config, device, seeds_per_pass)


def _make_jax_side(row, config, device):
  """prt_jax's own steps as training runs them: on a CPU over all cores, the cycle as it is dispatched."""
  import jax
  import numpy as np

  from benchmarks.jax_steps import SINGLE_STEPS, make_pixels, make_spread_out_steps
  from prt_jax import devices
  from prt_jax.training.gan import init_state, make_game
  from prt_jax.training.step import make_train_cycles, make_train_step

  if device != "cpu" and len(jax.devices()) > 1:
    raise ValueError(f"{len(jax.devices())} devices: the comparison is of one; name it with CUDA_VISIBLE_DEVICES")
  if JAX_ROWS[row]:
    config.model.dtype = JAX_ROWS[row]["dtype"]
  if device != "cpu":
    jax.config.update("jax_default_matmul_precision", "tensorfloat32" if row in TF32_ROWS else "highest")
  game = make_game(config, axis_name=devices.AXIS)
  pixels = make_pixels(config)
  pixels = pixels.reshape(jax.device_count(), -1, *pixels.shape[1:])
  images = devices.to_devices(pixels.astype(np.float32) / 255)
  initial = init_state(game)
  current = {step: devices.replicate(initial) for step in SINGLE_STEPS}
  steps = make_spread_out_steps(game)
  programs, run = {}, {}

  def compile_step(step):
    start = time.perf_counter()
    programs[step] = [steps[step].lower(current[step], images).compile()]

    def one():
      current[step] = programs[step][0](current[step], images)
      return 1

    run[step] = one
    return compiled(step, start)

  def compile_cycle():
    current["cycle"] = devices.replicate(initial)
    count = devices.default_steps_per_dispatch(len(game.cycle))
    batch = pixels if count == 1 else np.repeat(pixels[:, None], count, 1)
    batch = devices.to_devices(batch)
    start = time.perf_counter()
    if count == 1:
      steps = {robust: make_train_step(game, robust=robust) for robust in set(game.cycle)}
      steps = {robust: step.lower(current["cycle"], batch).compile() for robust, step in steps.items()}
      programs["cycle"] = list(steps.values())
      sequence = [steps[robust] for robust in game.cycle]
    else:
      programs["cycle"] = sequence = [make_train_cycles(game).lower(current["cycle"], batch).compile()]

    def one():
      for program in sequence:
        current["cycle"] = program(current["cycle"], batch)
      return max(1, count // len(game.cycle))

    run["cycle"] = one
    return compiled("cycle", start)

  def compiled(step, start):
    analyses = [program.memory_analysis() for program in programs[step]]
    return {"compile_s": time.perf_counter() - start, "compiled_bytes": max(map(program_bytes, analyses))}

  def peak():
    return (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use") or peak_process_bytes()

  return Side(
    description=settings.device_description(),
    compile=lambda step: compile_cycle() if step == "cycle" else compile_step(step),
    run=run,
    wait=lambda: jax.block_until_ready(current),
    reset_peak=reset_process_peak,
    peak=peak,
  )


def _make_torch_side(row, config, device, seeds_per_pass):
  """The PyTorch opponent: the same steps on a batch that already lies on the device."""
  try:
    import torch
  except ModuleNotFoundError as error:
    raise ValueError("PyTorch is not installed: pip install -r requirements-test.txt") from error

  from benchmarks.torch_step import TorchGame

  if device == "tpu":
    raise ValueError("PyTorch has no TPU backend of its own")
  device = {"cpu": "cpu", "gpu": "cuda"}[device]
  torch.manual_seed(config.seed)
  if device == "cpu":
    torch.set_num_threads(num_cores())
  else:
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = row in TF32_ROWS
  game = TorchGame(config, device=device, seeds_per_pass=seeds_per_pass, **TORCH_ROWS[row])
  size = config.data.image_size
  pixels = torch.randint(0, 256, (config.train.batch_size, size, size, 3), dtype=torch.uint8, device=device)
  images = game.prepare(pixels)

  def critic():
    game.critic_step(images)
    return 1

  def generator(robust):
    game.generator_step(images, robust=robust)
    return 1

  def cycle():
    for robust in (*[False] * (config.optim.robust_every_steps - 1), True):
      batch = game.prepare(pixels)
      game.critic_step(batch)
      game.generator_step(batch, robust=robust)
    return 1

  def reset_peak():
    reset_process_peak()
    if device == "cuda":
      torch.cuda.reset_peak_memory_stats()

  on = torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} threads"
  return Side(
    description=f"PyTorch {torch.__version__}, {on}",
    compile=lambda step: {},  # what torch.compile takes is in the first call
    run=dict(zip(STEPS, (critic, lambda: generator(False), lambda: generator(True), cycle), strict=True)),
    wait=torch.cuda.synchronize if device == "cuda" else lambda: None,
    reset_peak=reset_peak,
    peak=torch.cuda.max_memory_allocated if device == "cuda" else peak_process_bytes,
  )
