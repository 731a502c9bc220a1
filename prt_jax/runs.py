"""A training run that is on disk: its config, its state, and what it makes of measurements."""

import dataclasses
import json
import pathlib

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from prt_jax.checkpoints import Checkpoints, complete_config
from prt_jax.errors import UserError, quote
from prt_jax.game import Game, make_game, state_shapes
from prt_jax.posterior import Weights
from prt_jax.precision import MEASURING
from prt_jax.restorers.from_run import run_restorer
from prt_jax.restorers.restorer import Restorer
from prt_jax.state import TrainState


@dataclasses.dataclass(frozen=True)
class Run:
  """Attributes:
  workdir: where it lives.
  game: its nets and degradation, computed as what measures computes (precision.MEASURING).
  state: of the checkpoint, as numpy arrays.
  """

  workdir: pathlib.Path
  game: Game
  state: TrainState

  @property
  def config(self) -> ConfigDict:
    """The run's."""
    return self.game.config

  def restorer(self) -> Restorer:
    """The estimator as it is evaluated: running averages, consistent outputs."""
    return run_restorer(self.game, Weights.of(self.state), f"{self.workdir.name} (step {int(self.state.step)})")


def load_run(workdir: pathlib.Path | str, step: int = 0) -> Run:
  """The run that training left in a folder, at a checkpoint's step; 0 = the newest that is complete.

  Raises:
    UserError: the folder holds no run, or no such checkpoint.
  """
  workdir = pathlib.Path(workdir).expanduser()
  path = workdir / "config.json"
  try:
    config = ConfigDict(complete_config(json.loads(path.read_text())))
    game = make_game(config, dtype=MEASURING["dtype"])
  except (OSError, json.JSONDecodeError) as error:
    raise UserError(f"{workdir} is no workdir of a training run: its config.json cannot be read ({error})") from None
  except (AttributeError, KeyError, TypeError) as error:
    raise UserError(f"{path} is not the config of a training run of this version ({quote(error)})") from None
  checkpoints = Checkpoints(workdir, config.train.keep_checkpoints)
  try:
    if checkpoints.latest_step() is None:
      raise UserError(f"{workdir} holds no complete checkpoint: train first, or name another workdir")
    if step:
      state = checkpoints.restore(empty_state(game), checkpoints.find(step))
    else:
      state, _ = checkpoints.restore_newest(empty_state(game))
  finally:
    checkpoints.close()
  return Run(workdir, game, state)


def empty_state(game: Game) -> TrainState:
  """A state in the shapes of a run's, to be read into: nothing is computed for it."""
  shapes = state_shapes(game).replace(key=None)
  return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes).replace(key=jax.random.key(0))
