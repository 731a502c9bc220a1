"""Perception against robustness within one architecture: published x4 networks, each fine-tuned both ways.

  python -m experiments.pairs --weights=DIR --images=DIR --held_out DIR [DIR ...] --joint_images=DIR --features=FILE
      [--workdir=runs/pairs] [--only=train|measure|report]

Of SRGAN and of IMDN: the published network, the same fine-tuned with L1, and as long with a GAN's loss
(experiments/pair_training.py). Each is attacked on the held-out pictures by the protocol of experiments.real_restorers,
and has its joint index, the root of the joint Frechet distance, over squares of `--joint_images`. Trainings, attacks
and features are kept in the workdir: the same command goes on where it was stopped.
"""

import argparse
import dataclasses
import functools
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from absl import logging

from experiments import real_restorers
from experiments.command import run_command
from experiments.networks import file_of
from experiments.pair_training import SCALE, SIDE, Recipe, fine_tune, read_pictures
from experiments.results import FOLDER
from prt_jax.data.image_pairs import Reading, bicubic_measure, read_pairs
from prt_jax.errors import UserError
from prt_jax.evaluation.checked_calls import restore_all
from prt_jax.features.extractor import Extractor
from prt_jax.features.squeezenet import NUM_FEATURES, load_squeezenet, squeezenet_features
from prt_jax.io.whole_files import write_arrays
from prt_jax.restorers import Restorer, load_network


class Network(NamedTuple):
  """Attributes:
  architecture: a key of experiments/networks.py, which knows its file.
  loss: "l1" or "gan", what it was fine-tuned with; None: as published.
  """

  architecture: str
  loss: str | None


NETWORKS = {
  f"{architecture}_{loss}" if loss else architecture: Network(architecture, loss)
  for architecture in ("srgan", "imdn") for loss in (None, "l1", "gan")
}  # fmt: skip
# In this order: were it stopped, one network of each kind would be there.
TRAINED = ("imdn_gan", "srgan_l1", "srgan_gan", "imdn_l1")
ALPHAS = (1,)  # of 255
CROP = 96  # pixels: the central square that is attacked
STEPS = 400


def main(argv: list[str] | None = None) -> None:
  """Trains, attacks and extracts what is missing, then reports."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--weights", type=pathlib.Path, required=True, help="folder of the networks' checkpoints")
  parser.add_argument("--images", type=pathlib.Path, required=True, help="folder of photographs to fine-tune on")
  parser.add_argument("--held_out", type=pathlib.Path, required=True, nargs="+", help="folders of originals to attack")
  parser.add_argument("--joint_images", type=pathlib.Path, required=True, help="folder of originals of the joint index")
  parser.add_argument("--features", type=pathlib.Path, required=True, help="SqueezeNet 1.1 .npz, of the joint index")
  parser.add_argument("--workdir", type=pathlib.Path, default=pathlib.Path("runs/pairs"), help="resumed")
  parser.add_argument("--steps", type=int, default=STEPS, help="of every fine-tuning")
  parser.add_argument("--crop", type=int, default=CROP, help="attack a central square of so many pixels")
  parser.add_argument("--alphas", type=int, nargs="+", default=ALPHAS, help="bounds of the attacks, of 255")
  parser.add_argument("--only", choices=["train", "measure", "report"], help="one part alone")
  parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS, help="those to measure")
  parser.add_argument("--out", type=pathlib.Path, default=FOLDER, help="where the JSON and the figure go")
  args = parser.parse_args(argv)
  started = time.monotonic()
  if args.only in (None, "train"):
    for name in TRAINED:
      load(name, args)
  if args.only in (None, "measure"):
    measure(args)
  if args.only in (None, "report"):
    from experiments.pairs_report import report

    report(args, time.monotonic() - started)


def load(name: str, args: argparse.Namespace, *, train: bool = True) -> Restorer:
  """A network, fine-tuned where that is its kind; UserError where it would have to be trained first and may not."""
  network = NETWORKS[name]
  restorer = load_network(network.architecture, file_of(network.architecture, args.weights, SCALE), SCALE)
  if not network.loss:
    return restorer
  folder = args.workdir / "training" / name

  def pictures():
    if not train:
      raise UserError(f"{folder} is no complete training: the same command with --only=train makes it one")
    return _pictures(args.images)

  params = fine_tune(restorer, Recipe(network.loss, args.steps), pictures, folder)
  return dataclasses.replace(restorer, params=params, name=f"{restorer.name}, fine-tuned: {network.loss}")


_pictures = functools.cache(read_pictures)


def measure(args: argparse.Namespace) -> None:
  """Attacks on the held-out pictures, a folder of measurements each, at the smallest bound first; features."""
  loaders = {name: functools.partial(load, name, args, train=False) for name in args.networks}
  for alpha in args.alphas:
    for images in args.held_out:
      real_restorers.measure(images, loaders, args.workdir / "attacks" / images.name, args.crop, (alpha,))
  extractor = squeezenet(args.features)
  for name, loader in loaders.items():
    path = args.workdir / "features" / f"{name}.npz"
    if not path.exists():
      path.parent.mkdir(parents=True, exist_ok=True)
      features = square_features(loader(), args.joint_images, extractor)
      write_arrays(path, features)
      logging.info("%s: features of %d squares", name, len(features["image"]))


def squeezenet(path: pathlib.Path) -> Extractor:
  """SqueezeNet 1.1's features; distances in them are not FID."""
  title = "SqueezeNet 1.1"
  params = load_squeezenet(path)
  return Extractor(title, "Frechet distance, SqueezeNet features", NUM_FEATURES, params, squeezenet_features)


def square_features(
  restorer: Restorer, folder: pathlib.Path, extractor: Callable[[np.ndarray], np.ndarray]
) -> dict[str, np.ndarray]:
  """Features of squares of SIDE pixels of restorations, originals and enlarged measurements, as the audit has them.

  Every picture is restored whole and then cut, so that no edge of a square is one of the network's padding.

  Returns:
    {"restored", "original", "measurement": [N, D], "image": [N], the number of the picture that a square is of}.
  """
  found: dict[str, list] = {name: [] for name in ("restored", "original", "measurement", "image")}
  for number, pair in enumerate(read_pairs(folder, Reading(SCALE, mod_crop=True), bicubic_measure(SCALE))):
    x = restore_all(restorer.restore, jnp.asarray(pair.y[None]), jnp.zeros((1, 1)))[0, 0]
    enlarged = pair.y.repeat(SCALE, 0).repeat(SCALE, 1)
    for name, picture in (("restored", np.asarray(x)), ("original", pair.x), ("measurement", enlarged)):
      found[name].append(extractor(cut(picture)))
    found["image"].append(np.full(len(cut(pair.x)), number))
  return {name: np.concatenate(parts) for name, parts in found.items()}


def cut(picture: np.ndarray) -> np.ndarray:
  """The whole squares of a picture [H,W,3], side by side from its upper left corner: [N,SIDE,SIDE,3]."""
  rows, columns = (length // SIDE for length in picture.shape[:2])
  grid = picture[: rows * SIDE, : columns * SIDE].reshape(rows, SIDE, columns, SIDE, 3)
  return grid.transpose(0, 2, 1, 3, 4).reshape(-1, SIDE, SIDE, 3)


def complete_images(lines: Sequence[dict], alpha: float) -> list[str]:
  """The pictures on which every network has been attacked at a bound."""
  done = {(line["network"], line["image"]) for line in lines if line["alpha_255"] == alpha}
  names = sorted({image for _, image in done})
  return [image for image in names if all((network, image) in done for network in NETWORKS)]


if __name__ == "__main__":
  run_command(main)
