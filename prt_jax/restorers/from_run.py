"""A training run as it is read back from its workdir: to be evaluated, audited, shown, restored with."""

import dataclasses
import pathlib

from ml_collections import ConfigDict

from prt_jax.errors import UserError, quote
from prt_jax.io.json_files import read_object
from prt_jax.precision import MEASURING
from prt_jax.restorers.restorer import Restorer
from prt_jax.training.best import best_step
from prt_jax.training.checkpoints import Checkpoints, check_workdir, complete_config
from prt_jax.training.gan import Game, empty_state, make_game
from prt_jax.training.state import TrainState
from prt_jax.training.trained_estimator import Weights, run_restorer


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
  """Attributes:
  workdir: where it lives.
  config: its config.
  game: its game as it is measured: outside any device axis, the nets in float32.
  state: its state after `step` training steps, numpy arrays.
  step: that many.
  """

  workdir: pathlib.Path
  config: ConfigDict
  game: Game
  state: TrainState
  step: int

  @property
  def weights(self) -> Weights:
    """What a restoration needs of the state."""
    return Weights.of(self.state)

  def restorer(self) -> Restorer:
    """The run's consistent estimator, as evaluation has it: running averages, any number of draws.

    Raises:
      UserError: a run of points.
    """
    if not self.game.restores_images:
      raise UserError(f"{self.workdir} holds a run of points: it restores no images")
    return run_restorer(self.game, self.weights, f"{self.workdir.name} (step {self.step})")


def load_run(workdir: pathlib.Path | str, step: int | str = 0, config: ConfigDict | None = None) -> Run:
  """A run at one of its checkpoints. Nothing is initialised or compiled for it.

  Args:
    workdir: what a training left.
    step: the checkpoint's; 0 = the newest that is not damaged, "best" (or -1) = the one that best.json marks.
    config: read the run as this one's, which may differ from its own in where data lie and how it is evaluated; None:
      the config in the workdir.

  Raises:
    UserError: no workdir of a training, a run of another config, no such checkpoint, a damaged one.

  Example (`workdir` is what prt_jax.train left, of 32x32 images and 8 steps):
    >>> run = prt_jax.load_run(workdir)
    >>> run.step, run.config.degradation.factor
    (8, 16)
    >>> restorer, y = run.restorer(), jnp.full((1, 2, 2, 3), 0.5)
    >>> z = restorer.noise(jax.random.split(jax.random.key(0), 1), y.shape[1:], num_seeds=4)
    >>> jax.vmap(restorer.restore, (None, 0))(y, z).shape
    (4, 1, 32, 32, 3)
  """
  workdir = pathlib.Path(workdir).expanduser()
  own = read_config(workdir)
  if config is None:
    config = own
  else:
    check_workdir(workdir, config)
  try:
    game = make_game(config, dtype=MEASURING["dtype"])
    checkpoints = Checkpoints(workdir, config.train.keep_checkpoints)
  except UserError:
    raise
  # Values of other types and fields of other names fail where they are used, each in its own way.
  except (AttributeError, LookupError, TypeError, ValueError, ArithmeticError) as error:
    path = workdir / "config.json"
    raise UserError(f"{path} is not the config of a training run of this version ({quote(error)})") from None
  step = best_step(workdir) if step in ("best", -1) else step
  if isinstance(step, str):
    raise UserError(f"step={step!r} is no step: give a number, or 'best'")
  found = checkpoints.find(step)
  if step:
    state = checkpoints.restore(empty_state(game), found)
  else:
    state, found = checkpoints.restore_newest(empty_state(game))
  checkpoints.close()
  return Run(workdir, config, game, state, found)


def read_config(workdir: pathlib.Path) -> ConfigDict:
  """The config of the run in a workdir, complete. UserError where there is none."""
  path = workdir / "config.json"
  try:
    return ConfigDict(complete_config(read_object(path, "name the workdir of a training run")))
  except OSError as error:
    raise UserError(f"{workdir} is no workdir of a training run: its config.json cannot be read ({error})") from None
  except UserError:
    raise
  except (AttributeError, LookupError, TypeError, ValueError) as error:
    raise UserError(f"{path} is not the config of a training run of this version ({quote(error)})") from None
