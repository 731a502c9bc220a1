"""Several processes: their flags, how they agree to stop, and the one line in place of what JAX makes of a death."""

import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from prt_jax import devices
from prt_jax.errors import UserError
from prt_jax.training import processes
from tests.commands import assert_one_line, run
from tests.conftest import ROOT


@pytest.mark.parametrize(
  ("given", "what"),
  [
    ((None, 2, 0), "--coordinator missing"),
    (("host:1", None, None), "--num_processes and --process_id missing"),
    (("host:1", 2, 2), r"--process_id=2 is not in 0 to 1"),
    (("host:1", 2, -1), r"--process_id=-1 is not in 0 to 1"),
    (("host", 2, 0), r"--coordinator=host is not HOST:PORT"),
  ],
)
def test_flags_that_do_not_fit(given, what):
  with pytest.raises(UserError, match=what):
    processes.join(False, *given)


def test_without_a_cluster_is_one_line(tmp_path):
  result = run("--distributed", f"--workdir={tmp_path / 'run'}", path=tmp_path)
  assert_one_line(result, "--distributed found no cluster", "--coordinator=HOST:PORT --num_processes=N --process_id=I")


def test_a_run_of_one_process_joins_nobody(monkeypatch):
  monkeypatch.setattr(jax.distributed, "initialize", lambda **_: pytest.fail("joined"))
  processes.join(False, None, None, None)
  ask = processes.AnyProcess()
  assert ask(True, None) and not ask(False, None)


@pytest.mark.parametrize(("backend", "late"), [("cpu", 0), ("tpu", processes.LATE)])
def test_what_any_process_says_all_hear_after_the_same_dispatch(monkeypatch, backend, late):
  """Another process's flag is set at the dispatches that others names."""
  others = [False, True, False, False, False]
  monkeypatch.setattr(jax, "process_count", lambda: 2)
  monkeypatch.setattr(jax, "default_backend", lambda: backend)
  asked = iter(others)
  monkeypatch.setattr(processes.devices, "ask_processes", lambda flag, step: np.array(max(flag, next(asked))))
  ask = processes.AnyProcess()
  answers = [ask(False, None) for _ in others]
  assert answers.index(True) == 1 + late and sum(answers) == 1


def test_the_largest_flag_of_all_devices_reaches_all():
  flags = np.array([0, 1, 0, 0], np.int32)
  assert int(devices._largest_flag()(flags, np.int32(7))) == 1
  assert int(devices._largest_flag()(0 * flags, np.int32(7))) == 0


def test_a_workdir_that_is_not_shared_is_refused(monkeypatch, tmp_path):
  monkeypatch.setattr(jax, "process_count", lambda: 2)
  monkeypatch.setattr(processes, "SHARED_SECONDS", 0)
  other = {}  # what the other process says of its step, and of whether it sees the workdir
  gather = lambda value: np.array([value, other[value.dtype.kind]])  # noqa: E731
  monkeypatch.setattr(devices, "of_all_processes", gather)
  other |= {"i": 4, "b": True}
  with pytest.raises(UserError, match="on a disk that all hosts share"):
    processes.check_shared(tmp_path, 4)  # not there
  (tmp_path / "config.json").touch()
  processes.check_shared(tmp_path, 4)
  with pytest.raises(UserError, match="from steps 0, 4"):
    processes.check_shared(tmp_path, 0)
  other["b"] = False
  with pytest.raises(UserError, match="on a disk that all hosts share"):
    processes.check_shared(tmp_path, 4)


def test_what_another_ones_death_raises_is_one_line(monkeypatch):
  monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
  death = jax.errors.JaxRuntimeError("UNKNOWN: Gloo AllReduce failed: Connection closed by peer [::1]:2475\nmore")
  one_line = r"has ended \(.*closed by peer \[::1\]:2475\): start the same command in every"
  with pytest.raises(UserError, match=one_line), processes.noticing_deaths():
    raise death
  with pytest.raises(jax.errors.JaxRuntimeError, match="RESOURCE"), processes.noticing_deaths():
    raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")
  monkeypatch.setattr(jax.distributed, "is_initialized", lambda: False)
  with pytest.raises(jax.errors.JaxRuntimeError), processes.noticing_deaths():
    raise death


JOIN = """
import sys
from prt_jax.training import processes
processes.JOIN_SECONDS = 3
processes.join(False, sys.argv[1], 2, 1)
"""


def test_where_the_others_never_come_the_last_line_says_so():
  with socket.socket() as nobody:  # bound, and not listening
    nobody.bind(("127.0.0.1", 0))
    coordinator = f"127.0.0.1:{nobody.getsockname()[1]}"
    result = subprocess.run(
      [sys.executable, "-c", JOIN, coordinator], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
  assert result.returncode == 1
  assert "never came: start the same command in every process again" in result.stderr.splitlines()[-1]


def test_an_abort_by_jax_is_one_line_while_the_main_thread_waits():
  program = (
    "import ctypes, faulthandler, threading, time\nfrom prt_jax.training import processes\nfaulthandler.enable()\n"
    "processes._say_why_jax_aborts()\n"
    "threading.Timer(0.1, ctypes.CDLL(None).abort).start()\nctypes.CDLL(None).sleep(60)"
  )
  result = subprocess.run(
    [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
  )
  assert result.returncode == 1
  assert len(result.stderr.splitlines()) == 1 and processes.RESUME in result.stderr
