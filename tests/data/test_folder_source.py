"""The layouts of a folder, its fingerprint, and what is refused."""

import itertools
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from prt_jax.data import folder_source
from prt_jax.data.decode import LOOK_AHEAD, decode_all


def read_all(data):
  """{split: list of images}, after checking the promised counts."""
  splits = folder_source.read(data)
  images = {name: list(split.images) for name, split in splits.items()}
  assert {name: len(found) for name, found in images.items()} == {name: s.count for name, s in splits.items()}
  return images


def test_train_and_val_folders_are_used_as_they_are(tmp_path, make_data, write_images, colours_of, caplog):
  colours = write_images(tmp_path, ["train/b/2.png", "train/a.PNG", "train/b/10.bmp", "train/c.webp", "val/x/y/z.png"])
  for noise in ("train/.hidden.png", "train/.git/a.png", "train/__MACOSX/._a.png"):
    write_images(tmp_path, [noise])
  (tmp_path / "train" / "notes.txt").write_text("no image")
  with caplog.at_level("INFO", logger="absl"):
    images = read_all(make_data(path=str(tmp_path)))
  assert "left out 3 hidden (.git), 1 of another kind (notes.txt)" in caplog.text
  expected = [colours[name] for name in ("train/a.PNG", "train/b/10.bmp", "train/b/2.png")]
  assert colours_of(images["train"][:3]) == expected
  assert len(images["train"]) == 4
  assert colours_of(images["val"]) == [colours["val/x/y/z.png"]]


@pytest.mark.parametrize("name", ["validation", "valid"])
def test_other_names_of_the_validation_folder(tmp_path, make_data, write_images, name):
  write_images(tmp_path, ["train/a.png", "train/b.png", f"{name}/c.png"])
  assert len(read_all(make_data(path=str(tmp_path)))["val"]) == 1


@pytest.mark.parametrize(("present", "absent"), [("train", "val"), ("val", "train")])
def test_one_of_two_split_folders_is_refused(tmp_path, make_data, write_images, user_error, present, absent):
  write_images(tmp_path, [f"{present}/a.png", "test/b.png"])
  with user_error(f"holds {present}/ but no {absent}/"):
    folder_source.describe(make_data(path=str(tmp_path)))


@pytest.mark.parametrize(("fraction", "training"), [(0.8, 40), (0.5, 25), (1.0, 45)])
def test_a_tree_is_divided(tmp_path, make_data, write_images, colours_of, fraction, training):
  colours = write_images(tmp_path, [f"{index % 3}/{index}.png" for index in range(50)])
  data = make_data(path=str(tmp_path), train_fraction=fraction)
  images = {split: colours_of(found) for split, found in read_all(data).items()}
  assert len(images["train"]) == training
  assert sorted(images["train"] + images["val"]) == sorted(colours.values())
  assert {split: colours_of(found) for split, found in read_all(data).items()} == images
  # Random, not the first or the last so-many.
  assert images["train"] != sorted(colours.values())[:training]
  in_order = [colours[name] for name in sorted(colours, key=lambda name: name.split("/"))]
  assert images["train"] == [colour for colour in in_order if colour in images["train"]]


def celeba_partitions(count=60):
  """Of every six images four train, one validates, one tests."""
  return {f"{number:06}.jpg": (0, 0, 1, 0, 2, 0)[number % 6] for number in range(1, count + 1)}


def write_celeba(root, images, partition_file, separator=" ", header="", ending=".jpg"):
  partitions = celeba_partitions()
  for number, name in enumerate(partitions, 1):
    (root / images).mkdir(parents=True, exist_ok=True)
    path = (root / images / name).with_suffix(ending)
    Image.new("RGB", (178, 218), (4 * number, 4 * number, 4 * number)).save(path, quality=95)
  lines = [f"{name}{separator}{partition}\n" for name, partition in partitions.items()]
  (root / partition_file).write_text(header + "".join(lines))
  return partitions


