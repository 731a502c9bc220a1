"""Reading of folders: order, sizes, crops, 8-bit bicubic measurements."""

import numpy as np
import pytest
from PIL import Image

from prt_jax.data.image_pairs import Reading, bicubic_measure, common_window, image_files, read_pairs, square_pairs
from prt_jax.errors import UserError
from prt_jax.restorers.bicubic import bicubic_downsample


@pytest.fixture
def folder(tmp_path):
  rng = np.random.default_rng(0)
  for name, shape in (("b", (80, 96, 3)), ("a", (66, 70))):  # the second is grey
    Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(tmp_path / f"{name}.png")
  return tmp_path


def test_pairs_are_rgb_in_the_order_of_their_names_and_cut_on_request(folder):
  pairs = list(read_pairs(folder, Reading(4, mod_crop=True), bicubic_measure(4)))
  assert [pair.name for pair in pairs] == ["a", "b"]
  assert [pair.x.shape for pair in pairs] == [(64, 68, 3), (80, 96, 3)]
  assert [pair.y.shape for pair in pairs] == [(16, 17, 3), (20, 24, 3)]
  np.testing.assert_array_equal(pairs[0].x[..., 0], pairs[0].x[..., 2])
  np.testing.assert_array_equal(255 * pairs[1].y, np.round(255 * pairs[1].y))  # 8 bits


def test_the_differentiable_degradation_is_pillows_before_rounding(folder):
  pair = list(read_pairs(folder, Reading(4, mod_crop=True), bicubic_measure(4)))[1]
  ours = np.asarray(bicubic_downsample(pair.x[None], 4))[0]
  # Pillow rounds after each of its two passes.
  np.testing.assert_allclose(np.clip(ours, 0, 1), pair.y, atol=1.1 / 255)


def test_originals_are_mirrored_until_the_scale_divides_them(folder):
  """66x70 at x4: 68x72, the last rows again in reverse; what was added is known."""
  pair = next(iter(read_pairs(folder, Reading(4), bicubic_measure(4))))
  assert (pair.x.shape, pair.y.shape, pair.size) == ((68, 72, 3), (17, 18, 3), (66, 70))
  np.testing.assert_array_equal(pair.x[66:], pair.x[64:66][::-1])
  np.testing.assert_array_equal(pair.x[:, 70:], pair.x[:, 68:70][:, ::-1])
  whole = next(iter(read_pairs(folder, Reading(1), None)))
  np.testing.assert_array_equal(pair.x[:66, :70], whole.y)
  assert whole.size is None


def test_images_are_read_as_training_reads_them(tmp_path):
  ramp = np.linspace(0, 65_535, 64 * 64).reshape(64, 64).astype(np.uint16)
  Image.fromarray(ramp).save(tmp_path / "16-bit.png")
  exif = Image.Exif()
  exif[0x0112] = 6  # to be turned by 90 degrees
  Image.fromarray((ramp // 257).astype(np.uint8)[:, :48]).save(tmp_path / "turned.png", exif=exif)
  deep, turned = read_pairs(tmp_path, Reading(1), None)
  np.testing.assert_allclose(deep.y[..., 0], ramp / 65_535, atol=1e-6)
  assert turned.y.shape == (48, 64, 3)
  (tmp_path / "damaged.png").write_bytes((tmp_path / "16-bit.png").read_bytes()[:200])
  with pytest.raises(UserError, match=r"damaged\.png"):
    list(read_pairs(tmp_path, Reading(1), None))


def test_a_crop_is_central(folder):
  whole, cut = (
    list(read_pairs(folder, Reading(4, mod_crop=True, crop=crop), bicubic_measure(4)))[1].x for crop in (0, 72)
  )
  np.testing.assert_array_equal(cut, whole[4:76, 12:84])


def test_a_common_window_is_the_largest_that_all_images_have(tmp_path):
  """A wide image, a high one, and one that is to be turned: 80 of 83 rows and 64 of 66 columns at x4; all at x1."""
  exif = Image.Exif()
  exif[0x0112] = 6
  for name, size, form in (("wide", (100, 83), {}), ("high", (66, 120), {}), ("turned", (90, 70), {"exif": exif})):
    Image.new("RGB", size).save(tmp_path / f"{name}.png", **form)
  assert common_window(tmp_path, 4) == (80, 64)
  assert common_window(tmp_path, 1) == (83, 66)
  assert common_window(tmp_path, 4, max_images=2) == (88, 64)  # by name: high, turned
  pairs = read_pairs(tmp_path, Reading(4, crop=common_window(tmp_path, 4)), bicubic_measure(4))
  assert {(pair.x.shape, pair.y.shape, pair.size) for pair in pairs} == {((80, 64, 3), (20, 16, 3), None)}


def test_measurements_alone_have_no_original(folder):
  pair = next(iter(read_pairs(folder, Reading(1), None)))
  assert pair.x is None
  assert pair.y.shape == (66, 70, 3)


def test_square_pairs_are_what_training_sees(folder):
  pair = next(iter(square_pairs(folder, 32, 0, lambda x: x[:, ::2, ::2])))
  assert pair.x.shape == (32, 32, 3)
  np.testing.assert_array_equal(pair.y, pair.x[::2, ::2])


@pytest.mark.parametrize(
  "names", [("a.jpg", "a.k.png", "a.png"), ("A.png", "B.png", "a.bmp"), ("é.png", "e\u0301.bmp")]
)
def test_names_that_would_share_their_results_are_refused_whatever_lies_between(tmp_path, names):
  for name in names:
    Image.new("RGB", (16, 16)).save(tmp_path / name)
  with pytest.raises(UserError, match="would share their results' name: rename one"):
    image_files(tmp_path)


def test_hidden_files_are_left_out_and_counted(folder, caplog):
  (folder / "._a.png").write_bytes(b"a Mac's own")
  (folder / "notes.txt").touch()
  (folder / "below.png").mkdir()
  with caplog.at_level("WARNING", logger="absl"):
    assert [path.name for path in image_files(folder)] == ["a.png", "b.png"]
  assert "left out 1 hidden (._a.png), 1 folders (below.png), 1 of another kind (notes.txt)" in caplog.text
