"""The command: its files, the published names, and one clear line for each mistake."""

import argparse
import json
import re
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

from prt_jax import __version__, devices, restore
from prt_jax.audit import command_line
from prt_jax.audit.record import record
from prt_jax.commands import restorer_flags
from prt_jax.errors import UserError
from prt_jax.evaluation.store import Columns
from prt_jax.reporting.charts import Curve, draw_curves
from prt_jax.restorers import Restorer
from tests.commands import environment
from tests.conftest import ROOT

QUICK = ["--alphas=4,16", "--num_steps=2", "--num_jacobian_steps=2"]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
  folder = tmp_path_factory.mktemp("images")
  rng = np.random.default_rng(0)
  for name, size in (("one", (68, 64)), ("two", (64, 72))):
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    coarse.resize(size, Image.Resampling.BICUBIC).save(folder / f"{name}.png")
  (folder / "notes.txt").write_text("no image")
  return folder


def run(images, output, *arguments, restorer="bicubic"):
  command_line.main([f"--restorer={restorer}", f"--input={images}", f"--output={output}", *QUICK, *arguments])
  return json.loads((output / "report.json").read_text())


def test_report_of_bicubic(images, tmp_path, capsys):
  report = run(images, tmp_path / "out")
  assert [image["name"] for image in report["images"]] == ["one", "two"]
  assert report["psnr_y_db"] > 20
  assert report["consistency_db"] > 30
  assert 1 < report["lipschitz_lower_bound"] < 4.2  # four times as many rows and columns, about as steep
  assert [set(point) >= {"alpha", "input_psnr_db", "output_psnr_db"} for point in report["robustness"]] == [True] * 2
  page = (tmp_path / "out" / "report.html").read_text()
  assert page.startswith("<!doctype html>")
  assert page.count("data:image/png;base64,") == 2 * 2 * 6  # images, attacks, tiles
  assert "<svg" in page
  assert "http" not in re.sub(r'xmlns(:xlink)?="http://www.w3.org/[^"]+"', "", page)  # nothing is fetched
  assert "LOWER" in page
  printed = capsys.readouterr().out
  assert re.search(r"2/2 two: PSNR-Y .* under the smallest attack \(\d+\.\d under the stronger\), K", printed)
  assert "output PSNR, dB, at 16/255, stronger attack" in page
  assert re.search(r"\d+ s, \d+% of them compiling [1-9]\d* programs for 2 sizes of measurements", printed)


def test_images_of_several_sizes_cut_to_what_all_have_are_compiled_once(images, tmp_path, capsys):
  """Their numbers are those of the window alone; the second image compiles nothing that the first has not."""
  report = run(images, tmp_path / "common", "--crop=common")
  printed = capsys.readouterr().out
  assert "of each image the central 64x64 pixels" in printed and report["run"]["crop"] == [64, 64]
  assert re.search(r"compiling [1-9]\d* programs for 1 size of measurements$", printed, re.MULTILINE)
  assert report["images"] == run(images, tmp_path / "square", "--crop=64")["images"]
  capsys.readouterr()
  programs = []
  for which in ("--max_images=1", "--max_images=2"):
    jax.clear_caches()
    run(images, tmp_path / which, "--crop=common", which)
    programs.append(int(re.search(r"compiling (\d+) programs", capsys.readouterr().out)[1]))
  assert programs[1] <= programs[0]
  with pytest.raises(UserError, match="--crop: half is none of: the pixels of a side, 0"):
    run(images, tmp_path / "out", "--crop=half")


def test_a_cpus_convolutions_are_chosen_for_the_restorer(tmp_path, monkeypatch):
  """Before anything starts JAX: for a run by its width, for others as for a published network."""
  chosen = []
  monkeypatch.setattr(devices, "use_all_cores", chosen.append)
  (tmp_path / "config.json").write_text('{"model": {"width": 8}}')
  for restorer in ("imdn", "package.module:function", str(tmp_path)):
    restorer_flags.use_all_cores(argparse.Namespace(restorer=restorer))
  assert chosen == [64, 64, 8]
  with pytest.raises(UserError, match="is no folder"):
    run(tmp_path / "absent", tmp_path / "out")
  assert chosen[-1] == 64


