"""The page says what the JSON says, and stands alone."""

import json
import re

import numpy as np
import pytest

from prt_jax.degradations import make_degradation
from prt_jax.reporting import evaluation_report, published
from prt_jax.reporting.charts import draw_histogram
from tests import tiny


def test_no_report_of_before_stays_beside_the_pictures_of_another(tmp_path, monkeypatch):
  (tmp_path / "report.json").write_text("{}")

  def full(*_):
    raise OSError("no space")

  monkeypatch.setattr(evaluation_report, "save_png", full)
  with pytest.raises(OSError, match="no space"):
    evaluation_report.write(tmp_path, make_content(), {"gallery": np.zeros((2, 2, 3))}, {"row": np.arange(2)})
  assert [path.name for path in tmp_path.iterdir()] == ["examples.npz"]


def make_content():
  return {
    "run": "runs/<run>", "step": 1200, "variant": "stochastic-robust", "task": "inpainting", "created": "today",
    "results": {
      "frechet": {"value": 12.345, "n": 100, "n_reference": 100, "standard_error": 0.5, "label": "Frechet distance, x"},
      "robustness_db": {"value": 21.234, "n": 100, "interval": [20.0, 22.5]},
    },
    "published": {"source": "paper A", "values": {"robustness_db": 26.19}},
    "missing": ["LPIPS <left> out"], "notes": ["a proxy"], "seconds": {"model": 1.5}, "versions": {"jax": "1"},
    "hardware": "cpu", "protocol": {"data": "abc"}, "config": {"seed": 0},
    "curves": {"ifgsm": [{"alpha": 4 / 255, "results": {
      name: {"value": 17.5, "n": 9} for name in (
        "input_psnr_db", "output_psnr_db", "robustness_db", "lipschitz_max", "lipschitz_worst_draw_max"
      )
    }}]},
    "histograms": {name: evaluation_report.histogram_of(np.arange(10.0)) for name in ("robustness_db", "lipschitz")},
  }


def test_the_page_shows_the_results_beside_the_papers_and_needs_nothing_else():
  shown = {name: np.zeros((4, 4, 3), np.uint8) for name in ("worst", "first")}
  page = evaluation_report.page(make_content(), shown)
  text = re.sub("<[^>]+>", " ", page)
  for part in ("21.23 dB", "20.00 to 22.50", "26.19 dB", "12.35", "+- 0.5 (s.e.)", "a proxy", "I-FGSM", "4/255"):
    assert part in text, part
  assert "LPIPS &lt;left&gt; out" in page and "runs/&lt;run&gt;" in page
  sources = re.findall(r'(?:src|href)="([^"#]*)"', page)
  assert len(sources) == 2 and all(source.startswith("data:image/png;base64,") for source in sources)
  assert page.count("<svg") == 2


def test_nothing_but_inception_is_called_fid():
  content = make_content()
  assert "FID" not in evaluation_report.text(content)
  config = tiny.get_config()
  lines = evaluation_report.notes(config, content["results"])
  assert any("not FID" in line for line in lines)
  content["results"]["frechet"]["label"] = "FID"
  assert "FID  " in evaluation_report.text(content)
  assert not any("not FID" in line for line in evaluation_report.notes(config, content["results"]))


@pytest.mark.parametrize(
  ("fields", "said", "unsaid"),
  [
    ({}, [], ["noise", "projection"]),
    ({"noise_std": 0.05}, ["makes D(restoration) equal the noisy y", "RMSE of about 0.05"], ["No exact"]),
    ({"noise_std": 0.05, "consistency": "statistical"}, ["residual of at most", "0.05 (26.0 dB)"], ["equal the noisy"]),
    ({"kind": "jpeg"}, ["No exact projection", "JPEG artefacts, quality 10"], ["noise"]),
    ({"kind": "gaussian_blur", "blur_sigma": 1.5}, ["No exact projection", "1.5 pixels"], ["noise"]),
    ({"kind": "denoising", "noise_std": 0.1}, ["No exact", "misses y", "0.1 (20.0 dB)"], ["The projection", "equal"]),
  ],
)
def test_what_is_said_of_consistency_is_true_of_the_degradation(fields, said, unsaid):
  config = tiny.get_config()
  config.degradation.update(fields)
  text = " ".join(evaluation_report.about_consistency(make_degradation(config.degradation, 32)))
  assert all(part in text for part in said) and not any(part in text for part in unsaid), text
  assert all(line in evaluation_report.notes(config, {}) for line in evaluation_report.about_consistency(
    make_degradation(config.degradation, 32)
  ))


