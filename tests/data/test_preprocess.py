"""Preprocessing against Pillow by hand, and against arithmetic."""

import io

import numpy as np
import pytest
from PIL import Image

from prt_jax.data.decode import decode_image
from prt_jax.data.preprocess import check_preprocessing, preprocess


def photograph(width, height, seed=0):
  return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_celeba_rule_is_resize_to_102_then_centre_64():
  array = photograph(178, 218)
  resized = Image.fromarray(array).resize((102, 102), Image.BILINEAR)
  expected = np.asarray(resized)[19:83, 19:83]
  result = preprocess(array, image_size=64, resize=102)
  assert result.dtype == np.uint8 and result.flags.c_contiguous
  np.testing.assert_array_equal(result, expected)


def test_resize_is_antialiased():
  stripes = np.zeros((64, 64, 3), np.uint8)
  stripes[:, ::2] = 255
  # Each result pixel sees eight stripes; a filter without antialiasing would give black or white.
  np.testing.assert_allclose(preprocess(stripes, image_size=8, resize=8), 127.5, atol=6)


@pytest.mark.parametrize(("width", "height"), [(30, 20), (20, 30), (21, 20), (20, 20)])
def test_without_resize_the_shorter_side_fits_and_the_centre_stays(width, height):
  array = photograph(width, height)
  size = (width // 2, height // 2)
  resized = np.asarray(Image.fromarray(array).resize(size, Image.BILINEAR))
  left, top = round((size[0] - 10) / 2), round((size[1] - 10) / 2)
  np.testing.assert_array_equal(preprocess(array, image_size=10, resize=0), resized[top : top + 10, left : left + 10])


@pytest.mark.parametrize(("width", "left"), [(12, 2), (13, 2), (15, 4), (17, 4)])
def test_odd_margins_round_as_in_torchvision(width, left):
  array = photograph(width, 8)
  np.testing.assert_array_equal(preprocess(array, image_size=8, resize=0), array[:, left : left + 8])


def test_an_image_of_the_right_size_is_untouched():
  array = photograph(8, 8)
  np.testing.assert_array_equal(preprocess(array, image_size=8, resize=0), array)


@pytest.mark.parametrize("resize", [0, 9, 20])
def test_a_constant_image_stays_constant(resize):
  image = Image.new("RGB", (31, 17), (3, 141, 255))
  np.testing.assert_array_equal(preprocess(image, image_size=8, resize=resize), np.full((8, 8, 3), (3, 141, 255)))


@pytest.mark.parametrize(
  ("image", "colour"),
  [
    (Image.new("L", (8, 8), 77), (77, 77, 77)),
    (Image.new("1", (8, 8), 1), (255, 255, 255)),
    (Image.new("LA", (8, 8), (77, 51)), (219, 219, 219)),  # a fifth of 77 on four fifths of white
    (Image.new("RGBA", (8, 8), (10, 20, 30, 0)), (255, 255, 255)),
    (Image.new("RGBA", (8, 8), (10, 20, 30, 255)), (10, 20, 30)),
    (Image.new("RGBA", (8, 8), (0, 100, 255, 51)), (204, 224, 255)),
    (Image.new("RGB", (8, 8), (200, 100, 50)).convert("P", palette=Image.Palette.ADAPTIVE), (200, 100, 50)),
    (Image.new("CMYK", (8, 8), (0, 0, 0, 0)), (255, 255, 255)),
    (np.full((8, 8), 77, np.uint8), (77, 77, 77)),
    (np.full((8, 8, 1), 77, np.uint8), (77, 77, 77)),
    (np.full((8, 8, 4), (10, 20, 30, 0), np.uint8), (255, 255, 255)),
  ],
)
def test_every_pixel_format_becomes_rgb(image, colour):
  np.testing.assert_array_equal(preprocess(image, image_size=8, resize=0), np.full((8, 8, 3), colour))


def test_16_bit_grey_is_scaled_not_clipped():
  grey = np.linspace(0, 65_535, 64).astype(np.uint16).reshape(8, 8)
  file = io.BytesIO()
  Image.fromarray(grey).save(file, "PNG")
  result = decode_image(file.getvalue(), "grey.png", image_size=8, resize=0)
  np.testing.assert_array_equal(result, np.rint(grey / 257)[..., None].repeat(3, -1))


@pytest.mark.parametrize("kind", ["P", "RGB"])
def test_transparency_of_a_palette_or_of_one_colour_is_white_without_a_warning(kind, recwarn):
  image = Image.new("P", (8, 8), 1)
  image.putpalette([0, 0, 0, 90, 80, 70])
  image.paste(0, (0, 0, 4, 8))
  file = io.BytesIO()
  if kind == "P":
    image.save(file, "PNG", transparency=b"\x00\xff")
  else:
    image.convert("RGB").save(file, "PNG", transparency=(0, 0, 0))
  result = decode_image(file.getvalue(), "transparent.png", image_size=8, resize=0)
  np.testing.assert_array_equal(result[:, :4], 255)
  np.testing.assert_array_equal(result[:, 4:], np.full((8, 4, 3), (90, 80, 70)))
  assert not recwarn.list


def test_exif_orientation_is_applied():
  array = photograph(8, 12)
  exif = Image.Exif()
  exif[0x0112] = 6  # the camera was turned: show it turned clockwise
  file = io.BytesIO()
  Image.fromarray(array).save(file, "PNG", exif=exif)
  upright = np.rot90(array, -1)
  np.testing.assert_array_equal(decode_image(file.getvalue(), "turned.png", 8, 0), upright[:, 2:10])


def test_a_small_image_is_refused_with_its_size(user_error):
  with user_error("cat.png", "7x20", "data.image_size=8", "at most 7"):
    preprocess(photograph(7, 20), image_size=8, resize=10, label="cat.png")


def test_floating_point_pixels_are_refused(user_error):
  with user_error("depth.tif", "floating-point", "8-bit"):
    preprocess(Image.new("F", (8, 8)), image_size=8, resize=0, label="depth.tif")


@pytest.mark.parametrize(("fields", "part"), [({"resize": 7}, "data.resize=7"), ({"image_size": 0}, "image_size=0")])
def test_sizes_that_cannot_be_are_refused(make_data, user_error, fields, part):
  with user_error(part):
    check_preprocessing(make_data(**fields))


@pytest.mark.parametrize("encoded", [b"", b"no image at all", b"\x89PNG\r\n\x1a\n rest"])
def test_what_is_no_image_is_named(user_error, encoded):
  with user_error("broken.png", "replace or remove"):
    decode_image(encoded, "broken.png", 8, 0)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP"])
def test_a_truncated_image_is_named(user_error, kind):
  file = io.BytesIO()
  Image.fromarray(photograph(64, 64)).save(file, kind)
  with user_error("half", "replace or remove"):
    decode_image(file.getvalue()[: len(file.getvalue()) // 2], "half", 8, 0)
