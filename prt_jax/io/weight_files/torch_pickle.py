"""The part of Python's pickles that a list of tensors needs, as a machine that can do nothing else.

Of all the globals that a file can ask for it knows `OrderedDict`, the two functions that rebuild a dense tensor
(before and since torch 0.4), those that make it an `nn.Parameter`, and the storage types. Of the opcodes it knows those
that build containers, numbers and strings. What it builds cannot be larger than some hundred times the pickle, and
takes time in proportion.
"""

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, BinaryIO, ClassVar, NamedTuple

import ml_dtypes
import numpy as np

from prt_jax.io.weight_files.stored_tensor import Damaged

STORAGE_TYPES = {
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
MAX_PICKLE_BYTES = 3 << 20  # the tensors' bytes are elsewhere; ten thousand tensors are listed in two million bytes
_MAX_KEY = 1 << 60  # larger integers can be chosen to have all one hash

# Without sets, which take two hundred bytes of memory an opcode, and without whatever calls or sets something else.
_OPCODES = (
  pickle.PROTO, pickle.FRAME, pickle.STOP, pickle.MARK, pickle.POP, pickle.POP_MARK, pickle.DUP, pickle.NONE,
  pickle.NEWTRUE, pickle.NEWFALSE, pickle.INT, pickle.BININT, pickle.BININT1, pickle.BININT2, pickle.LONG,
  pickle.LONG1, pickle.LONG4, pickle.FLOAT, pickle.BINFLOAT, pickle.STRING, pickle.BINSTRING, pickle.SHORT_BINSTRING,
  pickle.UNICODE, pickle.BINUNICODE, pickle.SHORT_BINUNICODE, pickle.BINUNICODE8, pickle.BINBYTES,
  pickle.SHORT_BINBYTES, pickle.BINBYTES8, pickle.EMPTY_TUPLE, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2,
  pickle.TUPLE3, pickle.EMPTY_LIST, pickle.LIST, pickle.APPEND, pickle.APPENDS, pickle.EMPTY_DICT, pickle.DICT,
  pickle.SETITEM, pickle.SETITEMS, pickle.GET, pickle.BINGET, pickle.LONG_BINGET, pickle.PUT, pickle.BINPUT,
  pickle.LONG_BINPUT, pickle.MEMOIZE, pickle.GLOBAL, pickle.STACK_GLOBAL, pickle.INST, pickle.REDUCE, pickle.BUILD,
  pickle.BINPERSID,
)  # fmt: skip


class Storage(NamedTuple):
  """A flat array of the file: its type, its name there, its number of elements."""

  type_name: str
  key: str
  size: int

  @property
  def dtype(self) -> np.dtype:
    """Of its elements."""
    return STORAGE_TYPES[self.type_name]

  @property
  def nbytes(self) -> int:
    """Bytes that it says it has."""
    return self.size * self.dtype.itemsize


class Tensor(NamedTuple):
  """A tensor as the pickle describes it; nothing of it is checked."""

  storage: Storage
  offset: int
  shape: tuple
  strides: tuple


class Refused(Exception):
  """The file asks for something that is not a tensor."""


def load(file: BinaryIO) -> Any:
  """What the next pickle of a file holds, its tensors as `Tensor`s; the file is then behind it.

  Raises:
    Refused: it asks for a global that no tensor needs.
    Damaged: it is longer than MAX_PICKLE_BYTES.
    Exception: a damaged pickle fails in as many ways as it has opcodes.
  """
  start = file.tell()
  # A pickle that claims more than is there gets what is there, and sets no memory aside for the rest.
  content = io.BytesIO(file.read(MAX_PICKLE_BYTES))
  try:
    return _Unpickler(content).load()
  except EOFError:
    if content.tell() < MAX_PICKLE_BYTES:
      raise
    raise Damaged("its pickle is too long for a list of tensors") from None
  finally:
    file.seek(start + content.tell())


# Python's machine, not C's, which is pickle.Unpickler: that one sets memory aside for whatever number a pickle names,
# and hashes whatever stands as a key, which a few hundred bytes of nested tuples can make endless.
class _Unpickler(pickle._Unpickler):
  stack: list  # typeshed knows of none of the three
  append: Callable[[Any], None]
  pop_mark: Callable[[], list]
  dispatch: ClassVar[dict] = {code[0]: pickle._Unpickler.dispatch[code[0]] for code in _OPCODES}

  def find_class(self, module, name):
    if (module, name) == ("collections", "OrderedDict"):
      return _ordered_dict
    if module == "torch._utils" and name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
      return lambda storage, offset, shape, strides, *_: Tensor(storage, offset, shape, strides)
    if module == "torch._utils" and name in ("_rebuild_parameter", "_rebuild_parameter_with_state"):
      return lambda tensor, *_: tensor
    if module == "torch" and name in STORAGE_TYPES:
      return name
    raise Refused(f"{module}.{name}"[:100])

  def persistent_load(self, pid):
    kind, type_name, key, _, size = pid[:5]
    if kind != "storage" or type_name not in STORAGE_TYPES:
      raise Refused(f"a persistent {kind[:100]!r}" if isinstance(kind, str) else "a persistent object")
    if len(pid) > 5 and pid[5] is not None:
      raise Refused("a view of a storage")
    if type(size) is not int or size < 0 or not isinstance(key, str | int):
      raise Damaged("a storage has an impossible size")
    return Storage(type_name, str(key), size)

  def _set_items(self, items):
    mapping = self.stack[-1]
    if not isinstance(mapping, dict):
      raise Damaged("its pickle fills what is no dict")
    mapping.update(_plain_keys(zip(items[::2], items[1::2], strict=True)))

  def load_setitem(self):
    items = self.stack[-2:]
    del self.stack[-2:]
    self._set_items(items)

  def load_setitems(self):
    self._set_items(self.pop_mark())

  def load_dict(self):
    items = self.pop_mark()
    self.append({})
    self._set_items(items)

  def load_build(self):
    self.stack.pop()  # attributes, of a state dict its _metadata: no part of the tensors

  dispatch[pickle.SETITEM[0]] = load_setitem
  dispatch[pickle.SETITEMS[0]] = load_setitems
  dispatch[pickle.DICT[0]] = load_dict
  dispatch[pickle.BUILD[0]] = load_build


def _ordered_dict(items=()):
  return OrderedDict(_plain_keys(items))


def _plain_keys(items):
  for key, value in items:
    if not isinstance(key, str | bytes | float | int | None) or (isinstance(key, int) and abs(key) > _MAX_KEY):
      raise Damaged("a key of its pickle is neither a name nor a number")
    yield key, value
