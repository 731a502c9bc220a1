"""The accelerators that programs are compiled and planned for without one at hand: their makers' numbers, a chip each.

Nothing here imports JAX.
"""

import dataclasses
from collections.abc import Mapping

from prt_jax.errors import UserError

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Target:
  """One kind of chip.

  Attributes:
    name: as --target takes it.
    title: as its maker calls it.
    kind: 'tpu' or 'gpu'.
    peak_flops: {model.dtype: FLOP/s} of its matrix units, dense, as JAX uses them by default: float32 factors are
      rounded to bfloat16 on a TPU, to TF32 on a GPU.
    float32_flops: FLOP/s of arithmetic outside the matrix units' rounding: a GPU's CUDA cores; 0 where not published.
    bytes_per_second: of its memory.
    link_bytes_per_second: of its links to the other chips of a slice, all links and both directions.
    memory_bytes: of its memory.
    clock_hz: what a TPU compiler's cycles are divided by; of a GPU, its highest.
    topologies: {chips: name of the smallest slice of so many chips, as JAX's topologies take it}; of GPUs, those of
      one host.
    chips_per_host: of the slices above.
  """

  name: str
  title: str
  kind: str
  peak_flops: Mapping[str, float]
  float32_flops: float
  bytes_per_second: float
  link_bytes_per_second: float
  memory_bytes: int
  clock_hz: float
  topologies: Mapping[int, str]
  chips_per_host: int


# Slices, by their chips.
_FLAT = {1: "1x1", 4: "2x2", 8: "2x4", 16: "4x4"}
_CUBE = {1: "1x1x1", 4: "2x2x1", 8: "2x2x2", 16: "2x2x4"}


def _tpu(name, title, *, flops, bytes_per_second, links, memory_gib, clock_hz, generation, slices):
  return Target(
    name=name,
    title=title,
    kind="tpu",
    peak_flops={"bfloat16": flops, "float32": flops},
    float32_flops=0.0,
    bytes_per_second=bytes_per_second,
    link_bytes_per_second=links,
    memory_bytes=memory_gib * GIB,
    clock_hz=clock_hz,
    topologies={chips: f"{generation}:{sides}" for chips, sides in slices.items()},
    chips_per_host=4,
  )


def _gpu(name, title, *, bfloat16, tf32, float32, bytes_per_second, links, memory_bytes, clock_hz):
  return Target(
    name=name,
    title=title,
    kind="gpu",
    peak_flops={"bfloat16": bfloat16, "float32": tf32},
    float32_flops=float32,
    bytes_per_second=bytes_per_second,
    link_bytes_per_second=links,
    memory_bytes=memory_bytes,
    clock_hz=clock_hz,
    topologies={1: "1x1x1", 2: "1x1x2", 4: "1x1x4", 8: "1x1x8"},
    chips_per_host=8,
  )


# A TPU's clock is its peak over what its matrix units do in one cycle: v5e 4 x 128 x 128, v6e 4 x 256 x 256, v5p
# 2 cores of 4 x 128 x 128 multiplications and additions.
TARGETS = {
  target.name: target
  for target in (
    _tpu(
      "tpu-v5e", "TPU v5e", flops=197e12, bytes_per_second=819e9, links=200e9, memory_gib=16, clock_hz=1.5e9,
      generation="v5e", slices=_FLAT,
    ),
    _tpu(
      "tpu-v6e", "TPU v6e", flops=918e12, bytes_per_second=1640e9, links=448e9, memory_gib=32, clock_hz=1.75e9,
      generation="v6e", slices=_FLAT,
    ),
    _tpu(
      "tpu-v5p", "TPU v5p", flops=459e12, bytes_per_second=2765e9, links=600e9, memory_gib=95, clock_hz=1.75e9,
      generation="v5p", slices=_CUBE,
    ),
    _gpu(
      "h100", "NVIDIA H100 SXM 80 GB", bfloat16=989e12, tf32=494e12, float32=67e12,
      bytes_per_second=3352e9, links=900e9, memory_bytes=84_942_979_072, clock_hz=1.98e9,
    ),
    _gpu(
      "h200", "NVIDIA H200 SXM 141 GB", bfloat16=989e12, tf32=494e12, float32=67e12,
      bytes_per_second=4800e9, links=900e9, memory_bytes=151_397_597_184, clock_hz=1.98e9,
    ),
    _gpu(
      "a100", "NVIDIA A100 SXM 80 GB", bfloat16=312e12, tf32=156e12, float32=19.5e12,
      bytes_per_second=2039e9, links=600e9, memory_bytes=85_100_068_864, clock_hz=1.41e9,
    ),
  )
}  # fmt: skip


def find(name: str) -> Target:
  """The target of this name. UserError for one that is not known."""
  if name not in TARGETS:
    raise UserError(f"--target={name!r} is unknown: choose one of {', '.join(TARGETS)}")
  return TARGETS[name]


def check_chips(target: Target, chips: int) -> None:
  """UserError unless there is a slice of so many chips."""
  if chips not in target.topologies:
    raise UserError(f"--chips={chips}: of {target.name} choose one of {', '.join(map(str, target.topologies))}")
