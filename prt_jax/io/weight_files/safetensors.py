"""Reads a .safetensors file: 8 bytes with the length of a JSON header, the header, the tensors' bytes.

Nothing that the header says is believed before it is compared with the file: no size that it claims can
cost more memory than the file has bytes. A tensor is read once its shape has been asked for.
"""

import functools
import json
import math
import os
from typing import BinaryIO

import ml_dtypes
import numpy as np

from prt_jax.errors import UserError
from prt_jax.io.weight_files.stored_tensor import Damaged, StoredTensor, check_name, check_shape, read_exactly

_DTYPES = {
  "F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype(ml_dtypes.bfloat16),
  "I64": np.dtype("<i8"), "I32": np.dtype("<i4"), "I16": np.dtype("<i2"), "I8": np.dtype("i1"),
  "U64": np.dtype("<u8"), "U32": np.dtype("<u4"), "U16": np.dtype("<u2"), "U8": np.dtype("u1"), "BOOL": np.dtype("?"),
}  # fmt: skip
_MAX_HEADER_BYTES = 4 << 20  # some twenty thousand tensors


def begins_like_one(start: bytes) -> bool:
  """Whether the first 9 bytes of a file are a length and the opening of a JSON object."""
  return len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") <= _MAX_HEADER_BYTES


def index(file: BinaryIO, path: str | os.PathLike) -> dict[str, StoredTensor]:
  """The tensors of an open file by name, in the order of their bytes, not read yet.

  Raises:
    UserError: truncated, damaged, or of a type that numpy has not; path is what it calls the file.
  """
  try:
    size = file.seek(0, 2)
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= min(_MAX_HEADER_BYTES, size - 8):
      raise Damaged("its header does not fit into it")
    header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    entries = sorted(header.items(), key=lambda item: item[1]["data_offsets"])
    tensors, place = {}, 0
    for name, entry in entries:
      dtype, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
      check_name(name)
      if dtype not in _DTYPES:
        raise UserError(f"{path} was not loaded: its tensor {name} is of type {str(dtype)[:20]}; save it as F32")
      check_shape(name, shape)
      read = functools.partial(_read, file, 8 + length + place, shape, _DTYPES[dtype])
      tensors[name] = tensor = StoredTensor(shape, _DTYPES[dtype], read)
      # Each byte belongs to one tensor: those that share bytes could claim any amount of memory.
      if begin != place or type(end) is not int or end - begin != tensor.nbytes or 8 + length + end > size:
        raise Damaged(f"the bytes of {name} are not where its header says")
      place = end
    if 8 + length + place != size:
      raise Damaged("it holds more bytes than tensors")
  except (UserError, OSError):
    raise
  # A header that is no JSON, or JSON of another kind, fails in many ways; none says anything to a user.
  except Exception as error:
    detail = str(error) if isinstance(error, Damaged) else "its header is damaged"
    raise UserError(f"{path} is truncated, or no .safetensors file ({detail}): get the file again") from error
  if not tensors:
    raise UserError(f"{path} holds no tensors: save model.state_dict()")
  return tensors


def _read(file, place, shape, dtype):
  file.seek(place)
  return np.frombuffer(read_exactly(file, math.prod(shape) * dtype.itemsize), dtype).reshape(shape)
