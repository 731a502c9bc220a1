"""The npz parts of downsampled ImageNet: layout of the pixels, order of the parts, laziness, damage."""

import tracemalloc
import zipfile

import numpy as np
import pytest

from prt_jax.data import folder_source, imagenet_npz


def write_part(path, images, save=np.savez):
  """images: uint8 [N, S, S, 3]."""
  rows = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
  save(path, data=rows, labels=np.arange(len(images)), mean=rows.mean(0))


def noise(count, side=8, seed=0):
  return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_parts_come_in_numeric_order_with_channels_last(tmp_path, make_data, save):
  parts = {number: noise(70, seed=number) for number in range(1, 11)}  # as text, 10 would precede 2
  for number, images in parts.items():
    write_part(tmp_path / f"train_data_batch_{number}.npz", images, save)
  validation = noise(5, seed=99)
  write_part(tmp_path / "val_data.npz", validation, save)
  splits = folder_source.read(make_data(path=str(tmp_path)))
  assert splits["train"].count == 700 and splits["val"].count == 5
  np.testing.assert_array_equal(list(splits["train"].images), np.concatenate(list(parts.values())))
  np.testing.assert_array_equal(list(splits["val"].images), validation)


def test_red_green_and_blue_are_planes(tmp_path):
  rows = np.concatenate([np.full(64, value, np.uint8) for value in (10, 20, 30)])[None]
  np.savez(tmp_path / "part.npz", data=rows)
  (image,) = imagenet_npz.read_images(tmp_path / "part.npz")
  np.testing.assert_array_equal(image, np.full((8, 8, 3), (10, 20, 30)))


def test_the_first_image_costs_one_block_not_the_part(tmp_path, monkeypatch):
  write_part(tmp_path / "part.npz", noise(1_000, side=32))  # 3 MB
  read, original = [], zipfile.ZipExtFile.read

  def counting(self, size=-1):
    block = original(self, size)
    read.append(len(block))
    return block

  monkeypatch.setattr(zipfile.ZipExtFile, "read", counting)
  images = imagenet_npz.read_images(tmp_path / "part.npz")
  next(images)
  assert sum(read) < 2 * imagenet_npz.ROWS_A_READ * 32 * 32 * 3
  images.close()


def test_memory_does_not_grow_with_a_part(tmp_path):
  write_part(tmp_path / "part.npz", np.zeros((4_000, 64, 64, 3), np.uint8))  # 49 MB
  tracemalloc.start()
  assert sum(1 for _ in imagenet_npz.read_images(tmp_path / "part.npz")) == 4_000
  _, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert peak < 5_000_000


def write_all(folder, count=3):
  for name in (*(f"train_data_batch_{number}" for number in range(1, 11)), "val_data"):
    write_part(folder / f"{name}.npz", noise(count))


@pytest.mark.parametrize("missing", [["val_data.npz"], ["train_data_batch_4.npz", "train_data_batch_10.npz"]])
def test_missing_parts_are_named_and_refused(tmp_path, make_data, user_error, missing):
  write_all(tmp_path)
  folder_source.describe(make_data(path=str(tmp_path)))
  for name in missing:
    (tmp_path / name).unlink()
  with user_error(f"without {', '.join(missing)}: ", "Imagenet64_train_part2_npz.zip"):
    folder_source.describe(make_data(path=str(tmp_path)))


def test_validation_alone_is_no_data_set(tmp_path, make_data, user_error):
  write_part(tmp_path / "val_data.npz", noise(3))
  with user_error("without train_data_batch_1.npz, train_data_batch_2.npz"):
    folder_source.describe(make_data(path=str(tmp_path)))


@pytest.mark.parametrize("name", ["train_data_batch_1", "val_data", "train_data_batch_7.pkl"])
def test_the_pickled_download_is_named_and_not_opened(tmp_path, make_data, user_error, name):
  witness = tmp_path / "executed"
  (tmp_path / name).write_bytes(b"cos\nsystem\n(S'touch %s'\ntR." % bytes(witness))
  with user_error(tmp_path / name, "is a pickle", "Imagenet64_train_part1_npz.zip"):
    folder_source.describe(make_data(path=str(tmp_path)))
  assert not witness.exists()


def test_images_smaller_than_wanted_are_refused(tmp_path, make_data, user_error):
  write_all(tmp_path)
  with user_error("train_data_batch_1.npz", "8x8", "data.image_size=16"):
    next(folder_source.read(make_data(path=str(tmp_path), image_size=16))["train"].images)


@pytest.mark.parametrize(
  ("arrays", "part"),
  [
    ({"data": np.zeros((4, 192), np.float32)}, "float32"),
    ({"data": np.zeros((4, 191), np.uint8)}, "[4, 191]"),
    ({"data": np.zeros((4, 8, 8, 3), np.uint8)}, "[4, 8, 8, 3]"),
    ({"data": np.asfortranarray(np.zeros((4, 192), np.uint8))}, "column-major"),
    ({"data": np.array([[{}]], object)}, "object"),
    ({"pixels": np.zeros((4, 192), np.uint8)}, "data.npy"),
  ],
)
def test_what_is_no_part_is_refused(tmp_path, user_error, arrays, part):
  np.savez(tmp_path / "part.npz", **arrays)
  with user_error(tmp_path / "part.npz", part):
    imagenet_npz.count_images(tmp_path / "part.npz")


def test_a_truncated_file_is_refused(tmp_path, user_error):
  write_part(tmp_path / "part.npz", noise(50))
  whole = (tmp_path / "part.npz").read_bytes()
  (tmp_path / "part.npz").write_bytes(whole[: len(whole) // 2])
  with user_error(tmp_path / "part.npz", "download it again"):
    imagenet_npz.count_images(tmp_path / "part.npz")


def test_a_member_shorter_than_its_header_is_refused(tmp_path, user_error):
  write_part(tmp_path / "whole.npz", noise(50))
  with zipfile.ZipFile(tmp_path / "whole.npz") as whole, zipfile.ZipFile(tmp_path / "part.npz", "w") as part:
    part.writestr("data.npy", whole.read("data.npy")[:-100])
  with user_error(tmp_path / "part.npz", "truncated", "50 images"):
    list(imagenet_npz.read_images(tmp_path / "part.npz"))


def test_flipped_bytes_are_refused(tmp_path, user_error):
  write_part(tmp_path / "part.npz", noise(50))
  content = bytearray((tmp_path / "part.npz").read_bytes())
  content[5_000] ^= 255
  (tmp_path / "part.npz").write_bytes(content)
  with user_error(tmp_path / "part.npz", "CRC"):
    list(imagenet_npz.read_images(tmp_path / "part.npz"))