@pytest.mark.parametrize(
  "layout",
  [
    ("img_align_celeba", "list_eval_partition.txt"),
    ("img_align_celeba", "img_align_celeba/list_eval_partition.txt"),
    (".", "list_eval_partition.txt"),
    ("img_align_celeba/img_align_celeba", "list_eval_partition.csv", ",", "image_id,partition\n"),
    ("img_align_celeba_png", "list_eval_partition.txt", " ", "", ".png"),
    ("img_align_celeba", "list_eval_partition.txt", " ", "", ".png"),
    (".", "list_eval_partition.txt", " ", "", ".PNG"),
  ],
)
def test_celeba_official_files_follow_the_papers_split_rule(tmp_path, make_data, colours_of, layout):
  partitions = write_celeba(tmp_path, *layout)
  images = read_all(make_data(path=str(tmp_path), image_size=64, resize=102))
  # JPEG keeps these greys exactly or within one level; the numbers are four levels apart.
  numbers = {split: [round(int(image.mean()) / 4) for image in found] for split, found in images.items()}
  official = {value: [n for n, p in enumerate(partitions.values(), 1) if p == value] for value in (0, 1, 2)}
  assert len(numbers["train"]) == 32 and set(numbers["train"]) < set(official[0])
  rest = sorted(set(official[0]) - set(numbers["train"]))
  assert numbers["val"] == rest + official[1]


def test_celeba_without_its_partition_file_is_refused(tmp_path, make_data, write_images, user_error):
  write_images(tmp_path, ["img_align_celeba/000001.png"])
  with user_error("list_eval_partition.txt", tmp_path / "img_align_celeba"):
    folder_source.describe(make_data(path=str(tmp_path)))


def test_celeba_with_a_missing_image_names_it(tmp_path, make_data, user_error):
  write_celeba(tmp_path, "img_align_celeba", "list_eval_partition.txt")
  (tmp_path / "img_align_celeba" / "000002.jpg").unlink()
  with user_error("000002.jpg"):
    read_all(make_data(path=str(tmp_path), image_size=64, resize=102))


def test_of_two_celeba_folders_the_one_with_images_is_read(tmp_path, make_data):
  write_celeba(tmp_path, "img_align_celeba_png", "list_eval_partition.txt", ending=".png")
  (tmp_path / "img_align_celeba").mkdir()
  (tmp_path / "img_align_celeba_png" / "._000001.png").write_bytes(b"a Mac's own")
  assert len(read_all(make_data(path=str(tmp_path), image_size=64, resize=102))["train"]) == 32


def test_celeba_with_a_damaged_partition_file_names_the_line(tmp_path, make_data, user_error):
  write_celeba(tmp_path, "img_align_celeba", "list_eval_partition.txt", header="000000.jpg 7\n")
  with user_error("list_eval_partition.txt line 1"):
    folder_source.read(make_data(path=str(tmp_path)))


def test_the_description_identifies_the_files_and_nothing_else(tmp_path, make_data, write_images):
  root = tmp_path / "here"
  write_images(root, ["a.png", "b/c.png"])
  first = folder_source.describe(make_data(path=str(root)))
  shutil.copytree(root, tmp_path / "there")  # keeps the times
  write_images(root, [".hidden.png"])
  assert folder_source.describe(make_data(path=str(tmp_path / "there"))) == first
  assert folder_source.describe(make_data(path=str(root))) == first
  changes = {
    "touched": lambda: os.utime(root / "a.png", ns=(1, 1)),
    "renamed": lambda: (root / "a.png").rename(root / "d.png"),
    "added": lambda: write_images(root, ["b/e.png"]),
    "grown": lambda: (root / "d.png").open("ab").write(b"0"),
  }
  seen = [first]
  for change in changes.values():
    change()
    seen.append(folder_source.describe(make_data(path=str(root))))
  assert all(a != b for a, b in itertools.combinations(seen, 2))


