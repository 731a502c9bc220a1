"""What the viewer's page shows: the numbers are those of the pictures, bounds hold, mistakes are one line."""

import jax
import numpy as np
import pytest

from prt_jax import view
from prt_jax.errors import UserError
from prt_jax.evaluation.runner import Runner
from prt_jax.restorers import Restorer
from prt_jax.viewer.viewing import Viewer


def picture(seed=0, height=90, width=120):
  coarse = np.random.default_rng(seed).integers(110, 140, (9, 12, 3))
  return coarse.repeat(height // 9, 0).repeat(width // 12, 1).astype(np.uint8)


def psnr(a, b):
  return -10 * np.log10(np.mean((np.float64(a) - np.float64(b)) ** 2 / 255**2))


@pytest.fixture(scope="module")
def viewer():
  """Three times the picture, with noise where it is drawn: what is shown of it can be computed by hand."""

  def apply(params, y, z):
    return (3 * (y - 0.5) + 0.5 + z).repeat(2, 1).repeat(2, 2)

  def draw_noise(keys, shape, num_seeds):
    return 0.1 * jax.vmap(jax.random.uniform)(keys).reshape(1, -1, 1, 1, 1).repeat(num_seeds, 0)

  return Viewer(Restorer("times three", apply, scale=2, draw_noise=draw_noise), max_side=20)


def test_the_middle_of_a_picture_is_measured(viewer):
  seen = viewer.measure(picture(), "block_average:2")
  assert (seen.x.shape, seen.y.shape) == ((40, 40, 3), (20, 20, 3))
  np.testing.assert_allclose(seen.x, picture()[25:65, 40:80] / np.float32(255))
  np.testing.assert_allclose(seen.y, seen.x.reshape(20, 2, 20, 2, 3).mean((1, 3)), atol=1e-6)
  alone = viewer.measure(picture()[..., 0], "none")  # grey, and the measurement itself
  assert alone.x is None and alone.y.shape == (20, 20, 3)


def test_draws_are_shown_beside_their_spread(viewer):
  seen = viewer.measure(picture(), "block_average:2")
  shown = viewer.restore(seen, 3)
  titles = [title for title, _ in shown.images]
  assert titles == ["original", "measured", "restored 1", "restored 2", "restored 3", "std over draws x4"]
  images = dict(shown.images)
  assert {image.shape for image in images.values()} == {(240, 240, 3)}  # 40 pixels, six times as large
  np.testing.assert_array_equal(images["measured"][::12, ::12], np.round(255 * seen.y))
  inside = np.s_[120:180, 120:180]  # where no draw is beyond black or white
  draws = np.stack([images[f"restored {number}"][inside] for number in (1, 2, 3)]).astype(float)
  assert draws.min() > 0 and draws.max() < 255
  np.testing.assert_allclose(images["std over draws x4"][inside], 4 * draws.std(0, ddof=1), atol=4)
  numbers = dict(shown.numbers)
  assert list(numbers) == ["PSNR-Y to the original", "consistency", "per-pixel std"]
  assert float(numbers["per-pixel std"]) == pytest.approx(draws.std(0, ddof=1).mean() / 255, abs=2e-3)


@pytest.mark.parametrize(("bound", "value"), [("alpha", 8.0), ("eps", 35.0)])
def test_an_attack_keeps_to_its_bound_and_reports_what_it_does(viewer, bound, value):
  seen = viewer.measure(picture(), "block_average:2")
  shown = viewer.attack(seen, bound, value, 3, 1)
  images, numbers = dict(shown.images), dict(shown.numbers)
  measured, attacked = (images[title][::12, ::12].astype(int) for title in ("measured", "attacked measurement"))
  if bound == "alpha":
    assert 7 <= np.abs(attacked - measured).max() <= 9
  else:
    assert float(numbers["input PSNR"].split()[0]) == pytest.approx(35, abs=0.05)
  assert float(numbers["input PSNR"].split()[0]) == pytest.approx(psnr(measured, attacked), abs=0.3)
  restored, after = images["restored"], images["attacked restoration"]
  assert float(numbers["output PSNR"].split()[0]) == pytest.approx(psnr(restored, after), abs=0.3)
  # Three times as much on four times as many pixels: 3 * 2 in L2, whatever the attack.
  assert float(numbers["K, at least"]) == pytest.approx(6, abs=0.01)


@pytest.mark.parametrize("bound", ["alpha", "eps"])
def test_one_start_of_the_attack_is_along_the_jacobians_direction(bound, monkeypatch):
  """f sees one direction of y alone, which power iterations find: the stronger attack of an audit begins there too."""
  seen = np.random.default_rng(0).normal(size=(20, 20, 3)).astype(np.float32)
  seen /= np.linalg.norm(seen)

  def apply(params, y, z):
    return 0.5 + 0.1 * (y * seen).sum((1, 2, 3), keepdims=True) * jax.numpy.ones_like(y)

  handed, search = [], Runner.search

  def noting(*arguments, direction=None, **more):
    handed.append(direction)
    return search(*arguments, direction=direction, **more)

  monkeypatch.setattr(Runner, "search", noting)
  viewer = Viewer(Restorer("one direction", apply, scale=1), max_side=20)
  viewer.attack(viewer.measure(picture(), "none"), bound, 20.0, 1, 1)
  direction = np.asarray(handed[0][0, 0])
  assert abs((direction * seen).sum()) == pytest.approx(np.linalg.norm(direction), rel=1e-3)


def test_alternatives_are_explored(viewer):
  seen = viewer.measure(picture(), "block_average:2")
  shown = viewer.explore(seen, 3, 30.0, 2)
  assert [title for title, _ in shown.images] == ["of the measurement itself", "alternative 1", "alternative 2"]
  first, second, _ = (image.astype(float) for _, image in shown.images)
  # Not beyond three times what 30 dB allow.
  distance = np.sqrt(np.mean((first - second) ** 2)) / 255
  assert 0.03 < distance <= 3 * 10 ** (-30 / 20) * 1.02


def test_mistakes_are_one_line(viewer):
  with pytest.raises(UserError, match="the picture is 120x20: a side needs at least 32 pixels"):
    viewer.measure(picture()[:20], "block_average:2")
  with pytest.raises(UserError, match="bicubic:4 measures at x4, and times three magnifies x2"):
    viewer.measure(picture(), "bicubic:4")
  with pytest.raises(UserError, match="is no degradation"):
    viewer.measure(picture(), "blurr:1+bicubic:2")
  for flags, message in (
    (["bicubic", "--max_side=8"], "--max_side must be at least 16"), (["bicubic", "--port=x"], "--port"),
    ([], "RUN_OR_RESTORER"),
  ):  # fmt: skip
    with pytest.raises(UserError, match=message):
      view.parse(flags)


def test_the_command_serves_this_machine_alone_unless_told_otherwise():
  arguments = view.parse(["bicubic", "--scale=2"])
  assert arguments.host == "127.0.0.1"
  viewer = view.make_viewer(arguments)
  assert viewer.restorer.name == "bicubic" and viewer.degradations[0] == "bicubic"
  assert "blur:1.2+bicubic:2+noise:0.02+jpeg:70" in viewer.degradations
