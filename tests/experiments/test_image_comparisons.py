"""The papers' comparisons on images: runs end to end on a tiny net, and means and verdicts by hand."""

import json

import numpy as np
import pytest

from experiments import manifolds, super_resolution_figure, table1
from experiments.image_runs import ImageRun, feature_label, run_scores, summarise
from prt_jax.errors import UserError
from tests.conftest import CACHE


def report(**values):
  return {"results": {name: {"value": value} for name, value in values.items()}}


def test_a_summary_is_the_mean_over_seeds_and_names_its_features():
  seeds = [
    {"pixels": report(frechet=2.0, recall=0.5, robustness_db=20.0), "squeezenet": report(frechet=7.0, recall=0.1)},
    {"pixels": report(frechet=4.0, recall=0.7, robustness_db=26.0), "squeezenet": report(frechet=9.0, recall=0.3)},
  ]
  summary = summarise([run_scores(reports, "squeezenet") for reports in seeds])
  assert summary["robustness_db"] == 23.0
  assert summary["robustness_db_spread"]["per_run"] == [20.0, 26.0]
  assert summary["robustness_db_spread"]["std"] == pytest.approx(18**0.5)
  assert (summary["frechet"], summary["recall"]) == (8.0, pytest.approx(0.2))
  assert summary["features"]["pixels"] == {"frechet": 3.0, "recall": pytest.approx(0.6)}
  first = {"robustness_db": 20.0, "frechet": 7.0, "recall": 0.1}
  features = {"pixels": {"frechet": 2.0, "recall": 0.5}, "squeezenet": {"frechet": 7.0, "recall": 0.1}}
  assert summary["runs"][0] == first | {"features": features}


def test_the_verdict_is_decided_by_numbers():
  found = table1.verdict({
    "stochastic-robust": {"robustness_db": 26.0, "recall": 0.4, "per_pixel_std": 0.1, "frechet": 20.0},
    "stochastic-erratic": {"robustness_db": 7.0, "per_pixel_std": 0.01, "frechet": 16.0},
    "deterministic-robust": {"robustness_db": 24.0, "recall": 0.1, "frechet": 40.0},
    "deterministic-erratic": {"robustness_db": 4.0, "frechet": 16.0},
  })  # fmt: skip
  assert found == {
    "stochastic_robust_minus_erratic_db": 19.0,
    "deterministic_robust_minus_erratic_db": 20.0,
    "stochastic_robust_over_erratic_frechet": 1.25,
    "deterministic_robust_over_erratic_frechet": 2.5,
    "recall_deterministic_over_stochastic_robust": 0.25,
    "per_pixel_std_robust_over_erratic": pytest.approx(10.0),
  }


def test_without_inceptions_weights_the_rest_is_reported():
  run = {"robustness_db": 26.0, "per_pixel_std": 0.1}
  assert table1.verdict({"stochastic-robust": run, "stochastic-erratic": run}) == {
    "stochastic_robust_minus_erratic_db": 0.0, "per_pixel_std_robust_over_erratic": 1.0,
  }  # fmt: skip
  assert super_resolution_figure.price_of_robustness({4: {"stochastic-robust": run, "stochastic-erratic": run}}) == {
    4: {"stochastic": {}}
  }
  assert feature_label({"inception": {"results": {}}}, "inception") == "Frechet distance"


def test_another_tasks_table_has_no_published_column():
  _, rows = table1.table({"stochastic-robust": {"frechet": 7.0}}, {}, "FID")
  assert rows[0] == ["FID", 7.0, "-"]


def test_an_unknown_config_is_one_line():
  with pytest.raises(UserError, match=r"configs/ has no nope\.py"):
    ImageRun("nope", "stochastic-robust", "mini", 0, {}).make_config()


@pytest.fixture
def smoke(tmp_path):
  """Arguments of a run in seconds, and where its results go."""
  cache = f"data.cache_dir={CACHE}"
  arguments = [f"--workdir={tmp_path / 'runs'}", "--smoke", "--variants", "deterministic-erratic", "--set", cache]
  return arguments, tmp_path / "runs_smoke"