def test_the_description_covers_preprocessing_and_split(tmp_path, make_data, write_images):
  write_images(tmp_path, ["a.png", "b.png"])
  variants = [{}, {"image_size": 4}, {"resize": 8}, {"train_fraction": 0.5}]
  descriptions = [folder_source.describe(make_data(path=str(tmp_path), **fields)) for fields in variants]
  assert all(a != b for a, b in itertools.combinations(descriptions, 2))


def test_a_link_back_into_the_tree_is_not_followed_for_ever(tmp_path, make_data, write_images):
  write_images(tmp_path, [f"train/{index}.png" for index in range(3)] + ["val/a.png"])
  (tmp_path / "train" / "loop").symlink_to(tmp_path / "train")
  assert len(read_all(make_data(path=str(tmp_path)))["train"]) == 3


def test_a_linked_folder_is_followed(tmp_path, make_data, write_images):
  write_images(tmp_path / "elsewhere", ["a.png", "b.png"])
  write_images(tmp_path / "set", ["val/c.png"])
  (tmp_path / "set" / "train").symlink_to(tmp_path / "elsewhere")
  assert len(read_all(make_data(path=str(tmp_path / "set")))["train"]) == 2


def test_an_empty_path_a_missing_one_and_a_file_are_refused(tmp_path, make_data, user_error):
  with user_error("data.path is empty", "--config.data.path=DIR"):
    folder_source.describe(make_data())
  with user_error(tmp_path / "nowhere", "does not exist"):
    folder_source.describe(make_data(path=str(tmp_path / "nowhere")))
  (tmp_path / "file").touch()
  with user_error(tmp_path / "file", "is not a folder"):
    folder_source.describe(make_data(path=str(tmp_path / "file")))


def test_a_folder_without_images_is_refused(tmp_path, make_data, user_error):
  with user_error("no images", tmp_path):
    folder_source.read(make_data(path=str(tmp_path)))


def test_an_empty_validation_split_is_refused(tmp_path, make_data, write_images, user_error):
  write_images(tmp_path, ["train/a.png"])
  (tmp_path / "val").mkdir()
  with user_error("the val split", "would be empty"):
    folder_source.read(make_data(path=str(tmp_path)))


def test_a_broken_link_is_named(tmp_path, make_data, user_error):
  for name in "abcdefghij":
    (tmp_path / f"{name}.png").symlink_to(tmp_path / "nowhere.png")
  with user_error(".png", "No such file"):
    read_all(make_data(path=str(tmp_path)))


@pytest.mark.parametrize("content", [b"", b"GIF", None])
def test_an_unreadable_or_small_file_is_named(tmp_path, make_data, write_images, user_error, content):
  write_images(tmp_path, [f"{index}.png" for index in range(20)])
  if content is None:
    write_images(tmp_path, ["11.png"], size=(8, 5))
  else:
    (tmp_path / "11.png").write_bytes(content)
  with user_error(tmp_path / "11.png", "8x5" if content is None else "cannot read"):
    read_all(make_data(path=str(tmp_path)))


def test_decoding_keeps_the_order_and_a_bounded_distance(tmp_path, make_data, write_images, colours_of):
  colours = write_images(tmp_path, [f"{index:03}.png" for index in range(300)])
  taken = []

  def files():
    for name in colours:
      taken.append(name)
      yield str(tmp_path / name), name

  images = decode_all(files(), make_data())
  first = next(images)
  assert len(taken) <= LOOK_AHEAD * os.cpu_count() < 300
  assert colours_of([first, *images]) == list(colours.values())


def test_reading_can_be_left_early(tmp_path, make_data, write_images):
  write_images(tmp_path, [f"{index}.png" for index in range(30)])
  images = folder_source.read(make_data(path=str(tmp_path)))["train"].images
  assert np.asarray(next(images)).shape == (8, 8, 3)
  images.close()
