"""Restores a folder of degraded images, several times each where the restorer is stochastic.

  python -m prt_jax.restore --restorer=runs/sr16-stochastic-robust --input=DIR --output=DIR [--num_outputs=4]

The images are measurements, of the size that the restorer takes (for an inpainting run also whole pictures, whose upper
three quarters are painted anew); with --degradation=own they are originals, which are measured first. For each image:
NAME-1.png ... NAME-N.png, a contact sheet NAME-sheet.png, and a record in restore.json. A transparent image is restored
as it looks on white, and its restorations keep its alpha.
"""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from prt_jax.commands import restorer_flags
from prt_jax.commands.parser import Parser, run
from prt_jax.data.image_pairs import Pair
from prt_jax.data.preprocess import BACKGROUND
from prt_jax.errors import UserError
from prt_jax.evaluation.checked_calls import restore_all, restore_repeatably
from prt_jax.evaluation.measures import capped_consistency_psnr
from prt_jax.io.pictures import STD_GAIN, draw_grid, eight_bits, save_png
from prt_jax.precision import in_float32
from prt_jax.reporting.audit_report import write_text
from prt_jax.restorers import Restorer


def main(argv: list[str]) -> None:
  """Restores the images of a folder; prints a line an image."""
  parser = Parser(__doc__)
  restorer_flags.add_flags(parser, measurements=True)
  parser.add_argument("--num_outputs", type=int, default=4, help="restorations an image; default 4 (deterministic: 1)")
  arguments = parser.parse_args(argv)
  restorer_flags.use_all_cores(arguments)
  if arguments.num_outputs < 1:
    raise UserError(f"--num_outputs={arguments.num_outputs} must be at least 1")
  restorer, pairs, _, skipped = restorer_flags.load(arguments)
  output = restorer_flags.output(arguments)
  if arguments.num_outputs > 1 and not restorer.stochastic:
    print(f"{restorer.name} is deterministic: one restoration an image")
  if pairs:
    y = jnp.asarray(pairs[0].y[None])
    restore_repeatably(restorer.restore, y, restorer.noise(jax.random.split(jax.random.key(0), 1), y.shape[1:], 1))
  records = []
  for index, pair in enumerate(pairs):
    key = jax.random.fold_in(jax.random.key(arguments.seed), index)
    record, x = restore_image(restorer, pair, key, arguments.num_outputs)
    for number, image in enumerate(x, start=1):
      save_png(output / f"{pair.name}-{number}.png", eight_bits(with_alpha(image, pair.alpha)))
    save_png(output / f"{pair.name}-sheet.png", contact_sheet(pair, x))
    records.append(record)
    content = {"restorer": restorer.name, "images": records} | ({"skipped": skipped} if skipped else {})
    write_text(output / "restore.json", json.dumps(content, indent=2) + "\n")
    print(_line(record, output), flush=True)


@in_float32
def restore_image(restorer: Restorer, pair: Pair, key: jax.Array, num_outputs: int) -> tuple[dict, np.ndarray]:
  """Draws of the restorer's posterior for one measurement.

  Args:
    restorer, pair: what restores, and what is restored; the original is not looked at.
    key: a typed key for the noise.
    num_outputs: draws S, where the restorer is stochastic.

  Returns:
    (a JSON-able record: "consistency_db" is PSNR(D(x), y) of each restoration, at most PSNR_CAP, of the picture as
    written, clipped to [0, 1] and rounded to 8 bits, None without a degradation; "per_pixel_std" the mean over pixels
    and channels of the standard deviation over the draws, None for one; the restorations [S,H,W,3], clipped).
  """
  y = jnp.asarray(pair.y[None])
  z = restorer.noise(key[None], y.shape[1:], num_outputs)
  x = np.clip(np.asarray(restore_all(restorer.restore, y, z)[:, 0]), 0, 1)
  record = {"name": pair.name, "outputs": len(x), "consistency_db": None, "per_pixel_std": None}
  if restorer.degrade is not None:
    degraded = restorer.degrade(jnp.asarray(eight_bits(x), jnp.float32) / 255)
    record["consistency_db"] = capped_consistency_psnr(jnp.broadcast_to(y, degraded.shape), degraded).tolist()
  if len(x) > 1:
    record["per_pixel_std"] = float(x.std(0, ddof=1).mean())
  return record, x


def with_alpha(x: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
  """A restoration [H,W,3] with the alpha of its input, resized: [H,W,4], which on white is the restoration again.

  Without alpha, or where the alpha's shape is not the restoration's (a part was measured), the restoration as it is.
  """
  if alpha is None or alpha.shape[0] * x.shape[1] != alpha.shape[1] * x.shape[0]:
    return x
  resized = Image.fromarray(alpha).resize(x.shape[1::-1], Image.Resampling.BICUBIC)
  a = np.asarray(resized, np.float32)[..., None] / 255
  white = np.asarray(BACKGROUND, np.float32) / 255
  own = np.where(a > 0, (x - (1 - a) * white) / np.maximum(a, 1 / 255), white)
  return np.concatenate([own, a], -1)


def contact_sheet(pair: Pair, x: np.ndarray) -> np.ndarray:
  """uint8 [h,w,3]: the original where it is known, the measurement, the restorations [S,H,W,3], their per-pixel std."""
  columns = [] if pair.x is None else [("original", pair.x[None])]
  # As large as the restoration: enlarged by replication, and below black where only the lower part was measured.
  factor = x.shape[2] // pair.y.shape[1]
  y = pair.y.repeat(factor, 0).repeat(factor, 1)
  if y.shape[1] == x.shape[2] and len(y) <= x.shape[1]:
    columns.append(("measured", np.pad(y, ((x.shape[1] - len(y), 0), (0, 0), (0, 0)))[None]))
  columns += [(f"restored {number}", image[None]) for number, image in enumerate(x, start=1)]
  if len(x) > 1:
    std = x.std(0, ddof=1).mean(-1, keepdims=True).repeat(3, -1)
    columns.append((f"std x{STD_GAIN}", STD_GAIN * std[None]))
  return draw_grid(columns)


def _line(record: dict, output: pathlib.Path) -> str:
  files = f"{output / record['name']}-1.png" + (f" to -{record['outputs']}.png" if record["outputs"] > 1 else "")
  consistency = record["consistency_db"]
  parts = [files] + ([f"consistency {min(consistency):.1f} dB"] if consistency else [])
  if record["per_pixel_std"] is not None:
    parts.append(f"per-pixel std {record['per_pixel_std']:.3f}")
  return ", ".join(parts)


if __name__ == "__main__":
  run(main)
