"""One writer a folder: a lock that dies with its holder, however that dies.

filelock's FileLock is the same flock on Unix: as a dependency it would add Windows, timeouts, and, where the file
system has no flock, a marker file, which the kernel does not remove with a killed process. The holder's name in the
file, the folder itself as a lock, and the one line of each refusal would be written here all the same.
"""

import contextlib
import errno
import fcntl
import os
import pathlib
import platform
from collections.abc import Iterator

from absl import logging

from prt_jax.errors import UserError

NAME = ".lock"


@contextlib.contextmanager
def one_writer(folder: pathlib.Path) -> Iterator[None]:
  """Holds the lock for writing a folder, which is made if needed. Readers do not ask for it.

  The kernel frees it with the process, so that nothing needs to be cleaned up after a kill. Where the file system has
  no locks one line says so, and nobody is kept out.

  Raises:
    UserError: another process holds it (it is named), or the folder cannot be written.
  """
  try:
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / NAME).open("a+")
  except OSError as error:
    remedy = "make it writable, or " if error.errno == errno.EROFS else ""
    raise UserError(f"cannot use {folder} as a workdir: {error.strerror}; {remedy}choose another --workdir") from error
  with file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
      if error.errno in (errno.EAGAIN, errno.EACCES):
        file.seek(0)
        holder = file.read().strip() or "another process"
        raise UserError(f"{folder} is being written by {holder}: wait for it or stop it first") from error
      logging.warning("no lock for %s (%s): start no second run in it", folder, error.strerror)
    with contextlib.suppress(OSError):  # a full disk: the lock is held without its holder's name
      os.ftruncate(file.fileno(), 0)
      os.write(file.fileno(), f"process {os.getpid()} on {platform.node()}\n".encode())
    yield


@contextlib.contextmanager
def short_lock(folder: pathlib.Path) -> Iterator[None]:
  """Waits for, and holds, a lock on a folder itself, for a change that takes a moment; nothing where there is none."""
  descriptor = os.open(folder, os.O_RDONLY)
  try:
    with contextlib.suppress(OSError):
      fcntl.flock(descriptor, fcntl.LOCK_EX)
    yield
  finally:
    os.close(descriptor)
