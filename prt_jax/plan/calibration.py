"""From counts to a chip's time and memory, by what its compiler made of programs that were counted too.

compiled_programs.py has those programs. A step's time and memory are those of the nearest one, scaled by the counts of
both: what a compiler reuses, fuses, pads to tiles or lays out anew is in that ratio.
"""

import math
from typing import Any, NamedTuple

from prt_jax.plan.compiled_programs import PROGRAMS
from prt_jax.plan.counts import Work
from prt_jax.targets import TARGETS, Target

COMPILER = "estimate of the compiler"
BOUND = "a bound: bytes over bandwidth, or FLOPs over peak if more"
# How many times its bound a step of sr16 took on an H200, compiled there: benchmarks/results/measured_gpu.json.
MEASURED_TIMES_BOUND = {"plain": 11.4, "robust": 4.79}


class Program(NamedTuple):
  """A training step as a compiler made it for one chip, beside its counts (counts.Work). None: not known.

  Attributes:
    target: a key of targets.TARGETS.
    step: 'plain' or 'robust'.
    config, batch, dtype: of the run whose step it is; batch is a chip's.
    source: the compiler, and the table that it is from.
    moved: bytes in and out of the chip's main memory.
    cycles: of a TPU, at its clock, as its compiler estimates them.
    temporaries: bytes of memory beside arguments and results.
    code: bytes of the program itself.
    counted_flops, counted_moved, counted_peak: of the same step.
  """

  target: str
  step: str
  config: str
  batch: int
  dtype: str
  source: str
  moved: int
  cycles: int | None
  temporaries: int | None
  code: int | None
  counted_flops: int
  counted_moved: int
  counted_peak: int

  def bound_seconds(self) -> float:
    """No run of it on its chip takes less."""
    return _bound(TARGETS[self.target], self.dtype, self.moved, self.counted_flops)

  def describe(self) -> str:
    """Which program it is, for a reader."""
    return f"{self.target}, {self.config} at batch {self.batch} in {self.dtype}, {self.source}"


_PROGRAMS = tuple(Program(**program) for program in PROGRAMS)


class StepEstimate(NamedTuple):
  """One training step on one chip.

  Attributes:
    seconds: see basis.
    flops: counted.
    moved: bytes in and out of the chip's memory, scaled.
    temporaries_ratio: of memory beside arguments and results to what is counted; 1 where no program says.
    code: bytes of the program, those of the nearest one.
    basis: what kind of number the seconds are, starting with COMPILER or BOUND.
    programs: those that the numbers are scaled from, in words.
  """

  seconds: float
  flops: int
  moved: int
  temporaries_ratio: float
  code: int
  basis: str
  programs: tuple[str, ...]


def nearest(target: Target, step: str, dtype: str, flops: int, field: str) -> Any:
  """The Program to scale a field from: of this step and kind of chip; the target's own, of this dtype and of about as
  many FLOPs if there are such. None where no program has the field."""
  candidates = [
    program for program in _PROGRAMS
    if program.step == step and TARGETS[program.target].kind == target.kind and getattr(program, field) is not None
  ]  # fmt: skip

  def distance(program):
    return program.target != target.name, program.dtype != dtype, abs(math.log(program.counted_flops / flops))

  return min(candidates, key=distance, default=None)


def estimate(target: Target, step: str, dtype: str, batch_size: int, work: Work) -> StepEstimate:
  """A step of these counts, at a chip's batch_size."""
  flops = work.flops(batch_size)
  moving, timed, kept, coded = (
    nearest(target, step, dtype, flops, field) for field in ("moved", "cycles", "temporaries", "code")
  )
  moved = work.moved(batch_size) * moving.moved / moving.counted_moved
  seconds = _bound(target, dtype, moved, flops)
  basis = BOUND if moving.target == target.name else f"{BOUND}, bytes as compiled for {moving.target}"
  if timed:
    seconds *= timed.cycles / TARGETS[timed.target].clock_hz / timed.bound_seconds()
    basis = COMPILER if timed.target == target.name else f"{COMPILER} for {timed.target}, scaled"
  return StepEstimate(
    seconds=seconds,
    flops=flops,
    moved=round(moved),
    temporaries_ratio=kept.temporaries / kept.counted_peak if kept else 1.0,
    code=coded.code if coded else 0,
    basis=basis,
    programs=tuple(dict.fromkeys(program.describe() for program in (moving, timed, kept) if program)),
  )


def _bound(target, dtype, moved, flops):
  return max(moved / target.bytes_per_second, flops / target.peak_flops[dtype])