def test_table1_trains_evaluates_and_writes_the_contracts_json(smoke):
  arguments, workdir = smoke
  table1.main(arguments)
  results = json.loads((workdir / "results" / "table1_mini.json").read_text())
  scores = results["variants"]["deterministic-erratic"]
  assert {"robustness_db", "ai_psnr_db", "recall", "precision", "per_pixel_std", "frechet"} <= scores.keys()
  assert scores["per_pixel_std"] == 0
  assert results["published"]["deterministic-erratic"]["frechet"] == 14.37
  assert results["protocol"]["frechet"] == "Frechet distance, pixels (16x16 means)"
  assert results["protocol"]["curves"]["deterministic-erratic"]["step"] == [3]
  assert {"command", "hardware", "versions"} <= results.keys()
  for name in ("results/table1_mini.png", "results/table1_mini_curves.png", "table1_mini_gallery.png"):
    assert (workdir / name).stat().st_size > 1000
  # Complete runs are collected without training; here from the same workdir.
  table1.main([*arguments, "--collect"])

  # The same restorations again: the same recall.
  manifolds.main([*arguments, "--seeds", "1"])
  again = json.loads((workdir / "results" / "manifolds_mini.json").read_text())["features"]["pixels"]
  assert again["deterministic-erratic"]["recall"] == scores["recall"]

  # An earlier table's seed is not trained again: its numbers join the means.
  variant = results["variants"]["deterministic-erratic"]
  earlier_run = variant["runs"][0] | {"seed": 1, "robustness_db": variant["robustness_db"] + 2}
  earlier = workdir / "earlier.json"
  results["variants"]["deterministic-erratic"]["runs"] = [earlier_run]
  earlier.write_text(json.dumps(results))
  table1.main([*arguments, "--collect", f"--earlier={earlier}"])
  both = json.loads((workdir / "results" / "table1_mini.json").read_text())["variants"]["deterministic-erratic"]
  assert both["seeds"] == [0, 1]
  assert both["robustness_db"] == pytest.approx(variant["robustness_db"] + 1)

  # Numbers of another config or another distance do not.
  results["protocol"]["frechet"] = "FID"
  earlier.write_text(json.dumps(results))
  with pytest.raises(UserError, match="it has the FID, these runs the Frechet distance, pixels"):
    table1.main([*arguments, "--collect", f"--earlier={earlier}"])
  results["protocol"]["config"]["model"]["width"] = 3
  earlier.write_text(json.dumps(results))
  with pytest.raises(UserError, match=r"its config has model=.*'width': 3"):
    table1.main([*arguments, "--collect", f"--earlier={earlier}"])


def test_a_plan_adds_its_runs_up_and_trains_none(smoke, capsys):
  arguments, workdir = smoke
  table1.main([*arguments, "--plan", "--target=h100"])
  one = capsys.readouterr().out
  assert "runs: 1, one after the other" in one and "h100" in one and "a bound" in one and "tpu" not in one
  assert "checkpoints: free" in one and "missing: nothing" in one
  assert not workdir.exists()


def test_far_restorations_reach_by_the_size_of_their_balls():
  """On a line, k = 1: originals at 0, 1, 4.25 have radii 1, 1, 3.25, restorations at 10, 4, 3.5 have 6, .5, .5."""
  real, fake = np.array([[0.0], [1.0], [4.25]]), np.array([[10.0], [4.0], [3.5]])
  assert manifolds.compare_manifolds(real, fake, k=1) == {
    "recall": pytest.approx(1 / 3),
    "recall_without_largest": pytest.approx(1 / 3),
    "coverage": pytest.approx(1 / 3),
    "radius_ratio": 0.5,
  }
  # Moved from 10 to -8, the far one has radius 11.5, up to 3.5: it alone reaches 0 and 1, and covers nothing more.
  found = manifolds.compare_manifolds(real, np.array([[-8.0], [4.0], [3.5]]), k=1)
  assert (found["recall"], found["recall_without_largest"]) == (1.0, pytest.approx(1 / 3))
  assert found["coverage"] == pytest.approx(1 / 3)


def test_the_price_of_robustness_is_what_a_robust_twin_adds_and_loses():
  factor = {
    "stochastic-erratic": {"frechet": 5.0, "recall": 0.5},
    "stochastic-robust": {"frechet": 6.0, "recall": 0.375},
    "deterministic-erratic": {"frechet": 4.0, "recall": 0.5},
    "deterministic-robust": {"frechet": 13.0, "recall": 0.125},
  }
  incomplete = {"deterministic-robust": {"frechet": 9.0, "recall": 0.2}}
  assert super_resolution_figure.price_of_robustness({4: factor, 8: incomplete}) == {
    4: {
      "stochastic": {"frechet_gained": 1.0, "recall_lost": 0.125},
      "deterministic": {"frechet_gained": 9.0, "recall_lost": 0.375},
    },
    8: {},
  }


def test_the_figure_shows_the_factors_that_are_complete(smoke):
  arguments, workdir = smoke
  super_resolution_figure.main([*arguments, "--factors", "4"])
  super_resolution_figure.main([*arguments, "--collect", "--factors", "4", "8"])
  results = json.loads((workdir / "results" / "super_resolution_mini.json").read_text())
  assert list(results["factors"]) == ["4"]
  assert results["factors"]["4"]["deterministic-erratic"]["runs"][0]["seed"] == 0
  assert results["protocol"]["eps"] == {"4": 0.553 / 2}
  for name in ("results/super_resolution_mini.png", "super_resolution_mini_x4_gallery.png"):
    assert (workdir / name).stat().st_size > 1000


def test_collecting_nothing_says_what_to_do(smoke):
  with pytest.raises(UserError, match="holds no complete run: train it, without --collect"):
    super_resolution_figure.main([*smoke[0], "--collect"])
