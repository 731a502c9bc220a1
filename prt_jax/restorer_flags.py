"""The flags that say which restorer, degradation and images: shared by the audit, the exploration and restoring."""

import dataclasses
import functools
import itertools
import json
import pathlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from prt_jax.command_line import Parser, output_folder
from prt_jax.config_check import check_seed
from prt_jax.errors import UserError
from prt_jax.image_pairs import (
  Pair,
  Reading,
  bicubic_measure,
  image_files,
  read_pairs,
  read_rgb,
  square_pairs,
  to_float,
)
from prt_jax.precision import in_float32
from prt_jax.randomness import Stream
from prt_jax.restorers import ARCHITECTURES, Restorer, load_network
from prt_jax.restorers.bicubic import bicubic_downsample
from prt_jax.restorers.ranges import RANGES, in_range
from prt_jax.restorers.restorer import FunctionDegradation, evaluation_keys
from prt_jax.restorers.user_restorer import import_function, load_restorer

DEGRADATIONS = ("bicubic", "block_average", "none")


def add_flags(parser: Parser) -> None:
  """Adds --restorer, --degradation and what belongs to them."""
  parser.add_argument(
    "--restorer", required=True,
    help=f"{', '.join(ARCHITECTURES)}; the workdir of a training run; or package.module:function (y [B,h,w,3] -> x)",
  )
  parser.add_argument("--checkpoint", help="weights of a published network (torch.save, .safetensors); never executed")
  parser.add_argument("--checkpoint_key", help="which state dict, where the file holds several (params_ema)")
  parser.add_argument(
    "--res_scale", type=float, help="edsr: factor of its residual branches, which no checkpoint holds; default: that "
    "of the releases, 0.1 from 256 channels, else 1",
  )
  parser.add_argument("--scale", type=int, default=4, help="magnification; default 4")
  parser.add_argument("--input", required=True, help="folder of original images (measurements with --degradation=none)")
  parser.add_argument("--output", required=True, help="folder for the report")
  parser.add_argument(
    "--degradation", default="bicubic",
    help="bicubic (Pillow, 8 bits; default), block_average, package.module:function (x [B,H,W,3] -> y), or none: the "
    "images are measurements, consistency is judged with bicubic. A workdir brings its own; only none counts with one.",
  )
  parser.add_argument(
    "--noise_std", type=float,
    help="Gaussian noise added to the measurements of originals, [0, 1]; default: that of a workdir's run, else 0",
  )
  parser.add_argument(
    "--range", default="0..1",
    help=f"pixels of a package.module:function: {', '.join(RANGES)}, or TAKEN,RETURNED, as 0..1,-1..1; default 0..1",
  )
  parser.add_argument("--mod_crop", action="store_true", help="cut right and lower edges until the scale divides")
  parser.add_argument("--crop", type=int, default=0, help="use a central square of so many pixels; 0 = whole images")
  parser.add_argument("--max_images", type=int, default=0, help="the first so many images; 0 = all")
  parser.add_argument("--seed", type=int, default=0, help="of every random number")


def reference(arguments, restorer: Restorer) -> list[np.ndarray] | None:
  """The images of --reference, [H,W,3] in [0, 1], as a run's where the restorer is one; None: the flag is not given."""
  if not arguments.reference:
    return None
  if restorer.image_size:
    run = json.loads((pathlib.Path(arguments.restorer).expanduser() / "config.json").read_text())
    pairs = square_pairs(arguments.reference, restorer.image_size, run["data"]["resize"], lambda x: x)
    return [pair.x for pair in pairs]
  return [to_float(read_rgb(path)[0]) for path in image_files(arguments.reference)]


def output(arguments) -> pathlib.Path:
  """The folder --output, made if needed; UserError if it is the input's, whose images results could replace."""
  if pathlib.Path(arguments.output).expanduser().resolve() == pathlib.Path(arguments.input).expanduser().resolve():
    raise UserError(
      f"--output={arguments.output} is the folder of the input, which would then hold results: choose another"
    )
  return output_folder(arguments.output)


class Loaded(NamedTuple):
  """What the flags name.

  Attributes:
    restorer: with the degradation that consistency is judged by.
    pairs: the images.
    noise_std: of the measurements' noise, pixels in [0, 1].
  """

  restorer: Restorer
  pairs: list[Pair]
  noise_std: float


