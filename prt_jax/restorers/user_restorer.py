"""Restorers that a command names: a published network, a workdir of prt_jax, or package.module:function."""

import importlib
import pathlib

import jax
from ml_collections import ConfigDict

from prt_jax.errors import UserError, quote
from prt_jax.json_files import read_object
from prt_jax.precision import MEASURING
from prt_jax.restorers.registry import ARCHITECTURES, load_network
from prt_jax.restorers.restorer import Restorer, as_restorer


def load_restorer(name: str, *, checkpoint=None, scale: int = 4, key: str | None = None) -> Restorer:
  """The restorer that --restorer=NAME means.

  Args:
    name: a key of ARCHITECTURES; a folder that a training run left (its workdir); or package.module:function, which
      is imported and must be a function of y, a Restorer or a PyTorch module.
    checkpoint, scale, key: of a published network; see registry.load_network.

  Raises:
    UserError: none of these, or one that does not load.
  """
  if name in ARCHITECTURES:
    return load_network(name, checkpoint, scale, key)
  if checkpoint:
    raise UserError(f"--checkpoint is for {', '.join(ARCHITECTURES)}: leave it out with --restorer={name}")
  if pathlib.Path(name).expanduser().is_dir():
    return load_workdir(pathlib.Path(name).expanduser())
  if ":" in name:
    return as_restorer(import_function(name), name=name)
  raise UserError(
    f"--restorer={name} is none of {', '.join(ARCHITECTURES)}, no workdir of a training run, "
    "and no package.module:function"
  )


def import_function(name: str):
  """The object package.module:attribute. UserError if there is none, or if its module fails to import."""
  module_name, _, attribute = name.partition(":")
  try:
    return getattr(importlib.import_module(module_name), attribute)
  except AttributeError:
    raise UserError(f"{module_name} has no {attribute!r}: name an attribute as package.module:NAME") from None
  # The module is the user's code: whatever it raises is what there is to say.
  except Exception as error:
    raise UserError(f"{name} cannot be imported ({quote(error)})") from error


def read_run(workdir: pathlib.Path):
  """(config, game) of a training run's workdir; UserError where its config.json is none of this version."""
  from prt_jax.checkpoints import complete_config
  from prt_jax.game import make_game

  path = workdir / "config.json"
  try:
    config = ConfigDict(complete_config(read_object(path, "name the workdir of a training run")))
    return config, make_game(config, dtype=MEASURING["dtype"])
  except UserError:
    raise
  except OSError as error:
    raise UserError(f"{workdir} is no workdir of a training run: its config.json cannot be read ({error})") from None
  # Values of other types and fields of other names fail where they are used, each in its own way.
  except (AttributeError, LookupError, TypeError, ValueError, ArithmeticError) as error:
    raise UserError(f"{path} is not the config of a training run of this version ({quote(error)})") from None


def load_workdir(workdir: pathlib.Path) -> Restorer:
  """The newest checkpoint of a training run as a restorer: the evaluation's estimator, with consistent outputs.

  Raises:
    UserError: the folder holds no run, or no complete checkpoint.
  """
  from prt_jax.checkpoints import Checkpoints
  from prt_jax.game import draw_noise, init_state, restore
  from prt_jax.randomness import zero_noise

  config, game = read_run(workdir)
  checkpoints = Checkpoints(workdir, config.train.keep_checkpoints)
  step = checkpoints.latest_step()
  if step is None:
    raise UserError(f"{workdir} holds no complete checkpoint: train first, or name another workdir")
  state = checkpoints.restore(init_state(game), step)
  checkpoints.close()

  stochastic = config.model.stochastic

  def apply(variables, y, z):
    z = z if stochastic else tuple(noise[0] for noise in zero_noise(len(y), game.noise_shapes))
    return restore(game, *variables, y, z, train=False)[0]

  def draw(keys, measurement_shape, num_seeds):
    del measurement_shape  # the run's own
    return draw_noise(game, keys, num_seeds)

  return Restorer(
    name=f"{workdir.name} (step {step})",
    restore=jax.tree_util.Partial(apply, (state.generator_params, state.batch_stats)),
    draw_noise=draw if stochastic else None,
    degrade=game.degradation.clean,
    image_size=config.data.image_size,
  )
