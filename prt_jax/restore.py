"""Restores a folder of degraded images, several times each where the restorer is stochastic.

  python -m prt_jax.restore --restorer=runs/sr16-stochastic-robust --input=DIR --output=DIR [--num_outputs=4]

The images are measurements, of the size that the restorer takes (for an inpainting run also whole pictures, whose upper
three quarters are painted anew); with --degradation=own they are originals, which are measured first. For each image:
NAME-1.png ... NAME-N.png, a contact sheet NAME-sheet.png, and a record in restore.json. Pictures are written as they
were read: grey or in colour, of 8 or 16 bits, with their EXIF and colour profile. A transparent image is restored as it
looks on white, and its restorations keep its alpha. The same command again goes on where it was stopped.
"""

import hashlib
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
from tqdm import tqdm

from prt_jax import devices
from prt_jax.commands import restorer_flags
from prt_jax.commands.parser import Parser, run
from prt_jax.data.image_pairs import Pair
from prt_jax.data.picture_files import save_picture
from prt_jax.data.preprocess import BACKGROUND
from prt_jax.errors import UserError
from prt_jax.evaluation.checked_calls import restore_all, restore_repeatably
from prt_jax.evaluation.measures import capped_consistency_psnr
from prt_jax.evaluation.store import digest_of
from prt_jax.io.json_files import read_object
from prt_jax.io.pictures import STD_GAIN, draw_grid, eight_bits, save_png
from prt_jax.io.whole_files import write_json
from prt_jax.precision import in_float32
from prt_jax.restorers import Restorer

SHEET_SIDE = 1024  # pixels; a larger restoration is shown on its contact sheet by its middle
PROBE_SIDE = 64  # pixels of the first measurement on which a restorer is called twice


def main(argv: list[str]) -> None:
  """Restores the images of a folder; prints a line an image."""
  parser = Parser(__doc__)
  restorer_flags.add_flags(parser, measurements=True)
  parser.add_argument("--num_outputs", type=int, default=4, help="restorations an image; default 4 (deterministic: 1)")
  arguments = parser.parse_args(argv)
  restorer_flags.use_all_cores(arguments)
  if arguments.num_outputs < 1:
    raise UserError(f"--num_outputs={arguments.num_outputs} must be at least 1")
  restorer, pairs, _, skipped, count = restorer_flags.load_one_by_one(arguments)
  output = restorer_flags.output(arguments)
  if arguments.num_outputs > 1 and not restorer.stochastic:
    print(f"{restorer.name} is deterministic: one restoration an image")
  content = {"restorer": restorer.name, "identity": _identity(restorer, arguments), "images": []}
  known = _known(output, content["identity"])
  bar = tqdm(pairs, "images", count, disable=None)
  for index, pair in enumerate(bar):
    measurement = digest_of(pair.y)
    record = known.get((pair.name, measurement))
    if record is None:
      if not content["images"]:
        _check_repeatable(restorer, pair.y)
      devices.release_programs()
      key = jax.random.fold_in(jax.random.key(arguments.seed), index)
      record, x = restore_image(restorer, pair, key, arguments.num_outputs)
      record["measurement"] = measurement
      for number, image in enumerate(x, start=1):
        save_picture(output / f"{pair.name}-{number}.png", *with_alpha(image, pair.alpha), pair.form)
      save_png(output / f"{pair.name}-sheet.png", contact_sheet(pair, x))
    content["images"].append(record)
    report = content | ({"skipped": skipped} if skipped else {})
    write_json(output / "restore.json", report)
    bar.write(_line(record, output, is_there=(pair.name, measurement) in known))
  restorer_flags.check_any(arguments, content["images"], skipped)


def _identity(restorer: Restorer, arguments) -> str:
  """What restorations depend on beside the measurement; "" where that is not known."""
  if not restorer.identity:
    return ""
  fields = restorer.identity, digest_of(restorer.params), arguments.seed, arguments.num_outputs
  return hashlib.sha256(repr(fields).encode()).hexdigest()


