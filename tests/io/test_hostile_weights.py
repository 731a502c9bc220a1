"""Weight files that lie about their sizes: each ends in one line, in a process that may take 300 MB more."""

import io
import os
import pickle
import struct
import subprocess
import sys
import zipfile
import zlib

import numpy as np
import pytest

from prt_jax.errors import UserError
from prt_jax.features.squeezenet import load_squeezenet
from prt_jax.io.weight_files import torch_pickle
from prt_jax.io.weight_files.stored_tensor import read_all
from prt_jax.io.weight_files.torch_checkpoint import load_state_dict, open_state_dict
from tests.commands import environment
from tests.conftest import ROOT

MEMORY = 300 << 20  # bytes
# All that the process needs is there before the limit is set: what is limited is what a file costs.
_READ = """
import resource, sys
from prt_jax.errors import UserError
from prt_jax.features.squeezenet import load_squeezenet
from prt_jax.restorers.registry import ARCHITECTURES, load_params

for path in sys.argv[2:]:
  load = load_squeezenet if path.endswith(".npz") else lambda path: load_params(ARCHITECTURES["compact"], path, 4)
  before = next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmSize"))
  resource.setrlimit(resource.RLIMIT_AS, (before + int(sys.argv[1]), resource.RLIM_INFINITY))
  try:
    load(path)
    print(f"{path}: read")
  except UserError as error:
    print(f"{path}: refused: {error}")
"""


def tensor(storage_size, shape=(1,), strides=(1,), key=b"0", offset=0):
  """The opcodes of one torch.FloatTensor; protocol 2, as torch.save writes it."""
  numbers = lambda values: b"(" + b"".join(b"\x8a\x08" + int(v).to_bytes(8, "little") for v in values) + b"t"  # noqa: E731
  storage = b"(U\x07storagectorch\nFloatStorage\nU" + bytes([len(key)]) + key + b"U\x03cpu"
  storage += b"\x8a\x08" + storage_size.to_bytes(8, "little") + b"tQ"
  arguments = b"(" + storage + b"J" + offset.to_bytes(4, "little") + numbers(shape) + numbers(strides) + b"\x89Nt"
  return b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"R"


def state_dict(**tensors):
  items = b"".join(b"U" + bytes([len(name)]) + name.encode() + content for name, content in tensors.items())
  return b"\x80\x02}(" + items + b"u."


def archive(path, members, method=zipfile.ZIP_DEFLATED):
  """A zip file of members name -> (content, times that it is repeated), packed in no more time than once."""
  local, directory = b"", b""
  for name, (content, times) in members.items():
    name, size = name.encode(), len(content) * times
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    # Ends at a byte and refers to nothing before: it can be repeated.
    packed = (deflate.compress(content) + deflate.flush(zlib.Z_FULL_FLUSH)) * times + b"\x03\x00"
    packed = packed if method else content * times
    fields = struct.pack("<HHHHHIIIHH", 20, 0, method, 0, 0, zlib.crc32(content), len(packed), size, len(name), 0)
    directory += b"PK\1\2\x14\0" + fields + struct.pack("<HHHII", 0, 0, 0, 0, len(local)) + name
    local += b"PK\3\4" + fields + name + packed
  end = struct.pack("<HHHHIIH", 0, 0, len(members), len(members), len(directory), len(local), 0)
  path.write_bytes(local + directory + b"PK\5\6" + end)
  return path


def members(pickled, storage=bytes(16)):
  return {"w/data.pkl": (pickled, 1), "w/data/0": (storage, 1)}


