"""The protocol's bookkeeping: resumes where it was, compares complete images alone, reports what was measured."""

import json

import numpy as np
import pytest
from PIL import Image

from experiments import real_restorers, real_restorers_summary
from experiments.networks import NETWORKS, check_names
from experiments.real_restorers_report import COLORS, complete_images, published_order, render_table, report, summarise
from prt_jax.errors import UserError


@pytest.fixture
def interpolation_alone(monkeypatch):
  """The networks' weights are not at hand in a test: interpolation stands for all."""
  from experiments import real_restorers_report

  for module in (real_restorers, real_restorers_report):
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
  lines = [line(n, i, a) for n in NETWORKS for i in "ab" for a in real_restorers.ALPHAS]
  assert complete_images(lines) == ["a", "b"]
  assert complete_images(lines[:-1]) == ["a"]


def test_means_are_over_images_and_bounds_are_maxima():
  lines = [
    line(network, image, alpha, output)
    for network in NETWORKS
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
  # Drawn anew from what was written, beside a run that knew I-FGSM alone.
  weak = [{name: value for name, value in point.items() if not name.startswith("strong_")} for point in points]
  (tmp_path / "old.json").write_text(json.dumps(summary | {"networks": {"imdn": {"points": weak}}}))
  kept = str(tmp_path / "real_restorers.json")
  real_restorers_summary.main([kept, str(tmp_path / "old.json"), f"--out={tmp_path}"])
  assert len(json.loads((tmp_path / "real_restorers.json").read_text())["runs"]) == 3
  assert real_restorers_summary.title(summary) == "Set5, central 128x128, 2 images"
  with pytest.raises(UserError, match="holds no summary"):
    real_restorers_summary.main([str(tmp_path / "absent")])


def test_the_published_order_stands_beside_ours():
  """SRFlow's output PSNR less the others', at each alpha, under both attacks; or what was not measured."""
  outputs = {"bicubic": 40.0, "srflow": 30.0, "esrgan": 12.5, "edsr": 31.0}
  lines = [line(network, "a", alpha, output) for network, output in outputs.items() for alpha in real_restorers.ALPHAS]
  text = published_order(summarise(lines, ["a"]))
  assert "SRFlow is far more robust than ESRGAN and about as robust as EDSR" in text
  assert "| esrgan | I-FGSM | +17.5 dB |" in text and "| edsr | stronger | -1.0 dB |" in text
  text = published_order(summarise([own for own in lines if own["network"] != "esrgan"], ["a"]))
  assert text.endswith("Not measured here: esrgan.\n") and "|" not in text


def test_a_network_without_its_authors_file_is_named_with_it(tmp_path):
  with pytest.raises(UserError, match=r"srflow needs its authors' file SRFlow_DF2K_4X.pth in .*andreas128/SRFlow"):
    check_names(["bicubic", "srflow"], tmp_path, 4)
  with pytest.raises(UserError, match="--networks=nobody: it is none of bicubic, imdn"):
    check_names(["nobody"], tmp_path, 4)
  with pytest.raises(UserError, match="--networks=esrgan: it is none of"):
    check_names(["esrgan"], tmp_path, 2)


def test_the_papers_networks_run_from_their_authors_files(interpolation_alone, tmp_path, monkeypatch, capsys):
  """Random weights in the layout of SRFlow_DF2K_4X.pth, RRDB_ESRGAN_x4.pth and edsr_x4-4f62e9ef.pt, narrower."""
  torch = pytest.importorskip("torch", reason="the peers need PyTorch: pip install -r requirements-test.txt")
  from tests.restorers import torch_peers, torch_srflow

  torch.manual_seed(0)
  modules = {
    "srflow": torch_srflow.SRFlow(4, 2, 4, 2, 4, stacked=(0, 1, 2, 3)), "esrgan": torch_peers.RRDBNet(8, 4, 2),
    "edsr": torch_peers.EDSR(8, 2, 1.0, 4),
  }
  for name, module in modules.items():
    torch.save(module.state_dict(), tmp_path / NETWORKS[name].files[4])
  (tmp_path / "in").mkdir()
  pixels = np.random.default_rng(0).integers(0, 256, (64, 68, 3), dtype=np.uint8)  # 17 wide: SRFlow takes even sides
  Image.fromarray(pixels).save(tmp_path / "in" / "a.png")
  monkeypatch.setattr(real_restorers, "NUM_SEEDS", 2)
  command = [
    "real_restorers", f"--weights={tmp_path}", f"--images={tmp_path / 'in'}", f"--output={tmp_path / 'out'}",
    "--networks=srflow,esrgan,edsr",
  ]
  monkeypatch.setattr("sys.argv", command)
  real_restorers.main()
  printed = capsys.readouterr().out
  assert "| esrgan | GAN |" in printed and "| srflow | likelihood |" in printed
  assert "SRFlow is far more robust than ESRGAN" in printed and "| edsr | stronger |" in printed
  monkeypatch.setattr("sys.argv", [*command[:-1], "--psnr_only"])
  real_restorers.main()  # at hand: the three, and bicubic
  assert set(json.loads((tmp_path / "out" / "psnr_y.json").read_text())) == {"bicubic", *modules}