def _known(output: pathlib.Path, identity: str) -> dict[tuple[str, str], dict]:
  """Records of an earlier, stopped run of the same command, {(name, digest of the measurement): record}."""
  path = output / "restore.json"
  if not identity or not path.exists():
    return {}
  content = read_object(path, "remove it, or choose another --output")
  if content.get("identity") != identity:
    return {}
  return {
    (record["name"], record["measurement"]): record for record in content["images"]
    if all((output / f"{record['name']}-{number + 1}.png").exists() for number in range(record["outputs"]))
  }  # fmt: skip


@in_float32
def _check_repeatable(restorer: Restorer, y: np.ndarray) -> None:
  """UserError for a restorer that fails, or draws noise of its own: on a part of y, where y is large."""
  if not restorer.image_size:
    y = y[:PROBE_SIDE, :PROBE_SIDE]
  z = restorer.noise(jax.random.split(jax.random.key(0), 1), y.shape, 1)
  restore_repeatably(restorer.restore, jnp.asarray(y[None]), z)


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
  if pair.size and pair.x is not None and pair.x.shape == x.shape[1:]:
    x = x[:, : pair.size[0], : pair.size[1]]
  return record, x


def with_alpha(x: np.ndarray, alpha: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
  """A restoration [H,W,3] under the alpha [h,w] of its input, resized, which on white is the restoration again.

  Without alpha, or where the alpha's shape is not the restoration's (a part was measured), the restoration as it is.
  """
  if alpha is None or alpha.shape[0] * x.shape[1] != alpha.shape[1] * x.shape[0]:
    return x, None
  resized = Image.fromarray(alpha).resize(x.shape[1::-1], Image.Resampling.BICUBIC)
  a = np.clip(np.asarray(resized), 0, 1)
  white, a_ = np.asarray(BACKGROUND, np.float32) / 255, a[..., None]
  return np.where(a_ > 0, (x - (1 - a_) * white) / np.maximum(a_, 1 / 255), white), a


def contact_sheet(pair: Pair, x: np.ndarray) -> np.ndarray:
  """uint8 [h,w,3]: the original where it is known, the measurement, the restorations [S,H,W,3], their per-pixel std."""
  factor = max(1, round(x.shape[2] / pair.y.shape[1]))
  # As large as the restoration: enlarged by replication, and below black where only the lower part was measured.
  y = pair.y.repeat(factor, 0).repeat(factor, 1)[: x.shape[1], : x.shape[2]]
  height, width = x.shape[1:3]
  rows, columns = _middle(height), _middle(width)
  x = x[:, rows, columns]
  shown = [] if pair.x is None else [("original", pair.x[rows, columns][None])]
  if y.shape[1] == width:
    shown.append(("measured", np.pad(y, ((height - len(y), 0), (0, 0), (0, 0)))[rows, columns][None]))
  shown += [(f"restored {number}", image[None]) for number, image in enumerate(x, start=1)]
  if len(x) > 1:
    std = x.std(0, ddof=1).mean(-1, keepdims=True).repeat(3, -1)
    shown.append((f"std x{STD_GAIN}", STD_GAIN * std[None]))
  return draw_grid(shown)


def _middle(length: int) -> slice:
  """What a contact sheet shows along a side."""
  side = min(length, SHEET_SIDE)
  return slice((length - side) // 2, (length - side) // 2 + side)


def _line(record: dict, output: pathlib.Path, *, is_there: bool) -> str:
  files = f"{output / record['name']}-1.png" + (f" to -{record['outputs']}.png" if record["outputs"] > 1 else "")
  consistency = record["consistency_db"]
  parts = [files + (" (is there already)" if is_there else "")]
  if consistency:
    parts.append(f"consistency {min(consistency):.1f} dB")
  if record["per_pixel_std"] is not None:
    parts.append(f"per-pixel std {record['per_pixel_std']:.3f}")
  return ", ".join(parts)


if __name__ == "__main__":
  run(main)
