"""The reader of .safetensors: bytes laid out by hand, and nothing believed that the file does not hold."""

import json
import struct

import numpy as np
import pytest

from prt_jax.errors import UserError
from prt_jax.features import load_state_dict

DATA = struct.pack("<4f", 1, 2, 3, 4) + struct.pack("<2q", -5, 6) + bytes([0x80, 0x3F])
HEADER = {
  "__metadata__": {"format": "pt"},
  "b": {"dtype": "I64", "shape": [2], "data_offsets": [16, 32]},
  "a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
  "c": {"dtype": "BF16", "shape": [], "data_offsets": [32, 34]},
}


def write(path, header=HEADER, data=DATA):
  text = header if isinstance(header, bytes) else json.dumps(header).encode()
  path.write_bytes(len(text).to_bytes(8, "little") + text + data)
  return path


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_tensors_are_the_bytes_that_the_header_names(tmp_path, name):
  found = load_state_dict(write(tmp_path / name))
  assert list(found) == ["a", "b", "c"]
  np.testing.assert_array_equal(found["a"], np.array([[1, 2], [3, 4]], np.float32))
  np.testing.assert_array_equal(found["b"], [-5, 6])
  assert float(found["c"]) == 1.0 and found["a"].flags.writeable


def change(**entries):
  return HEADER | entries


@pytest.mark.parametrize(
  ("header", "data", "message"),
  [
    (HEADER, DATA[:-1], "the bytes of c are not where"),
    (HEADER, DATA + b"\0", "more bytes than tensors"),
    (change(d=HEADER["a"]), DATA, "the bytes of d are not where"),  # two tensors of the same bytes
    (change(a={"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 16]}), DATA, "the bytes of a are not where"),
    (change(a={"dtype": "F32", "shape": [-2, -2], "data_offsets": [0, 16]}), DATA, "impossible shape"),
    (change(a={"dtype": "F8_E4M3", "shape": [16], "data_offsets": [0, 16]}), DATA, "of type F8_E4M3"),
    (change(a={"dtype": "F32"}), DATA, "damaged"),
    (b"null", DATA, "damaged"),
    (b"[" * 100_000, DATA, "damaged"),
    (b"{not json", DATA, "damaged|header"),
    ({"__metadata__": {}}, b"", "holds no tensors"),
  ],
)
def test_what_does_not_add_up_is_refused(tmp_path, header, data, message):
  with pytest.raises(UserError, match=message) as error:
    load_state_dict(write(tmp_path / "w.safetensors", header, data))
  assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, (1 << 62).to_bytes(8, "little") + b"{}", b"\x02\0\0\0\0\0\0\0"])
def test_lengths_beyond_the_file_are_refused(tmp_path, content):
  (tmp_path / "w.safetensors").write_bytes(content)
  with pytest.raises(UserError, match=r"truncated, or no \.safetensors file"):
    load_state_dict(tmp_path / "w.safetensors")
