"""Columns on disk: what is there is read, what is new is measured, a full disk is one line."""

import errno
import json
import pathlib

import numpy as np
import pytest

from prt_jax.errors import UserError
from prt_jax.evaluation.measured_parts import Part, fill
from prt_jax.evaluation.store import Columns, Store, digest_of


def make_parts(calls, count=5, short=2, **key):
  def compute(name):
    def of(batch, _):
      calls.append((name, int(batch[0])))
      return {"value": 10.0 * batch, "pair": np.stack([batch, -batch], 1)}

    return of

  parts = Part("all", {"weights": "a"} | key, count, compute("all")), Part("first", {}, short, compute("first"))
  return list(parts)


def load(first):
  return np.arange(first, first + 2, dtype=np.float32)


def test_more_examples_and_another_part_cost_only_what_is_new(tmp_path):
  calls = []
  found = fill(Store(tmp_path), make_parts(calls), load, 2, {})
  np.testing.assert_array_equal(found["all"]["value"], [0, 10, 20, 30, 40])
  np.testing.assert_array_equal(found["all"]["pair"][:, 1], [0, -1, -2, -3, -4])
  np.testing.assert_array_equal(found["first"]["value"], [0, 10])
  assert calls == [("all", 0), ("first", 0), ("all", 2), ("all", 4)]
  calls.clear()
  again = fill(Store(tmp_path), make_parts(calls), load, 2, {})
  assert calls == []
  np.testing.assert_array_equal(again["all"]["pair"], found["all"]["pair"])
  more = fill(Store(tmp_path), make_parts(calls, count=8, short=4), load, 2, {})
  assert calls == [("first", 2), ("all", 5), ("all", 7)]
  np.testing.assert_array_equal(more["all"]["value"], 10 * np.arange(8))
  calls.clear()
  assert len(fill(Store(tmp_path), make_parts(calls, count=3), load, 2, {})["all"]["value"]) == 3
  assert calls == []


def test_another_key_is_measured_anew_and_both_are_kept(tmp_path):
  calls = []
  fill(Store(tmp_path), make_parts(calls), load, 2, {})
  calls.clear()
  fill(Store(tmp_path), make_parts(calls, weights="b"), load, 2, {})
  assert {name for name, _ in calls} == {"all"}
  calls.clear()
  fill(Store(tmp_path), make_parts(calls), load, 2, {})
  assert calls == []
  keys = [json.loads(path.read_text()) for path in tmp_path.glob("all-*/key.json")]
  assert sorted(key["weights"] for key in keys) == ["a", "b"]


def test_damaged_rows_are_measured_again(tmp_path):
  fill(Store(tmp_path), make_parts([]), load, 2, {})
  (folder,) = tmp_path.glob("all-*")
  (folder / "00000002.npz").write_bytes((folder / "00000002.npz").read_bytes()[:100])
  calls = []
  found = fill(Store(tmp_path), make_parts(calls), load, 2, {})
  assert calls == [("all", 2), ("all", 4)]
  np.testing.assert_array_equal(found["all"]["value"], 10 * np.arange(5))


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(tmp_path, monkeypatch):
  """Rows are written, not mapped: a full disk would end the process with SIGBUS there."""
  columns = Columns(tmp_path / "all", "{}")
  columns.append({"value": np.zeros(2)})
  opened = pathlib.Path.open

  class Full:
    def __init__(self, file):
      self._file = file

    def __enter__(self):
      return self

    def __exit__(self, *_):
      self._file.close()

    def write(self, content):
      self._file.write(content[:10])
      raise OSError(errno.ENOSPC, "No space left on device")

  monkeypatch.setattr(pathlib.Path, "open", lambda path, *mode: Full(opened(path, *mode)))
  with pytest.raises(UserError, match=r"cannot write to .*No space left on device; free some space") as error:
    columns.append({"value": np.ones(2)})
  assert "\n" not in str(error.value)
  monkeypatch.undo()
  assert sorted(path.name for path in (tmp_path / "all").iterdir()) == ["00000000.npz", "key.json"]
  assert Columns(tmp_path / "all").done == 2


def test_an_error_that_is_not_of_space_does_not_speak_of_it(tmp_path, monkeypatch):
  def refuse(*_):
    raise PermissionError(errno.EACCES, "Permission denied", "columns/0.npz")

  monkeypatch.setattr("prt_jax.evaluation.store.write_arrays", refuse)
  with pytest.raises(UserError, match=r"columns/0\.npz: Permission denied; check that file") as error:
    Columns(tmp_path / "all").append({"value": np.ones(2)})
  assert "space" not in str(error.value)


def test_without_a_folder_all_is_in_memory():
  store, calls = Store(None), []
  fill(store, make_parts(calls), load, 2, {})
  calls.clear()
  assert fill(store, make_parts(calls), load, 2, {})["first"]["value"][1] == 10
  assert calls == []


def test_digests_are_of_values():
  assert digest_of({"a": np.arange(3)}) == digest_of({"a": np.arange(3)}) != digest_of({"a": np.arange(1, 4)})
