"""Signals while the main thread is in C code, where Python's handlers wait: a long hash stands for a compilation."""

import os
import signal
import subprocess
import sys

import pytest

from prt_jax.training.stop_request import EXIT_CODE, INTERRUPTED, StopRequest
from tests.conftest import ROOT

PROGRAM = """
import contextlib, hashlib, sys
from prt_jax.training.stop_request import StopRequest
compiling = sys.argv[1] == "compiling"
with StopRequest() as stop:
  with stop.leaving_at_once("step 4 stays") if compiling else contextlib.nullcontext():
    print("busy", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 200_000_000)
print("finished", flush=True)
"""


@pytest.fixture
def busy():
  """busy(what): a process in C code for minutes, whose two streams are one."""
  processes = []

  def start(what):
    processes.append(subprocess.Popen(
      [sys.executable, "-c", PROGRAM, what], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ))
    assert processes[-1].stdout.readline() == "busy\n"
    return processes[-1]

  yield start
  for process in processes:
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_first_compilation_is_left_at_once(busy, number):
  process = busy("compiling")
  process.send_signal(number)
  assert process.communicate()[0] == f"stopped by {number.name} while compiling; step 4 stays\n"
  assert process.returncode == EXIT_CODE == 75


def test_the_second_interruption_leaves_at_once_and_the_first_says_so(busy):
  process = busy("training")
  process.send_signal(signal.SIGINT)
  assert "SIGINT: saving at the next step, then leaving; Ctrl-C (again) leaves at once" in process.stdout.readline()
  process.send_signal(signal.SIGINT)
  assert process.communicate()[0].startswith("left at once: what is on disk stays")
  assert process.returncode == INTERRUPTED == 130


def test_terminations_are_patient(busy):
  process = busy("training")
  for _ in range(2):
    process.send_signal(signal.SIGTERM)
    assert "SIGTERM: saving at the next step" in process.stdout.readline()
  assert process.poll() is None


def test_signals_are_noted_in_the_block_alone():
  own = signal.getsignal(signal.SIGINT)
  signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests are a shell's background job
  before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
  with StopRequest() as stop:
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop.signal_name == "SIGTERM"
  assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
  with pytest.raises(KeyboardInterrupt):
    os.kill(os.getpid(), signal.SIGINT)
  signal.signal(signal.SIGINT, own)
