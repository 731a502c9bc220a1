"""JSON and tables of the experiments."""

import json

import pytest

from experiments.results import format_table, mean_and_spread, write_results


def test_spread_by_hand():
  assert mean_and_spread([1, 3]) == {"mean": 2, "std": pytest.approx(2**0.5), "min": 1, "max": 3, "count": 2}
  assert mean_and_spread([5])["std"] == 0


def test_table_is_aligned():
  assert format_table(["a", "long"], [["xyz", 0.123456]]) == "a    long\n---  ------\nxyz  0.1235"


def test_no_folder_of_this_machine_is_in_the_command(tmp_path, monkeypatch):
  monkeypatch.setattr("sys.argv", ["pairs.py", "--images=/data/of/mine/Set5", "--set", "data.path=~/x", "runs/a"])
  results = json.loads(write_results(tmp_path, "name", {}, 0).read_text())
  assert results["command"] == "python -m experiments.pairs --images=DIR/Set5 --set data.path=DIR/x runs/a"


def test_results_say_how_they_were_made(tmp_path):
  results = json.loads(write_results(tmp_path / "new", "name", {"score": 1}, 2.34).read_text())
  assert results["score"] == 1
  assert results["seconds"] == 2.3
  assert {"command", "hardware", "versions"} <= results.keys()
