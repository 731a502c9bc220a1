"""The command: bicubic interpolation, for which the attack's change must lie in the certified intervals."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from prt_jax import certify
from prt_jax.errors import UserError


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
  folder = tmp_path_factory.mktemp("pictures")
  pixels = np.random.default_rng(0).integers(60, 200, (64, 64, 3), dtype=np.uint8)
  Image.fromarray(pixels).save(folder / "noise.png")
  return folder


def flags(picture, output, *more):
  return ["--restorer=bicubic", "--scale=4", f"--input={picture}", f"--output={output}", "--num_steps=10", *more]


def test_the_attack_stays_in_the_intervals(picture, tmp_path, capsys):
  certify.main(flags(picture, tmp_path, "--sigma=0.1", "--radii=0.03,0.1", "--num_samples=400"))
  report = json.loads((tmp_path / "certificate.json").read_text())
  small, large = report["images"][0]["radii"]
  for row in (small, large):
    assert 0 < row["attacked"] < row["reach"] and 0 < row["attacked_strong"] < row["reach"] and row["held"] == 1
  assert small["reach"] < large["reach"] and small["attacked"] < large["attacked"]
  # Interpolation is linear: its median moves as it does itself, but for clipping and the samples.
  assert large["attacked"] == pytest.approx(large["restorer_attacked"], rel=0.1)
  # In ten steps the search is not there yet; the stronger attack begins along the steepest direction.
  assert large["restorer_attacked_strong"] > large["restorer_attacked"]
  assert report["sigma"] == 0.1 and report["num_samples"] == 400 and "100.00% of the pixels" in capsys.readouterr().out


def test_a_runs_own_images_have_the_random_numbers_of_its_evaluation(picture, tmp_path, monkeypatch):
  """An image's number is its row of the data, which is not its place in what is certified."""
  numbers, load, image = [], certify.restorer_flags.load, certify.certify_image

  def loaded(arguments):
    restorer, pairs, *more = load(arguments)
    return restorer, [dataclasses.replace(pair, number=7) for pair in pairs], *more

  def noting(restorer, y, number, **more):
    numbers.append(number)
    return image(restorer, y, number, **more)

  monkeypatch.setattr(certify.restorer_flags, "load", loaded)
  monkeypatch.setattr(certify, "certify_image", noting)
  certify.main(flags(picture, tmp_path, "--radii=0.03", "--num_samples=8", "--confidence=0.6"))
  assert numbers == [7]


def test_radii_that_are_none_are_one_line(picture, tmp_path):
  with pytest.raises(UserError, match="--radii=far is no comma-separated list of numbers"):
    certify.main(flags(picture, tmp_path, "--radii=far"))
