"""Files that end: a pipe named in a command would be waited for without end."""

import errno
import os
import stat
from io import BufferedReader


def open_regular(path: os.PathLike | str) -> BufferedReader:
  """A file, opened for reading; OSError, which names it, also where it is a pipe, a socket or a device."""
  # Without O_NONBLOCK the open itself would wait for a pipe's writer; to a regular file it means nothing.
  descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
  if not stat.S_ISREG(os.fstat(descriptor).st_mode):
    os.close(descriptor)
    raise OSError(errno.EINVAL, "it is no regular file", os.fspath(path))
  return os.fdopen(descriptor, "rb")