def test_the_same_command_gives_the_same_numbers(images, tmp_path):
  a, b = (run(images, tmp_path / folder, "--max_images=1") for folder in "ab")
  assert a["run"].pop("seconds_an_image") > 0 and b["run"].pop("seconds_an_image") > 0
  assert a == b


def test_a_report_says_how_it_was_made_without_this_machines_folders(images, tmp_path):
  made = run(images, tmp_path / "a", "--max_images=1", "--crop=64")["run"]
  assert made["restorer"] == "bicubic" and made["weights"] is None and made["set"] == images.name
  assert (made["degradation"], made["scale"], made["crop"], made["version"]) == ("bicubic", 4, 64, __version__)
  assert made["hardware"]["processor"] and "cpu" in made["hardware"]["device"]
  assert str(images.parent) not in json.dumps(made)
  # The pictures are told by their pixels: the same ones elsewhere are the same, others are not.
  copied = shutil.copytree(images, tmp_path / "elsewhere")
  assert run(copied, tmp_path / "b", "--max_images=1", "--crop=64")["run"]["images_sha256"] == made["images_sha256"]
  pixels = np.asarray(Image.open(copied / "one.png")).copy()
  pixels[32, 32, 0] ^= 1
  Image.fromarray(pixels).save(copied / "one.png")
  assert run(copied, tmp_path / "c", "--max_images=1", "--crop=64")["run"]["images_sha256"] != made["images_sha256"]


def test_the_weights_of_a_report_are_told_by_their_file(tmp_path):
  file = tmp_path / "weights.pth"
  file.write_bytes(b"abc")
  arguments = argparse.Namespace(
    restorer="imdn", checkpoint=str(file), input=str(tmp_path), degradation=None, default_degradation="bicubic",
    scale=2, crop=0, mask=None,
  )
  made = record(arguments, Restorer("a network", lambda params, y, z: y), [])
  digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # of abc, FIPS 180-2
  assert made["weights"] == {"file": "weights.pth", "sha256": digest}
  assert made["images_sha256"] is None and made["scale"] == 2


def test_a_killed_audit_goes_on_and_a_new_image_costs_only_itself(images, tmp_path, monkeypatch):
  append, seen = Columns.append, []

  def append_some(columns, rows):
    if len(seen) == 3:
      raise KeyboardInterrupt
    seen.append(1)
    append(columns, rows)

  monkeypatch.setattr(Columns, "append", append_some)
  with pytest.raises(KeyboardInterrupt):
    run(images, tmp_path / "out", "--max_images=1")

  def append_and_note(columns, rows):
    seen.append(1)
    append(columns, rows)

  monkeypatch.setattr(Columns, "append", append_and_note)
  one = run(images, tmp_path / "out", "--max_images=1")
  parts = len(seen)  # of one image
  both = run(images, tmp_path / "out")
  assert len(seen) == 2 * parts
  assert both["images"][0] == one["images"][0]
  again = run(images, tmp_path / "out", "--num_neighbors=1", "--min_images=2")
  assert len(seen) == 2 * parts
  assert again["images"] == both["images"]
  # k, and how many images are enough, ask for nothing new.
  assert both["missing"] and "need 50 images (min_images), there are 2" in both["missing"][0]
  assert again["missing"] == [] and again["results"]["coverage"]["n"] == 2
  run(images, tmp_path / "out", "--num_steps=3")
  assert len(seen) > 2 * parts


def test_a_functions_audit_is_not_kept(images, tmp_path, monkeypatch):
  """What it computes may be another thing next time."""
  (tmp_path / "changing.py").write_text("gain = 1\ndef twice(y):\n  return gain * y.repeat(4, 1).repeat(4, 2)\n")
  monkeypatch.syspath_prepend(tmp_path)
  first = run(images, tmp_path / "out", "--max_images=1", restorer="changing:twice")
  import changing

  monkeypatch.setattr(changing, "gain", 0.5)
  second = run(images, tmp_path / "out", "--max_images=1", restorer="changing:twice")
  assert second["lipschitz_lower_bound"] == pytest.approx(first["lipschitz_lower_bound"] / 2, rel=1e-3)
  assert not (tmp_path / "out" / "columns").exists()


