"""The flags that say which restorer, degradation and images: shared by the audit, the exploration and restoring."""

import argparse
import dataclasses
import itertools
import pathlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from prt_jax import devices
from prt_jax.commands import crop_flag, mask_flag, run_images
from prt_jax.commands.degradation_flag import BICUBICS, Measuring, image_kinds, named_measuring
from prt_jax.commands.named_restorer import RestorerAction, named_restorer
from prt_jax.commands.parser import Parser, output_folder
from prt_jax.config_check import check_seed
from prt_jax.data.image_files import describe_skipped
from prt_jax.data.image_pairs import (
  Pair,
  Reading,
  image_files,
  read_images,
  read_pairs,
  square_pairs,
  to_float,
)
from prt_jax.degradations import make_degradation
from prt_jax.degradations.chain import LINKS
from prt_jax.devices import PLATFORMS, use_platform
from prt_jax.errors import UserError
from prt_jax.io.json_files import read_object
from prt_jax.precision import in_float32
from prt_jax.restorers import ARCHITECTURES, Restorer
from prt_jax.restorers.by_name import DEFAULT_SCALE
from prt_jax.restorers.ranges import RANGES
from prt_jax.restorers.restorer import FunctionDegradation

PUBLISHED_WIDTH = 64  # channels of most published networks; what is not known is taken to be as wide


def add_flags(parser: Parser, *, measurements: bool = False) -> None:
  """Adds --restorer, --degradation and what belongs to them.

  measurements: whether the images are measurements where --degradation does not say otherwise.
  """
  parser.set_defaults(default_degradation="none" if measurements else "bicubic")
  parser.add_argument(
    "--restorer", required=True, action=RestorerAction,
    help=f"{', '.join(ARCHITECTURES)}; spandrel, with any --checkpoint that it recognises; the workdir of a training "
    "run; package.module:function (y [B,h,w,3] -> x); help says what each needs",
  )
  parser.add_argument(
    "--checkpoint", help="weights of a network (torch.save, .safetensors), never executed; of a workdir a step, or best"
  )
  parser.add_argument("--checkpoint_key", help="which state dict, where the file holds several (params_ema)")
  parser.add_argument(
    "--res_scale", type=float, help="edsr: factor of its residual branches, which no checkpoint holds; default: that "
    "of the releases, 0.1 from 256 channels, else 1",
  )
  parser.add_argument(
    "--scale", type=int, help=f"magnification; default {DEFAULT_SCALE}, that of a workdir's run or of spandrel's file"
  )
  parser.add_argument(
    "--device", choices=PLATFORMS, help="where to compute; default: an accelerator where there is one"
  )
  parser.add_argument(
    "--tile", type=int, default=0, help="restore measurements in tiles of so many pixels a side, which bounds memory; "
    "0 = whole",
  )
  parser.add_argument(
    "--tile_overlap", type=int, help="pixels that a tile sees around itself; default: as far as the restorer sees, "
    "measured by its gradients",
  )
  parser.add_argument(
    "--input", default="", help="folder of original images (measurements with --degradation=none); default, with a "
    "workdir: the run's own validation images, in the order and with the random numbers of its evaluation",
  )
  parser.add_argument("--output", required=True, help="folder for the report")
  parser.add_argument(
    "--degradation",
    help=f"{', '.join(BICUBICS)} (Pillow's and MATLAB's, 8 bits), block_average (by --scale), "
    f"{', '.join(image_kinds())}, with fields of config.degradation after commas (jpeg,quality=30); a chain of "
    f"{', '.join(LINKS)} (blur:1.2+bicubic:4+noise:0.02+jpeg:70); or package.module:NAME, a degradation or a function "
    "(x [B,H,W,3] -> y); none: the images are measurements, consistency is judged with bicubic; own: that of a "
    f"workdir's run. Default: {'none' if measurements else 'bicubic, with a workdir own'}; a workdir takes own and "
    "none alone",
  )
  parser.add_argument("--mask", help=mask_flag.HELP)
  parser.add_argument(
    "--noise_std", type=float,
    help="Gaussian noise added to the measurements of originals, [0, 1]; default: that of a workdir's run, else 0",
  )
  parser.add_argument(
    "--range", default="0..1",
    help=f"pixels of a package.module:function: {', '.join(RANGES)}, or TAKEN,RETURNED, as 0..1,-1..1; default 0..1",
  )
  parser.add_argument(
    "--mod_crop", action="store_true", help="cut right and lower edges of originals until the scale divides them; "
    "default: mirror them until it does",
  )
  parser.add_argument("--crop", type=crop_flag.read, default=0, help=crop_flag.HELP)
  parser.add_argument("--skip_unreadable", action="store_true", help="leave out images that cannot be read, named")
  parser.add_argument(
    "--max_images", type=int, default=0, help="the first so many images; 0 = all, of a run's own eval.num_examples"
  )
  parser.add_argument("--seed", type=int, default=0, help="of every random number")


