"""Folders that exist whole or not at all, whenever the process that writes them is killed.

A folder NAME is written as .NAME.partial.HOST.PID-TOKEN beside it and renamed. Its writer holds an
flock on .NAME.lock meanwhile. The kernel frees that lock when a process dies, however it dies:
a partial folder whose lock is free is dead, with no guess from process ids, which restart
with every container.
"""

import contextlib
import errno
import fcntl
import os
import platform
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from absl import logging

HOST = re.sub(r"[^\w-]", "-", platform.node()) or "unknown"


def remove_dead_partials(parent: Path) -> None:
  """Removes the partial folders of this host whose writers are dead; leaves those of live ones and of other hosts.

  Best effort: what cannot be listed, locked or removed stays.

  Args:
    parent: pathlib.Path of the folder to search; need not exist.
  """
  for partial in parent.glob(f".*.partial.{HOST}.*"):
    name = partial.name.split(".partial.")[0]
    with contextlib.suppress(OSError), open(parent / f"{name}.lock", "ab") as lock:
      # BlockingIOError, an OSError, if its writer lives.
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
      logging.info("removing %s, left by a killed preparation", partial)
      shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def writing_lock(folder: Path) -> Iterator[None]:
  """Holds the lock for writing `folder` (pathlib.Path); waits while another process of this machine holds it.

  Where the file system has no locks nobody waits; `finish` then decides which process wins.
  """
  with open(_hidden(folder, "lock"), "ab") as lock:
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      logging.info("another process prepares %s: waiting for it", folder)
      fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError as error:
      logging.info("no lock for %s (%s): going on without", folder, error.strerror)
    yield


@contextlib.contextmanager
def partial_folder(folder: Path) -> Iterator[Path]:
  """A fresh folder to fill (pathlib.Path); renamed to `folder` at the end of the block, removed if the block raises.

  To be used under `writing_lock`. If `folder` has come into being meanwhile (another
  host, no locks) that one stays and this one is removed.
  """
  partial = _hidden(folder, f"partial.{HOST}.{os.getpid()}-{secrets.token_hex(4)}")
  try:
    partial.mkdir()
    yield partial
    _finish(partial, folder)
  except BaseException:
    shutil.rmtree(partial, ignore_errors=True)
    raise


def _finish(partial, folder):
  # The names of the files must be on disk before the folder's own name is, in case the power fails.
  _sync(partial)
  try:
    partial.rename(folder)
  except OSError as error:
    if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
      raise
    shutil.rmtree(partial, ignore_errors=True)
  _sync(folder.parent)


def _sync(folder):
  descriptor = os.open(folder, os.O_RDONLY)
  try:
    # Some network file systems cannot sync a folder.
    with contextlib.suppress(OSError):
      os.fsync(descriptor)
  finally:
    os.close(descriptor)


def _hidden(folder, suffix):
  return folder.with_name(f".{folder.name}.{suffix}")
