"""Files come whole, or what was there before stays."""

import json
import os

import numpy as np
import pytest

from prt_jax.io.whole_files import write_arrays, write_json, write_whole

ARRAYS = {"a": np.arange(3), "b": np.ones((2, 2), np.float32)}


def test_what_is_written_is_read(tmp_path):
  write_whole(tmp_path / "x", b"abc")
  assert (tmp_path / "x").read_bytes() == b"abc"
  write_whole(tmp_path / "x", "\N{GREEK SMALL LETTER DELTA}")
  assert (tmp_path / "x").read_text("utf-8") == "\N{GREEK SMALL LETTER DELTA}"
  write_json(tmp_path / "x.json", {"a": [1, 2]})
  assert json.loads((tmp_path / "x.json").read_text()) == {"a": [1, 2]}
  write_arrays(tmp_path / "x.npz", ARRAYS)
  with np.load(tmp_path / "x.npz", allow_pickle=False) as read:
    assert set(read.files) == set(ARRAYS)
    for name, array in ARRAYS.items():
      np.testing.assert_array_equal(read[name], array)
      assert read[name].dtype == array.dtype
  assert sorted(path.name for path in tmp_path.iterdir()) == ["x", "x.json", "x.npz"]


def test_a_disk_that_is_full_leaves_what_was_there(tmp_path, monkeypatch):
  def full(descriptor):
    raise OSError(28, "No space left on device")

  path = tmp_path / "x.npz"
  write_arrays(path, ARRAYS)
  before = path.read_bytes()
  monkeypatch.setattr(os, "fsync", full)
  with pytest.raises(OSError, match="No space left"):
    write_arrays(path, {"a": np.zeros(9)})
  assert path.read_bytes() == before
  assert list(tmp_path.iterdir()) == [path]


def test_what_the_form_cannot_hold_is_refused_before_the_file_is_touched(tmp_path):
  with pytest.raises(ValueError, match="allow_pickle"):
    write_arrays(tmp_path / "x.npz", {"a": np.array([{}])})
  with pytest.raises(ValueError, match="JSON"):
    write_json(tmp_path / "x.json", float("nan"))
  assert not list(tmp_path.iterdir())