def use_all_cores(arguments: argparse.Namespace) -> None:
  """devices.use_all_cores for the restorer that the flags name; before anything starts JAX."""
  path = _workdir(arguments) / "config.json"
  run = read_object(path, "name the workdir of a training run") if path.is_file() else {}
  devices.use_all_cores(run.get("model", {}).get("width", PUBLISHED_WIDTH))


def reference(arguments: argparse.Namespace, restorer: Restorer) -> list[np.ndarray] | None:
  """The images of --reference, [H,W,3] in [0, 1], as a run's where the restorer is one.

  Without the flag and without --input the run's training images, as in an evaluation; else None.
  """
  if not arguments.reference and not arguments.input:
    return run_images.own_training_images(_workdir(arguments), arguments.max_images)
  if not arguments.reference:
    return None
  if restorer.image_size:
    run = _read_config(arguments)
    pairs = square_pairs(arguments.reference, restorer.image_size, run["data"]["resize"], lambda x: x)
    return [pair.x for pair in pairs if pair.x is not None]
  return [to_float(image) for _, image, _ in read_images(arguments.reference)]


def _workdir(arguments) -> pathlib.Path:
  """What --restorer names, where that is a workdir."""
  return pathlib.Path(arguments.restorer).expanduser()


def _read_config(arguments) -> dict:
  """The config of the run whose workdir --restorer names."""
  path = _workdir(arguments) / "config.json"
  return read_object(path, "name the workdir of a training run")


def output(arguments: argparse.Namespace) -> pathlib.Path:
  """The folder --output, made if needed; UserError if it is the input's, whose images results could replace."""
  given = arguments.input and pathlib.Path(arguments.input).expanduser().resolve()
  if pathlib.Path(arguments.output).expanduser().resolve() == given:
    raise UserError(
      f"--output={arguments.output} is the folder of the input, which would then hold results: choose another"
    )
  return output_folder(arguments.output)


class Loaded(NamedTuple):
  """What the flags name.

  Attributes:
    restorer: with the degradation that consistency is judged by.
    pairs: the images.
    noise_std: of the noise that measurements end with, pixels in [0, 1].
    skipped: the names of the images that could not be read, with --skip_unreadable; where pairs are read one by one, of
      those so far.
    count: how many images there are, readable or not.
  """

  restorer: Restorer
  pairs: Iterable[Pair]
  noise_std: float
  skipped: list[str]
  count: int


def load(arguments: argparse.Namespace) -> Loaded:
  """The restorer and all images; UserError for flags that do not fit."""
  loaded = load_one_by_one(arguments)
  loaded = loaded._replace(pairs=list(loaded.pairs))
  check_any(arguments, loaded.pairs, loaded.skipped)
  return loaded


def check_any(arguments: argparse.Namespace, pairs: Sequence[Pair], skipped: list[str]) -> None:
  """Says which images are left out; UserError where there are no others."""
  if skipped and not pairs:
    raise UserError(f"--input={arguments.input} holds nothing but {describe_skipped(skipped)}: name another folder")
  if skipped:
    print(f"left out {describe_skipped(skipped)}", flush=True)


