"""The restricted reader of torch checkpoints: it agrees with torch, and executes nothing."""

import collections
import io
import pickle
import struct
import zipfile

import numpy as np
import pytest

from prt_jax.errors import UserError
from prt_jax.io.weight_files.torch_checkpoint import load_state_dict

torch = pytest.importorskip("torch")

ZIP, LEGACY = True, False
both_formats = pytest.mark.parametrize("zipped", [ZIP, LEGACY], ids=["zip", "legacy"])


def _state_dict():
  torch.manual_seed(0)
  base = torch.randn(6, 5)
  module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
  return module.state_dict() | {
    "transposed": base.T,
    "view": base[2:4, 1::2],
    "shares storage": base[0],
    "double": torch.randn(3, dtype=torch.float64),
    "half": torch.randn(3).half(),
    "bfloat16": torch.randn(3).bfloat16(),
    "int64": torch.arange(4),
    "bool": torch.tensor([True, False]),
    "scalar": torch.tensor(2.5),
    "empty": torch.zeros(0, 3),
  }


def _save(content, path, zipped):
  torch.save(content, path, _use_new_zipfile_serialization=zipped)
  return path


def _one_line(error):
  message = str(error.value)
  assert "\n" not in message and len(message) < 400
  return message


@both_formats
def test_agrees_with_torch(tmp_path, zipped):
  path = _save(_state_dict(), tmp_path / "weights.pth", zipped)
  expected = torch.load(path, weights_only=True)
  loaded = load_state_dict(path)
  assert list(loaded) == list(expected)
  for name, tensor in expected.items():
    assert loaded[name].shape == tuple(tensor.shape), name
    assert str(loaded[name].dtype) == str(tensor.dtype).removeprefix("torch."), name
    assert loaded[name].flags.c_contiguous
    np.testing.assert_array_equal(loaded[name].astype(np.float64), tensor.to(torch.float64).numpy(), err_msg=name)


def test_arrays_are_writable_and_their_own(tmp_path):
  loaded = load_state_dict(_save(_state_dict(), tmp_path / "w.pth", ZIP))
  before = loaded["transposed"].copy()
  loaded["shares storage"][:] = 7
  np.testing.assert_array_equal(loaded["transposed"], before)


@both_formats
def test_finds_the_state_dict_in_a_training_checkpoint(tmp_path, zipped):
  path = _save({"epoch": 3, "params": {"w": torch.ones(2)}}, tmp_path / "one.pth", zipped)
  np.testing.assert_array_equal(load_state_dict(path)["w"], [1, 1])


def test_several_state_dicts_need_a_key(tmp_path):
  content = {"params": {"w": torch.ones(2)}, "params_ema": {"w": torch.zeros(2)}}
  path = _save(content, tmp_path / "two.pth", ZIP)
  with pytest.raises(UserError, match="params, params_ema") as error:
    load_state_dict(path)
  _one_line(error)
  np.testing.assert_array_equal(load_state_dict(path, key="params_ema")["w"], [0, 0])
  with pytest.raises(UserError, match="no state dict 'ema'"):
    load_state_dict(path, key="ema")


class _Bomb:
  """A pickle of it makes a file when it is executed."""

  def __init__(self, path):
    self.path = str(path)

  def __reduce__(self):
    return open, (self.path, "w")


@both_formats
def test_code_in_a_checkpoint_is_refused_and_does_not_run(tmp_path, zipped):
  witness = tmp_path / "executed"
  path = _save({"w": torch.ones(2), "payload": _Bomb(witness)}, tmp_path / "bomb.pth", zipped)
  with pytest.raises(UserError, match=r"(io|_io|builtins)\.open") as error:
    load_state_dict(path)
  _one_line(error)
  assert not witness.exists()
  # The same file does run under a plain unpickler: the refusal is what stopped it.
  torch.load(path, weights_only=False)
  assert witness.exists()


def _zip_checkpoint(path, data_pickle, storages=()):
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("archive/data.pkl", data_pickle)
    archive.writestr("archive/byteorder", "little")
    for key, content in storages:
      archive.writestr(f"archive/data/{key}", content)
  return path


@pytest.mark.parametrize(
  "program",
  [
    b"cos\nsystem\n(S'true'\ntR.",
    b"cbuiltins\neval\n(S'1'\ntR.",
    b"ctorch._utils\n_rebuild_tensor_v2.__globals__\n.",
    b"ccollections\nOrderedDict.fromkeys\n.",
    b"cnumpy\ndtype\n.",
    b"(S'true'\nios\nsystem\n.",
    b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
  ],
)
def test_globals_other_than_tensors_are_refused_by_name(tmp_path, program):
  with pytest.raises(UserError, match=r"it asks for (os|builtins|torch|collections|numpy)") as error:
    load_state_dict(_zip_checkpoint(tmp_path / "w.pth", program))
  _one_line(error)


