"""The command in processes of its own, quickly: each is a fork of one in which everything is imported already."""

import atexit
import contextlib
import dataclasses
import importlib
import os
import pathlib
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable

from absl import logging

from tests.conftest import FLAGS

# What no case needs, and takes seconds to import.
HIDDEN = ("tensorflow", "tensorflow_datasets", "clu", "tensorboard")
PRELOADED = (
  "evaluate", "main", "plan", "watch", "training.loop", "training.processes", "reporting.gallery", "data.folder_source",
  "features.squeezenet",
)
PATIENCE = 600.0  # seconds after which a process that does not end is lost


def preload() -> None:
  """Imports what the command will, in this process, which must never use a device: its forks will."""
  os.environ |= {
    "JAX_PLATFORMS": "cpu", "XLA_FLAGS": FLAGS, "OPENBLAS_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
  }  # fmt: skip
  sys.modules.update(dict.fromkeys(HIDDEN))  # importing one is an ImportError from now on
  for name in PRELOADED:
    importlib.import_module(f"prt_jax.{name}")
  logging.set_verbosity(logging.ERROR)  # here, not in the forks, which set their own


class Lost(Exception):
  """What a case shows to be lost."""


@dataclasses.dataclass
class Process:
  """A running fork; its output is in log."""

  pid: int
  log: pathlib.Path
  code: int | None = None

  def text(self) -> str:
    """The output so far."""
    return self.log.read_text(errors="replace")

  def poll(self) -> int | None:
    """The exit code, None while it runs; a signal's is negative."""
    if self.code is None:
      pid, status = os.waitpid(self.pid, os.WNOHANG)
      if pid:
        self.code = os.waitstatus_to_exitcode(status)
    return self.code

  def wait(self, seconds: float = PATIENCE) -> int:
    """The exit code; Lost where it does not end in time."""
    deadline = time.monotonic() + seconds
    while self.poll() is None:
      if time.monotonic() > deadline:
        self.kill()
        raise Lost(f"it did not end within {seconds:.0f} s: {self.last_line()}")
      time.sleep(0.01)
    return self.code

  def until(self, condition: Callable[[], bool]) -> bool:
    """Waits for the condition; whether it came true before the process ended."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
      if self.poll() is not None:
        return False
      if time.monotonic() > deadline:
        self.kill()
        raise Lost(f"it hangs: {self.last_line()}")
      time.sleep(0.001)
    return True

  def until_says(self, *texts: str) -> bool:
    """until one of the texts is in the output."""
    return self.until(lambda: any(text in self.text() for text in texts))

  def send(self, number: int) -> None:
    """Sends a signal, if it still runs."""
    if self.poll() is None:
      os.kill(self.pid, number)

  def kill(self) -> int:
    """SIGKILL, which nothing survives."""
    self.send(signal.SIGKILL)
    return self.wait()

  def last_line(self) -> str:
    """What it said last."""
    return (self.text().strip().splitlines() or ["nothing said"])[-1][:300]


def fork(action: Callable[[], None], log: pathlib.Path, environment: dict[str, str] | None = None) -> Process:
  """A process that does the action, its output appended to log."""
  log.touch()
  sys.stdout.flush()
  pid = os.fork()
  if pid:
    return Process(pid, log)
  code = 1
  try:
    file = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.environ |= environment or {}
    # A shell's background jobs are started with SIGINT ignored, and pass that on.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    action()
    code = 0
  except SystemExit as error:
    code = error.code or 0
  except BaseException:
    traceback.print_exc()
  # What a process does at its end; os._exit then leaves what belongs to the parent alone.
  with contextlib.suppress(BaseException):
    threading._shutdown()
    atexit._run_exitfuncs()
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(code)


def command(arguments: list[str]) -> Callable[[], None]:
  """python -m prt_jax.main with these arguments, as an action."""

  def action():
    from prt_jax import main

    sys.argv = ["prt_jax/main.py", *arguments]
    main.main()

  return action
