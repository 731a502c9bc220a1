"""Curves in Weights & Biases, for those who ask for it: the methods of a CLU MetricWriter that a run uses."""

import json
import pathlib
import secrets
from collections.abc import Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from prt_jax.errors import UserError
from prt_jax.io.json_files import read_object
from prt_jax.io.whole_files import write_json

FILE = "wandb.json"  # the run's id there: a resumed run draws on in the same curves


def load_wandb(project: str) -> Any:
  """The module wandb; UserError where it is not installed."""
  try:
    import wandb
  except ImportError as error:
    raise UserError(
      f"train.wandb_project={project} needs wandb, which is not installed ({error}): pip install 'prt_jax[wandb]', or "
      "leave the field empty"
    ) from None
  return wandb


class WandbWriter:
  """Writes to one run of a project.

  A resumed run comes again to steps that are there already: wandb keeps what it has, and on a CPU they are the same.
  """

  def __init__(self, workdir: pathlib.Path, config: ConfigDict):
    project = config.train.wandb_project
    self._wandb = load_wandb(project)
    path = workdir / FILE
    try:
      name = str(read_object(path, "remove it to begin new curves")["id"])
    except (FileNotFoundError, KeyError):
      name = secrets.token_hex(4)
      write_json(path, {"id": name})
    try:
      self._run = self._wandb.init(
        project=project, id=name, resume="allow", name=workdir.name, dir=str(workdir),
        config=json.loads(config.to_json()),
      )  # fmt: skip
    # wandb raises whatever its network, its service and its settings raise.
    except Exception as error:
      reason = str(error).partition("\n")[0] or type(error).__name__
      raise UserError(
        f"wandb cannot start ({reason}): log in (wandb login), or set WANDB_MODE=offline, or leave "
        "train.wandb_project empty"
      ) from error

  def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
    """Numbers of a step; a step's numbers may come in several calls."""
    self._run.log(dict(scalars), step=step)

  def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
    """Images [N,H,W,3] uint8."""
    shown = {name: [self._wandb.Image(image) for image in batch] for name, batch in images.items()}
    self._run.log(shown, step=step)

  def flush(self) -> None:
    """wandb sends in the background."""

  def close(self) -> None:
    """Sends what is left."""
    self._run.finish()