def hostile_files(folder):
  """Path by name of what it tries."""
  megabyte = bytes(1 << 20)
  one = state_dict(w=tensor(4))
  many = {f"t{i}": tensor(4 << 20, (4 << 20,)) for i in range(2000)}
  files = {
    "a byte order of 4 GiB": {"data.pkl": (one, 1), "byteorder": (megabyte, 4095), "data/0": (bytes(16), 1)},
    "2,000 tensors of one storage of 16 MB": {"data.pkl": (state_dict(**many), 1), "data/0": (megabyte, 16)},
    "2 GiB of zeros": {"data.pkl": (state_dict(w=tensor(1 << 29, (1 << 29,))), 1), "data/0": (megabyte, 2048)},
    "a pickle of 1 GiB": {"data.pkl": (b"0" * (1 << 20), 1024)},
  }
  paths = {
    name: archive(folder / f"{name}.pth", {f"w/{member}": content for member, content in members.items()})
    for name, members in files.items()
  }
  # An entry compressed by bzip2 cannot be unpacked in part.
  paths["bzip2"] = archive(folder / "bzip2.pth", members(state_dict(w=tensor(4))), zipfile.ZIP_BZIP2)

  legacy = b"".join(pickle.dumps(item, 2) for item in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
  pickles = {
    "a memo index of 2^32": b"\x80\x02Nr\xff\xff\xff\xff.",
    "bytes of 2^40": b"\x80\x04\x8e" + (1 << 40).to_bytes(8, "little") + b".",
    "a bytearray of 2^33": b"\x80\x05\x96" + (1 << 33).to_bytes(8, "little") + b".",
    # Doubled 200 times by reference: whoever walks or hashes it does not come to an end.
    "nested lists": b"\x80\x02]" + b"q\x00](h\x00h\x00e" * 200 + b".",
    "nested tuples as a key": b"\x80\x02})" + b"q\x00h\x00\x86" * 200 + b"Ns.",
    "keys of one hash": b"\x80\x02}("
    + b"".join(b"\x8a\x0a" + (k * (2**61 - 1)).to_bytes(10, "little") + b"N" for k in range(1 << 14, 1 << 16)) + b"u.",
    "three million dicts": b"\x80\x02" + b"}" * (3 << 20) + b".",
  }
  for name, program in pickles.items():
    paths[name] = folder / f"{name}.pth"
    paths[name].write_bytes(legacy + program + pickle.dumps([]))
  blocks = state_dict(**{"body.0.weight": tensor(4, (1, 1, 1, 1), (1, 1, 1, 1)), "body.99999999999.weight": tensor(4)})
  paths["a block of a large number"] = archive(folder / "blocks.pth", members(blocks))

  header = b'{"a": {"dtype": "F32", "shape": [' + b"9" * 18 + b", 9" * 300_000 + b'], "data_offsets": [0, 4]}}'
  headers = {"a product of 300,000 lengths": header, "a header of lists": b"[" + b"[]," * 12_000_000 + b"[]]"}
  for name, text in headers.items():
    paths[name] = folder / f"{name}.safetensors"
    paths[name].write_bytes(len(text).to_bytes(8, "little") + text + bytes(4))

  npy = io.BytesIO()
  np.lib.format.write_array_header_1_0(npy, {"descr": "<f4", "fortran_order": False, "shape": (1 << 40,)})
  long_header = b"\x93NUMPY\x02\x00" + (1 << 31).to_bytes(4, "little")
  arrays = {
    "an array of 2^40 values": (npy.getvalue(), 1),
    "an npy header of 2 GiB": (long_header + bytes((1 << 20) - len(long_header)), 2047),
  }
  for name, content in arrays.items():
    paths[name] = archive(folder / f"{name}.npz", {"conv1/k.npy": content})
  return paths


def test_each_hostile_file_is_refused_in_300_megabytes(tmp_path):
  paths = hostile_files(tmp_path)
  result = subprocess.run(
    [sys.executable, "-c", _READ, str(MEMORY), *map(str, paths.values())], cwd=ROOT, env=environment(), text=True,
    capture_output=True, timeout=300, check=False,
  )
  lines = dict(line.split(": ", 1) for line in result.stdout.splitlines())
  assert result.returncode == 0, result.stderr
  for name, path in paths.items():
    line = lines.get(str(path), "did not return")
    assert line.startswith("refused: ") and "this machine's memory" not in line, f"{name}: {line}"


def test_a_pipe_is_not_waited_for(tmp_path):
  for name, load in (("w.pth", load_state_dict), ("w.npz", load_squeezenet)):
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match="no regular file"):
      load(tmp_path / name)


def test_a_tensor_is_read_when_it_is_asked_for_and_its_checksum_compared_then(tmp_path):
  path = archive(tmp_path / "w.pth", members(state_dict(a=tensor(4)), b"\0\0\x80\x3f" * 4), zipfile.ZIP_STORED)
  np.testing.assert_array_equal(load_state_dict(path)["a"], [1])
  content = bytearray(path.read_bytes())
  content[content.index(b"\0\0\x80\x3f" * 4)] ^= 1
  path.write_bytes(content)
  with open_state_dict(path) as tensors:
    assert tensors["a"].shape == (1,) and tensors["a"].dtype == np.float32
    with pytest.raises(UserError, match="truncated"):
      tensors["a"].read()


def test_weights_that_are_no_numbers_are_named(tmp_path):
  values = struct.pack("<4f", 1, float("nan"), 3, float("inf"))
  pickled = state_dict(**{"head.bias": tensor(4, (1,)), "body.weight": tensor(4, (2, 2), (2, 1))})
  path = archive(tmp_path / "w.pth", members(pickled, values))
  with open_state_dict(path) as tensors:
    assert read_all({"head.bias": tensors["head.bias"]}, path)["head.bias"] == [1]
    with pytest.raises(UserError, match=r"w\.pth holds 2 of 4 values of body\.weight that are NaN or infinite"):
      read_all(tensors, path)


def test_a_pickle_beyond_its_limit_is_refused_whatever_it_holds(monkeypatch):
  monkeypatch.setattr(torch_pickle, "MAX_PICKLE_BYTES", 20)
  assert torch_pickle.load(io.BytesIO(pickle.dumps([1, 2, 3], 2))) == [1, 2, 3]
  with pytest.raises(torch_pickle.Damaged, match="too long"):
    torch_pickle.load(io.BytesIO(pickle.dumps([1, 2, 3] * 10, 2)))

