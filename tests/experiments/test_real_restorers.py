"""The protocol's bookkeeping: resumes where it was, compares complete images alone, reports what was measured."""

import json

import numpy as np
import pytest
from PIL import Image

from experiments import real_restorers, real_restorers_summary
from experiments.real_restorers_report import complete_images, render_table, report, summarise
from experiments.real_restorers_summary import COLORS
from prt_jax.errors import UserError


@pytest.fixture
def interpolation_alone(monkeypatch):
  """The networks' weights are not at hand in a test: interpolation stands for all."""
  from experiments import real_restorers_report

  networks = {"bicubic": (None, "interpolation")}
  for module in (real_restorers, real_restorers_report):
    monkeypatch.setattr(module, "NETWORKS", networks)
    monkeypatch.setattr(module, "ALPHAS", (1, 4))
  monkeypatch.setattr(real_restorers, "NUM_STEPS", 3)
  monkeypatch.setattr(real_restorers_report, "SHOWN_ALPHAS", (0, 4))
  monkeypatch.setattr(real_restorers_report, "WINDOW", 32)


def test_measures_once_and_reports(interpolation_alone, tmp_path):
  (tmp_path / "in").mkdir()
  pixels = np.random.default_rng(0).integers(0, 256, (64, 66, 3), dtype=np.uint8)
  Image.fromarray(pixels).save(tmp_path / "in" / "a.png")
  for _ in range(2):
    real_restorers.measure(tmp_path / "in", real_restorers.published(None), tmp_path / "out", 0)
    with (tmp_path / "out" / "measurements.jsonl").open("a") as file:
      file.write('{"network": "bicubic", "ima')  # a run killed while it wrote: goes on all the same
  with pytest.raises(UserError, match="is of --crop=0"):
    real_restorers.measure(tmp_path / "in", real_restorers.published(None), tmp_path / "out", 32)
  lines = [json.loads(line) for line in (tmp_path / "out" / "measurements.jsonl").read_text().splitlines()]
  assert [(line["image"], line["alpha_255"]) for line in lines] == [("a", 1), ("a", 4)]
  # The stronger attack changes the picture more, for the same bound.
  assert all(line["strong_output_psnr_db"] < line["output_psnr_db"] for line in lines)
  report(tmp_path / "out", "Test", 0)
  summary = json.loads((tmp_path / "out" / "summary.json").read_text())
  assert summary["networks"]["bicubic"]["points"][1]["output_psnr_db"] == pytest.approx(lines[1]["output_psnr_db"])
  assert "<svg" in (tmp_path / "out" / "curves.svg").read_text()
  assert (tmp_path / "out" / "strips" / "a.png").exists()


def test_psnr_alone(interpolation_alone, tmp_path, capsys):
  (tmp_path / "in").mkdir()
  for name, value in (("a", 7), ("b", 200)):
    Image.fromarray(np.full((64, 64, 3), value, np.uint8)).save(tmp_path / "in" / f"{name}.png")
  real_restorers.measure_psnr(tmp_path / "in", None, tmp_path / "out", 0)
  written = json.loads((tmp_path / "out" / "psnr_y.json").read_text())["bicubic"]
  assert written["images"].keys() == {"a", "b"}
  assert "bicubic: PSNR-Y" in capsys.readouterr().out  # interpolation of a constant is that constant


def line(network, image, alpha, output=30.0):
  return {
    "network": network, "image": image, "alpha_255": alpha, "input_psnr_db": 40.0, "output_psnr_db": output,
    "lipschitz": 7.0, "psnr_y_db": 31.0, "lipschitz_from_jacobian": 9.0, "strong_lipschitz": 8.0,
    "strong_input_psnr_db": 39.0, "strong_output_psnr_db": output - 5, "strong_late_gain_db": 0.1,
  }


def test_only_images_that_all_networks_finished_are_compared():
  lines = [line(n, i, a) for n in real_restorers.NETWORKS for i in "ab" for a in real_restorers.ALPHAS]
  assert complete_images(lines) == ["a", "b"]
  assert complete_images(lines[:-1]) == ["a"]


def test_means_are_over_images_and_bounds_are_maxima():
  lines = [
    line(network, image, alpha, output)
    for network in real_restorers.NETWORKS
    for image, output in (("a", 20.0), ("b", 30.0))
    for alpha in real_restorers.ALPHAS
  ]
  summary = summarise(lines, ["a", "b"])
  assert summary["imdn"]["points"][0]["output_psnr_db"] == 25
  assert summary["imdn"]["points"][0]["lipschitz"] == summary["imdn"]["points"][0]["lipschitz_mean"] == 7
  table = render_table(summary, "caption")
  assert "| imdn | distortion | 31.00 | I-FGSM | 25.0 / 40.0 |" in table and "| stronger | 20.0 / 39.0 |" in table
  assert "| 7 | 9 |  |" in table and "| 8 |  | 0.10 |" in table


def test_runs_are_summed_up_in_one_figure(tmp_path):
  names = [f"{prefix}{name}_psnr_db" for prefix in ("", "strong_") for name in ("input", "output")]
  points = [{name: 40.0 - i for name in names} for i in range(3)]
  summary = {"set": "Set5", "crop": 128, "images": ["a", "b"], "networks": {n: {"points": points} for n in COLORS}}
  (tmp_path / "run").mkdir()
  (tmp_path / "run" / "summary.json").write_text(json.dumps(summary))
  real_restorers_summary.main([str(tmp_path / "run"), str(tmp_path / "run"), f"--out={tmp_path}"])
  assert json.loads((tmp_path / "real_restorers.json").read_text())["runs"] == [summary, summary]
  assert (tmp_path / "real_restorers.png").exists()
  assert real_restorers_summary.title(summary) == "Set5, central 128x128, 2 images"
  with pytest.raises(UserError, match="holds no summary"):
    real_restorers_summary.main([str(tmp_path / "absent")])
