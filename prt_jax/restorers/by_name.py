"""Restorers that a command names: a published network, a workdir of prt_jax, or package.module:function."""

import os
import pathlib

from prt_jax.errors import UserError
from prt_jax.importing import import_function
from prt_jax.restorers.registry import ARCHITECTURES, load_network
from prt_jax.restorers.restorer import Restorer, as_restorer


def load_restorer(
  name: str, *, checkpoint: str | os.PathLike | None = None, scale: int = 4, key: str | None = None
) -> Restorer:
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
    from prt_jax.restorers.from_run import load_run  # and with it all that trains

    return load_run(name).restorer()
  if ":" in name:
    return as_restorer(import_function(name), name=name)
  raise UserError(
    f"--restorer={name} is none of {', '.join(ARCHITECTURES)}, no workdir of a training run, "
    "and no package.module:function"
  )
