"""Reads an .npz of plain arrays: a zip file of a header and the values each. Nothing is executed, no size believed."""

import contextlib
import functools
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from prt_jax.errors import UserError
from prt_jax.io.regular_files import open_regular
from prt_jax.io.weight_files.stored_tensor import Damaged, StoredTensor, check_name, check_shape
from prt_jax.io.weight_files.zip_archive import open_archive, open_member, read_member


@contextlib.contextmanager
def open_npz(path: Path) -> Iterator[dict[str, StoredTensor]]:
  """The arrays of an .npz by name, to be read within the block; UserError if it is missing, damaged or no such file."""
  with contextlib.ExitStack() as stack:
    with _one_line_errors(path):
      archive = stack.enter_context(open_archive(stack.enter_context(open_regular(path))))
      members = archive.infolist()
      arrays = {check_name(member.filename).removesuffix(".npy"): _index(archive, member) for member in members}

    def guarded(read):
      with _one_line_errors(path):
        return read()

    yield {name: array._replace(read=functools.partial(guarded, array.read)) for name, array in arrays.items()}


def _index(archive, member):
  with open_member(archive, member) as stream:
    if np.lib.format.read_magic(stream) != (1, 0):  # later versions have headers of any length
      raise Damaged("an array is not of npy format 1.0")
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
    check_shape(member.filename, shape)
    if dtype.hasobject or dtype.kind not in "fiub":
      raise Damaged(f"{member.filename} holds {dtype}, not numbers")
    start = stream.tell()
  if start + math.prod(shape) * dtype.itemsize != member.file_size:
    raise Damaged(f"{member.filename} has another size than its header says")

  def read():
    content = read_member(archive, member.filename, member.file_size)
    flat = np.frombuffer(content, dtype, offset=start)
    return np.ascontiguousarray(flat.reshape(shape, order="F" if fortran_order else "C"))

  return StoredTensor(shape, dtype, read)


@contextlib.contextmanager
def _one_line_errors(path):
  try:
    yield
  except UserError:
    raise
  except FileNotFoundError:
    raise UserError(f"{path} does not exist: set eval.feature_weights to an .npz of SqueezeNet 1.1") from None
  except MemoryError:
    raise UserError(f"{path} does not fit into this machine's memory") from None
  # A damaged zip file fails with BadZipFile, zlib.error, EOFError, OSError, RuntimeError or NotImplementedError.
  except Exception as error:
    reason = str(error)[:200] or type(error).__name__
    raise UserError(
      f"{path} is truncated or no .npz of plain arrays ({reason}): get the SqueezeNet 1.1 weights again"
    ) from error
