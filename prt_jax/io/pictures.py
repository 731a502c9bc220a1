"""Labelled grids of images, and PNG files."""

import io
import pathlib
from collections.abc import Sequence

import numpy as np
from jax.typing import ArrayLike
from PIL import Image, ImageDraw, ImageFont

from prt_jax.io.whole_files import write_whole

STD_GAIN = 4  # a per-pixel std of 1/4 is drawn white
TILE = 128  # pixels a tile is wide, at least half of it
GAP = 2  # pixels between tiles
HEADER = 16  # pixels above the first row
LABEL = 80  # pixels left of the first column, where rows have labels
PLANE = 256  # pixels; side of a picture of points


def draw_grid(columns: list[tuple[str, np.ndarray]], row_labels: Sequence[str] = ()) -> np.ndarray:
  """Tiles with a title over each column: [(title, [B,H,W,3] float in [0,1]), ...] -> uint8 [h,w,3].

  Small images are enlarged by pixel replication until they are legible. row_labels stand left of
  the rows, lines separated by newlines.
  """
  batch, height, width, _ = columns[0][1].shape
  scale = max(1, TILE // width)
  tile_height, tile_width = height * scale, width * scale
  margin = LABEL if row_labels else 0
  size = (HEADER + batch * (tile_height + GAP), margin + len(columns) * (tile_width + GAP) - GAP, 3)
  canvas = np.full(size, 255, np.uint8)
  for column, (_, images) in enumerate(columns):
    pixels = eight_bits(images).repeat(scale, 1).repeat(scale, 2)
    for row in range(batch):
      top, left = HEADER + row * (tile_height + GAP), margin + column * (tile_width + GAP)
      canvas[top : top + tile_height, left : left + tile_width] = pixels[row]
  image = Image.fromarray(canvas)
  draw = ImageDraw.Draw(image)
  for column, (title, _) in enumerate(columns):
    center = margin + column * (tile_width + GAP) + tile_width // 2
    draw.text((center, HEADER // 2), title, fill=(0, 0, 0), font=ImageFont.load_default(11), anchor="mm")
  for row, label in enumerate(row_labels):
    middle = HEADER + row * (tile_height + GAP) + tile_height // 2
    draw.text((4, middle), label, fill=(0, 0, 0), font=ImageFont.load_default(11), anchor="lm")
  return np.asarray(image)


def draw_points(columns: list[tuple[str, np.ndarray]]) -> np.ndarray:
  """Clouds of points of the plane side by side, one scale for all: [(title, [B,2]), ...] -> uint8 [h,w,3].

  Columns of another dimension (a measurement's) are left out.
  """
  clouds = [(title, np.nan_to_num(points)) for title, points in columns if points.shape[-1] == 2]
  reach = 1.1 * max(float(np.abs(points).max()) for _, points in clouds) or 1.0
  tiles = []
  for title, points in clouds:
    across, up = np.round((points / reach + 1) / 2 * (PLANE - 1)).astype(int).T
    tile = np.ones((1, PLANE, PLANE, 3))
    tile[0, PLANE - 1 - up, across] = 0
    tiles.append((title, tile))
  return draw_grid(tiles)


def eight_bits(image: ArrayLike) -> np.ndarray:
  """Pixels in [0, 1], clipped, as uint8."""
  return np.round(np.clip(np.asarray(image), 0, 1) * 255).astype(np.uint8)


def save_png(path: pathlib.Path, image: np.ndarray) -> None:
  """Writes [H,W,3], or [H,W,4] with alpha, uint8; its folder is made."""
  path.parent.mkdir(parents=True, exist_ok=True)
  write_whole(path, png(image))


def png(image: np.ndarray) -> bytes:
  """A PNG file of [H,W,3], or [H,W,4] with alpha, uint8."""
  buffer = io.BytesIO()
  Image.fromarray(image).save(buffer, format="png", optimize=True)
  return buffer.getvalue()
