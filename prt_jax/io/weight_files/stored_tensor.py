"""Tensors of a file that are described before any is read: shapes are compared first, whatever the sizes claim."""

import math
from collections.abc import Callable, Mapping
from typing import IO, NamedTuple

import numpy as np

from prt_jax.errors import UserError

_BLOCK = 1 << 20  # bytes read at a time: a size that a file only claims is never set aside in memory
_MAX_DIMENSIONS = 32
_MAX_LENGTH = 1 << 48
_MAX_NAME = 200  # characters


class Damaged(Exception):
  """The file ends too early or contradicts itself."""


class StoredTensor(NamedTuple):
  """A tensor that is still in its file.

  Attributes:
    shape: tuple of int.
    dtype: the file's own.
    read: () -> array, C-contiguous, writable and its own; UserError where the file does not hold it.
  """

  shape: tuple[int, ...]
  dtype: np.dtype
  read: Callable[[], np.ndarray]

  @property
  def ndim(self) -> int:
    """Number of axes."""
    return len(self.shape)

  @property
  def nbytes(self) -> int:
    """Bytes of the array that read() gives."""
    return math.prod(self.shape) * self.dtype.itemsize


def read_all(tensors: Mapping[str, StoredTensor], source: object) -> dict[str, np.ndarray]:
  """The arrays of a network's weights, all of them numbers.

  Args:
    tensors: by name, their shapes found right.
    source: what an error calls the file.

  Raises:
    UserError: unreadable, or NaN or infinite somewhere; the tensor is named.
  """
  arrays = {}
  for name, tensor in tensors.items():
    arrays[name] = array = tensor.read()
    if array.dtype.kind not in "iub" and (broken := int(np.sum(~np.isfinite(array)))):
      raise UserError(
        f"{source} holds {broken} of {array.size} values of {name} that are NaN or infinite: such weights restore "
        "nothing, get a checkpoint from before the training diverged"
      )
  return arrays


def read_exactly(stream: IO[bytes], size: int) -> bytearray:
  """So many bytes of a stream; Damaged where it ends before."""
  content = bytearray()
  while len(content) < size:
    if not (block := stream.read(min(_BLOCK, size - len(content)))):
      raise Damaged("it ends before its last tensor")
    content += block
  return content


def check_shape(name: str, *numbers: tuple) -> None:
  """Damaged unless shape (and strides, offsets) are tuples that an array can have."""
  for lengths in numbers:
    if len(lengths) > _MAX_DIMENSIONS or any(type(n) is not int or not 0 <= n <= _MAX_LENGTH for n in lengths):
      raise Damaged(f"{name} has an impossible shape")


def check_name(name: str) -> str:
  """The name of a tensor; Damaged where it is none that a network's code could have given."""
  if not name.isprintable() or len(name) > _MAX_NAME:
    raise Damaged("a tensor's name is damaged")
  return name
