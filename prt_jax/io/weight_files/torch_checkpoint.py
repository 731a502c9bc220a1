"""Reads the tensors of a PyTorch checkpoint without PyTorch and without executing the file.

A checkpoint is a pickle, and a pickle is a program. This reader is a restricted unpickler (torch_pickle.py): a file
that asks for anything but tensors ends the reading with one line that names it. Both formats of `torch.save` are read:
the zip archive (torch >= 1.6) and the older sequence of pickles; and `.safetensors` files, which hold no pickle at all.

Nothing that a file says of its sizes is believed: a tensor is read once its shape has been asked for, and all of them
together may take no more memory than _MAX_RATIO times the file, plus _FREE_BYTES.
"""

import contextlib
import functools
import io
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from prt_jax.errors import UserError
from prt_jax.io.regular_files import open_regular
from prt_jax.io.weight_files import safetensors, torch_pickle
from prt_jax.io.weight_files.stored_tensor import Damaged, StoredTensor, check_name, check_shape, read_exactly
from prt_jax.io.weight_files.torch_pickle import Refused, Tensor
from prt_jax.io.weight_files.zip_archive import find_member, open_archive, read_member

_ZIP_MAGIC = b"PK\x03\x04"
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_MAX_DEPTH = 4  # of dicts within dicts
_MAX_ENTRIES = 1_000_000  # of all dicts and lists, each counted as often as it is reached
_MAX_RATIO, _FREE_BYTES = 8, 64 << 20


def load_state_dict(path: str | os.PathLike, key: str | None = None) -> dict[str, np.ndarray]:
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
      state dicts, asks for anything but tensors, or for much more memory than it has bytes.

  Example:
    >>> from prt_jax.errors import UserError
    >>> try:
    ...   load_state_dict("absent.pth")
    ... except UserError as error:
    ...   print("absent.pth" in str(error))
    True
  """
  with open_state_dict(path, key) as tensors:
    return {name: tensor.read() for name, tensor in tensors.items()}


@contextlib.contextmanager
def open_state_dict(path: str | os.PathLike, key: str | None = None) -> Iterator[dict[str, StoredTensor]]:
  """load_state_dict, with the tensors still in the file: dict name -> StoredTensor, to be read within the block."""
  path = Path(path).expanduser()
  with contextlib.ExitStack() as stack:
    with _one_line_errors(path):
      file = stack.enter_context(open_regular(path))
      tensors = _open(file, path, key)

    def guarded(read):
      with _one_line_errors(path):
        return read()

    yield {name: tensor._replace(read=functools.partial(guarded, tensor.read)) for name, tensor in tensors.items()}


@contextlib.contextmanager
def _one_line_errors(path):
  try:
    yield
  except UserError:
    raise
  except Refused as error:
    raise UserError(
      f"{path} was not loaded: it asks for {error}, which no plain state dict needs and which could run code; "
      "save model.state_dict() again with torch.save"
    ) from None
  except FileNotFoundError:
    raise UserError(f"{path} does not exist: give the path of a checkpoint written by torch.save") from None
  except OSError as error:
    raise UserError(f"{path} cannot be read ({error.strerror or error}): check the path and its permissions") from None
  except MemoryError:
    raise UserError(f"{path} does not fit into this machine's memory") from None
  # A damaged pickle can fail in any way that its opcodes can: what it raises says nothing to a user.
  except Exception as error:
    detail = str(error) if isinstance(error, Damaged) else "it ends too early or its bytes were changed"
    raise UserError(f"{path} is truncated, or no checkpoint of torch.save ({detail}): get the file again") from error


def _open(file, path, key):
  """dict name -> StoredTensor of an open file."""
  magic, size = file.read(9), os.fstat(file.fileno()).st_size
  file.seek(0)
  if path.suffix == ".safetensors" or safetensors.begins_like_one(magic):
    return _select({"": safetensors.index(file, path)}, key, path)
  content, find_storage = (_open_zip if magic[:4] == _ZIP_MAGIC else _open_legacy)(file, size)
  if not isinstance(content, dict):
    raise UserError(f"{path} holds a {type(content).__name__}, no state dict: save model.state_dict() with torch.save")
  return _stored(_select(_state_dicts(content), key, path), find_storage, size)


def _open_zip(file, _):
  """(content, function storage -> function that reads its bytes) of a zip checkpoint."""
  archive = open_archive(file)
  names = archive.namelist()
  pickles = [name for name in names if name.endswith("/data.pkl")]
  if len(pickles) != 1:
    raise Damaged("it holds no data.pkl")
  root = pickles[0].removesuffix("data.pkl")
  order = root + "byteorder"
  if order in names and (archive.getinfo(order).file_size != 6 or read_member(archive, order, 6) != b"little"):
    raise Refused("big-endian tensors")
  size = archive.getinfo(pickles[0]).file_size
  if size > torch_pickle.MAX_PICKLE_BYTES:
    raise Damaged("its pickle is too long for a list of tensors")
  content = torch_pickle.load(io.BytesIO(read_member(archive, pickles[0], size)))
  return content, lambda storage: find_member(archive, f"{root}data/{storage.key}", storage.nbytes)


def _open_legacy(file, file_size):
  """(content, function storage -> function that reads its bytes) of a checkpoint from before torch 1.6."""
  magic = torch_pickle.load(file)
  if magic != _LEGACY_MAGIC or torch_pickle.load(file) != _LEGACY_PROTOCOL:
    raise Damaged("it does not begin like one")
  if not torch_pickle.load(file).get("little_endian", True):
    raise Refused("big-endian tensors")
  content, keys = torch_pickle.load(file), torch_pickle.load(file)
  wanted = {tensor.storage.key: tensor.storage for tensor in _tensors(content)}

  # The bytes follow in the order of `keys`, each storage behind its length.
  places = {}
  for key in keys:
    if not isinstance(key, str) or key not in wanted:
      raise Damaged("a storage belongs to no tensor")
    storage = wanted[key]
    if file.read(8) != storage.size.to_bytes(8, "little") or storage.nbytes > file_size - file.tell():
      raise Damaged("it ends before its last tensor")
    places[key] = file.tell()
    file.seek(storage.nbytes, 1)

  def read(storage):
    file.seek(places[storage.key])
    return read_exactly(file, storage.nbytes)

  def find(storage):
    if storage != wanted[storage.key]:
      raise Damaged("a storage has two sizes")
    return functools.partial(read, storage)

  return content, find


def _tensors(content):
  """Every `Tensor` in nested dicts and lists; the same one as often as it is reached."""
  waiting, count = [content], 0
  while waiting:
    item = waiting.pop()
    if isinstance(item, Tensor):
      yield item
      continue
    if isinstance(item, dict):
      item = item.values()
    elif not isinstance(item, list | tuple):
      continue
    count += len(item)
    if count > _MAX_ENTRIES:
      raise Damaged("it lists too much for a list of tensors")
    waiting.extend(item)


def _select(state_dicts, key, path):
  """The one that is meant, of {name: {name: tensor}}; a key may also name what all of one's tensors begin with."""
  if not state_dicts:
    raise UserError(f"{path} holds no tensors: save model.state_dict() with torch.save")
  names = ", ".join(filter(None, state_dicts))[:500] if any(state_dicts) else "one"
  if key is None:
    if len(state_dicts) > 1 and "" not in state_dicts:
      raise UserError(f"{path} holds several state dicts: choose one of {names} (--checkpoint_key)")
    return next(iter(state_dicts.values()))
  if key in state_dicts:
    return state_dicts[key]
  for tensors in state_dicts.values():
    if inner := {name.removeprefix(f"{key}."): t for name, t in tensors.items() if name.startswith(f"{key}.")}:
      return inner
  raise UserError(f"{path} holds no state dict {key!r}: it holds {names}")


