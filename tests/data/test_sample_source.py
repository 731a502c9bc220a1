"""The embedded photographs: counts, determinism, disjoint regions."""

import numpy as np

from prt_jax.data import sample_source


def test_counts_shapes_and_a_fixed_seed(make_data):
  splits = sample_source.read(make_data(image_size=16))
  images = {name: np.stack(list(split.images)) for name, split in splits.items()}
  assert images["train"].shape == (4096, 16, 16, 3) and images["val"].shape == (512, 16, 16, 3)
  assert images["train"].dtype == np.uint8
  again = sample_source.read(make_data(image_size=16))["train"].images
  np.testing.assert_array_equal([next(again) for _ in range(50)], images["train"][:50])
  # Colour photographs, hardly a crop like another.
  assert images["train"].std() > 40
  assert (np.ptp(images["train"].astype(int), axis=-1) > 0).mean() > 0.8
  assert len(np.unique(images["train"].reshape(4096, -1), axis=0)) > 4000


def test_training_and_validation_regions_are_disjoint(make_data, monkeypatch):
  # In place of photographs: the column's position, as a colour; so every crop tells where it was.
  columns = np.broadcast_to((np.arange(240, dtype=np.uint8))[None, :, None], (100, 240, 3))
  monkeypatch.setattr(sample_source, "_load_photographs", lambda: dict.fromkeys(sample_source.PHOTOGRAPHS, columns))
  splits = sample_source.read(make_data(image_size=16))
  ranges = {name: [(image.min(), image.max()) for image in split.images] for name, split in splits.items()}
  assert max(high for _, high in ranges["train"]) <= 160 <= min(low for low, _ in ranges["val"])
  # Both reach all of their region, at several scales from one image pixel a pixel on.
  assert min(low for low, _ in ranges["train"]) < 5 and max(high for _, high in ranges["val"]) > 235
  for found in ranges.values():
    widths = np.array([int(high) - int(low) for low, high in found])
    assert widths.min() == 15 and 65 < widths.max() < 80 and len(np.unique(widths)) > 30


def test_half_of_the_crops_are_mirrored(make_data, monkeypatch):
  columns = np.broadcast_to((np.arange(240, dtype=np.uint8))[None, :, None], (100, 240, 3))
  monkeypatch.setattr(sample_source, "_load_photographs", lambda: dict.fromkeys(sample_source.PHOTOGRAPHS, columns))
  images = sample_source.read(make_data(image_size=16))["train"].images
  mirrored = [image[0, 0, 0] > image[0, -1, 0] for image in images]
  assert 0.45 < np.mean(mirrored) < 0.55


def test_too_large_an_image_size_is_refused_with_the_limit(make_data, user_error):
  with user_error("data.image_size=1000", "at most 247"):
    sample_source.read(make_data(image_size=1000))
  assert next(sample_source.read(make_data(image_size=247))["val"].images).shape == (247, 247, 3)
