"""Reads the tensors of a PyTorch checkpoint without PyTorch and without executing the file.

A checkpoint is a pickle, and a pickle is a program. This reader is a restricted
unpickler: of all the globals that a file can ask for it knows `OrderedDict`, the two
functions that rebuild a dense tensor (before and since torch 0.4), those that make it an
`nn.Parameter`, and the storage types. Anything else ends the reading with one line that
names it. Both formats of `torch.save` are read: the zip archive (torch >= 1.6) and the older
sequence of pickles; and `.safetensors` files, which hold no pickle at all.
"""

import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

import ml_dtypes
import numpy as np

from prt_jax.errors import UserError
from prt_jax.features import safetensors

_STORAGE_TYPES = {
  "DoubleStorage": np.dtype("<f8"),
  "FloatStorage": np.dtype("<f4"),
  "HalfStorage": np.dtype("<f2"),
  "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
  "LongStorage": np.dtype("<i8"),
  "IntStorage": np.dtype("<i4"),
  "ShortStorage": np.dtype("<i2"),
  "CharStorage": np.dtype("i1"),
  "ByteStorage": np.dtype("u1"),
  "BoolStorage": np.dtype("?"),
}
_ZIP_MAGIC = b"PK\x03\x04"
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_MAX_DEPTH = 4  # of dicts within dicts
_MAX_PICKLE_BYTES = 64 << 20  # the tensors' bytes are elsewhere; the pickle only lists them


class _Tensor(NamedTuple):
  """A tensor as the pickle describes it, before the bytes of its storage are read."""

  storage: "_Storage"
  offset: int
  shape: tuple
  strides: tuple


class _Storage(NamedTuple):
  type_name: str
  key: str
  size: int


class _Refused(Exception):
  """The file asks for something that is not a tensor."""


class _Damaged(Exception):
  """The file ends too early or contradicts itself."""


def load_state_dict(path, key=None):
  """The tensors of a checkpoint written by `torch.save`, or of a .safetensors file, as numpy arrays.

  Nothing of the file is executed, so a checkpoint from anywhere may be opened.

  Args:
    path: the checkpoint file (.pth, .pt, .safetensors).
    key: which of several state dicts the file holds, such as "params_ema", or "model/params"
      where they are nested. May be left out if the file is a state dict, or holds exactly one.

  Returns:
    dict name -> array, C-contiguous, of the checkpoint's own dtype, in the file's order.
    Entries that are no tensors (an epoch number) are left out.

  Raises:
    UserError: the file is missing, truncated, no checkpoint, holds no tensors or several
      state dicts, or asks for anything but tensors.
  """
  path = Path(path).expanduser()
  try:
    with path.open("rb") as file:
      magic = file.read(9)
      file.seek(0)
      if path.suffix == ".safetensors" or safetensors.begins_like_one(magic):
        return _select({"": safetensors.read(file, path)}, key, path)
      content, read_storage = (_open_zip if magic[:4] == _ZIP_MAGIC else _open_legacy)(file, path.stat().st_size)
      if not isinstance(content, dict):
        raise UserError(
          f"{path} holds a {type(content).__name__}, no state dict: save model.state_dict() with torch.save"
        )
      tensors = _select(dict(_state_dicts(content)), key, path)
      return {name: _materialise(tensor, read_storage) for name, tensor in tensors.items()}
  except UserError:
    raise
  except _Refused as error:
    raise UserError(
      f"{path} was not loaded: it asks for {error}, which no plain state dict needs and which could run code; "
      "save model.state_dict() again with torch.save"
    ) from None
  except FileNotFoundError:
    raise UserError(f"{path} does not exist: give the path of a checkpoint written by torch.save") from None
  except OSError as error:
    raise UserError(f"{path} cannot be read ({error.strerror or error}): check the path and its permissions") from None
  # A damaged pickle can fail in any way that its opcodes can: what it raises says nothing to a user.
  except Exception as error:
    detail = str(error) if isinstance(error, _Damaged) else "it ends too early or its bytes were changed"
    raise UserError(f"{path} is truncated, or no checkpoint of torch.save ({detail}): get the file again") from error


class _Unpickler(pickle.Unpickler):
  """An unpickler that can build containers, numbers, strings and `_Tensor`s, and nothing else."""

  def find_class(self, module, name):
    if (module, name) == ("collections", "OrderedDict"):
      return OrderedDict
    if module == "torch._utils" and name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
      # A new function each time: a pickle may set attributes of what it was given.
      return lambda storage, offset, shape, strides, *_: _Tensor(storage, offset, shape, strides)
    if module == "torch._utils" and name in ("_rebuild_parameter", "_rebuild_parameter_with_state"):
      return lambda tensor, *_: tensor
    if module == "torch" and name in _STORAGE_TYPES:
      return name
    raise _Refused(f"{module}.{name}")

  def persistent_load(self, pid):
    kind, type_name, key, _, size = pid[:5]
    if kind != "storage" or type_name not in _STORAGE_TYPES:
      raise _Refused(f"a persistent {kind!r}")
    if len(pid) > 5 and pid[5] is not None:
      raise _Refused("a view of a storage")
    return _Storage(type_name, str(key), int(size))