def test_a_function_of_the_users_own(images, tmp_path, monkeypatch):
  (tmp_path / "mine.py").write_text("def twice(y):\n  return y.repeat(2, 1).repeat(2, 2)\n")
  monkeypatch.syspath_prepend(tmp_path)
  report = run(images, tmp_path / "out", "--scale=2", "--degradation=block_average", restorer="mine:twice")
  assert report["restorer"] == "mine:twice"
  assert report["lipschitz_lower_bound"] == pytest.approx(2, rel=1e-3)
  assert report["consistency_db"] == 100  # the cap


@pytest.mark.parametrize(
  ("flags", "noise_std"),
  [
    (["--degradation=jpeg,quality=30"], 0),
    (["--degradation=gaussian_blur,blur_sigma=1"], 0),
    (["--degradation=denoising,noise_std=0.05"], 0.05),
    (["--degradation=denoising", "--noise_std=0.05"], 0.05),
  ],
)
def test_degradations_of_the_registry(flags, noise_std, images, tmp_path, monkeypatch):
  """A restorer that leaves the measurement as it is: all numbers are the degradation's."""
  (tmp_path / "idle.py").write_text("def same(y):\n  return y\n")
  monkeypatch.syspath_prepend(tmp_path)
  report = run(images, tmp_path / "out", *flags, "--max_images=1", restorer="idle:same")
  assert report["protocol"]["noise_std"] == noise_std
  assert 20 < report["psnr_y_db"] < 50
  if noise_std:
    assert report["consistency_db"] == 100 and report["residual_over_noise"] == 0
  else:
    assert 30 < report["consistency_db"] <= 100  # D twice, against D once


def test_help_lists_the_degradations_and_the_commands_own_default(capsys):
  for command, default in ((command_line, "Default: bicubic, with a workdir own"), (restore, "Default: none")):
    with pytest.raises(SystemExit):
      command.main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert default in text and "super_resolution, inpainting, gaussian_blur, jpeg, denoising" in text
    assert "own: that of a workdir's run" in text and "first_coordinate" not in text


def test_a_function_of_another_range(images, tmp_path, monkeypatch, capsys):
  (tmp_path / "ranged.py").write_text("def twice(y):\n  return 2 * y.repeat(4, 1).repeat(4, 2) - 1\n")
  monkeypatch.syspath_prepend(tmp_path)
  report = run(images, tmp_path / "out", restorer="ranged:twice")
  assert "remark: the restorations reach from -" in capsys.readouterr().out
  assert report["lipschitz_lower_bound"] == pytest.approx(8, rel=1e-3)
  report = run(images, tmp_path / "out", "--range=0..1,-1..1", "--border=2", restorer="ranged:twice")
  output = capsys.readouterr().out
  assert "restorations from 0" in output and "has another range" not in output
  assert f"PSNR-Y {report['psnr_y_db']:.2f} dB, bicubic's {report['bicubic_psnr_y_db']:.2f} (border 2)" in output
  assert report["lipschitz_lower_bound"] == pytest.approx(4, rel=1e-3)


def test_measurements_alone(images, tmp_path):
  report = run(images, tmp_path / "out", "--degradation=none")
  assert report["psnr_y_db"] is None
  assert report["consistency_db"] is not None


def test_noise_is_reported(images, tmp_path):
  assert run(images, tmp_path / "out", "--noise_std=0.1")["residual_over_noise"] > 0.1


