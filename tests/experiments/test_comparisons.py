"""Which differences between variants a table resolves."""

import json

import pytest

from experiments import comparisons
from prt_jax.errors import UserError


def test_welch_by_hand():
  """Means 3 and 1, variances 2 and 2 of two runs each: t = 2 / sqrt(2), two degrees of freedom: p by hand."""
  found = comparisons.compare([2.0, 4.0], [0.0, 2.0])
  t = 2 / 2**0.5
  assert found["difference"] == 2
  assert found["p"] == pytest.approx(1 - t / (2 + t**2) ** 0.5)
  assert not found["resolved"] and found["interval"][0] < 0 < found["interval"][1]
  assert comparisons.compare([2.0, 2.001], [0.0, 0.001])["resolved"]


def test_one_run_resolves_nothing():
  assert comparisons.compare([1.0], [2.0, 3.0]) is None


def test_claims_are_added_to_the_table(tmp_path, capsys):
  def spread(*runs):
    return {"recall_spread": {"per_run": list(runs)}}

  path = tmp_path / "table.json"
  variants = {"stochastic-robust": spread(0.5, 0.52), "deterministic-robust": spread(0.02, 0.04)}
  path.write_text(json.dumps({"variants": variants, "seconds": 1.0}))
  comparisons.main([str(path)])
  (claim,) = json.loads(path.read_text())["comparisons"]
  assert claim["measure"] == "recall" and claim["resolved"] and claim["runs"] == [2, 2]
  assert "stochastic-robust > deterministic-robust" in capsys.readouterr().out
  assert json.loads(path.read_text())["seconds"] == 1.0


def test_another_file_is_one_line(tmp_path):
  (tmp_path / "other.json").write_text("[]")
  with pytest.raises(UserError, match=r"is no table of experiments\.table1"):
    comparisons.main([str(tmp_path / "other.json")])