@in_float32
def load(arguments) -> Loaded:
  """The restorer and the images; UserError for flags that do not fit."""
  check_seed("--seed", arguments.seed)
  if min(arguments.scale - 1, arguments.noise_std or 0, arguments.crop, arguments.max_images) < 0:
    raise UserError("--scale must be at least 1, and --noise_std, --crop and --max_images not negative")
  if arguments.restorer in ARCHITECTURES:
    restorer = load_network(
      arguments.restorer, arguments.checkpoint, arguments.scale, arguments.checkpoint_key, arguments.res_scale
    )
  elif arguments.res_scale is not None:
    raise UserError(f"--res_scale is for edsr: leave it out with --restorer={arguments.restorer}")
  else:
    restorer = load_restorer(arguments.restorer, checkpoint=arguments.checkpoint)
  if arguments.range != "0..1" and ":" not in arguments.restorer:
    raise UserError(f"--range={arguments.range}: published networks and training runs take and return 0..1")
  restorer = in_range(restorer, arguments.range)
  noise_std, are_measurements = arguments.noise_std, arguments.degradation == "none"
  if restorer.image_size:
    run = json.loads((pathlib.Path(arguments.restorer).expanduser() / "config.json").read_text())
    if are_measurements:
      pairs = run_measurements(arguments.input, restorer, is_inpainting=run["degradation"]["kind"] == "inpainting")
    else:
      if noise_std is not None:
        degradation = dataclasses.replace(restorer.degradation, noise_std=noise_std)
        restorer = dataclasses.replace(restorer, degradation=degradation)
      noise_std = restorer.degradation.noise_std
      read = square_pairs(arguments.input, restorer.image_size, run["data"]["resize"], restorer.degrade)
      pairs = (run_measured(restorer, pair, index, arguments.seed) for index, pair in enumerate(read))
  else:
    measure, degrade, scale = _degradation(arguments.degradation, arguments.scale)
    identity = restorer.identity and f"{restorer.identity}, {arguments.degradation}"
    if ":" in arguments.degradation:
      identity = ""  # a function may be another one next time: what was measured with it is not kept
    restorer = dataclasses.replace(restorer, degradation=FunctionDegradation(degrade), identity=identity)
    reading = Reading(scale, restorer.multiple, arguments.mod_crop, arguments.crop)
    pairs = read_pairs(arguments.input, reading, measure)
  pairs = list(itertools.islice(pairs, arguments.max_images or None))
  if noise_std and not are_measurements and not restorer.image_size:
    rng = np.random.default_rng(arguments.seed)
    pairs = [
      dataclasses.replace(pair, y=pair.y + rng.normal(0, noise_std, pair.y.shape).astype(np.float32)) for pair in pairs
    ]
  print(f"restorer: {restorer.name}", flush=True)
  return Loaded(restorer, pairs, noise_std or 0.0)


def run_measured(restorer: Restorer, pair: Pair, index: int, seed: int) -> Pair:
  """The pair with y as an evaluation measures the image of that number, by the run's degradation with its noise."""
  keys = evaluation_keys(Stream.EVALUATION_MEASUREMENT, 0, jnp.array([index]), seed)
  return dataclasses.replace(pair, y=np.asarray(restorer.degradation.degrade(jnp.asarray(pair.x[None]), keys))[0])


def run_measurements(folder, restorer: Restorer, *, is_inpainting: bool) -> Iterator[Pair]:
  """Each image of a folder as a measurement that a training run's restorer takes: it has that measurement's size.

  With inpainting it may also be a whole picture: what counts is its visible quarter, the rest is painted anew.
  UserError for another size.
  """
  side = restorer.image_size
  height, width, _ = jax.eval_shape(restorer.degrade, jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)).shape[1:]
  for path in image_files(folder):
    image, alpha = read_rgb(path)
    image = to_float(image)
    if is_inpainting and image.shape == (side, side, 3):
      image = np.asarray(restorer.degrade(image[None]))[0]
    if image.shape != (height, width, 3):
      whole = f", or whole pictures of {side}x{side}" if is_inpainting else ""
      raise UserError(
        f"{path} is {image.shape[1]}x{image.shape[0]}: this run restores measurements of {width}x{height}{whole}; "
        "originals are measured first with --degradation=own"
      )
    yield Pair(path.stem, None, image, alpha)


def _degradation(name: str, scale: int) -> tuple[Callable | None, Callable, int]:
  """(how an image is measured, the same for consistency as a function of a batch, magnification of the reading)."""
  if name == "bicubic":
    return bicubic_measure(scale), functools.partial(bicubic_downsample, factor=scale), scale
  if name == "none":
    return None, functools.partial(bicubic_downsample, factor=scale), 1
  if name == "block_average":
    degrade = functools.partial(_block_average, factor=scale)
  elif ":" in name:
    degrade = import_function(name)
  else:
    raise UserError(f"--degradation={name} is none of {', '.join(DEGRADATIONS)}, and no package.module:function")

  def measure(image):
    return np.asarray(degrade(jnp.asarray(to_float(image)[None])), np.float32)[0]

  return measure, degrade, scale


def _block_average(x: jax.Array, factor: int) -> jax.Array:
  batch, height, width, channels = x.shape
  return x.reshape(batch, height // factor, factor, width // factor, factor, channels).mean((2, 4))
