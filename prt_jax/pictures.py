"""Labelled grids of restorations, as a researcher would look at them."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from prt_jax.game import Game, draw_noise, restore
from prt_jax.randomness import Stream, example_keys
from prt_jax.state import TrainState

STD_GAIN = 4  # a per-pixel std of 1/4 is drawn white
GAP = 2  # pixels between tiles
HEADER = 16  # pixels above the first row


def make_sample_columns(game: Game, num_seeds: int):
  """A jitted (state, images [B,H,W,3] float32) -> {title: [B,H,W,3]}: original, input, restorations, per-pixel std.

  The restorations are the evaluation's: running averages, noise that depends on the row alone.
  """

  @jax.jit
  def columns(state: TrainState, images: jax.Array) -> dict[str, jax.Array]:
    examples = jnp.arange(len(images))
    keys = example_keys(state.key, 0, Stream.EVALUATION, examples)
    y = game.degradation.degrade(images, example_keys(state.key, 1, Stream.EVALUATION, examples))
    z = draw_noise(game, keys, num_seeds)
    restored = jnp.stack(
      [
        restore(game, state.generator_params, state.batch_stats, y, jax.tree.map(lambda n, s=s: n[s], z), train=False)[0]
        for s in range(num_seeds)
      ]
    )
    result = {"original": images, "input": game.degradation.network_input(y)}
    if num_seeds == 1:
      return result | {"restored": restored[0]}
    result |= {f"restored, Z{s + 1}": restored[s] for s in range(num_seeds)}
    std = jnp.std(restored, axis=0, ddof=1).mean(-1, keepdims=True)
    return result | {f"std x{STD_GAIN}": STD_GAIN * std.repeat(3, -1)}

  return columns


def draw_grid(columns: dict[str, np.ndarray], scale: int = 2) -> np.ndarray:
  """Tiles with a title over each column: {title: [B,H,W,3] float in [0,1]} -> uint8 [h,w,3].

  scale enlarges each tile by pixel replication, so that a 64-pixel image is legible.
  """
  batch, height, width, _ = next(iter(columns.values())).shape
  tile_height, tile_width = height * scale, width * scale
  canvas = np.full(
    (HEADER + batch * (tile_height + GAP), len(columns) * (tile_width + GAP) - GAP, 3), 255, np.uint8
  )
  for column, images in enumerate(columns.values()):
    pixels = np.round(255 * np.clip(np.asarray(images), 0, 1)).astype(np.uint8)
    pixels = pixels.repeat(scale, 1).repeat(scale, 2)
    for row in range(batch):
      top, left = HEADER + row * (tile_height + GAP), column * (tile_width + GAP)
      canvas[top : top + tile_height, left : left + tile_width] = pixels[row]
  image = Image.fromarray(canvas)
  draw = ImageDraw.Draw(image)
  for column, title in enumerate(columns):
    center = column * (tile_width + GAP) + tile_width // 2
    draw.text((center, HEADER // 2), title, fill=(0, 0, 0), font=ImageFont.load_default(11), anchor="mm")
  return np.asarray(image)


def save_png(path: pathlib.Path, image: np.ndarray) -> None:
  """Writes [H,W,3] uint8, beside and renamed."""
  path.parent.mkdir(parents=True, exist_ok=True)
  partial = path.with_suffix(".partial")
  Image.fromarray(image).save(partial, format="png")
  partial.replace(path)
