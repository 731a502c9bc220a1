"""Weights of the FID InceptionV3: cache, download, checksums, and files that are something else. No network."""

import hashlib
import io
import urllib.error
import urllib.request

import numpy as np
import pytest

from prt_jax.errors import UserError
from prt_jax.features import inception_weights
from prt_jax.features.inception import conv_shapes
from prt_jax.features.inception_weights import FILE_NAME, convert_state_dict, load_inception

torch = pytest.importorskip("torch")


def _state_dict():
  """The official names and shapes, all zeros but for variances, in the official order of a layer."""
  state_dict = {}
  for name, (height, width, inputs, outputs) in conv_shapes()[0].items():
    state_dict[f"{name}.conv.weight"] = np.zeros((outputs, inputs, height, width), np.float32)
    for part, value in (("weight", 1), ("bias", 0), ("running_mean", 0), ("running_var", 1)):
      state_dict[f"{name}.bn.{part}"] = np.full(outputs, value, np.float32)
  return state_dict | {"fc.weight": np.zeros((1008, 2048), np.float32), "fc.bias": np.zeros(1008, np.float32)}


def _no_network(*_, **__):
  raise urllib.error.URLError("no route to host")


def _one_line(error):
  message = str(error.value)
  assert "\n" not in message and len(message) < 500
  return message


def test_batch_norm_is_folded_by_hand():
  state_dict = _state_dict()
  state_dict["Conv2d_1a_3x3.conv.weight"][5, 2, 0, 1] = 3
  for part, value in (("weight", 4), ("bias", 7), ("running_mean", 2), ("running_var", 0.249)):
    state_dict[f"Conv2d_1a_3x3.bn.{part}"][5] = value
  layer = convert_state_dict(state_dict, "a file")["Conv2d_1a_3x3"]
  # scale = 4 / sqrt(0.249 + 0.001) = 8: kernel 3 * 8, bias 7 - 2 * 8.
  assert layer["kernel"].shape == (3, 3, 3, 32)
  np.testing.assert_allclose(layer["kernel"][0, 1, 2, 5], 24, rtol=1e-6)
  np.testing.assert_allclose(layer["bias"][5], -9, rtol=1e-6)


def test_without_network_one_line_names_the_file_and_the_field(tmp_path, monkeypatch):
  monkeypatch.setattr(urllib.request, "urlopen", _no_network)
  with pytest.raises(UserError, match="cannot be downloaded") as error:
    load_inception("", tmp_path)
  message = _one_line(error)
  assert FILE_NAME in message and "eval.feature_weights" in message and "no route to host" in message
  assert not list((tmp_path / "weights").iterdir())


def test_a_download_with_a_wrong_checksum_is_not_kept(tmp_path, monkeypatch):
  monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: io.BytesIO(b"<html>quota exceeded</html>"))
  with pytest.raises(UserError, match="wrong checksum") as error:
    load_inception("", tmp_path)
  _one_line(error)
  assert not list((tmp_path / "weights").iterdir())


def test_a_download_is_verified_cached_and_used_again(tmp_path, monkeypatch):
  buffer = io.BytesIO()
  torch.save({name: torch.from_numpy(array) for name, array in _state_dict().items()}, buffer)
  monkeypatch.setattr(inception_weights, "SHA256", hashlib.sha256(buffer.getvalue()).hexdigest())
  requested = []
  monkeypatch.setattr(
    urllib.request, "urlopen", lambda url, timeout: requested.append(url) or io.BytesIO(buffer.getvalue())
  )
  assert load_inception("", tmp_path).official
  assert requested == [inception_weights.URL]
  assert [path.name for path in (tmp_path / "weights").iterdir()] == [FILE_NAME]
  monkeypatch.setattr(urllib.request, "urlopen", _no_network)
  assert load_inception("", tmp_path).official


def test_a_file_under_the_official_name_must_be_the_official_one(tmp_path):
  path = tmp_path / FILE_NAME
  torch.save({name: torch.from_numpy(array) for name, array in _state_dict().items()}, path)
  with pytest.raises(UserError, match="checksum") as error:
    load_inception(path, tmp_path)
  assert inception_weights.URL in _one_line(error)
  # Under another name the same tensors load, but they are not called official.
  other = path.rename(tmp_path / "mine.pth")
  assert not load_inception(other, tmp_path).official


def test_weights_of_another_network_name_the_first_tensor_that_differs(tmp_path):
  path = tmp_path / "other.pth"
  torch.save({"layer1.weight": torch.zeros(2)}, path)
  with pytest.raises(UserError, match=r"a tensor layer1\.weight that") as error:
    load_inception(path, tmp_path)
  _one_line(error)

  # torchvision's own InceptionV3: the same layers, 1000 classes.
  torchvision = _state_dict() | {"fc.weight": np.zeros((1000, 2048), np.float32)}
  with pytest.raises(UserError, match=r"fc\.weight of shape \(1000, 2048\).* \(1008, 2048\)"):
    convert_state_dict(torchvision, "a file")

  lacking = _state_dict()
  del lacking["Mixed_6b.branch7x7_2.bn.bias"]
  with pytest.raises(UserError, match=r"lacks Mixed_6b\.branch7x7_2\.bn\.bias"):
    convert_state_dict(lacking, "a file")

  counted = _state_dict() | {"Conv2d_1a_3x3.bn.num_batches_tracked": np.int64(1)}
  convert_state_dict(counted, "a file")


def test_truncated_and_missing_files(tmp_path):
  whole = io.BytesIO()
  torch.save({"w": torch.zeros(1000)}, whole)
  path = tmp_path / "truncated.pth"
  path.write_bytes(whole.getvalue()[:2000])
  with pytest.raises(UserError, match="truncated") as error:
    load_inception(path, tmp_path)
  _one_line(error)
  with pytest.raises(UserError, match="does not exist"):
    load_inception(tmp_path / "missing.pth", tmp_path)
