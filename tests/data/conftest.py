"""What the data tests share: configs, images made by formula, and what a user's error must look like."""

import contextlib

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from prt_jax.errors import UserError


@pytest.fixture
def make_data(tmp_path):
  """make_data(**fields): a config's `data` group with a cache of this test's own."""

  def make(**fields):
    data = dict(source="folder", name="", path="", image_size=8, resize=0, train_fraction=0.8, placement="host")
    return ConfigDict({**data, "cache_dir": str(tmp_path / "cache"), "skip_unreadable": False, **fields})

  return make


@pytest.fixture
def write_images():
  """write_images(folder, names, size): PNG files, each of one flat colour of its own; {name: colour}."""

  def write(folder, names, size=(8, 8), start=0):
    colours = {}
    for index, name in enumerate(names, start):
      path = folder / name
      path.parent.mkdir(parents=True, exist_ok=True)
      colours[name] = (index % 256, index // 256, 7)
      Image.new("RGB", size, colours[name]).save(path)
    return colours

  return write


@pytest.fixture
def colours_of():
  """colours_of(images): the colour of each of many flat images, as tuples; fails if one is not flat."""

  def colours(images):
    flat = [np.unique(image.reshape(-1, 3), axis=0) for image in images]
    assert all(len(colour) == 1 for colour in flat)
    return [tuple(int(value) for value in colour[0]) for colour in flat]

  return colours


@pytest.fixture
def user_error():
  """`with user_error(*parts)`: a UserError of one line that holds all parts."""

  @contextlib.contextmanager
  def expect(*parts):
    with pytest.raises(UserError) as caught:
      yield
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
      assert str(part) in message

  return expect