class _Persistent(pickle.Pickler):
  def persistent_id(self, item):
    return item.pid if isinstance(item, _Storage) else None


class _Storage:
  def __init__(self, size):
    self.pid = ("storage", torch.FloatStorage, "0", "cpu", size)


class _Tensor:
  def __init__(self, size, *arguments):
    self.arguments = (_Storage(size), *arguments, False, collections.OrderedDict())

  def __reduce__(self):
    return torch._utils._rebuild_tensor_v2, self.arguments


@pytest.mark.parametrize(
  ("size", "offset", "shape", "strides"),
  [
    (4, 1, (4,), (1,)),  # one past the end
    (4, -1, (2,), (1,)),
    (4, 0, (2,), (-1,)),
    (4, 0, (5,), (0,)),  # with zero strides a few bytes could claim any amount of memory
    (4, 0, (2, 2), (1,)),
    (1 << 40, 0, (1,), (1,)),  # a storage larger than its bytes
  ],
)
def test_tensors_beyond_their_storage_are_refused(tmp_path, size, offset, shape, strides):
  buffer = io.BytesIO()
  _Persistent(buffer, protocol=2).dump({"w": _Tensor(size, offset, shape, strides)})
  path = _zip_checkpoint(tmp_path / "w.pth", buffer.getvalue(), [("0", struct.pack("<4f", 1, 2, 3, 4))])
  with pytest.raises(UserError, match="truncated, or no checkpoint") as error:
    load_state_dict(path)
  _one_line(error)


def test_the_hand_made_file_is_otherwise_read(tmp_path):
  buffer = io.BytesIO()
  _Persistent(buffer, protocol=2).dump({"w": _Tensor(4, 1, (3,), (1,))})
  path = _zip_checkpoint(tmp_path / "w.pth", buffer.getvalue(), [("0", struct.pack("<4f", 1, 2, 3, 4))])
  np.testing.assert_array_equal(load_state_dict(path)["w"], [2, 3, 4])


@both_formats
@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.7, 1.0])
def test_truncated_files_end_in_one_line(tmp_path, zipped, share):
  whole = _save(_state_dict(), tmp_path / "whole.pth", zipped).read_bytes()
  path = tmp_path / "truncated.pth"
  path.write_bytes(whole[: int(share * (len(whole) - 1))])
  with pytest.raises(UserError, match="truncated") as error:
    load_state_dict(path)
  _one_line(error)


@pytest.mark.parametrize("content", [b"<html>404</html>", b"\x00" * 100, b"PK\x03\x04 nothing", pickle.dumps(1)])
def test_other_files_end_in_one_line(tmp_path, content):
  path = tmp_path / "other.pth"
  path.write_bytes(content)
  with pytest.raises(UserError, match="no checkpoint") as error:
    load_state_dict(path)
  _one_line(error)


def test_missing_files_and_files_without_tensors(tmp_path):
  with pytest.raises(UserError, match="does not exist"):
    load_state_dict(tmp_path / "missing.pth")
  with pytest.raises(UserError, match="no tensors"):
    load_state_dict(_save({"epoch": 1}, tmp_path / "empty.pth", ZIP))
  with pytest.raises(UserError, match="no state dict"):
    load_state_dict(_save([torch.ones(1)], tmp_path / "list.pth", ZIP))


@both_formats
def test_parameters_are_tensors(tmp_path, zipped):
  parameter = torch.nn.Parameter(torch.arange(6.0).reshape(2, 3))
  path = _save({"w": parameter, "model": {"b": torch.nn.Parameter(torch.ones(2))}}, tmp_path / "w.pth", zipped)
  np.testing.assert_array_equal(load_state_dict(path)["w"], parameter.detach().numpy())
  np.testing.assert_array_equal(load_state_dict(path, key="model")["b"], [1, 1])


def test_a_training_checkpoint_has_one_state_dict_however_deep_and_whatever_is_beside_it(tmp_path):
  module = torch.nn.Linear(2, 2)
  optimizer = torch.optim.Adam(module.parameters())
  module(torch.ones(1, 2)).sum().backward()
  optimizer.step()
  content = {
    "epoch": 3, "best": torch.tensor(31.5), "optimizer": optimizer.state_dict(), "net": {"params": module.state_dict()}
  }
  path = _save(content, tmp_path / "w.pth", ZIP)
  np.testing.assert_array_equal(load_state_dict(path)["weight"], module.weight.detach().numpy())
  np.testing.assert_array_equal(load_state_dict(path, key="net/params")["bias"], module.bias.detach().numpy())
