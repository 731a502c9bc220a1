"""Independent trainings side by side, each a process on its share of the cores: a small net uses all of them badly."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Sequence

import jax

from benchmarks.cores import num_cores
from experiments.command import log_progress
from experiments.training import Stopped
from prt_jax.devices import may_be_an_accelerator
from prt_jax.errors import UserError
from prt_jax.training.loop import StopRequest


def default_jobs() -> int:
  """As many as there are cores; one where there may be an accelerator, which does the work."""
  return 1 if may_be_an_accelerator() else num_cores()


def run_all(work: Callable[..., object], tasks: Sequence[tuple], jobs: int) -> None:
  """work(*task) of every task, in their order, `jobs` at a time; each process takes the next one that is left.

  Args:
    work: a function of a module, resumable: a task cut short is done by the next call.
    tasks: its arguments, which must pickle.
    jobs: processes; with one, or one task, the work is done here.

  Raises:
    UserError: the first that a task raised; the others are stopped, saved.
    Stopped: on SIGTERM and SIGINT, once every process has saved and left.
  """
  jobs = min(jobs, len(tasks))
  if jobs <= 1:
    for task in tasks:
      _do(work, task)
    return
  context = multiprocessing.get_context("spawn")  # JAX's threads do not survive a fork
  following, failures = context.Value("i", 0), context.SimpleQueue()
  workers = [
    context.Process(target=_take_tasks, args=(place, jobs, work, tasks, following, failures), daemon=True)
    for place in range(jobs)
  ]
  with StopRequest() as stop:
    for worker in workers:
      worker.start()
    asked = False
    while any(worker.is_alive() for worker in workers):
      for worker in workers:
        worker.join(0.2)
      if not asked and (stop.signal_name or any(worker.exitcode for worker in workers)):
        asked = True
        for worker in workers:
          worker.terminate()  # a training saves first: see StopRequest
  if stop.signal_name:
    raise Stopped(f"stopped by {stop.signal_name}, saved: the same command resumes")
  if not failures.empty():
    raise failures.get()
  codes = [worker.exitcode for worker in workers]
  if any(codes):
    raise RuntimeError(f"a training process ended with exit code {next(filter(None, codes))}; its traceback is above")


def _take_tasks(place, jobs, work, tasks, following, failures):
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent passes it on
  if hasattr(os, "sched_setaffinity"):  # before JAX counts the cores for its threads
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[place % len(cores) :: jobs])
  log_progress()
  try:
    while (index := _next(following)) < len(tasks):
      _do(work, tasks[index])
  except UserError as error:
    failures.put(error)
    sys.exit(1)
  except Stopped:
    sys.exit(1)


def _do(work, task):
  work(*task)
  jax.clear_caches()  # no task shares a program with another, and those of one training take .5 to 1 GB


def _next(following):
  with following.get_lock():
    index = following.value
    following.value += 1
  return index
