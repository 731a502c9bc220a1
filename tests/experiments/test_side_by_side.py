"""Trainings in processes of their own: all are done, a mistake reaches the user, a signal stops and saves."""

import os
import pathlib
import signal
import threading
import time

import jax
import pytest

from experiments.side_by_side import run_all
from experiments.training import Stopped
from prt_jax.errors import UserError
from prt_jax.training.loop import StopRequest


def write_process(path: pathlib.Path) -> None:
  path.write_text(f"{os.getpid()} {len(os.sched_getaffinity(0))}")


def fail(path: pathlib.Path) -> None:
  raise UserError(f"{path} cannot be")


def train_forever(path: pathlib.Path) -> None:
  with StopRequest() as stop:
    path.write_text("begun")
    while not stop.signal_name:
      time.sleep(0.01)
  path.write_text("saved")
  raise Stopped


def test_every_task_is_done_once_each_process_on_a_core_of_its_own(tmp_path):
  paths = [tmp_path / str(i) for i in range(3)]
  run_all(write_process, [(path,) for path in paths], jobs=2)
  processes = [path.read_text().split() for path in paths]
  assert str(os.getpid()) not in {process for process, _ in processes}
  assert {cores for _, cores in processes} == {"1"}


def test_one_job_stays_in_this_process(tmp_path):
  run_all(write_process, [(tmp_path / "a",), (tmp_path / "b",)], jobs=1)
  assert (tmp_path / "b").read_text().split()[0] == str(os.getpid())


@jax.jit
def doubled(x):
  return 2 * x


def note_programs(path: pathlib.Path) -> None:
  path.write_text(str(doubled._cache_size()))
  doubled(1.0)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_tasks_programs_are_gone_when_the_next_begins(tmp_path, jobs):
  paths = [tmp_path / str(i) for i in range(4)]
  run_all(note_programs, [(path,) for path in paths], jobs)
  assert [path.read_text() for path in paths] == ["0"] * 4


def test_a_mistake_reaches_the_caller(tmp_path):
  with pytest.raises(UserError, match="no cannot be"):
    run_all(fail, [(pathlib.Path("no"),)] * 2, jobs=2)


def test_a_signal_lets_every_process_save(tmp_path):
  paths = [tmp_path / "a", tmp_path / "b"]

  def stop_when_begun():
    while not all(path.exists() for path in paths):
      time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGTERM)

  threading.Thread(target=stop_when_begun, daemon=True).start()
  with pytest.raises(Stopped, match="stopped by SIGTERM, saved"):
    run_all(train_forever, [(path,) for path in paths], jobs=2)
  assert [path.read_text() for path in paths] == ["saved", "saved"]
