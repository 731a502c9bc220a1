"""The rows of a comparison, each in a process of its own: threads, allocator and peak memory are its alone.

A row that cannot run says why instead of stopping the others.
"""

import math
import multiprocessing
import time

MIN_SAMPLE_SECONDS = 0.5  # shorter steps are timed several at a time


class RowFailed(Exception):
  """A row's own words for why it does not run."""


class Worker:
  """One row's process; calls block. Use as a context manager, which ends the process."""

  def __init__(self, row: str, config, device: str, seeds_per_pass: int):
    context = multiprocessing.get_context("spawn")
    self._pipe, theirs = context.Pipe()
    arguments = (theirs, row, config, device, seeds_per_pass)
    self._process = context.Process(target=_serve, args=arguments, daemon=True)
    self._process.start()
    theirs.close()
    self.description = self._receive()

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self._pipe.close()
    self._process.join(10)
    self._process.kill()

  def begin_warm_up(self, step: str) -> None:
    """Asks for a step to be compiled and run once, and does not wait: end_warm_up does."""
    self._send("warm_up", step)

  def end_warm_up(self) -> dict:
    """What begin_warm_up asked for: {'compile_s', 'first_call_s', 'peak_memory_bytes', ...}."""
    return self._receive()

  def sample(self, step: str) -> float:
    """Seconds of one step: the mean over as many calls as fill MIN_SAMPLE_SECONDS."""
    self._send("sample", step)
    return self._receive()

  def _send(self, *command):
    try:
      self._pipe.send(command)
    except OSError as error:
      raise RowFailed("its process has ended") from error

  def _receive(self):
    try:
      succeeded, value = self._pipe.recv()
    except EOFError as error:
      self._process.join(10)
      raise RowFailed(f"its process ended with exit code {self._process.exitcode} (out of memory?)") from error
    if not succeeded:
      raise RowFailed(value)
    return value


def _serve(pipe, row, config, device, seeds_per_pass):
  from benchmarks import settings, sides

  try:
    if row in sides.JAX_ROWS:
      settings.select_device(device, config)
    side = sides.make_side(row, config, device, seeds_per_pass)
    pipe.send((True, side.description))
    calls = {}
    while True:
      try:
        command, step = pipe.recv()
      except EOFError:
        return
      if command == "warm_up":
        pipe.send((True, _warm_up(side, step)))
        continue
      seconds = _time(side, step, calls.get(step, 1))
      if step not in calls:
        # The first sample tells how many calls fill one, and stands where that is a single call.
        calls[step] = max(1, math.ceil(MIN_SAMPLE_SECONDS / seconds))
        seconds = seconds if calls[step] == 1 else _time(side, step, calls[step])
      pipe.send((True, seconds))
  except Exception as error:  # whatever stops a row is that row's result
    pipe.send((False, f"{type(error).__name__}: {str(error).strip().splitlines()[0][:300] if str(error) else ''}"))


def _time(side, step, calls):
  start = time.perf_counter()
  steps = sum(side.run[step]() for _ in range(calls))
  side.wait()
  return (time.perf_counter() - start) / steps


def _warm_up(side, step):
  results = side.compile(step)
  side.reset_peak()
  start = time.perf_counter()
  side.run[step]()
  side.wait()
  return results | {"first_call_s": time.perf_counter() - start, "peak_memory_bytes": side.peak()}
