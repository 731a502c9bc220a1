"""Folders of images as the world has them: other kinds under an image's name, pipes, odd names, depth, damage."""

import io
import json
import os
import struct

import numpy as np
import pytest
from PIL import Image

from prt_jax.data import decode, folder_source, prepare
from prt_jax.data.image_files import LeftOut, digest_images, walk_images
from prt_jax.errors import UnreadableImage, UserError


def test_what_a_file_is_decides_not_its_name(tmp_path):
  pixels = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
  for kind in ("PNG", "BMP", "TIFF", "PPM"):
    Image.fromarray(pixels).save(tmp_path / "image.png", kind)
    np.testing.assert_array_equal(decode.load_image(tmp_path / "image.png", "image.png"), pixels)


@pytest.mark.parametrize(
  "content",
  [
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(out) (w) file\n",  # Pillow asks Ghostscript
    b"P\x00\x00\x00", b"", b"\x89PNG\r\n\x1a\n", b"II*\x00\xff\xff\xff\xff", b"<svg xmlns='http://www.w3.org/2000/svg'/>",
  ],
)  # fmt: skip
def test_other_kinds_are_refused_by_what_they_are(tmp_path, content, monkeypatch):
  path = tmp_path / "image.png"
  path.write_bytes(content)
  monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was asked"))
  with pytest.raises(UnreadableImage, match=r"cannot read the image image\.png"):
    decode.load_image(path, "image.png")


def test_a_few_bytes_that_claim_to_be_a_large_image_are_refused_before_they_are_decoded(tmp_path):
  buffer = io.BytesIO()
  Image.new("RGB", (8, 8)).save(buffer, "BMP")
  content = bytearray(buffer.getvalue())
  content[18:26] = struct.pack("<ii", 8199, 9821)  # 80 million pixels, below Pillow's own limit
  for encoded in (bytes(content), tmp_path / "image.png"):
    (tmp_path / "image.png").write_bytes(content)
    with pytest.raises(UnreadableImage, match=f"its {len(content)} bytes claim to be 8199x9821 pixels"):
      decode.load_image(encoded, "image.png")
  # A large picture of one colour has few bytes, and is read.
  Image.new("RGB", (5000, 4000), (1, 2, 3)).save(tmp_path / "flat.png")
  assert decode.load_image(tmp_path / "flat.png", "flat.png").size == (5000, 4000)


def test_a_pipe_is_neither_listed_nor_waited_for(tmp_path, write_images):
  write_images(tmp_path, ["a.png"])
  os.mkfifo(tmp_path / "pipe.png")
  left_out = LeftOut()
  assert list(walk_images(tmp_path, left_out)) == ["a.png"]
  assert str(left_out) == "1 no regular files (pipe.png)"
  assert digest_images(tmp_path)[1] == 1
  with pytest.raises(UnreadableImage, match="no regular file"):
    decode.load_image(tmp_path / "pipe.png", "pipe.png")


def test_folders_are_walked_in_order_and_as_deep_as_the_system_can_name(tmp_path, write_images):
  write_images(tmp_path, ["b.png", "a/2.png", "a/1/x.png", "a.png", "c/y.png"])
  deep = [tmp_path / "b"]
  for _ in range(1200):  # beyond Python's stack
    deep.append(deep[-1] / "d")
  for folder in deep:
    folder.mkdir()
  try:
    (deep[-1] / "deep.png").symlink_to(tmp_path / "a.png")
    (deep[600] / "back").symlink_to(tmp_path / "b")
    walked = list(walk_images(tmp_path))
    assert walked == ["a/1/x.png", "a/2.png", "a.png", f"b/{'d/' * 1200}deep.png", "b.png", "c/y.png"]
  finally:
    (deep[-1] / "deep.png").unlink()
    (deep[600] / "back").unlink()
    for folder in reversed(deep):
      folder.rmdir()


def test_names_that_would_break_a_line_or_a_terminal_are_escaped(tmp_path, write_images):
  assert str(UserError("cannot read a\nb.png\x1b[2J")) == "cannot read a\\nb.png\\x1b[2J"
  assert str(UserError("no such file: Bäume.png")) == "no such file: Bäume.png"
  write_images(tmp_path, ["a\nb.png"])
  latin = os.fsdecode(b"\xe9.png")
  (tmp_path / latin).write_bytes(b"")
  assert list(walk_images(tmp_path)) == ["a\nb.png", latin]
  with pytest.raises(UserError) as error:
    decode.load_image(tmp_path / latin, str(tmp_path / latin))
  assert str(error.value).encode() and "\\udce9.png" in str(error.value)


def damaged(folder, write_images):
  """20 images, of which 3, 7 and 11 cannot be read."""
  colours = write_images(folder, [f"{index:02}.png" for index in range(20)])
  (folder / "03.png").write_bytes(b"")
  (folder / "07.png").write_bytes((folder / "06.png").read_bytes()[:40])
  (folder / "11.png").unlink()
  (folder / "11.png").symlink_to("nowhere")
  return {name: colour for name, colour in colours.items() if name[:2] not in ("03", "07", "11")}


def test_unreadable_images_are_left_out_on_request_and_named(tmp_path, make_data, write_images, colours_of, caplog):
  colours = damaged(tmp_path / "images", write_images)
  data = make_data(path=str(tmp_path / "images"))
  with pytest.raises(UnreadableImage, match="skip_unreadable"):
    prepare(data)
  data.skip_unreadable = True
  caplog.clear()
  dataset = prepare(data)
  assert len(dataset.train) + len(dataset.val) == 17
  assert set(colours_of([*dataset.train, *dataset.val])) == set(colours.values())
  assert dataset.meta["counts"] == {"train": len(dataset.train), "val": len(dataset.val)}
  skipped = sorted(name[-6:] for names in dataset.meta["skipped"].values() for name in names)
  assert skipped == ["03.png", "07.png", "11.png"]
  line = next(record.getMessage() for record in caplog.records if "left out 3 images" in record.getMessage())
  assert all(name in line for name in skipped)
  # From the cache, and compared with its digests: the same.
  assert len(prepare(data).train) == len(dataset.train)
  assert json.loads((dataset.folder / "meta.json").read_text())["skipped"] == dataset.meta["skipped"]


def test_sets_of_before_keep_their_fingerprints(make_data, tmp_path, write_images):
  write_images(tmp_path / "images", [f"{index}.png" for index in range(10)])
  plain, skipping = (make_data(path=str(tmp_path / "images"), skip_unreadable=skip) for skip in (False, True))
  assert folder_source.describe(plain)["preprocessing"] == {
    "image_size": 8, "resize": 0, "filter": "pil_bilinear_antialiased"
  }  # fmt: skip
  assert folder_source.describe(plain) != folder_source.describe(skipping)


def test_a_split_without_a_readable_image_is_an_error(tmp_path, make_data, write_images, user_error):
  write_images(tmp_path / "images", ["train/a.png", "train/b.png", "val/a.png"])
  (tmp_path / "images/val/a.png").write_bytes(b"")
  with user_error("no image of the val split can be read", "val/a.png"):
    prepare(make_data(path=str(tmp_path / "images"), skip_unreadable=True))