def _open_zip(file, _):
  """(content, function storage -> flat array) of a zip checkpoint."""
  try:
    archive = zipfile.ZipFile(file)
  except zipfile.BadZipFile:
    raise _Damaged("its zip directory is missing") from None
  names = archive.namelist()
  pickles = [name for name in names if name.endswith("/data.pkl")]
  if len(pickles) != 1:
    raise _Damaged("it holds no data.pkl")
  root = pickles[0].removesuffix("data.pkl")
  if root + "byteorder" in names and archive.read(root + "byteorder") != b"little":
    raise _Refused("big-endian tensors")

  def read(name, size):
    # Sizes are compared before anything is read: a small archive can unpack to any length.
    if archive.getinfo(name).file_size != size:
      raise _Damaged(f"{name} has another size than the pickle says")
    return archive.read(name)

  size = archive.getinfo(pickles[0]).file_size
  if size > _MAX_PICKLE_BYTES:
    raise _Damaged("its pickle is too long for a list of tensors")
  content = _Unpickler(io.BytesIO(read(pickles[0], size))).load()

  def read_storage(storage):
    dtype = _STORAGE_TYPES[storage.type_name]
    return np.frombuffer(read(f"{root}data/{storage.key}", storage.size * dtype.itemsize), dtype)

  return content, read_storage


def _open_legacy(file, file_size):
  """(content, function storage -> flat array) of a checkpoint from before torch 1.6."""
  magic = _Unpickler(file).load()
  if magic != _LEGACY_MAGIC or _Unpickler(file).load() != _LEGACY_PROTOCOL:
    raise _Damaged("it does not begin like one")
  if not _Unpickler(file).load().get("little_endian", True):
    raise _Refused("big-endian tensors")
  content = _Unpickler(file).load()
  keys = _Unpickler(file).load()
  wanted = {tensor.storage.key: tensor.storage for tensor in _tensors(content)}

  # The bytes follow in the order of `keys`, each storage behind its length.
  arrays = {}
  for key in map(str, keys):
    if key not in wanted:
      raise _Damaged(f"storage {key} belongs to no tensor")
    size, dtype = wanted[key].size, _STORAGE_TYPES[wanted[key].type_name]
    if file.read(8) != size.to_bytes(8, "little") or size * dtype.itemsize > file_size - file.tell():
      raise _Damaged("it ends before its last tensor")
    arrays[key] = np.frombuffer(file.read(size * dtype.itemsize), dtype)
  return content, lambda storage: arrays[storage.key]


def _tensors(content):
  """Every `_Tensor` in nested dicts and lists."""
  if isinstance(content, _Tensor):
    return [content]
  if isinstance(content, dict):
    content = list(content.values())
  if isinstance(content, (list, tuple)):
    return [tensor for item in content for tensor in _tensors(item)]
  return []


def _select(state_dicts, key, path):
  """The one that is meant, of {name: {name: tensor}}; a key may also name what all of one's tensors begin with."""
  if not state_dicts:
    raise UserError(f"{path} holds no tensors: save model.state_dict() with torch.save")
  if key is None:
    if len(state_dicts) > 1 and "" not in state_dicts:
      raise UserError(f"{path} holds several state dicts: choose one of {', '.join(state_dicts)} (--checkpoint_key)")
    return next(iter(state_dicts.values()))
  if key in state_dicts:
    return state_dicts[key]
  for tensors in state_dicts.values():
    if inner := {name.removeprefix(f"{key}."): t for name, t in tensors.items() if name.startswith(f"{key}.")}:
      return inner
  raise UserError(f"{path} holds no state dict {key!r}: it holds {', '.join(filter(None, state_dicts)) or 'one'}")


def _state_dicts(content, name="", depth=0):
  """(name, tensors) of each dict that holds tensors by their names, outermost first; those within others as "a/b".

  Neither a best score beside them makes a state dict, nor an optimiser's state, which has tensors by number.
  """
  tensors = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, _Tensor)}
  if any(tensor.shape for tensor in tensors.values()):
    yield name, tensors
  for key, value in content.items():
    if isinstance(key, str) and isinstance(value, dict) and depth < _MAX_DEPTH:
      yield from _state_dicts(value, f"{name}/{key}" if name else key, depth + 1)


def _materialise(tensor, read_storage):
  """A contiguous copy of the part of the storage that the tensor views."""
  flat = read_storage(tensor.storage)
  shape, strides, offset = tuple(tensor.shape), tuple(tensor.strides), tensor.offset
  if len(shape) != len(strides) or min((offset, *shape, *strides)) < 0:
    raise _Damaged("a tensor has an impossible shape")
  count = int(np.prod(shape, dtype=object))
  last = offset + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))
  # Strides of zero would let a few bytes claim any amount of memory; no saved weight has them.
  if count and (last >= flat.size or count > flat.size):
    raise _Damaged("a tensor reaches beyond its storage")
  if not count:
    return np.zeros(shape, flat.dtype)
  strides = [stride * flat.itemsize for stride in strides]
  return np.lib.stride_tricks.as_strided(flat[offset:], shape, strides).copy(order="C")
