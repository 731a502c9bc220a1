"""Pictures as people have them: what is read, and that what is written has the same form."""

import numpy as np
import png
import pytest
import tifffile
from PIL import Image, ImageCms

from prt_jax.data.picture_files import Form, read_picture, save_picture
from prt_jax.errors import UnreadableImage

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def write_wide(path, array):
  """uint16 [H,W,C] as a PNG."""
  height, width, channels = array.shape
  with open(path, "wb") as file:
    writer = png.Writer(width, height, greyscale=channels < 3, alpha=channels in (2, 4), bitdepth=16)
    writer.write(file, array.reshape(height, -1).tolist())


def pixels(channels, top=65535):
  array = np.random.default_rng(0).integers(0, top + 1, (6, 5, channels)).astype(np.uint16)
  array[0, 0, -1] = 0
  return array


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bits_stay_sixteen_bits(channels, tmp_path):
  """Read and written back without loss, where alpha is not 0; Pillow alone would leave 8 of them."""
  array = pixels(channels)
  write_wide(tmp_path / "a.png", array)
  seen, alpha, form = read_picture(tmp_path / "a.png")
  assert (form.bits, form.grey, seen.dtype) == (16, channels < 3, np.float32)
  if channels in (2, 4):
    a = array[..., -1:] / 65535
    np.testing.assert_allclose(alpha, a[..., 0], atol=1e-7)
    np.testing.assert_allclose(seen, np.broadcast_to(a * (array[..., :-1] / 65535) + 1 - a, seen.shape), atol=1e-6)
    colours = np.broadcast_to(array[..., :-1] / np.float32(65535), seen.shape)
  else:
    assert alpha is None
    colours = seen
  save_picture(tmp_path / "b.png", colours, alpha, form)
  width, height, rows, info = png.Reader(filename=str(tmp_path / "b.png")).asDirect()
  written = np.array([list(row) for row in rows]).reshape(height, width, -1)
  assert (info["bitdepth"], written.shape) == (16, array.shape)
  np.testing.assert_allclose(written, array, atol=1)  # luma of three equal channels rounds


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["png", "tif", "planes.tif"])
def test_wide_pictures_are_upright(orientation, ending, tmp_path):
  """Pillow turns the same picture of 8 bits: the 16-bit one must come out as that."""
  narrow = np.random.default_rng(1).integers(0, 256, (3, 5, 3), dtype=np.uint8)
  wide = narrow.astype(np.uint16) * 257
  path, exif = tmp_path / f"a.{ending}", Image.Exif()
  exif[274] = orientation
  Image.fromarray(narrow).save(tmp_path / "narrow.png", exif=exif)
  if ending == "png":
    save_picture(path, wide / np.float32(65535), None, Form(16, exif=exif.tobytes()))
  else:
    planes = {"data": np.moveaxis(wide, -1, 0), "planarconfig": "separate"} if "planes" in ending else {"data": wide}
    tifffile.imwrite(path, **planes, photometric="rgb", extratags=[(274, "H", 1, orientation, True)])
  seen, _, form = read_picture(path)
  np.testing.assert_allclose(seen, read_picture(tmp_path / "narrow.png")[0], atol=1e-6)
  assert form.bits == 16
  upright = Image.Exif()
  upright.load(form.exif)
  assert upright.get(274, 1) == 1


@pytest.mark.parametrize(("mode", "bits"), [("RGB", 8), ("L", 8), ("RGBA", 8), ("LA", 8), ("RGB", 16), ("L", 16)])
def test_exif_and_a_fitting_profile_are_kept(mode, bits, tmp_path):
  exif = Image.Exif()
  exif[0x010F], exif[274] = "a camera", 6
  picture = Image.new(mode, (4, 6), (100,) * len(mode) if len(mode) > 1 else 100)
  if mode.endswith("A"):
    picture.putalpha(Image.linear_gradient("L").resize((4, 6)))
  picture.save(tmp_path / "a.png", exif=exif, icc_profile=SRGB)
  seen, alpha, form = read_picture(tmp_path / "a.png")
  assert seen.shape == (4, 6, 3)  # turned
  form = Form(bits, form.grey, form.exif, form.profile)
  save_picture(tmp_path / "b.png", seen, alpha, form)
  with Image.open(tmp_path / "b.png") as written:
    written.load()
    assert written.getexif()[0x010F] == "a camera" and written.getexif().get(274, 1) == 1
    assert written.info.get("icc_profile") == (SRGB if mode.startswith("RGB") else None)  # a grey picture's is another
    assert written.mode == (mode if bits == 8 else {"RGB": "RGB", "L": "I;16"}[mode])


@pytest.mark.parametrize("bits", [8, 16])
def test_of_a_tiff_the_camera_is_kept_and_not_how_it_held_its_pixels(bits, tmp_path):
  wide = np.random.default_rng(1).integers(0, 2**bits, (3, 5, 3)).astype(f"uint{bits}")
  own = {"extratags": [(271, "s", 0, "a camera", True)], "software": "", "metadata": None}
  tifffile.imwrite(tmp_path / "a.tif", wide, photometric="rgb", **own)
  seen, alpha, form = read_picture(tmp_path / "a.tif")
  save_picture(tmp_path / "b.png", seen, alpha, form)
  with Image.open(tmp_path / "b.png") as written:
    # Beside the camera, resolutions and the like at most: no widths, strips and offsets (TIFF 6.0).
    assert dict(written.getexif())[271] == "a camera" and written.getexif().keys() <= {271, 282, 283, 296, 305}


def test_grey_is_the_luma_of_what_is_restored(tmp_path):
  x = np.zeros((2, 2, 3), np.float32)
  x[0, 0], x[0, 1], x[1, 0] = (1, 0, 0), (0, 1, 0), (0, 0, 1)
  save_picture(tmp_path / "a.png", x, None, Form(grey=True))
  written = Image.open(tmp_path / "a.png")
  assert written.mode == "L"
  np.testing.assert_array_equal(written, [[76, 150], [29, 0]])  # .299, .587 and .114 of 255


def test_a_cmyk_profile_is_not_put_on_rgb(tmp_path):
  profile = bytearray(SRGB)
  profile[16:20] = b"CMYK"
  Image.new("CMYK", (8, 8)).save(tmp_path / "a.jpg", icc_profile=bytes(profile))
  assert read_picture(tmp_path / "a.jpg")[2].profile is None


def test_a_damaged_wide_picture_is_named(tmp_path):
  write_wide(tmp_path / "a.png", pixels(3))
  content = bytearray((tmp_path / "a.png").read_bytes())
  content[60] ^= 255
  (tmp_path / "a.png").write_bytes(content)
  with pytest.raises(UnreadableImage, match=r"a\.png"):
    read_picture(tmp_path / "a.png")