def _state_dicts(content):
  """{name: tensors} of each dict that holds tensors by their names, outermost first; those within others as "a/b".

  Neither a best score beside them makes a state dict, nor an optimiser's state, which has tensors by number.
  """
  found, waiting, count = {}, [("", content, 0)], 0
  while waiting:
    name, mapping, depth = waiting.pop()
    count += len(mapping)
    if count > _MAX_ENTRIES:
      raise Damaged("it lists too much for a list of tensors")
    named = [(check_name(key), value) for key, value in mapping.items() if isinstance(key, str)]
    tensors = {key: value for key, value in named if isinstance(value, Tensor)}
    if any(tensor.shape for tensor in tensors.values()):
      found[name] = tensors
    if depth < _MAX_DEPTH:
      inner = [(f"{name}/{key}" if name else key, value, depth + 1) for key, value in named if isinstance(value, dict)]
      waiting.extend(reversed(inner))
  return found


def _stored(tensors, find_storage, file_size):
  """dict name -> StoredTensor of the chosen dict name -> Tensor; Damaged where they ask for too much memory."""
  read_bytes, users = {}, {}
  for name, tensor in tensors.items():
    if not isinstance(tensor.storage, torch_pickle.Storage):
      raise Damaged(f"{name} has no storage")
    check_shape(name, tuple(tensor.shape), tuple(tensor.strides), (tensor.offset,))
    users[tensor.storage] = users.get(tensor.storage, 0) + 1
    if tensor.storage not in read_bytes:
      read_bytes[tensor.storage] = find_storage(tensor.storage)
  # A storage of one tensor is forgotten once that is read, one of several kept for all of them.
  read_bytes = {storage: functools.cache(read) if users[storage] > 1 else read for storage, read in read_bytes.items()}
  stored = {
    name: StoredTensor(
      tuple(tensor.shape), tensor.storage.dtype, functools.partial(_materialise, tensor, read_bytes[tensor.storage])
    )
    for name, tensor in tensors.items()
  }
  needed = max(sum(storage.nbytes for storage in read_bytes), sum(tensor.nbytes for tensor in stored.values()))
  if needed > _MAX_RATIO * file_size + _FREE_BYTES:
    raise Damaged(f"its tensors would take {needed:,} bytes of memory, and the file has {file_size:,}")
  return stored


def _materialise(tensor, read_bytes):
  """A contiguous copy of the part of the storage that the tensor views."""
  flat = np.frombuffer(read_bytes(), tensor.storage.dtype)
  shape, strides, offset = tuple(tensor.shape), tuple(tensor.strides), tensor.offset
  if len(shape) != len(strides):
    raise Damaged("a tensor has an impossible shape")
  count = int(np.prod(shape, dtype=object))
  last = offset + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))
  # Strides of zero would let a few bytes claim any amount of memory; no saved weight has them.
  if count and (last >= flat.size or count > flat.size):
    raise Damaged("a tensor reaches beyond its storage")
  if not count:
    return np.zeros(shape, flat.dtype)
  strides = [stride * flat.itemsize for stride in strides]
  return np.lib.stride_tricks.as_strided(flat[offset:], shape, strides).copy(order="C")
