"""Training from an experiment: to an end or up to a step, and how a signal's stop reaches the command."""

import pathlib

from ml_collections import ConfigDict

import prt_jax.train


class Stopped(Exception):
  """SIGTERM or SIGINT ended a training; it was saved first, and the same command goes on from there."""


def train(config: ConfigDict, workdir: pathlib.Path, until: int | None = None) -> None:
  """prt_jax.train. Stopped, where a signal ended it, once the state is saved."""
  if prt_jax.train.train(config, workdir, until) is None:
    raise Stopped("stopped, saved: the same command resumes")


def checkpoint_steps(workdir: pathlib.Path) -> list[int]:
  """The steps of the kept checkpoints, ascending."""
  return sorted(int(path.name) for path in (workdir / "checkpoints").glob("*") if path.name.isdigit())