@pytest.mark.parametrize(
  ("fields", "task"),
  [
    ({}, "super-resolution x16, folder 32x32"),
    ({"kind": "inpainting", "noise_std": 0.1}, "inpainting of the upper 3/4, folder 32x32, measurement noise 0.1"),
    ({"kind": "jpeg", "quality": 30}, "removal of JPEG artefacts, quality 30, folder 32x32"),
    ({"kind": "gaussian_blur"}, "deblurring, a Gaussian of 2 pixels, folder 32x32"),
    ({"kind": "denoising", "noise_std": 0.1}, "denoising, folder 32x32, measurement noise 0.1"),
    (
      {"noise_std": 0.1, "consistency": "statistical"},
      "super-resolution x16, folder 32x32, measurement noise 0.1, statistical consistency",
    ),
    ({"kind": "first_coordinate"}, "completion of a point, folder"),
  ],
)
def test_a_task_is_called_what_it_is(fields, task):
  config = tiny.get_config()
  config.degradation.update(fields)
  assert evaluation_report.task(config) == task


# What is shown of any report.
SHOWN = {"variant": "v", "task": "t", "step": 1, "published": {"source": "", "values": {}}, "missing": []}


def test_an_evaluation_of_before_the_curves_is_done_where_its_own_fields_agree(tmp_path):
  old = {"data": "a", "weights": "w", "eval": {"num_neighbors": 3, "feature_weights": "/here"}, "precision": "highest"}
  recall = {"recall": {"value": 1, "n": 2}}
  (tmp_path / "report.json").write_text(json.dumps(SHOWN | {"protocol": old, "results": recall}))
  new = {
    "data": "a", "weights": "w", "eval": {"num_neighbors": 3, "curve_num_examples": 9}, "precision": "highest",
    "version": 1,
  }
  assert evaluation_report.read(tmp_path, new)["results"]["recall"]["n"] == 2
  assert evaluation_report.read(tmp_path, new | {"eval": new["eval"] | {"num_neighbors": 5}}) is None
  assert evaluation_report.read(tmp_path, new | {"weights": "v"}) is None
  # One with a version has all fields, and they count.
  (tmp_path / "report.json").write_text(json.dumps(SHOWN | {"protocol": new, "results": {}}))
  assert evaluation_report.read(tmp_path, new) is not None
  assert evaluation_report.read(tmp_path, new | {"measuring_weights": "m"}) is not None  # "weights" was of them, too
  assert evaluation_report.read(tmp_path, new | {"eval": new["eval"] | {"curve_num_examples": 8}}) is None


def test_an_evaluation_that_names_the_searchs_batch_norm_is_the_same_without_it(tmp_path):
  """It changes training's search alone: earlier reports have it, and whatever it said they are not measured again."""
  new = {"weights": "w", "eval": {"num_neighbors": 3}, "attack": {"eps": 1.0}, "precision": "highest", "version": 1}
  for saved in (new, {name: value for name, value in new.items() if name != "version"}):
    for batch_norm in ("batch", "frozen"):
      saved = saved | {"attack": {"eps": 1.0, "batch_norm": batch_norm}}
      (tmp_path / "report.json").write_text(json.dumps(SHOWN | {"protocol": saved, "results": {}}))
      assert evaluation_report.read(tmp_path, new) is not None
      assert evaluation_report.read(tmp_path, new | {"attack": {"eps": 2.0}}) is None


def test_histogram_counts_every_value_once():
  values = np.concatenate([np.linspace(0, 1, 399), [1000.0]])
  counts = evaluation_report.histogram_of(values)
  assert sum(counts["counts"]) == 400 and counts["edges"][-1] < 2
  svg = draw_histogram(counts, "a < b")
  assert svg.startswith("<svg") and "a &lt; b" in svg


def test_a_task_that_no_paper_has_is_compared_with_nothing():
  config = tiny.get_config()
  config.degradation.kind = "jpeg"
  assert published.row(config) == ("nothing to compare with", {})
