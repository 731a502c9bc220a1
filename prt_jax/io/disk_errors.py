"""What the operating system's errors say to a user: which file, whether it was written or read, and the way out."""

import contextlib
import errno
import os
import pathlib
from collections.abc import Iterator

from prt_jax.errors import UserError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_LOCKED = (errno.EROFS, errno.EACCES, errno.EPERM)


def explain(error: OSError, folder: pathlib.Path) -> tuple[str, str]:
  """(what failed, what to do about it).

  Args:
    error: raised while a folder was written and other files were read.
    folder: named where the error names no file and can only be of writing.
  """
  reason = error.strerror or str(error) or type(error).__name__
  if error.errno in _FULL:
    return f"cannot write to {error.filename or folder}: {reason}", "free some space"
  if error.errno == errno.EROFS:
    return f"cannot write to {error.filename or folder}: {reason}", "make it writable"
  if error.filename:
    return f"cannot read or write {error.filename}: {reason}", "check that file, its permissions and its disk"
  return f"a file could not be read or written: {reason}", "check the disks"


def remedy_of(reason: str) -> str:
  """What to do where a file could not be written, and a library gives the system's error as text alone."""
  if any(os.strerror(code) in reason for code in _FULL):
    return "free some space"
  return "make it writable" if any(os.strerror(code) in reason for code in _LOCKED) else "check the disk"


@contextlib.contextmanager
def one_line_errors(folder: pathlib.Path) -> Iterator[None]:
  """Turns the operating system's errors into UserErrors; the command can be run again once their cause is gone."""
  try:
    yield
  except OSError as error:
    what, remedy = explain(error, folder)
    raise UserError(f"{what}; {remedy}, then run the same command to go on") from error


def size(num_bytes: int) -> str:
  """Bytes in a unit that fits: '240 kB', '1.25 GB'."""
  for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
    if num_bytes >= factor:
      return f"{num_bytes / factor:.3g} {unit}" if num_bytes < 1000 * factor else f"{num_bytes / factor:,.0f} {unit}"
  return f"{num_bytes} bytes"
