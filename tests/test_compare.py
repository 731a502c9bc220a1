"""Runs side by side: the right numbers under the right headers, and a word where they cannot be compared."""

import json

import pytest

from prt_jax import compare
from prt_jax.errors import UserError
from prt_jax.reporting.published import TABLE_1


def make_report(folder, variant, step, robustness, *, data="abc", recall=None, **protocol):
  results = {"robustness_db": {"value": robustness, "n": 10, "interval": [1, 2]}}
  if recall is not None:
    results["recall"] = {"value": recall, "n": 10}
  content = {
    "run": str(folder), "variant": variant, "task": "inpainting", "step": step, "results": results,
    "published": {"source": "paper A", "values": TABLE_1[variant]},
    "protocol": {"data": data, "eval": {"num_examples": 10}, "attack": {"eps": 1.0, "num_steps": 5}} | protocol,
  }
  path = folder / "eval" / str(step) / "report.json"
  path.parent.mkdir(parents=True)
  path.write_text(json.dumps(content))


def test_the_newest_evaluations_side_by_side(tmp_path, capsys):
  make_report(tmp_path / "a", "stochastic-robust", 900, 1.0)
  make_report(tmp_path / "a", "stochastic-robust", 1000, 25.5, recall=0.25)
  make_report(tmp_path / "b", "deterministic-erratic", 1000, 5.25)
  compare.main([str(tmp_path / "a"), str(tmp_path / "b"), f"--output={tmp_path / 'out'}"])
  lines = [line.split() for line in capsys.readouterr().out.splitlines()]
  assert lines[0] == ["stochastic-robust", "deterministic-erratic"]
  assert ["robustness", "25.50", "dB", "5.25", "dB"] in lines
  assert ["published", "26.19", "dB", "3.54", "dB"] in lines
  assert ["recall", "0.250", "-"] in lines
  saved = json.loads((tmp_path / "out" / "compare.json").read_text())
  assert [result["value"] for result in saved["results"]["robustness_db"]] == [25.5, 5.25]
  assert saved["warnings"] == []
  page = (tmp_path / "out" / "compare.html").read_text()
  assert "25.50 dB" in page and "5.25 dB" in page


def test_what_makes_columns_unequal_is_said(tmp_path):
  make_report(tmp_path / "a", "stochastic-robust", 900, 1.0)
  make_report(tmp_path / "b", "stochastic-robust", 1000, 1.0, data="other")
  compared = compare.compare([compare.find(str(tmp_path / name)) for name in "ab"])
  assert compared["warnings"] == ["data differ: abc, other", "training steps differ: 900, 1000"]


def test_draws_of_noise_are_compared_among_those_that_have_any(tmp_path):
  runs = ("a", "stochastic-robust", 10), ("b", "stochastic-erratic", 2), ("c", "deterministic-erratic", 1)
  for name, variant, num_seeds in runs:
    make_report(tmp_path / name, variant, 900, 1.0, attack={"eps": 1.0, "num_seeds": num_seeds})
  a, b, c = (compare.find(str(tmp_path / name)) for name in "abc")
  assert compare.compare([a, c])["warnings"] == []
  assert compare.compare([a, b, c])["warnings"] == ["attack.num_seeds differ: 10, 2"]


def test_other_weights_of_the_features_are_said(tmp_path):
  """Unknown of an older report, whose "weights" were of the run and of all that measured it."""
  for name, more in (("a", {"measuring_weights": "1"}), ("b", {"measuring_weights": "2"}), ("old", {})):
    make_report(tmp_path / name, "stochastic-robust", 900, 1.0, weights=name, **more)
  a, b, old = (compare.find(str(tmp_path / name)) for name in ("a", "b", "old"))
  assert compare.compare([a, b])["warnings"] == ["weights of the features or of the LPIPS-style distance differ: 1, 2"]
  assert compare.compare([a, old])["warnings"] == []


