"""One writer a folder, and a lock that dies with it."""

import fcntl
import os
import signal
import subprocess
import sys
import threading

import pytest

from prt_jax.errors import UserError
from prt_jax.io.locks import one_writer, short_lock
from prt_jax.training.checkpoints import Checkpoints
from tests.conftest import ROOT

HOLD = "import sys, pathlib; from prt_jax.io.locks import one_writer\n"
HOLD += "with one_writer(pathlib.Path(sys.argv[1])):\n  print('held', flush=True)\n  sys.stdin.read()"


def test_the_holder_is_named_and_its_death_frees_the_folder(tmp_path):
  folder = tmp_path / "run"
  holder = subprocess.Popen(
    [sys.executable, "-c", HOLD, str(folder)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
  )
  assert holder.stdout.readline() == "held\n"
  with pytest.raises(UserError, match=f"{folder} is being written by process {holder.pid} on "), one_writer(folder):
    pass
  holder.send_signal(signal.SIGKILL)
  holder.communicate()
  for _ in range(2):
    with one_writer(folder):
      assert f"process {os.getpid()} on" in (folder / ".lock").read_text()


def test_readers_do_not_ask(tmp_path):
  with one_writer(tmp_path):
    Checkpoints(tmp_path, 1).close()
    assert not list((tmp_path / "checkpoints").iterdir())


def test_without_locks_a_run_goes_on(tmp_path, monkeypatch, caplog):
  def no_locks(*_):
    raise OSError(37, "No locks available")

  monkeypatch.setattr(fcntl, "flock", no_locks)
  with one_writer(tmp_path), short_lock(tmp_path):
    assert "No locks available" in caplog.text


def test_on_a_full_disk_the_lock_is_held_without_a_name(tmp_path, monkeypatch):
  def full(*_):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(os, "write", full)
  busy = pytest.raises(UserError, match="is being written by another process")
  with one_writer(tmp_path), busy, one_writer(tmp_path):
    pass


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
  (tmp_path / "file").touch()
  with pytest.raises(UserError, match=r"cannot use .*: Not a directory"), one_writer(tmp_path / "file" / "run"):
    pass


def test_short_locks_take_turns(tmp_path):
  held, order = threading.Event(), []

  def second():
    with short_lock(tmp_path):
      order.append("second")

  with short_lock(tmp_path):
    thread = threading.Thread(target=lambda: (held.set(), second()))
    thread.start()
    held.wait()
    thread.join(0.1)
    order.append("first")
  thread.join()
  assert order == ["first", "second"]