@pytest.mark.parametrize(
  ("arguments", "parts"),
  [
    (["--restorer=nobody"], ["--restorer=nobody", "imdn", "package.module:function"]),
    (["--restorer=imdn"], ["--checkpoint=FILE"]),
    (["--restorer=no_such_module:f"], ["no_such_module:f cannot be imported"]),
    (["--restorer=json:nothing"], ["json has no 'nothing'"]),
    (["--restorer=mine:f", "--checkpoint=x"], ["--checkpoint is for"]),
    (["--restorer=tests"], ["tests is no workdir"]),
    (["--input=no_such_folder"], ["no_such_folder is no folder"]),
    (["--input="], ["--restorer=bicubic has no images of its own: --input takes a folder"]),
    (["--input=tests/metrics"], ["tests/metrics holds no images"]),
    (["--scale=8", "--mod_crop"], ["one.png is 68x64", "at least 128 pixels"]),
    (["--alphas=a"], ["--alphas=a"]),
    (["--alphas=0"], ["alphas"]),
    (["--degradation=blur"], ["--degradation=blur is none of bicubic", "gaussian_blur, jpeg"]),
    (["--degradation=own"], ["--degradation=own is that of a training run"]),
    (["--degradation=jpeg,sigma=3"], ["--degradation=jpeg,sigma=3: the fields of jpeg are quality, noise_std"]),
    (["--degradation=jpeg,quality=a"], ["--degradation=jpeg,quality=a: give a whole number"]),
    (["--degradation=jpeg,quality=101"], ["degradation.quality=101"]),
    (["--degradation=super_resolution,factor=1"], ["degradation.factor=1 does not divide"]),
    (["--degradation=first_coordinate"], ["--degradation=first_coordinate is none of"]),
    (["--noise_std=-1"], ["--noise_std"]),
    (["--range=-1..1"], ["--range=-1..1: published networks"]),
    (["--restorer=json:dumps", "--range=0..7"], ["range 0..7 is none of 0..1, -1..1, 0..255"]),
    (["--border=-1"], ["border=-1"]),
    (["--border=40"], ["a border of 40 pixels, which is all of an image of"]),
    (["--no_such_flag"], ["--no_such_flag"]),
    (["--num_steps=x"], ["--num_steps"]),
  ],
)
def test_mistakes(arguments, parts, images, tmp_path):
  with pytest.raises(UserError) as error:
    run(images, tmp_path / "out", *arguments)
  assert "\n" not in str(error.value)
  for part in parts:
    assert part in str(error.value)


def test_a_damaged_image_is_named(tmp_path):
  (tmp_path / "in").mkdir()
  (tmp_path / "in" / "bad.png").write_bytes(b"\x89PNG no")
  with pytest.raises(UserError, match=r"cannot read the image .*bad\.png"):
    run(tmp_path / "in", tmp_path / "out")


def test_a_damaged_image_is_left_out_on_request_and_named(images, tmp_path, capsys):
  images = shutil.copytree(images, tmp_path / "in")
  (images / "zz.png").write_bytes(b"\x89PNG no")
  report = run(images, tmp_path / "out", "--skip_unreadable", "--mod_crop")
  assert report["num_images"] == 2
  (remark,) = (remark for remark in report["remarks"] if "left out" in remark)
  assert remark.startswith("left out 1 image that cannot be read: ") and remark.endswith("zz.png")
  assert remark in capsys.readouterr().out
  for image in images.iterdir():
    image.write_bytes(b"")
  with pytest.raises(UserError, match="nothing but 3 images that cannot be read"):
    run(images, tmp_path / "out", "--skip_unreadable")


def test_what_the_scale_does_not_divide_is_mirrored(images, tmp_path):
  """PSNR-Y leaves out a border as wide as the scale, and so all that was added: nearly that of the cut pictures."""
  mirrored = run(images, tmp_path / "mirrored", "--scale=3")
  cut = run(images, tmp_path / "cut", "--scale=3", "--mod_crop")
  assert mirrored["psnr_y_db"] == pytest.approx(cut["psnr_y_db"], abs=0.3)


def test_mod_crop_cuts_what_does_not_divide(images, tmp_path):
  assert run(images, tmp_path / "out", "--scale=3", "--mod_crop")["num_images"] == 2


def test_the_process_ends_with_one_line_and_exit_code_1(tmp_path):
  result = subprocess.run(
    [sys.executable, "-m", "prt_jax.audit", "--restorer=bicubic", "--input=absent", f"--output={tmp_path}"],
    cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=120, check=False,
  )
  assert result.returncode == 1
  assert result.stderr == "error: absent is no folder: --input takes a folder of images\n"
  assert result.stdout == ""


def test_curves_place_points_and_skip_infinities():
  svg = draw_curves([Curve([(10, 20), (20, float("inf")), (30, 40)], "a < b")], "x", "y", diagonal="x = y")
  assert svg.startswith("<svg") and svg.count(" use") == 0
  assert "a &lt; b" in svg
  assert "No finite value" in draw_curves([Curve([(1, float("inf"))])], "x", "y")