def test_audits_of_other_pictures_are_said(tmp_path):
  """By their pixels, set, degradation, scale and crop; of an audit in Python nothing is known."""
  made = {"set": "Set5", "images_sha256": "1", "degradation": "bicubic", "scale": 4, "crop": 0, "version": "1"}
  others = {"set": "Set14", "images_sha256": "2", "degradation": "blur:1", "scale": 2, "crop": [64, 80]}
  audits = {"a": {"run": made}, "b": {"run": made | others}, "python": {}}
  for name, more in audits.items():
    results = {"robustness_db": {"value": 1.0, "n": 3, "interval": [0, 2]}}
    report = {"restorer": name, "num_images": 3, "stochastic": False, "results": results, "protocol": {"seed": 0}}
    (tmp_path / name).mkdir()
    (tmp_path / name / "report.json").write_text(json.dumps(report | more))
  a, b, python = (compare.find(str(tmp_path / name)) for name in audits)
  assert compare.compare([a, b])["warnings"] == [
    "sets of pictures differ: Set5, Set14", "pictures differ: 1, 2", "degradations differ: bicubic, blur:1",
    "scales differ: 4, 2", "crops differ: 0, [64, 80]",
  ]  # fmt: skip
  assert compare.compare([a, python])["warnings"] == compare.compare([a, a])["warnings"] == []


def test_what_the_search_of_the_training_normalises_by_is_no_difference_of_evaluations(tmp_path):
  for name, fields in (("a", {"batch_norm": "batch"}), ("b", {"batch_norm": "frozen"}), ("c", {})):
    make_report(tmp_path / name, "stochastic-robust", 900, 1.0, attack={"eps": 1.0} | fields)
  assert compare.compare([compare.find(str(tmp_path / name)) for name in "abc"])["warnings"] == []


def test_another_arithmetic_is_said(tmp_path):
  make_report(tmp_path / "a", "stochastic-robust", 900, 1.0, dtype="bfloat16", precision="highest")
  make_report(tmp_path / "b", "stochastic-robust", 900, 1.0, dtype="float32", precision="default")
  compared = compare.compare([compare.find(str(tmp_path / name)) for name in "ab"])
  assert compared["warnings"] == [
    "types that the nets compute in differ: bfloat16, float32", "precisions of products differ: highest, default"
  ]


def test_every_difference_of_the_protocols_is_said_but_the_exceptions(tmp_path):
  common = {"num_examples": 10, "num_neighbors": 3, "batch_size": 5, "feature_weights": "here"}
  later = {"curve_num_examples": 4}
  for name, fields in (
    ("a", {"eval": common, "weights": "1"}),
    ("b", {"eval": common | later | {"num_neighbors": 5, "batch_size": 7, "feature_weights": "there"}, "weights": "2"}),
  ):
    make_report(tmp_path / name, "stochastic-robust", 900, 1.0, version=1 if name == "b" else None, **fields)
  compared = compare.compare([compare.find(str(tmp_path / name)) for name in "ab"])
  assert compared["warnings"] == ["eval.num_neighbors differ: 3, 5"]
  assert compare.EXCEPTIONS.keys() == {"weights", "version"}


def test_an_audit_is_compared_too(tmp_path):
  results = {"robustness_db": {"value": 12.5, "n": 2}}
  content = {"restorer": "bicubic", "num_images": 2, "results": results, "protocol": {"num_steps": 50}}
  (tmp_path / "report.json").write_text(json.dumps(content))
  compared = compare.compare([compare.find(str(tmp_path))])
  assert compared["results"]["robustness_db"][0]["value"] == 12.5
  assert "bicubic" in compare.text(compared)


def test_a_run_without_evaluation_is_one_line(tmp_path):
  with pytest.raises(UserError, match="--mode=eval"):
    compare.main([str(tmp_path)])
  (tmp_path / "report.json").write_text('{"restorer": "bicubic", "images": []}')
  with pytest.raises(UserError, match="is no evaluation of a training run"):
    compare.main([str(tmp_path)])
  with pytest.raises(UserError, match="--outptu"):
    compare.main([str(tmp_path), "--outptu=x"])
