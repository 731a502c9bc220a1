"""The processes of one run, each with its own devices: how they join, stop together, and end where one dies."""

import collections
import contextlib
import ctypes
import os
import pathlib
import re
import signal
import time
from collections.abc import Iterator

import jax
import numpy as np
from absl import logging

from prt_jax import devices
from prt_jax.errors import UserError

HEARTBEAT_SECONDS = 30  # without a sign of life after which a process is taken for dead
SHUTDOWN_SECONDS = 30  # for which a process that is done waits for the others to be
JOIN_SECONDS = 300  # for which a process waits for the others to start, and to compile
SHARED_SECONDS = 60  # that a network's disk may need to show a new file to all hosts
LATE = 2  # dispatches after which what the processes asked one another is read: it is there by then
_DEATH = re.compile("gloo|nccl|connect|socket|unavailable|deadline|abort|cancel|coordination|heartbeat|barrier", re.I)
RESUME = "start the same command in every process again: it resumes from the newest checkpoint"


def join(distributed: bool, coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
  """Joins the processes of a run; call before anything else touches a device. A run of one process has no flags.

  Args:
    distributed: ask the cluster (a TPU pod, SLURM, Open MPI, Kubernetes) who the others are.
    coordinator: HOST:PORT at which process 0 will listen, where there is no cluster to ask.
    num_processes, process_id: of how many processes this is which one, from 0; with coordinator.

  Raises:
    UserError: flags that do not fit each other, no cluster, processes that did not come.
  """
  given = {"coordinator": coordinator, "num_processes": num_processes, "process_id": process_id}
  if all(value is None for value in given.values()):
    if not distributed:
      return
    given = {}
  else:
    check_flags(given)
    given = {
      "coordinator_address": coordinator, "num_processes": num_processes, "process_id": process_id,
      "cluster_detection_method": "deactivate",
    }  # fmt: skip
  # A later XLA may not know the flag, and would end.
  if not devices.may_be_an_accelerator() and jax.__version_info__ < (0, 13):
    # CPUs that compile for unlike times meet late at a program's first exchange; XLA waits for 30 s.
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_collective_timeout_seconds={JOIN_SECONDS}"
  # Its handler of SIGTERM would take the place of the one that the system has: stop_request.py is ours.
  jax.config.update("jax_enable_preemption_service", False)
  _say_why_jax_aborts()
  try:
    jax.distributed.initialize(
      **given, initialization_timeout=JOIN_SECONDS, heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
      shutdown_timeout_seconds=SHUTDOWN_SECONDS,
    )  # fmt: skip
  except ValueError as error:
    raise UserError(
      f"--distributed found no cluster ({error}): pass --coordinator=HOST:PORT --num_processes=N --process_id=I"
    ) from error
  except jax.errors.JaxRuntimeError as error:
    reason = str(error).partition("\n")[0]
    raise UserError(f"cannot join the other processes ({reason}): try another port in --coordinator") from error
  logging.info(devices.describe_share())


def _say_why_jax_aborts() -> None:
  """Makes one line and exit code 1 of abort(), by which JAX ends a process that misses another one.

  A thread of JAX's calls it while the main thread waits, in C++, for the other process: Python's own handlers would
  never run.
  """

  @ctypes.CFUNCTYPE(None, ctypes.c_int)
  def handler(_):
    os.write(2, f"error: another process of this run has ended, or never came: {RESUME}\n".encode())
    os._exit(1)

  _kept.append(handler)
  ctypes.CDLL(None).signal(ctypes.c_int(signal.SIGABRT), handler)


_kept = []  # C code that Python would free


def check_flags(given: dict) -> None:
  """UserError unless all three flags are there and fit."""
  missing = [f"--{name}" for name, value in given.items() if value is None]
  if missing:
    raise UserError(f"{' and '.join(missing)} missing: --coordinator, --num_processes and --process_id go together")
  count, index = given["num_processes"], given["process_id"]
  if not 0 <= index < count:
    raise UserError(f"--process_id={index} is not in 0 to {count - 1}: --num_processes={count}")
  if not re.fullmatch(r".+:\d{1,5}", given["coordinator"]):
    raise UserError(f"--coordinator={given['coordinator']} is not HOST:PORT, of the host where process 0 runs")


class AnyProcess:
  """Whether a flag is set in any process, as all of them see it after the same dispatch.

  Each process calls it after each dispatch. An accelerator's answer is read LATE dispatches later, when it is there:
  nobody waits. On a CPU it is read at once, since programs run there side by side, and two that exchange numbers can
  wait for each other. A process that is alone has its answer at once.
  """

  def __init__(self):
    self._asked = collections.deque()
    self._late = 0 if devices.backend() == "cpu" else LATE

  def __call__(self, flag: bool, step: jax.Array) -> bool:
    """flag: this process's; step: a result of the dispatch, replicated, after which all are asked."""
    if devices.is_alone():
      return flag
    self._asked.append(devices.ask_processes(flag, step))
    return len(self._asked) > self._late and bool(self._asked.popleft())


def check_shared(workdir: pathlib.Path, step: int) -> None:
  """UserError in every process unless all see the workdir that the first one claimed, and go on from the same step."""
  if devices.is_alone():
    return
  steps = devices.of_all_processes(np.array(step))  # the first one has claimed it by now
  deadline = time.monotonic() + SHARED_SECONDS
  while not (is_there := (workdir / "config.json").exists()) and time.monotonic() < deadline:
    time.sleep(0.5)
  if len(set(steps.tolist())) > 1 or not devices.of_all_processes(np.array(is_there)).all():
    raise UserError(
      f"not all processes see the same {workdir} (they would go on from steps {', '.join(map(str, steps.tolist()))}): "
      "choose a --workdir on a disk that all hosts share"
    )


@contextlib.contextmanager
def noticing_deaths() -> Iterator[None]:
  """UserError for what the death of another process makes of this one's next exchange with it."""
  try:
    yield
  except jax.errors.JaxRuntimeError as error:
    first_line = str(error).partition("\n")[0]
    if not devices.has_joined() or not _DEATH.search(first_line):
      raise
    raise UserError(f"another process of this run has ended ({first_line}): {RESUME}") from error