@in_float32
def load_one_by_one(arguments: argparse.Namespace) -> Loaded:
  """The restorer, and an iterator over the images; UserError for flags that do not fit."""
  check_seed("--seed", arguments.seed)
  if not arguments.input and not (_workdir(arguments) / "config.json").is_file():
    raise UserError(f"--restorer={arguments.restorer} has no images of its own: --input takes a folder of them")
  if min((arguments.scale or 1) - 1, arguments.noise_std or 0, arguments.max_images) < 0:
    raise UserError("--scale must be at least 1, and --noise_std and --max_images not negative")
  if arguments.device:
    use_platform(arguments.device)
  mask_flag.settle(arguments)
  restorer = named_restorer(arguments)
  skipped = [] if arguments.skip_unreadable else None
  noise_std, name = arguments.noise_std, arguments.degradation or arguments.default_degradation
  if restorer.image_size:
    check_flags_of_a_run(arguments)
    run = _read_config(arguments)
    if not arguments.input and name == "none":
      raise UserError("--degradation=none needs --input: a run's own validation images are originals")
    if name == "none":
      degradation = make_degradation(run["degradation"], restorer.image_size)
      pairs = run_images.run_measurements(arguments.input, degradation, skipped)
    else:
      restorer = _with_noise_std(restorer, noise_std)
      noise_std = restorer.degradation.noise_std
      # What is measured needs the image's number: run_measured does that.
      if not arguments.input:
        read = run_images.own_pairs(_workdir(arguments), arguments.max_images)
      else:
        read = square_pairs(arguments.input, restorer.image_size, run["data"]["resize"], lambda x: x, skipped)
      pairs = (
        run_images.run_measured(restorer, pair, index if pair.number is None else pair.number, arguments.seed)
        for index, pair in enumerate(read)
      )
  else:
    scale = restorer.scale or arguments.scale or DEFAULT_SCALE
    if arguments.mask:
      measuring = mask_flag.measuring(restorer, name)
    else:
      measuring = named_measuring(name, scale, noise_std, arguments.seed)
    _check_scales(restorer, name, measuring)
    identity = restorer.identity and measuring.identity and f"{restorer.identity}, {measuring.identity}"
    noise_std = measuring.noise_std
    degradation = measuring.degrade and FunctionDegradation(measuring.degrade, measuring.norm)
    restorer = dataclasses.replace(restorer, degradation=degradation, identity=identity)
    reading = Reading(measuring.scale, arguments.mod_crop, crop_flag.resolve(arguments, measuring.scale, skipped))
    pairs = read_pairs(arguments.input, reading, measuring.measure, skipped)
    if (mask := mask_flag.read(arguments.mask)) is not None:
      pairs = mask_flag.with_holes(pairs, mask)
  if not arguments.input:
    pairs = list(pairs)
    count = len(pairs)
  else:
    count = len(image_files(arguments.input))
    count = min(count, arguments.max_images or count)
  print(f"restorer: {restorer.name}", flush=True)
  pairs = itertools.islice(pairs, arguments.max_images or None)
  return Loaded(restorer, pairs, noise_std or 0.0, [] if skipped is None else skipped, count)


def _with_noise_std(restorer: Restorer, noise_std: float | None) -> Restorer:
  """A run's restorer whose originals are measured with other noise; None: with its own."""
  if noise_std is None:
    return restorer
  if "noise_std" not in {field.name for field in dataclasses.fields(restorer.degradation)}:
    raise UserError(f"--noise_std={noise_std}: the run's degradation has its noise in itself: leave the flag out")
  degradation = dataclasses.replace(restorer.degradation, noise_std=noise_std)
  # Measurements with other noise are others, though the run and the originals are the same.
  identity = f"{restorer.identity}, noise_std={noise_std}"
  return dataclasses.replace(restorer, degradation=degradation, identity=identity)


def _check_scales(restorer: Restorer, name: str, measuring: Measuring) -> None:
  """UserError where originals are measured otherwise than a network of a known scale needs."""
  if measuring.measure is None or not restorer.scale:
    return
  if restorer.scale == 1 and name in BICUBICS:
    raise UserError(
      f"{restorer.name} does not magnify, so its measurements are no reductions: say how originals are measured "
      "(--degradation=noise:0.1, jpeg:30, blur:2, ...), or none where the images are measurements"
    )
  if measuring.scale != restorer.scale:
    raise UserError(
      f"--degradation={name} measures at x{measuring.scale}, and {restorer.name} magnifies x{restorer.scale}: choose a "
      f"degradation of x{restorer.scale}"
    )


def check_flags_of_a_run(arguments: argparse.Namespace) -> None:
  """UserError for flags that mean nothing with the workdir of a training run."""
  if arguments.degradation not in (None, "own", "none"):
    raise UserError(
      f"--degradation={arguments.degradation}: a training run's originals are measured as it was trained: leave the "
      "flag out, or say own, or none where the images are measurements"
    )
  given = {"--scale": arguments.scale is not None, "--crop": arguments.crop, "--mod_crop": arguments.mod_crop}
  if named := [flag for flag, is_given in given.items() if is_given]:
    raise UserError(f"{named[0]}: a training run has a size and a scale of its own: leave the flag out with a workdir")
