"""The images of a training run: its own validation images, or a folder's, as its restorer takes them."""

import dataclasses
import os
import pathlib
from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np

from prt_jax.data import Dataset, prepare
from prt_jax.data.evaluation_order import evaluation_pairs
from prt_jax.data.image_pairs import Pair, read_images, result_name, to_float
from prt_jax.degradations import Degradation
from prt_jax.errors import UserError
from prt_jax.restorers import Restorer
from prt_jax.restorers.from_run import read_config
from prt_jax.training.data_identity import check_data


def own_pairs(workdir: pathlib.Path, count: int = 0) -> list[Pair]:
  """The originals that an evaluation of the run takes, in its order, under their numbers; y is x, yet to be measured.

  count: how many; 0 = the config's eval.num_examples. UserError where there are fewer.
  """
  dataset, count = _own_data(workdir, count)
  if len(dataset.val) < count:
    raise UserError(
      f"the run has {len(dataset.val)} validation images, and {count} are asked for: "
      f"--max_images={len(dataset.val)} takes them all"
    )
  return list(evaluation_pairs(dataset.val, count))


def own_training_images(workdir: pathlib.Path, count: int = 0) -> list[np.ndarray]:
  """The training images [H,W,3] in [0, 1] that an evaluation of as many inputs compares restorations with as a set."""
  dataset, count = _own_data(workdir, count)
  return [pair.y for pair in evaluation_pairs(dataset.train, count)]


def own_protocol(workdir: pathlib.Path) -> dict:
  """The fields of an audit's Protocol that an evaluation of the run has, by its config; {} where there is no run."""
  if not (workdir / "config.json").is_file():
    return {}
  config = read_config(workdir)
  return {
    "alphas": tuple(alpha / 255 for alpha in config.eval.curve_alphas), "num_steps": config.eval.curve_num_steps,
    "num_seeds": config.attack.num_seeds, "num_std_seeds": config.eval.num_std_seeds,
    "num_jacobian_steps": config.eval.num_jacobian_steps, "num_neighbors": config.eval.num_neighbors,
  }  # fmt: skip


def _own_data(workdir: pathlib.Path, count: int) -> tuple[Dataset, int]:
  config = read_config(workdir)
  dataset = prepare(config.data, config.seed)
  check_data(workdir, dataset)
  return dataset, count or config.eval.num_examples


def run_measured(restorer: Restorer, pair: Pair, index: int, seed: int) -> Pair:
  """The pair with y as an evaluation measures the image of that number, by the run's degradation with its noise."""
  y = restorer.measure(jnp.asarray(np.asarray(pair.x)[None]), jnp.array([index]), seed)
  return dataclasses.replace(pair, y=np.asarray(y)[0])


def run_measurements(
  folder: str | os.PathLike, degradation: Degradation, skipped: list[str] | None = None
) -> Iterator[Pair]:
  """Each image of a folder as a measurement that a training run's restorer takes: it has that measurement's size.

  Where the degradation says so (whole_images), it may also be a whole picture: what counts is the part that is seen,
  the rest is made anew. UserError for another size. skipped: as in image_pairs.read_images.
  """
  shape, (side, *_) = degradation.measurement_shape, degradation.image_shape
  for path, image, alpha in read_images(folder, skipped):
    image, alpha = to_float(image), None if alpha is None else np.asarray(alpha, np.float32) / 255
    if degradation.whole_images and image.shape == degradation.image_shape:
      image = np.asarray(degradation.clean(jnp.asarray(image[None])))[0]
    if image.shape != shape:
      whole = f", or whole pictures of {side}x{side}" if degradation.whole_images else ""
      raise UserError(
        f"{path} is {image.shape[1]}x{image.shape[0]}: this run restores measurements of {shape[1]}x{shape[0]}{whole}; "
        "originals are measured first with --degradation=own"
      )
    yield Pair(result_name(path), None, image, alpha)
