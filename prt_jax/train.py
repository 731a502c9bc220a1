"""Trains a run, with the evaluations along the way that its config asks for: prt_jax.train(config, workdir)."""

import pathlib

from ml_collections import ConfigDict

from prt_jax.config_check import checked
from prt_jax.importing import make_callable
from prt_jax.training import loop
from prt_jax.training.state import TrainState


def train(config: ConfigDict, workdir: pathlib.Path | str, until: int | None = None) -> TrainState | None:
  """training.loop.train, its arguments, result and errors; it evaluates each eval.every_steps steps.

  What those evaluations need (weights of features, fields that fit) is looked at before anything is trained.

  Example (three steps of paper A's toy; `workdir` is a folder that need not exist):
    >>> from prt_jax.config import load
    >>> config = load("toy_disk:deterministic-erratic,demo")
    >>> config.train.update(num_steps=3, log_every_steps=3, checkpoint_every_steps=3, image_every_steps=3)
    >>> config.train.steps_per_dispatch = 1
    >>> state = prt_jax.train(config, workdir)
    >>> int(state.step)
    3
  """
  config, make_watch = checked(config), None
  if config.eval.every_steps:
    from prt_jax.watch import prepare_watch  # which takes a second or two

    make_watch = prepare_watch(config)
  return loop.train(config, workdir, until, make_watch)


make_callable(__name__, train)
